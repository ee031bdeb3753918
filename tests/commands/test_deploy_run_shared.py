"""One key, one run, on every machine: `deploy run` with a store of keys that machines share."""

import json
import re
import signal
import threading
from collections.abc import Callable
from contextlib import closing, nullcontext
from email.utils import formatdate
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import Signalled, Unavailable
from qoder_cli.fleet.starting import trigger_for
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.keys import patience
from qoder_cli.keys.protocol import ABANDONED, SEND_WITHIN, STALE_CLAIM
from qoder_cli.keys.record import KeyRecord
from qoder_cli.runs.trigger import Order
from tests.conftest import Qoder, Ran
from tests.support.cells import checkerboard
from tests.support.interrupting import caught, interrupt
from tests.support.machines import MEMORY_STORE, STORES, Machines
from tests.support.processes import until
from tests.support.things import refusal

NIGHT = ("deploy", "run", "dep_demo", "--idempotency-key", "night-1", "--json")


def claim(state: Any, **more: Any) -> KeyRecord:
    """Return what a command that was killed on another machine leaves behind."""
    return KeyRecord(state, "owner-of-the-dead", "night-1", "dep_demo", "api.qoder.com", **more)


def leave(machines: Machines, state: Any, **more: Any) -> None:
    keys = machines.store()
    assert keys.put(None, claim(state)._replace(**more)) is not None


def seen(ran: Ran) -> tuple[int, str | None]:
    return ran.code, ran.json["id"] if ran.out else None


def test_deploy_run_returns_the_run_that_another_machine_started(machines: Machines) -> None:
    first = machines.machine("a")(*NIGHT)
    again = [machines.machine("b", "run:404*2")(*NIGHT), machines.machine("a")(*NIGHT)]
    assert [seen(each) for each in (first, *again)] == [(0, machines.runs[0])] * 3
    assert [each.json.get("already_started") for each in (first, *again)] == [None, True, True]
    assert ["starting " in each.err for each in (first, *again)] == [True, False, False]
    assert machines.triggers == 1
    listed = machines.machine("c")("key", "get", "night-1", "--json").json
    assert {**listed, "since": None} == {
        "key": "night-1", "state": "started", "deployment": "dep_demo",
        "run": machines.runs[0], "adopted": False, "since": None, "machine": None,
    }  # fmt: skip


@pytest.mark.parametrize("left", [None, "claimed"])
def test_deploy_run_notes_its_run_where_a_database_took_over_without_the_latest_writes(
    machines: Machines, left: Any
) -> None:
    def lie(request: httpx.Request, truth: Callable[[], httpx.Response]) -> httpx.Response:
        if request.url.path.endswith("/run"):
            [stored] = machines.store().entries()
            assert machines.store().put(stored, left and stored.record._replace(state=left))
        return truth()

    ran = [machines.machine("a", lie=lie)(*NIGHT), machines.machine("b")(*NIGHT)]
    assert [seen(each) for each in ran] == [(0, machines.runs[0])] * 2
    assert (machines.triggers, "could not note" in ran[0].err) == (1, False)


def test_deploy_run_without_a_home_folder_loses_no_shared_key(machines: Machines) -> None:
    machine = machines.machine("a")
    machine.env["QODER_STATE_DIR"] = "/dev/null/state"
    first, again = machine(*NIGHT), machine(*NIGHT)
    assert (seen(first), again.json["already_started"], machines.triggers) == ((0, machines.runs[0]), True, 1)
    [warning] = [line for line in first.err.splitlines() if line.startswith("warning:")]
    assert "; `last` will not know of this run" in warning


def test_deploy_run_asks_the_api_a_few_times_more_with_a_shared_store(machines: Machines) -> None:
    store = "/memory_stores/memstore_keys"
    costs = ["GET /deployments/dep_demo", "POST /deployments/dep_demo/run"]
    if machines.keys == MEMORY_STORE:
        memory = f"POST {store}/memories/MEMORY"
        costs = [f"GET {store}", f"POST {store}/memories", memory, costs[1], memory]
    machines.sent.clear()
    assert machines.machine("a")(*NIGHT).code == 0
    assert [re.sub("mem_[a-z0-9]+", "MEMORY", each) for each in machines.sent] == costs


@pytest.mark.parametrize("machines", ["PostgreSQL"], indirect=True)
@pytest.mark.parametrize(("others_leave", "expected"), [(True, (0, 1)), (False, (7, 0))])
def test_deploy_run_waits_for_a_connection_while_others_have_all_of_them(
    machines: Machines, others_leave: bool, expected: tuple[int, int]
) -> None:
    psycopg = pytest.importorskip("psycopg")
    with closing(psycopg.connect(machines.keys, autocommit=True)) as admin:
        admin.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 1; GRANT ALL ON qoder_keys TO crowded")
        machines.keys = machines.keys.replace("//qoder@", "//crowded@")
        with closing(psycopg.connect(machines.keys)) as other:
            if others_leave:
                machines.clock.at_sleep = other.close
            ran = machines.machine("a")(*NIGHT)
        admin.execute("DROP OWNED BY crowded; DROP ROLE crowded")
    assert (ran.code, machines.triggers) == expected, ran.err


def test_deploy_run_takes_over_a_claim_that_nobody_goes_on_with(machines: Machines) -> None:
    leave(machines, "claimed")
    began = machines.clock.time
    ran = machines.machine("a")(*NIGHT)
    assert (seen(ran), "another command claimed the key 'night-1'; waiting" in ran.err) == ((0, machines.runs[0]), True)
    assert machines.clock.time - began >= STALE_CLAIM


