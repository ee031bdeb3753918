"""`qoder session`: its commands, and those that runs have too."""

from collections.abc import Sequence

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import QoderError
from qoder_cli.cli.options import SESSION_OR_LAST, HiddenCommand, Later, Text, or_last, require_guard
from qoder_cli.commands import generic
from qoder_cli.commands.session.alike import SHOWN, VERBS, of_session
from qoder_cli.nouns.table import NOUNS
from qoder_cli.nouns.views import session_fields

_SESSION = NOUNS["session"]


def found(words: Sequence[str], app: App) -> list[str | QoderError]:
    """Return the id of each session, or of each run's session, or the error. Raises UsageError."""
    from qoder_cli.commands.target import target_of

    for word in words:
        ids.run(word)  # check all before any request
    ids_or_errors: list[str | QoderError] = []
    for word in words:
        try:
            ids_or_errors.append(target_of(word, app).session_id)
        except QoderError as error:
            ids_or_errors.append(error)
    return ids_or_errors


def get(app: App, run: Text = SESSION_OR_LAST) -> None:
    """Show a session and the outcome of its latest turn.

    In JSON a key `turn` tells how the latest turn ended, or what it waits for.
    Exits 0 in any state.

    Examples:
      qoder session get sess_demo
      qoder session get last --json | jq .usage.total_credits"""
    from qoder_cli.commands.target import target_of
    from qoder_cli.runs.observe import any_observer

    session = any_observer(app, target_of(or_last(run, app, of_sessions=True), app).session_id).read_once()
    app.output.record(session_fields(app.named(session)), data=session.as_json(), id=session.id)


def chat(app: App, run: Text = SESSION_OR_LAST) -> None:
    """Talk with the agent of a session, at a terminal.

    Enter sends, Alt-Enter begins a line, Esc interrupts the agent, Ctrl-D
    leaves: the agent keeps working, and you see the command to return. When
    the agent asks, you decide on the spot. Scripts use `session send`.

    Examples:
      qoder session chat sess_demo"""
    from qoder_cli.commands.target import target_of
    from qoder_cli.sessions.chat import chat as open_chat
    from qoder_cli.sessions.chat import require_terminal

    require_terminal(app)
    require_guard(app)
    open_chat(app, target_of(or_last(run, app, of_sessions=True), app).session_id)


COMMANDS = {
    "new": "qoder_cli.commands.session.new:new",
    "chat": chat,
    "list": generic.list_command(_SESSION),
    "get": get,
    "update": generic.edit_command(_SESSION, "update"),
    "archive": generic.change_command(_SESSION, "archive"),
    "delete": generic.change_command(_SESSION, "delete"),
    "thread": ("List threads, look at one, or archive it", generic.commands("session thread")),
    "files": "qoder_cli.commands.session.files:files",
    **{verb: Later(of_session, verb) for verb in SHOWN},
    **{verb: HiddenCommand(Later(of_session, verb)) for verb in VERBS if verb not in SHOWN},
}
