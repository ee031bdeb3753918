"""A sub-agent that asks while the main agent works on: a wait notices it as it notices any other ask."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from tests.conftest import Qoder
from tests.support.asking import Asking, Asks, Event, Events, call
from tests.support.things import each_row, ok

WAIT = ("run", "wait", "drun_1", "--json")
SUB = {"session_thread_id": "sthr_2"}
ASKS = call(1, **SUB)
THREADS = "GET /sessions/sess_1/threads"
ROSTER = {"type": "coordinator", "agents": [{"type": "agent", "id": "agent_2", "version": 1}]}


@pytest.fixture(params=GENERATIONS)
def server(request: pytest.FixtureRequest, qoder: Qoder) -> Asking:
    made = Asking(qoder, request.param)
    if request.param == "legacy":
        made.lies["GET /deployment_runs/drun_1"] = lambda run: {**run, "status": "running", "error": None}
    return made


def works_on(server: Asking, asking: Event = ASKS, *, stands_apart: bool = False) -> Asks:
    """Put a session there whose main agent works on, with a message every other second, while a sub-agent asks."""
    session = server.sub_agent_asks("sess_1", asking, calls=3)
    session.moments[:] = [moment for moment in session.moments if moment.beat.type != "session.status_idle"]
    busy = [{"type": "agent.thinking"}] * 600
    server.tell(session, server.world.now() - 1, *busy, apart=2)
    if stands_apart:
        apart(server)
    return session


def has_roster(session: Asks) -> None:
    session.fields["agent"] = {**session.fields["agent"], "multiagent": ROSTER}


def apart(server: Asking) -> None:
    """Let what threads tell stand in logs of their own alone, whose events need not name them."""
    shown: dict[str, Events] = {}

    def split(page: Any) -> Any:
        shown["events"] = [event for event in page["data"] if event.get("session_thread_id") == "sthr_2"]
        return {**page, "data": [event for event in page["data"] if event not in shown["events"]]}

    def of_thread(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        path = request.url.path
        if path.endswith("/sess_1/threads"):
            rows = [("sthr_1", None, "running"), ("sthr_2", "sthr_1", "idle"), ("sthr_3", "sthr_1", "running")]
            data = [{"id": id, "parent_thread_id": parent, "status": status} for id, parent, status in rows]
            return ok({"data": data, "has_more": False})
        if path.endswith("/threads/sthr_2/events"):
            moments = server.sessions["sess_1"].past(server.world.now())
            told = [moment.beat.fields for moment in moments if moment.beat.fields.get("session_thread_id") == "sthr_2"]
            data = [{name: value for name, value in event.items() if name != "session_thread_id"} for event in told]
            return ok({"data": data, "has_more": False})
        return answer()

    server.lies["GET /sessions/sess_1/events"] = split
    server.lie = of_thread
    has_roster(server.sessions["sess_1"])


@pytest.mark.parametrize(
    ("stands_apart", "agent"),
    [
        (False, ROSTER),
        (True, ROSTER),
        *((True, of_no_roster) for of_no_roster in (None, {"id": "agent_1", "version": 1})),
    ],
)
def test_run_wait_exits_11_where_a_sub_agent_asks_while_the_main_agent_works(
    qoder: Qoder, server: Asking, stands_apart: bool, agent: Any
) -> None:
    works_on(server, stands_apart=stands_apart)
    if agent is not ROSTER:  # nothing shows whether there are other agents
        server.lies["GET /sessions/sess_1"] = lambda shown: {**shown, "agent": agent}
    began = qoder.clock.time
    ran = qoder(*WAIT, "--timeout", "10m")
    assert (ran.code, ran.json["status"], ran.json["requires_action"]) == (11, "running", {"event_ids": ["evt_1"]})
    assert ran.error["next"][1:4] == ["run", "pending", "drun_1"]
    is_soon = not stands_apart and server.world.generation == "current"
    assert 15 <= qoder.clock.time - began < (25 if is_soon else 90)
    [shown] = qoder("run", "pending", "drun_1", "--json").json
    assert (shown["call"], shown["thread"]) == ("evt_1", "sthr_2")
    assert qoder(*shown["answer"]["approve"][1:]).code == 0
    assert server.sent[-1]["events"][0]["session_thread_id"] == "sthr_2"
    assert server.taken == {"evt_1": 1}


@pytest.mark.parametrize("stands_apart", [False, True])
def test_report_and_run_get_say_that_a_sub_agent_asks(qoder: Qoder, server: Asking, stands_apart: bool) -> None:
    works_on(server, stands_apart=stands_apart)
    [waits] = qoder("report", "--since", "1d", "--json").json["needs_you"]
    assert (waits["kind"], [call["call"] for call in waits["calls"]]) == ("waits", ["evt_1"])
    assert (waits["run"], waits["since"][:19]) == ("drun_1", "2027-01-15T07:59:23")
    assert qoder("run", "get", "drun_1", "--exit-status").code == 8
    run = qoder("run", "get", "drun_1", "--json").json
    is_told = not stands_apart or server.world.generation == "legacy"
    assert run.get("requires_action") == ({"event_ids": ["evt_1"]} if is_told else None)


def test_run_wait_goes_on_where_a_sub_agent_was_answered_meanwhile(qoder: Qoder, server: Asking) -> None:
    session = works_on(server)
    at = server.world.now() + 8
    reply = {"type": "user.tool_confirmation", "tool_use_id": "evt_1", "result": "allow"}
    server.tell(session, at, reply, {"type": "session.thread_status_running", **SUB})
    server.turn(session, at + 100)
    server.lies.pop("GET /deployment_runs/drun_1", None)
    ran = qoder(*WAIT, "--timeout", "10m")
    assert (ran.code, ran.json["status"]) == (0, "completed")


def test_run_wait_counts_from_the_first_of_sub_agents_that_ask_one_after_the_other(qoder: Qoder) -> None:
    server = Asking(qoder, "current")
    session = works_on(server)
    for number in range(2, 9):
        sub = {"session_thread_id": f"sthr_{number + 1}"}
        asking = {**call(number), "evaluated_permission": "ask", **sub}
        stop = {"type": "requires_action", "event_ids": [asking["id"]]}
        told = {"type": "session.thread_status_idle", "stop_reason": stop, **sub}
        server.tell(session, server.world.now() + 4 * number, asking, told)
    began = qoder.clock.time
    ran = qoder(*WAIT)
    assert (ran.code, "evt_1" in ran.json["requires_action"]["event_ids"]) == (11, True)
    assert qoder.clock.time - began < 25


def test_run_wait_lists_threads_once_a_minute_and_only_where_there_is_another_agent(qoder: Qoder) -> None:
    server = Asking(qoder, "current")
    session = works_on(server, {**ASKS, "evaluated_permission": "allow"})
    session.moments[:] = [moment for moment in session.moments if "thread" not in moment.beat.type]
    for shown, most in ({}, 4), ({"model": "auto"}, 0), ({"multiagent": None}, 0), ({"multiagent": ROSTER}, 4):
        session.fields["agent"] = {**session.fields["agent"], **shown}
        server.requests.clear()
        assert qoder(*WAIT, "--timeout", "4m").code == 124
        assert most - 1 <= server.asked.count(THREADS) <= most
        assert server.asked.count("GET /sessions/sess_1") <= 8


@pytest.mark.parametrize("rows_show_agents", [False, True])
@pytest.mark.parametrize("stands_apart", [False, True])
def test_run_wait_of_many_notices_that_a_sub_agent_of_one_asks(
    qoder: Qoder, server: Asking, stands_apart: bool, rows_show_agents: bool
) -> None:
    for number in range(2, 13):
        session = server.asks(f"sess_{number}")
        session.moments[:] = [moment for moment in session.moments if moment.beat.type != "session.status_idle"]
    works_on(server, stands_apart=stands_apart)
    for session in server.sessions.values():
        session.fields["agent"] = {**session.fields["agent"], "multiagent": None}
    has_roster(server.sessions["sess_1"])
    if not rows_show_agents:
        server.lies["GET /sessions"] = each_row(lambda row: row | {"agent": None})
    ids = [f"drun_{number}" for number in range(1, 13)]
    ran = qoder("run", "wait", *ids, "--timeout", "150", "--json")
    assert [item["exit_code"] for item in ran.json] == [11, *[124] * 11]
    assert len(server.requests) < 12 * 12


def test_run_wait_lets_a_policy_answer_what_a_sub_agent_asks(qoder: Qoder, server: Asking, tmp_path: Path) -> None:
    session = works_on(server)
    (policy := tmp_path / "policy.yaml").write_text("agents: all\ndeny:\n  - tool: Bash\n    because: no\n")
    policy.chmod(0o600)
    server.turn(session, server.world.now() + 120)
    server.lies.pop("GET /deployment_runs/drun_1", None)
    ran = qoder(*WAIT, "--policy", str(policy), "--timeout", "10m")
    assert (ran.code, [event["result"] for event in server.sent[0]["events"]]) == (0, ["deny"])
    assert server.sent[0]["events"][0]["session_thread_id"] == "sthr_2"