def test_deploy_run_never_sends_under_a_key_that_another_machine_was_sending(machines: Machines) -> None:
    leave(machines, "sending", sent=machines.clock.time)
    began = machines.clock.time
    ran = machines.machine("a")(*NIGHT)
    assert (ran.code, machines.triggers) == (9, 0)
    assert machines.clock.time - began >= ABANDONED
    assert "qoder key free night-1" in ran.error["hint"]
    refused = machines.machine("b")("key", "free", "night-1")
    assert refused.code == 2  # a person's decision: scripts need --yes
    freed = machines.machine("b")("key", "free", "night-1", "--yes")
    assert (freed.code, "has been starting a run under it since" in freed.err) == (0, True)
    assert seen(machines.machine("a")(*NIGHT)) == (0, machines.runs[0])


def test_deploy_run_adopts_the_one_run_of_a_machine_that_was_killed(machines: Machines) -> None:
    leave(machines, "sending", sent=machines.clock.time)
    machines.world.start("dep_demo", origin="request", at=machines.clock.time + 1)
    ran = machines.machine("a")(*NIGHT)
    assert (ran.code, machines.triggers) == (0, 0)
    assert (ran.json["id"], ran.json["adopted"]) == (machines.runs[0], True)
    notes = ("is starting a run under the key", "looking for its run", "it is the only run started since")
    assert [note for note in notes if note not in ran.err] == []
    assert machines.machine("b")(*NIGHT).json["adopted"] is True
    keys = machines.store()
    assert [each.record.key for each in keys.entries()] == ["night-1"]  # and no mark is left


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_deploy_run_adopts_nothing_where_nothing_says_when_another_machine_sent(shared: Machines, date: str) -> None:
    shared.date = date
    leave(shared, "sending", sent=shared.clock.time if date else None)
    shared.world.start("dep_demo", origin="request", at=shared.clock.time + 1)
    ran = shared.machine("a")(*NIGHT)
    assert (ran.code, "nothing shows when it was sent" in ran.error["message"]) == (9, True)


@pytest.mark.parametrize(("keys", "is_closed"), [(MEMORY_STORE, True), (MEMORY_STORE, False), ("", True)])
def test_deploy_run_waits_for_another_command_as_long_as_there_are_turns(
    tmp_path: Path, keys: str, is_closed: bool
) -> None:
    machines = Machines(tmp_path, keys)
    with closing(machines.app("a")) as app, closing(machines.app("a").store) as other:
        if keys:
            leave(machines, "claimed")
        else:
            other.hold("key night-1", host="api.qoder.com")
        pace, began = Pace(app.clock, per_second=20), machines.clock.time
        machines.clock.at_sleep = pace.close if is_closed else lambda: None
        with pytest.raises(Closed) if is_closed else nullcontext():
            trigger_for(app, Order("dep_demo", "night-1"), pace=pace).start()
    assert (machines.triggers == 0, machines.clock.time - began < STALE_CLAIM) == (is_closed, is_closed)
    assert keys or machines.clock.slept == [0.2]


def test_deploy_run_adopts_nothing_while_another_key_of_the_deployment_is_in_doubt(machines: Machines) -> None:
    leave(machines, "sending", sent=machines.clock.time)
    leave(machines, "sending", key="night-2")
    machines.world.start("dep_demo", origin="request", at=machines.clock.time + 1)
    ran = machines.machine("a")(*NIGHT)
    assert (ran.code, machines.triggers) == (9, 0)
    assert "night-2" in ran.error["message"]
    assert "qoder key free night-1" in ran.error["hint"]


HIDDEN: dict[str, Callable[[Any], Any]] = {
    # What a list of the store, which shows what was just written, says of the key that is in doubt.
    "nothing, and not whether it is whole": lambda row: None,
    "nothing at first: its page is older than the others": lambda row: None,
    "nothing, nor what was written just now": lambda row: None,
    "no id": lambda row: {**row, "id": None},
    "only its folder": lambda row: {"type": "memory_prefix", "path": "keys/"},
    "no content, and a proxy knows no more": lambda row: {**row, "content": None},
}


@pytest.mark.parametrize("what", HIDDEN)
def test_deploy_run_adopts_nothing_by_a_list_of_keys_that_may_hide_one(shared: Machines, what: str) -> None:
    leave(shared, "sending", sent=shared.clock.time)
    leave(shared, "sending", key="night-2")
    shared.world.start("dep_demo", origin="request", at=shared.clock.time + 1)
    lists = list[str]()

    def lie(request: httpx.Request, truth: Callable[[], httpx.Response]) -> httpx.Response:
        response = truth()
        if request.method != "GET" or "/memories" not in request.url.path:
            return response
        page = json.loads(response.read())
        if "data" not in page and "night-2" in page["content"]:
            return httpx.Response(404, text="not found")
        if request.url.params.get("path_prefix") != "keys/":
            return response
        lists.append(what)
        if "at first" in what and len(lists) > 1:
            return response
        hidden = ("night-2", '"look ') if "just now" in what else ("night-2",)
        rows = [HIDDEN[what](row) if any(key in row["content"] for key in hidden) else row for row in page["data"]]
        page["data"] = [row for row in rows if row is not None]
        if "whole" in what:
            page = {"data": page["data"]}
        return httpx.Response(200, json=page)

    ran = shared.machine("a", lie=lie)(*NIGHT)
    assert lists
    assert (ran.code, shared.triggers) == (9, 0), ran.out
    if "just now" in what:  # which is looked for like this
        assert shared.clock.slept[-10:] == [0.5, 1.0, 2.0, *[4.0] * 7]


