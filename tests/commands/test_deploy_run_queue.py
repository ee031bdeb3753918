"""`deploy run --at-most N [--in NAME]`: at most so many runs at once, on every machine."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qoder_cli.fleet import queue
from qoder_cli.fleet.queue import LOOK_EVERY, READ_EVERY
from qoder_cli.keys.protocol import ABANDONED, STALE_CLAIM
from qoder_cli.keys.record import KeyRecord
from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder, Ran
from tests.support.cells import MORE
from tests.support.hasty import HastyClock
from tests.support.inprocess import Lie, WithoutStreams
from tests.support.machines import Machines

Answer = Callable[[], httpx.Response]
ONE = ("deploy", "run", "dep_demo", "--at-most", "1", "--in", "repo")
SPEED = 20.0
# A queue asks both stores alike; what differs between them is in test_deploy_run_shared.py.
STORES = ("memory store", pytest.param("PostgreSQL", marks=MORE))


def refusing(machines: Machines, status: int, *, after: float = 0.0, **answer: Any) -> Lie:
    """Return a network on which nothing is heard of runs and sessions after so many seconds, but this answer."""
    began = machines.clock.time

    def lie(request: httpx.Request, respond: Answer) -> httpx.Response:
        is_of_runs = "/deployment_runs" in request.url.path or "/sessions" in request.url.path
        if is_of_runs and machines.clock.time >= began + after:
            return httpx.Response(status, **answer)
        return respond()

    return lie


def hurried(machines: Machines) -> Machines:
    machines.clock = HastyClock(SPEED, now=machines.clock.time)
    return machines


def most_at_once(world: World) -> int:
    """Return how many of the runs that were asked for were going at one moment, at most."""
    moments = []
    for run in world.started():
        ending = run.ending(world.now())
        moments += [(run.created, 1), *([(ending.at, -1)] if ending else [])]
    going, most = 0, 0
    for _, change in sorted(moments):
        going += change
        most = max(most, going)
    return most


def leave(machines: Machines, state: Any, number: int = 1, **more: Any) -> None:
    """Leave a slot behind, as a command that was killed on another machine does."""
    slot = KeyRecord(state, "the-dead", f"slot repo {number}", "dep_demo", "api.qoder.com", group="repo")
    keys = machines.store()
    assert keys.put(None, slot._replace(**more)) is not None


def at_once(*commands: Any) -> list[Ran]:
    """Type commands on several machines at once, and return what came of each."""
    ran: dict[int, Ran] = {}

    def type_one(number: int, runner: Qoder, words: tuple[str, ...]) -> None:
        ran[number] = runner(*words)

    threads = [threading.Thread(target=type_one, args=(n, *command)) for n, command in enumerate(commands)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [ran[n] for n in range(len(commands))]


@pytest.mark.parametrize("machines", ["memory store", "PostgreSQL"], indirect=True)
def test_deploy_run_at_most_n_holds_on_three_machines_at_once(machines: Machines) -> None:
    hurried(machines)
    words = ("deploy", "run", *["dep_demo"] * 3, "--allow-duplicates", "--at-most", "2", "--in", "repo", "--json")
    waits = (*words, "--wait")
    a, b, c = at_once(
        *((machines.machine(name), each) for name, each in zip("abc", (waits, words, words), strict=True))
    )
    assert [(each.code, len(each.json)) for each in (a, b, c)] == [(0, 3)] * 3, [each.err for each in (a, b, c)]
    assert (len(machines.runs), most_at_once(machines.world)) == (9, 2)
    assert all("running of at most 2, " in each.err for each in (a, b, c))
    assert {run["status"] for run in a.json} == {"completed"}


@pytest.mark.parametrize("wait", [(), ("--wait",)])
def test_deploy_run_at_most_n_without_a_group_keeps_the_order_typed(
    qoder: Qoder, world: World, wait: tuple[str, ...]
) -> None:
    qoder.clock = HastyClock(SPEED, now=qoder.clock.time)
    world.clock = qoder.clock.now
    made = [world.add_deployment(name=f"job-{n}", behaviour=Behaviour(turn(seconds=3.0))).id for n in range(4)]
    ran = qoder("deploy", "run", *made, "--at-most", "1", "--json", *wait)
    assert (ran.code, [run["deployment_id"] for run in ran.json]) == (0, made)
    assert [run.deployment.id for run in world.started()] == made
    assert most_at_once(world) == 1


def test_deploy_run_in_a_group_frees_its_slot_when_the_run_has_ended(machines: Machines) -> None:
    first = machines.machine("a")(*ONE, "--wait", "--json")
    assert (first.code, first.json["status"]) == (0, "completed")
    assert machines.machine("b")("key", "list", "--json").json == []
    second = machines.machine("b")(*ONE, "--json")
    assert second.code == 0
    [slot] = machines.machine("a")("key", "list", "--json").json
    assert {name: slot[name] for name in ("key", "state", "deployment", "run")} == {
        "key": "slot repo 1", "state": "started", "deployment": "dep_demo", "run": second.json["id"],
    }  # fmt: skip
    third = machines.machine("a")(*ONE, "--json")  # waits for that run, which nobody else does
    assert (third.code, most_at_once(machines.world)) == (0, 1)
    assert "1 running of at most 1, 1 queued" in third.err


def test_deploy_run_leaves_a_group_after_queue_timeout(machines: Machines) -> None:
    assert machines.machine("a")("deploy", "run", "dep_ask", *ONE[3:]).code == 0
    began = machines.clock.time
    ran = machines.machine("b")(*ONE, "--queue-timeout", "90s", "--json")
    assert (ran.code, ran.out, len(machines.runs)) == (3, "", 1)
    assert 90 <= machines.clock.time - began < 100
    assert "1 running of at most 1, 1 queued, 1 waits for you" in ran.err
    accepted = machines.machine("b")(*ONE, "--queue-timeout", "0", "--on-skip", "ok", "--json")
    assert (accepted.code, accepted.json) == (0, {"id": None, "input": "dep_demo", "exit_code": 0, "going": None})


def test_deploy_run_frees_a_claim_that_nobody_goes_on_with_and_no_slot_in_which_a_run_may_be(
    machines: Machines,
) -> None:
    leave(machines, "claimed")
    leave(machines, "sending", 2, sent=machines.clock.time - 1000)
    began = machines.clock.time
    ran = machines.machine("a")("deploy", "run", "dep_demo", "--at-most", "2", "--in", "repo", "--json")
    assert (ran.code, STALE_CLAIM <= machines.clock.time - began < ABANDONED) == (0, True)
    ran = machines.machine("b")(*ONE, "--queue-timeout", "5m", "--json")
    assert (ran.code, len(machines.runs)) == (3, 1)
    assert "may have started a run of dep_demo in 'slot repo 2'" in ran.err
    assert "qoder key free 'slot repo 2'" in ran.err
    freed = machines.machine("b")("key", "free", "slot repo 2", "--yes")
    assert freed.code == 0, freed.err
    assert machines.machine("b")(*ONE).code == 0


def test_deploy_run_takes_the_one_run_of_a_killed_command_for_its_slot(machines: Machines) -> None:
    leave(machines, "sending", sent=machines.clock.time)
    run = machines.world.start("dep_demo", origin="request", at=machines.clock.time + 1)
    ran = machines.machine("a")(*ONE, "--json")
    assert (ran.code, f"adopted run {run.id} in the slot 'slot repo 1'" in ran.err) == (0, True)
    assert most_at_once(machines.world) == 1


def test_deploy_run_that_exits_9_keeps_its_slot_and_names_it(machines: Machines) -> None:
    ran = machines.machine("a", "trigger:drop-after")(*ONE, "--on-lost", "fail", "--json")
    assert ran.code == 9
    assert "its slot stays taken (qoder key free 'slot repo 1'" in ran.error["message"]
    waits = machines.machine("b")(*ONE, "--queue-timeout", "1m")
    assert (waits.code, len(machines.runs)) == (3, 1)
    assert machines.machine("b")("key", "free", "slot repo 1", "--yes").code == 0
    assert machines.machine("b")(*ONE).code == 0


@pytest.mark.parametrize("fault", ["trigger:400", "trigger:refused"])
def test_deploy_run_that_certainly_started_nothing_gives_its_slot_back(machines: Machines, fault: str) -> None:
    ran = machines.machine("a", f"{fault}*9")(*ONE)
    assert (ran.code in (6, 7), machines.runs) == (True, [])
    assert machines.machine("b")("key", "list", "--json").json == []
    assert machines.machine("b")(*ONE).code == 0


def test_deploy_run_gives_its_slot_back_where_its_key_has_a_run(machines: Machines) -> None:
    keyed = (*ONE, "--idempotency-key", "night-1", "--json")
    first = machines.machine("a")(*keyed, "--wait")
    again = machines.machine("b")(*keyed)
    assert (again.code, again.json["id"], machines.triggers) == (0, first.json["id"], 1)
    assert [each["key"] for each in machines.machine("b")("key", "list", "--json").json] == ["night-1"]


def test_deploy_run_refuses_a_key_that_is_a_slot(machines: Machines) -> None:
    assert machines.machine("a")(*ONE).code == 0
    ran = machines.machine("b")("deploy", "run", "dep_demo", "--idempotency-key", "slot repo 1", "--json")
    assert (ran.code, "a slot of a queue" in ran.error["message"], machines.triggers) == (2, True, 1)


def test_deploy_run_says_that_a_deployment_was_paused_while_it_was_queued(machines: Machines) -> None:
    assert machines.machine("a")(*ONE).code == 0
    machines.world.deployments["dep_demo"].fields["status"] = "paused"
    ran = machines.machine("b")(*ONE, "--json")
    assert (ran.code, "is paused" in ran.error["message"]) == (6, True)
    assert machines.machine("b")("key", "list", "--json").json == []


def test_deploy_run_of_several_waits_once_for_a_store_that_is_gone(
    shared: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_AWAY_FOR", 20.0)
    assert shared.machine("a")("deploy", "run", "dep_ask", *ONE[3:]).code == 0
    hurried(shared)
    began = shared.clock.now()

    def gone(request: httpx.Request, answer: Answer) -> httpx.Response:
        if "/memory_stores" in request.url.path and shared.clock.now() > began + 10:
            raise httpx.ConnectError("refused", request=request)
        return answer()

    words = ("deploy", "run", *["dep_demo"] * 5, "--allow-duplicates", *ONE[3:], "--json")
    ran = shared.machine("b", lie=gone)(*words)
    assert (ran.code, [run["exit_code"] for run in ran.json], shared.triggers) == (7, [7] * 5, 1)
    assert shared.clock.now() - began < 90


def test_deploy_run_frees_the_slot_of_a_session_that_was_deleted(machines: Machines) -> None:
    holder = machines.machine("a")("deploy", "run", "dep_ask", *ONE[3:], "--json").json
    ran = machines.machine("b")(*ONE, "--queue-timeout", "1m")
    assert ran.code == 3
    gone = machines.machine("c")("session", "delete", holder["session_id"], "--yes")
    assert gone.code == 0, gone.err
    began = machines.clock.time
    assert machines.machine("b")(*ONE, "--queue-timeout", "5m").code == 0
    assert machines.clock.time - began < 90


def test_deploy_run_asks_for_one_page_each_2_seconds_while_it_waits(machines: Machines) -> None:
    three = ("--at-most", "3", "--in", "repo")
    for _ in range(3):
        assert machines.machine("a")("deploy", "run", "dep_ask", *three).code == 0
    machines.sent.clear()
    ran = machines.machine("b")("deploy", "run", "dep_demo", *three, "--queue-timeout", "2m")
    assert ran.code == 3
    counts = Counter(machines.sent)
    assert counts.pop("GET /memory_stores/memstore_keys/memories", 0) <= 120 / LOOK_EVERY + 1
    assert counts.pop("GET /sessions") + counts["GET /deployment_runs"] <= 120 / READ_EVERY + 4
    assert counts.total() <= 60, counts  # those that came to rest, to ask


def test_deploy_run_counts_beside_a_group_what_others_started(machines: Machines) -> None:
    machines.world.start("dep_demo", origin="other", at=machines.clock.time - 1)
    ran = machines.machine("a")(*ONE)
    assert (ran.code, "beside repo: 1 session of its deployments at work that hold no slot" in ran.err) == (0, True)


def test_deploy_run_dry_run_shows_the_queue(machines: Machines) -> None:
    shown = machines.machine("a")(*ONE, "--dry-run", "--json").json
    assert (shown["at_most"], shown["group"], machines.triggers) == (1, "repo", 0)


def test_deploy_run_sends_nothing_where_the_store_goes_away_right_before_the_trigger(shared: Machines) -> None:
    def away(request: httpx.Request, answer: Answer) -> httpx.Response:
        if request.method == "POST" and "/memories/mem_" in request.url.path:
            raise httpx.ConnectError("refused", request=request)
        return answer()

    ran = shared.machine("a", lie=away)(*ONE, "--json")
    assert (ran.code, shared.triggers) == (7, 0), ran.err
    assert shared.machine("b")(*ONE).code == 0


def test_deploy_run_frees_the_slot_of_a_run_that_is_not_found_for_30_s_and_no_sooner(machines: Machines) -> None:
    holder = machines.machine("a")("deploy", "run", "dep_ask", *ONE[3:], "--json").json["id"]
    runs, began, hidden = machines.world.runs, machines.clock.time, machines.world.runs[holder]

    def flicker() -> None:
        """Let two replicas out of three not know the run, for less than half a minute each time."""
        is_known = (machines.clock.time - began) % 35 < 6
        runs.update({holder: hidden}) if is_known else runs.pop(holder, None)

    machines.clock.at_sleep = flicker
    assert machines.machine("b")(*ONE, "--queue-timeout", "2m").code == 3
    machines.clock.at_sleep = lambda: None
    runs.pop(holder, None)
    began = machines.clock.time
    assert machines.machine("b")(*ONE).code == 0
    assert 30 < machines.clock.time - began < 60


def test_deploy_run_frees_no_slot_of_a_run_of_another_account(machines: Machines) -> None:
    """Two accounts share a database, and neither sees the other's runs."""
    holder = machines.machine("a")("deploy", "run", "dep_ask", *ONE[3:], "--json").json["id"]
    missing = {"type": "error", "error": {"type": "not_found_error", "message": "Not here."}}

    def lie(request: httpx.Request, respond: Answer) -> httpx.Response:
        if holder in request.url.path or "dep_ask" in request.url.path:
            return httpx.Response(404, json=missing)
        answer = respond()
        if holder not in answer.read().decode() or "memor" in request.url.path:
            return answer
        return httpx.Response(200, json={"data": [], "has_more": False})

    ran = machines.machine("b", lie=lie)(*ONE, "--queue-timeout", "2m")
    assert (ran.code, len(machines.runs)) == (3, 1), ran.err
    assert ran.err.count(f"run {holder}, which holds the slot 'slot repo 1', cannot be found, nor can dep_ask") == 1
    assert "key free 'slot repo 1'" in ran.err


