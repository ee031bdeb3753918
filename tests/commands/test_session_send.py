"""`send` of `run` and `session`: a message is sent once, its own outcome is awaited, and what was not sent is said."""

import itertools
import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import Signalled
from qoder_cli.sandbox.records import stamp
from tests.conftest import Qoder
from tests.support.asking import ENDED, EVENTS, RUNNING, Asking, call, says
from tests.support.things import FAILED, each_row, ok, refusal

SEND = ("session", "send", "sess_1", "-m", "x")
HOW = pytest.mark.parametrize("how", ["--when-idle", "--interrupt"])


def test_session_send_prints_what_was_sent(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1")
    server.instead[EVENTS] = [FAILED]  # once: a read is repeated
    ran = qoder(*SEND, "--json")
    sent = ran.json
    assert "sending a message to session sess_1" in ran.err
    content = [{"type": "text", "text": "x"}]
    assert server.sent == [{"events": [{"type": "user.message", "content": content}]}]
    assert [event["content"] for event in sent.pop("events")] == [content]
    assert sent == {"run_id": None, "session_id": "sess_1", "calls": [], "still_waiting": []}


@pytest.mark.parametrize(("later", "wrong", "code"), [(3, ["drop-before"], 9), (1.9, [], 6)], ids=["lost", "refused"])
def test_session_send_does_not_take_the_same_message_of_before_for_its_own(
    qoder: Qoder, server: Asking, later: float, wrong: list[str], code: int
) -> None:
    server.asks("sess_1")
    assert qoder(*SEND).code == 0
    qoder.clock.time += later
    for what in wrong:
        server.faults.add(f"send:{what}")
    began = qoder.clock.time
    assert (qoder(*SEND).code, server.ours["x"]) == (code, 1)
    assert code == 9 or qoder.clock.time - began < 1


@pytest.mark.parametrize(("said", "delivered"), [("x", False), ("Before.", False), ("Before.", True)])
def test_session_send_takes_no_other_message_for_its_own(
    qoder: Qoder, server: Asking, said: str, delivered: bool
) -> None:
    """A proxy may answer with what it was answered before, and not say so."""
    server.asks("sess_1")
    answers = list[bytes]()

    def first(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        if delivered or not answers:
            answers.append(answer().read())
        return httpx.Response(200, content=answers[0])

    server.bends("POST", first)
    assert qoder("session", "send", "sess_1", "-m", said).code == 0
    qoder.clock.time += 60
    ran = qoder(*SEND, "--wait", "--result", "--timeout", "5m")
    assert (ran.code, ran.out) == ((0, "You said: x\n") if delivered else (9, ""))


def test_session_send_to_a_busy_session_exits_6_with_what_helps(qoder: Qoder, server: Asking) -> None:
    session = server.asks("sess_1")
    server.turn(session, qoder.clock.time)
    ran = qoder(*SEND, "--json")
    assert (ran.code, ran.error["http_status"]) == (6, 409)
    assert ran.error["next"] == ["qoder", *SEND, "--when-idle", "-o", "json"]
    ran = qoder(*SEND, "--when-idle", "--wait", "--result")
    assert (ran.code, ran.out) == (0, "You said: x\n")


@pytest.mark.parametrize(("how", "code"), [("", 6), ("--wait", 6), ("--when-idle", 11), ("--interrupt", 11)])
def test_session_send_while_the_agent_asks_names_what_waits(qoder: Qoder, server: Asking, how: str, code: int) -> None:
    server.asks("sess_1", call(1, evaluated_permission="ask" if how else "allow"))
    if not how:
        server.stops({"type": "requires_action"})  # for a call that is neither named nor marked
    if code == 11:
        interrupted_in_vain(server)
    ran = qoder(*SEND, *how.split(), "--json")
    assert (ran.code, ran.error["next"][:4]) == (code, ["qoder", "run", "pending", "sess_1"])
    assert server.taken["x"] == 0
    if code == 11:
        assert ran.error["message"] == "session sess_1 waits for an answer to evt_1; the message was not sent"


def test_session_send_interrupts(qoder: Qoder, server: Asking) -> None:
    session = server.asks("sess_1")
    server.tell(session, qoder.clock.time - 1, RUNNING, ENDED, apart=1000)
    ran = qoder(*SEND, "--interrupt", "--wait", "--result")
    assert (ran.code, ran.out) == (0, "You said: x\n")
    assert qoder(*SEND, "--interrupt").code == 0  # an agent that rests
    assert [body["events"][0]["type"] for body in server.sent] == ["user.interrupt", *["user.message"] * 2]


@pytest.mark.parametrize(
    ("more", "lag"), [("", 0.0), ("", 3.0), ("--when-idle --wait", 3.0), ("--when-idle", 15.0), ("--interrupt", 15.0)]
)
def test_session_send_sends_once_what_a_proxy_repeats(qoder: Qoder, server: Asking, more: str, lag: float) -> None:
    """It sends every request for a change twice, and passes on the answer to the second."""
    server.asks("sess_1")
    server.lag = lag
    server.bends("POST", lambda request, answer: answer() and answer())
    ran = qoder(*SEND, *more.split(), "--json")
    assert (ran.code, server.ours["x"]) == (0, 1), ran.err


@pytest.mark.parametrize("at", ["before", "between"])
def test_session_send_is_not_held_up_by_a_turn_that_ends_by_itself(qoder: Qoder, server: Asking, at: str) -> None:
    session = server.asks("sess_1")
    server.tell(session, qoder.clock.time - 1, RUNNING)
    [ended] = server.tell(session, qoder.clock.time + (0 if at == "before" else 60), ENDED)
    later = {**ended, "processed_at": stamp(qoder.clock.time + 1, digits=6)}
    server.lies[EVENTS] = each_row(lambda row: later if row["id"] == later["id"] else row)

    def ends() -> None:
        session.break_off(qoder.clock.time)
        server.tell(session, qoder.clock.time, ended)

    if at == "between":
        server.meanwhile.append(ends)  # while the interruption is on its way
    ran = qoder(*SEND, "--interrupt", "--wait", "--result", "--timeout", "1m")
    assert (ran.code, ran.out) == (0, "You said: x\n"), ran.err


# What was not sent.


def interrupted_in_vain(server: Asking) -> None:
    """Let an interruption be accepted, and change nothing."""
    accepted = {"id": "evt_i", "type": "user.interrupt"}
    server.bends("POST", lambda request, answer: ok({"data": [accepted]}))


def busy(qoder: Qoder, server: Asking) -> None:
    session = server.asks("sess_1")
    server.tell(session, qoder.clock.time - 5, RUNNING, call(1))
    interrupted_in_vain(server)


@HOW
def test_session_send_says_at_its_timeout_that_the_message_was_not_sent(qoder: Qoder, server: Asking, how: str) -> None:
    busy(qoder, server)
    words = (*SEND, how, "--result", "--timeout", "30s")
    ran = qoder(*words, "--json")
    said = "timed out after 30s; session sess_1 is still running; the message was not sent"
    assert (ran.code, ran.error["message"]) == (124, said)
    assert len(server.sent) == (how == "--interrupt")
    assert ran.error["next"] == ["qoder", *words, "-o", "json"]
    assert (ran.error["session_id"], ran.error["run_state"]) == ("sess_1", "going")


def test_session_send_says_that_a_message_refused_until_the_timeout_was_not_sent(qoder: Qoder, server: Asking) -> None:
    refuses(qoder, server)
    ran = qoder(*SEND, "--when-idle", "--timeout", "20s", "--json")
    assert (ran.code, ran.error["next"][1:7]) == (124, [*SEND, "--when-idle"])
    assert ran.error["message"].endswith("; the message was not sent")


def refuses(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1")
    server.bends("POST", lambda request, answer: refusal(409, "invalid_request_error", "Not now."))


@pytest.mark.parametrize(
    ("how", "trouble", "after"), [("--when-idle", busy, 3.0), ("--interrupt", busy, 3.0), ("--when-idle", refuses, 8.5)]
)
def test_session_send_says_after_a_signal_that_the_message_was_not_sent(
    qoder: Qoder, server: Asking, how: str, trouble: Callable[[Qoder, Asking], None], after: float
) -> None:
    trouble(qoder, server)
    until = qoder.clock.time + after

    def stop() -> None:
        if qoder.clock.time > until:
            raise Signalled(signal.SIGINT)

    qoder.clock.at_sleep = stop
    ran = qoder(*SEND, how, "--wait", "--json")
    assert ran.code == 130
    assert ran.error["message"].endswith("; the message was not sent")
    assert ran.error["next"] == ["qoder", *SEND, how, "--wait", "-o", "json"]


# Messages in trouble.


@pytest.mark.parametrize(("busy_for", "timeout", "code", "tries"), [(0.0, "2m", 6, 3), (5.0, "25s", 124, 5)])
def test_session_send_gives_up_on_a_session_that_refuses_though_it_never_works(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch, busy_for: float, timeout: str, code: int, tries: int
) -> None:
    monkeypatch.setattr("qoder_cli.commands.run.answering.MOST_REFUSALS", 3)  # so many take time
    server = Asking(qoder)
    session = server.asks("sess_1")

    def refuse(*_: Any) -> httpx.Response:
        if busy_for:
            server.tell(session, qoder.clock.time, RUNNING, ENDED, apart=busy_for)
        return refusal(409, "invalid_request_error", "Not now.")

    server.bends("POST", refuse)
    assert (qoder(*SEND, "--when-idle", "--timeout", timeout).code, len(server.sent)) == (code, tries)


def test_session_send_says_a_message_once_though_a_429_had_said_it(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1")
    server.after.append(lambda done: refusal(429, "rate_limit_error", "Slow down."))
    ran = qoder(*SEND, "--json")
    assert (ran.code, server.ours["x"]) == (0, 1), ran


def without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda row: {name: value for name, value in row.items() if name not in names}


# Where a second counts. Nothing tells the date, so that the server's clock is ours.


TIMES = ("processed_at", "created_at")


def at(qoder: Qoder, server: Asking, ago: float, *events: dict[str, Any]) -> None:
    """Let a session have ended its turn long ago, and these events have come since."""

    def without_date(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        response = answer()
        response.headers.pop("date", None)
        return response

    qoder.clock.time = 1_800_000_000.0
    server.tell(server.asks("sess_1"), qoder.clock.time - ago, *events)
    server.lie, server.ignores = without_date, ("types[]",)


@pytest.mark.parametrize(
    ("wrong", "text", "ago", "hidden", "code"),
    [
        *(("drop-before", "x", 5.0, (), 0), ("drop-before", "x", 5.1, (), 9), ("drop-before", "y", 5.0, (), 9)),
        *(("409", "x", 1.5, (), 0), ("409", "x", 1.6, (), 6), ("drop-before", "x", 5.1, TIMES, 0)),
    ],
)
def test_session_send_takes_a_message_that_shows_late_for_its_own_unless_it_is_older(
    qoder: Qoder, server: Asking, wrong: str, text: str, ago: float, hidden: tuple[str, ...], code: int
) -> None:
    at(qoder, server, ago, says(text, "user.message"), *[says("x")] * (text == "y"))  # of the agent
    reads = itertools.count()
    server.tells(lambda events: list(map(without(*hidden), events)) if next(reads) else [])
    server.faults.add(f"send:{wrong}")
    assert (qoder(*SEND).code, server.ours["x"]) == (code, 0)


@pytest.mark.parametrize(
    ("ago", "hidden", "is_looked_for"), [(1.5, (), True), (1.6, (), False), (1.6, TIMES, True), (1.6, None, True)]
)
def test_session_send_looks_for_a_message_refused_by_a_session_busy_since(
    qoder: Qoder, server: Asking, ago: float, hidden: tuple[str, ...] | None, is_looked_for: bool
) -> None:
    at(qoder, server, ago, RUNNING)
    server.lies[EVENTS] = each_row(without(*hidden or ()))
    if hidden is None:  # it cannot even be read
        server.meanwhile.append(lambda: server.instead.update({EVENTS: [FAILED]}))
    server.faults.add("send:409")
    ran = qoder(*SEND)
    assert (ran.code, "refused; looking for up to 8s" in ran.err) == (6, is_looked_for)


@pytest.mark.parametrize(("ago", "hidden", "seconds"), [(1.5, "", 9.0), (1.6, "", 30.0), (1.5, "session.", 30.0)])
def test_session_send_tries_again_once_a_replica_shows_why_it_was_refused(
    qoder: Qoder, server: Asking, ago: float, hidden: str, seconds: float
) -> None:
    at(qoder, server, ago, RUNNING, ENDED)
    server.tells(lambda events: [event for event in events if not hidden or not event["type"].startswith(hidden)])
    began = qoder.clock.time
    server.faults.add("send:409")
    assert (qoder(*SEND, "--when-idle").code, len(server.sent)) == (0, 2)
    assert qoder.clock.time - began == seconds


# What a response shows.


def test_session_send_interrupts_three_times_where_nobody_answers(qoder: Qoder, server: Asking) -> None:
    server.tell(server.asks("sess_1"), qoder.clock.time - 1, RUNNING, ENDED, apart=1000)
    server.faults.add("send:drop-before*9")
    ran = qoder(*SEND, "--interrupt", "--json")
    assert (ran.code, len(server.sent), qoder.clock.slept) == (9, 3, [0.5, 1.0])


@pytest.mark.parametrize(("status", "how", "code"), [("403", (), 4), ("400", (), 6), ("400", ("--when-idle",), 6)])
def test_session_send_looks_for_no_message_that_is_not_refused_for_a_conflict(
    qoder: Qoder, server: Asking, status: str, how: tuple[str, ...], code: int
) -> None:
    server.asks("sess_1")
    server.faults.add(f"send:{status}")
    ran = qoder(*SEND, *how)
    assert (ran.code, server.asked[-1], qoder.clock.slept) == (code, "POST /sessions/sess_1/events", [])
