"""Cron expressions of any kind, and a second reading of them that shares nothing with the first."""

from datetime import datetime
from functools import cache

from hypothesis import strategies as st

BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def _part(low: int, high: int) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    span = st.tuples(value, value).map(lambda ends: f"{min(ends)}-{max(ends)}")
    step = st.tuples(st.just("*") | span, st.integers(1, high)).map(lambda both: f"{both[0]}/{both[1]}")
    return value.map(str) | span | step


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    some = st.lists(_part(low, high), min_size=1, max_size=3).map(",".join)
    return st.just("*") | _part(low, high) | some


EXPRESSIONS = st.tuples(*(_field(low, high) for low, high in BOUNDS)).map(" ".join)


@cache
def _holds(text: str, low: int, high: int, value: int) -> bool:
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = (str(low), "", str(high)) if span == "*" else span.partition("-")
        if int(first) <= value <= int(last or first) and (value - int(first)) % int(step or 1) == 0:
            return True
    return False


def matches(expression: str, moment: datetime) -> bool:
    """Return whether an expression fires in a minute of the wall clock, by the text of its fields."""
    minutes, hours, days, months, weekdays = expression.split()
    weekday = moment.isoweekday() % 7
    by_date = _holds(days, 1, 31, moment.day)
    by_weekday = _holds(weekdays, 0, 6, weekday) or (weekday == 0 and weekdays[0] != "*" and _holds(weekdays, 0, 7, 7))
    if not (_holds(minutes, 0, 59, moment.minute) and _holds(hours, 0, 23, moment.hour)):
        return False
    if not _holds(months, 1, 12, moment.month):
        return False
    return (by_date and by_weekday) if "*" in (days[0], weekdays[0]) else (by_date or by_weekday)
