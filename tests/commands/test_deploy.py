"""`qoder deploy run` and `deploy get`, in the user's words, on both generations of server."""

import json
from typing import Any

import httpx
import pytest

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
def test_deploy_run_is_accepted(qoder: Qoder, started: dict[str, Any]) -> None:
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
@pytest.mark.parametrize("reason", ["end_turn", "budget_reached", "retries_exhausted", "something_new"])
def test_deploy_run_wait_exits_0_when_it_completed_and_1_when_it_failed(
    qoder: Qoder, started: dict[str, Any], reason: str
) -> None:
    ends_with(qoder, started, reason)
    ran = qoder("deploy", "run", "dep_1", "-w", "--json")
    assert (ran.code, ran.json["status"]) == ((0, "completed") if reason == "end_turn" else (1, "failed"))
    if started is CURRENT:  # a page holds few events: those that tell the end, oldest first
        asked = qoder.wire.requests[1].url
        assert ("types%5B%5D=session.status_idle" in str(asked), asked.params["order"]) == (True, "asc")
    if ran.code:
        expected = {"type": "run_failed", "api_type": reason, "run_id": "drun_1", "session_id": "sess_1"}
        assert ran.error == ran.error | expected | {"run_state": "ended"}
        assert ran.json["error"]["type"] == reason


NEVER_STARTED = {"session_id": None, "error": {"type": "environment_archived_error", "message": "It is archived."}}


@BOTH
@pytest.mark.parametrize("wait", [[], ["--wait"]], ids=["accepted", "waited"])
def test_deploy_run_exits_1_when_nothing_starts(qoder: Qoder, started: dict[str, Any], wait: list[str]) -> None:
    qoder.wire.on(*TRIGGER, {**started, **NEVER_STARTED, **({"status": "failed"} if started is LEGACY else {})})
    ran = qoder("deploy", "run", "dep_1", "--json", *wait)
    assert (ran.code, ran.json["status"]) == (1, "failed")
    assert "did not start (environment_archived_error): It is archived." in ran.error["message"]
    assert ran.error["hint"].startswith("fix what the error names, then: qoder run retry drun_1")
    assert ran.error["next"][:4] == ["qoder", "deploy", "check", "dep_1"]


@pytest.mark.parametrize(
    ("words", "pauses"),
    [(["--timeout", "20"], [0.5, 1, 2, 4, 5, 5, 2.5]), (["--timeout", "3", "--interval", "1s"], [0.5, 1, 1, 0.5])],
)
def test_deploy_run_wait_pauses_longer_each_time_to_five_s(qoder: Qoder, words: list[str], pauses: list[float]) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, LEGACY, repeat=True)
    qoder("deploy", "run", "dep_1", "--wait", *words)
    assert qoder.clock.slept == pauses


def test_deploy_run_says_a_name_back_with_its_id(qoder: Qoder) -> None:
    known = page({"id": "dep_1", "name": "nightly"}, {"id": "dep_2", "name": "weekly"})
    qoder.wire.on("GET", "/deployments", known, known).on(*TRIGGER, LEGACY, {**LEGACY, "id": "drun_3"})
    qoder.wire.on("POST", "/deployments/dep_2/run", {**LEGACY, "id": "drun_2", "deployment_id": "dep_2"})
    assert qoder("deploy", "run", "nightly").err == "starting nightly (dep_1)\nrun drun_1\n"
    ran = qoder("deploy", "run", "dep_1", "weekly")
    assert "starting runs of dep_1, weekly (dep_2)\n" in ran.err


FOUND: dict[str, tuple[int, Any, int, str]] = {
    "active": (200, {"id": "dep_1", "status": "active"}, 0, ""),
    "paused": (200, {"id": "dep_1", "status": "paused"}, 6, "deployment dep_1 is paused"),
    "archived": (200, {"id": "dep_1", "archived_at": "2026-06-01"}, 6, "dep_1 was archived on 2026-06-01"),
    "not there": (*api_error(404, "not_found_error", "No."), 5, "deployment dep_1: HTTP 404"),
    "forbidden": (*api_error(403, "permission_error", "No."), 4, "HTTP 403"),
}


