"""The things named on the command line, with `-` for the lines of standard input."""

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


def is_list(typed: Sequence[str]) -> bool:
    """Return whether several things were named, so that the answer is an array, be it of one (contract, section 3)."""
    return len(typed) > 1 or "-" in typed


def named(typed: Sequence[str], state: "State", *, what: str = "runs") -> list[str]:
    """Return the words that were typed, with `-` replaced by the lines of standard input.

    Blank lines and lines that start with `#` are passed over, and so are spaces around a line and a byte order mark.
    `what` names the things in errors. Raises UsageError when nothing is left, for more than 10,000 things, and for what
    is no list of names: a line of 4,096 bytes, one that is not UTF-8, a million lines.
    """
    words: list[str] = []
    for word in typed:
        words += islice(_lines_of_stdin(state, what), MOST + 1) if word == "-" else [word]
        if len(words) > MOST:
            raise UsageError(
                f"more than {MOST:,} {what} were named",
                hint="give them in parts: split -l 10000 makes files of as many lines",
            )
    if not words:
        raise UsageError("standard input named nothing", hint=f"pipe the ids of {what} into it, one a line")
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
        state.progress.note(f"reading ids of {what} from the terminal, one a line, until {end}")
    for number, line in enumerate(_raw_lines(state.stdin), 1):
        if len(line) == _LONGEST_LINE or number > _MOST_LINES:
            why = f"line {number:,} is very long" if number <= _MOST_LINES else "it has a million lines"
            raise UsageError(f"standard input is no list of ids: {why}", hint="pipe ids into it, one a line")
        try:
            text = line if isinstance(line, str) else line.decode("utf-8")
        except UnicodeDecodeError:
            why = f"line {number:,} is not UTF-8"
            raise UsageError(f"standard input is no list of ids: {why}", hint="write the file as UTF-8") from None
        name = text.removeprefix("\ufeff").strip()
        if name and not name.startswith("#"):
            yield name


def _raw_lines(stdin: "IO[str] | None") -> Iterator[str | bytes]:
    """Yield lines, or the beginnings of long ones, undecoded if that can be: what is piped is UTF-8 in every locale."""
    if stdin is None:
        return
    source = getattr(stdin, "buffer", stdin)
    try:
        while line := source.readline(_LONGEST_LINE):
            yield line
    except (UnicodeDecodeError, OSError) as error:
        raise UsageError(f"standard input cannot be read: {error}", hint="pipe ids into it, one a line") from None