def test_deploy_run_adopts_nothing_that_the_services_clock_rules_out_at_last(shared: Machines) -> None:
    def later() -> None:
        shared.date = formatdate(shared.clock.time + 3600, usegmt=True)

    ran = with_store(shared, later, "trigger:drop-after")(*NIGHT)
    assert (ran.code, "not certain enough to adopt it" in ran.error["message"]) == (9, True), ran.err


def test_run_wait_last_adopts_nothing_beside_a_run_that_another_machine_started_under_its_key(shared: Machines) -> None:
    assert shared.machine("a", "trigger:500")(*NIGHT).code == 9
    assert shared.machine("b")("key", "free", "night-1", "--yes").code == 0
    assert shared.machine("b")(*NIGHT).code == 0
    shared.world.start("dep_demo", origin="request", at=shared.clock.time + 1)
    ran = shared.machine("a")("run", "wait", "last", "--json")
    assert (ran.code, "2 runs may be it" in ran.err) == (9, True), ran.err


def test_deploy_run_does_not_take_the_known_run_of_another_key_for_its_own(machines: Machines) -> None:
    assert machines.machine("a")(*NIGHT[:4], "night-2").code == 0
    ran = machines.machine("b", "trigger:drop-after")(*NIGHT)
    assert seen(ran) == (0, machines.runs[1])
    assert ran.json["adopted"] is True


LOST: dict[str, tuple[tuple[str, ...], int, int, str]] = {
    # Faults: the exit code, how often the trigger is sent, and what the store says then.
    "refused": (("trigger:422",), 6, 1, "free"),
    "too many requests, then accepted": (("trigger:429*2",), 0, 3, "started"),
    "cut, and started": (("trigger:drop-after",), 0, 1, "started"),
    "cut, and not started": (("trigger:drop-before",), 9, 1, "sending"),
    "500": (("trigger:500",), 9, 1, "sending"),
    "500, and started": (("trigger:act-500",), 0, 1, "started"),
    "a gateway's 403": (("trigger:html=403",), 9, 1, "sending"),
}


@pytest.mark.parametrize(("how", "machines"), checkerboard(LOST, STORES), indirect=["machines"])
@pytest.mark.few(5)
def test_deploy_run_sends_nothing_again_under_a_shared_key(machines: Machines, how: str) -> None:
    faults, code, triggers, state = LOST[how]
    ran = machines.machine("a", *faults)(*NIGHT)
    assert (ran.code, machines.triggers) == (code, triggers), ran.err
    assert code != 9 or "qoder key free night-1" in ran.error["hint"]  # and never the command that repeats it
    told = machines.machine("b")("key", "get", "night-1", "--json")
    assert (told.json["state"] if told.out else "free") == state


AWAY: dict[str, tuple[str, int, bool]] = {
    # The fault of the trigger: the exit code, and whether the store still says that the key is sending.
    "started": ("run:503*1", 0, True),
    "refused": ("trigger:422", 6, True),
    "cut, and started": ("trigger:drop-after", 9, True),
}


@pytest.mark.parametrize("how", AWAY)
def test_deploy_run_warns_of_a_store_that_fails_once_the_run_was_asked_for(shared: Machines, how: str) -> None:
    fault, code, is_open = AWAY[how]
    ran = with_store(shared, lambda: httpx.Response(503), fault)(*NIGHT)
    assert (ran.code, shared.triggers) == (code, 1)
    assert "the store of keys memstore_keys cannot be used" in ran.err or code == 9
    assert "how the start under the key 'night-1' ended" in ran.err or code == 9
    assert "nothing was sent" not in ran.err
    state = shared.machine("b")("key", "get", "night-1", "--json").json["state"]
    assert (state == "sending") == is_open


@pytest.mark.parametrize(("faults", "code"), [((), 130), (("trigger:422",), 6)])
def test_deploy_run_heeds_a_signal_that_comes_while_the_store_is_told(
    shared: Machines, faults: tuple[str, ...], code: int
) -> None:
    """What the API said of the trigger counts for more."""
    ran = with_store(shared, interrupt, *faults)(*NIGHT, "--wait")
    assert seen(ran) == (code, shared.runs[0] if code == 130 else None)


def test_deploy_run_tells_the_store_of_the_run_that_was_answered_at_a_signal(shared: Machines) -> None:
    def lie(request: httpx.Request, truth: Callable[[], httpx.Response]) -> httpx.Response:
        response = truth()
        if request.url.path.endswith("/run"):
            signal.raise_signal(signal.SIGTERM)
        return response

    with caught(signal.SIGTERM):
        assert shared.machine("a", lie=lie)(*NIGHT).code == 143
    assert shared.machine("b")("key", "get", "night-1", "--json").json["state"] == "started"


def test_deploy_run_frees_its_key_at_a_signal_though_the_answer_that_it_is_sending_was_lost(shared: Machines) -> None:
    left = [httpx.ReadError("reset"), Signalled(signal.SIGTERM)]

    def lie(request: httpx.Request, truth: Callable[[], httpx.Response]) -> httpx.Response:
        response = truth()
        if left and "/memories" in request.url.path and (b"sending" in request.read() or len(left) == 1):
            raise left.pop(0)
        return response

    ran = shared.machine("a", lie=lie)(*NIGHT)
    assert (ran.code, ran.error["message"], shared.triggers) == (143, "interrupted; nothing was started", 0)
    assert shared.machine("b")("key", "get", "night-1").code == 5


