"""Which turn of a session `wait`, `get`, `result` and `send --wait` tell of, whatever the order in which it is told."""

from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.records import stamp
from qoder_cli.sandbox.wire import GENERATIONS
from tests.conftest import Qoder
from tests.support.asking import RUNNING, Asking, Event, call, says
from tests.support.cells import checkerboard
from tests.support.things import each_row, ok

MESSAGE: Event = says("hello", "user.message")
RETRIED: Event = {"type": "session.error", "error": {"message": "Busy.", "retry_status": "retrying"}}
UNPAID: Event = {
    "type": "session.error",
    "error": {"type": "billing_error", "message": "Pay.", "retry_status": "exhausted"},
}
REPLY: Event = {"type": "user.tool_confirmation", "tool_use_id": "evt_1", "result": "allow"}
SEND = ("session", "send", "sess_1", "-m", "hello")
LONG_AGO = "2026-06-14T08:54:06Z"


def idle(reason: str | None = "end_turn", **more: Any) -> Event:
    return {"type": "session.status_idle", "stop_reason": {"type": reason, **more} if reason else None}


@pytest.fixture(params=["current", "legacy"])
def server(qoder: Qoder, request: pytest.FixtureRequest) -> Asking:
    made = Asking(qoder, request.param)
    session = made.asks("sess_1", run=False)
    made.tell(session, session.moments[-1].at - 1, says("Old."))
    return made


def plays(server: Asking, *events: Event, apart: float = 0.5) -> None:
    """Let a message be taken, and be told of with these events, in this order."""

    def take(request: httpx.Request, answer: object) -> httpx.Response:
        new = server.tell(server.sessions["sess_1"], server.world.now(), *events, apart=apart)
        return ok({"data": [each for each in new if each["type"] == "user.message"]})

    server.bends("POST", take)


BEFORE = (RUNNING, says("Before."), MESSAGE)
ENDS_WELL = {
    "the message first": (MESSAGE, RUNNING, says("New."), idle()),
    "work first, as servers show it": (RUNNING, MESSAGE, says("New."), idle()),
    "an idle before work": (MESSAGE, idle(), RUNNING, says("New."), idle()),
    "two idles before work": (MESSAGE, idle(), idle(None), RUNNING, says("New."), idle()),
    "an idle of another reason before work": (MESSAGE, idle("cancelled"), RUNNING, says("New."), idle()),
    "no start of work": (MESSAGE, says("New."), idle()),
    "no start of work, and an idle before it": (MESSAGE, idle(), says("New."), idle()),
    "sent while it worked": (*BEFORE, idle(), RUNNING, says("New."), idle()),
    "sent while it failed": (*BEFORE, idle("budget_reached"), RUNNING, says("New."), idle()),
}


@pytest.mark.parametrize(("told", "server"), checkerboard(ENDS_WELL, GENERATIONS), indirect=["server"])
@pytest.mark.few(6)
def test_session_send_ends_with_the_first_idle_after_work(qoder: Qoder, server: Asking, told: str) -> None:
    plays(server, *ENDS_WELL[told])
    if server.world.generation == "legacy":  # without times too
        server.lies["GET /sessions/sess_1/events"] = each_row(
            lambda row: {k: v for k, v in row.items() if k != "processed_at"}
        )
    for line in (" ".join(SEND) + " --wait --result", "session wait sess_1 --result", "session result sess_1"):
        ran = qoder(*line.split())
        assert (ran.code, ran.out) == (0, "New.\n"), ran.err
    assert qoder("session", "get", "sess_1", "--json").json["turn"]["status"] == "completed"


