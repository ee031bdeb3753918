"""Values that know how they look: as text in a pipe, for sorting, and on a terminal (`tables.py`)."""

import re
from typing import Any, NamedTuple

from qoder_cli.base.times import unix
from qoder_cli.output.screen import inert


class Id(NamedTuple):
    """An id; a column of a terminal may show its beginning only."""

    text: str


class Name(NamedTuple):
    """What people call something: the last to be cut in a column of a terminal."""

    text: str


class NamedId(NamedTuple):
    """The id of something with a name: the id in a pipe, in a column of a terminal the name."""

    text: str
    name: str


class Beside(NamedTuple):
    """A text that has a line of its own in a pipe only: a terminal shows it with another."""

    text: str


class Words(NamedTuple):
    """A text that may be cut in a column of a terminal, to `least` columns."""

    text: str
    least: int = 10


class Moment(NamedTuple):
    """A timestamp; on a terminal its age at `now`, or in local time and its `zone`."""

    text: str
    now: float | None = None
    zone: str | None = None


class Milliseconds(NamedTuple):
    """A duration: seconds in a pipe."""

    milliseconds: int


class Status(NamedTuple):
    """A status word; it has a colour on a terminal."""

    word: str


class Outcomes(NamedTuple):
    """Statuses, newest last: signs on a terminal, letters in a pipe. None: unknown."""

    words: tuple[str | None, ...]


class Durations(NamedTuple):
    """Durations, newest last: bars on a terminal, seconds in a pipe. None: unknown."""

    milliseconds: tuple[int | None, ...]


class Share(NamedTuple):
    """A part of a whole, from 0 to 1: a bar on a terminal, and nowhere else."""

    share: float


Fields = dict[str, Any]  # key -> str, number, one of the above, a list of them, or None

ABSENT = "-"
WAITS = "waits for you"  # the status of a run that asks a person, and for how long it has
_LETTERS = {"completed": "C", "failed": "F", "skipped": "S", "running": "R", "pending": "P"}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?%?", re.ASCII)


def plain(value: Any) -> str:
    """Return a value as text for a pipe; `-` if it is absent."""
    match value:
        case None:
            return ABSENT
        case Id(text) | Name(text) | NamedId(text) | Beside(text) | Moment(text) | Words(text) | Status(text):
            return inert(text)
        case Milliseconds(milliseconds):
            return f"{milliseconds / 1000:.3f}"
        case Outcomes(words):
            return "".join("?" if word is None else _LETTERS.get(word, "!") for word in words)
        case Durations(milliseconds):
            return " ".join("-" if duration is None else f"{duration / 1000:.3f}" for duration in milliseconds)
        case bool():
            if value:
                return "yes"
            return "no"
        case list():
            return ", ".join(map(plain, value))
        case _:
            return inert(str(value))


def sorting_key(value: Any) -> tuple[int, float, str]:
    """Return what a column is sorted by: numbers and times by size, then texts by their letters; names by name."""
    match value:
        case NamedId(_, text):
            text = inert(text)
        case Moment(text) if (seconds := unix(text)) is not None:
            return 0, seconds, ""
        case _:
            text = plain(value)
    if _NUMBER.fullmatch(text):
        return 0, float(text.rstrip("%")), ""
    return 1, 0.0, text.casefold()
