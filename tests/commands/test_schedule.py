"""Schedules in words: a table of what people write; and when they fire next."""

from datetime import UTC, datetime
from typing import Any

import pytest

from qoder_cli.base.cron import in_words, next_fires
from tests.conftest import Qoder
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
