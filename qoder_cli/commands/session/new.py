"""`qoder session new`: start a session."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import typer

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import (
    ApiError,
    InternalError,
    NoResponse,
    QoderError,
    ReaderGone,
    Rejected,
    RunFailed,
    Signalled,
    UsageError,
)
from qoder_cli.base.ids import with_version
from qoder_cli.base.model import Deployment, Raw, Run, filled, mapping
from qoder_cli.base.outcome import AGENT_EVENTS, ENDS
from qoder_cli.base.plainfile import text_of
from qoder_cli.cli.options import AGENT, Text, Texts, WaitOptions, flag, option, several, wanted_of
from qoder_cli.commands.editing import BUDGET, TITLE, OutcomeOptions, budget_of, with_outcome
from qoder_cli.commands.session.files import FileTyped, read_file, repository_token, resource_of
from qoder_cli.help.completion import values
from qoder_cli.nouns.agent import server_url
from qoder_cli.nouns.deployments import TOKENS, settable
from qoder_cli.nouns.edits.create import creating
from qoder_cli.nouns.edits.forms import form_of
from qoder_cli.nouns.edits.step import as_stored
from qoder_cli.nouns.lists import only_environment
from qoder_cli.nouns.lookup import deployment_id_of, find_deployment
from qoder_cli.nouns.named import id_of
from qoder_cli.nouns.parts import VARIABLE, VARIABLES, assignments
from qoder_cli.nouns.table import NOUNS
from qoder_cli.nouns.views import session_fields
from qoder_cli.sessions.answers import Delivery, message
from qoder_cli.sessions.log import Events, Log, in_order
from qoder_cli.sessions.story import keys

_MESSAGE = option("--message -m", "TEXT|@FILE|-", "Task for the agent; - reads stdin.")
_ENV = option("--env", "ENV", "Environment id or name; default: the only one.", values.things("env"))
_REPO = several("--repo", "URL[@REF][:MOUNT]", "Repository; its token is in QODER_REPO_TOKEN.")
_WITH_TOKEN = flag("--with-repo-token", "Read the repositories' token from stdin.")
_OF_STORE = "Memory store; :ro forbids writing."
_LIKE = option("--like", "RUN", "Copy the setup of a run, session or deployment.")
_REPOSITORY = re.compile(r"(https://[^\s@]+?)(?:@([^\s:@]+))?(?::(/\S*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# The fields of a resource to copy to another session: no server shows a repository's token.
_OF_RESOURCE = ("type", "file_id", "mount_path", "url", "checkout", "memory_store_id", "access", "instructions")
_COMPARED = ("budget", "vault_ids", "environment_variables")  # which a server shows as they were sent
_SESSION = NOUNS["session"]
_FIRST = {
    "user.message": ("type", "content"),
    "user.define_outcome": ("type", "description", "rubric", "max_iterations"),
}


def new(
    ctx: typer.Context,
    message: Text = _MESSAGE,
    agent: Text = AGENT,
    environment: Text = _ENV,
    title: Text = TITLE,
    vaults: Texts = several("--vault", "VAULT", "Vault id or name.", values.things("vault")),
    files: Texts = several("--file", "PATH[:MOUNT]", "Text file to upload, or a file_…."),
    repositories: Texts = _REPO,
    with_repo_token: bool = _WITH_TOKEN,
    memories: Texts = several("--memory", "STORE[:ro]", _OF_STORE, values.things("memory")),
    variables: Texts = several("--var", "NAME=VALUE", "Environment variable."),
    budget: Text = BUDGET,
    model: Text = option("--model", "ID", "Model for this session only.", values.things("model")),
    like: Text = _LIKE,
    chat: bool = flag("--chat -c", "Then talk with the agent, at a terminal."),
    *,
    goal: OutcomeOptions,
    waiting: WaitOptions,
) -> Any:
    """Start a session with an agent.

    Without --message it is idle until you send one. With --wait the exit code
    is the outcome of the first message.

    --like copies agent version, environment, variables, resources, vaults,
    budget and first messages, not the old container's files; give repository
    tokens again. Other options add to these or replace them. It starts a
    session, not a run.

    Exits 1 if the session was created, but its message refused; 9 if the
    response was lost and the session cannot be found (it is never created
    twice).

    Examples:
      qoder session new --agent writer --env default -m "Report on June." --result
      qoder session new --like last --model ultimate -m "Try again." --result"""
    app: App = ctx.obj
    wanted = wanted_of(app, waiting)
    if chat:
        from qoder_cli.sessions.chat import chat as open_chat
        from qoder_cli.sessions.chat import require_terminal

        require_terminal(app)
        if wanted:
            raise UsageError("--chat cannot be used together with --wait, --follow or --result", hint="leave them out")
    if agent is None and like is None:
        raise UsageError("missing option --agent", hint="name the agent, or a run to be --like")
    outcome = goal.event(app)
    if message == "-" and with_repo_token:
        raise UsageError("--message - and --with-repo-token both read standard input", hint="set QODER_REPO_TOKEN")
    text = None if message is None else text_of(message, stdin=app.stdin, option="--message")
    if text is not None and not text.strip():
        raise UsageError("the message is empty", hint="is a shell variable unset?")
    token = _token(app, with_repo_token)
    began = app.clock.monotonic()
    body = _body(app, ctx.params, text, token, needs_message=wanted is not None and not outcome)
    if outcome:
        body["initial_events"] = with_outcome(body.get("initial_events", ()), outcome)
    app.progress.note(f"starting a session{app.client.settings.whereabouts}")
    session, later = _create(app, body)
    events = []
    if later:
        try:
            events = _send_first(app, session, later)
        except QoderError:
            with suppress(ReaderGone, InternalError):  # the error decides, whoever still listens
                app.output.record(session_fields(app.named(session)), data=session.as_json(), id=session.id)
            raise
    if chat:
        return open_chat(app, session.id)
    if wanted:
        from qoder_cli.fleet.wait import wait_for
        from qoder_cli.runs.observe import turn_observer

        observer = turn_observer(app, session.raw, after=keys(events), is_new=not events)
        return wait_for(app, observer, wanted.since(began, app.clock))
    app.output.record(session_fields(app.named(session)), data=session.as_json(), id=session.id)


def _token(app: App, is_piped: bool) -> str | None:
    """Return the token, hidden in all output. Raises UsageError."""
    piped: str | None = None
    if is_piped:
        if app.stdin is None or not app.is_piped_into:
            raise UsageError("--with-repo-token expects the token on standard input", hint="pipe it in")
        piped = app.stdin.read(4096).strip()
        if not (piped and piped.isascii() and piped.isprintable()):
            raise UsageError("standard input is not a token", hint="pipe in only the token of the repositories")
    return repository_token(app, piped) or None


def _body(app: App, options: Raw, text: str | None, token: str | None, *, needs_message: bool) -> Raw:
    """Return the body; read all files before any request. Raises QoderError."""
    read: list[FileTyped] = [read_file(file, "--file") for file in options["files"] or ()]
    pairs = _variables(options["variables"] or ())
    resources = [repository(typed, token) for typed in options["repositories"] or ()]
    budget = budget_of(options["budget"])
    body = _like(app, options["like"], token) if options["like"] is not None else {}
    if text is not None:
        body["initial_events"] = message(text)
    if needs_message and not body.get("initial_events"):
        raise UsageError("--wait, --follow and --result need a message", hint="add --message")
    if options["agent"] is not None:
        name, version = with_version(options["agent"])
        id = id_of(app, NOUNS["agent"], name)
        body["agent"] = {"id": id, "type": "agent", "version": version} if version else id
    if options["model"] is not None:  # for this session alone
        named = body.get("agent")
        if named is None:
            raise UsageError("--model needs to know the agent", hint="add --agent NAME")
        if not isinstance(named, dict):
            named = {"id": named}
        body["agent"] = {**named, "type": "agent_with_overrides", "model": options["model"]}
    if options["environment"] is not None:
        body["environment_id"] = id_of(app, NOUNS["env"], options["environment"])
    elif "environment_id" not in body:
        body["environment_id"] = only_environment(app)
    if vaults := options["vaults"]:
        body["vault_ids"] = [id_of(app, NOUNS["vault"], vault) for vault in vaults]
    for memory in options["memories"] or ():
        name = memory.removesuffix(":ro")
        access = {"access": "read_only"} if name != memory else {}
        resources.append({"type": "memory_store", "memory_store_id": id_of(app, NOUNS["memory"], name), **access})
    resources += [resource_of(app, file_typed) for file_typed in read]
    body["resources"] = [*body.get("resources", ()), *resources]
    body["environment_variables"] = {**body.get("environment_variables", {}), **pairs}
    return {name: value for name, value in {**body, **budget, "title": options["title"]}.items() if value}


def _like(app: App, word: str, token: str | None) -> Raw:
    """Return the body of a session like what was named. Raises QoderError, also for one that shows only a part."""
    from qoder_cli.commands.target import target_of
    from qoder_cli.sessions.state import session_of

    if ids.is_deployment(word):
        like = find_deployment(app, deployment_id_of(word, app)).raw
        events = like.get("initial_events")
    else:
        like = session_of(app, target_of(word, app).session_id)
        events = []  # sent before its agent began
        log = Log(app.client, str(like["id"]))
        for event in in_order(chain.from_iterable(log.whole((*_FIRST, *AGENT_EVENTS, *ENDS)))):
            kind = str(event.get("type"))
            if kind in _FIRST:
                events.append(event)
            elif kind.startswith("agent.") or (events and kind in ENDS):  # it may be idle before its first message
                break
    if unseen := next((name for name in ("vault_ids", "resources") if name not in like), None):
        what = f"the response does not show the {unseen} of {like['id']}; nothing was started"
        raise NoResponse(what, hint="try again, or say what it is to have without --like")
    fields = settable(Deployment({**like, "initial_events": events or []}))
    if isinstance(variables := fields[VARIABLES], str):
        fields[VARIABLES] = dict(assignments(variables) or ())
    resources = [_only(_OF_RESOURCE, resource) for resource in map(mapping, fields["resources"])]
    fields["resources"] = [_with_token(resource, token) for resource in resources]
    first = [event for event in map(mapping, fields["initial_events"]) if event.get("type") in _FIRST]
    fields["initial_events"] = [_only(_FIRST[event["type"]], event) for event in first]
    kept = ("agent", "environment_id", VARIABLES, "resources", "vault_ids", "budget", "initial_events")
    return {name: fields[name] for name in kept if fields.get(name)}


def _variables(words: Sequence[str]) -> dict[str, str]:
    """Return the variables typed. Raises UsageError, which never shows a value."""
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not re.fullmatch(VARIABLE, name):
            which = f", not {name[:60]!r}" if equals else ""
            hint = "use letters, digits and _, and no name of the service itself, such as QODER_…"
            raise UsageError(f"--var takes NAME=VALUE{which}", hint=hint)
        values[name] = value
    return values


def repository(word: str, token: str | None) -> Raw:
    """Return the repository typed as URL[@REF][:MOUNT]. Raises UsageError."""
    match = _REPOSITORY.fullmatch(word)
    url = server_url(match[1]) if match else None
    if "@" in word.partition("://")[2].partition("/")[0]:
        raise UsageError("--repo: a URL must not hold a password or a token", hint="set QODER_REPO_TOKEN to it")
    if match is None or url is None or not url.path.strip("/"):
        hint = "for example https://github.com/org/repo@main:/data/repo"
        raise UsageError(f"--repo takes URL[@REF][:MOUNT], not {word[:100]!r}", hint=hint)
    _, ref, mount = match.groups()
    is_commit = bool(ref and _COMMIT.fullmatch(ref))
    checkout = {"type": "commit", "sha": ref} if is_commit else {"type": "branch", "name": ref}
    return _with_token(
        {
            "type": "github_repository" if url.hostname == "github.com" else "git_repository",
            "url": match[1],
            **filled({"checkout": ref and checkout, "mount_path": mount}),
        },
        token,
    )


def _with_token(resource: Raw, token: str | None) -> Raw:
    name = TOKENS.get(str(resource.get("type")))
    if name and token:
        return {**resource, name: token}
    return resource


def _only(names: Sequence[str], fields: Raw) -> Raw:
    return {name: fields[name] for name in names if fields.get(name) is not None}


def _create(app: App, body: Raw) -> tuple[Run, Events]:
    """Create a session. Return it, and its first events if these are still to be sent. Raises QoderError.

    A 400 that names `environment_variables` or `initial_events` is met by sending these otherwise.
    """
    later: Events = []
    while True:
        try:
            created = Run({**creating(app, _SESSION, body).deliver().raw, "type": "session"})
            break
        except Rejected as error:
            pairs = body.get("environment_variables")
            if _names(error, "environment_variables") and isinstance(pairs, dict):
                body = {**body, "environment_variables": _as_text(pairs, error)}
            elif _names(error, "initial_events") and "initial_events" in body:
                later = body["initial_events"]
                body = {name: value for name, value in body.items() if name != "initial_events"}
            else:
                raise
    app.progress.note(f"session {created.id} was created")
    compared = {name: value for name, value in body.items() if name in _COMPARED and not isinstance(value, str)}
    as_stored(app, _SESSION, form_of(_SESSION), compared, created.raw)
    return created, later


def _send_first(app: App, created: Run, events: Events) -> Events:
    """Send the first events of a session that was created, and return those accepted. Raises QoderError.

    That they were refused is no refusal of the command: the session is there.
    """
    so = f"session {created.id} was created"
    begin = {"hint": "to begin", "next": app.command("session", "send", created.id, "-m", "TEXT")}
    about: dict[str, Any] = {"session_id": created.id, **begin}
    try:
        return Delivery(app, created.id, events).write.deliver()
    except Signalled as signalled:
        why = f"interrupted; {so}, but its message was not sent"
        raise signalled.in_words(why, run_state="ended", **about) from None
    except ApiError as error:
        why = f"{so}, but its message was not sent: {error.message}"
        raise RunFailed(why, run_state="ended", cause=error, **about) from error
    except QoderError as error:
        raise error.with_(message=f"{so}; {error.message}") from error


def _names(error: ApiError, field: str) -> bool:
    return error.http_status == 400 and re.search(rf"\b{field}\b", error.message) is not None


def _as_text(pairs: Mapping[str, str], error: Rejected) -> str:
    """Return variables as text, for older servers. Raises `error` if it cannot be."""
    if any("\n" in value or "\r" in value for value in pairs.values()):
        raise error
    separator = "\n" if any(";" in value for value in pairs.values()) else ";"
    return separator.join(f"{name}={value}" for name, value in pairs.items())