def with_store(
    machines: Machines, answer: Callable[[], httpx.Response | None], *faults: str, is_at_once: bool = False
) -> Qoder:
    """Return a machine whose store answers so, once a run was asked for or at once; truly, if that is None."""

    def lie(request: httpx.Request, truth: Callable[[], httpx.Response]) -> httpx.Response:
        is_bad = (machines.triggers or is_at_once) and "/memories" in request.url.path
        return (answer() if is_bad else None) or truth()

    return machines.machine("a", *faults, lie=lie)


OF_ANOTHER: dict[str, dict[str, Any]] = {
    "deployment dep_slow": {"state": "started", "deployment": "dep_slow", "run": "drun_1"},
    "an apply of ci-7": {"state": "applying", "deployment": "", "machine": "ci-7"},
}


@pytest.mark.parametrize("whose", OF_ANOTHER)
def test_deploy_run_refuses_a_key_that_is_not_its_deployments(machines: Machines, whose: str) -> None:
    leave(machines, **OF_ANOTHER[whose])
    ran = machines.machine("a")(*NIGHT)
    assert (ran.code, machines.triggers, f"belongs to {whose}" in ran.error["message"]) == (2, 0, True)


def freed(machines: Machines, *faults: str, is_claimed: bool = False) -> str:
    """Return the run of a key that was freed, an hour ago, on a server that remembers which run a key has started.

    If it `is_claimed`, somebody was killed since who meant to start another.
    """
    machines.world.honour_key = True
    assert machines.machine("a", *faults)(*NIGHT).code == 0
    assert machines.machine("b")("key", "free", "night-1", "--yes").code == 0
    machines.clock.time += 3600
    [old] = machines.runs
    if is_claimed:
        claim_again(machines)
    return old


def claim_again(machines: Machines) -> None:
    """Leave what a command leaves behind that was killed once it had claimed a key that is free."""
    keys = machines.store()
    found = keys.read(claim("claimed").name)
    assert found
    assert keys.put(found, found.record.used_again(claim("claimed")))


@pytest.mark.parametrize("faults", [(), ("trigger:drop-after",)], ids=["claimed since", "adopted"])
def test_deploy_run_under_a_freed_key_forgets_its_old_run(machines: Machines, faults: tuple[str, ...]) -> None:
    freed(machines, *faults, is_claimed=not faults)
    assert seen(machines.machine("a")(*NIGHT)) == (0, machines.runs[-1])
    assert len(machines.runs) == 2


def test_deploy_run_takes_no_earlier_run_of_its_key_for_that_of_a_machine_that_was_killed(machines: Machines) -> None:
    freed(machines, is_claimed=True)
    keys = machines.store()
    claimed = keys.read(claim("claimed").name)
    assert claimed
    assert keys.put(claimed, claimed.record._replace(state="sending", sent=machines.clock.time))
    assert (machines.machine("a")(*NIGHT).code, machines.triggers) == (9, 1)


@pytest.mark.parametrize("what", ["of another deployment", "adopted"])
def test_deploy_run_tells_the_store_of_no_run_here_that_need_not_be_the_one_in_doubt(
    machines: Machines, what: str
) -> None:
    faults, deployment = (["trigger:drop-after"], "dep_demo") if what == "adopted" else ([], "dep_slow")
    keys, machines.keys, sent = machines.keys, "", machines.clock.time
    assert machines.machine("c", *faults)(*NIGHT[:2], deployment, *NIGHT[3:]).code == 0
    machines.keys = keys
    leave(machines, "sending", sent=sent)
    assert (machines.machine("c")(*NIGHT).code, machines.triggers) == (9, 1)
    assert machines.machine("b")("key", "get", "night-1", "--json").json["run"] is None


@pytest.mark.parametrize("before", ["nothing", "a claim", "a freed key"])
def test_deploy_run_tells_every_machine_of_the_run_that_one_started_without_the_store(
    machines: Machines, before: str
) -> None:
    old = [freed(machines)] if before == "a freed key" else []
    keys, machines.keys, machines.world.honour_key = machines.keys, "", False
    first = seen(machines.machine("c")(*NIGHT))
    machines.keys = keys
    if before == "a claim":
        leave(machines, "claimed")
    ran = [machines.machine(name)(*NIGHT) for name in "cb"]
    assert [(seen(each), each.json.get("adopted")) for each in ran] == [(first, None)] * 2
    assert machines.triggers == len(machines.runs) == len(old) + 1


@pytest.mark.parametrize("before", ["a claim of a freed key", "a freed key", "nothing"])
def test_deploy_run_sends_nothing_while_an_attempt_without_the_store_is_in_doubt(shared: Machines, before: str) -> None:
    """The key is given back with its earlier run, or the next command would take that for its own."""
    if before != "nothing":
        freed(shared, is_claimed="claim" in before)
    shared.keys, count = "", len(shared.runs)
    assert shared.machine("c", "trigger:drop-before")(*NIGHT).code == 9
    shared.keys = MEMORY_STORE
    ran = shared.machine("c")(*NIGHT)
    assert (ran.code, shared.triggers) == (9, count + 1), ran.err
    assert "an earlier attempt of this machine with the key 'night-1' is unconfirmed" in ran.error["message"]
    assert shared.machine("b")("key", "get", "night-1").code == 5
    assert seen(shared.machine("b")(*NIGHT)) == (0, shared.runs[-1])
    assert len(shared.runs) == count + 1


