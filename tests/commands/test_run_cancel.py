"""`qoder run cancel`: it asks, it waits until it is true, and it says what was done."""

import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.base.errors import Signalled
from tests.conftest import Qoder
from tests.support.interrupting import interrupt
from tests.support.one_run import CURRENT, DONE, ELAPSED, EVENTS, LEGACY, RUN, TRIGGER, WORK, event
from tests.support.wire import api_error, page

CANCEL = ("POST", "/sessions/sess_1/cancel")
OTHER = {**LEGACY, "id": "drun_2", "session_id": "sess_2"}
CANCELLED = {"status": "failed", "error": {"type": "cancelled", "message": "Cancelled."}}
ACCEPTED = (202, {"id": "sess_1", "status": "canceling"})
CUT = httpx.ReadError("reset")
REFUSED = api_error(401, "authentication_error", "No.")
LATER = httpx.Response(429, headers={"retry-after": "20"})
NO_SESSION = {**LEGACY, "session_id": None}
# How the run is told in turn, what answers the cancellation, the exit code, and the run that is printed, if it is.
ENDS: dict[str, tuple[list[Any], list[Any], int, dict[str, Any]]] = {
    "it waits until it is true": ([LEGACY, LEGACY, {**DONE, **CANCELLED}], [ACCEPTED], 0, {**DONE, **CANCELLED}),
    "what is over is not cancelled": ([DONE], [], 0, DONE),
    "it ends before it could be sent": ([LEGACY, DONE], [LATER], 0, DONE),
    "a lost answer": ([LEGACY, DONE], [CUT], 0, DONE),
    "it names no session": ([NO_SESSION], [], 8, {}),
    "it names no session any more": ([LEGACY, NO_SESSION], [LATER], 8, {}),
}


@pytest.mark.parametrize(("runs", "answers", "code", "shown"), ENDS.values(), ids=ENDS.keys())
def test_run_cancel_ends_when_the_run_has_ended(
    qoder: Qoder, runs: list[Any], answers: list[Any], code: int, shown: dict[str, Any]
) -> None:
    qoder.wire.on(*RUN, *runs).on(*CANCEL, *answers)
    ran = qoder("run", "cancel", "drun_1", "--yes", "--json")
    assert (ran.code, ran.json if shown else {}) == (code, {**shown, **(ELAPSED if shown else {})})
    assert shown or "has no session yet, so it cannot be cancelled" in ran.error["message"]


# How the run is read after the cancellation, what answers that, and what is told of both.
NEVER: dict[str, tuple[Any, Any, str, str]] = {
    "it goes on": (LEGACY, ACCEPTED, "cancellation was requested, but run drun_1 is still running", "going"),
    "a lost answer": (
        LEGACY,
        CUT,
        "unknown whether the cancellation arrived, and run drun_1 is still running",
        "going",
    ),
    "no server": (
        CUT,
        ACCEPTED,
        "cancellation was requested, but it is unknown whether run drun_1 has stopped",
        "unknown",
    ),
    "no access": (REFUSED, ACCEPTED, "cancellation was requested, but lost track of run drun_1", "unknown"),
}


@pytest.mark.parametrize(("read", "answer", "message", "run_state"), NEVER.values(), ids=NEVER.keys())
def test_run_cancel_exits_9_where_it_is_not_seen_to_come_true(
    qoder: Qoder, read: Any, answer: Any, message: str, run_state: str
) -> None:
    qoder.wire.on(*RUN, LEGACY, read, repeat=True).on(*CANCEL, answer)
    if run_state == "going":
        qoder.wire.on(*EVENTS, page(*WORK)).may("GET", "/sessions/sess_1", {})
    ran = qoder("run", "cancel", "drun_1", "--yes", "--json")
    assert (ran.code, ran.error["next"]) == (9, ["qoder", "run", "wait", "drun_1", "-o", "json"])
    assert (ran.error["message"].startswith(message), ran.error["run_state"]) == (True, run_state)


