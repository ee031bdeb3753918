"""Which turn of a session `wait`, `get`, `result` and `send --wait` tell of, whatever the order in which it is told."""

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.sessions.story import TurnStory
from tests.conftest import Qoder
from tests.support.asking import Event, Server, Session, call, stamp

MESSAGE: Event = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}
RUNNING: Event = {"type": "session.status_running"}
RETRIED: Event = {"type": "session.error", "error": {"message": "Busy.", "retry_status": "retrying"}}
UNPAID = {"type": "billing_error", "message": "Pay.", "retry_status": "exhausted"}


def idle(reason: str | None = "end_turn", **more: Any) -> Event:
    return {"type": "session.status_idle", "stop_reason": {"type": reason, **more} if reason else None}


def says(text: str) -> Event:
    return {"type": "agent.message", "content": [{"type": "text", "text": text}]}


@pytest.fixture(params=["current", "legacy"])
def server(qoder: Qoder, request: pytest.FixtureRequest) -> Server:
    made = Server(qoder.clock, generation=request.param)
    qoder.transport = made
    session = made.session("sess_1", run=False)
    made._tell(session, session.told[-1][0] - 1, says("Old."))
    return made


def plays(server: Server, *events: Event, apart: float = 0.5) -> None:
    """Let a message be taken, and be told of with these events, in this order."""

    def take(session: Session, sent: list[Event]) -> httpx.Response:
        accepted: list[Event] = []
        for number, event in enumerate(events):
            told = server._tell(session, server.clock.time + apart * number, event)
            accepted += [told] if event["type"] == "user.message" else []
        return httpx.Response(200, json={"data": accepted})

    server._take = take  # type: ignore[assignment, method-assign]  # a server that tells it in its own way


ENDS_WELL = {
    "the message first": (MESSAGE, RUNNING, says("New."), idle()),
    "work first, as servers show it": (RUNNING, MESSAGE, says("New."), idle()),
    "an idle before work": (MESSAGE, idle(), RUNNING, says("New."), idle()),
    "two idles before work": (MESSAGE, idle(), idle(None), RUNNING, says("New."), idle()),
    "an idle of another reason before work": (MESSAGE, idle("cancelled"), RUNNING, says("New."), idle()),
    "no start of work": (MESSAGE, says("New."), idle()),
    "no start of work, and an idle before it": (MESSAGE, idle(), says("New."), idle()),
    "sent while it worked": (RUNNING, says("Before."), MESSAGE, idle(), RUNNING, says("New."), idle()),
    "sent while it failed": (RUNNING, says("Before."), MESSAGE, idle("budget_reached"), RUNNING, says("New."), idle()),
}


@pytest.mark.parametrize("told", ENDS_WELL)
@pytest.mark.parametrize("times", [True, False])
def test_the_first_idle_after_work_ends_a_message(qoder: Qoder, server: Server, told: str, times: bool) -> None:
    plays(server, *ENDS_WELL[told])
    if not times:
        server.told = lambda events: [{k: v for k, v in event.items() if k != "processed_at"} for event in events]
    ran = qoder("session", "send", "sess_1", "-m", "hello", "--wait", "--result")
    assert (ran.code, ran.out) == (0, "New.\n"), ran.err
    for words in (("wait", "sess_1", "--result"), ("result", "sess_1")):
        ran = qoder("session", *words)
        assert (ran.code, ran.out) == (0, "New.\n"), ran.err
    assert qoder("session", "get", "sess_1", "--json").json["turn"]["status"] == "completed"


@pytest.mark.parametrize("told", ENDS_WELL)
def test_until_then_it_is_running(qoder: Qoder, server: Server, told: str) -> None:
    plays(server, *ENDS_WELL[told][:-1])
    assert qoder("session", "send", "sess_1", "-m", "hello").code == 0
    qoder.clock.time += 10
    assert qoder("session", "result", "sess_1").code == 8
    assert qoder("session", "get", "sess_1", "--json").json["turn"]["status"] == "running"
    assert qoder("session", "wait", "sess_1", "--timeout", "20s").code == 124