def test_deploy_run_believes_no_response_that_is_an_earlier_run_of_its_key(shared: Machines) -> None:
    old = freed(shared)
    row = shared.machine("b")("run", "get", old, "--json").json

    def lie(request: httpx.Request, truth: Callable[[], httpx.Response]) -> httpx.Response:
        return httpx.Response(200, json=row) if request.url.path.endswith("/run") else truth()

    ran = shared.machine("c", lie=lie)(*NIGHT)
    assert (ran.code, ran.out, f"an earlier run under the key ({old})" in ran.error["message"]) == (9, "", True)


def test_deploy_run_starts_another_run_once_that_of_its_key_has_failed_if_asked_to(machines: Machines) -> None:
    failing = ("deploy", "run", "dep_fail", *NIGHT[3:])
    assert machines.machine("a")(*failing).code == 0
    machines.clock.time += 3600
    assert machines.machine("b")(*failing).code == 1
    assert machines.triggers == 1
    until = (*failing, "--key-until", "completed")
    first, [_, second] = seen(machines.machine("b")(*until)), machines.runs
    assert first == (0, second)
    assert seen(machines.machine("a")(*until)) == (0, second)  # it is still going
    machines.clock.time += 3600
    assert seen(machines.machine("a")(*until)) == (0, machines.runs[2])  # the one that knows of the first run
    assert machines.triggers == 3


@pytest.mark.parametrize(
    "how",
    [
        {"status": "succeeded", "completed_at": "2027-01-15T08:30:00Z"},
        {"status": "failed", "error": {"type": "unreadable_stop_reason", "message": "It cannot be read."}},
    ],
    ids=["no known status", "no reason"],
)
def test_deploy_run_starts_no_other_run_where_that_of_its_key_need_not_have_failed(
    shared: Machines, how: dict[str, Any]
) -> None:
    assert shared.machine("a")(*NIGHT).code == 0
    shared.clock.time += 3600

    def lie(request: httpx.Request, truth: Callable[[], httpx.Response]) -> httpx.Response:
        if "/deployment_runs/" not in request.url.path:
            return truth()
        return httpx.Response(200, json={**httpx.Response(200, content=truth().read()).json(), **how})

    ran = shared.machine("b", lie=lie)(*NIGHT, "--key-until", "completed")
    assert (ran.code, shared.triggers) == (1, 1), ran.err


def test_deploy_run_forgets_no_run_of_a_key_that_another_machine_took_first(shared: Machines) -> None:
    failing = ("deploy", "run", "dep_fail", *NIGHT[3:])
    until = (*failing, "--key-until", "completed")
    assert shared.machine("a")(*failing).code == 0
    shared.clock.time += 3600

    def lie(request: httpx.Request, truth: Callable[[], httpx.Response]) -> httpx.Response:
        if shared.triggers == 1 and "/deployment_runs/" in request.url.path:
            assert shared.machine("b")(*until).code == 0
        return truth()

    assert seen(shared.machine("a", lie=lie)(*until)) == (0, shared.runs[-1])
    shared.keys = ""
    assert (shared.machine("a")(*failing).code, shared.triggers) == (1, 2)


def test_run_retry_all_failed_leaves_out_what_another_machine_retried(machines: Machines) -> None:
    failed = machines.machine("a")("deploy", "run", "dep_fail", "--json").json["id"]
    machines.clock.time += 60
    assert machines.machine("a")("run", "retry", failed).code == 0
    machines.clock.time += 60
    line = "run retry --all-failed dep_fail --since 1d --yes --json"
    ran = machines.machine("b")(*line.split())
    assert (ran.code, ran.json, machines.triggers) == (0, [], 2), ran.err
    assert "ignored 2 that were retried before, or are retries themselves" in ran.err


def test_key_free_lets_every_machine_start_another_run_and_no_other_key_adopt_the_old_one(machines: Machines) -> None:
    machines.world.honour_key = True
    assert machines.machine("a")(*NIGHT).code == 0
    ran = machines.machine("b")("key", "free", "night-1", "--yes", "--json")
    assert (ran.json["run"], f"it started run {machines.runs[0]}" in ran.err) == (machines.runs[0], True)
    freed = [machines.machine("b")(*line.split()) for line in ("key list -q", "key get night-1")]
    assert [(ran.code, ran.out) for ran in freed] == [(0, ""), (5, "")]
    leave(machines, "sending", sent=machines.clock.time, key="night-2")
    assert machines.machine("c")(*NIGHT[:4], "night-2").code == 9  # the run that is listed was night-1's
    assert machines.machine("c")("key", "free", "night-2", "--yes").code == 0
    assert [seen(machines.machine(name)(*NIGHT)) for name in "ab"] == [(0, machines.runs[-1])] * 2
    assert len(machines.runs) == 2
    leave(machines, "sending", key="another-workspaces", workspace="ws_1")
    leave(machines, "sending", key="older", at="2026-06-14T08:54:06Z")
    assert machines.machine("c")("key", "list", "-q").out == "night-1\nolder\n"