def stops_unreadably(request: httpx.Request, respond: Answer) -> httpx.Response:
    """Let a service say of calls that wait for an answer, but not why it stopped."""
    answer = respond()
    if not request.url.path.endswith("/events"):
        return answer
    body = answer.read().replace(b'"requires_action"', b'""')
    return httpx.Response(200, content=body, headers={"date": answer.headers["date"]})


def test_deploy_run_keeps_the_slot_of_a_run_that_may_wait_for_an_answer(machines: Machines) -> None:
    holder = machines.machine("a", lie=stops_unreadably)("deploy", "run", "dep_ask", *ONE[3:], "--wait", "--json")
    assert (holder.code, holder.json["error"]["type"]) == (1, "unreadable_stop_reason")
    ran = machines.machine("b", lie=stops_unreadably)(*ONE, "--queue-timeout", "2m")
    assert (ran.code, len(machines.runs)) == (3, 1), ran.err
    assert ran.err.count(f"run {holder.json['id']}, which holds the slot 'slot repo 1', stopped for a reason") == 1
    assert machines.machine("b")("key", "free", "slot repo 1", "--yes").code == 0
    assert machines.machine("b", lie=stops_unreadably)(*ONE).code == 0


def test_deploy_run_frees_the_slot_of_a_run_that_goes_on_after_a_stop_that_cannot_be_read(machines: Machines) -> None:
    holder = machines.machine("a", lie=stops_unreadably)("deploy", "run", "dep_ask", *ONE[3:], "--wait", "--json").json
    session = machines.world.sessions[holder["session_id"]]
    [asked] = session.waiting(machines.clock.time)
    answer = {"type": "user.tool_confirmation", "tool_use_id": asked, "result": "allow"}
    session.answer(machines.clock.time + 100, [answer])
    ran = machines.machine("b", lie=stops_unreadably)(*ONE, "--queue-timeout", "5m")
    assert (ran.code, len(machines.runs)) == (0, 2), ran.err
    assert ran.err.count(f"run {holder['id']}, which holds the slot 'slot repo 1', stopped for a reason") == 1


