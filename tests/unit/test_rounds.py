"""Waiting for many runs through the lists: what it costs, and that nothing the lists hide makes it say what is not."""

import random
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qoder_cli.base.pool import Task
from qoder_cli.http.pace import READS_PER_SECOND
from qoder_cli.runs.fleet import rounds
from qoder_cli.sandbox.scripts import WORK, Beat, Script, exhausted, idle, turn
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.support.crowd import LISTS, Asked, Crowd, Rows, pages
from tests.support.seeds import seed_runs
from tests.support.wire import api_error

HOUR = 3600.0


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for one run at a time, in this thread: several that sleep on one clock would each push it on."""
    monkeypatch.setattr(Task, "start", lambda task: task._run() or task)


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few dozen runs fill as many pages as hundreds do."""
    monkeypatch.setattr(rounds, "PAGE", 25)


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


# What it costs.


def test_a_check_costs_a_page_for_so_many_runs_and_two_requests_for_each_that_ended(crowd: Crowd) -> None:
    ids = crowd.begin(54, seconds=70, every=0.4)
    crowd.wait(ids)
    assert (crowd.code, crowd.codes) == (0, {0: 54})
    assert sorted(in_order(crowd)) == sorted(ids)
    assert crowd.busiest <= READS_PER_SECOND
    before = [check for check in crowd.checks if check[-1].at < crowd.told[0].at]
    assert max(map(len, before)) <= pages(54) + 5
    ended = 0 if crowd.world.generation == "legacy" else 54
    by_themselves = [asked for asked in crowd.server.asked if asked.path not in LISTS]
    assert len(by_themselves) <= 2 * ended + (
        crowd.clock.time - crowd.began
    )  # and one a second, for those unasked for long
    assert min(crowd.delays()) >= 0
    assert max(crowd.delays()) <= 6 + 2


def test_while_nothing_changes_only_pages_are_read(crowd: Crowd) -> None:
    ids = crowd.begin(62, seconds=600, every=0.4)
    crowd.wait(ids, "--timeout", "58")
    assert (crowd.code, crowd.codes) == (124, {124: 62})
    first, *others = crowd.checks[:-1]  # the last one is for what they cost
    assert len(first) <= 2 * pages(62)  # the ids are looked for, and then their sessions
    assert {len(check) for check in others} == {pages(62)}
    steady = [check[0].at for check in others if check[0].at - crowd.began > 10]
    assert [round(later - earlier, 1) for earlier, later in pairwise(steady)][:8] == [5.0] * 8


def test_the_logs_of_many_are_read_no_faster(crowd: Crowd) -> None:
    ids = crowd.begin(40, seconds=2)
    crowd.clock.time += 10
    assert crowd("run", "logs", "-", "--tail", "2", stdin="\n".join(ids)).code == 0
    assert crowd.busiest <= READS_PER_SECOND


def test_when_all_end_at_once_each_is_asked_for_in_its_turn(current: Crowd) -> None:
    ids = current.begin(120, seconds=20, every=0.0)
    current.wait(ids)
    assert current.codes == {0: 120}
    assert current.busiest <= READS_PER_SECOND
    assert len(current.asked_for("/events")) == 120
    assert max(current.delays()) <= 5 + 2 * 120 / READS_PER_SECOND * 1.05
    lists = [asked for asked in current.server.asked if asked.path in LISTS]
    assert len([asked for asked in lists if asked.at > current.told[0].at]) <= 2  # while others are asked for


def far_apart(crowd: Crowd, count: int, *, left: float) -> list[str]:
    """Start runs an hour apart, and return their ids so many seconds before the first of them ends."""
    ids = crowd.begin(count, seconds=2 * count * HOUR, every=HOUR)
    crowd.clock.time += (count + 1) * HOUR - left
    return ids


