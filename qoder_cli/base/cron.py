"""When a schedule fires, and how that is said: cron expressions in a time zone (api.md#deployments).

cronsim walks the calendar; its zones and its rules for clock changes lose fires, and are not used.
A time that a spring gap leaves out does not fire, one that comes twice in autumn fires twice.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from itertools import islice, takewhile
from math import inf
from typing import Any

from qoder_cli.base.model import text
from qoder_cli.base.times import utc_text
from qoder_cli.base.words import shortened

_LONGEST_REPEAT = timedelta(days=1)  # by which a clock was ever turned back, at most

_MONTHS, _WEEKDAYS = "jan feb mar apr may jun jul aug sep oct nov dec", "sun mon tue wed thu fri sat"
_FIELDS = (  # the name of each, what it takes, its lowest and highest number, and names in their order
    ("minute", "0 to 59", 0, 59, ""),
    ("hour", "0 to 23", 0, 23, ""),
    ("day of the month", "1 to 31", 1, 31, ""),
    ("month", "1 to 12 or jan to dec", 1, 12, _MONTHS),
    ("day of the week", "0 to 7 or sun to sat", 0, 7, _WEEKDAYS),
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
# Names have three letters: what else cronsim takes (L, W, #) the API does not.
_PART = re.compile(r"(\*|(?P<first>\d{1,9}|[a-z]{3})(-(?P<last>\d{1,9}|[a-z]{3}))?)(/(?P<step>\d{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression. Weekdays count from Sunday, 0. One that never fires has no days."""

    text: str = field(compare=False)  # as cronsim reads it
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool  # both day fields are restricted: one of them is enough

    def fires(self, *, after: float, zone: tzinfo) -> Iterator[float]:
        """Yield the unix times at which it fires, strictly after `after`, soonest first."""
        if not self.days:
            return
        from cronsim import CronSim

        repeated: list[float] = []  # what comes again once the clock was turned back
        with suppress(OverflowError):  # the calendar ends with the year 9999
            begin = datetime.fromtimestamp(after, zone).replace(tzinfo=None) - _LONGEST_REPEAT
            for wall in CronSim(self.text, begin):
                first = wall.replace(tzinfo=zone).timestamp()
                while repeated and repeated[0] < first:
                    yield repeated.pop(0)
                # The clock of a zone never shows a time that a gap leaves out.
                is_shown = datetime.fromtimestamp(first, zone).replace(tzinfo=None) == wall
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
    from cronsim import CronSimError

    fields = expression.split()
    if longhand := _SHORTCUTS.get(" ".join(fields).lower()):
        raise ValueError(f"{fields[0]} is not supported; use {longhand}")
    if len(fields) != len(_FIELDS):
        raise ValueError(f"expected 5 fields (minute hour day month weekday), got {len(fields)}")
    parts = [",".join(_checked(part, place) for part in each.split(",")) for place, each in enumerate(fields)]
    text = " ".join(",".join(dict.fromkeys(part.split(","))) for part in parts)
    try:
        return _read(text)
    except CronSimError:  # each part can be: it is a day that none of the months has
        return Cron(text, (), (), frozenset(), frozenset(), frozenset(), either_day=False)


def _read(text: str) -> Cron:
    from cronsim import CronSim

    read = CronSim(text, datetime.min)  # only read: from when on does not matter
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
    """Return one part of a field as cronsim reads it: `*`, `*/2`, or numbers. Raises ValueError."""
    name, takes, low, high, names = _FIELDS[place]
    invalid = f"invalid {name} {shortened(part, 20)!r} ({takes}"
    shape = _PART.fullmatch(part.lower())
    if shape is None:
        raise ValueError(f"{invalid})")
    numbers = {word: number for number, word in enumerate(names.split(), low)}
    ends = [numbers.get(end, int(end) if end.isdigit() else -1) for end in shape.group("first", "last") if end]
    if not all(low <= end <= high for end in ends):
        raise ValueError(f"{invalid})")
    step = int(shape["step"] or 1)
    if step < 1:
        raise ValueError(f"{invalid}; a step is at least 1)")
    if not ends:
        return part
    first, last = ends[0], ends[-1]
    if names == _WEEKDAYS:
        high = max(6, first)  # an open range ends before the second Sunday
        if shape["last"] == "sun" and first:
            last = 7
    if shape["step"] and not shape["last"]:
        last = high
    if first > last:
        raise ValueError(f"{invalid}; a range goes from low to high)")
    numbers_of_days = range(first, last + 1, step)
    if names == _WEEKDAYS:
        return ",".join(str(day % 7) for day in numbers_of_days)
    return ",".join(map(str, numbers_of_days))


def zone(name: str) -> tzinfo:
    """Return the IANA zone `name`; UTC needs no time zone data. Raises ValueError if unknown."""
    if name in ("UTC", "Etc/UTC"):
        return UTC
    from zoneinfo import ZoneInfo  # costs more than the rest of this module

    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:  # OSError: a folder of the zone data
        raise ValueError(f"unknown time zone {name!r}") from error


def upcoming(schedule: Mapping[str, Any], *, after: float, until: float = inf, count: int = 5) -> tuple[float, ...]:
    """Return when a deployment's schedule fires, in unix seconds, `count` times at most. Raises ValueError."""
    return _walked(text(schedule.get("expression")) or "", text(schedule.get("timezone")) or "", after, until, count)


@lru_cache(512)  # many deployments have the same schedule
def _walked(expression: str, timezone: str, after: float, until: float, count: int) -> tuple[float, ...]:
    walk = parse(expression).fires(after=after, zone=zone(timezone))
    return tuple(islice(takewhile(lambda at: at <= until, walk), count))


def in_words(expression: str) -> str:
    """Return when an expression fires, in words: `at 09:00 on Monday`. Raises ValueError."""
    from cronsim import CronSim, CronSimError

    meaning = parse(expression)
    if not meaning.days:
        return "never: no such day exists"
    spellings = [meaning.text]
    with suppress(CronSimError):
        if _read(expression.upper()) == meaning:  # ranges as they were typed are shorter
            spellings.append(expression.upper())
    if meaning.either_day and (len(meaning.days) == 31 or len(meaning.weekdays) == 7):
        fields = map(str.split, spellings)  # one of the two fields takes every day
        spellings = [f"{minute} {hour} * {month} *" for minute, hour, _, month, _ in fields]
    words = min((CronSim(spelling, datetime.min).explain() for spelling in spellings), key=len)
    return words[0].lower() + words[1:]


def words_of(schedule: Mapping[str, Any]) -> str | None:
    """Return a deployment's schedule in words, with its zone; None when there is none."""
    try:
        words = in_words(text(schedule.get("expression")) or "")
    except ValueError:
        return None
    zone = text(schedule.get("timezone"))
    if zone:
        return f"{words} ({zone})"
    return words


def next_fires(schedule: Mapping[str, Any], *, now: float, count: int = 5) -> list[str]:
    """Return when a schedule fires next, as RFC 3339 UTC texts, nearest first.

    The server's own list goes before what is worked out from `now` (unix seconds), also when it is empty:
    an archived deployment does not fire.
    """
    fires = schedule.get("upcoming_runs_at")
    if isinstance(fires, list):
        return [fire for fire in fires if text(fire)][:count]
    try:
        return list(map(utc_text, upcoming(schedule, after=now, count=count)))
    except ValueError:
        return []
