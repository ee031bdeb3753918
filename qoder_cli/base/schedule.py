"""A schedule as people read it: exactly in words, and as the next times at which it fires."""

from calendar import day_name, month_name, monthrange
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from qoder_cli.base import cron
from qoder_cli.base.cron import Cron
from qoder_cli.base.model import text

_MONDAY_TO_FRIDAY = frozenset(range(1, 6))
_FEW = 3  # times of a day that are listed even where they are evenly spaced
_MANY = 8  # times of a day that are no longer listed


def in_words(expression: str) -> str:
    """Return when an expression fires, in words: `every Monday at 09:00`. Raises ValueError."""
    meaning = cron.parse(expression)
    if meaning.never:
        return "never: there is no such day"
    times, days, months = _times(meaning), _days(meaning), ""
    if len(meaning.months) < 12 and (len(meaning.days) == 31 or meaning.either_day):
        months = f" in {_months(meaning)}"
    if days == "every day" and times.startswith("every ") and " to " not in times:
        return times + months
    if times.startswith("at ") and days in ("every day", *(f"on every {name}" for name in day_name)):
        return f"{days.removeprefix('on ')} {times}{months}"
    return f"{times} {days}{months}"


def words_of(schedule: Mapping[str, Any]) -> str | None:
    """Return a deployment's schedule in words, with its zone; None when there is none."""
    try:
        words = in_words(text(schedule.get("expression")) or "")
    except ValueError:
        return None
    zone = text(schedule.get("timezone"))
    return f"{words} ({zone})" if zone else words


def next_fires(schedule: Mapping[str, Any], *, now: float, count: int = 5) -> list[str]:
    """Return when a schedule fires next, as RFC 3339 UTC texts, nearest first.

    The server's own list goes before what is worked out from `now` (unix seconds), also when it is empty:
    an archived deployment does not fire.
    """
    told = schedule.get("upcoming_runs_at")
    if isinstance(told, list):
        return [fire for fire in told if text(fire)][:count]
    try:
        moments = cron.upcoming(str(schedule.get("expression")), str(schedule.get("timezone")), after=now, count=count)
    except ValueError:
        return []
    return [datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for moment in moments]


def _times(meaning: Cron) -> str:
    """Return the times of a day: `every 15 minutes`, `at 08:00 and 20:00`."""
    times = [60 * hour + minute for hour in meaning.hours for minute in meaning.minutes]
    clocks = [f"{time // 60:02}:{time % 60:02}" for time in times]
    steps = {later - earlier for earlier, later in pairwise(times)}
    if len(steps) == 1 and len(times) > _FEW:
        [step] = steps
        unit, count = ("hour", step // 60) if step % 60 == 0 else ("minute", step)
        every = f"every {unit}" if count == 1 else f"every {count} {unit}s"
        if len(times) * step != 24 * 60:
            return f"{every} from {clocks[0]} to {clocks[-1]}"
        return f"{every} from {clocks[0]}" if times[0] or step > 60 else every
    if len(times) <= _MANY:
        return f"at {_listed(clocks)}"
    hours = "every hour" if len(meaning.hours) == 24 else f"the {_counted('hour', meaning.hours)}"
    return f"at {_counted('minute', meaning.minutes)} of {hours}"


def _days(meaning: Cron) -> str:
    """Return the days: `every day`, `on every Monday`, `on weekdays`, `on days 1 and 15 of January`."""
    every_date, every_weekday = len(meaning.days) == 31, len(meaning.weekdays) == 7
    if (every_date and every_weekday) or (meaning.either_day and (every_date or every_weekday)):
        return "every day"
    names = [day_name[(day - 1) % 7] for day in sorted(meaning.weekdays, key=lambda day: (day - 1) % 7)]
    weekdays = f"on every {names[0]}" if len(names) == 1 else f"on {_listed([f'{name}s' for name in names])}"
    if meaning.weekdays == _MONDAY_TO_FRIDAY:
        weekdays = "on weekdays"
    if every_date:
        return weekdays
    dates = f"on {_counted('day', sorted(meaning.days))} of {_months(meaning)}"
    if max(meaning.days) > min(monthrange(2027, month)[1] for month in meaning.months):
        dates += " (if there is such a day)"  # as not in all months, or not in all years
    if every_weekday:
        return dates
    return f"{dates} and {weekdays}" if meaning.either_day else f"{dates} if that is a {_listed(names, last='or')}"


def _months(meaning: Cron) -> str:
    if len(meaning.months) == 12:
        return "every month"
    return _listed([month_name[month] for month in sorted(meaning.months)])


def _counted(noun: str, numbers: Sequence[int]) -> str:
    """Return numbers with their noun: `day 1`, `hours 8 to 17 and 20`."""
    words: list[str] = []
    rest = list(numbers)
    while rest:
        row = [number for place, number in enumerate(rest) if number == rest[0] + place]
        words += [f"{row[0]} to {row[-1]}"] if len(row) > 2 else map(str, row)
        rest = rest[len(row) :]
    return f"{noun}{'s' if len(numbers) > 1 else ''} {_listed(words)}"


def _listed(words: Sequence[str], *, last: str = "and") -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
