"""What became of a schedule's fires: whatever was dropped is found, and nothing else is."""

from datetime import UTC, datetime
from math import inf
from typing import Any

import pytest

from qoder_cli.base.model import Deployment, Run
from qoder_cli.history.fires import Fires, Unclear, fires_of
from qoder_cli.history.records import RunRecord

DAY = 86400.0
SINCE_MORNING = 1_800_003_600.0 - 9 * 3600  # midnight before the `now` of tables: 2027-01-15T09:00:00Z


def at(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def deployment(expression: str = "0 * * * *", zone: str = "UTC", **fields: Any) -> Deployment:
    schedule = {"type": "cron", "expression": expression, "timezone": zone}
    old = {"created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z", "archived_at": None}
    return Deployment({"id": "dep_1", "status": "active", "schedule": schedule, **old, **fields})


def run(number: int, due: float | None, came: float | None, trigger: str = "schedule") -> RunRecord:
    context = {"type": trigger} | ({} if due is None else {"scheduled_at": at(due)})
    created = {} if came is None else {"created_at": at(came)}
    about = {"id": f"drun_{number}", "deployment_id": "dep_1", "status": "completed"}
    return RunRecord.of(Run({**about, "trigger_context": context, **created}))


def judged(deployment: Deployment, runs: list[RunRecord], *, since: float, now: float, whole: bool = True) -> Fires:
    return fires_of(deployment, runs, since=since, after=since, until=now, now=now, whole=whole)


NINE, EIGHT = SINCE_MORNING + 9 * 3600, SINCE_MORNING + 8 * 3600
DAILY = deployment("0 4 * * *")
FOUR = SINCE_MORNING + 4 * 3600


def told(found: Fires) -> dict[str, Any]:
    """Return what was found, as hours since midnight, runs and reasons."""
    by_kind: dict[str, list[Any]] = {}
    for event in found.events:
        about: Any = event.run.id if event.run else round(((event.due or 0.0) - SINCE_MORNING) / 3600, 2)
        if event.kind == "counted":
            about = (about, event.were_due, event.came)
        by_kind.setdefault(event.kind, []).append(about)
    return {**by_kind, **({"unclear": [part.why for part in found.unclear]} if found.unclear else {})}


def changed(hour: float, **fields: Any) -> Deployment:
    return deployment("0 4,6 * * *", updated_at=at(SINCE_MORNING + hour * 3600), **fields)


RAN = run(1, FOUR, FOUR + 9)
# The deployment, its runs, and what is told of the time from midnight to nine.
TABLE: dict[str, tuple[Deployment, list[RunRecord], dict[str, Any]]] = {
    "ran": (DAILY, [RAN], {}),
    "missed": (DAILY, [], {"missed": [4]}),
    "a manual run is no fire": (DAILY, [run(1, None, FOUR + 9, "manual")], {"missed": [4]}),
    "a run that does not say why": (DAILY, [run(1, None, FOUR + 9, "")], {}),
    "late by its name": (DAILY, [run(1, FOUR, FOUR + 901)], {"late": ["drun_1"]}),
    "just in time": (DAILY, [run(1, FOUR, FOUR + 900)], {}),
    "late, and does not say why": (DAILY, [run(1, FOUR, FOUR + 901, "")], {}),
    "late by its place": (DAILY, [run(1, None, FOUR + 7200)], {"late": ["drun_1"]}),
    "twice by name": (DAILY, [RAN, run(2, FOUR, FOUR + 11)], {"twice": ["drun_2"]}),
    "twice by place": (DAILY, [run(1, None, FOUR), run(2, None, FOUR + 9)], {"twice": ["drun_2"]}),
    "three times": (DAILY, [RAN, run(3, FOUR, FOUR + 30), run(2, FOUR, FOUR + 11)], {"twice": ["drun_2", "drun_3"]}),
    "nearly its time": (DAILY, [run(1, FOUR + 60, FOUR + 70)], {}),
    "no time of the schedule": (DAILY, [RAN, run(2, FOUR + 1800, FOUR + 1801)], {"stray": ["drun_2"]}),
    "no time, by when it came": (DAILY, [run(1, None, FOUR), run(2, None, FOUR + 7200)], {"stray": ["drun_2"]}),
    "no time, and does not say why": (
        DAILY,
        [RAN, run(2, FOUR + 1800, FOUR + 1801, ""), run(3, FOUR + 1800, None), run(4, None, FOUR + 7200, "")],
        {},
    ),
    "at an edge": (DAILY, [run(2, SINCE_MORNING + 30, FOUR), RAN, run(4, NINE - 30, NINE)], {"late": ["drun_2"]}),
    "before the first": (DAILY, [run(2, None, SINCE_MORNING + 600), RAN], {}),
    "more than a day late": (DAILY, [run(1, FOUR - 2 * DAY, FOUR + 9)], {"late": ["drun_1"], "missed": [4]}),
    "without a time": (DAILY, [run(1, None, None)], {"unclear": ["undated"]}),
    "without a time, by hand": (DAILY, [run(1, None, None, "manual")], {"missed": [4]}),
    "close together, by name": (
        deployment("*/20 4 * * *"),
        [run(n, FOUR + n * 1200, FOUR + n * 1200) for n in (0, 2)],
        {"missed": [4.33]},
    ),
    "half an hour apart": (deployment("*/30 4 * * *"), [run(1, None, FOUR)], {"missed": [4.5]}),
    "due a moment ago": (deployment("50 8 * * *"), [], {}),
    "never fires": (deployment("0 0 30 2 *"), [], {}),
    "manual only": (deployment(schedule=None), [run(1, None, FOUR, "manual")], {}),
    "manual only, changed today": (deployment(schedule=None, updated_at=at(EIGHT)), [], {"unclear": ["unscheduled"]}),
    "unscheduled, and it ran": (deployment(schedule=None), [RAN], {"unclear": ["unscheduled"]}),
    "changed at five": (changed(5), [], {"missed": [6], "unclear": ["changed"]}),
    "changed at five, after one came late": (
        changed(5),
        [run(1, FOUR, FOUR + 1000)],
        {"late": ["drun_1"], "missed": [6], "unclear": ["changed"]},
    ),
    "changed, after one came nearly late": (changed(7), [run(1, FOUR, FOUR + 930)], {"unclear": ["changed"]}),
    "changed half a minute before": (changed(4 - 1 / 120), [], {"missed": [6], "unclear": ["changed"]}),
    "changed two minutes before": (changed(4 - 1 / 30), [], {"missed": [4, 6], "unclear": ["changed"]}),
    "created half a minute before": (changed(4 - 1 / 120, created_at=at(FOUR - 30)), [], {"missed": [6]}),
    "changed at eight": (changed(8), [], {"unclear": ["changed"]}),
    "created at five": (changed(5, created_at=at(SINCE_MORNING + 5 * 3600)), [], {"missed": [6]}),
    "changed nobody knows when": (deployment(updated_at=None), [], {"unclear": ["unsaid"]}),
    "paused at five": (changed(5, status="paused"), [], {"unclear": ["paused"]}),
    "paused nobody knows when": (deployment(status="paused", updated_at=None), [], {"unclear": ["paused"]}),
    "of an unknown status": (changed(-5, status="asleep"), [], {"unclear": ["paused"]}),
    "paused before": (changed(-5, status="paused"), [], {}),
    "paused, and it ran": (changed(-5, status="paused"), [run(1, None, FOUR)], {"unclear": ["paused"]}),
    "archived at five": (changed(5, archived_at=at(SINCE_MORNING + 5 * 3600)), [], {"unclear": ["archived"]}),
    "changed, archived": (deployment(updated_at=None, archived_at=at(FOUR)), [], {"unclear": ["archived"]}),
    "created nobody knows when": (changed(5, created_at=None), [], {"missed": [6], "unclear": ["changed"]}),
    "archived at five, it alone": (changed(-5, archived_at=at(SINCE_MORNING + 5 * 3600)), [], {"missed": [4]}),
    "archived before": (changed(-5, archived_at=at(SINCE_MORNING - 3600)), [], {}),
    "an unknown zone": (deployment(zone="Mars/Olympus"), [], {"unclear": ["unreadable"]}),
    "an unknown expression": (deployment("@sometimes"), [], {"unclear": ["unreadable"]}),
    "created in the future": (changed(20, created_at=at(NINE + DAY)), [], {}),
}


@pytest.mark.parametrize(("given", "runs", "expected"), TABLE.values(), ids=TABLE.keys())
def test_fires_of_a_morning(given: Deployment, runs: list[RunRecord], expected: dict[str, Any]) -> None:
    assert told(judged(given, runs, since=SINCE_MORNING, now=NINE)) == expected


def test_fires_are_no_alarm_where_the_list_was_cut_or_lags() -> None:
    assert told(judged(DAILY, [], since=SINCE_MORNING, now=NINE, whole=False)) == {"unclear": ["list_cut"]}
    assert told(judged(DAILY, [RAN], since=SINCE_MORNING, now=NINE, whole=False)) == {"unclear": ["list_cut"]}
    for last, runs, expected in (
        (FOUR + 3, [], {"unclear": ["list_late"]}),
        (FOUR + 3, [run(1, None, FOUR + 900)], {}),
        (NINE - 30, [], {"missed": [4]}),
        (SINCE_MORNING - 1, [], {"missed": [4]}),
    ):
        lags = deployment(schedule={**DAILY.schedule, "last_run_at": at(last)})
        assert told(judged(lags, runs, since=SINCE_MORNING, now=NINE)) == expected


def test_fires_say_from_when_on_each_is_certain() -> None:
    names = ("missed", "late by its name", "twice by name", "no time of the schedule", "more than a day late")
    found = [judged(*TABLE[name][:2], since=SINCE_MORNING, now=NINE) for name in names]
    assert [event.at - FOUR for fires in found for event in fires.events] == [960, 960, 960, 1861, 69, 960]


def test_fires_are_judged_when_they_are_certain() -> None:
    counts = []
    for given, now in ((DAILY, FOUR + 959), (DAILY, FOUR + 960), (EVERY_TEN, FOUR + 4559), (EVERY_TEN, FOUR + 4560)):
        found = judged(given, of_hour(-60) if given is EVERY_TEN else [], since=SINCE_MORNING, now=now)
        counts.append((len(found.events), found.judged, found.undecided))
    assert counts == [(0, 0, 1), (1, 1, 0), (1, 6, 8), (2, 12, 2)]


def test_fires_of_which_nothing_can_be_told_matter_until_the_last_was_judged() -> None:
    names, five = ("changed at five", "unscheduled, and it ran"), FOUR + 3600
    [changed], [never] = (judged(*TABLE[name][:2], since=SINCE_MORNING, now=NINE).unclear for name in names)
    assert (changed, never) == (Unclear(five, "changed", five), Unclear(NINE, "unscheduled"))
    assert (changed.matters_to, never.matters_to) == (five + 1020, inf)


def test_fires_beyond_the_most_are_unclear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qoder_cli.history.fires.MOST_FIRES", 2)
    hourly = judged(deployment("0 4-6 * * *"), [], since=SINCE_MORNING, now=NINE)
    assert told(hourly) == {"missed": [4, 5], "unclear": ["too_many"]}


AUTUMN, SPRING = FOUR - 82 * DAY - 12_600, FOUR - 292 * DAY - 14_400  # 2026-10-25T00:30:00Z, 2026-03-29T00:00:00Z
# When a schedule of Berlin is due on a night with a clock change, its runs, and what is told.
TURNS: dict[str, tuple[str, float, list[RunRecord], list[str]]] = {
    "half past two comes twice": ("30 2 * * *", AUTUMN, [], ["missed"]),
    "it ran the second time": ("30 2 * * *", AUTUMN, [run(1, None, AUTUMN + 3700)], []),
    "it ran both times": ("30 2 * * *", AUTUMN, [run(n, AUTUMN + n * 3600, AUTUMN + n * 3600) for n in (0, 1)], []),
    "two does not come": ("0 1,2 * * *", SPRING, [run(1, SPRING, SPRING), run(2, None, SPRING + 3900)], []),
    "nor by name": ("0 1,2 * * *", SPRING, [run(n, SPRING + n * 3600, SPRING + 4000) for n in (0, 1)], ["late"]),
}


@pytest.mark.parametrize("name", TURNS)
def test_fires_of_a_night_with_a_clock_change(name: str) -> None:
    expression, due, runs, kinds = TURNS[name]
    found = judged(deployment(expression, "Europe/Berlin"), runs, since=due - 600, now=due + 6 * 3600)
    assert [event.kind for event in found.events] == kinds


def of_hour(*minutes: float, delay: float = 3.0, first: int = 1) -> list[RunRecord]:
    """Return runs that name no fire, so many minutes after four."""
    return [run(n, None, FOUR + minute * 60 + delay) for n, minute in enumerate(minutes, first)]


EVERY_TEN = deployment("*/10 3-5 * * *")
TENS = (0, 10, 20, 30, 40, 50)
BEFORE, AFTER = [minute - 60 for minute in TENS], [minute + 60 for minute in TENS]
# The minutes after four at which runs came, and what is told: fires that were due in an hour, and runs that came.
COUNTS: dict[str, tuple[list[RunRecord], list[tuple[float, int, int]]]] = {
    "all": (of_hour(*BEFORE, *TENS, *AFTER), []),
    "all, each late": (of_hour(*BEFORE, *TENS, *AFTER, delay=540.0), []),
    "two did not": (of_hour(*BEFORE, 0, 20, 30, 50, *AFTER), [(4, 6, 4)]),
    "two did not, the others are late": (of_hour(*BEFORE, 0, 20, 30, 50, *AFTER, delay=540.0), [(4, 6, 4)]),
    "one of each hour did not, all but one are late": (
        of_hour(-58, -48, -31, -22, -15, 0, 15, 35, 47, 57, 63, 71, 81, 95, 102, 111, delay=0.0),
        [(3, 6, 5), (4, 6, 5)],
    ),
    "one too many": (of_hour(*BEFORE, *TENS, 25, *AFTER), [(4, 6, 7)]),
    "all, one by its name": ([*of_hour(*BEFORE, *TENS[1:], *AFTER), run(0, FOUR, FOUR)], []),
}


@pytest.mark.parametrize("name", COUNTS)
def test_fires_close_together_are_only_counted(name: str) -> None:
    runs, counts = COUNTS[name]
    assert told(judged(EVERY_TEN, runs, since=SINCE_MORNING, now=NINE)) == ({"counted": counts} if counts else {})
