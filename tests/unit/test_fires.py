"""What became of a schedule's fires: whatever was dropped is found, and nothing else is."""

from datetime import UTC, datetime
from fractions import Fraction
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.base import cron
from qoder_cli.base.model import Deployment, Run
from qoder_cli.report.fires import LATE, Fires, fires_of
from tests.conftest import examples

DAY = 86400.0
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")
EXPRESSIONS = ("0 * * * *", "*/15 * * * *", "* * * * *", "30 2 * * *", "0 9 * * 1-5", "30 1,2,3 * * *", "0 0 30 2 *")
# Ends of spans: any time, and the mornings after clocks were changed in Berlin, New York and on Lord Howe.
NOWS = st.integers(1_772_000_000, 1_804_000_000) | st.sampled_from(
    [1_774_760_400 + n * 3600 for n in range(24)] + [1_792_886_400 + n * 3600 for n in range(24)]
)
SINCE_MORNING = 1_800_003_600.0 - 9 * 3600  # midnight before the `now` of tables: 2027-01-15T09:00:00Z


def at(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def deployment(expression: str = "0 * * * *", zone: str = "UTC", **fields: Any) -> Deployment:
    schedule = {"type": "cron", "expression": expression, "timezone": zone}
    old = {"created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z", "archived_at": None}
    return Deployment({"id": "dep_1", "status": "active", "schedule": schedule, **old, **fields})


def run(number: int, due: float | None, came: float | None, trigger: str = "schedule") -> Run:
    context = {"type": trigger} | ({} if due is None else {"scheduled_at": at(due)})
    created = {} if came is None else {"created_at": at(came)}
    return Run({"id": f"drun_{number}", "deployment_id": "dep_1", "trigger_context": context, **created})


def walked(expression: str, zone: str, since: float, now: float) -> list[float]:
    """Return what is due, each time of a zone's clock once."""
    place = cron.zone(zone)
    fires = cron.parse(expression).fires(after=since, zone=place)
    due = takewhile(lambda fire: fire <= now - LATE, fires)
    once = [fire for fire in due if not datetime.fromtimestamp(fire, place).fold]
    ends = [datetime.fromtimestamp(fire, place).replace(fold=1).timestamp() for fire in once]
    return [fire for fire, end in zip(once, ends, strict=True) if end <= now - LATE]


@examples(Fraction(1, 3))
@given(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), NOWS, st.floats(0, 1), st.randoms(use_true_random=False))
def test_fires_dropped_are_found_and_no_others(expression: str, zone: str, now: int, share: float, chance: Any) -> None:
    """Runs name their fires, or come a little after them; fires of today's clock change may come once or twice."""
    since, place = now - 2 * DAY, cron.zone(zone)
    names = chance.random() < 0.5
    dropped = set[float]()
    runs: list[Run] = []
    for fire in takewhile(lambda fire: fire <= now, cron.parse(expression).fires(after=since, zone=place)):
        first = datetime.fromtimestamp(fire, place).replace(fold=0).timestamp()
        if chance.random() < share:
            dropped.add(fire)
            continue
        jitter = chance.uniform(0, 50)
        runs.append(run(len(runs), fire if names else None, fire + jitter))
        if first != fire:
            dropped.discard(first)
    chance.shuffle(runs)
    both = [fire for fire in walked(expression, zone, since, now) if fire in dropped]
    both = [
        fire
        for fire in both
        if (again := datetime.fromtimestamp(fire, place).replace(fold=1).timestamp()) <= fire or again in dropped
    ]
    found = fires_of(deployment(expression, zone), runs, since=since, now=now)
    assert (found.missed, found.late, found.doubled, found.unclear) == (both, [], [], [])


NINE, EIGHT = SINCE_MORNING + 9 * 3600, SINCE_MORNING + 8 * 3600
DAILY = deployment("0 4 * * *")
FOUR = SINCE_MORNING + 4 * 3600


def told(found: Fires) -> dict[str, Any]:
    """Return what was found, as hours since midnight and reasons."""
    return {
        "missed": [round((fire - SINCE_MORNING) / 3600, 2) for fire in found.missed],
        "late": [fired.runs[0].id for fired in found.late],
        "doubled": [[each.id for each in fired.runs] for fired in found.doubled],
        "unclear": [part.why for part in found.unclear],
    }