@pytest.mark.parametrize("wait", [(), ("--wait",)])
def test_deploy_run_at_most_1_starts_nothing_beside_a_run_that_may_wait(
    qoder: Qoder, world: World, wait: tuple[str, ...]
) -> None:
    qoder.clock = HastyClock(SPEED, now=qoder.clock.time)
    world.clock = qoder.clock.now
    qoder.transport = WithoutStreams(world, sleep=qoder.clock.sleep, lie=stops_unreadably)
    ran = qoder("deploy", "run", "dep_ask", "dep_demo", "--at-most", "1", "--json", *wait)
    assert (ran.code, [run["exit_code"] for run in ran.json]) == (7, [1 if wait else 0, 7]), ran.err
    assert len(world.started()) == 1


@pytest.mark.parametrize(
    ("status", "answer"),
    [(404, {"text": "<h1>Not here</h1>"}), (503, {"json": {"type": "error", "error": {"type": "api_error"}}})],
)
def test_deploy_run_frees_no_slot_by_what_is_not_the_apis_own(
    machines: Machines, status: int, answer: dict[str, Any]
) -> None:
    """While none is heard, it asks less and less often."""
    assert machines.machine("a")(*ONE).code == 0
    asked, lie = list[str](), refusing(machines, status, **answer)

    def counted(request: httpx.Request, respond: Answer) -> httpx.Response:
        asked.append(request.url.path)
        return lie(request, respond)

    ran = machines.machine("b", lie=counted)(*ONE, "--queue-timeout", "15m")
    assert (ran.code, len(machines.runs)) == (3, 1)
    assert 1 <= ran.err.count("the runs that hold slots cannot be read: ") <= 4
    assert sum("memories" not in path for path in asked) < 120