@pytest.mark.parametrize("pause", [0, 3])
def test_session_result_does_not_tell_of_the_turn_before_a_message(qoder: Qoder, server: Asking, pause: float) -> None:
    assert (qoder("session", "result", "sess_1").out, qoder("session", "wait", "sess_1").code) == ("Old.\n", 0)
    plays(server, MESSAGE)
    assert qoder(*SEND).code == 0
    qoder.clock.time += pause
    assert qoder("session", "result", "sess_1").code == 8
    assert qoder("session", "get", "sess_1", "--json").json["turn"]["status"] == "running"
    server.turn(server.sessions["sess_1"], qoder.clock.time + 9, "New.")
    ran = qoder("session", "wait", "sess_1", "--result")
    assert (ran.code, ran.out) == (0, "New.\n")
    judged = qoder("session", "wait", "sess_1", "--require-satisfied").err
    assert "error: session sess_1 completed, but it has no outcome evaluation\nhint: see: qoder session get" in judged


EXHAUSTED = idle("retries_exhausted")
FAILS: dict[str, tuple[tuple[Event, ...], str]] = {
    "budget": ((RUNNING, MESSAGE, says("Half."), idle("budget_reached")), "budget_reached"),
    "at once": ((RUNNING, MESSAGE, UNPAID, EXHAUSTED), "retries_exhausted"),
    "at once, after an error that is retried": ((RUNNING, RETRIED, MESSAGE, UNPAID, EXHAUSTED), "retries_exhausted"),
    "at once, the message first": ((MESSAGE, RUNNING, UNPAID, idle(None)), "billing_error"),
    "terminated": ((MESSAGE, {"type": "session.status_terminated"}), "session_terminated"),
}


@pytest.mark.parametrize("told", FAILS)
@pytest.mark.few(3)
def test_session_send_exits_1_when_the_turn_fails(qoder: Qoder, server: Asking, told: str) -> None:
    events, kind = FAILS[told]
    plays(server, *events)
    for words in ((*SEND, "--wait"), ("session", "wait", "sess_1")):
        ran = qoder(*words, "--json")
        assert (ran.code, ran.json["turn"]["error"]["type"]) == (1, kind)
    assert "Old." not in qoder("session", "result", "sess_1").out


RESTS = {
    "nothing": (MESSAGE,),
    "an idle": (MESSAGE, idle()),
    "an idle of another reason": (MESSAGE, idle("budget_reached")),
    "the end of what it did before": (*BEFORE, idle()),
}


@pytest.mark.parametrize(("told", "server"), checkerboard(RESTS, GENERATIONS), indirect=["server"])
@pytest.mark.few(3)
def test_session_send_exits_10_after_a_minute_without_work(qoder: Qoder, server: Asking, told: str) -> None:
    plays(server, *RESTS[told])
    began = qoder.clock.time
    ran = qoder(*SEND, "--wait", "--json")
    assert (ran.code, ran.error["run_state"], ran.error["session_id"]) == (10, "unknown", "sess_1")
    assert "no work was seen after the message" in ran.error["message"]
    assert 60 <= qoder.clock.time - began < 75
    assert ran.json["turn"]["error"]["type"] == "no_work_seen"
    for verb in ("wait", "result"):
        began = qoder.clock.time
        ran = qoder("session", verb, "sess_1")
        assert (ran.code, ran.errors[0][:41]) == (10, "error: no work was seen after the message")
        assert qoder.clock.time - began < 2
    assert qoder("session", "get", "sess_1", "--json").json["turn"]["error"]["type"] == "no_work_seen"