def test_run_cancel_of_several_tells_of_each_and_is_not_stopped_by_one_that_is_not_there(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployment_runs/drun_3", api_error(404, "not_found_error", "No such run."))
    qoder.wire.on(*RUN, LEGACY, LEGACY, {**LEGACY, **CANCELLED}).on(*CANCEL, ACCEPTED)
    qoder.wire.on("GET", "/deployment_runs/drun_2", OTHER, OTHER, {**OTHER, **CANCELLED})
    qoder.wire.on("POST", "/sessions/sess_2/cancel", (202, {}))
    qoder.stdin = "drun_3\ndrun_1\ndrun_2\n"
    ran = qoder("run", "cancel", "-", "--yes", "--json")
    results = [(item["input"], item.get("status"), item["exit_code"]) for item in ran.json]
    assert results == [("drun_3", None, 5), ("drun_1", "failed", 0), ("drun_2", "failed", 0)]
    assert (ran.code, ran.error["type"]) == (5, "not_found")


def test_run_cancel_cancels_a_run_once_that_several_words_mean(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY)
    qoder("deploy", "run", "dep_1")
    qoder.wire.on(*RUN, LEGACY, LEGACY, {**LEGACY, **CANCELLED}).on(*CANCEL, ACCEPTED)
    ran = qoder("run", "cancel", "last", "drun_1", "--yes", "--json")
    assert (ran.code, [item["input"] for item in ran.json]) == (0, ["last", "drun_1"])


@pytest.mark.parametrize(
    ("answer", "type", "so"),
    [
        (ACCEPTED, "interrupted", "the cancellation of 1 other was requested"),
        (CUT, "outcome_unknown", "unknown whether the cancellation of 1 other arrived"),
    ],
)
def test_run_cancel_interrupted_at_a_question_says_what_is_done(
    answer: Any, type: str, so: str, qoder: Qoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = ["y"]

    def choice_of(*_: Any, **__: Any) -> str:
        if not replies:
            raise Signalled(signal.SIGINT)
        return replies.pop()

    monkeypatch.setattr(App, "may_ask", True)
    monkeypatch.setattr("qoder_cli.input.prompt.choice_of", choice_of)
    qoder.wire.on(*RUN, LEGACY, LEGACY).on(*CANCEL, answer).on("GET", "/deployment_runs/drun_2", OTHER)
    ran = qoder("run", "cancel", "drun_1", "drun_2", "drun_3", "--json")
    assert (ran.code, ran.error["type"], [item["exit_code"] for item in ran.json]) == (130, type, [130, 130, None])
    assert ran.error["message"] == f"interrupted; run drun_2 was not cancelled; {so}"


@pytest.mark.parametrize(
    ("answer", "so"),
    [
        (ACCEPTED, "the cancellation of {} was requested"),
        (CUT, "unknown whether the cancellation of {} arrived"),
        (LATER, "{} was not cancelled"),
    ],
)
@pytest.mark.parametrize("as_it_begins", [False, True])
def test_run_cancel_interrupted_while_it_waits_says_no_more_than_is_known(
    qoder: Qoder, answer: Any, so: str, as_it_begins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    qoder.clock.at_sleep = interrupt
    if as_it_begins:
        monkeypatch.setattr("qoder_cli.fleet.wait.Wait.until_reported", interrupt)
    qoder.wire.on(*RUN, LEGACY, *[LEGACY] * (answer is not LATER and not as_it_begins)).on(*CANCEL, answer)
    ran = qoder("run", "cancel", "drun_1", "--yes", "--json")
    assert (ran.code, ran.error["run_state"]) == (130, "unknown")
    assert ran.error["message"] == f"interrupted; {so.format('run drun_1')}"


def test_run_cancel_warns_of_a_run_that_may_wait_for_an_answer(qoder: Qoder) -> None:
    asks = event("status_idle", 9, stop_reason={"type": "", "event_ids": ["evt_1"]})
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK, asks)).may("GET", "/sessions/sess_1", {})
    ran = qoder("run", "cancel", "drun_1", "--yes", "--json")
    assert (ran.code, "it may wait for an answer; nothing was cancelled" in ran.err) == (0, True)


def test_run_cancel_cancels_nothing_without_a_yes(qoder: Qoder, questions: Callable[..., list[str]]) -> None:
    questions(False)
    qoder.wire.on(*RUN, LEGACY)
    assert qoder("run", "cancel", "drun_1").code == 2