def test_deploy_run_leaves_the_queue_once_its_token_is_refused(machines: Machines) -> None:
    assert machines.machine("a")("deploy", "run", "dep_ask", *ONE[3:]).code == 0
    error = {"type": "error", "error": {"type": "authentication_error", "message": "Not you."}}
    began = machines.clock.time
    ran = machines.machine("b", lie=refusing(machines, 401, after=30, json=error))(*ONE, "--json")
    assert (ran.code, len(machines.runs), machines.clock.time - began < 100) == (4, 1, True)
    assert ran.error["message"].endswith("nothing was started")


def test_deploy_run_takes_no_run_for_a_killed_commands_that_may_be_anothers(machines: Machines) -> None:
    leave(machines, "sending", sent=machines.clock.time)
    for later in (1, 2):
        machines.world.start("dep_demo", origin="request", at=machines.clock.time + later)
    ran = machines.machine("a")(*ONE, "--queue-timeout", "5m")
    assert (ran.code, "qoder key free 'slot repo 1'" in ran.err, machines.triggers) == (3, True, 0)


def test_deploy_run_in_a_queue_counts_its_timeout_from_each_start(machines: Machines) -> None:
    hurried(machines)

    def jobs(seconds: float) -> list[str]:
        behaviour = Behaviour(turn(seconds=seconds))
        return [machines.world.add_deployment(name=f"{seconds}-{n}", behaviour=behaviour).id for n in range(3)]

    queued = ("--at-most", "1", "--in", "repo", "--wait", "--timeout", "9s", "--json")
    ran = machines.machine("a")("deploy", "run", *jobs(4.0), *queued)
    assert (ran.code, [run["status"] for run in ran.json]) == (0, ["completed"] * 3), ran.err
    ran = machines.machine("a")("deploy", "run", *jobs(20.0)[:2], *queued)
    assert (ran.code, [run["exit_code"] for run in ran.json]) == (124, [124, 124]), ran.err
    ran = machines.machine("a")("deploy", "run", jobs(3.0)[0], *queued)  # queued for longer than that
    assert (ran.code, ran.json["status"]) == (0, "completed"), ran.err