@pytest.mark.parametrize(("at", "is_readable"), [(None, True), (None, False), (LONG_AGO, False)])
def test_session_send_exits_10_after_a_minute_without_work_however_it_is_told(
    qoder: Qoder, server: Asking, at: str | None, is_readable: bool
) -> None:
    plays(server, MESSAGE)
    server.tells(lambda events: [{**event, "processed_at": at, "created_at": at} for event in events])
    if not is_readable:
        server.late.append(lambda: server.faults.add("session:503*inf"))
    for words in [(*SEND, "--wait"), ("session", "wait", "sess_1")][: 1 + is_readable]:
        began = qoder.clock.time
        assert qoder(*words, "--timeout", "3m").code == 10
        assert 60 <= qoder.clock.time - began < 75


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"archived_at": "2026-06-14T08:54:06Z"}, "is archived"), ({"status": "terminated"}, "was term")],
)
def test_session_send_sends_nothing_to_a_session_that_takes_no_messages(
    qoder: Qoder, server: Asking, fields: dict[str, str], why: str
) -> None:
    server.lies["GET /sessions/sess_1"] = lambda session: {**session, **fields}
    ran = qoder(*SEND)
    assert (ran.code, server.writes, f"session sess_1 {why}" in ran.err) == (6, [], True)
    server.meanwhile.append(lambda: server.lies.update(lies))
    lies, server.lies = server.lies, {}
    server.faults.add("send:409")
    assert (qoder(*SEND, "--when-idle").code, len(server.writes)) == (6, 1)


@pytest.mark.parametrize("why", ["the session says that it works", "the agent asks"])
def test_session_send_waits_on_while_the_session_works_or_asks(qoder: Qoder, server: Asking, why: str) -> None:
    asks = [idle("requires_action", event_ids=["evt_1"])] if why == "the agent asks" else []
    plays(server, MESSAGE, *asks)
    server.lies["GET /sessions/sess_1"] = lambda session: {**session, "status": "idle" if asks else "running"}
    assert qoder(*SEND, "--wait", "--on-ask", "wait", "--timeout", "90").code == 124
    assert qoder("session", "result", "sess_1").code == 8


def later(server: Asking, seconds: float, *events: Event) -> None:
    server.tell(server.sessions["sess_1"], server.world.now() + seconds, *events, apart=1)


FIRST = ((MESSAGE, says("Hm.")), (MESSAGE, RUNNING), BEFORE)


@pytest.mark.parametrize(("told", "ignores"), checkerboard(FIRST, [(), ("types[]",)]))
@pytest.mark.few(2)
def test_session_send_waits_for_work_that_begins_late(
    qoder: Qoder, server: Asking, ignores: tuple[str, ...], told: tuple[Event, ...]
) -> None:
    server.ignores = ignores
    plays(server, *told)
    later(server, 100, *([idle()] if told is BEFORE else ()), RUNNING, says("New."), idle())
    ran = qoder(*SEND, "--wait", "--result")
    assert (ran.code, ran.out) == (0, "New.\n"), ran.err


def test_session_send_does_not_take_what_the_session_did_before_for_the_outcome(qoder: Qoder, server: Asking) -> None:
    session = server.asks("sess_1", run=False)
    server.tell(session, session.moments[-1].at + 1, RUNNING, idle("budget_reached"))
    assert qoder("session", "wait", "sess_1").code == 1
    server.lag = 3.0
    ran = qoder(*SEND, "--wait", "--json")
    assert (ran.code, ran.json["turn"]["status"]) == (0, "completed")


def test_session_wait_tells_of_the_last_turn_of_a_log_of_many_pages(qoder: Qoder, server: Asking) -> None:
    session = server.sessions["sess_1"]
    turns = [MESSAGE, RUNNING, *[idle()] * 150, MESSAGE, RUNNING, EXHAUSTED]
    server.tell(session, session.moments[-1].at + 1, *turns, apart=0.03)
    qoder.clock.time += 9
    assert qoder("session", "wait", "sess_1").code == 1


# A session as a run is waited for, read and cancelled.


def test_session_wait_ends_when_it_rests_and_its_result_is_its_last_message(qoder: Qoder, server: Asking) -> None:
    session = server.asks("sess_1")
    server.turn(session, qoder.clock.time + 30, "The second turn.")
    qoder.clock.time += 31
    assert qoder("session", "result", "sess_1").code == 8
    ran = qoder("session", "wait", "sess_1", "--json")
    assert (ran.code, ran.json["id"], ran.json["turn"]["status"]) == (0, "sess_1", "completed")
    assert ran.json["status"] == "idle"  # as it is now
    ran = qoder("session", "result", "sess_1")
    assert (ran.code, ran.out) == (0, "The second turn.\n")
    assert qoder("session", "result", "drun_1", "--json").json["result"] == "The second turn."
    assert "The second turn." in qoder("session", "logs", "sess_1").out
    assert qoder("session", "logs", "sess_1", "--follow", "--tail", "1").code == 0