def test_key_free_frees_no_key_used_meanwhile(machines: Machines, questions: Callable[..., list[str]]) -> None:
    def meanwhile() -> None:
        assert machines.machine("b")("key", "free", "night-1", "--yes").code == 0
        claim_again(machines)

    leave(machines, "sending")
    questions(meanwhile)
    ran = machines.machine("a")("key", "free", "night-1", "--json")
    assert (ran.code, ran.out, "the key 'night-1' was not freed" in ran.error["message"]) == (6, "", True)


def test_deploy_run_sends_nothing_if_its_turn_among_many_comes_too_late(machines: Machines) -> None:
    with closing(machines.app("a")) as app:
        pace = Pace(app.clock, per_second=20)
        pace.hold(SEND_WITHIN + 20)
        with pytest.raises(Unavailable, match="nothing was started"):
            trigger_for(app, Order("dep_demo", "night-1"), pace=pace).start()
    assert machines.triggers == 0
    assert machines.machine("b")("key", "get", "night-1").code == 5


def test_deploy_run_sends_nothing_if_its_store_answers_that_it_may_too_late(shared: Machines) -> None:
    """It may have written that at once: others then hold the run for abandoned so long after."""
    lost = list[bytes]()

    def lie(request: httpx.Request, truth: Callable[[], httpx.Response]) -> httpx.Response:
        if b"sending" not in request.content or lost:
            return truth()
        lost.append(request.content)
        shared.clock.time += SEND_WITHIN + 1
        raise httpx.ReadError("reset")

    ran = shared.machine("a", lie=lie)(*NIGHT)
    assert (ran.code, len(lost), shared.triggers) == (7, 1, 0)


REFUSED: dict[str, tuple[str, tuple[str, ...], int]] = {
    "a store that is not there": ("memstore_gone", (), 7),
    "a database that is not there": ("postgresql://ci:s3cret-word@127.0.0.1:1/ci", (), 7),
    "a URL that is none": ("postgresql://ci:s3cret-word@127.0.0.1:x/ci", (), 7),
    "a password that hides the host": ("postgresql://ci:s3cret-word/?@127.0.0.1:1/ci?sslmode=disable", (), 2),
    "what is no store": ("s3cret-word", (), 2),
    "nothing, and it is required": ("", ("--keys", "required"), 2),
    "required, and nothing behind it": ("required:", (), 2),
    "until completed, and nothing is shared": ("", ("--key-until", "completed"), 2),
    "a resend": (MEMORY_STORE, ("--on-lost", "resend"), 2),
}


@pytest.mark.parametrize("what", REFUSED)
def test_deploy_run_sends_nothing_without_its_shared_store(tmp_path: Path, what: str) -> None:
    keys, words, code = REFUSED[what]
    if keys.startswith("postgres"):
        pytest.importorskip("psycopg")
    machines = Machines(tmp_path, keys)
    ran = machines.machine("a")(*NIGHT, *words, "--debug")
    assert (ran.code, machines.triggers, machines.sent == [] or code == 7) == (code, 0, True)
    others = [machines.machine("a")(*line.split()) for line in ("key list", "config list", "doctor")]
    assert ("nothing was sent" in ran.error["message"]) == (what != "a resend" and "until" not in what)
    assert not [each for each in (ran, *others) if "s3cret-word" in each.out + each.err]


BAD_STORES: dict[str, tuple[str, int, str]] = {
    # What answers for the memory store, or what is done to it: the exit code, and what is said.
    "archived": ("memory archive memstore_keys --yes", 7, "the store of keys memstore_keys is archived"),
    "deleted": ("memory delete memstore_keys --yes", 7, "it was deleted, or belongs to another account"),
    "not one of keys": ("memory update memstore_keys --name notes", 2, "is the memory store 'notes', not one of keys"),
    "full": ("413", 7, "the store of keys memstore_keys cannot be used: HTTP 413"),
    "full of keys": ("422", 7, "the store of keys memstore_keys cannot be used: HTTP 422"),
    "too many requests": ("429", 7, "the store of keys memstore_keys cannot be used: HTTP 429"),
    "read-only": ("403", 4, "the store of keys memstore_keys may not be written: HTTP 403"),
    "no token": ("401", 4, "HTTP 401"),
    "holds something else": ("holds", 7, "was not written by this version of qoder"),
    "archived since it was checked": ("since", 7, "does not take the key 'night-1'"),
}


@pytest.mark.parametrize("what", BAD_STORES)
def test_deploy_run_sends_nothing_with_a_memory_store_that_cannot_keep_keys(shared: Machines, what: str) -> None:
    how, code, said = BAD_STORES[what]
    runner = shared.machine("a")
    if how.isdecimal():
        runner = with_store(shared, lambda: refusal(int(how), "refused", "Refused."), is_at_once=True)
    elif how == "since":
        other = shared.machine("b")

        def archived() -> None:
            other(*BAD_STORES["archived"][0].split())

        runner = with_store(shared, archived, is_at_once=True)
    elif how == "holds":
        path = f"keys/{claim('claimed').name}"
        world = shared.world
        held = {"memory_store_id": MEMORY_STORE, "path": path, "content": "notes", "content_sha256": "0"}
        world.keep("memory_stores.memories", MEMORY_STORE, at=world.now(), content_size_bytes=5, **held)
    else:
        assert runner(*how.split()).code == 0
    began = shared.clock.time
    ran = runner(*NIGHT)
    assert (ran.code, shared.triggers) == (code, 0)
    assert said in ran.error["message"]
    assert how != "since" or shared.clock.time - began > 30  # it is asked again, ever more rarely
    assert code == 4 or "nothing was sent" in ran.error["message"]


