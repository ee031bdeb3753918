"""When a schedule fires: five-field cron expressions in a time zone (api/facts.md, 1.2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from itertools import islice
from zoneinfo import ZoneInfo

_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))  # minute, hour, day of month, month, day of week
_HORIZON = 366 * 8  # days: the 29th of February can be eight years away


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression. Days of the week count from Sunday, 0."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool  # both day fields are restricted: one of them is enough

    def on(self, day: date) -> bool:
        """Return whether it fires at all on this day."""
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_date or by_weekday) if self.either_day else (by_date and by_weekday)

    def fires(self, *, after: float, zone: tzinfo) -> Iterator[float]:
        """Yield the unix times at which it fires, strictly after `after`, soonest first."""
        first = datetime.fromtimestamp(after, zone).date()
        for day in (first + timedelta(days=n) for n in range(_HORIZON)):
            if self.on(day):
                yield from (moment for moment in self._on_day(day, zone) if moment > after)

    def _on_day(self, day: date, zone: tzinfo) -> Iterator[float]:
        for hour in self.hours:
            for minute in self.minutes:
                yield datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp()


@cache
def parse(expression: str) -> Cron:
    """Return the meaning of `expression`. Raises ValueError when it is not five valid fields."""
    fields = expression.split()
    if len(fields) != len(_BOUNDS):
        raise ValueError("a cron expression has five fields")
    minutes, hours, days, months, weekdays = (
        _values(text, low, high) for text, (low, high) in zip(fields, _BOUNDS, strict=True)
    )
    return Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(day % 7 for day in weekdays),
        either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
    )


def _values(text: str, low: int, high: int) -> set[int]:
    return {value for part in text.split(",") for value in _range(part, low, high)}


def _range(part: str, low: int, high: int) -> range:
    """Return the values of `*`, `7`, `1-5`, `*/10` or `8-18/2`."""
    span, _, step = part.partition("/")
    first, dash, last = (str(low), "-", str(high)) if span == "*" else span.partition("-")
    if not all(number.isdecimal() for number in (first, last or first, step or "1")) or int(step or 1) < 1:
        raise ValueError(f"{part!r} is no cron field")
    begin = int(first)
    end = int(last) if dash and last else (high if step else begin)
    if not low <= begin <= end <= high or (dash and not last):
        raise ValueError(f"{part!r} is outside {low}-{high}")
    return range(begin, end + 1, int(step or 1))


def zone(name: str) -> tzinfo:
    """Return the IANA zone `name`; UTC needs no time zone data. Raises ValueError when it is not known."""
    if name in ("UTC", "Etc/UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:  # OSError: a name that is a folder of the zone data
        raise ValueError(f"{name!r} is no IANA time zone") from error


def upcoming(expression: str, timezone: str, *, after: float, count: int = 5) -> list[float]:
    """Return the next `count` unix times after `after`. Raises ValueError as `parse` and `zone` do."""
    return list(islice(parse(expression).fires(after=after, zone=zone(timezone)), count))
