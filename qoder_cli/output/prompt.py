"""Ask a person at a terminal. Only what is typed after the question, line by line, is a reply to it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from qoder_cli.base import signals
from qoder_cli.base.errors import Signalled, UsageError
from qoder_cli.output.screen import Screen

PASTED = 0.05  # seconds; what follows a line sooner was pasted with it
_TRIES = 3
_MOST_PIECES = 100  # of one paste that are dropped


def line_of(stdin: IO[str] | None, screen: Screen, prompt: str, *, nothing: str) -> str:
    """Return the line that a person types. Raises UsageError if none comes: `nothing` says what is so then."""
    from qoder_cli.output.keyboard import keys

    screen.show(prompt)
    try:
        with keys(shown=True), signals.waiting():
            line = stdin.readline() if stdin else ""
    except OSError:
        line = ""
    except BaseException:
        screen.show("\n")
        raise
    if not line.endswith("\n"):
        screen.show("\n")
        raise UsageError(f"no answer was given; {nothing}", hint="run it in a terminal, or pass --yes")
    return line.rstrip("\r\n")


def choice_of(
    stdin: IO[str] | None, screen: Screen, question: str, choices: str, *, nothing: str, default: str = ""
) -> str:
    """Return the first letter of the choice that a person types; `default` for an empty line, if there is one.

    Pasted lines are none. Raises UsageError without a choice.
    """
    letters = {word: word[0] for whole in choices.split() for word in (whole, whole[0])}
    letters |= {"": default} if default else {}
    for _ in range(_TRIES):
        reply = fresh_line_of(stdin, screen, f"{question} ", nothing=nothing).strip().lower()
        if _drops_what_was_typed(stdin):
            screen.tell("pasted text is not accepted; type the reply\n")
        elif reply in letters:
            return letters[reply]
    raise UsageError(f"no choice was made; {nothing}", hint="type one of the letters in brackets")


def fresh_line_of(stdin: IO[str] | None, screen: Screen, prompt: str, *, nothing: str) -> str:
    """Return the line typed after this prompt, and not before. Raises UsageError if none comes."""
    _drops_what_was_typed(stdin)
    return line_of(stdin, screen, prompt, nothing=nothing)


def reason_of(stdin: IO[str] | None, screen: Screen, prompt: str, *, nothing: str) -> str:
    """Return a line of free text; more lines that were pasted with it are dropped. Raises UsageError if none comes."""
    said = fresh_line_of(stdin, screen, prompt, nothing=nothing)
    _drops_what_was_typed(stdin)  # else it would be left to the shell
    return said.strip()


@contextmanager
def interrupted_with(nothing: str) -> Iterator[None]:
    """Say of a signal in this block, which asks before anything is done, that `nothing` was."""
    try:
        yield
    except Signalled as signalled:
        raise signalled.in_words(f"interrupted; {nothing}") from None


def _drops_what_was_typed(stdin: IO[str] | None) -> bool:
    """Drop the keys that wait, and those that follow at once, as of a paste. Return whether there were any."""
    if stdin is None or not stdin.isatty():
        return False
    from qoder_cli.output.keyboard import is_ready, keys

    dropped = False
    with keys(shown=True, one_by_one=True) as typed, suppress(OSError):  # else half a line would stay
        for _ in range(_MOST_PIECES):
            if not is_ready(stdin, within=PASTED) or not typed():
                break
            dropped = True
    return dropped
