"""`qoder run wait` of many, through the lists: what it costs, and that it makes up nothing that they hide."""

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.base.pool import Task
from qoder_cli.fleet import page_poller
from qoder_cli.http.pace import READS_PER_SECOND
from qoder_cli.sandbox.scripts import WORK, Beat, Script, exhausted, idle, turn
from qoder_cli.sandbox.wire import GENERATIONS
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder
from tests.support.cells import checkerboard
from tests.support.crowd import LISTS, Asked, Crowd, Rows, pages
from tests.support.inprocess import seed_runs
from tests.support.wire import api_error

HOUR = 3600.0
RUNS = "/deployment_runs"
Refusal = Callable[[Asked], httpx.Response | None]


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for one run at a time, in this thread: several that sleep on one clock would each push it on."""
    monkeypatch.setattr(Task, "start", lambda task: task._run() or task)
    monkeypatch.setattr(page_poller, "PAGE", 10)  # let a few dozen runs fill as many pages as hundreds do


@pytest.fixture(params=GENERATIONS)
def crowd(request: pytest.FixtureRequest, tmp_path: Path) -> Crowd:
    return Crowd(request.param, tmp_path)


@pytest.fixture
def current(tmp_path: Path) -> Crowd:
    return Crowd("current", tmp_path)


@pytest.fixture
def legacy(tmp_path: Path) -> Crowd:
    return Crowd("legacy", tmp_path)


def answer(status: int, kind: str = "api_error", **headers: str) -> httpx.Response:
    _, envelope = api_error(status, kind, "Not now.")
    return httpx.Response(status, json=envelope, headers={name.replace("_", "-"): v for name, v in headers.items()})


def in_order(crowd: Crowd) -> list[str]:
    return [item["id"] for _, item in crowd.told]


def lists_asked(crowd: Crowd, path: str | None = None) -> int:
    return len([asked for asked in crowd.server.asked if asked.path == path or (path is None and asked.path in LISTS)])


def between(crowd: Crowd, first: float, last: float, respond: Refusal) -> None:
    """Let requests be answered so from some seconds from now to others."""
    began = crowd.clock.time
    crowd.server.refuse = lambda asked: respond(asked) if first < asked.at - began < last else None


def on_lists(respond: Refusal) -> Refusal:
    return lambda asked: respond(asked) if asked.path in LISTS else None


NO_TIMES = on_lists(lambda asked: answer(400) if "created_at[gte]" in asked.query else None)


def html(asked: Asked) -> httpx.Response:
    return httpx.Response(502, text="<html>")


def refused(asked: Asked) -> httpx.Response:
    return answer(401, "authentication_error")


# What it costs.


def test_run_wait_of_many_costs_a_page_a_check_and_two_requests_for_each_that_ended(crowd: Crowd) -> None:
    ids = crowd.begin(15, seconds=40, every=0.6)
    crowd.wait(ids)
    assert (crowd.code, crowd.codes, sorted(in_order(crowd))) == (0, {0: 15}, sorted(ids))
    assert crowd.busiest <= READS_PER_SECOND
    before = [check for check in crowd.checks if check[-1].at < crowd.told[0].at]
    assert max(map(len, before)) <= pages(15) + 5
    ended = 0 if crowd.world.generation == "legacy" else 15
    by_themselves = len(crowd.server.asked) - lists_asked(crowd)
    assert by_themselves <= 2 * ended + crowd.clock.time - crowd.began  # and one a second, for those unasked for long
    assert 0 <= min(crowd.delays()) <= max(crowd.delays()) <= 6 + 2


def test_run_wait_of_many_that_end_together_costs_a_request_each_and_a_page(current: Crowd) -> None:
    current.wait(current.begin(20, seconds=40, every=0.0))
    assert current.codes == {0: 20}
    assert len(current.asked_for("/events")) == 20
    assert len(current.server.asked) - lists_asked(current) == 20
    assert lists_asked(current, "/deployment_runs") <= 2 * pages(20)


def test_run_wait_of_many_reads_only_pages_while_nothing_changes(crowd: Crowd) -> None:
    crowd.wait(crowd.begin(15, seconds=600, every=0.6), "--timeout", "58")
    assert (crowd.code, crowd.codes) == (124, {124: 15})
    first, *others = crowd.checks[:-1]  # the last one is for what they cost
    assert len(first) <= 2 * pages(15)  # the ids are looked for, and then their sessions
    assert {len(check) for check in others} == {pages(15)}
    steady = [check[0].at for check in others if check[0].at - crowd.began > 10]
    assert [round(later - earlier, 1) for earlier, later in pairwise(steady)][:8] == [5.0] * 8


def far_apart(crowd: Crowd, count: int, *, left: float) -> list[str]:
    """Start runs an hour apart, and return their ids so many seconds before the first of them ends."""
    ids = crowd.begin(count, seconds=2 * count * HOUR, every=HOUR)
    crowd.clock.time += (count + 1) * HOUR - left
    return ids


def test_run_wait_interval_is_the_longest_pause_between_two_looks(current: Crowd) -> None:
    current.wait(far_apart(current, 9, left=900), "--interval", "1", "--timeout", "10")
    assert (current.code, len(current.checks) >= 8) == (124, True)


@pytest.mark.parametrize(
    ("windows", "crowd"), checkerboard(["heeded", "ignored", "refused"], GENERATIONS), indirect=["crowd"]
)
@pytest.mark.few(2)
def test_run_wait_of_many_behind_newer_ones_costs_pages_and_no_request_each(windows: str, crowd: Crowd) -> None:
    ids = crowd.begin(30, seconds=3 * HOUR)
    crowd.clock.time += HOUR
    crowd.begin(25, seconds=5 * HOUR)
    crowd.server.deaf_to = ("created_at",) if windows == "ignored" else ()
    if windows == "refused":
        crowd.server.refuse = NO_TIMES
    crowd.wait(random.Random(1).sample(ids, len(ids)), "--timeout", "15")
    assert crowd.codes == {124: 30}
    assert {item.get("status") for _, item in crowd.told} == {"running"}
    assert {asked.path for asked in crowd.server.asked} <= set(LISTS)
    assert max(map(len, crowd.checks[1:-1])) <= pages(55) + 1  # the first finds the ids, the last is for the cost


# Which runs are meant.


def test_run_wait_last_of_several_waits_for_those_that_were_started_last_here(qoder: Qoder, world: World) -> None:
    ids = [qoder("deploy", "run", "dep_demo", "-q").out.strip() for _ in range(3)]
    world.start("dep_demo")  # by somebody else
    ran = qoder("run", "wait", "--last", "2", "--json")
    assert (ran.code, [item["input"] for item in ran.json]) == (0, ids[1:])
    assert [item["id"] for item in qoder("run", "wait", "--last", "1", "--json").json] == ids[2:]
    ran = qoder("run", "wait", "--last", "4")
    assert (ran.code, ran.out) == (2, "")
    assert "3 runs are known to be started here with this profile, not 4" in ran.err
    assert qoder("run", "wait", "--last", "2", ids[0]).code == 2


# What the lists hide.


def with_strange_times(path: str, rows: Rows) -> Rows:
    strange = ["", "yesterday", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", None, "5"]
    return [{**row, "created_at": strange[n % len(strange)], "triggered_at": None} for n, row in enumerate(rows)]


def responding(body: Any) -> Refusal:
    return on_lists(lambda asked: httpx.Response(200, json=body))


GARBAGE: list[Any] = [None, [], "drun_", {"id": {}}, {"id": [], "status": []}, {"id": 7}, {}]
BENT: dict[str, dict[str, Any]] = {
    "ignores times and states": {"deaf_to": ("created_at", "statuses")},
    "ignores everything, oldest first": {
        "deaf_to": ("created_at", "statuses"),
        "arrange": lambda path, rows: rows[::-1],
    },
    "in no order": {"arrange": lambda path, rows: random.Random(len(rows)).sample(rows, len(rows))},
    "times that cannot be": {"arrange": with_strange_times},
    "runs are missing": {"arrange": lambda path, rows: [row for row in rows if int(row["id"][-4:], 36) % 3]},
    "always empty": {"arrange": lambda path, rows: []},
    "refuses times": {"refuse": NO_TIMES},
    "refuses everything": {"refuse": on_lists(lambda asked: answer(400))},
    "501": {"refuse": on_lists(lambda asked: answer(501))},
    "no page": {"refuse": responding({"data": {}})},
    "rows of garbage": {"refuse": responding({"data": GARBAGE})},
    "502": {"refuse": on_lists(html)},
}


HIDE_STATUSES = ("runs are missing", "always empty", "refuses everything", "rows of garbage")


@pytest.mark.parametrize(
    ("bent", "crowd"),
    [*((bent, "current") for bent in BENT), *((bent, "legacy") for bent in HIDE_STATUSES)],
    indirect=["crowd"],
)
@pytest.mark.few(3)
def test_run_wait_of_many_tells_of_every_end_once_and_never_too_early(bent: str, crowd: Crowd) -> None:
    seed_runs(crowd.world, 8, every=4.0)
    ids = [*crowd.begin(5, seconds=15), *crowd.begin(4, exhausted(seconds=20))]
    crowd.begin(4, seconds=3)  # strangers'
    vars(crowd.server).update(BENT[bent])
    crowd.wait(ids)
    assert (crowd.code, crowd.codes, sorted(in_order(crowd))) == (1, {0: 5, 1: 4}, sorted(ids))
    assert {item["id"] for _, item in crowd.told if item["exit_code"] == 1} == set(ids[5:])
    assert 0 <= min(crowd.delays()) <= max(crowd.delays()) <= 20
    assert crowd.busiest <= READS_PER_SECOND


@pytest.mark.parametrize(("status", "apart"), [(429, False), (503, False), (429, True)])
@pytest.mark.few(2)
def test_run_wait_of_many_keeps_the_pause_that_a_server_asks_for(status: int, apart: bool, current: Crowd) -> None:
    ids = far_apart(current, 9, left=900) if apart else current.begin(9, seconds=200)
    between(current, 20, 40, lambda asked: answer(status, retry_after="30"))
    current.wait(ids, "--timeout", "60")
    first = next(asked.at for asked in current.server.asked if asked.at - current.began > 20)
    assert not [asked for asked in current.server.asked if first < asked.at < first + 30]
    assert current.codes == {124: len(ids)}


def test_run_wait_of_many_overrules_a_status_that_stays_behind_its_session(legacy: Crowd) -> None:
    ids = legacy.begin(20, seconds=30)
    stuck = set(ids[::10])

    def refuse(asked: Asked) -> httpx.Response | None:
        if (id := asked.path.rpartition("/")[2]) not in stuck:
            return None
        session = legacy.world.runs[id].session
        assert session is not None
        run = {"id": id, "type": "deployment_run", "status": "running", "session_id": session.id}
        return httpx.Response(200, json=run)

    legacy.server.refuse = refuse
    legacy.server.arrange = lambda path, rows: [
        {**row, "status": "thinking", "completed_at": None} if row["id"] in stuck else row for row in rows
    ]
    legacy.wait(ids)
    assert (legacy.codes, legacy.said.count("has the unrecognised status 'thinking'")) == ({0: 20}, 2)
    late = [told for told in legacy.told if told.item["id"] in stuck]
    assert all(told.item["derived"][0] == "status" for told in late)
    assert 120 <= max(told.at for told in late) - legacy.began <= 140  # it has rested for a minute, seen twice
    assert legacy.said.count("its session ended") == 2
    assert len(legacy.asked_for("/events")) == 4  # seen at rest, and still so a minute later


def test_run_wait_of_many_compares_statuses_with_sessions_by_a_list_once_a_minute(legacy: Crowd) -> None:
    ids = legacy.begin(7, seconds=600)
    legacy.clock.time += 25
    legacy.wait([*ids, *legacy.begin(8, seconds=600)], "--timeout", "130")
    assert legacy.codes == {124: 15}
    assert {asked.path for asked in legacy.server.asked} == set(LISTS)
    assert len(legacy.asked_for("/sessions")) <= 2 * pages(15) * 130 / 60 + 1  # and what they cost


# What sessions do.


def test_run_wait_of_many_does_not_take_a_rest_before_work_for_an_end(crowd: Crowd) -> None:
    crowd.wait(crowd.begin(12, turn(seconds=60, start=40)))
    assert crowd.codes == {0: 12}
    assert 0 <= min(crowd.delays()) <= max(crowd.delays()) <= 8
    assert len(crowd.server.asked) < 12 * 16
    if crowd.world.generation == "current":
        assert all(item["usage"]["total_credits"] for _, item in crowd.told)


def _story(*beats: Beat) -> Script:
    """Return a turn that begins as all do, and goes on like this."""
    return (Beat(0, "session.status_idle", idle("end_turn")), Beat(0.1, WORK), *beats)


def _ends(at: float, reason: str = "end_turn") -> Beat:
    return Beat(at, "session.status_idle", idle(reason))


ANSWERED = _story(_ends(20.3, "requires_action"), Beat(20.4, WORK), _ends(31))
ASKS = _story(_ends(20, "requires_action"))


def test_run_wait_of_many_exits_11_for_those_that_ask(current: Crowd) -> None:
    ids = [*current.begin(3, ASKS, every=0.0), *current.begin(9, ANSWERED, every=0.0)]
    current.wait(ids)
    assert (current.code, current.codes) == (11, {11: 3, 0: 9})
    assert current.error["next"] == ["qoder", "run", "wait", *ids[:3], "-o", "jsonl"]
    items = [item for _, item in current.told if item["id"] in ids[:3]]
    assert {item["status"] for item in items} == {"running"}
    assert all("requires_action" in item["derived"] for item in items)


@pytest.mark.parametrize("status", ["archived", "processing"])
def test_run_wait_of_many_knows_archived_and_processing_sessions(current: Crowd, status: str) -> None:
    ids = current.begin(10, seconds=40)
    archived = status == "archived"
    current.server.deaf_to = ("statuses",)
    current.server.arrange = lambda path, rows: [
        {**row, "status": status, "archived_at": row["created_at"] if archived else None}
        if archived or row.get("status") == "running"
        else row
        for row in rows
    ]
    current.wait(ids)
    assert current.codes == {0: 10}
    assert 0 <= min(current.delays()) <= max(current.delays()) <= 31
    assert archived or len(current.asked_for("/events")) < 23


# When it cannot go on.


@pytest.mark.parametrize("from_then_on", [20, -1])
def test_run_wait_of_many_exits_10_or_at_first_4_for_a_token_that_is_refused(crowd: Crowd, from_then_on: float) -> None:
    ids = [*crowd.begin(3, seconds=5), *crowd.begin(12, seconds=300)]
    between(crowd, from_then_on, HOUR, refused)
    crowd.wait(ids)
    if from_then_on > 0:
        assert (crowd.code, crowd.codes) == (10, {0: 3, 10: 12})
        assert crowd.error["next"] == ["qoder", "run", "wait", *ids[3:], "-o", "jsonl"]
    else:
        assert (crowd.code, crowd.codes, len(crowd.server.asked)) == (4, {4: 15}, 1)
    assert crowd.error["http_status"] == 401


@pytest.mark.parametrize("timeout", [0, 10])
def test_run_wait_of_many_names_one_command_that_goes_on(timeout: int, crowd: Crowd) -> None:
    ids = [*crowd.begin(8, seconds=2), *crowd.begin(16, seconds=500)]
    crowd.clock.time += 5
    crowd.wait(ids, "--timeout", str(timeout))
    assert (crowd.code, crowd.codes) == (124, {0: 8, 124: 16})
    assert timeout <= crowd.clock.time - crowd.began <= timeout + 5
    assert {item["status"] for _, item in crowd.told if item["exit_code"] == 124} == {"running"}
    assert crowd.error["next"] == ["qoder", "run", "wait", *ids[8:], "-o", "jsonl"]
    assert in_order(crowd)[8:] == ids[8:]


def test_run_wait_timeout_0_checks_each_of_many_once_however_long_that_takes(current: Crowd) -> None:
    ids = [*current.begin(5, seconds=5), *current.begin(45, seconds=50 * HOUR)]
    current.clock.time += 2 * HOUR
    current.server.refuse = on_lists(lambda asked: answer(403, "permission_error"))
    current.wait(ids, "--timeout", "0")
    assert (current.code, current.codes) == (124, {0: 5, 124: 45})
    assert current.busiest <= READS_PER_SECOND
    assert 50 <= len(current.asked_for(f"{RUNS}/")) <= 50 + page_poller.BATCH


def test_run_wait_of_many_is_not_held_by_slow_pages_when_its_time_is_up(current: Crowd) -> None:
    ids = current.begin(30, seconds=5000, every=0.4)
    between(current, 6, HOUR, lambda asked: current.clock.sleep(8))
    current.wait(ids, "--timeout", "20")
    assert (current.code, current.codes) == (124, {124: 30})
    assert 20 <= current.clock.time - current.began <= 20 + 5 + 8 + 8  # and a page to say what they cost