def test_session_cancel_waits_until_it_is_true_and_does_nothing_twice(qoder: Qoder, server: Asking) -> None:
    session = server.asks("sess_1", call(1), run=False)
    server.meanwhile.append(lambda: server.tell(session, qoder.clock.time + 1, idle("cancelled")))
    ran = qoder("session", "cancel", "sess_1", "--yes", "--json")
    assert (ran.code, ran.json["turn"]["error"]["type"]) == (0, "cancelled")
    ran = qoder("session", "cancel", "sess_1", "--yes")
    assert ran.code == 0
    assert "already finished" in ran.err
    assert server.asked.count("POST /sessions/sess_1/cancel") == 1
    ran = qoder("session", "cancel", "drun_9", "sess_1", "--yes", "--json")  # one that is not there stops no other
    assert [item["exit_code"] for item in ran.json] == [5, 0]


# What waits no more.

WAITS = pytest.mark.parametrize("line", ["run wait drun_2", "session wait sess_2"])


def answers(qoder: Qoder, server: Asking, *ids: str) -> None:
    """Let somebody answer calls, and the agent go on only much later."""
    for id in ids:
        server.tell(server.sessions["sess_2"], qoder.clock.time - 1, {**REPLY, "tool_use_id": id})


@WAITS
@pytest.mark.parametrize("answered", [1, 2])
@pytest.mark.few(3)
def test_session_wait_exits_11_only_for_calls_that_wait(qoder: Qoder, server: Asking, line: str, answered: int) -> None:
    session = server.asks("sess_2", call(1), call(2))
    answers(qoder, server, *["evt_1", "evt_2"][:answered])
    left = {"event_ids": ["evt_2"]} if answered == 1 else None
    assert qoder("run", "get", "drun_2", "--json").json.get("requires_action") == left
    assert qoder("session", "get", "sess_2", "--json").json["turn"].get("requires_action") == left
    if not left:
        server.turn(session, qoder.clock.time + 40)
    ran = qoder(*line.split(), "--json")
    assert ran.code == (11 if left else 0), ran.err
    assert not left or ran.error["message"].endswith("waits for an answer to evt_2")


def test_run_wait_does_not_name_what_was_answered_meanwhile(qoder: Qoder, server: Asking) -> None:
    session = server.asks("sess_2", call(1), call(2))
    at = qoder.clock.time + 6

    def answer() -> None:
        if qoder.clock.time >= at and "evt_1" in session.waiting(at):
            server.tell(session, at, REPLY)

    qoder.clock.at_sleep = answer
    ran = qoder("run", "wait", "drun_2", "--json")
    assert (ran.code, ran.json["requires_action"]) == (11, {"event_ids": ["evt_2"]})
    assert ran.error["message"].endswith("waits for an answer to evt_2")


def test_run_wait_exits_11_for_a_call_that_is_named_again(qoder: Qoder, server: Asking) -> None:
    session = server.asks("sess_2", call(1))
    answers(qoder, server, "evt_1")
    server.tell(session, qoder.clock.time - 0.5, idle("requires_action", event_ids=["evt_1"]))
    assert qoder("run", "get", "drun_2", "--json").json["requires_action"] == {"event_ids": ["evt_1"]}
    assert qoder("run", "wait", "drun_2").code == 11


def test_run_wait_gives_each_stop_of_an_agent_its_own_time(qoder: Qoder, server: Asking) -> None:
    session, began = server.asks("sess_2", call(1)), qoder.clock.time
    server.tell(session, began + 10, REPLY, RUNNING, call(2), idle("requires_action", event_ids=["evt_2"]))
    assert (qoder("run", "wait", "drun_2").code, qoder.clock.time - began >= 25) == (11, True)