@pytest.mark.parametrize("pause", [0, 3])
def test_right_after_a_message_the_turn_before_is_not_told(qoder: Qoder, server: Server, pause: float) -> None:
    assert (qoder("session", "result", "sess_1").out, qoder("session", "wait", "sess_1").code) == ("Old.\n", 0)
    plays(server, MESSAGE)
    assert qoder("session", "send", "sess_1", "-m", "hello").code == 0
    qoder.clock.time += pause
    assert qoder("session", "result", "sess_1").code == 8
    assert qoder("session", "get", "sess_1", "--json").json["turn"]["status"] == "running"
    server.turn(server.sessions["sess_1"], qoder.clock.time + 9, "New.")
    ran = qoder("session", "wait", "sess_1", "--result")
    assert (ran.code, ran.out) == (0, "New.\n")


FAILS = {
    "budget": ((RUNNING, MESSAGE, says("Half."), idle("budget_reached")), "budget_reached"),
    "at once": (
        (RUNNING, MESSAGE, {"type": "session.error", "error": UNPAID}, idle("retries_exhausted")),
        "retries_exhausted",
    ),
    "at once, after an error that is retried": (
        (RUNNING, RETRIED, MESSAGE, {"type": "session.error", "error": UNPAID}, idle("retries_exhausted")),
        "retries_exhausted",
    ),
    "at once, the message first": (
        (MESSAGE, RUNNING, {"type": "session.error", "error": UNPAID}, idle(None)),
        "billing_error",
    ),
    "terminated": ((MESSAGE, {"type": "session.status_terminated"}), "session_terminated"),
}


@pytest.mark.parametrize("told", FAILS)
def test_a_message_that_fails_is_1(qoder: Qoder, server: Server, told: str) -> None:
    events, kind = FAILS[told]
    plays(server, *events)
    ran = qoder("session", "send", "sess_1", "-m", "hello", "--wait", "--json")
    assert (ran.code, ran.json["turn"]["error"]["type"]) == (1, kind)
    ran = qoder("session", "wait", "sess_1", "--json")
    assert (ran.code, ran.json["turn"]["error"]["type"]) == (1, kind)


RESTS = {
    "nothing": (MESSAGE,),
    "an idle": (MESSAGE, idle()),
    "an idle of another reason": (MESSAGE, idle("budget_reached")),
    "the end of what it did before": (RUNNING, says("Before."), MESSAGE, idle()),
}


@pytest.mark.parametrize("told", RESTS)
def test_a_message_that_is_not_worked_on_is_10_after_a_minute(qoder: Qoder, server: Server, told: str) -> None:
    plays(server, *RESTS[told])
    began = qoder.clock.time
    ran = qoder("session", "send", "sess_1", "-m", "hello", "--wait", "--json")
    assert (ran.code, ran.error["run_state"], ran.error["session_id"]) == (10, "unknown", "sess_1")
    assert "no work was seen after the message" in ran.error["message"]
    assert 60 <= qoder.clock.time - began < 75
    assert ran.json["turn"]["error"]["type"] == "no_work_seen"
    for words in (("wait", "sess_1"), ("result", "sess_1")):
        began = qoder.clock.time
        ran = qoder("session", *words)
        assert (ran.code, ran.errors[0].startswith("error: no work was seen after the message")) == (10, True)
        assert qoder.clock.time - began < 2
    assert qoder("session", "get", "sess_1", "--json").json["turn"]["error"]["type"] == "no_work_seen"


def test_a_session_that_says_it_works_is_waited_for(qoder: Qoder, server: Server) -> None:
    plays(server, MESSAGE)
    server.sessions["sess_1"].object["status"] = "running"
    assert qoder("session", "send", "sess_1", "-m", "hello", "--wait", "--timeout", "3m").code == 124
    assert qoder("session", "result", "sess_1").code == 8


def later(server: Server, seconds: float, *events: Event) -> None:
    """Let these events follow much later."""
    for number, event in enumerate(events):
        server._tell(server.sessions["sess_1"], server.clock.time + seconds + number, event)