@pytest.mark.parametrize(("status", "found", "code", "words"), FOUND.values(), ids=FOUND)
def test_deploy_run_dry_run_shows_a_refusal(qoder: Qoder, status: int, found: Any, code: int, words: str) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", (status, found), repeat=True)
    if status == 404:
        qoder.wire.on("GET", "/deployments", page({"id": "dep_2", "name": "two"}), repeat=True)
    ran = qoder("deploy", "run", "dep_1", "--dry-run", "--json")
    assert (ran.code, ran.json["method"]) == (code, "POST")
    assert ran.json["url"] == "https://api.qoder.com/api/v1/cloud/deployments/dep_1/run"
    assert ("error" in ran.json) == bool(code)
    if code:
        assert words in ran.error["message"]
        assert (ran.json["error"]["message"], ran.error["run_state"]) == (ran.error["message"], "none")
        assert qoder("deploy", "run", "dep_1", "--dry-run").out.splitlines()[-1] == f"error\t{ran.error['type']}"
        assert qoder("deploy", "run", "dep_1", "--dry-run", "-q").out == ""


def test_deploy_run_tells_what_the_api_refused(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, api_error(404, "not_found_error", "No."))
    archived = {"id": "dep_3", "name": "1y", "archived_at": "2026-06-14T08:00:00Z"}
    qoder.wire.on("GET", "/deployments", page({"id": "dep_2", "name": "1x"}, {"id": "dep_4"}, archived))
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.out) == (5, "")
    assert ran.error["hint"].startswith("did you mean '1x' (dep_2)? ")
    told = {"type": "not_found", "api_type": "not_found_error", "http_status": 404, "request_id": "req_1"}
    assert ran.error == ran.error | told | {"run_state": "none"}


@pytest.mark.parametrize(
    ("deployment", "words", "hint"),
    [
        (
            {"status": "paused", "paused_reason": {"type": "manual"}},
            "is paused (manual)",
            "resume it first: qoder deploy unpause dep_1 --workspace ws_1 -o json",
        ),
        ({"status": "active", "archived_at": "2026-06-14T08:58:42Z"}, "was archived on 2026-06-14T", ""),
        ({"status": "active"}, "not active", ""),
    ],
)
def test_deploy_run_explains_a_409(qoder: Qoder, deployment: dict[str, Any], words: str, hint: str) -> None:
    qoder.wire.on(*TRIGGER, api_error(409, "conflict_error", "Deployment is not active."))
    qoder.wire.on("GET", "/deployments/dep_1", {"id": "dep_1", "type": "deployment", "archived_at": None, **deployment})
    ran = qoder("deploy", "run", "dep_1", "--workspace", "ws_1", "--json")
    assert ran.code == 6
    assert words in ran.error["message"]
    assert hint in (ran.error["hint"] or "")


def test_deploy_run_sends_again_under_the_same_key_what_did_nothing(qoder: Qoder) -> None:
    busy = httpx.Response(429, headers={"retry-after": "3"}, text="")
    qoder.wire.on(*TRIGGER, busy, httpx.ConnectError("refused"), LEGACY)
    assert qoder("deploy", "run", "dep_1").code == 0
    assert qoder.clock.slept == [3.0, 1.0]
    assert len({request.headers["idempotency-key"] for request in qoder.wire.requests}) == 1


def test_deploy_run_reads_a_half_written_run_three_times_then_says_pending(qoder: Qoder) -> None:
    half = {**CURRENT, "session_id": None}
    qoder.wire.on(*TRIGGER, half).on(*RUN, half, half, half)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.json["status"], sum(qoder.clock.slept)) == (0, "pending", 2.0)