# A session that is archived.


@pytest.mark.parametrize(("newest", "age"), checkerboard(["asks", "works", "was told something"], [0.0, 3600.0, None]))
def test_session_wait_exits_9_for_an_archived_session(
    qoder: Qoder, server: Asking, newest: str, age: float | None
) -> None:
    session = server.asks("sess_2", *([call(1)] if newest == "asks" else []))
    if newest != "asks":
        server.tell(session, qoder.clock.time - 10, RUNNING if newest == "works" else MESSAGE)
    session.fields["archived_at"] = "nobody knows when" if age is None else stamp(qoder.clock.time - age)
    ran = qoder("session", "wait", "sess_2", "--on-ask", "wait", "--json")
    assert (ran.code, ran.json["turn"]["error"]["type"]) == (9, "session_archived"), ran.err
    assert ran.error["message"] == "the outcome of session sess_2 is unknown: it was archived before its turn ended"
    assert qoder("session", "result", "sess_2").code == 9
    if newest == "asks" and server.world.generation == "current":  # others have a status, which is believed
        assert qoder("run", "wait", "drun_2", "--on-ask", "wait", "--timeout", "1h").code == 9


def test_session_wait_exits_9_when_the_session_is_archived_meanwhile(qoder: Qoder, server: Asking) -> None:
    session = server.asks("sess_2", run=False)
    server.tell(session, qoder.clock.time - 10, RUNNING)
    at = qoder.clock.time + 300

    def archive() -> None:
        if qoder.clock.time >= at:
            session.fields["archived_at"] = stamp(at)

    qoder.clock.at_sleep = archive
    assert qoder("session", "wait", "sess_2").code == 9
    assert at < qoder.clock.time < at + 200


@pytest.mark.parametrize("ends_in", [-3600, 20])
def test_session_wait_has_the_outcome_of_an_archived_session_whose_turn_ended(
    qoder: Qoder, server: Asking, ends_in: float
) -> None:
    session = server.asks("sess_2", run=False)
    server.turn(session, qoder.clock.time + ends_in, "Late.")
    server.tell(session, qoder.clock.time + min(ends_in, 0) - 1, RUNNING)
    session.fields["archived_at"] = stamp(qoder.clock.time)
    ran = qoder("session", "wait", "sess_2", "--result")
    assert (ran.code, ran.out) == (0, "Late.\n")


# An error names the session as one, and never as a run.


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("session", "wait", "sess_1"), 11),
        (("session", "logs", "sess_1", "--follow", "--tail", "1"), 11),
        (("session", "wait", "sess_1", "--timeout", "1s"), 124),
        (("session", "result", "sess_1"), 8),
        (("session", "approve", "sess_1", "--all", "--yes", "--wait", "--timeout", "0"), 124),
        (("session", "approve", "sess_1", "evt_9", "--yes"), 5),
        (("session", "approve", "sess_2", "--all", "--yes"), 5),
        (("session", "deny", "sess_2", "--all", "--yes"), 5),
        (("session", "answer", "sess_2", "evt_1", "--with", "x"), 5),
        (("session", "send", "sess_2", "-m", "x"), 5),
        (("session", "send", "sess_1", "-m", "x"), 6),
    ],
)
def test_session_wait_names_an_errors_session(qoder: Qoder, words: tuple[str, ...], code: int) -> None:
    Asking(qoder).asks("sess_1", call(1), run=False)
    ran = qoder(*words, "--json")
    assert ran.code == code, ran.err
    assert (ran.error["run_id"], ran.error["session_id"]) == (None, words[2])


@pytest.mark.parametrize("verb", ["wait", "logs"])
def test_session_help_offers_no_list_where_one_session_is_taken(qoder: Qoder, verb: str) -> None:
    shown = qoder("session", verb, "--help").out
    assert ("[SESSION]\n" in shown, "SESSION..." in shown, "reads stdin" in shown) == (True, False, False)