def test_runs_that_are_far_apart_are_each_asked_for_by_themselves(crowd: Crowd) -> None:
    ids = far_apart(crowd, 12, left=70)
    crowd.wait(ids, "--timeout", "80")
    assert (crowd.code, crowd.codes) == (124, {0: 1, 124: 11})
    assert 0 <= crowd.delays()[0] <= 5
    each = [asked.at for asked in crowd.server.asked if ids[-1] in asked.path]
    each = each or [asked.at for asked in crowd.asked_for(crowd.world.runs[ids[-1]].session.id)]  # type: ignore[union-attr]  # it has one
    assert {round(later - earlier) for earlier, later in pairwise(each[5:])} <= {4, 5, 6, 7, 8}
    assert len([asked for asked in crowd.server.asked if asked.path in LISTS]) <= 6  # for the ids, and for the cost


def test_the_longest_pause_between_two_looks_is_the_one_asked_for(crowd: Crowd) -> None:
    crowd.wait(far_apart(crowd, 9, left=900), "--interval", "1", "--timeout", "30")
    assert crowd.code == 124
    path = "/deployment_runs/" if crowd.world.generation == "legacy" else "/events"
    assert len(crowd.asked_for(path)) >= 9 * 28


def test_strangers_in_between_cost_pages_and_hide_nothing(crowd: Crowd) -> None:
    stranger = crowd.world.add_deployment(name="stranger", behaviour=crowd.world.deployments["dep_minute"].behaviour)
    ids = []
    for _ in range(15):
        ids += crowd.begin(1, seconds=50)
        for _ in range(9):
            crowd.world.start(stranger)
        crowd.clock.time += 0.4
    crowd.wait(ids)
    assert crowd.codes == {0: 15}
    assert crowd.busiest <= READS_PER_SECOND
    assert max(crowd.delays()) <= 10


def test_ids_that_the_newest_runs_do_not_show_are_each_read_once(crowd: Crowd) -> None:
    ids = crowd.begin(60, seconds=5)
    crowd.clock.time += HOUR
    crowd.begin(225, seconds=5)
    known = [*ids[:6], "drun_nothere", *ids[6:], "drun_neither"]
    crowd.wait(known)
    assert (crowd.code, crowd.codes) == (5, {0: 60, 5: 2})
    assert len(crowd.asked_for("/deployment_runs/")) == 62
    assert len([asked for asked in crowd.server.asked if asked.path == "/deployment_runs"]) <= 62 // 10 + rounds.BARREN
    assert crowd.busiest <= READS_PER_SECOND


def test_ids_from_long_ago_that_are_far_apart_are_asked_for_each(current: Crowd) -> None:
    ids = far_apart(current, 60, left=900)
    current.begin(175, seconds=5)
    current.wait(ids, "--timeout", "20")
    assert current.codes == {124: 60}
    assert len(current.asked_for("/deployment_runs/")) == 60
    assert len([asked for asked in current.server.asked if asked.path == "/deployment_runs"]) <= 30
    assert current.busiest <= READS_PER_SECOND


@pytest.mark.parametrize("windows", ["heeded", "ignored", "refused"])
def test_many_behind_many_newer_ones_cost_pages_and_no_request_each(windows: str, crowd: Crowd) -> None:
    ids = crowd.begin(100, seconds=3 * HOUR)
    crowd.clock.time += HOUR
    crowd.begin(150, seconds=5 * HOUR)
    if windows == "ignored":
        crowd.server.deaf_to = ("created_at",)
    if windows == "refused":
        crowd.server.refuse = _on_lists(lambda a: answer(400) if "created_at[gte]" in a.query else None)
    crowd.wait(random.Random(1).sample(ids, len(ids)), "--timeout", "40")
    assert crowd.codes == {124: 100}
    assert {item.get("status") for _, item in crowd.told} == {"running"}
    assert {asked.path for asked in crowd.server.asked} <= set(LISTS)
    assert max(map(len, crowd.checks[1:-1])) <= pages(250) + 1  # the first finds the ids, the last is for the cost


