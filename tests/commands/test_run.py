"""`qoder run get` and `run wait`, in the user's words."""

import time
from typing import Any

import httpx
import pytest

from tests.conftest import Qoder
from tests.support.one_run import CURRENT, DONE, EVENTS, LEGACY, RUN, SESSION, WORK, event, idle
from tests.support.wire import api_error, page

FAILED = {**DONE, "status": "failed", "error": {"type": "api_error", "message": "Agent execution failed."}}
SKIPPED = {**LEGACY, "status": "skipped", "session_id": None}
GONE = api_error(404, "not_found_error", "No such thing.")


def run(number: int, **fields: Any) -> dict[str, Any]:
    return {**DONE, "id": f"drun_{number}", **fields}


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (DONE, "completed", 0),
        (FAILED, "failed", 1),
        (SKIPPED, "skipped", 3),
        (LEGACY, "running", 8),
        ({**LEGACY, "status": "pending"}, "pending", 8),
        ({**LEGACY, "status": "odd"}, "odd", 8),
        ({**LEGACY, "status": "odd", "completed_at": "2026-06-14T08:55:00Z"}, "odd", 1),
    ],
)
def test_get_is_exit_0_unless_the_outcome_is_asked_for(qoder: Qoder, answer: Any, status: str, code: int) -> None:
    qoder.wire.on(*RUN, answer, answer)
    plain = qoder("run", "get", "drun_1", "--json")
    assert (plain.code, plain.json) == (0, answer)
    judged = qoder("run", "get", "drun_1", "--exit-status", "--json")
    assert (judged.code, judged.json["status"]) == (code, status)
    assert ("warning" in judged.err) == (status == "odd")


@pytest.mark.parametrize(
    ("events", "status", "code"),
    [
        ([FIRST := WORK[0]], "running", 8),
        (WORK, "running", 8),
        ([*WORK, idle("end_turn")], "completed", 0),
        ([*WORK, idle("budget_reached")], "failed", 1),
        ([*WORK, event("status_terminated")], "failed", 1),
        (
            [*WORK, idle("end_turn"), event("status_running", 30), event("status_terminated", 31)],
            "completed",
            0,
        ),
    ],
)
def test_get_reads_the_ending_from_the_session(qoder: Qoder, events: list[Any], status: str, code: int) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*events))
    if len(events) == 1:
        qoder.wire.on(*EVENTS, page())  # did the agent do anything before it went idle?
    if code in (0, 1):
        qoder.wire.on(*SESSION, {"usage": {}})
    ran = qoder("run", "get", "drun_1", "--exit-status", "--json")
    assert (ran.code, ran.json["status"]) == (code, status)
    assert "status" in ran.json["derived"]


def test_what_happened_in_one_second_stays_in_the_order_of_the_list(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(event("status_running", 7), idle("end_turn", 7))).on(*SESSION, {})
    assert qoder("run", "get", "drun_1", "--json").json["status"] == "completed"


def test_the_ending_stands_on_a_later_page_of_events(qoder: Qoder) -> None:
    first = {**page(*WORK, more=True), "next_page": "a+b/c"}
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, first, page(idle("end_turn"))).on(*SESSION, {})
    assert qoder("run", "get", "drun_1", "--json").json["status"] == "completed"
    assert qoder.wire.requests[2].url.params["page"] == "a+b/c"


def test_work_that_no_running_event_tells_of_is_seen_by_what_the_agent_said(qoder: Qoder) -> None:
    message = {"id": "evt_m", "type": "agent.message"}
    qoder.wire.on(*RUN, CURRENT)
    qoder.wire.on(*EVENTS, page(WORK[0], idle("end_turn")), page(WORK[0], message, idle("end_turn"))).on(*SESSION, {})
    assert qoder("run", "get", "drun_1", "--json").json["status"] == "completed"
    assert "agent.message" in str(qoder.wire.requests[2].url)
    assert "after_id" not in qoder.wire.requests[2].url.params


