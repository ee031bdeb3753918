"""The things named on the command line: `-` for the lines of standard input, and `last` where no run was named."""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import IO, TYPE_CHECKING

from qoder_cli.base.errors import UsageError

if TYPE_CHECKING:
    from qoder_cli.app import State

MOST = 10_000  # things one command takes: each is held, and shown, until the end
_LONGEST_LINE = 4096  # bytes; no id or name is as long, and a file without line breaks is not read whole
_MOST_LINES = 1_000_000  # with those that name nothing; whatever sends more never ends
_PIPE_IDS = "pipe in ids or names, one per line (print them with -q, not --json)"


def is_list(typed: Sequence[str]) -> bool:
    """Return whether JSON is an array, be it of one (contract, section 3)."""
    return len(typed) > 1 or "-" in typed


def or_last(typed: str | None, state: "State") -> str:
    """Return the run that was typed; where none was, `last`, said on stderr.

    Raises UsageError where no person sits at a terminal: in a script an empty variable must not stand for a run.
    """
    if typed is not None:
        return typed
    if not state.may_ask:
        raise UsageError("missing argument RUN", hint="`last` is the latest run started on this machine")
    newest = state.store.last(profile=state.settings.profile, host=state.settings.host)
    known = f" ({newest.run})" if newest and newest.run else ""
    state.progress.note(f"no RUN given; using last{known}")
    return "last"


def named(typed: Sequence[str], state: "State", *, what: str = "runs") -> list[str]:
    """Return the words that were typed, with `-` replaced by the lines of standard input.

    Blank lines, lines that start with `#`, spaces around a line and a byte order mark are ignored. `what` names the
    things in errors. Raises UsageError when nothing is left, for more than 10,000 things, and for what cannot be a list
    of names: a line of 4,096 bytes, one that is not UTF-8, a million lines.
    """
    words: list[str] = []
    for word in typed:
        words += islice(_lines_of_stdin(state, what), MOST + 1) if word == "-" else [word]
        if len(words) > MOST:
            raise UsageError(f"more than {MOST:,} {what}", hint="split the list, e.g. with split -l 10000")
    if not words:
        raise UsageError("standard input is empty", hint=_PIPE_IDS)
    return words


def confirmed(state: "State", question: str) -> bool:
    """Return whether a person says yes. What ends the question early, as Ctrl-C does, leaves its line first."""
    import typer

    from qoder_cli.output.screen import inert

    try:
        return typer.confirm(inert(question), err=True)
    except BaseException:
        state.err.tell("\n")
        raise


def _lines_of_stdin(state: "State", what: str) -> Iterator[str]:
    if state.stdin is not None and state.stdin.isatty():
        end = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D"
        state.progress.note(f"enter ids of {what}, one per line; finish with {end}")
    for number, line in enumerate(_raw_lines(state.stdin), 1):
        if number > _MOST_LINES:
            raise UsageError("standard input has more than a million lines", hint=_PIPE_IDS)
        if len(line) == _LONGEST_LINE:
            raise UsageError(f"line {number:,} of standard input is too long for an id", hint=_PIPE_IDS)
        try:
            text = line if isinstance(line, str) else line.decode("utf-8")
        except UnicodeDecodeError:
            why = f"line {number:,} of standard input is not UTF-8"
            raise UsageError(why, hint="save the file as UTF-8") from None
        name = text.removeprefix("\ufeff").strip()
        if name and not name.startswith("#"):
            yield name


def _raw_lines(stdin: "IO[str] | None") -> Iterator[str | bytes]:
    """Yield lines, long ones cut; undecoded where possible: a pipe is always UTF-8."""
    if stdin is None:
        return
    source = getattr(stdin, "buffer", stdin)
    try:
        while line := source.readline(_LONGEST_LINE):
            yield line
    except (UnicodeDecodeError, OSError) as error:
        raise UsageError(f"cannot read standard input: {error}", hint=_PIPE_IDS) from None
