"""`qoder deploy run` before servers and proxies that strangers thought of."""

from email.utils import formatdate
from typing import Any

import httpx
import pytest

from tests.conftest import Qoder
from tests.support.one_run import CURRENT, EVENTS, LEGACY, RUN, SESSION, TRIGGER
from tests.support.wire import api_error, page

RUNS = ("GET", "/deployments/dep_1/runs")
FAILED = api_error(503, "api_error", "Oops.")


def dated(body: Any, at: float, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=body, headers={"date": formatdate(at, usegmt=True)})


def test_deploy_run_takes_a_list_from_before_its_request_for_no_answer(qoder: Qoder) -> None:
    """A proxy may leave out `Age`: the server's own clock shows that the list is old."""
    began = qoder.clock.now()
    qoder.wire.on(*TRIGGER, lambda _: dated(FAILED[1], qoder.clock.now(), 503))
    qoder.wire.on(*RUNS, lambda _: dated(page(), began - 20), repeat=True)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert ran.code == 9
    assert len(qoder.wire.asked("POST")) == 1


@pytest.mark.parametrize("refusal", [401, 403, 404, 429])
def test_deploy_run_looks_again_where_a_resend_is_refused(qoder: Qoder, refusal: int) -> None:
    """The first attempt was answered with a 5xx, and acts while the second is refused."""
    started = {**CURRENT, "created_at": "2027-01-15T08:00:01Z"}
    qoder.wire.on(*TRIGGER, FAILED).on(*TRIGGER, api_error(refusal, "odd_error", "No."), repeat=True)

    def listed(request: httpx.Request) -> Any:
        return page(started) if len(qoder.wire.asked("POST")) > 1 else page()

    qoder.wire.on(*RUNS, listed, repeat=True)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert ran.code == 9
    assert "drun_1" in ran.error["message"]


def test_deploy_run_takes_a_run_whose_id_cannot_be_typed_for_no_answer(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, {**CURRENT, "id": "drun_../../x"}).on(*RUNS, page(), repeat=True)
    assert qoder("deploy", "run", "dep_1").code == 9


@pytest.mark.parametrize("error", [5, [1], True, {"a": 1}])
def test_deploy_run_takes_an_error_that_is_neither_object_nor_text_for_none(qoder: Qoder, error: Any) -> None:
    qoder.wire.on(*TRIGGER, {**CURRENT, "error": error})
    assert qoder("deploy", "run", "dep_1").code == 0


def test_run_cancel_says_that_it_may_not_have_arrived(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, repeat=True).on("POST", "/sessions/sess_1/cancel", FAILED, repeat=True)
    qoder.wire.on(*EVENTS, page(), repeat=True)
    ran = qoder("run", "cancel", "drun_1", "--yes")
    assert "unknown whether the cancellation arrived" in ran.err


NEWEST_FIRST: list[dict[str, Any]] = [
    {"id": "evt_5", "type": "session.status_idle"},
    {"id": "evt_4", "type": "session.error", "error": {"type": "boom", "message": "Boom.", "retry_status": "terminal"}},
    {"id": "evt_3", "type": "agent.message", "content": [{"type": "text", "text": "Hm."}]},
    {"id": "evt_2", "type": "session.status_running"},
    {"id": "evt_1", "type": "user.message", "content": [{"type": "text", "text": "Go."}]},
]


@pytest.mark.parametrize("at", [None, "2026-06-14T08:54:07Z"], ids=["no times", "one second"])
@pytest.mark.parametrize("orders", ["ignored", "heeded", "turned round"])
def test_run_wait_tells_a_failure_whatever_the_order_of_undated_ones(qoder: Qoder, at: str | None, orders: str) -> None:
    told: list[dict[str, Any]] = [{**each, "processed_at": at} if at else each for each in NEWEST_FIRST]

    def listed(request: httpx.Request) -> Any:
        query = request.url.params
        types, is_desc = query.get_list("types[]"), query.get("order") == "desc"
        is_newest_first = {"ignored": True, "heeded": is_desc, "turned round": not is_desc}[orders]
        events = told if is_newest_first else told[::-1]
        return page(*(each for each in events if not types or each["type"] in types))

    qoder.wire.on(*RUN, CURRENT, repeat=True).on(*EVENTS, listed, repeat=True).on(*SESSION, {})
    ran = qoder("run", "wait", "drun_1", "--json", "--timeout", "2m")
    assert ran.code == 1
    assert ran.json["error"]["type"] == "boom"


def test_deploy_run_repeated_under_its_own_key_takes_no_run_from_before_for_its_answer(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, httpx.ReadError("reset")).on(*RUNS, lambda _: dated(page(), qoder.clock.now()), repeat=True)
    lost = qoder("deploy", "run", "dep_1", "--json")
    old = {**CURRENT, "id": "drun_0", "created_at": "2027-01-15T07:50:00Z"}
    qoder.wire.on(*TRIGGER, lambda _: dated(old, qoder.clock.now()))
    again = qoder(*lost.error["next"][1:])
    assert (lost.code, again.code) == (9, 9)
