"""When a schedule fires: five-field cron expressions in a time zone (api/facts.md, 1.2).

cronsim walks the calendar; its zones and its rules for clock changes lose fires, and are not used.
A time that a spring gap leaves out does not fire, one that comes twice in autumn fires twice.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from itertools import islice

from cronsim import CronSim, CronSimError

from qoder_cli.base.tokens import shortened

_WEEKDAY = 4  # the place of that field
_ANY_DAY = datetime(2000, 1, 1)
_LONGEST_REPEAT = timedelta(days=1)  # by which a clock was ever turned back, at most


_FIELDS = (  # the name of each, and what it takes
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31"),
    ("month", "1 to 12 or jan to dec"),
    ("day of the week", "0 to 7 or sun to sat"),
)
_SHORTCUTS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PART = re.compile(r"(\*|(?P<first>[0-9a-z]{1,9})(-(?P<last>[0-9a-z]{1,9}))?)(/(?P<step>[0-9]{1,9}))?")
# What cronsim takes, and the API does not.
_EXTENDED = re.compile(r"[0-9-]*[LW]+(/.*)?|.*[#?].*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression. Weekdays count from Sunday, 0; one that can never fire has no days."""

    text: str = field(compare=False)  # as cronsim reads it
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool  # both day fields are restricted: one of them is enough

    @property
    def never(self) -> bool:
        """Whether it can never fire, like one for the 30th of February."""
        return not self.days

    def fires(self, *, after: float, zone: tzinfo) -> Iterator[float]:
        """Yield the unix times at which it fires, strictly after `after`, soonest first."""
        repeated: list[float] = []  # what comes again once the clock was turned back
        with suppress(OverflowError):  # the calendar ends with the year 9999
            begin = datetime.fromtimestamp(after, zone).replace(tzinfo=None) - _LONGEST_REPEAT
            for wall in () if self.never else CronSim(self.text, begin):
                first = wall.replace(tzinfo=zone).timestamp()
                while repeated and repeated[0] < first:
                    yield repeated.pop(0)
                # The clock of a zone never shows a time that a gap leaves out.
                is_shown = datetime.fromtimestamp(first, zone).replace(tzinfo=None, fold=0) == wall
                if first > after and is_shown:
                    yield first
                again = wall.replace(tzinfo=zone, fold=1).timestamp()
                if again > max(first, after):
                    repeated.append(again)


@cache
def parse(expression: str) -> Cron:
    """Return the meaning of `expression`; months and weekdays may be names, in any case.

    Where a day field starts with `*`, also as in `*/2`, both day fields have to match; otherwise one is
    enough. Raises ValueError, naming the field and what it takes.
    """
    fields = expression.split()
    if longhand := _SHORTCUTS.get(" ".join(fields).lower()):
        raise ValueError(f"{fields[0]} is not supported; use {longhand}")
    if len(fields) != len(_FIELDS):
        raise ValueError(f"expected 5 fields (minute hour day month weekday), got {len(fields)}")
    parts = [[_checked(part, place) for part in each.split(",")] for place, each in enumerate(fields)]
    text = " ".join(map(",".join, parts))
    try:
        read = CronSim(text, _ANY_DAY)
    except CronSimError:  # each part can be: it is a day that none of the months has
        return Cron(text, (), (), frozenset(), frozenset(), frozenset(), either_day=False)
    return Cron(
        text,
        minutes=tuple(sorted(read.minutes)),
        hours=tuple(sorted(read.hours)),
        days=frozenset(read.days),
        months=frozenset(read.months),
        weekdays=frozenset(int(day) % 7 for day in read.weekdays if isinstance(day, int)),
        either_day=not read.day_and,
    )


def _checked(part: str, place: int) -> str:
    """Return a part of the field at a place as cronsim has to read it. Raises ValueError."""
    if _EXTENDED.fullmatch(part):
        raise _invalid(part, place, "; L, W, # and ? are not supported")
    shape = _PART.fullmatch(part.lower())
    if shape is None:
        raise _invalid(part, place)
    first, last, step = shape["first"], shape["last"], shape["step"]
    if any(end and not _takes(end, place) for end in (first, last)):
        raise _invalid(part, place)
    if step and int(step) < 1:
        raise _invalid(part, place, "; a step is at least 1")
    read = _for_cronsim(first, last, step, place)
    if not _takes(read, place):
        raise _invalid(part, place, "; a range goes from low to high")
    return read


def _invalid(part: str, place: int, why: str = "") -> ValueError:
    name, takes = _FIELDS[place]
    return ValueError(f"invalid {name} {shortened(part, 20)!r} ({takes}{why})")


def _for_cronsim(first: str | None, last: str | None, step: str | None, place: int) -> str:
    """Return a part so that cronsim finds what is meant; it would not end `5-5/10` at 5."""
    if first is None:
        return f"*/{step}" if step else "*"
    if place == _WEEKDAY and step and not last:
        last = first if first == "7" else "6"  # an open range ends before the second Sunday
    if place == _WEEKDAY and last == "sun" and first not in ("0", "sun"):
        last = "7"
    if last is None or last == first:
        return first
    return f"{first}-{last}/{step}" if step else f"{first}-{last}"


def _takes(part: str, place: int) -> bool:
    try:
        CronSim(" ".join(part if at == place else "*" for at in range(5)), _ANY_DAY)
    except CronSimError:
        return False
    return True


def zone(name: str) -> tzinfo:
    """Return the IANA zone `name`; UTC needs no time zone data. Raises ValueError when it is unknown."""
    if name in ("UTC", "Etc/UTC"):
        return UTC
    from zoneinfo import ZoneInfo  # costs more than the rest of this module

    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:  # OSError: a name that is a folder of the zone data
        raise ValueError(f"unknown time zone {name!r}") from error


def upcoming(expression: str, timezone: str, *, after: float, count: int = 5) -> list[float]:
    """Return the next `count` unix times after `after`. Raises ValueError as `parse` and `zone` do."""
    return list(islice(parse(expression).fires(after=after, zone=zone(timezone)), count))
