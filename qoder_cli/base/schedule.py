"""A schedule as people read it: exactly in words, and as the next times at which it fires."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from qoder_cli.base import cron
from qoder_cli.base.cron import Cron
from qoder_cli.base.model import text

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
_SHORTEST_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # days, January first
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONDAY_TO_FRIDAY = frozenset(range(1, 6))
_WHOLE_DAY = 24 * 60  # minutes
_FEW = 3  # times of a day that are listed even where they are evenly spaced
_MANY = 8  # times of a day that are no longer listed


def in_words(expression: str) -> str:
    """Return when an expression fires, in words: `every Monday at 09:00`. Raises ValueError."""
    meaning = cron.parse(expression)
    if meaning.never:
        return "never: there is no such day"
    times, days, months = _times(meaning), _days(meaning), _in_months(meaning)
    if days == "every day" and times.startswith("every ") and " to " not in times:
        return times + months
    if times.startswith("at ") and days in ("every day", *(f"on every {name}" for name in _WEEKDAYS)):
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
    step = _step(times)
    if step and len(times) > _FEW:
        return _evenly(times, step)
    if len(times) <= _MANY:
        return f"at {_listed([_clock(time) for time in times])}"
    if len(meaning.hours) == 24:
        return f"at {_counted('minute', meaning.minutes)} of every hour"
    hours = _counted("hour", meaning.hours)
    return f"at {_counted('minute', meaning.minutes)} of {hours if hours.startswith('every ') else f'the {hours}'}"


def _evenly(times: Sequence[int], step: int) -> str:
    """Return times that are `step` minutes apart, around the clock or for a part of the day."""
    unit, count = ("hour", step // 60) if step % 60 == 0 else ("minute", step)
    first, every = _clock(times[0]), f"every {unit}" if count == 1 else f"every {count} {unit}s"
    if len(times) * step != _WHOLE_DAY:
        return f"{every} from {first} to {_clock(times[-1])}"
    if step == 60:
        return f"{every} at minute {times[0]}" if times[0] else f"{every} on the hour"
    return f"{every} from {first}" if times[0] or step > 60 else every


def _days(meaning: Cron) -> str:
    """Return the days: `every day`, `on every Monday`, `on weekdays`, `on days 1 and 15 of January`."""
    every_date, every_weekday = _every_date(meaning), len(meaning.weekdays) == 7
    if (every_date and every_weekday) or (meaning.either_day and (every_date or every_weekday)):
        return "every day"
    if every_date:
        return _weekdays(meaning.weekdays)
    dates = f"on {_counted('day', sorted(meaning.days))} of {_months(meaning) or 'every month'}{_as_far_as(meaning)}"
    if every_weekday:
        return dates
    if meaning.either_day:
        return f"{dates} and {_weekdays(meaning.weekdays)}"
    return f"{dates} if that is a {_listed(_from_monday(meaning.weekdays), last='or')}"


def _every_date(meaning: Cron) -> bool:
    return len(meaning.days) == 31


def _months(meaning: Cron) -> str:
    return "" if len(meaning.months) == 12 else _listed([_MONTHS[month - 1] for month in sorted(meaning.months)])


def _in_months(meaning: Cron) -> str:
    months = _months(meaning)
    if not months or not (_every_date(meaning) or meaning.either_day):
        return ""
    first, last = min(meaning.months), max(meaning.months)
    in_a_row = len(meaning.months) > 2 and last - first < len(meaning.months)
    return f" from {_MONTHS[first - 1]} to {_MONTHS[last - 1]}" if in_a_row else f" in {months}"


def _as_far_as(meaning: Cron) -> str:
    """Return what is to be said of days that some of the months, or of the years, do not have."""
    shortest = min(_SHORTEST_MONTH[month - 1] for month in meaning.months)
    if max(meaning.days) <= shortest:
        return ""
    if meaning.days == {29} and meaning.months == {2}:
        return " in leap years"
    return f" (where there {'is one' if len(meaning.days) == 1 else 'are such'})"


def _weekdays(weekdays: Collection[int]) -> str:
    names = _from_monday(weekdays)
    if weekdays == _MONDAY_TO_FRIDAY:
        return "on weekdays"
    return f"on every {names[0]}" if len(names) == 1 else f"on {_listed([f'{name}s' for name in names])}"


def _from_monday(weekdays: Collection[int]) -> list[str]:
    return [_WEEKDAYS[day] for day in sorted(weekdays, key=lambda day: (day - 1) % 7)]


def _step(numbers: Sequence[int]) -> int | None:
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    return steps.pop() if len(steps) == 1 else None


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _counted(noun: str, numbers: Sequence[int]) -> str:
    """Return numbers with their noun: `day 1`, `hours 8 to 17 and 20`, `every 2nd day from 1 to 31`."""
    step = _step(numbers)
    if step and step > 1 and len(numbers) > _FEW:
        ending = "th" if 10 < step < 20 else {1: "st", 2: "nd", 3: "rd"}.get(step % 10, "th")
        return f"every {step}{ending} {noun} from {numbers[0]} to {numbers[-1]}"
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