@pytest.mark.parametrize("told", [(MESSAGE, says("Hm.")), (MESSAGE, RUNNING), (RUNNING, says("Before."), MESSAGE)])
@pytest.mark.parametrize("ignores", [(), ("types[]",)])
def test_work_that_takes_longer_than_a_minute_is_waited_for(
    qoder: Qoder, server: Server, told: tuple[Event, ...], ignores: tuple[str, ...]
) -> None:
    server.ignores = ignores
    plays(server, *told)
    later(server, 200, *([idle()] if told[0] == RUNNING else ()), RUNNING, says("New."), idle())
    ran = qoder("session", "send", "sess_1", "-m", "hello", "--wait", "--result")
    assert (ran.code, ran.out) == (0, "New.\n"), ran.err


def test_a_message_after_which_the_agent_asks_is_waited_for(qoder: Qoder, server: Server) -> None:
    plays(server, MESSAGE, idle("requires_action", event_ids=["evt_1"]))
    words = ("--wait", "--on-ask", "wait", "--timeout", "3m")
    assert qoder("session", "send", "sess_1", "-m", "hello", *words).code == 124


def test_the_minute_of_rest_begins_with_the_idle(qoder: Qoder, server: Server) -> None:
    plays(server, MESSAGE)
    later(server, 50, idle())
    began = qoder.clock.time
    assert qoder("session", "send", "sess_1", "-m", "hello", "--wait").code == 10
    assert 110 <= qoder.clock.time - began < 125


# What waits no more


def answers(qoder: Qoder, server: Server, *ids: str) -> None:
    """Let somebody answer calls, and the agent go on only much later."""
    session = server.sessions["sess_2"]
    for id in ids:
        reply = {"type": "user.tool_confirmation", "tool_use_id": id, "result": "allow"}
        server._tell(session, qoder.clock.time - 1, reply)
    if len(ids) == 2:
        server.turn(session, qoder.clock.time + 40)


def test_a_call_that_was_answered_ends_no_wait_with_11(qoder: Qoder, server: Server) -> None:
    server.session("sess_2", call(1), call(2))
    answers(qoder, server, "evt_1", "evt_2")
    assert "requires_action" not in qoder("run", "get", "drun_2", "--json").json
    assert "requires_action" not in qoder("session", "get", "sess_2", "--json").json["turn"]
    for words in (("run", "wait", "drun_2"), ("session", "wait", "sess_2")):
        ran = qoder(*words, "--json")
        assert ran.code == 0, ran.err


def test_the_calls_that_are_left_are_named_and_end_a_wait_with_11(qoder: Qoder, server: Server) -> None:
    server.session("sess_2", call(1), call(2))
    answers(qoder, server, "evt_1")
    assert qoder("run", "get", "drun_2", "--json").json["requires_action"] == {"event_ids": ["evt_2"]}
    for words in (("run", "wait", "drun_2"), ("session", "wait", "sess_2")):
        ran = qoder(*words, "--json")
        assert (ran.code, ran.error["message"].endswith("waits for an answer to evt_2")) == (11, True)


def test_what_is_answered_during_a_wait_is_not_named_at_its_end(qoder: Qoder, server: Server) -> None:
    session = server.session("sess_2", call(1), call(2))
    at = qoder.clock.time + 6

    def answer() -> None:
        if qoder.clock.time >= at and "evt_1" in session.waiting:
            session.waiting.remove("evt_1")
            reply = {"type": "user.tool_confirmation", "tool_use_id": "evt_1", "result": "allow"}
            server._tell(session, at, reply)

    qoder.clock.at_sleep = answer
    ran = qoder("run", "wait", "drun_2", "--json")
    assert (ran.code, ran.json["requires_action"]) == (11, {"event_ids": ["evt_2"]})
    assert ran.error["message"].endswith("waits for an answer to evt_2")


