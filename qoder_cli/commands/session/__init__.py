"""`qoder session`: its commands, and those that runs have too."""

from collections.abc import Callable, Sequence
from functools import partial
from inspect import cleandoc, signature
from typing import Any

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import QoderError
from qoder_cli.cli import options
from qoder_cli.cli.options import (
    SESSION_OR_LAST,
    HiddenCommand,
    Text,
    declared,
    named_at,
    or_last,
    require_guard,
    unfolded,
)
from qoder_cli.commands import generic, run
from qoder_cli.nouns.table import NOUNS
from qoder_cli.nouns.views import session_fields

_SESSION = NOUNS["session"]
VERBS = tuple(verb for verb in run.COMMANDS if verb not in ("list", "get", "retry", "why"))
_UNFIT = {"wait": ("last", "forget", "yes", "allow_empty"), "logs": ("allow_empty",)}  # for one session
SHOWN = ("wait", "logs", "result", "send", "cancel")  # in help; `qoder run` takes any session for the others

_HELP = {
    "wait": """\
        Wait for a session to finish its turn; exit with its outcome.

        Exit codes: 0 completed, 1 failed, 9 unknown, 10 lost track of the
        session, 11 needs an answer, 124 timed out (after the last three the agent
        keeps working). Takes one session.
        On a terminal SESSION defaults to `last`.

        Examples:
          qoder session wait sess_demo""",
    "logs": """\
        Show what the agent said and did.

        Takes one session; otherwise as `run logs`. Exits 0 whatever the outcome.
        On a terminal SESSION defaults to `last`.

        Examples:
          qoder session logs sess_demo""",
    "cancel": """\
        Cancel what agents do, and wait for them to stop.

        Exits 0 once they have stopped, or already had; 9 if one still works a
        minute later. Nothing they did is undone. Asks first; scripts need --yes.
        A failure does not stop the rest.

        Examples:
          qoder session cancel sess_demo --yes""",
}


def found(words: Sequence[str], app: App) -> list[str | QoderError]:
    """Return the id of each session, or of each run's session, or the error. Raises UsageError."""
    from qoder_cli.commands.target import target_of

    writes = app.flags.purpose != "read"
    for word in words:
        ids.run(word)  # check all before any request
    ids_or_errors: list[str | QoderError] = []
    for word in words:
        try:
            ids_or_errors.append(target_of(word, app, writes=writes).session_id)
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
    open_chat(app, target_of(or_last(run, app, of_sessions=True), app, writes=True).session_id)


def of_session(verb: str) -> Callable[..., Any]:
    """Return a run's command as one of a session: what it does is the same, its argument and its help are not."""
    command = named_at(run.COMMANDS[verb])
    same = unfolded(command)
    arguments = dict(zip(map(id, options.OF_RUNS), options.OF_SESSIONS, strict=True))
    if verb in _UNFIT:
        arguments[id(options.RUNS_OR_LAST)] = options.SESSION_OR_LAST
    unfit = dict.fromkeys(_UNFIT.get(verb, ()))
    parameters = [
        (parameter.name, parameter.annotation, arguments.get(id(parameter.default), parameter.default))
        for parameter in signature(same).parameters.values()
        if parameter.name not in ("ctx", *unfit)
    ]
    help = cleandoc(_HELP.get(verb) or command.__doc__ or "")
    if verb not in _HELP:  # that of a run, with those of its examples that are of sessions
        help = help.replace("RUN", "SESSION").replace("the run's", "the turn's")
        text, _, examples = help.partition("Examples:\n")
        lines = [line for line in examples.splitlines() if f"session {verb}" in line]
        help = f"{text}Examples:\n" + "\n".join(lines)
    spoken = declared(lambda ctx, **typed: same(ctx, **unfit, **typed), help, parameters)
    vars(spoken)["__wrapped__"] = command
    return spoken


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
    **{verb: partial(of_session, verb) for verb in SHOWN},
    **{verb: HiddenCommand(partial(of_session, verb)) for verb in VERBS if verb not in SHOWN},
}