BAD_DATABASES: dict[str, tuple[str, str]] = {
    # What an administrator does, and what is said then.
    "read-only": ("ALTER ROLE ci SET default_transaction_read_only = on", "read-only transaction"),
    "another's": ("REVOKE ALL ON qoder_keys FROM ci", "permission denied"),
    "not ours": ("ALTER TABLE qoder_keys RENAME COLUMN content TO note", 'column "content"'),
    "full": (
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$; "
        "CREATE TRIGGER full_disk BEFORE INSERT ON qoder_keys EXECUTE FUNCTION full_disk()",
        "disk full",
    ),
    "without its table": ("DROP TABLE qoder_keys", "does not exist"),
}


@pytest.mark.parametrize("what", BAD_DATABASES)
def test_deploy_run_sends_nothing_with_a_database_that_cannot_keep_keys(
    tmp_path: Path, database: str, what: str
) -> None:
    import psycopg

    done, said = BAD_DATABASES[what]
    name = f"bad_{list(BAD_DATABASES).index(what)}"
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    url = database.removesuffix("postgres") + name
    machines = Machines(tmp_path, url.replace("qoder@", "ci@"))
    assert machines.machine("admin")("key", "init", "--store", url).code == 0
    with psycopg.connect(url, autocommit=True) as admin:
        role = "DROP ROLE IF EXISTS ci; CREATE ROLE ci LOGIN; GRANT ALL ON qoder_keys TO ci; "
        admin.execute((role + done).encode())
    ran = machines.machine("a")(*NIGHT)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("DROP OWNED BY ci")
    assert (ran.code, machines.triggers) == (7, 0)
    assert said in ran.error["message"]
    assert "nothing was sent" in ran.error["message"]


def test_deploy_run_holds_no_connection_to_a_database_while_it_waits(tmp_path: Path, database: str) -> None:
    import psycopg

    url, looks = f"{database.removesuffix('postgres')}held", list[str]()
    machines = Machines(tmp_path, url)
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("CREATE DATABASE held")
        assert machines.machine("a")("key", "init", "--store", url).code == 0
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'held'"

        def lie(request: httpx.Request, truth: Callable[[], httpx.Response]) -> httpx.Response:
            if machines.triggers and request.url.path.endswith("/events"):
                until(lambda: admin.execute(query).fetchone() == (0,), "no connection")
                looks.append(request.url.path)
            return truth()

        assert machines.machine("a", lie=lie)(*NIGHT, "--wait").code == 0
    assert looks


def test_deploy_run_says_which_extra_a_database_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    machines = Machines(tmp_path, "postgresql://db.example.com/ci")
    for several in ((), ("dep_slow", "--wait")):
        ran = machines.machine("a")(*NIGHT, *several)
        assert (ran.code, machines.sent) == (2, [])
        assert "install 'psycopg[binary]'" in ran.error["hint"]


def test_deploy_run_claims_no_key_where_nothing_may_be_written(machines: Machines) -> None:
    runner = machines.machine("a")
    runner.env["QODER_READ_ONLY"] = "1"
    assert (runner(*NIGHT).code, machines.sent) == (2, [])


def test_deploy_run_without_a_key_asks_no_shared_store(tmp_path: Path) -> None:
    machines = Machines(tmp_path, "memstore_gone")
    assert machines.machine("a")("deploy", "run", "dep_demo").code == 0
    assert machines.sent == ["POST /deployments/dep_demo/run"]


INIT = {"?": "QODER_KEYS", "": "QODER_KEYS={url}"}


@pytest.mark.parametrize("option", INIT)
def test_key_init_prints_what_to_set_and_no_password(tmp_path: Path, database: str, option: str) -> None:
    url = database + (option and "?application_name=s3cret-word")
    ran = Machines(tmp_path, "").machine("a")("key", "init", "--store", url, "--json")
    assert (ran.code, ran.json["variable"]) == (0, INIT[option].format(url=url))
    assert ("to the URL that --store was given" in ran.err, "s3cret-word" in ran.out + ran.err) == (True, False)


BROKEN = {  # what is answered as done though it was refused
    "it takes one key twice": ("POST", True),
    "it changes a key that another command has changed since": ("POST", False),
    "it removes a key that another command has changed since": ("DELETE", False),
}


