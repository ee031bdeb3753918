"""`qoder run result`, `--result` and `--require-satisfied`: what a run's agent said, delivered and achieved."""

from typing import Any

import httpx
import pytest

from qoder_cli.base.times import unix
from tests.conftest import Qoder
from tests.support.interrupting import interrupt
from tests.support.one_run import CURRENT, DONE, EVENTS, LEGACY, RUN, SESSION, SHOWN, TRIGGER, WORK, idle
from tests.support.result import END, says
from tests.support.wire import GONE, api_error, page

RESULT = ("run", "result", "drun_1")
FORBIDDEN = api_error(403, "permission_error", "Not yours.")


def completed(qoder: Qoder, *messages: dict[str, Any], after: tuple[dict[str, Any], ...] = ()) -> None:
    """Let the wire tell of a completed run with these messages before its ending, and others after it."""
    qoder.wire.on(*RUN, DONE).on(*EVENTS, page(*WORK, END), page(*reversed([*messages, END, *after])))


CONTENTS: list[tuple[Any, str]] = [
    ([{"type": "text", "text": "All done.\nTwo files changed."}], "All done.\nTwo files changed.\n"),
    ([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}], "ab\n"),
    ([{"type": "text", "text": "tab\tand \x1b[31mcolour"}], "tab\tand \\u001b[31mcolour\n"),
    ("A plain string.", "A plain string.\n"),
    ([], ""),
    ([None, 3, {"text": 7}], ""),
    (None, ""),
]


@pytest.mark.parametrize(("content", "text"), CONTENTS)
def test_run_result_prints_the_final_message_as_plain_text(qoder: Qoder, content: Any, text: str) -> None:
    completed(qoder, says("first", 1), {**says("x", 2), "content": content})
    ran = qoder(*RESULT)
    assert (ran.code, ran.out) == (0, text)


def test_run_result_leaves_out_what_is_said_after_the_ending(qoder: Qoder) -> None:
    request = {**says("And that?", 2), "type": "user.message"}  # listed too, but not a result
    completed(qoder, says("the result", 1), request, after=(says("chat", 20), idle("end_turn", 40)))
    assert qoder(*RESULT).out == "the result\n"


def test_run_result_goes_by_times_where_a_list_lacks_the_ending(qoder: Qoder) -> None:
    again = {**WORK[1], "id": "evt_again", "processed_at": "2026-06-14T08:54:19Z"}  # after the result
    lacking = page(says("chat", 20), again, says("the result", 1))
    qoder.wire.on(*RUN, DONE).on(*EVENTS, page(*WORK, again, END), lacking)
    assert qoder(*RESULT).out == "the result\n"


@pytest.mark.parametrize("lagging", [page(*WORK, says("Let me see.", 1)), GONE], ids=["behind", "not there"])
@pytest.mark.parametrize("run", [DONE, CURRENT], ids=["legacy", "current"])
def test_run_result_asks_again_where_a_replica_does_not_show_the_ending_yet(
    qoder: Qoder, run: dict[str, Any], lagging: Any
) -> None:
    ended = qoder.clock.time = unix(DONE["completed_at"]) or 0.0
    log = [*WORK, says("Let me see.", 1), says("the result", 2), END]
    is_first = [run is CURRENT]  # what tells that it has ended

    def tell(request: httpx.Request) -> Any:
        if not is_first.pop() if is_first else qoder.clock.time < ended + 3:
            return lagging
        return page(*log)

    qoder.wire.on(*RUN, run, repeat=True).on(*EVENTS, tell, repeat=True).may(*SESSION, {"id": "sess_1"})
    ran = qoder(*RESULT)
    assert (ran.code, ran.out) == (0, "the result\n"), ran.err