def test_strangers_cost_pages_and_no_request_each(crowd: Crowd) -> None:
    stranger = crowd.world.add_deployment(name="stranger", behaviour=crowd.world.deployments["dep_minute"].behaviour)
    ids = []
    for _ in range(50):
        ids += crowd.begin(1, seconds=600)
        for _ in range(2):
            crowd.world.start(stranger)
        crowd.clock.time += 0.2
    crowd.wait(ids, "--timeout", "40")
    assert crowd.codes == {124: 50}
    assert max(map(len, crowd.checks[1:-1])) <= pages(150)  # the first finds the ids, the last is for the cost
    assert {asked.path for asked in crowd.server.asked} <= set(LISTS)
    assert len(crowd.server.asked) <= pages(150) + 40 / 5 * pages(150) * 1.5


def test_many_that_end_behind_newer_ones_cost_two_requests_each_at_most(crowd: Crowd) -> None:
    ids = crowd.begin(38, seconds=60, every=0.4)
    crowd.begin(38, seconds=HOUR, every=0.16)
    crowd.wait(ids)
    assert crowd.codes == {0: 38}
    of_runs = [asked for asked in crowd.server.asked if asked.path not in LISTS]
    assert len(of_runs) <= 2 * 38 * (crowd.world.generation == "current") + 30
    assert len(crowd.server.asked) - len(of_runs) <= 60 * pages(76)
    assert crowd.busiest <= READS_PER_SECOND


def test_the_same_run_named_twice_is_asked_for_once_and_told_twice(crowd: Crowd) -> None:
    ids = crowd.begin(9, seconds=20)
    crowd.wait([*ids, ids[0], ids[4]])
    assert crowd.codes == {0: 11}
    assert sorted(in_order(crowd)) == sorted([*ids, ids[0], ids[4]])
    assert [item["input"] for _, item in crowd.told] == in_order(crowd)


# Which runs are meant.


def test_sessions_cost_a_request_each_and_the_runs_of_their_deployment(crowd: Crowd) -> None:
    ids = crowd.begin(38, seconds=5)
    crowd.begin(12, seconds=5)  # strangers'
    crowd.clock.time += 60
    sessions = [crowd.world.runs[id].session.id for id in ids]  # type: ignore[union-attr]  # each has one
    crowd.wait(sessions)
    assert crowd.codes == {0: 38}
    assert [item["input"] for _, item in crowd.told if item["id"] == ids[7]] == [sessions[7]]
    before = [asked for asked in crowd.server.asked if asked.path.endswith("/runs")]
    assert len(before) <= pages(38) + 1
    assert crowd.busiest <= READS_PER_SECOND


def test_old_sessions_of_one_deployment_are_found_in_its_runs_at_once(crowd: Crowd) -> None:
    ids = crowd.begin(40, seconds=5)
    crowd.clock.time += HOUR
    crowd.begin(100, seconds=5)
    sessions = [crowd.world.runs[id].session.id for id in ids]  # type: ignore[union-attr]  # each has one
    crowd.wait(sessions)
    assert crowd.codes == {0: 40}
    assert len([asked for asked in crowd.server.asked if asked.path.endswith("/runs")]) <= pages(40)
    assert len([asked for asked in crowd.server.asked if asked.path == "/deployment_runs"]) <= 10
    assert crowd.busiest <= READS_PER_SECOND


def test_names_cost_one_listing_and_a_request_a_deployment(crowd: Crowd) -> None:
    deployments = crowd.world.seed_deployments(130)
    for each in deployments:
        crowd.world.start(each)
    crowd.clock.time += HOUR
    crowd.wait([f"{each.name}@last" for each in deployments])
    assert crowd.codes == {0: 130}
    assert len([asked for asked in crowd.server.asked if asked.path == "/deployments"]) == 2  # of 100
    assert len([asked for asked in crowd.server.asked if asked.path.endswith("/runs")]) == 130
    assert crowd.busiest <= READS_PER_SECOND


# What the lists hide.


def _hides_every_third(path: str, rows: Rows) -> Rows:
    return [row for row in rows if int(row["id"][-4:], 36) % 3]


