"""`qoder deploy run` and `deploy get`, in the user's words, on both generations of server."""

import json
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import Exit, Signalled
from tests.conftest import Qoder
from tests.support.one_run import CURRENT, DONE, EVENTS, LEGACY, RUN, SESSION, TRIGGER, WORK, idle
from tests.support.wire import api_error, page

BOTH = pytest.mark.parametrize("started", [LEGACY, CURRENT], ids=["legacy", "current"])


def ends_with(qoder: Qoder, started: dict[str, Any], reason: str) -> None:
    """Let the wire tell of a run that ends for this reason, in the way of the generation that `started` is of."""
    qoder.wire.on(*TRIGGER, started)
    if started is LEGACY:
        error = None if reason == "end_turn" else {"type": reason, "message": "It did not go well."}
        status = "completed" if reason == "end_turn" else "failed"
        qoder.wire.on(*RUN, LEGACY, {**DONE, "status": status, "error": error})
    else:
        qoder.wire.on(*EVENTS, page(*WORK), page(idle(reason))).on(*SESSION, {"usage": {"total_credits": 0.42}})


@BOTH
def test_a_run_is_accepted(qoder: Qoder, started: dict[str, Any]) -> None:
    qoder.wire.on(*TRIGGER, started)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert ran.code == 0
    assert ran.json == ({**started} if started is LEGACY else {**CURRENT, "status": "running", "derived": ["status"]})
    assert "drun_1" in ran.err
    request = qoder.wire.requests[0]
    assert json.loads(request.content) == {}
    assert request.headers["content-type"] == request.headers["accept"] == "application/json"
    assert request.headers["idempotency-key"]


@BOTH
def test_waiting_until_it_completed(qoder: Qoder, started: dict[str, Any]) -> None:
    ends_with(qoder, started, "end_turn")
    ran = qoder("deploy", "run", "dep_1", "--wait", "--json")
    assert ran.code == 0
    assert ran.json["status"] == "completed"
    if started is LEGACY:
        assert ran.json == DONE
    else:
        assert ran.json["derived"] == ["status", "completed_at", "duration_ms", "usage"]
        assert (ran.json["duration_ms"], ran.json["usage"]) == (17000, {"total_credits": 0.42})
        asked = qoder.wire.requests[1].url
        assert "types%5B%5D=session.status_idle" in str(asked)
        assert asked.params["order"] == "asc"


@BOTH
@pytest.mark.parametrize("reason", ["budget_reached", "retries_exhausted", "something_new"])
def test_waiting_for_a_run_that_fails(qoder: Qoder, started: dict[str, Any], reason: str) -> None:
    ends_with(qoder, started, reason)
    ran = qoder("deploy", "run", "dep_1", "-w", "--json")
    assert ran.code == 1
    assert (ran.json["status"], ran.json["error"]["type"]) == ("failed", reason)
    assert ran.error["type"] == "run_failed"
    assert ran.error["api_type"] == reason
    assert (ran.error["run_id"], ran.error["session_id"], ran.error["run_state"]) == (
        "drun_1",
        "sess_1",
        "ended",
    )


NEVER_STARTED = {
    "session_id": None,
    "error": {"type": "environment_archived_error", "message": "It is archived."},
}


@BOTH
@pytest.mark.parametrize("wait", [[], ["--wait"]], ids=["accepted", "waited"])
def test_a_run_that_never_starts_is_exit_1_although_the_server_answers_200(
    qoder: Qoder, started: dict[str, Any], wait: list[str]
) -> None:
    qoder.wire.on(*TRIGGER, {**started, **NEVER_STARTED, **({"status": "failed"} if started is LEGACY else {})})
    ran = qoder("deploy", "run", "dep_1", "--json", *wait)
    assert ran.code == 1
    assert ran.json["status"] == "failed"
    assert "did not start (environment_archived_error): It is archived." in ran.error["message"]
    assert ran.error["hint"].startswith("correct what it names")
    assert ran.error["next"][:4] == ["qoder", "deploy", "get", "dep_1"]