def test_a_server_that_ignores_the_type_filter_is_read_rightly(qoder: Qoder) -> None:
    noise = [{"id": f"evt_{n}", "type": "span.model_request_start"} for n in range(50)]
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*noise, *WORK, *noise, idle("cancelled"))).on(*SESSION, {})
    assert qoder("run", "get", "drun_1", "--json").json["error"]["type"] == "cancelled"


def test_a_deleted_session_is_exit_9(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT, CURRENT).on(*EVENTS, GONE, repeat=True)
    for words in (("get", "--exit-status"), ("wait",)):
        began = qoder.clock.time
        ran = qoder("run", words[0], "drun_1", *words[1:], "--json")
        assert (ran.code, ran.json["error"]["type"]) == (9, "session_deleted")
        assert "status" not in ran.json
        assert ran.error["next"] == ["qoder", "run", "get", "drun_1", "-o", "json"]
        assert 30 <= qoder.clock.time - began <= 40  # a replica may lag


@pytest.mark.parametrize("gone", [0, 1, 20])
def test_a_session_that_is_not_found_for_a_while_has_not_been_deleted(qoder: Qoder, gone: int) -> None:
    until = qoder.clock.time + gone

    def listed(request: httpx.Request) -> Any:
        return GONE if qoder.clock.time < until else page(*WORK, idle("end_turn"))

    qoder.wire.on(*RUN, CURRENT, CURRENT).on(*EVENTS, listed, repeat=True).on(*SESSION, {}, {})
    assert qoder("run", "get", "drun_1", "--json").json["status"] == "completed"
    until = qoder.clock.time + gone
    assert qoder("run", "wait", "drun_1").code == 0


def test_a_session_that_was_not_found_twice_however_far_apart_has_not_been_deleted(qoder: Qoder) -> None:
    def late(request: httpx.Request) -> Any:
        qoder.clock.time += 40
        return GONE

    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, GONE, late, page(*WORK, idle("end_turn"))).on(*SESSION, {})
    assert qoder("run", "wait", "drun_1", "--json").json["status"] == "completed"


def test_an_event_of_the_deletion_is_believed_at_once(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK, event("deleted", 20)))
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.error["next"]) == (9, ["qoder", "run", "get", "drun_1", "-o", "json"])


FOREIGN = {status: (status, "<html>No.</html>") for status in (401, 403, 404, 407, 413)}


@pytest.mark.parametrize("answer", FOREIGN.values(), ids=map(str, FOREIGN))
@pytest.mark.parametrize("of", ["run", "session"])
def test_a_refusal_that_is_not_the_api_s_own_is_borne_like_silence(qoder: Qoder, answer: Any, of: str) -> None:
    if of == "run":
        qoder.wire.on(*RUN, LEGACY, answer, answer, answer, DONE)
    else:
        qoder.wire.on(*RUN, CURRENT)
        qoder.wire.on(*EVENTS, answer, answer, answer, page(*WORK, idle("end_turn"))).on(*SESSION, {})
    assert qoder("run", "wait", "drun_1").code == 0


@pytest.mark.parametrize("answer", FOREIGN.values(), ids=map(str, FOREIGN))
@pytest.mark.parametrize("of", ["run", "session"])
def test_a_refusal_that_is_not_the_api_s_own_for_five_minutes_loses_sight(qoder: Qoder, answer: Any, of: str) -> None:
    qoder.wire.on(*RUN, LEGACY if of == "run" else CURRENT)
    qoder.wire.on(*(RUN if of == "run" else EVENTS), answer, repeat=True)
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.error["http_status"]) == (10, answer[0])
    assert 300 < sum(qoder.clock.slept) < 310


def test_the_session_of_a_young_run_may_lag_behind(qoder: Qoder) -> None:
    young = {**CURRENT, "created_at": "2027-01-15T08:00:00Z"}  # where the fake clock stands
    begun, over = (
        {**one, "processed_at": f"2027-01-15T08:00:0{n}Z"} for n, one in enumerate((WORK[1], idle("end_turn")))
    )
    qoder.wire.on(*RUN, young).on(*EVENTS, GONE, GONE, page(begun, over)).on(*SESSION, {})
    assert qoder("run", "wait", "drun_1").code == 0


