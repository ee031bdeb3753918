"""`qoder session files`: what is in a session."""

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, OutcomeUnknown, UsageError
from qoder_cli.base.model import Resource
from qoder_cli.cli.options import ONE_SESSION, YES, Text, Texts, confirmed, option, several
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.nouns.views import RESOURCE_COLUMNS, RESOURCE_FIRST, resource_row
from qoder_cli.output.data import Rows
from qoder_cli.sessions import files as mounted

_ADD = several("--add", "PATH[:MOUNT]", "Put a text file into the session, or a file_… of the server.")
_RENEW = option("--renew", "ID", "Renew the token of a repository (sesr_…) from QODER_REPO_TOKEN.")


def files(
    app: App,
    run: str = ONE_SESSION,
    add: Texts = _ADD,
    remove: Texts = several("--remove", "ID", "Take a resource (sesr_…) out of it."),
    renew: Text = _RENEW,
    yes: bool = YES,
    *,
    viewing: Viewing,
) -> None:
    """List the files, repositories and memory stores of a session.

    Repositories and memory stores can only be given when a session starts.

    Examples:
      qoder session files sess_demo
      qoder session files sess_demo --add notes.md:/data/notes.md"""
    from qoder_cli.commands.target import target_of

    view = View(app, viewing, RESOURCE_COLUMNS)
    read = [mounted.read_file(each, "--add") for each in add or ()]
    if remove and not yes and not app.may_ask:
        raise UsageError("removing requires confirmation; nothing was removed", hint="confirm with --yes")
    token = (app.env.get("QODER_REPO_TOKEN") or "").strip()
    if renew is not None and not token:
        raise UsageError("--renew takes the token from QODER_REPO_TOKEN, which is not set", hint="set it")
    secrets = list(filter(None, [token]))
    app.out.keep_secrets(secrets)
    app.err.keep_secrets(secrets)
    id = target_of(run, app).session_id
    changes = bool(read or remove or renew is not None)
    if changes:
        app.progress.note(f"changing the files of {id}{app.client.settings.whereabouts}")
    for file in read:
        resource = mounted.add(app, id, file)
        app.progress.note(f"added {file.name} to {id} as {resource.id}")
    for word in remove or ():
        if not yes and not confirmed(app, f"Remove {word} from session {id}?", nothing=f"{word} was not removed"):
            raise UsageError(f"cancelled; {word} was not removed")
        mounted.remove(app, id, word)
        app.progress.note(f"removed {word} from {id}")
    if renew is not None:
        mounted.renew(app, id, renew, token)
        app.progress.note(f"renewed the token of {renew}")

    def look() -> None:
        rows = Rows(app.output, fields=resource_row, data=Resource.as_json, first=RESOURCE_FIRST)
        with rows:
            rows.show(mounted.listed(app, id))

    try:
        view.show(look)
    except ApiError as error:
        if not changes:
            raise
        why = f"session {id} was changed, but its files could not be listed: {error.message}"
        next = app.looking("session", "files", id)
        raise OutcomeUnknown(why, hint="check its files before you change it again", next=next, cause=error) from None
