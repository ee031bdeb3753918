"""When a schedule fires: expressions, zones, and the nights in which the clock is changed."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qoder_cli.base import cron
from tests.conftest import examples
from tests.support.expressions import EXPRESSIONS, matches

BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        *((never, 0) for never in ("0 0 30 2 *", "* * 31 2,4,6,9,11 *", "0 0 30-31 FEB */2")),
        *((once, 1) for once in ("0 0 29 2 *", "0 0 30 2 1", "0 0 30 1,2 *", "* * * * *", "0 0 31 */2 *")),
    ],
)
def test_schedule_knows_whether_it_ever_fires(expression: str, count: int) -> None:
    assert bool(cron.parse(expression).days) == bool(count)
    assert len(cron.upcoming({"expression": expression, "timezone": "UTC"}, after=0.0, count=1)) == count


@pytest.mark.parametrize("zone", ["UTC", BERLIN])
def test_schedule_ends_with_the_year_9999(zone: str) -> None:
    after = datetime(9999, 12, 30, 12, tzinfo=UTC).timestamp()
    assert cron.upcoming({"expression": "0 0 29 2 *", "timezone": zone}, after=after) == ()


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        *(("", "expected 5 fields (minute hour day month weekday), got 0"), ("0 9 * *", "got 4")),
        *(("0 0 9 * * *", "got 6"), ("@daily", "use 0 0 * * *"), ("@DAILY", "use 0 0 * * *"), ("@reboot", "got 1")),
        *(("60 * * * *", "invalid minute '60' (0 to 59)"), ("* 24 * * *", "invalid hour '24' (0 to 23)")),
        *(("* * 32 * *", "invalid day of the month '32' (1 to 31)"), ("* * * 13 *", "invalid month '13' (1 to 12")),
        *(("* * * * 8", "invalid day of the week '8' (0 to 7"), ("* * * * 5-1", "a range goes from low to high")),
        *(("* * * * fri-mon", "a range goes from low to high"), ("*/0 * * * *", "a step is at least 1")),
        *(("* * L * *", "'L' (1 to 31)"), ("* * 15W * *", "invalid day of the ")),
        *(("* * * * 5#2", "invalid day of the "), ("* * ? * *", "invalid day of the ")),
        *(("* * * * monday", "'monday' (0 to 7 or sun to sat)"), ("* * * mon *", "'mon' (1 to 12 or jan to dec)")),
        *(("* 1-sun * * *", "invalid hour"), ("jan * * * *", "invalid minute")),
        *(("1,,2 * * * *", "invalid minute ''"), ("1- * * * *", "invalid minute"), ("-1 * * * *", "invalid minute")),
        *(("*/ * * * *", "invalid minute"), ("1-2-3 * * * *", "invalid minute"), ("٣ * * * *", "invalid minute")),
        ("1" * 5000 + " * * * *", f"'{'1' * 20}…'"),
    ],
)
def test_schedule_says_what_is_wrong_with_an_expression(expression: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        cron.parse(expression)
    assert len(str(caught.value)) < 200


@given(st.text() | st.lists(st.text("0123456789*/-,a#L?"), min_size=5, max_size=5).map(" ".join))
def test_schedule_of_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed = cron.parse(text)
    except ValueError:
        return
    fields = (parsed.minutes, parsed.hours, parsed.days, parsed.months, parsed.weekdays)
    assert all(fields) or not parsed.days


def test_schedule_takes_names_for_numbers_and_one_sunday() -> None:
    for names, numbers in [("JAN-mar,Dec Mon-FRI", "1-3,12 1-5"), ("* fri-sun", "* 5-7"), ("* sun-tue", "* 0-2")]:
        assert cron.parse(f"0 9 * {names}") == cron.parse(f"0 9 * {numbers}")
    assert cron.parse("0 9 * * sun-sun") == cron.parse("0 9 * * 0")
    weekdays = {"*/2": {0, 2, 4, 6}, "1/2": {1, 3, 5}, "1-3/2": {1, 3}, "7": {0}, "7/2": {0}}
    assert {each: set(cron.parse(f"* * * * {each}").weekdays) for each in weekdays} == weekdays


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "Europe", "../../etc/passwd", "x" * 5000, "a\0b", "Ünïcode"])
def test_schedule_refuses_a_zone_that_nobody_knows(name: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        cron.zone(name)


ZONES = [
    *("UTC", BERLIN, "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe", "Africa/Cairo", "America/Sao_Paulo"),
    *("America/St_Johns", "Atlantic/Azores", "Pacific/Apia", "Asia/Kathmandu", "America/Havana", "Africa/Casablanca"),
]


def _changes(zone: str) -> list[datetime]:
    """Return the days of 2005 to 2012 and 2027 in which the clock of a zone is changed, in UTC."""
    there = ZoneInfo(zone)
    days = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(n) for year in (2006, 2011, 2027) for n in range(365)]
    offsets = [(day, day.astimezone(there).utcoffset()) for day in days]
    return [day for (day, one), (_, next) in pairwise(offsets) if one != next] or days[:1]


NIGHTS = [(zone, night) for zone in ZONES for night in _changes(zone)]
MOMENTS = st.sampled_from(NIGHTS).flatmap(
    lambda night: st.tuples(
        st.just(night[0]), st.integers(-26 * 3600, 2 * 3600).map(lambda seconds: night[1].timestamp() + seconds)
    )
)


def minute_by_minute(expression: str, zone: ZoneInfo, *, after: float, end: float) -> Iterator[float]:
    """Yield when it fires, by looking at the wall clock every minute; the expression is read anew, by its text."""
    for minute in range(int(after // 60) + 1, int(end // 60)):
        if matches(expression, datetime.fromtimestamp(minute * 60, zone)):
            yield minute * 60.0


@examples(Fraction(1, 3))
@given(expression=EXPRESSIONS, start=MOMENTS)
@example("*/30 * * * *", (BERLIN, datetime(2027, 3, 27, 12, tzinfo=UTC).timestamp()))
@example("*/30 * * * *", (BERLIN, datetime(2027, 10, 30, 12, tzinfo=UTC).timestamp()))
@example("0 0 * * *", ("Africa/Cairo", datetime(2023, 4, 27, 12, tzinfo=UTC).timestamp()))  # it had no midnight
@example("0 9 * * *", ("Pacific/Apia", datetime(2011, 12, 29, 20, tzinfo=UTC).timestamp()))  # it had no such day
@example("*/30 * * * *", ("America/St_Johns", datetime(2006, 10, 29, 1, tzinfo=UTC).timestamp()))  # back over midnight
def test_schedule_fires_as_a_watch_of_the_wall_clock_finds(expression: str, start: tuple[str, float]) -> None:
    name, after = start
    zone = ZoneInfo(name)
    end = after // 60 * 60 + 48 * 3600
    found = list(takewhile(lambda moment: moment < end, cron.parse(expression).fires(after=after, zone=zone)))
    assert all(one < next for one, next in pairwise([after, *found]))
    assert found == list(minute_by_minute(expression, zone, after=after, end=end))
