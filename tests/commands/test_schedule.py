"""Schedules in words, and when they fire next."""

from datetime import UTC, datetime
from typing import Any

import pytest

from qoder_cli.base.cron import in_words, next_fires
from tests.conftest import Qoder
from tests.support.wire import page

NOW = datetime(2027, 3, 27, 12, tzinfo=UTC).timestamp()
TABLE = {
    "30 2 * * *": "at 02:30 every day",
    "*/15 8-17 * * mon-fri": "every 15th minute from 08:00 through 17:59 on Monday through Friday",
    "5 * * * *": "at minute 5 of every hour",
    "0 9 * * 7": "at 09:00 on Sunday",
    "0 9 * * 0,7": "at 09:00 on Sunday",  # once
    "0 9 * * fri-sun": "at 09:00 on Friday, Saturday, and Sunday",  # which cronsim takes for no range
    "0 6 1 6 1-5": "at 06:00 on the first day of month and on Monday through Friday in June",
    "0 6 1-31 * 1": "at 06:00 every day",  # one of the two day fields is enough
    "0 6 2 * 0-6": "at 06:00 every day",
    "0 0 */10 * 0": "at 00:00 on every 10th day of month if it's on Sunday",
    "0 0 30 2 *": "never: no such day exists",
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


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (SCHEDULE, "at 02:30 every day (Europe/Berlin)"),
        ({"expression": "0 9 * * 1"}, "at 09:00 on Monday"),
        *((odd, None) for odd in (None, {}, {"expression": "@daily", "timezone": "UTC"}, {"expression": 7})),
    ],
)
def test_deploy_get_shows_a_schedule_in_words(qoder: Qoder, schedule: Any, words: str | None) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", {**DEPLOYMENT, "schedule": schedule})
    qoder.wire.on("GET", "/deployments/dep_1/runs", page())
    ran = qoder("deploy", "get", "dep_1")
    assert ran.code == 0
    assert dict(line.split("\t") for line in ran.out.splitlines()).get("schedule_words") == words
