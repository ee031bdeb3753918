"""The commands that sessions have as runs do: the same functions, whose help speaks of sessions."""

import re
from collections.abc import Callable
from inspect import cleandoc, signature
from types import FunctionType
from typing import Any

from qoder_cli.cli import options
from qoder_cli.cli.options import named_at
from qoder_cli.commands import run

VERBS = tuple(verb for verb in run.COMMANDS if verb not in ("list", "get", "retry", "why"))
SHOWN = ("wait", "logs", "send")  # in help; `qoder run` takes a session for the others, too

# The help of those that wait for a turn, or show one. That of the others speaks of calls and messages.
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
    "result": """\
        Print the agent's final message; optionally download its files.

        Prints the message as plain text, nothing if there is none; JSON is the session with
        a key `result` (and `files`). The exit code is that of the latest turn: 0
        completed, 1 failed, 8 still running.
        On a terminal SESSION defaults to `last`.

        In CI, send it to a file or use --json: the text may hold commands such as
        ::error::. With --output-dir existing files are kept: a new one gets a
        number. If one cannot be saved, the others are, and the exit code says so.

        Examples:
          qoder session result sess_demo
          qoder session result sess_demo --output-dir /tmp/delivered
          qoder session result last --json | jq -r .result""",
    "cancel": """\
        Cancel what sessions are doing and wait for them to stop.

        Exits 0 once they have stopped, or if they already had; 9 when one is
        still working a minute later. Anything the agent did before is not undone.
        Asks before each one; scripts need --yes. A failure does not stop the rest.

        Examples:
          qoder session cancel sess_demo --yes
          qoder session cancel last --yes""",
}


def of_session(verb: str) -> Callable[..., Any]:
    """Return a run's command as one of a session: what it does is the same, its help and its argument are not."""
    command: Any = named_at(run.COMMANDS[verb])
    spoken: Any = FunctionType(command.__code__, command.__globals__, verb, command.__defaults__, command.__closure__)
    spoken.__kwdefaults__, spoken.__annotations__ = command.__kwdefaults__, command.__annotations__
    if verb in _HELP:
        spoken.__doc__ = cleandoc(_HELP[verb])
    else:
        spoken.__doc__ = _in_its_words(cleandoc(command.__doc__))
    spoken.__wrapped__ = command
    kept = signature(command)
    arguments = dict(zip(map(id, options.OF_RUNS), options.OF_SESSIONS, strict=True))
    parameters = [
        each.replace(default=arguments.get(id(each.default), each.default)) for each in kept.parameters.values()
    ]
    spoken.__signature__ = kept.replace(parameters=parameters)
    found: Callable[..., Any] = spoken
    return found


def _in_its_words(help: str) -> str:
    """Return the help of a run's command with SESSION for RUN, and those of its examples that name a session."""
    text, _, examples = help.replace("RUN", "SESSION").partition("Examples:\n")
    text = re.sub(r"the run's(\s+exit code)", r"the turn's\1", text)
    lines = [line.replace("qoder run", "qoder session") for line in examples.splitlines() if "sess_" in line]
    return f"{text}Examples:\n" + "\n".join(lines)
