"""Ask a person at a terminal. Only what is typed once the question could be read, line by line, is a reply to it."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from qoder_cli.base import signals
from qoder_cli.base.errors import Signalled, UsageError
from qoder_cli.base.pool import Late
from qoder_cli.output.screen import Screen

PASTED = 0.05  # seconds; what follows a key or a line sooner was pasted with it
READ_WITHIN = 0.5  # seconds that a question is on the screen before a key can be a reply to it
_TRIES = 3
_TICK = 0.25  # seconds between two looks at the clock, and for a signal
_MOST_READ = 1024  # bytes of a terminal's line in one reading
_MOST_PIECES = 100  # of one paste that are dropped

Left = Callable[[], float]  # the seconds until a deadline


def line_of(
    stdin: IO[str] | None,
    screen: Screen,
    prompt: str,
    *,
    nothing: str,
    left: Left | None = None,
    once_read: bool = False,
) -> str:
    """Return the line that a person types. Raises UsageError if none comes, which says that `nothing` was done.

    Raises Late if no time is `left`; on Windows once a line was typed.

    With `once_read`, what is typed before the prompt could be read is dropped. After a stop (Ctrl-Z) it asks again:
    what was typed meanwhile was for the shell.
    """
    from qoder_cli.base.keyboard import keys

    try:
        with signals.stops() as stopped:
            if once_read:
                _drop_typed(stdin, lambda: screen.show(prompt))
            else:
                screen.show(prompt)
            with keys(shown=True), signals.waiting():
                line = _next_line(stdin, left, stopped) if stdin else ""
                if left is not None and left() <= 0:
                    raise Late
        if stopped:
            return line_of(stdin, screen, prompt, nothing=nothing, left=left, once_read=True)
    except OSError:
        line = ""
    except BaseException:
        screen.show("\n")
        raise
    if not line.endswith("\n"):
        screen.show("\n")
        is_terminal = stdin is not None and stdin.isatty()
        hint = "type a reply, and press Enter" if is_terminal else "run it in a terminal, or pass --yes"
        raise UsageError(f"no answer was given; {nothing}", hint=hint)
    return line.rstrip("\r\n")


def _next_line(stdin: IO[str], left: Left | None, stopped: Sequence[int]) -> str:
    """Return what is typed up to its end, to that of the line, or until it was `stopped`. Raises Late, OSError.

    A terminal is looked at again and again: a signal that comes right before a read would not end that.
    """
    if sys.platform == "win32" or not stdin.isatty():
        return stdin.readline()
    from qoder_cli.base.keyboard import is_ready

    line = b""
    while not line.endswith(b"\n") and not stopped:
        seconds = _TICK
        if left is not None and (seconds := min(left(), _TICK)) <= 0:
            raise Late
        if is_ready(stdin, within=seconds):
            piece = os.read(stdin.fileno(), _MOST_READ)
            line += piece
            if len(piece) < _MOST_READ and not piece.endswith(b"\n"):  # Ctrl-D, perhaps behind a text
                break
    return line.decode(getattr(stdin, "encoding", None) or "utf-8", "replace")


def choice_of(
    stdin: IO[str] | None,
    screen: Screen,
    question: str,
    choices: str,
    *,
    nothing: str,
    default: str = "",
    left: Left | None = None,
) -> str:
    """Return the first letter of the choice that a person types; `default` for an empty line, if there is one.

    Pasted lines are none. Raises UsageError without a choice, Late if no time is `left`.
    """
    letters = {word: word[0] for whole in choices.split() for word in (whole, whole[0])}
    if default:
        letters[""] = default

    for _ in range(_TRIES):
        line = line_of(stdin, screen, f"{question} ", nothing=nothing, left=left, once_read=True)
        reply = line.strip().lower()
        if _drop_typed(stdin):
            screen.print("pasted text is not accepted; type the reply\n")
        elif reply in letters:
            return letters[reply]
    raise UsageError(f"no choice was made; {nothing}", hint="type one of the letters in brackets")


def reason_of(stdin: IO[str] | None, screen: Screen, prompt: str, *, nothing: str, left: Left | None = None) -> str:
    """Return a line of free text; more lines that were pasted with it are dropped. Raises as `line_of` does."""
    _drop_typed(stdin)
    reply = line_of(stdin, screen, prompt, nothing=nothing, left=left)
    _drop_typed(stdin)  # else it would be left to the shell
    return reply.strip()


@contextmanager
def interrupted_with(nothing: str) -> Iterator[None]:
    """Say of a signal in this block, which asks before anything is done, that `nothing` was."""
    try:
        yield
    except Signalled as signalled:
        raise signalled.in_words(f"interrupted; {nothing}") from None


def _drop_typed(stdin: IO[str] | None, ask: Callable[[], object] | None = None) -> bool:
    """Drop the keys that wait, with all that is pasted with them; if it is to `ask`, those typed before that could be
    read, too. Return whether there were any.
    """
    if stdin is None or not stdin.isatty():
        if ask is not None:
            ask()
        return False
    from qoder_cli.base.keyboard import is_ready, keys

    is_any = False

    def drop(within: float) -> None:
        nonlocal is_any
        until = time.monotonic() + within
        for _ in range(_MOST_PIECES):
            if not (is_ready(stdin, within=max(until - time.monotonic(), PASTED)) and read_typed()):
                break
            is_any = True

    with (
        keys(shown=False, one_by_one=True) as read_typed,
        signals.waiting(),
        suppress(OSError),
    ):  # else half a line stays
        drop(0.0)
        if ask is not None:
            ask()
            drop(READ_WITHIN)
    return is_any