@pytest.mark.parametrize("wait", [[], ["--wait"]], ids=["accepted", "waited"])
def test_a_skipped_run_is_exit_3(qoder: Qoder, wait: list[str]) -> None:
    qoder.wire.on(*TRIGGER, {**LEGACY, "status": "skipped", "session_id": None})
    ran = qoder("deploy", "run", "dep_1", "--json", *wait)
    assert (ran.code, ran.json["status"], ran.error["type"]) == (3, "skipped", "run_skipped")


@BOTH
def test_the_timeout_comes_first(qoder: Qoder, started: dict[str, Any]) -> None:
    qoder.wire.on(*TRIGGER, started)
    qoder.wire.on(*RUN, LEGACY, repeat=True) if started is LEGACY else qoder.wire.on(
        *EVENTS, page(*WORK), page(), repeat=True
    )
    ran = qoder("deploy", "run", "dep_1", "--wait", "--timeout", "20s", "--json")
    assert ran.code == 124
    assert ran.json["status"] == "running"
    assert ran.error["next"] == ["qoder", "run", "wait", "drun_1", "-o", "json"]
    assert ran.error["run_state"] == "going"
    assert sum(qoder.clock.slept) == 20


@BOTH
def test_timeout_0_checks_once(qoder: Qoder, started: dict[str, Any]) -> None:
    qoder.wire.on(*TRIGGER, started)
    qoder.wire.on(*RUN, LEGACY) if started is LEGACY else qoder.wire.on(*EVENTS, page(*WORK))
    assert qoder("deploy", "run", "dep_1", "--wait", "--timeout", "0").code == 124
    assert not qoder.clock.slept


def test_the_pace_is_half_a_second_doubling_to_five(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, LEGACY, repeat=True)
    qoder("deploy", "run", "dep_1", "--wait", "--timeout", "20")
    assert qoder.clock.slept[:6] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_the_longest_pause_can_be_chosen(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, LEGACY, repeat=True)
    qoder("deploy", "run", "dep_1", "--wait", "--timeout", "3", "--interval", "1s")
    assert qoder.clock.slept == [0.5, 1.0, 1.0, 0.5]


@BOTH
def test_a_signal_while_waiting_names_the_run_that_goes_on(qoder: Qoder, started: dict[str, Any]) -> None:
    import signal

    def stop() -> None:
        raise Signalled(signal.SIGINT)

    qoder.wire.on(*TRIGGER, started)
    qoder.wire.on(*RUN, LEGACY) if started is LEGACY else qoder.wire.on(*EVENTS, page(*WORK))
    qoder.clock.at_sleep = stop
    ran = qoder("deploy", "run", "dep_1", "--wait", "--json")
    assert ran.code == 130
    assert ran.json["status"] == "running"
    assert ran.error["next"] == ["qoder", "run", "wait", "drun_1", "-o", "json"]


def test_the_four_formats_side_by_side(qoder: Qoder) -> None:
    printed = []
    for words in ([], ["--json"], ["-o", "jsonl"], ["-q"]):
        qoder.env["QODER_STATE_DIR"] += "-of-another-machine"  # to which the same run can be new
        qoder.wire.on(*TRIGGER, DONE)
        printed.append(qoder("deploy", "run", "dep_1", *words).out)
    table, document, line, only_id = printed
    assert only_id == "drun_1\n"
    assert json.loads(document) == json.loads(line) == DONE
    rows = dict(row.split("\t") for row in table.splitlines())
    assert list(rows) == [
        "id", "deployment", "status", "trigger", "session", "agent", "attempt", "turn",
        "triggered", "started", "completed", "duration",
    ]  # fmt: skip
    assert (rows["status"], rows["agent"], rows["duration"]) == ("completed", "agent_1@4", "17.229")
    assert rows["triggered"] == "2026-06-14T08:54:06.271902633Z"
    assert "\x1b" not in table


def test_a_name_is_said_back_with_its_id(qoder: Qoder) -> None:
    known = page({"id": "dep_1", "name": "nightly"}, {"id": "dep_2", "name": "weekly"})
    qoder.wire.on("GET", "/deployments", known, known).on(*TRIGGER, LEGACY, {**LEGACY, "id": "drun_3"})
    qoder.wire.on("POST", "/deployments/dep_2/run", {**LEGACY, "id": "drun_2", "deployment_id": "dep_2"})
    assert "starting a run of nightly (dep_1) (profile default, " in qoder("deploy", "run", "nightly").err
    ran = qoder("deploy", "run", "dep_1", "weekly")
    assert "starting runs of dep_1, weekly (dep_2) (profile default, " in ran.err