def test_a_session_that_never_appears_is_not_knowable(qoder: Qoder) -> None:
    young = {**CURRENT, "created_at": "2027-01-15T08:00:00Z"}
    qoder.wire.on(*RUN, young).on(*EVENTS, GONE, repeat=True)
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.error["type"]) == (9, "outcome_unknown")
    assert 30 < sum(qoder.clock.slept) < 40


def test_not_found_is_exit_5(qoder: Qoder) -> None:
    for verb in ("get", "wait"):
        qoder.wire.on(*RUN, GONE)
        ran = qoder("run", verb, "drun_1", "--json")
        assert (ran.code, ran.out) == (5, "")
        assert ran.error["message"].count("api.qoder.com") + ran.error["hint"].count("api.qoder.com") == 1


TROUBLE = {
    "502": (502, "<html>"),
    "429": (429, ""),
    "408": (408, ""),
    "reset": httpx.ReadError("reset"),
    "timeout": httpx.ReadTimeout("slow"),
    "broken JSON": (200, '{"id"'),
    "a list": (200, "[]"),
}


@pytest.mark.parametrize("answer", TROUBLE.values(), ids=TROUBLE.keys())
def test_waiting_outlives_trouble(qoder: Qoder, answer: Any) -> None:
    qoder.wire.on(*RUN, LEGACY, answer, answer, answer, DONE)
    assert qoder("run", "wait", "drun_1").code == 0


@pytest.mark.parametrize("answer", TROUBLE.values(), ids=TROUBLE.keys())
def test_after_five_minutes_of_silence_sight_is_lost(qoder: Qoder, answer: Any) -> None:
    qoder.wire.on(*RUN, LEGACY).on(*RUN, answer, repeat=True)
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.json) == (10, LEGACY)
    assert ran.error["next"] == ["qoder", "run", "wait", "drun_1", "-o", "json"]
    assert 300 < sum(qoder.clock.slept) < 310


def test_a_server_that_never_answers_is_exit_7_after_half_a_minute(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, httpx.ReadError("reset"), repeat=True)
    assert qoder("run", "wait", "drun_1").code == 7
    assert 30 < sum(qoder.clock.slept) < 40


def test_a_run_of_which_nothing_is_known_is_not_waited_for_behind_a_login_page(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, (403, "<html>Log in</html>"))
    assert (qoder("run", "wait", "drun_1").code, qoder.clock.slept) == (4, [])


def test_a_run_that_is_not_found_now_and_then_is_not_lost(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, GONE, *[LEGACY] * 9, GONE, DONE)
    assert qoder("run", "wait", "drun_1").code == 0
    assert sum(qoder.clock.slept) > 30


def test_another_run_than_the_one_asked_for_is_no_answer(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, run(2), repeat=True)
    ran = qoder("run", "get", "drun_1", "--json")
    assert (ran.code, "not run drun_1" in ran.error["message"]) == (7, True)


def test_a_machine_asleep_is_not_silence(qoder: Qoder) -> None:
    def overslept() -> None:
        qoder.clock.time += 4000
        qoder.clock.at_sleep = lambda: None

    qoder.clock.at_sleep = overslept
    qoder.wire.on(*RUN, LEGACY, (502, ""), DONE)
    assert qoder("run", "wait", "drun_1").code == 0


def test_a_machine_that_sleeps_while_an_answer_is_awaited_is_not_silence(qoder: Qoder) -> None:
    """A process that is stopped (SIGSTOP) for minutes finds its request timed out when it goes on."""

    def stopped(request: httpx.Request) -> Any:
        qoder.clock.time += 400
        return httpx.ReadTimeout("slow")

    qoder.wire.on(*RUN, LEGACY, stopped, (502, ""), stopped, DONE)
    assert qoder("run", "wait", "drun_1").code == 0


