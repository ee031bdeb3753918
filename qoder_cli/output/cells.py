"""Values that know how they look: as plain text in a pipe, as a cell on a terminal."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from qoder_cli.base.times import local_time, parse_timestamp, span
from qoder_cli.output.screen import inert


class Moment(NamedTuple):
    """A timestamp as the server wrote it; on a terminal it is shown in local time."""

    text: str


class Fire(NamedTuple):
    """A moment to come, as the server wrote it; on a terminal in local time and in the zone of its schedule."""

    text: str
    zone: str | None


class Milliseconds(NamedTuple):
    """A duration; on a terminal it is shown as people read it, in a pipe in seconds."""

    milliseconds: int


class Status(NamedTuple):
    """A status word; on a terminal it has a colour."""

    word: str


class Words(NamedTuple):
    """A text that may be cut to fit into a column on a terminal; nothing else ever is."""

    text: str


class Outcomes(NamedTuple):
    """Statuses in a row, the newest last: a sign each on a terminal, a letter each in a pipe. None: not knowable."""

    words: tuple[str | None, ...]


class Durations(NamedTuple):
    """Durations in a row, the newest last: bars on a terminal, seconds in a pipe. None: there is none."""

    milliseconds: tuple[int | None, ...]


class Cell(NamedTuple):
    """Text for a terminal: pieces, each with the name of its style or an empty one."""

    pieces: tuple[tuple[str, str], ...]
    may_be_cut: bool = False

    @property
    def text(self) -> str:
        """The text without styles."""
        return "".join(text for text, _ in self.pieces)


Fields = dict[str, Any]  # column or key -> str, number, one of the above, a list of them, or None when absent

COLOURS = {"completed": "green", "active": "green", "failed": "red", "skipped": "yellow", "paused": "yellow"}
_SIGNS = {"completed": "✓", "failed": "✗", "skipped": "–", "running": "…", "pending": "…"}
_LETTERS = {"completed": "C", "failed": "F", "skipped": "S", "running": "R", "pending": "P"}
_BARS = "▁▂▃▄▅▆▇█"


def plain(value: Any) -> str:
    """Return a value as it stands in a pipe; `-` for an absent one."""
    match value:
        case None:
            return "-"
        case Moment(text) | Fire(text, _) | Words(text) | Status(text):
            return inert(text)
        case Milliseconds(milliseconds):
            return f"{milliseconds / 1000:.3f}"
        case Outcomes(words):
            return "".join("?" if word is None else _LETTERS.get(word, "!") for word in words)
        case Durations(milliseconds):
            return " ".join("-" if each is None else f"{each / 1000:.3f}" for each in milliseconds)
        case bool():
            return "yes" if value else "no"
        case _:
            return inert(str(value))


def cell(value: Any) -> Cell:
    """Return a value as it stands on a terminal."""
    match value:
        case Moment(text):
            return _one(inert(local_time(text)))
        case Fire(text, zone):
            return _one(inert(local_time(text)), _elsewhere(text, zone))
        case Milliseconds(milliseconds):
            return _one(span(milliseconds / 1000))
        case Status(word):
            return Cell(((inert(word), COLOURS.get(word, "")),))
        case Words(text):
            return Cell(((inert(text), ""),), may_be_cut=True)
        case Outcomes(words):
            return Cell((*(("?", "") if word is None else _sign(word) for word in words), ("  newest right", "dim")))
        case Durations(milliseconds):
            return _bars(milliseconds)
        case _:
            return _one(plain(value))


def has_time(value: Any) -> bool:
    """Return whether a value is shown in local time."""
    return isinstance(value, Moment | Fire)


def _one(text: str, faint: str = "") -> Cell:
    return Cell(((text, ""), (faint, "dim"))) if faint else Cell(((text, ""),))


def _sign(word: str) -> tuple[str, str]:
    return _SIGNS.get(word, "!"), COLOURS.get(word, "")


def _bars(milliseconds: Sequence[int | None]) -> Cell:
    """Return a bar for each duration, the longest being full; a space where there is none."""
    known = [each for each in milliseconds if each is not None]
    if not known:
        return _one("-")
    step = max(*known, 1) / len(_BARS)
    bars = (" " if each is None else _BARS[min(int(each / step), len(_BARS) - 1)] for each in milliseconds)
    return _one("".join(bars), f"  up to {span(max(known) / 1000)}")


def _elsewhere(text: str, zone: str | None) -> str:
    """Return the same moment on the clocks of a zone; nothing where they show the same, or the zone is not known."""
    from zoneinfo import ZoneInfo

    moment = parse_timestamp(text)
    try:
        there = local_time(text, zone=ZoneInfo(zone or ""))
    except (ValueError, OSError, LookupError):  # no such zone, or a platform without a time zone database
        return ""
    return f"  {there} {zone}" if moment and there != local_time(text) else ""