def test_a_dry_run_only_reads(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", {"id": "dep_1", "status": "active"})
    ran = qoder("deploy", "run", "dep_1", "--dry-run", "--json")
    assert ran.code == 0
    assert ran.json["url"] == "https://api.qoder.com/api/v1/cloud/deployments/dep_1/run"
    assert "error" not in ran.json
    assert [request.method for request in qoder.wire.requests] == ["GET"]


REFUSED = {
    "paused": (200, {"id": "dep_1", "status": "paused"}, Exit.REJECTED, "deployment dep_1 is paused"),
    "archived": (200, {"id": "dep_1", "archived_at": "2026-06-01"}, Exit.REJECTED, "dep_1 was archived on 2026-06-01"),
    "not there": (*api_error(404, "not_found_error", "No."), Exit.NOT_FOUND, "deployment dep_1: HTTP 404"),
    "forbidden": (*api_error(403, "permission_error", "No."), Exit.AUTH, "HTTP 403"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_dry_run_says_that_it_would_be_refused_and_ends_so(qoder: Qoder, case: str) -> None:
    status, found, code, words = REFUSED[case]
    qoder.wire.on("GET", "/deployments/dep_1", (status, found), repeat=True)
    if code == Exit.NOT_FOUND:
        qoder.wire.on("GET", "/deployments", page({"id": "dep_2", "name": "two"}), repeat=True)
    ran = qoder("deploy", "run", "dep_1", "--dry-run", "--json")
    assert (ran.code, ran.error["run_state"]) == (code, "none")
    assert words in ran.error["message"]
    assert ran.json["method"] == "POST"
    assert ran.json["error"]["message"] == ran.error["message"]
    assert {request.method for request in qoder.wire.requests} == {"GET"}
    assert qoder("deploy", "run", "dep_1", "--dry-run").out.splitlines()[-1] == f"error\t{ran.error['type']}"
    assert qoder("deploy", "run", "dep_1", "--dry-run", "-q").out == ""


REFUSALS = [
    (401, "authentication_error", Exit.AUTH),
    (403, "permission_error", Exit.AUTH),
    (404, "not_found_error", Exit.NOT_FOUND),
    (400, "invalid_request_error", Exit.REJECTED),
    (422, "odd_error", Exit.REJECTED),
]


@pytest.mark.parametrize(("status", "kind", "code"), REFUSALS)
def test_a_refused_trigger_started_nothing_and_is_not_repeated(
    qoder: Qoder, status: int, kind: str, code: Exit
) -> None:
    qoder.wire.on(*TRIGGER, api_error(status, kind, "No."))
    if status == 404:
        qoder.wire.on("GET", "/deployments", page({"id": "dep_2", "name": "dep_1x"}))
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.out) == (code, "")
    assert ran.error["type"] == code.name.lower()
    assert (ran.error["api_type"], ran.error["http_status"], ran.error["request_id"]) == (
        kind,
        status,
        "req_1",
    )
    assert ran.error["run_state"] == "none"


@pytest.mark.parametrize(
    ("deployment", "words", "hint"),
    [
        (
            {"status": "paused", "paused_reason": {"type": "manual"}, "archived_at": None},
            "is paused (manual)",
            "qoder deploy unpause dep_1",
        ),
        (
            {"status": "active", "archived_at": "2026-06-14T08:58:42Z"},
            "was archived on 2026-06-14T08:58:42Z",
            "another deployment",
        ),
        ({"status": "active", "archived_at": None}, "not active", ""),
    ],
)
def test_a_409_is_explained_by_reading_the_deployment(
    qoder: Qoder, deployment: dict[str, Any], words: str, hint: str
) -> None:
    qoder.wire.on(*TRIGGER, api_error(409, "conflict_error", "Deployment is not active."))
    qoder.wire.on("GET", "/deployments/dep_1", {"id": "dep_1", "type": "deployment", **deployment})
    ran = qoder("deploy", "run", "dep_1")
    assert ran.code == 6
    assert words in ran.errors[0]
    assert hint in ran.err


def test_a_hint_has_the_options_that_lead_to_the_same_server(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, api_error(409, "conflict_error", "Deployment is not active."))
    qoder.wire.on("GET", "/deployments/dep_1", {"id": "dep_1", "type": "deployment", "status": "paused"})
    ran = qoder("deploy", "run", "dep_1", "--workspace", "ws_1", "--json")
    assert ran.error["hint"] == "resume it first: qoder deploy unpause dep_1 --workspace ws_1 -o json"


def test_429_and_a_connection_never_made_are_sent_again_under_the_same_key(qoder: Qoder) -> None:
    busy = httpx.Response(429, headers={"retry-after": "3"}, text="")
    qoder.wire.on(*TRIGGER, busy, httpx.ConnectError("refused"), LEGACY)
    assert qoder("deploy", "run", "dep_1").code == 0
    assert qoder.clock.slept == [3.0, 1.0]
    assert len({request.headers["idempotency-key"] for request in qoder.wire.requests}) == 1


def test_a_retry_after_of_a_year_is_exit_7_at_once(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, httpx.Response(429, headers={"retry-after": "31536000"}, text=""))
    assert qoder("deploy", "run", "dep_1").code == 7
    assert not qoder.clock.slept


@pytest.mark.parametrize("value", ["-5", "soon", "nan", "inf", ""])
def test_a_retry_after_that_is_nonsense_is_ignored(qoder: Qoder, value: str) -> None:
    qoder.wire.on(*TRIGGER, httpx.Response(429, headers={"retry-after": value}, text=""), LEGACY)
    assert qoder("deploy", "run", "dep_1").code == 0
    assert qoder.clock.slept == [0.5]


def test_a_refused_connection_is_exit_7_in_the_end(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, httpx.ConnectError("Connection refused"), repeat=True)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.error["run_state"]) == (7, "none")
    assert len(qoder.wire.requests) == 5


def test_a_redirect_is_exit_7_and_not_followed(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, httpx.Response(302, headers={"location": "https://elsewhere.example/x"}))
    qoder.wire.on("GET", "/deployments/dep_1/runs", page(), repeat=True)
    ran = qoder("deploy", "run", "dep_1")
    assert ran.code == 7
    assert "elsewhere.example" in ran.errors[0]


@pytest.mark.parametrize("location", ["https://ex[ample.com/login", "//[", "", "\\\\x"])
def test_a_redirect_to_nowhere_is_exit_7_too(location: str, qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, httpx.Response(302, headers={"location": location}))
    qoder.wire.on("GET", "/deployments/dep_1/runs", page(), repeat=True)
    assert qoder("deploy", "run", "dep_1").code == 7


@pytest.mark.parametrize(
    "words",
    [
        [""],
        ["   "],
        ["dep_" + "x" * 500],
        ["../x"],
        ["dep_1/../../x"],
        ["."],
        ["dep_\x1b[31m"],
        ["dep_a\nb"],
        ["drun_1"],
        ["sess_1"],
        ["dep_1", "--timeout", "5"],
        ["dep_1", "--interval", "5"],
        ["dep_1", "--wait", "--timeout", "abc"],
        ["dep_1", "--wait", "--timeout", "-5"],
        ["dep_1", "--wait", "--timeout", ""],
        ["dep_1", "--wait", "--timeout", "1e3"],
        ["dep_1", "--wait", "--timeout", "9" * 400],
        ["dep_1", "--wait", "--interval", "0"],
        ["dep_1", "--region", "cn", "--base-url", "https://api.qoder.com"],
        ["dep_1", "--base-url", "http://api.qoder.com"],
        ["dep_1", "-o", "yaml"],
        ["dep_1", "--nonsense"],
        [],
    ],
)
def test_bad_usage_is_exit_2_before_any_request(qoder: Qoder, words: list[str]) -> None:
    ran = qoder("deploy", "run", *words)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.errors) == 1
    assert "\x1b" not in ran.err