def _oldest_first(path: str, rows: Rows) -> Rows:
    return rows[::-1]


def _shuffled(path: str, rows: Rows) -> Rows:
    return random.Random(len(rows)).sample(rows, len(rows))


def _empty(path: str, rows: Rows) -> Rows:
    return []


def _on_lists(respond: Callable[[Asked], httpx.Response | None]) -> Callable[[Asked], httpx.Response | None]:
    return lambda asked: respond(asked) if asked.path in LISTS else None


BENT: dict[str, dict[str, Any]] = {
    "ignores times": {"deaf_to": ("created_at",)},
    "ignores times and states": {"deaf_to": ("created_at", "statuses")},
    "ignores everything, oldest first": {"deaf_to": ("created_at", "statuses"), "arrange": _oldest_first},
    "oldest first": {"arrange": _oldest_first},
    "in no order": {"arrange": _shuffled},
    "ignores times, in no order": {"deaf_to": ("created_at",), "arrange": _shuffled},
    "runs are missing": {"arrange": _hides_every_third},
    "always empty": {"arrange": _empty},
    "refuses times": {"refuse": _on_lists(lambda a: answer(400) if "created_at[gte]" in a.query else None)},
    "refuses everything": {"refuse": _on_lists(lambda asked: answer(400))},
    "403": {"refuse": _on_lists(lambda asked: answer(403, "permission_error"))},
    "501": {"refuse": _on_lists(lambda asked: answer(501))},
    "no page": {"refuse": _on_lists(lambda asked: httpx.Response(200, json={"data": {}}))},
    "rows of garbage": {"refuse": _on_lists(lambda asked: httpx.Response(200, json={"data": GARBAGE}))},
    "502": {"refuse": _on_lists(lambda asked: httpx.Response(502, text="<html>"))},
}
GARBAGE: list[Any] = [None, [], "drun_", {"id": {}}, {"id": [], "status": []}, {"id": 7}, {}]


@pytest.mark.parametrize("bent", BENT)
def test_whatever_the_lists_are_worth_every_end_is_told_once_and_none_too_early(bent: str, crowd: Crowd) -> None:
    seed_runs(crowd.world, 32, every=4.0)
    ids = [*crowd.begin(12, seconds=25), *crowd.begin(12, exhausted(seconds=30))]
    crowd.begin(8, seconds=3)  # strangers'
    for name, value in BENT[bent].items():
        setattr(crowd.server, name, value)
    crowd.wait(ids)
    assert (crowd.code, crowd.codes) == (1, {0: 12, 1: 12})
    assert sorted(in_order(crowd)) == sorted(ids)
    assert {item["id"] for _, item in crowd.told if item["exit_code"] == 1} == set(ids[12:])
    assert min(crowd.delays()) >= 0
    assert max(crowd.delays()) <= 20
    assert crowd.busiest <= READS_PER_SECOND


def test_lists_that_cannot_be_read_for_a_while_are_read_again(crowd: Crowd) -> None:
    ids = crowd.begin(40, seconds=100)
    began = crowd.clock.time

    def refuse(asked: Asked) -> httpx.Response | None:
        down = asked.path in LISTS and 10 < asked.at - began < 40
        return httpx.Response(502, text="<html>") if down else None

    crowd.server.refuse = refuse
    crowd.wait(ids)
    assert crowd.codes == {0: 40}
    assert crowd.err.count("; retrying") == 1
    later = [asked for asked in crowd.server.asked if 45 < asked.at - began < 90]
    assert {asked.path for asked in later} <= set(LISTS)


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_the_server_asks_for_is_kept(status: int, crowd: Crowd) -> None:
    ids = crowd.begin(20, seconds=200)
    began = crowd.clock.time

    def refuse(asked: Asked) -> httpx.Response | None:
        return answer(status, retry_after="25") if 10 < asked.at - began < 30 else None

    crowd.server.refuse = refuse
    crowd.wait(ids)
    assert crowd.codes == {0: 20}
    first = next(asked.at for asked in crowd.server.asked if asked.at - began > 10)
    assert not [asked for asked in crowd.server.asked if first < asked.at < first + 25]


