"""Runs on current servers that name another session later: the one they name at the end is theirs."""

from itertools import count
from typing import Any

import pytest

from tests.conftest import Qoder
from tests.support.logs import says
from tests.support.one_run import CURRENT, DONE, EVENTS, RUN, SESSION, TRIGGER, WORK, event, idle
from tests.support.wire import GONE, api_error, page

MOVED = {**CURRENT, "session_id": "sess_2"}
OTHER_EVENTS = ("GET", "/sessions/sess_2/events")
OTHER = ("GET", "/sessions/sess_2")
END = idle("end_turn")
DEPLOY = ("deploy", "run", "dep_1", "--wait", "--json")


# What the first session shows: it may have ended in any way, be gone, or stay as it is for ever.
FIRST: dict[str, Any] = {
    "completed": page(*WORK, END),
    "failed": page(*WORK, idle("budget_reached")),
    "terminated": page(*WORK, event("status_terminated")),
    "deleted": page(*WORK, event("deleted")),
    "gone": GONE,
    "silent": page(*WORK),
    "empty": page(),
}


SECOND: dict[str, tuple[Any, int, str]] = {
    "completed": (page(*WORK, END), 0, "completed"),
    "failed": (page(*WORK, idle("retries_exhausted")), 1, "failed"),
}


@pytest.mark.parametrize("words", [("deploy", "run", "dep_1", "--wait"), ("run", "wait", "drun_1")], ids=" ".join)
@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("second", SECOND)
@pytest.mark.few(9)  # each first session, with both commands
def test_run_wait_reports_how_the_session_ended_that_the_run_names_last(
    qoder: Qoder, words: tuple[str, ...], first: str, second: str
) -> None:
    events, code, status = SECOND[second]
    if words[0] == "deploy":
        qoder.wire.on(*TRIGGER, CURRENT)
    else:
        qoder.wire.on(*RUN, CURRENT)
    qoder.wire.on(*RUN, MOVED, repeat=True).on(*EVENTS, page(*WORK), FIRST[first], repeat=True)
    qoder.wire.on(*OTHER_EVENTS, events, repeat=True).on(*OTHER, {"id": "sess_2", "usage": {"total_credits": 2}})
    qoder.wire.may(*SESSION, {})
    ran = qoder(*words, "--json")
    assert (ran.code, ran.json["status"], ran.json["session_id"]) == (code, status, "sess_2")
    assert ran.json["usage"] == {"total_credits": 2}


def test_run_wait_reads_a_run_again_once_before_it_believes_its_session(qoder: Qoder) -> None:
    alone = {"agent": {"multiagent": None}}
    pages = [page(*WORK, *(event("error", id=f"evt_x{m}") for m in range(n))) for n in range(30)]  # it is never silent
    qoder.wire.on(*TRIGGER, CURRENT).on(*EVENTS, *pages, page(*WORK, END)).on(*RUN, CURRENT).on(*SESSION, alone, {})
    assert qoder(*DEPLOY).code == 0
    assert sum(request.url.path.endswith(RUN[1]) for request in qoder.wire.requests) == 1
    qoder.wire.told.clear()  # and what only shows it does not
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK, END)).on(*SESSION, {})
    assert qoder("run", "get", "drun_1", "--json").json["status"] == "completed"


def test_run_wait_reads_a_run_again_once_a_minute_while_its_session_is_silent(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT, repeat=True).on(*EVENTS, page(*WORK), repeat=True)
    qoder.wire.on("GET", "/sessions/sess_1", {"status": "running", "archived_at": "2026-06-14T08:54:06Z"}, repeat=True)
    assert qoder("run", "wait", "drun_1", "--timeout", "10m").code == 124
    assert 9 <= sum(path.endswith("/drun_1") for path in qoder.wire.asked("GET")) <= 12


ERROR = {"error": {"type": "x", "message": "No."}}
UNAUTHORIZED = api_error(401, "authentication_error", "No.")
# What the run says when it is read again, after its session has completed; exit code and status.
LATER: dict[str, tuple[Any, int, str]] = {
    "a status": ({**CURRENT, "status": "failed", **ERROR}, 1, "failed"),
    "an error": ({**CURRENT, "session_id": None, **ERROR}, 1, "failed"),
    "gone": (GONE, 10, "running"),
    "no access": (UNAUTHORIZED, 10, "running"),
}


