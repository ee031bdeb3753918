"""`qoder env work`: what waits for workers, stopped by people, and worked on by programs."""

from typing import Any

import pytest

from tests.conftest import Qoder
from tests.support.things import FAILED, Things, ok, refusal

SERVED_BY = ("current",)
ITEM = "/environments/env_workers/work/work_demo"
POLL = "/environments/env_workers/work/poll"


def work(qoder: Qoder, verb: str, *words: str, item: bool = True) -> Any:
    return qoder("env", "work", verb, "workers", *(["work_demo"] if item else []), *words)


def test_env_work_stats_shows_the_queue(qoder: Qoder, service: Things) -> None:
    ran = work(qoder, "stats", item=False)
    assert ran.out == "depth\t1\npending\t0\noldest_queued_at\t2026-12-16T08:00:00Z\nworkers_polling\t0\n"


def test_env_work_stop_stops_an_item_that_has_begun_at_once_only_with_force(qoder: Qoder, service: Things) -> None:
    assert work(qoder, "ack").code == 0
    assert work(qoder, "stop", "--json").json["state"] == "stopping"
    assert work(qoder, "stop", "--force", "--json").json["state"] == "stopped"
    assert service.sent[1:] == [{}, {"force": True}]


def test_env_work_lists_no_commands_of_workers(qoder: Qoder) -> None:
    shown = qoder("env", "work", "--help").out
    assert "stats" in shown
    for verb in ("poll", "ack", "heartbeat", "update"):
        assert f"\n  {verb}" not in shown
        assert qoder("env", "work", verb, "--help").code == 0


def test_env_work_poll_asks_once_and_shows_no_secret(qoder: Qoder, service: Things) -> None:
    service.thing("work_demo")["secret"] = "s3cret-of-a-worker"
    words = ("--worker", "w1", "--block-ms", "500")
    given = work(qoder, "poll", *words, "--json", item=False).json
    assert (given["id"], given["secret"]) == ("work_demo", "s3cret-of-a-worker")
    assert service.requests[-1].headers["worker-id"] == "w1"
    assert service.requests[-1].url.params["block_ms"] == "500"
    ran = work(qoder, "poll", *words, "--json", item=False)
    assert (ran.code, ran.json, "no work is waiting" in ran.err) == (0, None, True)
    assert work(qoder, "poll", *words, "-q", item=False).out == ""
    service.instead[f"GET {POLL}"] = [ok(given), FAILED]
    assert "s3cret" not in work(qoder, "poll", *words, item=False).out
    service.requests.clear()
    assert qoder("env", "work", "poll", "env_workers", *words).code == 7
    assert service.asked == [f"GET {POLL}"]


@pytest.mark.parametrize("answer", [{}, {"id": "env_1", "type": "environment"}, [], "x", 5, False])
def test_env_work_poll_takes_nothing_else_for_an_item(qoder: Qoder, service: Things, answer: Any) -> None:
    service.instead[f"GET {POLL}"] = [ok(answer)]
    ran = work(qoder, "poll", "--worker", "w1", "--json", item=False)
    assert (ran.code, ran.out) == (7, "")


def test_env_work_heartbeat_says_which_was_the_last(qoder: Qoder, service: Things) -> None:
    assert work(qoder, "ack").code == 0
    last = work(qoder, "heartbeat", "--json").json["last_heartbeat"]
    assert dict(service.requests[-1].url.params) == {"expected_last_heartbeat": "NO_HEARTBEAT"}
    assert work(qoder, "heartbeat", "--expected", last, "--ttl", "60").code == 0
    assert dict(service.requests[-1].url.params) == {"expected_last_heartbeat": last, "desired_ttl_seconds": "60"}


@pytest.mark.parametrize(
    ("answer", "code"), [(refusal(412, "x", "another worker took over"), 6), (FAILED, 9), (refusal(502, "", ""), 9)]
)
def test_env_work_heartbeat_does_not_know_it_was_taken(qoder: Qoder, service: Things, answer: Any, code: int) -> None:
    assert work(qoder, "ack").code == 0
    service.never = [answer]
    assert work(qoder, "heartbeat").code == code
    assert service.writes == [f"POST {ITEM}/ack", f"POST {ITEM}/heartbeat"]


def test_env_work_update_sets_metadata(qoder: Qoder, service: Things) -> None:
    assert work(qoder, "update", "--metadata", "host=b3", "--json").json["metadata"] == {"host": "b3"}
    assert work(qoder, "update").code == 2