def test_run_result_leaves_out_what_other_threads_say(qoder: Qoder) -> None:
    helper = [says(f"helper {number}", number, session_thread_id="sthr_2") for number in (2, 3)]
    threads = {"id": "sthr_2", "parent_thread_id": "sthr_1"}, {"id": "sthr_1", "parent_thread_id": None}
    for count, code, out in ((2, 0, "main\n"), (1, 7, "")):  # where none is known to be the main one, nobody knows
        completed(qoder, says("main", 1, session_thread_id="sthr_1"), *helper)
        qoder.wire.on("GET", "/sessions/sess_1/threads", page(*threads[:count]))
        ran = qoder(*RESULT)
        assert (ran.code, ran.out) == (code, out)


EARLIER = {**says("Of another run."), "processed_at": "2026-06-14T07:54:12Z"}


@pytest.mark.parametrize(("messages", "result"), [([says("All done.")], "All done."), ([], None), ([EARLIER], None)])
def test_run_result_in_json_is_the_run_with_its_result(qoder: Qoder, messages: list[Any], result: str | None) -> None:
    completed(qoder, *messages)
    ran = qoder(*RESULT, "--json")
    assert (ran.json, ran.err) == ({**SHOWN, "result": result}, "")
    completed(qoder, *messages)
    assert qoder(*RESULT).err == ("" if result else "run drun_1 left no final message\n")


def test_run_result_reads_no_more_of_a_session_than_it_needs(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, DONE).on(*EVENTS, page(*WORK, END), page(END, says("All done."), more=True))
    assert qoder(*RESULT).out == "All done.\n"


FAILED = {**DONE, "status": "failed"}
# How the run is told, and its events; exit code, standard output, and fields of the JSON.
NO_SUCCESS: dict[str, tuple[Any, list[Any], int, str, dict[str, Any]]] = {
    "still going": (LEGACY, [], 8, "", {"status": "running"}),
    "never started": ({**CURRENT, "session_id": None, "error": {"type": "x"}}, [], 1, "", {"result": None}),
    "failed": (FAILED, [page(*WORK), page(says("half of it"))], 1, "half of it\n", {"result": "half of it"}),
    "its session was deleted": (CURRENT, [GONE], 9, "", {"result": None}),
}


@pytest.mark.parametrize("name", NO_SUCCESS)
def test_run_result_exits_as_the_run_ended_and_shows_what_was_said(qoder: Qoder, name: str) -> None:
    run, events, code, out, fields = NO_SUCCESS[name]
    for format in ("table", "id", "json"):
        qoder.wire.on(*RUN, run).on(*EVENTS, *events, repeat=bool(events))
        ran = qoder(*RESULT, "-o", format)
        qoder.wire.expected.clear()
        assert ran.code == code
        if format != "json":
            assert ran.out == (out if format == "table" or code == 8 else "drun_1\n")
        else:
            assert ran.json | fields == ran.json
            assert ran.error["run_state"] == ("going" if code == 8 else ran.error["run_state"])


@pytest.mark.parametrize("line", ["deploy run dep_1 --on-leave cancel", "run wait drun_1"])
def test_run_wait_interrupted_while_the_result_is_read_does_not_deny_the_ending(qoder: Qoder, line: str) -> None:
    if line.startswith("deploy"):
        qoder.wire.on(*TRIGGER, LEGACY)
    qoder.wire.on(*RUN, DONE).on(*EVENTS, interrupt)
    ran = qoder(*line.split(), "--result", "--json")
    assert (ran.code, ran.json["status"]) == (130, "completed")
    assert (ran.error["run_id"], ran.error["run_state"], ran.error["next"]) == ("drun_1", "ended", None)


UNREAD: dict[str, tuple[dict[str, Any], str]] = {
    "run get": (CURRENT, "unknown"),
    "run result": (DONE, "ended"),
    "run result ": (CURRENT, "unknown"),
    "run cancel --yes": (LEGACY, "unknown"),
}


@pytest.mark.parametrize("line", UNREAD)
def test_run_commands_print_the_run_whatever_cannot_be_read(qoder: Qoder, line: str) -> None:
    run, state = UNREAD[line]
    qoder.wire.on(*RUN, run).on(*(("POST", "/sessions/sess_1/cancel") if "cancel" in line else EVENTS), FORBIDDEN)
    ran = qoder(*line.split(), "drun_1", "--json")
    assert (ran.code, ran.json["id"]) == (4, "drun_1")
    assert (ran.error["run_id"], ran.error["session_id"], ran.error["run_state"]) == ("drun_1", "sess_1", state)