def test_a_pause_that_the_server_asks_for_is_kept_while_waiting(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, httpx.Response(429, headers={"retry-after": "20"}), DONE)
    assert (qoder("run", "wait", "drun_1").code, sum(qoder.clock.slept)) == (0, 20.0)


def test_with_timeout_0_each_run_is_read_once_however_slow_the_first_is(qoder: Qoder) -> None:
    def slow(request: httpx.Request) -> Any:
        qoder.clock.time += 10
        return LEGACY

    def long_awaited(request: httpx.Request) -> Any:
        time.sleep(0.3)  # it is seen meanwhile whether it is too late
        return run(2)

    qoder.wire.on(*RUN, slow).on("GET", "/deployment_runs/drun_2", long_awaited).on(*SESSIONS)
    ran = qoder("run", "wait", "drun_1", "drun_2", "--timeout", "0", "--json")
    assert (ran.code, [item["exit_code"] for item in ran.json]) == (124, [124, 0])


def test_a_token_that_is_no_longer_accepted_while_waiting_is_exit_10(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, api_error(401, "authentication_error", "Expired."))
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.error["http_status"]) == (10, 401)


def test_how_a_run_stands_that_was_going_is_unknown_after_an_error_of_the_api(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY).on("POST", "/sessions/sess_1/cancel", api_error(403, "permission_error", "No."))
    ran = qoder("run", "cancel", "drun_1", "--yes", "--json")
    assert (ran.code, ran.error["run_id"], ran.error["run_state"]) == (4, "drun_1", "unknown")


def test_a_token_that_is_not_accepted_at_first_is_exit_4(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, api_error(401, "authentication_error", "Bad."))
    assert qoder("run", "wait", "drun_1").code == 4


def test_a_status_that_does_not_follow_its_session_is_overruled_after_a_minute(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, repeat=True)
    qoder.wire.on(*EVENTS, page(*WORK), *[page(*WORK, idle("cancelled"))] * 2).on(*SESSION, {})
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.json["status"], ran.json["error"]["type"]) == (1, "failed", "cancelled")
    assert ran.json["derived"] == ["status", "completed_at", "error"]
    assert "run drun_1 is still 'running' on the server" in ran.err
    assert 180 <= sum(qoder.clock.slept) < 195


def test_a_status_is_overruled_only_by_a_session_that_has_rested_for_a_minute(qoder: Qoder) -> None:
    """It rests after a first turn, works on, and fails: the server says so in the end."""
    began = qoder.clock.time
    turn, on = [*WORK, idle("end_turn")], event("status_running", 40)

    def answer(request: httpx.Request) -> Any:
        return LEGACY if qoder.clock.time - began < 290 else FAILED

    def events(request: httpx.Request) -> Any:
        works_on = qoder.clock.time - began > 100 and qoder.clock.time - began < 200
        return (
            page(*turn, on)
            if works_on
            else page(*turn, *([on, idle("end_turn", 50)] if qoder.clock.time - began >= 200 else []))
        )

    qoder.wire.on(*RUN, answer, repeat=True).on(*EVENTS, events, repeat=True)
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.json) == (1, FAILED)


def test_the_minute_begins_anew_where_a_session_worked_on_in_between(qoder: Qoder) -> None:
    began = qoder.clock.time
    told = [(0, [*WORK, idle("end_turn")]), (100, [event("status_running", 40), idle("end_turn", 50)])]
    told += [(170, [event("status_running", 55)])]

    def events(request: httpx.Request) -> Any:
        return page(*(each for after, part in told if qoder.clock.time - began >= after for each in part))

    qoder.wire.on(*RUN, lambda _: LEGACY if qoder.clock.time - began < 250 else FAILED, repeat=True)
    qoder.wire.on(*EVENTS, events, repeat=True)
    assert qoder("run", "wait", "drun_1", "--json").json == FAILED