@pytest.mark.parametrize("what", BROKEN)
def test_key_init_exits_6_where_the_store_cannot_keep_keys(tmp_path: Path, what: str) -> None:
    def lie(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        response, is_new = answer(), request.url.path.endswith("/memories")
        if response.status_code < 400 or (request.method, is_new) != BROKEN[what]:
            return response
        content = json.loads(request.content or "{}").get("content", "")
        return httpx.Response(200, json={"id": "mem_9", "content_sha256": sha256(content.encode()).hexdigest()})

    ran = Machines(tmp_path, "").machine("a", lie=lie)("key", "init", "--store", MEMORY_STORE, "--json")
    assert (ran.code, ran.out, what in ran.error["message"]) == (6, "", True)


def test_deploy_run_sends_nothing_where_the_store_answers_that_it_wrote_something_else(shared: Machines) -> None:
    def lie(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        if request.method == "POST" and "/memories/" in request.url.path:
            return httpx.Response(200, json={"id": "mem_9", "content_sha256": "0" * 64})
        return answer()

    ran = shared.machine("a", lie=lie)(*NIGHT)
    assert (ran.code, ran.out, shared.triggers) == (7, "", 0), ran.err


ATTACHED: dict[str, tuple[dict[str, str], int]] = {
    # What a deployment and a session attach: how many of them are named.
    "to write": ({"memory_store_id": MEMORY_STORE, "access": "read_write"}, 2),
    "without a word": ({"memory_store_id": MEMORY_STORE}, 2),
    "to read": ({"memory_store_id": MEMORY_STORE, "access": "read_only"}, 0),
    "another store": ({"memory_store_id": "memstore_other", "access": "read_write"}, 0),
}


@pytest.mark.parametrize("how", ATTACHED)
def test_doctor_and_key_init_warn_of_agents_that_can_write_to_the_store(shared: Machines, how: str) -> None:
    attached, count = ATTACHED[how]
    resources = [{"type": "memory_store", **attached}]
    shared.world.add_deployment(id="dep_keys", name="of-keys", resources=resources)
    shared.world.keep("memory_stores", at=shared.clock.time, id="memstore_other", name="notes")
    session = shared.world.start("dep_keys").fields["session_id"]
    ran = shared.machine("a")("doctor", "--probe", "--json")
    said = f"agents can write to {MEMORY_STORE}: deployment dep_keys, session {session}"
    assert [each["found"] for each in ran.json if each["check"] == "keys_writers"] == [said] * bool(count)
    assert (said in shared.machine("a")("key", "init", "--store", MEMORY_STORE).err) == bool(count)


def test_key_init_makes_a_store_that_machines_can_share(qoder: Qoder, tmp_path: Path) -> None:
    machines = Machines(tmp_path, "")
    ran = machines.machine("a")("key", "init", "--yes", "--json")
    made, machines.keys = ran.json, ran.json["store"]
    assert "keeps this promise if the service decides its writes in one place\n" in ran.err
    assert ran.err.endswith(f"set it on every machine: QODER_KEYS={machines.keys}\n")
    assert made == {"store": machines.keys, "variable": f"QODER_KEYS={machines.keys}", "tested": True}
    assert [machines.machine(name)(*NIGHT).code for name in "ab"] == [0, 0]
    assert (machines.triggers, len(machines.runs)) == (1, 1)


def test_key_init_names_the_store_that_exists_and_asks(shared: Machines, database: str) -> None:
    shared.world.keep("memory_stores", at=shared.clock.time, id="memstore_9", name="qoder-keys")
    shared.world.keep("memory_stores", at=shared.clock.time, id="memstore_8", name="notes")
    refused = shared.machine("a")("key", "init")
    assert (refused.code, "POST /memory_stores" in shared.sent) == (2, False)
    assert f"there is a store of keys already: memstore_9 and {MEMORY_STORE}\n" in refused.err
    assert "hint: use that one, or confirm another with --yes" in refused.err
    shared.keys = "memstore_?"  # a setting that names nothing keeps nobody from making one
    assert f"already: memstore_9 and {MEMORY_STORE}\n" in shared.machine("a")("key", "init").err
    assert shared.machine("a")("key", "init", "--store", MEMORY_STORE).code == 0
    shared.keys = MEMORY_STORE
    assert shared.machine("a")("key", "init", "--store", MEMORY_STORE).code == 0  # tests it again
    assert shared.machine("a")("key", "init", "--store", database).code == 2
    assert shared.machine("a")("key", "init", "--yes").code == 0


@pytest.mark.parametrize("cut", [{}, {"has_more": "no"}, {"has_more": False, "data": [{"name": "qoder-keys"}]}])
def test_key_init_makes_no_store_where_the_list_of_stores_may_be_cut(tmp_path: Path, cut: dict[str, Any]) -> None:
    def lie(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        if request.method != "GET" or not request.url.path.endswith("/memory_stores"):
            return answer()
        return httpx.Response(200, json={"data": [], **cut})

    machines = Machines(tmp_path, "")
    ran = machines.machine("a", lie=lie)("key", "init", "--json")
    assert (ran.code, ran.out, "POST /memory_stores" in machines.sent) == (7, "", False)


SILENT: dict[str, tuple[str, int, str]] = {
    # The request of the memory store that is not answered: the exit code, and what is said.
    "claim": ("POST /memories", 7, "nothing was sent"),
    "read": ("GET /memories", 7, "nothing was sent"),
    "started": ("POST /memories/", 0, "how the start under the key 'night-1' ended"),
}


@pytest.mark.parametrize("what", SILENT)
def test_deploy_run_leaves_a_memory_store_that_is_silent(
    shared: Machines, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, code, said = SILENT[what]
    monkeypatch.setattr(patience, "ANSWER_WITHIN", 0.3)
    over = threading.Event()
    if what == "read":
        leave(shared, "claimed")

    def lie(request: httpx.Request, truth: Callable[[], httpx.Response]) -> httpx.Response:
        is_it = f"{request.method} {request.url.path}".replace(f"/api/v1/cloud/memory_stores/{MEMORY_STORE}", "")
        if is_it.startswith(asked) and (shared.triggers or what != "started"):
            over.wait(30)
        return truth()

    ran = shared.machine("a", lie=lie)(*NIGHT, "--request-timeout", "30s")
    over.set()
    assert (ran.code, shared.triggers, said in ran.err) == (code, 1 if code == 0 else 0, True), ran.err
    assert code == 7 or seen(ran) == (0, shared.runs[0])