def test_a_pause_asked_for_by_the_answer_for_one_run_holds_for_all(crowd: Crowd) -> None:
    ids = far_apart(crowd, 12, left=900)
    began = crowd.clock.time
    crowd.server.refuse = lambda asked: answer(429, retry_after="40") if 30 < asked.at - began < 60 else None
    crowd.wait(ids, "--timeout", "90")
    assert crowd.code == 124
    first = next(asked.at for asked in crowd.server.asked if asked.at - began > 30)
    assert not [asked for asked in crowd.server.asked if first < asked.at < first + 40]


def test_a_status_that_stays_behind_its_session_is_overruled_after_a_minute(legacy: Crowd) -> None:
    ids = legacy.begin(60, seconds=30)
    stuck = set(ids[::10])

    def arrange(path: str, rows: Rows) -> Rows:
        return [{**row, "status": "running"} if row["id"] in stuck else row for row in rows]

    def refuse(asked: Asked) -> httpx.Response | None:
        id = asked.path.rpartition("/")[2]
        if id not in stuck:
            return None
        run = {"id": id, "type": "deployment_run", "status": "running", "session_id": legacy.world.runs[id].session.id}  # type: ignore[union-attr]  # it has one
        return httpx.Response(200, json=run)

    legacy.server.arrange, legacy.server.refuse = arrange, refuse
    legacy.wait(ids)
    assert legacy.codes == {0: 60}
    late = [told for told in legacy.told if told.item["id"] in stuck]
    assert all(told.item["derived"][0] == "status" for told in late)
    assert 120 <= max(told.at for told in late) - legacy.began <= 140  # it has rested for a minute, seen twice
    assert legacy.err.count("its session ended") == 6
    assert len(legacy.asked_for("/events")) == 12  # seen at rest, and still so a minute later


def test_statuses_are_compared_with_sessions_by_a_list_once_a_minute(legacy: Crowd) -> None:
    ids = legacy.begin(60, seconds=600)
    legacy.clock.time += 25
    ids += legacy.begin(60, seconds=600)
    legacy.wait(ids, "--timeout", "200")
    assert legacy.codes == {124: 120}
    assert {asked.path for asked in legacy.server.asked} == set(LISTS)
    assert len(legacy.asked_for("/sessions")) <= 2 * pages(120) * 200 / 60 + 1  # and what they cost


# What sessions do.


def test_a_session_that_rests_before_it_works_has_not_ended(crowd: Crowd) -> None:
    ids = crowd.begin(40, turn(seconds=60, start=40))
    crowd.wait(ids)
    assert crowd.codes == {0: 40}
    assert min(crowd.delays()) >= 0
    assert max(crowd.delays()) <= 8
    assert len(crowd.server.asked) < 40 * 16
    if crowd.world.generation == "current":
        assert all(item["usage"]["total_credits"] for _, item in crowd.told)


def _story(*beats: Beat) -> Script:
    """Return a turn that begins as all do, and goes on like this."""
    return (Beat(0, "session.status_idle", idle("end_turn")), Beat(0.1, WORK), *beats)


def _ends(at: float, reason: str = "end_turn") -> Beat:
    return Beat(at, "session.status_idle", idle(reason))


CHATS_ON = _story(_ends(20), Beat(21, WORK), Beat(200, "session.status_terminated"))
ANSWERED = _story(_ends(20.3, "requires_action"), Beat(20.4, WORK), _ends(31))
ASKS = _story(_ends(20, "requires_action"))


def test_what_happens_in_a_session_later_does_not_change_how_its_run_ended(current: Crowd) -> None:
    ids = [*current.begin(20, CHATS_ON, every=0.0), *current.begin(20, seconds=200, every=0.0)]
    current.clock.time += 30  # nobody looked while they rested
    current.wait(ids)
    assert current.codes == {0: 40}
    chatty = [told for told in current.told if told.item["id"] in ids[:20]]
    assert all(told.item["completed_at"] < "2027-01-15T08:00:21" for told in chatty)
    assert max(told.at for told in chatty) - current.began <= 60 + 20 + 6