@pytest.mark.parametrize(
    "answer",
    [GONE, (404, "<html>"), (403, "<html>"), api_error(403, "permission_error", "No."), (502, ""), {"data": None}],
    ids=["gone", "html 404", "html 403", "403", "502", "null"],
)
def test_a_session_that_tells_nothing_never_overrules_a_status(qoder: Qoder, answer: Any) -> None:
    began = qoder.clock.time
    qoder.wire.on(*RUN, lambda _: LEGACY if qoder.clock.time - began < 600 else DONE, repeat=True)
    qoder.wire.on(*EVENTS, answer, repeat=True)
    assert qoder("run", "wait", "drun_1", "--json").json == DONE


@pytest.mark.parametrize("started", [LEGACY, CURRENT], ids=["legacy", "current"])
def test_an_ending_that_is_older_than_the_run_is_not_believed(qoder: Qoder, started: dict[str, Any]) -> None:
    before = [{**one, "processed_at": f"2026-06-14T07:54:{n:02}Z"} for n, one in enumerate([*WORK, idle("end_turn")])]
    qoder.wire.on(*RUN, started, repeat=True).on(*EVENTS, page(*before), repeat=True)
    ran = qoder("run", "wait", "drun_1", "--timeout", "10m", "--json")
    assert (ran.code, ran.json["status"]) == (124, "running")


def test_clocks_of_run_and_session_may_differ_by_some_seconds(qoder: Qoder) -> None:
    early = [event("status_running", 3), idle("end_turn", 5)]
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*early)).on(*SESSION, {})
    assert qoder("run", "wait", "drun_1").code == 0


def test_an_unknown_status_that_is_overruled_is_warned_of_twice(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, {**LEGACY, "status": "thinking"}, repeat=True)
    qoder.wire.on(*EVENTS, *[page(*WORK, idle("end_turn"))] * 2).on(*SESSION, {})
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.json["status"]) == (0, "completed")
    assert ran.err.count("unrecognised status") == 1
    assert "run drun_1 is still 'thinking' on the server" in ran.err


SESSIONS = ("GET", "/sessions", page())  # asked for what the runs cost, where they do not say so


def test_several_are_an_array_in_the_order_they_were_named(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployment_runs/drun_3", run(3))
    qoder.wire.on("GET", "/deployment_runs/drun_1", run(1, status="running"), run(1, status="failed"))
    qoder.wire.on("GET", "/deployment_runs/drun_2", GONE).on(*SESSIONS)
    ran = qoder("run", "wait", "drun_3", "drun_1", "drun_2", "--json")
    assert [item["id"] for item in ran.json] == ["drun_3", "drun_1", None]
    assert [item["exit_code"] for item in ran.json] == [0, 1, 5]
    assert [item["input"] for item in ran.json] == ["drun_3", "drun_1", "drun_2"]
    assert ran.code == 5
    assert ran.error["message"].startswith("1 of 3 runs completed")


def test_standard_input_names_runs_and_makes_an_array_even_of_one(qoder: Qoder) -> None:
    qoder.stdin = "# from last night\r\n\r\ndrun_1\r\n"
    qoder.wire.on(*RUN, DONE)
    ran = qoder("run", "wait", "-", "--json")
    assert ran.json == [{**DONE, "input": "drun_1", "exit_code": 0}]


@pytest.mark.parametrize("stdin", ["", "\n\n", "# nothing\n"])
def test_an_empty_standard_input_is_a_usage_error(qoder: Qoder, stdin: str) -> None:
    qoder.stdin = stdin
    ran = qoder("run", "wait", "-")
    assert ran.code == 2
    assert "--allow-empty" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        "deploy run --wait --ci",
        "deploy run --dry-run",
        "deploy pause",
        "deploy unpause",
        "deploy archive --yes",
        "deploy export",
        "run wait --ci",
        "run logs",
        "run cancel",
    ],
)
def test_an_empty_standard_input_may_be_allowed(qoder: Qoder, words: str) -> None:
    qoder.env |= {"GITHUB_ACTIONS": "true"}
    for format, out in (("json", "[]\n"), ("jsonl", ""), ("table", ""), ("id", "")):
        qoder.stdin = "# nothing\n"
        ran = qoder(*words.split(), "-", "--allow-empty", "-o", format)
        assert (ran.code, ran.out, ran.err) == (0, out, "")