def test_no_token_is_exit_4(qoder: Qoder) -> None:
    del qoder.env["QODER_PAT"]
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.out) == (4, "")
    assert "qoder auth login" in ran.error["hint"]


def test_read_only_refuses_before_anything_is_sent(qoder: Qoder) -> None:
    qoder.env["QODER_READ_ONLY"] = "1"
    assert qoder("deploy", "run", "dep_1").code == 2


def test_quiet_says_nothing_on_stderr(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, DONE)
    assert qoder("deploy", "run", "dep_1", "--wait", "--no-progress").err == ""
    qoder.env["QODER_NO_PROGRESS"] = "1"
    qoder.wire.on(*TRIGGER, {**DONE, "id": "drun_2"})
    assert qoder("deploy", "run", "dep_1", "--wait").err == ""


@pytest.mark.parametrize("place", range(4))
def test_shared_options_work_anywhere(qoder: Qoder, place: int) -> None:
    qoder.wire.on(*TRIGGER, DONE)
    words = ["deploy", "run", "dep_1"]
    assert qoder(*words[:place], "--json", *words[place:]).json == DONE


def test_the_last_format_wins(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, DONE)
    assert qoder("--json", "deploy", "run", "dep_1", "-o", "table", "-q").out == "drun_1\n"


def test_the_token_is_hidden_even_when_the_server_echoes_it(qoder: Qoder) -> None:
    token = qoder.env["QODER_PAT"]
    qoder.wire.on(*TRIGGER, api_error(400, "invalid_request_error", f"Bad header: Bearer {token}"))
    qoder.wire.on(*TRIGGER, {**NEVER_STARTED, **CURRENT, "error": {"type": "x", "message": token}})
    assert "[redacted]" in qoder("deploy", "run", "dep_1").err
    assert "[redacted]" in qoder("deploy", "run", "dep_1", "--json").out