def test_a_question_ends_a_wait_while_nobody_answers_it(current: Crowd) -> None:
    ids = [*current.begin(10, ASKS, every=0.0), *current.begin(10, ANSWERED, every=0.0)]
    current.wait(ids)
    assert (current.code, current.codes) == (11, {11: 10, 0: 10})
    items = [item for _, item in current.told if item["id"] in ids[:10]]
    assert [item["status"] for item in items] == ["running"] * 10
    assert all("requires_action" in item["derived"] for item in items)


def test_a_session_that_was_deleted_is_exit_9_and_the_others_are_told(current: Crowd) -> None:
    ids = current.begin(40, seconds=100)
    gone = ids[7]
    session = current.world.runs[gone].session
    assert session is not None
    current.clock.time += 10
    del current.world.sessions[session.id]
    current.wait(ids)
    assert (current.code, current.codes) == (9, {0: 39, 9: 1})
    [told] = [told for told in current.told if told.item["id"] == gone]
    assert told.item["error"]["type"] == "session_deleted"
    assert told.at - current.began <= 110  # it is asked for again and again for 30 s


def test_a_session_that_someone_archives_is_asked_how_it_ended(current: Crowd) -> None:
    ids = current.begin(20, seconds=40)

    def arrange(path: str, rows: Rows) -> Rows:
        return [{**row, "status": "archived", "archived_at": row["created_at"]} for row in rows]

    current.server.deaf_to, current.server.arrange = ("statuses",), arrange
    current.wait(ids)
    assert current.codes == {0: 20}
    assert min(current.delays()) >= 0
    assert max(current.delays()) <= 31


def test_an_older_session_that_is_processing_is_not_at_rest(current: Crowd) -> None:
    ids = current.begin(20, seconds=100)

    def arrange(path: str, rows: Rows) -> Rows:
        return [{**row, "status": "processing"} if row.get("status") == "running" else row for row in rows]

    current.server.deaf_to, current.server.arrange = ("statuses",), arrange
    current.wait(ids)
    assert current.codes == {0: 20}
    assert len(current.asked_for("/events")) < 45


def test_runs_that_no_replica_knows_yet_are_waited_for(crowd: Crowd) -> None:
    ids = crowd.begin(40, seconds=60)
    began = crowd.clock.time

    def refuse(asked: Asked) -> httpx.Response | None:
        lags = asked.at - began < 20 and "/events" in asked.path
        return answer(404, "not_found_error") if lags else None

    crowd.server.refuse = refuse
    crowd.server.arrange = lambda path, rows: [] if path == "/sessions" and crowd.clock.time < began + 20 else rows
    crowd.wait(ids)
    assert crowd.codes == {0: 40}


# When it cannot go on.


def test_a_token_that_is_no_longer_accepted_is_exit_10_for_each(crowd: Crowd) -> None:
    ids = [*crowd.begin(10, seconds=5), *crowd.begin(40, seconds=300)]
    began = crowd.clock.time
    crowd.server.refuse = lambda asked: answer(401, "authentication_error") if asked.at - began > 20 else None
    crowd.wait(ids)
    assert (crowd.code, crowd.codes) == (10, {0: 10, 10: 40})
    assert crowd.error["next"] == ["qoder", "run", "wait", *ids[10:], "-o", "jsonl"]
    assert crowd.error["http_status"] == 401


def test_a_token_that_is_not_accepted_at_first_is_exit_4(crowd: Crowd) -> None:
    ids = crowd.begin(40)
    crowd.server.refuse = lambda asked: answer(401, "authentication_error")
    crowd.wait(ids)
    assert (crowd.code, crowd.codes, len(crowd.server.asked)) == (4, {4: 40}, 1)


