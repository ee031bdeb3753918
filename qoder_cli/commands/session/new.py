"""`qoder session new`: start a session."""

from contextlib import suppress
from typing import Any

import typer

from qoder_cli.api.body import text_of
from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import InternalError, QoderError, ReaderGone, UsageError
from qoder_cli.base.model import Raw
from qoder_cli.cli.options import AGENT, Text, Texts, WaitOptions, flag, option, several, wanted_of
from qoder_cli.commands.editing import BUDGET, TITLE, OutcomeOptions, budget_of, with_outcome
from qoder_cli.commands.session.files import FileTyped, read_file, repository_token, resource_of
from qoder_cli.deployments.lookup import deployment_id_of, find_deployment
from qoder_cli.help.completion import values
from qoder_cli.nouns import named
from qoder_cli.nouns.table import NOUNS
from qoder_cli.nouns.views import session_fields
from qoder_cli.sessions import starting
from qoder_cli.sessions.answers import message
from qoder_cli.sessions.starting import create, first_messages, like, send_first
from qoder_cli.sessions.story import keys

_MESSAGE = option("--message -m", "TEXT|@FILE|-", "Task for the agent; - reads stdin.")
_ENV = option("--env", "ENV", "Environment id or name; default: the only one.", values.things("env"))
_REPO = several("--repo", "URL[@REF][:MOUNT]", "Repository; its token is in QODER_REPO_TOKEN.")
_WITH_TOKEN = flag("--with-repo-token", "Read the repositories' token from stdin.")
_OF_STORE = "Memory store; :ro forbids writing."
_LIKE = option("--like", "RUN", "Copy the setup of a run, session or deployment.")


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
    if message is None and like is None and wanted and not outcome:
        raise UsageError("--wait, --follow and --result need a message", hint="add --message")
    if message == "-" and with_repo_token:
        raise UsageError("--message - and --with-repo-token both read standard input", hint="set QODER_REPO_TOKEN")
    text = None if message is None else text_of(message, stdin=app.stdin, option="--message")
    if text is not None and not text.strip():
        raise UsageError("the message is empty", hint="is a shell variable unset?")
    token = _token(app, with_repo_token)
    began = app.clock.monotonic()
    body = _body(app, ctx.params, text, token)
    if outcome:
        body["initial_events"] = with_outcome(body.get("initial_events", ()), outcome)
    app.progress.note(f"starting a session{app.client.settings.whereabouts}")
    session, later = create(app, body)
    events = []
    if later:
        try:
            events = send_first(app, session, later)
        except QoderError:
            with suppress(ReaderGone, InternalError):  # the error decides, whoever still listens
                app.output.record(session_fields(app.named(session)), data=session.as_json(), id=session.id)
            raise
    if chat:
        return open_chat(app, session.id)
    if wanted and body.get("initial_events"):
        from qoder_cli.runs.awaiting import wait_for
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


def _body(app: App, options: Raw, text: str | None, token: str | None) -> Raw:
    """Return the body; read all files before any request. Raises QoderError."""
    read: list[FileTyped] = [read_file(file, "--file") for file in options["files"] or ()]
    pairs = starting.variables(options["variables"] or ())
    resources = [starting.repository(repository, token) for repository in options["repositories"] or ()]
    budget = budget_of(options["budget"])
    body = _like(app, options["like"], token) if options["like"] is not None else {}
    model = options["model"]
    if options["agent"] is not None:
        body["agent"] = starting.agent_of(app, options["agent"], model)
    else:
        body["agent"] = starting.with_model(body["agent"], model)
    if options["environment"] is not None:
        body["environment_id"] = named.id_of(app, NOUNS["env"], options["environment"])
    elif "environment_id" not in body:
        body["environment_id"] = named.only_environment(app)
    if vaults := options["vaults"]:
        body["vault_ids"] = [named.id_of(app, NOUNS["vault"], vault) for vault in vaults]
    resources += [starting.memory(app, memory) for memory in options["memories"] or ()]
    resources += [resource_of(app, file_typed) for file_typed in read]
    body["resources"] = [*body.get("resources", ()), *resources]
    body["environment_variables"] = {**body.get("environment_variables", {}), **pairs}
    if text is not None:
        body["initial_events"] = message(text)
    return {name: value for name, value in {**body, **budget, "title": options["title"]}.items() if value}


def _like(app: App, word: str, token: str | None) -> Raw:
    from qoder_cli.commands.target import target_of
    from qoder_cli.sessions.state import session_of

    if ids.is_deployment(word):
        deployment = find_deployment(app, deployment_id_of(word, app)).raw
        return like(deployment, deployment.get("initial_events"), token)
    session = session_of(app, target_of(word, app).session_id)
    return like(session, list(first_messages(app, str(session["id"]))), token)
