"""`qoder session files`: what is in a session."""

import re
from pathlib import PurePath
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import ApiError, OutcomeUnknown, UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Raw, Resource, filled, mapping, text
from qoder_cli.cli.options import ONE_SESSION, YES, Text, Texts, confirmed, option, several
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.http.readback import ReadBack, Sent, object_write
from qoder_cli.nouns.deployments import TOKENS
from qoder_cli.nouns.edits.create import contradicts
from qoder_cli.nouns.edits.forms import form_with
from qoder_cli.nouns.edits.thing import Target
from qoder_cli.nouns.edits.update import Update
from qoder_cli.nouns.edits.verbs import DELETE, ending
from qoder_cli.nouns.file import read_text, upload
from qoder_cli.nouns.views import RESOURCE_COLUMNS, RESOURCE_FIRST, resource_row
from qoder_cli.output.data import Rows
from qoder_cli.output.listing import WantedRows

_ADDED = several("--add", "PATH[:MOUNT]", "Put a text file into the session, or a file_… of the server.")
_RENEWED = option("--renew", "ID", "Renew the token of a repository (sesr_…) from QODER_REPO_TOKEN.")
_MOUNTED = re.compile(r"(.+?):(/[^:]*)", re.DOTALL)


def files(
    app: App,
    run: str = ONE_SESSION,
    add: Texts = _ADDED,
    remove: Texts = several("--remove", "ID", "Take a resource (sesr_…) out of it."),
    renew: Text = _RENEWED,
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
    read, removed = [read_file(path, "--add") for path in add or ()], list(map(ids.resource, remove or ()))
    if renew is not None:
        ids.resource(renew)
    if remove and not yes and not app.may_ask:
        raise UsageError("removing requires confirmation; nothing was removed", hint="confirm with --yes")
    token = repository_token(app)
    if renew is not None and not token:
        raise UsageError("--renew takes the token from QODER_REPO_TOKEN, which is not set", hint="set it")
    changes = bool(read or remove or renew is not None)
    id = target_of(run, app, writes=changes).session_id
    if changes:
        app.progress.note(f"changing the files of {id}{app.client.settings.whereabouts}")
    for file in read:
        resource = _add(app, id, file)
        app.progress.note(f"added {file.name} to {id} as {resource.id}")
    for word in removed:
        if not yes and not confirmed(app, f"Remove {word} from session {id}?", nothing=f"{word} was not removed"):
            raise UsageError(f"cancelled; {word} was not removed")
        ending(app, _target(id, word), DELETE).deliver()
        app.progress.note(f"removed {word} from {id}")
    if renew is not None:
        target = _target(id, renew)
        repository = mapping(app.client.get(target.path, fresh=True))
        kind = repository.get("type")
        if (field := TOKENS.get(str(kind))) is None:
            raise UsageError(f"{renew} is a {kind}, which has no token", hint="name a repository of the session")
        # No token is shown. A repetition does no harm.
        Update(app, target, repository, {field: token}, form_with(()), is_shown=False).write().deliver()
        app.progress.note(f"renewed the token of {renew}")

    def look() -> None:
        pages = app.client.pages(_target(id).path, {"limit": 100})
        listing = WantedRows(pages, read=list, limit=None)
        listing.print(Rows(app.output, fields=resource_row, data=dict, first=RESOURCE_FIRST))
        listing.conclude(app.progress, none="no files found")

    try:
        view.show(look)
    except ApiError as error:
        if not changes:
            raise
        why = f"session {id} was changed, but its files could not be listed: {error.message}"
        next = app.looking("session", "files", id)
        raise OutcomeUnknown(why, hint="check its files before you change it again", next=next, cause=error) from None


def repository_token(app: App, given: str | None = None) -> str:
    """Return the token of repositories, `given` or in the environment, and hide it in all output; empty for none."""
    token = (given or app.env.get("QODER_REPO_TOKEN") or "").strip()
    if token:
        app.out.keep_secrets([token])
        app.err.keep_secrets([token])
    return token


class FileTyped(NamedTuple):
    """A file typed as PATH[:MOUNT], or file_…[:MOUNT] without `content`."""

    name: str
    mount: str | None
    content: bytes | None


def read_file(word: str, option: str) -> FileTyped:
    """Return the file typed, read. Raises UsageError unless it is readable text."""
    match = _MOUNTED.fullmatch(word)
    path, mount = (match[1], match[2]) if match and len(match[1]) > 1 else (word, None)
    if path.startswith("file_") and "." not in path:
        return FileTyped(ids.file_id(path), mount, None)
    return FileTyped(path, mount, read_text(path, option))


def resource_of(app: App, file: FileTyped) -> dict[str, Any]:
    """Return a session's resource for a file, uploaded first if need be."""
    id = file.name
    if file.content is not None:
        id = upload(app, PurePath(file.name).name, file.content).deliver().id
        app.progress.note(f"uploaded {PurePath(file.name).name} as {id}")
    return {"type": "file", "file_id": id, **filled({"mount_path": file.mount})}


def _add(app: App, session_id: str, file: FileTyped) -> Resource:
    """Put a file into a session and return its resource. Raises QoderError."""
    body = resource_of(app, file)
    target = _target(session_id)

    def is_it(raw: Raw) -> bool:
        return raw.get("file_id") == body["file_id"] and file.mount in (None, raw.get("mount_path"))

    def find() -> Resource | None:
        reading = ReadBack(app.client, target.path)
        for row in filter(is_it, reading.rows(lambda: None)):
            return Resource(row)
        if not reading.is_whole:
            raise OutcomeUnknown(f"the files of {session_id} could not be read in full")
        return None

    write = object_write(  # not repeatable: a file can be there twice
        app.client,
        Sent("POST", target.path, body),
        what=f"adding {body['file_id']} to {session_id}",
        shows=lambda resource: text(resource.raw.get("id")) is not None and not contradicts(resource.raw, body),
        find=find,
        look=app.looking(*target.look),
    )
    return write.deliver()


def _target(session_id: str, *id: str) -> Target:
    """Return a session's resource; without an id, all of them."""
    path = "/".join(["/sessions", segment(session_id), "resources", *map(segment, id)])
    return Target(path, "".join(id), "resource", ("session", "files", session_id))
