"""`qoder env work`: what waits for workers, stopped by people, and worked on by programs."""

from typing import Any

import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from tests.conftest import Qoder
from tests.support.blobs import LOST, UNDONE, Object, Refused, Service

LIST = "/environments/env_1/work"


@pytest.fixture(params=GENERATIONS)
def service(qoder: Qoder, request: pytest.FixtureRequest) -> Service:
    return Service(qoder, request.param)


def item(service: Service, **fields: Any) -> Object:
    more = {"state": "queued", "secret": "s3cret-of-a-worker", "data": {"type": "session", "id": "sess_1"}}
    return service.add(LIST, "work_", type="work", metadata={}, **(more | fields))


def test_the_queue_is_shown(qoder: Qoder, service: Service) -> None:
    found = {"type": "work_queue_stats", "depth": 2, "pending": 1, "oldest_queued_at": None, "workers_polling": 0}
    service.answers[f"GET {LIST}/stats"] = found
    assert qoder("env", "work", "stats", "default", "--json").json == found
    assert qoder("env", "work", "stats", "env_1").out == "depth\t2\npending\t1\nworkers_polling\t0\n"
    assert qoder("env", "work", "stats", "other").code == 5


@pytest.mark.parametrize("fault", [None, *LOST, *UNDONE])
def test_an_item_is_stopped(qoder: Qoder, service: Service, fault: str | None) -> None:
    raw = item(service)
    service.faults["/stop"] = [fault] if fault else []
    ran = qoder("env", "work", "stop", "default", raw["id"], "--json")
    assert ran.code == 0, ran.err
    assert (raw["state"], ran.json["state"]) == ("stopping", "stopping")
    assert service.sent[0][2] == {}


@pytest.mark.parametrize("fault", [None, "done-reset"])
def test_an_item_that_is_stopping_can_be_forced(qoder: Qoder, service: Service, fault: str | None) -> None:
    raw = item(service, state="stopping")
    service.faults["/stop"] = [fault] if fault else []
    assert qoder("env", "work", "stop", "default", raw["id"], "--force").code == 0
    assert [body for _, _, body in service.sent] == [{"force": True}] * (2 if fault else 1)


def test_the_commands_of_workers_are_in_no_list_and_work(qoder: Qoder, service: Service) -> None:
    shown = qoder("env", "work", "--help").out
    assert "stats" in shown
    for verb in ("poll", "ack", "heartbeat", "update"):
        assert f"\n  {verb}" not in shown
        assert qoder("env", "work", verb, "--help").code == 0


def test_work_is_polled_once(qoder: Qoder, service: Service) -> None:
    raw = item(service)
    words = ("env", "work", "poll", "default", "--worker", "w1")
    service.answers[f"GET {LIST}/poll"] = None
    ran = qoder(*words, "--block-ms", "500", "--json")
    assert (ran.code, ran.json, "no work is waiting" in ran.err) == (0, None, True)
    assert service.asked[-1].headers["worker-id"] == "w1"
    assert service.asked[-1].url.params["block_ms"] == "500"
    assert qoder(*words, "-q").out == ""
    service.answers[f"GET {LIST}/poll"] = raw
    assert qoder(*words, "--json").json == raw
    assert raw["secret"] not in qoder(*words).out
    service.answers[f"GET {LIST}/poll"] = Refused(503, "later")
    asked = len(service.asked)
    assert qoder("env", "work", "poll", "env_1", "--worker", "w1").code == 7
    assert len(service.asked) == asked + 1


@pytest.mark.parametrize("words", [["--worker", ""], ["--worker", "a b"], ["--worker", "w", "--block-ms", "1000"], []])
def test_a_poll_that_cannot_be_meant(qoder: Qoder, service: Service, words: list[str]) -> None:
    assert (qoder("env", "work", "poll", "default", *words).code, service.asked) == (2, [])


@pytest.mark.parametrize("fault", [None, *LOST])
def test_an_item_is_acknowledged(qoder: Qoder, service: Service, fault: str | None) -> None:
    raw = item(service)
    service.faults["/ack"] = [fault] if fault else []
    assert qoder("env", "work", "ack", "default", raw["id"]).code == 0
    assert raw["acknowledged_at"]


def test_a_heartbeat_says_which_was_the_last(qoder: Qoder, service: Service) -> None:
    raw = item(service)
    path = f"POST {LIST}/{raw['id']}/heartbeat"
    beat = {"type": "work_heartbeat", "last_heartbeat": "2027-01-15T08:00:00Z", "lease_extended": True}
    service.answers[path] = beat
    assert qoder("env", "work", "heartbeat", "default", raw["id"], "--json").json == beat
    assert dict(service.asked[-1].url.params) == {"expected_last_heartbeat": "NO_HEARTBEAT"}
    words = ("env", "work", "heartbeat", "default", raw["id"], "--expected", str(beat["last_heartbeat"]))
    assert qoder(*words, "--ttl", "60").code == 0
    wanted = {"expected_last_heartbeat": beat["last_heartbeat"], "desired_ttl_seconds": "60"}
    assert dict(service.asked[-1].url.params) == wanted
    service.answers[path] = Refused(412, "another worker took over")
    assert qoder(*words).code == 6
    service.answers[path] = beat
    service.faults["/heartbeat"] = ["done-reset"]
    assert qoder(*words).code == 9


def test_metadata_of_an_item_is_set(qoder: Qoder, service: Service) -> None:
    raw = item(service)
    ran = qoder("env", "work", "update", "default", raw["id"], "--metadata", "host=b3", "--json")
    assert (ran.code, raw["metadata"]) == (0, {"host": "b3"})
    assert qoder("env", "work", "update", "default", raw["id"]).code == 2