# With waiting.


def test_run_wait_result_is_the_run_while_it_goes_on(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, repeat=True)
    ran = qoder("run", "wait", "drun_1", "--result", "--timeout", "0", "--json")
    assert (ran.code, ran.json) == (124, LEGACY)


A, MET = {"outcome_id": "a"}, {"result": "satisfied"}


def at(second: int) -> dict[str, str]:
    return {"completed_at": f"2026-06-14T09:00:0{second}Z"}


EVALUATIONS: list[tuple[Any, int]] = [
    ([{"outcome_id": "outc_1", "result": "satisfied"}], 0),
    ([{"outcome_id": "a", "result": "needs_revision"}, {"outcome_id": "a", "result": "satisfied"}], 0),
    ([{"outcome_id": "a", "result": "satisfied"}, {"outcome_id": "b", "result": "failed"}], 1),
    ([{"outcome_id": "a", "result": "max_iterations_reached"}], 1),
    ([{"result": "failed"}, {"result": "satisfied"}], 1),  # of two outcomes, for all that is known
    ([{**A, "result": "failed", **at(9)}, {**A, "result": "satisfied", **at(1)}], 1),  # the newest comes first
    ([{**A, "result": "satisfied", **at(9)}, {**A, "result": "failed", **at(1)}], 0),
    ([{**A, "result": "failed", **at(9)}, {**A, "result": "satisfied", **at(1)}, {"outcome_id": "b"} | MET], 1),
    ([{**A, "result": "failed", "iteration": 2}, {**A, "result": "satisfied", "iteration": 1}], 1),
    ([{**A, "result": "satisfied", "iteration": 2}, {**A, "result": "needs_revision", "iteration": 1}], 0),
    ([{**A, "result": "failed", **at(9), "iteration": 2}, {**A, **MET, **at(9), "iteration": 1}], 1),  # in one second
    ([{**A, "result": "satisfied", "iteration": True}, {**A, "result": "needs_revision", "iteration": 0}], 1),
    ([{**A, "result": "failed"}, {**A, "result": "satisfied"}], 1),  # which is newer, nobody knows
    ([{}], 1),
    ([], 1),
    (None, 1),
]


@pytest.mark.parametrize(("evaluations", "code"), EVALUATIONS)
def test_run_wait_require_satisfied_exits_1_for_anything_else(qoder: Qoder, evaluations: Any, code: int) -> None:
    qoder.wire.on(*RUN, DONE).on(*SESSION, {"outcome_evaluations": evaluations})
    assert qoder("run", "wait", "drun_1", "--require-satisfied").code == code


def test_run_wait_require_satisfied_exits_10_where_another_session_is_shown(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, DONE).on(*SESSION, {"id": "sess_2", "outcome_evaluations": EVALUATIONS[0][0]})
    ran = qoder("run", "wait", "drun_1", "--require-satisfied")
    assert (ran.code, "the response is not session sess_1" in ran.err) == (10, True)
    assert "qoder run wait drun_1 --require-satisfied\n" in ran.err  # is how to try again


def test_run_get_shows_how_the_outcomes_were_evaluated(qoder: Qoder) -> None:
    evaluations = [
        {"outcome_id": "a", "result": "needs_revision"},
        {"outcome_id": "a", "result": "satisfied", "explanation": "All tests pass."},
        {"outcome_id": "b", "result": "failed", "description": "Docs are current"},
        {"outcome_id": "c", "description": "It is fast"},
    ]
    qoder.wire.on(*RUN, DONE, DONE).on(*SESSION, {"outcome_evaluations": evaluations})
    out = qoder("run", "get", "drun_1").out
    assert "outcome\tsatisfied: All tests pass.\n" in out
    assert "failed: Docs are current\n" in out
    assert "unknown: It is fast\n" in out
    assert qoder("run", "get", "drun_1", "--json").json == SHOWN
