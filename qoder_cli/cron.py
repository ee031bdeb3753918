"""When a schedule fires: five-field cron expressions in a time zone (api/facts.md, 1.2).

An expression is matched literally against the wall clock of its zone, as the schema that the API follows has it: a time
that a spring gap leaves out does not fire, and one that comes twice in autumn fires twice. The server's own list of
upcoming runs goes before what is worked out here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from itertools import islice
from typing import NamedTuple

_DAY = 86400  # seconds
_LAST_DAY = date(9998, 12, 31).toordinal()
LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # days, January first

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class _Field(NamedTuple):
    """One of the five: its name, its bounds, and the names of its values from the lowest on."""

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()

    def wrong(self, part: str, why: str | None = None) -> ValueError:
        """Return the error for a part of it that cannot be."""
        if why is None and _EXTENDED.fullmatch(part):
            why = "L, W, # and ? are not supported"
        shown = part if len(part) <= 20 else part[:20] + "…"
        takes = f"{self.low} to {self.high}" + (f" or {self.words[0]} to {self.words[-1]}" if self.words else "")
        reasons = "; ".join(filter(None, [why, f"it takes {takes}, with * , - and /"]))
        return ValueError(f"{self.name} of a cron expression cannot be {shown!r}: {reasons}")


_FIELDS = (
    _Field("the minute", 0, 59),
    _Field("the hour", 0, 23),
    _Field("the day of the month", 1, 31),
    _Field("the month", 1, 12, MONTHS),
    _Field("the day of the week", 0, 7, WEEKDAYS),
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
_PART = re.compile(r"(?:\*|(?P<first>[0-9a-z]+)(?:-(?P<last>[0-9a-z]+))?)(?:/(?P<step>[0-9]{1,9}))?")
_NUMBER = re.compile(r"[0-9]{1,9}")
_EXTENDED = re.compile(r"[0-9-]*[lw]+|.*[#?].*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression. Days of the week count from Sunday, 0."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool  # both day fields are restricted: one of them is enough

    @property
    def never(self) -> bool:
        """Whether it can never fire, like one for the 30th of February."""
        return not self.either_day and min(self.days) > max(LONGEST_MONTH[month - 1] for month in self.months)

    def on(self, day: date) -> bool:
        """Return whether it fires at all on this day."""
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_date or by_weekday) if self.either_day else (by_date and by_weekday)

    def at(self, moment: datetime) -> bool:
        """Return whether it fires in this minute of the wall clock."""
        return moment.minute in self.minutes and moment.hour in self.hours and self.on(moment.date())

    def fires(self, *, after: float, zone: tzinfo) -> Iterator[float]:
        """Yield the unix times at which it fires, strictly after `after`, soonest first; none if it never does."""
        if self.never:
            return
        for day in range(datetime.fromtimestamp(after, zone).toordinal(), _LAST_DAY):
            yield from (moment for moment in self._on_day(date.fromordinal(day), zone) if moment > after)

    def _on_day(self, day: date, zone: tzinfo) -> Iterator[float]:
        """Yield when it fires from one first midnight to the next, whatever the clock shows in between."""
        begin, end = _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
        if end - begin != _DAY:  # the clock was changed
            minutes = range(begin, end, 60)
            yield from (float(moment) for moment in minutes if self.at(datetime.fromtimestamp(moment, zone)))
        elif self.on(day):
            yield from (float(begin + 3600 * hour + 60 * minute) for hour in self.hours for minute in self.minutes)


def _midnight(day: date, zone: tzinfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


@cache
def parse(expression: str) -> Cron:
    """Return the meaning of `expression`; months and weekdays may be names, in any case.

    The API documents numbers only (api/facts.md, 1.2): `names_in` tells whether there are others. Where a day field
    starts with `*`, also as in `*/2`, both day fields have to match; otherwise one of them is enough.
    Raises ValueError, naming the field and what it takes.
    """
    fields = expression.split()
    if longhand := _SHORTCUTS.get(" ".join(fields).lower()):
        raise ValueError(f"shortcuts like {fields[0]} are no cron expressions here: write {longhand}")
    if len(fields) != len(_FIELDS):
        names = ", ".join(field.name.removeprefix("the ") for field in _FIELDS)
        raise ValueError(f"a cron expression has 5 fields ({names}), not {len(fields)}")
    minutes, hours, days, months, weekdays = (
        {value for part in text.split(",") for value in _values(part, field)}
        for text, field in zip(fields, _FIELDS, strict=True)
    )
    return Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(day % 7 for day in weekdays),
        either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
    )


def names_in(expression: str) -> bool:
    """Return whether months or weekdays are named in an expression, which a server may refuse."""
    return any(character.isalpha() for character in expression)


def _values(part: str, field: _Field) -> range:
    """Return the values of `*`, `7`, `1-5`, `*/10`, `8-18/2` or `mon-fri`. Raises ValueError."""
    matched = _PART.fullmatch(part.lower())
    if matched is None:
        raise field.wrong(part)
    first, last, step = matched["first"], matched["last"], int(matched["step"] or 1)
    if step < 1:
        raise field.wrong(part, "a step is at least 1")
    highest = 6 if field.words == WEEKDAYS else field.high  # 7 is Sunday again: it is there to end a range
    begin = field.low if first is None else _value(first, field, part)
    if last is not None:
        end = 7 if begin and (last, field.words) == ("sun", WEEKDAYS) else _value(last, field, part)
    else:
        end = max(begin, highest) if first is None or matched["step"] else begin
    if begin > end:
        raise field.wrong(part, "a range goes from low to high")
    return range(begin, end + 1, step)


def _value(text: str, field: _Field, part: str) -> int:
    if text in field.words:
        return field.low + field.words.index(text)
    if not _NUMBER.fullmatch(text):
        raise field.wrong(part)
    if not field.low <= int(text) <= field.high:
        raise field.wrong(part, f"{text} is outside")
    return int(text)


def zone(name: str) -> tzinfo:
    """Return the IANA zone `name`; UTC needs no time zone data. Raises ValueError when it is not known here."""
    if name in ("UTC", "Etc/UTC"):
        return UTC
    from zoneinfo import ZoneInfo  # costs more than the rest of this module

    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:  # OSError: a name that is a folder of the zone data
        raise ValueError(f"{name!r} is no IANA time zone that this machine knows") from error


def upcoming(expression: str, timezone: str, *, after: float, count: int = 5) -> list[float]:
    """Return the next `count` unix times after `after`; none for an expression that never fires.

    Raises ValueError as `parse` and `zone` do.
    """
    return list(islice(parse(expression).fires(after=after, zone=zone(timezone)), count))