def test_server_text_is_inert_in_a_table_and_whole_in_json(qoder: Qoder) -> None:
    nasty = "[bold]\x1b[31mred\u202e\n\ttab\x9b"
    failed = {**CURRENT, "session_id": None, "error": {"type": "x", "message": nasty}}
    qoder.wire.on(*TRIGGER, failed, {**failed, "id": "drun_2"})
    table = qoder("deploy", "run", "dep_1")
    assert "error_message\t[bold]\\u001b[31mred\\u202e\\n\\ttab\\u009b\n" in table.out
    assert not {"\x1b", "\u202e", "\x9b"} & set(table.out + table.err)
    document = qoder("deploy", "run", "dep_1", "--json")
    assert document.json["error"]["message"] == nasty
    assert not {"\x1b", "\u202e", "\x9b"} & set(document.out + document.err)


def test_numbers_come_out_as_they_went_in(qoder: Qoder) -> None:
    digits = "7" * 5000
    raw = json.dumps(DONE)[:-1] + f', "a": 1.10, "b": 1E400, "c": {digits}, "d": -0}}'
    qoder.wire.on(*TRIGGER, (200, raw))
    out = qoder("deploy", "run", "dep_1", "--json").out
    for text in ('"a":1.10', '"b":1E400', f'"c":{digits}', '"d":-0}'):
        assert text in out


def test_a_half_written_run_is_read_again_three_times_then_pending(qoder: Qoder) -> None:
    half = {**CURRENT, "session_id": None}
    qoder.wire.on(*TRIGGER, half).on(*RUN, half, half, half)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.json["status"], sum(qoder.clock.slept)) == (0, "pending", 2.0)


def test_get_shows_a_deployment(qoder: Qoder) -> None:
    deployment = {
        "id": "dep_1", "type": "deployment", "name": "nightly", "status": "active",
        "archived_at": "2026-06-14T08:58:42Z",
        "agent": {"id": "agent_1", "version": 2}, "schedule": {"expression": "0 9 * * *", "timezone": "Asia/Shanghai"},
    }  # fmt: skip
    qoder.wire.on("GET", "/deployments/dep_1", deployment, deployment).on("GET", "/deployments/dep_1/runs", page())
    assert qoder("deploy", "get", "dep_1", "--json").json == deployment
    rows = dict(row.split("\t") for row in qoder("deploy", "get", "dep_1").out.splitlines())
    assert (rows["state"], rows["agent"], rows["schedule"]) == ("archived", "agent_1@2", "0 9 * * *")


@pytest.mark.parametrize("answer", [(200, "{"), (200, "[]"), (200, '{"ok": true}')])
def test_a_read_that_is_no_deployment_is_exit_7(qoder: Qoder, answer: Any) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", answer, repeat=True)
    assert qoder("deploy", "get", "dep_1").code == 7
