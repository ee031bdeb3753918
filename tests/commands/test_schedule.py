"""Schedules in words: a table of what people write, and a reader that takes any words back to times and days."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given

from qoder_cli.base.cron import in_words, next_fires
from tests.conftest import Qoder, examples
from tests.support.expressions import EXPRESSIONS, matches_day, matches_time
from tests.support.wire import page

NOW = datetime(2027, 3, 27, 12, tzinfo=UTC).timestamp()
TABLE = {
    "30 2 * * *": "every day at 02:30",
    "*/15 * * * *": "every 15 minutes",
    "0 * * * *": "every hour",
    "5 * * * *": "every hour from 00:05",
    "0 9 * * 1/2": "at 09:00 on Mondays, Wednesdays and Fridays",
    "*/45 * * * *": "every day at minutes 0 and 45 of every hour",
    "*/13 3-22 * * *": "every day at minutes 0, 13, 26, 39 and 52 of the hours 3 to 22",
    "15 */6 * * 1-5": "every 6 hours from 00:15 on weekdays",
    "0 */5 * * *": "every 5 hours from 00:00 to 20:00 every day",
    "*/15 8-17 * * 1-5": "every 15 minutes from 08:00 to 17:45 on weekdays",
    "* 9 * * *": "every minute from 09:00 to 09:59 every day",
    "1-10,20 8,12 * * 2": "every Tuesday at minutes 1 to 10 and 20 of the hours 8 and 12",
    "0 0 1,15 * *": "at 00:00 on days 1 and 15 of every month",
    "0 0 31 * *": "at 00:00 on day 31 of every month (if there is such a day)",
    "0 0 31 1 *": "at 00:00 on day 31 of January",
    "0 0,8,16 * * *": "every day at 00:00, 08:00 and 16:00",
    "0 0,3,6,9,12,15,18,21 * * *": "every 3 hours from 00:00",
    "0,1 3,5,8,10 * * *": "every day at 03:00, 03:01, 05:00, 05:01, 08:00, 08:01, 10:00 and 10:01",
    "0,1 3,5,8,10,11 * * *": "every day at minutes 0 and 1 of the hours 3, 5, 8, 10 and 11",
    "0 6 1-2 * *": "at 06:00 on days 1 and 2 of every month",
    "0 6 1-3 * *": "at 06:00 on days 1 to 3 of every month",
    "0 0 30 2 *": "never: no such day exists",
    "0 6 1 6 1-5": "at 06:00 on day 1 of June and on weekdays in June",
    "0 6 1-31 * 1": "every day at 06:00",
    "0 0 */10 * 0,1,3": "at 00:00 on days 1, 11, 21 and 31 of every month (if there is such a day)"
    " if that is a Monday, Wednesday or Sunday",
    "0 22 * 1-3,12 1-5": "at 22:00 on weekdays in January, February, March and December",
}


@pytest.mark.parametrize(("expression", "words"), TABLE.items())
def test_schedule_in_words(expression: str, words: str) -> None:
    assert in_words(expression) == words


MONTHS = [date(2027, month, 1).strftime("%B") for month in range(1, 13)]
WEEKDAYS = [date(2027, 8, day).strftime("%A") for day in range(1, 8)]  # Sunday first
Days = Callable[[date], bool]


def numbers(words: str) -> set[int]:
    """Read `day 1`, `days 1, 3 to 5 and 15`."""
    found: set[int] = set()
    for span in re.split(r", | and ", words.partition(" ")[2]):
        low, _, high = span.partition(" to ")
        found |= set(range(int(low), int(high or low) + 1))
    return found


def minute(clock: str) -> int:
    """Read `08:30`."""
    return int(clock[:2]) * 60 + int(clock[3:])


def times(words: str) -> set[int]:
    """Read the times of a day, as minutes."""
    if even := re.fullmatch(r"every (?:(\d+) )?(minute|hour)s?(?: from (\S+))?(?: to (\S+))?", words):
        step = int(even[1] or 1) * (60 if even[2] == "hour" else 1)
        assert even[4] or 1440 % step == 0, "it does not go around the clock"
        return set(range(minute(even[3] or "00:00"), minute(even[4] or "23:59") + 1, step))
    if parts := re.fullmatch(r"at (.*minute.*?) of (?:the )?(.*hour.*)", words):
        hours = range(24) if parts[2] == "every hour" else numbers(parts[2])
        return {60 * hour + each for hour in hours for each in numbers(parts[1])}
    return {minute(clock) for clock in re.split(r", | and ", words.removeprefix("at "))}


def days(words: str) -> Days:
    months = set(range(1, 13))
    if within := re.search(rf" in ((?:{'|'.join(MONTHS)}).*)$", words):
        words = words[: within.start()]
        months = {MONTHS.index(name) + 1 for name in re.split(r", | and ", within[1])}
    return lambda day: day.month in months and any_of(words, day)


def any_of(words: str, day: date) -> bool:
    """Read `every day`, `on …`, `on … and on …` or `on … if that is a …`."""
    weekday = WEEKDAYS[day.isoweekday() % 7]
    if words == "every day":
        return True
    if " if that is a " in words:
        dates, _, names = words.partition(" if that is a ")
        return any_of(dates, day) and weekday in re.split(r", | or ", names)
    if either := re.fullmatch(r"(on .*) and (on .*)", words):
        return any_of(either[1], day) or any_of(either[2], day)
    if dated := re.fullmatch(r"on (.*day.*?) of (.*?)(?: \(if there .*\))?", words):
        months = MONTHS if dated[2] == "every month" else re.split(r", | and ", dated[2])
        return day.day in numbers(dated[1]) and MONTHS[day.month - 1] in months
    words = words.removeprefix("on ").removeprefix("every ")
    if words == "weekdays":
        return weekday in WEEKDAYS[1:6]
    return weekday in [name.rstrip("s") for name in re.split(r", | and ", words)]


def read(words: str) -> tuple[set[int], Days]:
    """Read a schedule in words: the minutes of a day, and the days."""
    if words.startswith("never"):
        return set(), lambda day: False
    if front := re.fullmatch(rf"every (day|{'|'.join(WEEKDAYS)}) (at .*?)( in [A-Z].*)?", words):
        return times(front[2]), days(f"{'every' if front[1] == 'day' else 'on every'} {front[1]}{front[3] or ''}")
    whole = re.fullmatch(r"(.*?)( every day.*| on (?!the hour).*)?( in [A-Z].*)?", words)
    assert whole
    return times(whole[1]), days((whole[2] or " every day").strip() + (whole[3] or ""))


CALENDAR = [date(2027, 1, 1) + timedelta(days) for days in range(4 * 366)]


@examples(Fraction(1, 3))
@given(EXPRESSIONS)
@example("0 0 29 2 *")
def test_schedule_in_words_says_exactly_when_it_fires(expression: str) -> None:
    words = in_words(expression)
    said_times, said_days = read(words)
    fires_on = [day for day in CALENDAR if matches_day(expression, day)]
    assert [day for day in CALENDAR if said_days(day)] == fires_on, words
    if fires_on:
        assert said_times == {at for at in range(1440) if matches_time(expression, at // 60, at % 60)}, words


SCHEDULE = {"type": "cron", "expression": "30 2 * * *", "timezone": "Europe/Berlin"}
TOLD = ["2030-01-01T00:00:00Z", "2030-01-02T00:00:00.5Z"]
WORKED_OUT = ["2027-03-29T00:30:00Z", "2027-03-30T00:30:00Z", "2027-03-31T00:30:00Z"]  # the 28th has no 02:30


@pytest.mark.parametrize(
    ("more", "fires"),
    [
        ({"upcoming_runs_at": [TOLD[0], None, TOLD[1]]}, TOLD),
        ({"upcoming_runs_at": []}, []),  # archived
        ({}, WORKED_OUT),
        ({"upcoming_runs_at": None}, WORKED_OUT),
        *(({"expression": odd}, []) for odd in ("@daily", 5, "0 0 30 2 *")),
        *(({"timezone": odd}, []) for odd in ("Mars", None)),
    ],
)
def test_schedule_fires_next_as_the_server_says_or_is_worked_out(more: dict[str, Any], fires: list[str]) -> None:
    assert next_fires({**SCHEDULE, **more}, now=NOW, count=3) == fires
    assert next_fires({**SCHEDULE, **more}, now=NOW, count=1) == fires[:1]
    assert next_fires({}, now=NOW) == []


DEPLOYMENT = {"id": "dep_1", "type": "deployment", "name": "nightly", "status": "active"}


def shown(qoder: Qoder, schedule: Any) -> dict[str, str]:
    """Return what `deploy get` shows of a deployment with this schedule, by its keys."""
    qoder.wire.on("GET", "/deployments/dep_1", {**DEPLOYMENT, "schedule": schedule})
    qoder.wire.on("GET", "/deployments/dep_1/runs", page())
    ran = qoder("deploy", "get", "dep_1")
    assert ran.code == 0
    return dict(line.split("\t") for line in ran.out.splitlines())


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (SCHEDULE, "every day at 02:30 (Europe/Berlin)"),
        ({"expression": "0 9 * * 1"}, "every Monday at 09:00"),
        *((odd, None) for odd in (None, {}, {"expression": "@daily", "timezone": "UTC"}, {"expression": 7})),
    ],
)
def test_deploy_get_shows_a_schedule_in_words(qoder: Qoder, schedule: Any, words: str | None) -> None:
    assert shown(qoder, schedule).get("schedule_words") == words