@pytest.mark.parametrize(("later", "code", "status"), LATER.values(), ids=LATER.keys())
def test_run_wait_believes_what_the_run_itself_says_by_then(qoder: Qoder, later: Any, code: int, status: str) -> None:
    qoder.wire.on(*TRIGGER, CURRENT).on(*EVENTS, page(*WORK, END), repeat=True).on(*RUN, later, repeat=True)
    ran = qoder(*DEPLOY)
    assert (ran.code, ran.json["id"], ran.json["status"]) == (code, "drun_1", status)


def test_run_wait_loses_sight_of_a_run_that_names_another_session_each_time(qoder: Qoder) -> None:
    numbers = count(2)

    def another(request: Any) -> Any:
        qoder.clock.time += 5
        return {**CURRENT, "session_id": f"sess_{next(numbers)}"}

    qoder.wire.on(*TRIGGER, CURRENT).on("GET", "/sessions/*/events", page(*WORK, END), repeat=True)
    qoder.wire.on(*RUN, another, repeat=True)
    ran = qoder(*DEPLOY)
    assert (ran.code, ran.error["run_state"]) == (10, "unknown")


def test_run_wait_of_several_believes_no_session_that_a_list_names(qoder: Qoder) -> None:
    """The list names sessions of other runs, which have completed; the runs' own have failed."""
    ids = [f"drun_{number}" for number in range(12)]
    runs = [{**CURRENT, "id": id, "session_id": f"sess_of_{id}"} for id in ids]
    qoder.wire.on("GET", "/deployment_runs", page(*(run | {"session_id": "sess_x"} for run in runs)), repeat=True)
    qoder.wire.may("GET", "/sessions", page({"id": "sess_x", "status": "idle", "created_at": "2026-06-14"}))
    qoder.wire.may("GET", "/sessions/sess_x/events", page(*WORK, END))
    qoder.wire.on("GET", "/sessions/sess_of_*/events", page(*WORK, idle("budget_reached")), repeat=True)
    for run in runs:
        qoder.wire.on("GET", f"/deployment_runs/{run['id']}", run, repeat=True)
    qoder.wire.may("GET", "/sessions/*", {"usage": {}})
    ran = qoder("run", "wait", *ids, "--json")
    assert (ran.code, {run["status"] for run in ran.json}) == (1, {"failed"})
    assert {run["session_id"] for run in ran.json} == {run["session_id"] for run in runs}


LEAVES = ("deploy", "run", "dep_1", "--wait", "--on-leave", "cancel", "--timeout", "3")


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (MOVED, "cancellation was requested"),
        (DONE, "was not cancelled: it has ended\n"),
        ({**CURRENT, "session_id": None, **ERROR}, "was not cancelled: it has ended\n"),
        ((503, ""), "could not be cancelled"),
        ([], "could not be cancelled"),
        ({**MOVED, "id": "drun_2"}, "could not be cancelled"),
        ({**MOVED, "session_id": None}, "could not be cancelled"),
    ],
    ids=str,
)
def test_deploy_run_on_leave_cancels_the_session_that_the_run_names_then(qoder: Qoder, run: Any, says: str) -> None:
    qoder.wire.on(*TRIGGER, CURRENT).on(*EVENTS, page(*WORK), repeat=True).on(*RUN, run)
    if run is MOVED:
        qoder.wire.on("POST", "/sessions/sess_2/cancel", {"id": "sess_2", "type": "session", "status": "canceling"})
    ran = qoder(*LEAVES)
    assert ran.code == 124
    assert says in ran.err


def test_run_logs_follow_goes_on_in_the_session_that_the_run_names_now(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*RUN, MOVED, repeat=True)
    qoder.wire.on(*EVENTS, page(*WORK, says("first", 8)), repeat=True)
    qoder.wire.on(*OTHER_EVENTS, page(*WORK, says("second", 9), END), repeat=True).on(*OTHER, {}, repeat=True)
    qoder.wire.may(*SESSION, {})
    ran = qoder("run", "logs", "drun_1", "--follow")
    assert (ran.code, "first" in ran.out, "second" in ran.out) == (0, True, True)
    assert "the run now has session sess_2; following that one" in ran.err
