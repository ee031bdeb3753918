"""Values that know how they look: plain text in a pipe, a cell on a terminal."""

from typing import Any, Literal, NamedTuple

from qoder_cli.base.times import coarse, local_time, parse_timestamp, span
from qoder_cli.output.screen import inert


class Id(NamedTuple):
    """An id; it may be shortened in a column of a terminal."""

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


class Cell(NamedTuple):
    """Text for a terminal: pieces, each with the name of its style or an empty one.

    Words may be cut to `least` columns, ids be shortened. `more` is said of it where there is room. What is
    `measured`, a time, tells rows apart, also where some happen to show the same.
    """

    pieces: tuple[tuple[str, str], ...]
    kind: Literal["whole", "words", "id"] = "whole"
    least: int = 0
    more: str = ""
    measured: bool = False

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.pieces)

    @property
    def full(self) -> str:
        """The text, and what more there is to say."""
        if self.more:
            return f"{self.text} ({self.more})"
        return self.text


Fields = dict[str, Any]  # key -> str, number, one of the above, a list of them, or None

ABSENT = "-"
COLOURS = {"completed": "green", "active": "green", "failed": "red", "skipped": "yellow", "paused": "yellow"}
_SIGNS = {"completed": "✓", "failed": "✗", "skipped": "–", "running": "…", "pending": "…"}
_LETTERS = {"completed": "C", "failed": "F", "skipped": "S", "running": "R", "pending": "P"}
_BARS = "▁▂▃▄▅▆▇█"
_LEAST_NAME = 14  # columns
WAITS = "waits for you"  # the status of a run that asks a person, and for how long it has


def plain(value: Any) -> str:
    """Return a value as text for a pipe; `-` if it is absent."""
    match value:
        case None:
            return ABSENT
        case Id(text) | NamedId(text) | Beside(text) | Moment(text) | Words(text) | Status(text):
            return inert(text)
        case Milliseconds(milliseconds):
            return f"{milliseconds / 1000:.3f}"
        case Outcomes(words):
            return "".join("?" if word is None else _LETTERS.get(word, "!") for word in words)
        case Durations(milliseconds):
            return " ".join("-" if each is None else f"{each / 1000:.3f}" for each in milliseconds)
        case bool():
            if value:
                return "yes"
            return "no"
        case _:
            return inert(str(value))


def cell(value: Any) -> Cell:
    """Return a value as a cell for a terminal."""
    match value:
        case Id(text):
            return Cell(((inert(text), ""),), "id")
        case NamedId(text, name):
            return Cell(((inert(name), ""),), "words", _LEAST_NAME, inert(text))
        case Words(text, least):
            return Cell(((inert(text), ""),), "words", least)
        case Moment(text, None, zone):
            return _cell_of(inert(local_time(text)), _elsewhere(text, zone))._replace(measured=True)
        case Moment(text, now) if now is not None:
            return _cell_of(_ago(text, now))._replace(measured=True)
        case Milliseconds(milliseconds):
            return _cell_of(span(milliseconds / 1000))._replace(measured=True)
        case Status(word):
            return Cell(((inert(word), _colour(word)),), measured=word.startswith(WAITS))
        case Outcomes(words):
            pieces = [("?", "") if word is None else (_SIGNS.get(word, "!"), COLOURS.get(word, "")) for word in words]
            return Cell((*pieces, ("  (newest →)", "dim")))
        case Durations(milliseconds) if lasted := [each for each in milliseconds if each is not None]:
            step = max(*lasted, 1) / len(_BARS)  # the longest is full
            bars = (" " if each is None else _BARS[min(int(each / step), len(_BARS) - 1)] for each in milliseconds)
            return _cell_of("".join(bars), f"  up to {span(max(lasted) / 1000)}")
        case Durations():
            return _cell_of("-")
        case _:
            return _cell_of(plain(value))


def _colour(status: str) -> str:
    return "yellow" if status.startswith(WAITS) else COLOURS.get(status, "")


def has_time(value: Any) -> bool:
    """Return whether a value is shown in local time."""
    return isinstance(value, Moment) and value.now is None


def _cell_of(text: str, faint: str = "") -> Cell:
    return Cell(((text, ""), (faint, "dim")))


def _ago(text: str, now: float) -> str:
    moment = parse_timestamp(text)
    if moment is None:
        return inert(text)
    seconds = now - moment.timestamp()
    if seconds < -60:  # further ahead than clocks differ
        return inert(local_time(text))
    if seconds >= 1:
        return f"{coarse(seconds)} ago"
    return "now"


def _elsewhere(text: str, zone: str | None) -> str:
    """Return the time in a zone; empty if it is local time, or no known zone."""
    if not zone:
        return ""
    from zoneinfo import ZoneInfo

    moment = parse_timestamp(text)
    try:
        there = local_time(text, zone=ZoneInfo(zone))
    except (ValueError, OSError, LookupError):  # no such zone, or no database of them
        return ""
    if moment and there != local_time(text):
        return f"  {there} {zone}"
    return ""