@pytest.mark.parametrize("silence", ["502", "no connection"])
def test_after_five_minutes_of_silence_sight_is_lost(silence: str, crowd: Crowd) -> None:
    ids = crowd.begin(40, seconds=2000)
    began = crowd.clock.time

    def refuse(asked: Asked) -> httpx.Response | None:
        if asked.at - began <= 20:
            return None
        if silence == "502":
            return httpx.Response(502, text="<html>")
        raise httpx.ConnectError("refused")

    crowd.server.refuse = refuse
    crowd.wait(ids)
    assert (crowd.code, crowd.codes) == (10, {10: 40})
    assert 295 <= crowd.clock.time - began - 20 <= 320
    assert crowd.err.count("; retrying") == 1
    assert len(crowd.server.asked) < 600  # it does not hurry a server in trouble
    assert {item["status"] for _, item in crowd.told} == {"running"}


def test_a_server_that_never_answered_is_exit_7_after_half_a_minute(crowd: Crowd) -> None:
    ids = crowd.begin(40)
    crowd.server.refuse = lambda asked: httpx.Response(502, text="<html>")
    crowd.wait(ids)
    assert (crowd.code, crowd.codes) == (7, {7: 40})
    assert 30 <= crowd.clock.time - crowd.began <= 40


def test_a_machine_asleep_is_not_silence(crowd: Crowd) -> None:
    ids = crowd.begin(20, seconds=5200)
    began = crowd.clock.time

    def at_sleep() -> None:
        if crowd.clock.time - began > 30:
            crowd.clock.time += 5000
            crowd.clock.at_sleep = lambda: None

    crowd.clock.at_sleep = at_sleep
    crowd.server.refuse = lambda asked: (
        httpx.Response(502, text="<html>") if began + 5000 < asked.at < began + 5100 else None
    )
    crowd.wait(ids)
    assert crowd.codes == {0: 20}


@pytest.mark.parametrize("timeout", [0, 10])
def test_when_the_time_is_up_one_command_goes_on(timeout: int, crowd: Crowd) -> None:
    ids = [*crowd.begin(20, seconds=2), *crowd.begin(40, seconds=500)]
    crowd.clock.time += 5
    crowd.wait(ids, "--timeout", str(timeout))
    assert (crowd.code, crowd.codes) == (124, {0: 20, 124: 40})
    assert timeout <= crowd.clock.time - crowd.began <= timeout + 5
    assert {item["status"] for _, item in crowd.told if item["exit_code"] == 124} == {"running"}
    assert crowd.error["next"] == ["qoder", "run", "wait", *ids[20:], "-o", "jsonl"]
    assert in_order(crowd)[20:] == ids[20:]


def test_timeout_0_checks_each_of_many_once_however_long_that_takes(crowd: Crowd) -> None:
    ids = [*crowd.begin(20, seconds=5), *crowd.begin(80, seconds=50 * HOUR)]
    crowd.clock.time += 2 * HOUR
    crowd.server.refuse = _on_lists(lambda asked: answer(403, "permission_error"))
    crowd.wait(ids, "--timeout", "0")
    assert (crowd.code, crowd.codes) == (124, {0: 20, 124: 80})
    assert crowd.busiest <= READS_PER_SECOND
    assert 100 <= len(crowd.asked_for("/deployment_runs/")) <= 100 + rounds.BATCH


def test_what_was_never_heard_of_is_named_in_the_command_that_goes_on(crowd: Crowd) -> None:
    ids = crowd.begin(12)
    crowd.server.refuse = lambda asked: httpx.Response(502, text="<html>")
    crowd.wait(ids, "--timeout", "5")
    assert (crowd.code, crowd.codes) == (124, {124: 12})
    assert crowd.error["next"] == ["qoder", "run", "wait", *ids, "-o", "jsonl"]
    assert {item["error"]["run_state"] for _, item in crowd.told} == {"unknown"}