def changed(hour: float, **fields: Any) -> Deployment:
    return deployment("0 4,6 * * *", updated_at=at(SINCE_MORNING + hour * 3600), **fields)


NONE: dict[str, Any] = {"missed": [], "late": [], "doubled": [], "unclear": []}
RAN = run(1, FOUR, FOUR + 9)
# The deployment, its runs, and what is told of the time from midnight to nine.
TABLE: dict[str, tuple[Deployment, list[Run], dict[str, Any]]] = {
    "ran": (DAILY, [RAN], {}),
    "missed": (DAILY, [], {"missed": [4]}),
    "a manual run is no fire": (DAILY, [run(1, None, FOUR + 9, "manual")], {"missed": [4]}),
    "a run that does not say why": (DAILY, [run(1, None, FOUR + 9, "")], {}),
    "late by its name": (DAILY, [run(1, FOUR, FOUR + 901)], {"late": ["drun_1"]}),
    "late by its place": (DAILY, [run(1, None, FOUR + 7200)], {"late": ["drun_1"]}),
    "twice by name": (DAILY, [RAN, run(2, FOUR, FOUR + 11)], {"doubled": [["drun_1", "drun_2"]]}),
    "twice by place": (DAILY, [run(1, None, FOUR), run(2, None, FOUR + 9)], {"doubled": [["drun_1", "drun_2"]]}),
    "without a time": (DAILY, [run(1, None, None)], {"unclear": ["undated"]}),
    "due a moment ago": (deployment("50 8 * * *"), [], {}),
    "never fires": (deployment("0 0 30 2 *"), [], {}),
    "manual only": (deployment(schedule=None, updated_at=at(EIGHT)), [], {}),
    "unscheduled today": (deployment(schedule=None, updated_at=at(EIGHT)), [RAN], {"unclear": ["unscheduled"]}),
    "changed at five": (changed(5), [], {"missed": [6], "unclear": ["changed"]}),
    "changed at eight": (changed(8), [], {"unclear": ["changed"]}),
    "created at five": (changed(5, created_at=at(SINCE_MORNING + 5 * 3600)), [], {"missed": [6]}),
    "changed nobody knows when": (deployment(updated_at=None), [], {"unclear": ["unsaid"]}),
    "paused at five": (changed(5, status="paused"), [], {"unclear": ["paused"]}),
    "paused before": (changed(-5, status="paused"), [], {}),
    "paused, and it ran": (changed(-5, status="paused"), [RAN], {"unclear": ["paused"]}),
    "archived at five": (changed(5, archived_at=at(SINCE_MORNING + 5 * 3600)), [], {"unclear": ["archived"]}),
    "archived at five, it alone": (changed(-5, archived_at=at(SINCE_MORNING + 5 * 3600)), [], {"missed": [4]}),
    "archived before": (changed(-5, archived_at=at(SINCE_MORNING - 3600)), [], {}),
    "an unknown zone": (deployment(zone="Mars/Olympus"), [], {"unclear": ["unreadable"]}),
    "an unknown expression": (deployment("@sometimes"), [], {"unclear": ["unreadable"]}),
    "created in the future": (changed(20, created_at=at(NINE + DAY)), [], {}),
}


@pytest.mark.parametrize(("given", "runs", "expected"), TABLE.values(), ids=TABLE.keys())
def test_fires_of_a_morning(given: Deployment, runs: list[Run], expected: dict[str, Any]) -> None:
    assert told(fires_of(given, runs, since=SINCE_MORNING, now=NINE)) == NONE | expected


def test_fires_are_no_alarm_where_the_list_was_cut_or_lags() -> None:
    assert told(fires_of(DAILY, [], since=SINCE_MORNING, now=NINE, whole=False)) == NONE | {"unclear": ["list_cut"]}
    schedule = {**DAILY.schedule, "last_run_at": at(FOUR + 3)}
    assert told(fires_of(deployment(schedule=schedule), [], since=SINCE_MORNING, now=NINE)) == NONE | {
        "unclear": ["list_late"]
    }
