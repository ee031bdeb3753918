"""The commands that sessions have as runs do: the same functions under two nouns, with help that speaks of sessions."""

from collections.abc import Callable
from inspect import cleandoc, signature
from typing import Any

from qoder_cli.cli import options
from qoder_cli.cli.options import declared, named_at, unfolded
from qoder_cli.commands import run

VERBS = tuple(verb for verb in run.COMMANDS if verb not in ("list", "get", "retry", "why"))
SHOWN = ("wait", "logs", "send")  # in help; `qoder run` takes a session for the others, too

_HELP = {
    "wait": """\
        Wait for sessions to finish their turn; exit with its outcome.

        Exit codes: 0 completed, 1 failed, 9 unknown, 10 lost track of the
        session, 11 needs an answer, 124 timed out (after the last three the agent
        keeps working). With several sessions, the worst one.
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
        Cancel what sessions are doing and wait for them to stop.

        Exits 0 once they have stopped, or already had; 9 if one still works a
        minute later. Nothing the agent did is undone. Asks first; scripts need
        --yes. A failure does not stop the rest.

        Examples:
          qoder session cancel sess_demo --yes""",
}


def of_session(verb: str) -> Callable[..., Any]:
    """Return a run's command as one of a session: what it does is the same, its argument and its help are not."""
    command = named_at(run.COMMANDS[verb])
    same = unfolded(command)
    arguments = dict(zip(map(id, options.OF_RUNS), options.OF_SESSIONS, strict=True))
    parameters = [
        (parameter.name, parameter.annotation, arguments.get(id(parameter.default), parameter.default))
        for parameter in signature(same).parameters.values()
        if parameter.name != "ctx"
    ]
    help = cleandoc(_HELP[verb]) if verb in _HELP else _in_its_words(cleandoc(command.__doc__ or ""), verb)
    spoken = declared(lambda ctx, **typed: same(ctx, **typed), help, parameters)
    vars(spoken)["__wrapped__"] = command
    return spoken


def _in_its_words(help: str, verb: str) -> str:
    """Return the help of a run's command with SESSION for RUN, and those of its examples that are of sessions."""
    text, _, examples = help.replace("RUN", "SESSION").replace("the run's", "the turn's").partition("Examples:\n")
    return f"{text}Examples:\n" + "\n".join(line for line in examples.splitlines() if f"session {verb}" in line)