def test_slow_pages_do_not_hold_what_is_out_of_time(crowd: Crowd) -> None:
    ids = crowd.begin(125, seconds=5000, every=0.4)
    began = crowd.clock.time

    def refuse(asked: Asked) -> httpx.Response | None:
        if asked.at - began > 6:
            crowd.clock.sleep(8)
        return None

    crowd.server.refuse = refuse
    crowd.wait(ids, "--timeout", "20")
    assert (crowd.code, crowd.codes) == (124, {124: 125})
    assert 20 <= crowd.clock.time - crowd.began <= 20 + 5 + 8 + 8  # and a page to say what they cost


# Whatever comes together.


@st.composite
def plights(draw: st.DrawFn) -> dict[str, Any]:
    """What may be wrong with the lists of a server, at what times."""
    return {
        "hidden": draw(st.integers(0, 3)),  # of four runs, by their number
        "order": draw(st.sampled_from([None, _oldest_first, _shuffled])),
        "deaf_to": tuple(draw(st.sets(st.sampled_from(["created_at", "statuses"])))),
        "stale": draw(st.sampled_from([0.0, 0.0, 7.0, 40.0])),  # seconds by which lists are behind
        "down": draw(st.lists(st.tuples(st.sampled_from(LISTS), st.integers(0, 60), st.integers(1, 60)), max_size=2)),
        "failure": draw(st.sampled_from([502, 429, 403, 400, 200])),
        "lengths": draw(st.lists(st.sampled_from([3, 20, 70, 130]), min_size=9, max_size=20)),
        "apart": draw(st.sampled_from([0.0, 1.0, 45.0, 900.0])),
    }


@settings(max_examples=settings.default.max_examples // 2)  # type: ignore[union-attr]  # a profile is loaded
@given(generation=st.sampled_from(GENERATIONS), plight=plights())
def test_whatever_the_lists_hide_no_end_is_made_up_and_none_is_missed(
    tmp_path: Path, generation: Generation, plight: dict[str, Any]
) -> None:
    crowd = Crowd(generation, tmp_path)
    ids = []
    for number, seconds in enumerate(plight["lengths"]):
        script = exhausted(seconds=seconds) if number % 4 == 3 else turn(seconds=seconds)
        ids += crowd.begin(1, script)
        crowd.clock.time += plight["apart"]
    began = crowd.clock.time
    server = crowd.server
    server.deaf_to = plight["deaf_to"]
    old: dict[str, list[tuple[float, Rows]]] = {}

    def arrange(path: str, rows: Rows) -> Rows:
        old.setdefault(path, []).append((crowd.clock.time, rows))
        behind = [seen for at, seen in old[path] if at <= crowd.clock.time - plight["stale"]]
        rows = behind[-1] if behind else []
        rows = [row for row in rows if int(row["id"][-1], 36) % 4 >= plight["hidden"]]
        return plight["order"](path, rows) if plight["order"] else rows

    def refuse(asked: Asked) -> httpx.Response | None:
        is_down = any(asked.path == path and at <= asked.at - began < at + span for path, at, span in plight["down"])
        return answer(plight["failure"]) if is_down else None

    server.arrange, server.refuse = arrange, refuse
    crowd.wait(ids)
    assert sorted(in_order(crowd)) == sorted(ids)
    for told in crowd.told:
        ending = crowd.world.ending(told.item["id"])
        assert ending is not None
        assert told.at >= ending.at
        assert told.item["exit_code"] == (0 if ending.status == "completed" else 1)
        assert told.at - max(ending.at, began) <= 150
    assert crowd.busiest <= READS_PER_SECOND


def test_when_a_run_began_does_not_have_to_be_readable(crowd: Crowd) -> None:
    ids = crowd.begin(20, seconds=30)
    strange = ["", "yesterday", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", None, 5]

    def arrange(path: str, rows: Rows) -> Rows:
        return [{**row, "created_at": strange[n % len(strange)], "triggered_at": None} for n, row in enumerate(rows)]

    crowd.server.arrange = arrange
    crowd.wait(ids)
    assert crowd.codes == {0: 20}
    assert datetime.fromtimestamp(crowd.began)  # and the clock is a clock