def test_a_call_that_is_named_again_ends_a_wait_with_11(qoder: Qoder, server: Server) -> None:
    session = server.session("sess_2", call(1))
    answers(qoder, server, "evt_1")
    server._tell(session, qoder.clock.time - 0.5, idle("requires_action", event_ids=["evt_1"]))
    assert qoder("run", "get", "drun_2", "--json").json["requires_action"] == {"event_ids": ["evt_1"]}
    assert qoder("run", "wait", "drun_2").code == 11


# A session that is archived


@pytest.mark.parametrize("age", [0.0, 3600.0])
@pytest.mark.parametrize("told", ["asks", "works", "was told something"])
def test_waiting_for_an_archived_session_ends_with_9(qoder: Qoder, server: Server, told: str, age: float) -> None:
    session = server.session("sess_2", *([call(1)] if told == "asks" else []), run=False)
    if told != "asks":
        event = RUNNING if told == "works" else MESSAGE
        server._tell(session, qoder.clock.time - 10, event)
    session.object["archived_at"] = stamp(qoder.clock.time - age)
    words = ("--on-ask", "wait") if told == "asks" else ()
    ran = qoder("session", "wait", "sess_2", *words, "--json")
    assert (ran.code, ran.json["turn"]["error"]["type"]) == (9, "session_archived"), ran.err
    assert ran.error["message"] == "the outcome of session sess_2 is unknown: it was archived before its turn ended"
    assert qoder("session", "result", "sess_2").code == 9


def test_a_session_that_is_archived_during_the_wait_ends_it(qoder: Qoder, server: Server) -> None:
    session = server.session("sess_2", run=False)
    server._tell(session, qoder.clock.time - 10, RUNNING)
    at = qoder.clock.time + 300

    def archive() -> None:
        if qoder.clock.time >= at:
            session.object["archived_at"] = session.object["archived_at"] or stamp(at)

    qoder.clock.at_sleep = archive
    assert qoder("session", "wait", "sess_2").code == 9
    assert at < qoder.clock.time < at + 200


def test_a_turn_that_ends_right_after_its_session_was_archived_has_its_outcome(qoder: Qoder, server: Server) -> None:
    session = server.session("sess_2", run=False)
    server.turn(session, qoder.clock.time + 20, "Late.")
    server._tell(session, qoder.clock.time - 1, RUNNING)
    session.object["archived_at"] = stamp(qoder.clock.time)
    ran = qoder("session", "wait", "sess_2", "--result")
    assert (ran.code, ran.out) == (0, "Late.\n")


def test_an_archived_session_whose_turn_ended_has_its_outcome(qoder: Qoder, server: Server) -> None:
    server.sessions["sess_1"].object["archived_at"] = stamp(qoder.clock.time - 3600)
    ran = qoder("session", "wait", "sess_1", "--result")
    assert (ran.code, ran.out) == (0, "Old.\n")


# Read with few requests, as if all was read

KINDS = (MESSAGE, RUNNING, says("Hm."), idle(), idle("cancelled"), idle("requires_action", event_ids=["evt_1"]))
REPLY: Event = {"type": "user.tool_confirmation", "tool_use_id": "evt_1", "result": "allow"}


@given(
    st.lists(st.sampled_from([*KINDS, {"type": "session.error", "error": UNPAID}, REPLY]), max_size=9),
    st.sampled_from([(), ("types[]",), ("order",), ("types[]", "order")]),
)
def test_what_is_told_of_a_turn_is_what_its_whole_story_says(
    qoder: Qoder, kinds: list[Event], ignores: tuple[str, ...]
) -> None:
    server = Server(qoder.clock, ignores=ignores)
    qoder.transport = server
    session = server.session("sess_1", run=False)
    for number, event in enumerate(kinds):
        server._tell(session, qoder.clock.time - 20 + number, event)
    story = TurnStory()
    story.tell([event for _, event in session.told])
    turn = qoder("session", "get", "sess_1", "--json").json["turn"]
    assert turn["status"] == (story.ending.status if story.ending else "running")
    assert turn.get("requires_action") == ({"event_ids": ["evt_1"]} if story.asks and not story.ending else None)