def test_several_in_a_pipe_are_rows_of_documented_columns(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, DONE).on("GET", "/deployment_runs/drun_2", GONE).on(*SESSIONS)
    ran = qoder("run", "wait", "drun_1", "drun_2")
    first, second = (line.split("\t") for line in ran.out.splitlines())
    assert first == [
        "drun_1",
        "completed",
        "dep_1",
        LEGACY["triggered_at"],
        "17.229",
        "-",
        "manual",
        "sess_1",
        "-",
    ]
    assert second == ["drun_2", "not_found", "-", "-", "-", "-", "-", "-", "-"]


def test_one_command_goes_on_with_those_that_have_not_ended(qoder: Qoder) -> None:
    for number in (1, 2):
        qoder.wire.on("GET", f"/deployment_runs/drun_{number}", run(number, status="running"), repeat=True)
    qoder.wire.on("GET", "/deployment_runs/drun_3", run(3)).on(*SESSIONS)
    ran = qoder("run", "wait", "drun_1", "drun_2", "drun_3", "--timeout", "10", "-o", "jsonl")
    assert (ran.code, len(ran.out.splitlines())) == (124, 3)
    assert ran.error["next"] == ["qoder", "run", "wait", "drun_1", "drun_2", "-o", "jsonl"]


def test_a_heartbeat_every_30_seconds_where_there_is_no_terminal(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, repeat=True)
    ran = qoder("run", "wait", "drun_1", "--timeout", "55")
    assert [line for line in ran.err.splitlines() if "after 3" in line]


@pytest.mark.parametrize("words", [["dep_1"], ["agent_1"], [""], ["x" * 300], ["drun_1", "--timeout", "soon"], []])
def test_bad_usage_is_exit_2(qoder: Qoder, words: list[str]) -> None:
    assert qoder("run", "wait", *words).code == 2


@pytest.mark.parametrize(
    "headers", [{"content-type": "text/html"}, {"x-request-id": "req_9"}, {"request-id": "req_9"}, {}]
)
def test_an_html_502_is_retried_and_ends_in_exit_7(qoder: Qoder, headers: dict[str, str]) -> None:
    answer = httpx.Response(502, text="<html>\x1b[2J</html>", headers=headers)
    qoder.wire.on(*RUN, answer, repeat=True)
    ran = qoder("run", "get", "drun_1", "--json")
    assert (ran.code, len(qoder.wire.requests)) == (7, 5)
    assert qoder.clock.slept == [0.5, 1.0, 2.0, 4.0]
    assert ran.error["request_id"] == ("req_9" if any("request" in key for key in headers) else None)


def test_a_body_of_200_mb_is_a_clear_error(qoder: Qoder) -> None:
    def endless(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=(b" " * 2**20 for _ in range(200)))

    qoder.wire.on(*RUN, endless)
    ran = qoder("run", "get", "drun_1")
    assert ran.code == 7
    assert "larger than 64 MiB" in ran.errors[0]


def test_a_501_is_not_asked_again(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, api_error(501, "feature_not_available", "Not here."))
    assert qoder("run", "get", "drun_1").code == 7


SCOPED = ("GET", "/deployments/dep_1/runs/drun_1")


def test_get_checks_that_a_run_is_one_of_a_deployment(qoder: Qoder) -> None:
    qoder.wire.on(*SCOPED, DONE).on(*RUN, DONE)
    assert qoder("run", "get", "drun_1", "--deployment", "dep_1", "--json").code == 0


@pytest.mark.parametrize("answer", [GONE, {**DONE, "id": "drun_2"}, {**DONE, "deployment_id": "dep_2"}])
def test_get_of_a_run_of_another_deployment_is_not_found(qoder: Qoder, answer: Any) -> None:
    qoder.wire.on(*SCOPED, answer)
    ran = qoder("run", "get", "drun_1", "--deployment", "dep_1")
    assert (ran.code, ran.out) == (5, "")
    assert "of deployment dep_1" in ran.err
