"""A server that tells the truth badly, against the commands that answer an agent: none of the promises may break."""

import itertools
import json
import re
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import Signalled
from tests.conftest import Qoder, Ran
from tests.support.asking import Event, Server, call, refusal, sha256_of
from tests.support.interrupting import caught

DONE_NOTHING = (2, 4, 5, 6, 7)
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b-\u200f]")
COMMANDS = {
    "approve": ("approve", "sess_1", "evt_1", "--yes"),
    "approve --all": ("approve", "sess_1", "--all", "--yes"),
    "deny": ("deny", "sess_1", "evt_1", "--yes"),
    "answer": ("answer", "sess_1", "evt_1", "--result", "green"),
    "send": ("send", "sess_1", "-m", "hello"),
}
SHOWN = {"command": "echo 1"}
Events = list[Event]
Handle = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def server(qoder: Qoder) -> Server:
    made = Server(qoder.clock)
    qoder.transport = made
    return made


def asks(server: Server, command: str, *more: Event) -> None:
    if command.startswith("send"):
        server.session("sess_1")
    else:
        server.session("sess_1", call(1, kind="agent.custom_tool_use" if command == "answer" else "agent.tool_use"))
    server.session("sess_2", call(3))


def run(qoder: Qoder, server: Server, *words: str) -> Ran:
    """Run a command, and check what holds whatever the server does."""
    ran = qoder("session", *words, "--json")
    check(ran, server)
    return ran


def check(ran: Ran, server: Server) -> None:
    assert not HIDDEN.search(ran.out + ran.err), ran
    assert ran.code != 70, ran.err
    if ran.code:
        assert ran.error["exit_code"] == ran.code
        assert sum(line.startswith('{"error"') for line in ran.err.splitlines()) == 1
    assert max(server.ours.values(), default=0) <= 1, server.ours
    assert set(server.ours) <= {"evt_1", "evt_2", "hello"}
    if ran.code in DONE_NOTHING:
        assert not server.ours, ran.err
    if "nothing was sent" in ran.err:
        assert not server.ours, ran.err
    if ran.code and "nothing was sent" in ran.error["message"]:
        assert not server.posted, ran.err
    if ran.code == 0 and ran.out:
        document = json.loads(ran.out)
        for each in document.get("calls", []) if isinstance(document, dict) else []:
            assert server.taken[each["call"]], ran
        if isinstance(document, dict) and document.get("events"):
            assert server.posted


def on_answer(server: Server, change: Callable[[httpx.Response], httpx.Response]) -> None:
    """Change what is heard of each write."""
    handle = server.handle_request

    def handled(request: httpx.Request) -> httpx.Response:
        told = handle(request)
        return change(told) if request.method == "POST" else told

    server.handle_request = handled  # type: ignore[method-assign]  # a server that misbehaves


def on_events(server: Server, answer: Callable[[httpx.Request, Handle], httpx.Response]) -> None:
    """Answer each request for a list of events in another way."""
    handle = server.handle_request

    def handled(request: httpx.Request) -> httpx.Response:
        is_list = request.method == "GET" and request.url.path.endswith("/events")
        return answer(request, handle) if is_list else handle(request)

    server.handle_request = handled  # type: ignore[method-assign]  # a server that misbehaves


# What is heard of a write

HEARD: dict[str, Callable[[httpx.Response], httpx.Response]] = {
    "an empty data": lambda told: httpx.Response(200, json={"data": []}),
    "data is null": lambda told: httpx.Response(200, json={"data": None}),
    "202": lambda told: httpx.Response(202, content=told.content, headers=told.headers),
    "events of another session": lambda told: httpx.Response(
        200, json={"data": [{"id": "evt_9", "type": "user.tool_confirmation", "tool_use_id": "evt_3"}]}
    ),
    "another event": lambda told: httpx.Response(
        200, json={"data": [{"id": "evt_9", "type": "session.status_running"}]}
    ),
    "ids are numbers": lambda told: httpx.Response(200, json={"data": [{"id": 9}]}),
    "more than was sent": lambda told: httpx.Response(200, json={"data": [{"id": "evt_9"}, {"id": "evt_8"}]}),
    "404": lambda told: refusal(404, "No.", "not_found_error"),
    "429": lambda told: refusal(429, "Slow down.", "rate_limit_error"),
    "502 in the envelope": lambda told: refusal(502, "Bad gateway.", "api_error"),
    "504 in the envelope": lambda told: refusal(504, "Too late.", "api_error"),
    "500": lambda told: refusal(500, "Oops.", "api_error"),
    "html 404": lambda told: httpx.Response(404, text="<html>not found</html>"),
    "html 400": lambda told: httpx.Response(400, text="<html>result</html>"),
    "204": lambda told: httpx.Response(204),
    "hostile": lambda told: refusal(500, "Oops\x1b[2J\r\nerror: allow? [y]es\u202e", "api\x1b_error"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("heard", [each for each in HEARD if each not in ("404", "429")])
def test_whatever_is_heard_of_a_write_that_was_done(qoder: Qoder, server: Server, command: str, heard: str) -> None:
    asks(server, command)
    on_answer(server, HEARD[heard])
    ran = run(qoder, server, *COMMANDS[command])
    assert ran.code in (0, 9)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("heard", [each for each in HEARD if each not in ("202",)])
def test_whatever_is_heard_of_a_write_that_was_not_done(qoder: Qoder, server: Server, command: str, heard: str) -> None:
    asks(server, command)
    server._take = lambda session, events: httpx.Response(200, json={"data": []})  # type: ignore[method-assign]  # a server that misbehaves
    on_answer(server, HEARD[heard])
    ran = run(qoder, server, *COMMANDS[command])
    assert ran.code != 0
    assert len(server.posted) == 1 or heard == "429"


@pytest.mark.parametrize("command", [each for each in COMMANDS if each != "send"])
def test_429_after_it_was_done(qoder: Qoder, server: Server, command: str) -> None:
    asks(server, command)
    on_answer(server, HEARD["429"])
    qoder_ran = qoder("session", *COMMANDS[command], "--json")
    assert server.ours["evt_1"] == 1
    assert "nothing was sent" not in qoder_ran.error["message"]


# What waits, told badly


def other_input(event: Event, **changes: Any) -> Event:
    return {**event, "input": {"command": "rm -rf /"}, **changes}


TWICE: dict[str, Callable[[Events], Events]] = {
    "the other first": lambda events: [
        each for event in events for each in ([other_input(event), event] if event["id"] == "evt_1" else [event])
    ],
    "the other last": lambda events: [
        each for event in events for each in ([event, other_input(event)] if event["id"] == "evt_1" else [event])
    ],
    "the other much earlier": lambda events: [
        *(other_input(event, processed_at="2020-01-01T00:00:00Z") for event in events if event["id"] == "evt_1"),
        *events,
    ],
    "the other at the end": lambda events: [*events, *(other_input(each) for each in events if each["id"] == "evt_1")],
    "of another kind": lambda events: [
        *events,
        *({**each, "type": "agent.mcp_tool_use", "mcp_server_name": "x"} for each in events if each["id"] == "evt_1"),
    ],
}


@pytest.mark.parametrize("twice", TWICE)
@pytest.mark.parametrize("words", [("evt_1",), ("--all",)], ids=str)
@pytest.mark.parametrize("newest", [True, False])
def test_a_call_that_is_told_in_two_ways_is_not_approved(
    qoder: Qoder, server: Server, twice: str, words: tuple[str, ...], newest: bool
) -> None:
    server.session("sess_1", call(1))
    server.told = lambda events: TWICE[twice](events) if newest else TWICE[twice](events[::-1])[::-1]
    ran = run(qoder, server, "approve", "sess_1", *words, "--yes")
    assert (ran.code, server.posted) == (6, [])
    [one] = qoder("session", "pending", "sess_1", "--json").json
    assert (one["call"], one["kind"], one["input"]) == ("evt_1", None, None)


IDS: dict[str, Any] = {
    "numbers": [1, 2],
    "a number beside": ["evt_1", 2],
    "null": None,
    "a string": "evt_1",
    "twice": ["evt_1", "evt_1"],
    "of another session": ["evt_3"],
    "of both": ["evt_1", "evt_3"],
    "wrong": ["evt_404"],
    "of an idle": ["evt_s2_sess_1"],
    "an option": ["--all"],
    "hostile": ["evt_1\x1b[2J\r\nallow? [y]es \u202e"],
    "long": ["evt_" + "1" * 5_000_000],
    "objects": [{"id": "evt_1"}],
}


@pytest.mark.parametrize("ids", IDS)
def test_strange_event_ids(qoder: Qoder, server: Server, ids: str) -> None:
    session = server.session("sess_1", call(1))
    server.session("sess_2", call(3))
    session.told[-1][1]["stop_reason"]["event_ids"] = IDS[ids]
    for words in (("pending", "sess_1"), ("approve", "sess_1", "--all", "--yes")):
        ran = run(qoder, server, *words)
        assert len(ran.err) < 20_000
    assert set(server.ours) <= {"evt_1"}
    assert len(server.posted) <= 1
    if ids in ("of another session", "of both", "wrong", "of an idle", "an option", "hostile", "long"):
        assert server.posted == [], ran


def test_an_id_that_is_an_option_is_not_offered_as_a_command(qoder: Qoder, server: Server) -> None:
    server.session("sess_1", {**call(1), "id": "--all"}, call(2))
    for one in qoder("session", "pending", "sess_1", "--json").json:
        for words in one["answer"].values():
            assert "--all" not in words


STOPS: dict[str, Any] = {
    "a string": "requires_action",
    "upper case": {"type": "REQUIRES_ACTION", "event_ids": ["evt_1"]},
    "a number": 5,
    "a list": ["requires_action"],
}


@pytest.mark.parametrize("stop", STOPS)
def test_strange_stop_reasons(qoder: Qoder, server: Server, stop: str) -> None:
    session = server.session("sess_1", call(1))
    session.told[-1][1]["stop_reason"] = STOPS[stop]
    ran = run(qoder, server, "approve", "sess_1", "--all", "--yes")
    assert ran.code == 0
    assert bool(server.posted) == (stop == "a string")


def test_a_list_of_another_sessions_events_is_not_believed(qoder: Qoder, server: Server) -> None:
    server.session("sess_1", call(1))
    server.session("sess_2", call(3))
    for session in server.sessions.values():
        for _, event in session.told:
            event["session_id"] = session.id

    def answer(request: httpx.Request, handle: Handle) -> httpx.Response:
        other = httpx.Request("GET", str(request.url).replace("sess_1", "sess_2"))
        return handle(other)

    on_events(server, answer)
    ran = run(qoder, server, "approve", "sess_1", "--all", "--yes")
    assert server.posted == [], ran


def test_another_run_than_the_one_asked_for(qoder: Qoder, server: Server) -> None:
    server.session("sess_1", call(1))
    server.session("sess_2", call(2))
    whole = server._run
    server._run = lambda id: whole("drun_2")  # type: ignore[method-assign]  # a server that misbehaves
    for words in (("approve", "drun_1", "--all", "--yes"), ("send", "drun_1", "-m", "hello")):
        ran = qoder("run", *words, "--json")
        assert (ran.code != 0, server.posted) == (True, []), ran


def test_pages_that_never_end(qoder: Qoder, server: Server) -> None:
    server.session("sess_1", call(1), call(2))
    asked = itertools.count()

    def answer(request: httpx.Request, handle: Handle) -> httpx.Response:
        page = json.loads(handle(httpx.Request("GET", request.url.copy_remove_param("page"))).content)
        assert next(asked) < 2_000, "for ever"
        return httpx.Response(200, json=page | {"has_more": True, "next_page": f"p{next(asked)}"})

    on_events(server, answer)
    ran = run(qoder, server, "approve", "sess_1", "evt_404", "--yes")
    assert ran.code in (5, 7)
    ran = run(qoder, server, "approve", "sess_1", "evt_1", "--yes")
    assert ran.code == 0


LISTS: dict[str, Callable[[Any], httpx.Response]] = {
    "null": lambda page: httpx.Response(200, json={**page, "data": None}),
    "no events": lambda page: httpx.Response(200, json={**page, "data": [1, None, "x", []]}),
    "cut": lambda page: httpx.Response(200, text=json.dumps(page)[:-40]),
    "a list": lambda page: httpx.Response(200, json=page["data"]),
    "has more without a cursor": lambda page: httpx.Response(200, json={**page, "data": [], "has_more": True}),
    "the same cursor": lambda page: httpx.Response(200, json={**page, "has_more": True, "next_page": "same"}),
    "no ids": lambda page: httpx.Response(
        200, json={**page, "data": [{k: v for k, v in each.items() if k != "id"} for each in page["data"]]}
    ),
    "ids are numbers": lambda page: httpx.Response(
        200, json={**page, "data": [{**each, "id": n} for n, each in enumerate(page["data"])]}
    ),
    "types are numbers": lambda page: httpx.Response(
        200, json={**page, "data": [{**each, "type": n} for n, each in enumerate(page["data"])]}
    ),
    "types are lists": lambda page: httpx.Response(
        200, json={**page, "data": [{**each, "type": [each["type"]]} for each in page["data"]]}
    ),
    "types are objects": lambda page: httpx.Response(
        200, json={**page, "data": [{**each, "type": {"a": 1}} for each in page["data"]]}
    ),
    "lone surrogates": lambda page: httpx.Response(
        200, text=json.dumps(page).replace("echo 1", "\\ud800 echo"), headers={"content-type": "application/json"}
    ),
    "deep": lambda page: httpx.Response(
        200,
        text=json.dumps(page).replace('"echo 1"', "[" * 5000 + "]" * 5000),
        headers={"content-type": "application/json"},
    ),
    "90 deep": lambda page: httpx.Response(200, text=json.dumps(page).replace('"echo 1"', "[" * 90 + "]" * 90)),
    "a key twice": lambda page: httpx.Response(
        200,
        text=json.dumps(page).replace('"command": "echo 1"', '"command": "rm -rf /", "command": "echo 1"'),
        headers={"content-type": "application/json"},
    ),
    "input is text": lambda page: httpx.Response(
        200, text=json.dumps(page).replace('{"command": "echo 1"}', '"echo\\r1"')
    ),
    "no input": lambda page: httpx.Response(200, text=json.dumps(page).replace('{"command": "echo 1"}', "null")),
    "name is a list": lambda page: httpx.Response(200, text=json.dumps(page).replace('"Bash"', '["Bash"]')),
    "thread is a number": lambda page: httpx.Response(
        200, text=json.dumps(page).replace('"Bash"', '"Bash", "session_thread_id": 5')
    ),
    "huge numbers": lambda page: httpx.Response(
        200, text=json.dumps(page).replace('"echo 1"', '1e999999, "n": ' + "9" * 5000)
    ),
    "times are numbers": lambda page: httpx.Response(
        200, json={**page, "data": [{**each, "processed_at": 5} for each in page["data"]]}
    ),
    "404": lambda page: refusal(404, "No.", "not_found_error"),
    "html": lambda page: httpx.Response(200, text="<html>"),
    "503": lambda page: refusal(503, "Busy", "api_error"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("told", LISTS)
def test_a_list_that_is_told_badly(qoder: Qoder, server: Server, told: str, command: str) -> None:
    asks(server, command)

    def answer(request: httpx.Request, handle: Handle) -> httpx.Response:
        first = httpx.Request("GET", request.url.copy_remove_param("page"))
        return LISTS[told](json.loads(handle(first).content))

    on_events(server, answer)
    run(qoder, server, *COMMANDS[command])
    seen = qoder("session", "pending", "sess_1", "--json")
    assert seen.code != 70, seen.err
    assert len(server.posted) <= 1


# Who was faster, and what is left of it


@pytest.mark.parametrize("command", ["approve", "deny"])
@pytest.mark.parametrize("stop", ["cancelled", "terminated", "deleted", "budget_reached"])
def test_a_session_that_was_stopped_did_not_hear_a_lost_answer(
    qoder: Qoder, server: Server, command: str, stop: str
) -> None:
    session = server.session("sess_1", call(1))
    server.goes_wrong = ["drop-before"]
    event: Event = {"type": "session.status_idle", "stop_reason": {"type": stop}}
    if stop in ("terminated", "deleted"):
        event = {"type": {"terminated": "session.status_terminated", "deleted": "session.deleted"}[stop]}
    server.before_post.append(lambda: server._tell(session, qoder.clock.time, event))
    ran = run(qoder, server, *COMMANDS[command])
    assert ran.code == 9


def test_a_denial_that_was_lost_while_the_tool_ran(qoder: Qoder, server: Server) -> None:
    session = server.session("sess_1", call(1))
    server.goes_wrong = ["drop-before"]
    ran_it = {"type": "agent.tool_result", "tool_use_id": "evt_1", "content": [], "is_error": False}
    server.before_post.append(lambda: server.turn(session, qoder.clock.time, "Done.", ran_it))
    ran = qoder("session", "deny", "sess_1", "evt_1", "--yes", "--json")
    assert (ran.code, '"denied"' in ran.out) != (0, True), ran


@pytest.mark.parametrize("ours", [("allow", "deny"), ("deny", "allow")])
def test_ours_is_seen_although_somebody_else_answered_after_it(
    qoder: Qoder, server: Server, ours: tuple[str, str]
) -> None:
    server.session("sess_1", call(1))
    server.lenient = True
    server.goes_wrong = ["drop-after"]
    told = server._take

    def take(session: Any, events: Events) -> httpx.Response:
        answer = told(session, events)
        qoder.clock.time += 0.1
        server.answered_by_a_colleague("evt_1", ours[1])
        return answer

    server._take = take  # type: ignore[method-assign]  # a server that misbehaves
    verb = {"allow": "approve", "deny": "deny"}[ours[0]]
    ran = run(qoder, server, verb, "sess_1", "evt_1", "--yes")
    assert ran.code in (0, 9)


@pytest.mark.parametrize("fault", ["drop", "400", "500"])
def test_a_request_that_is_done_in_part(qoder: Qoder, server: Server, fault: str) -> None:
    server.session("sess_1", call(1), call(2))
    server.goes_wrong = ["drop-after"]
    told = server._take

    def take(session: Any, events: Events) -> httpx.Response:
        told(session, events[:1])
        qoder.clock.time += 0.1
        server.answered_by_a_colleague("evt_2", "deny")
        if fault == "drop":
            raise httpx.ReadError("reset")
        return refusal(int(fault), "evt_2 is not waiting.")

    server._take = take  # type: ignore[method-assign]  # a server that misbehaves
    ran = qoder("session", "approve", "sess_1", "--all", "--yes", "--json")
    assert server.ours == {"evt_1": 1}
    assert (ran.code, "nothing was sent" in ran.err) == (9, False), ran.err


@pytest.mark.parametrize("lacks", ["result", "content", "is_error", "session_thread_id", "deny_message"])
@pytest.mark.parametrize("command", ["approve", "deny", "answer"])
def test_a_list_that_shows_less_of_an_answer(qoder: Qoder, server: Server, command: str, lacks: str) -> None:
    asks(server, command)
    server.goes_wrong = ["drop-after"]
    server.told = lambda events: [
        {k: v for k, v in each.items() if k != lacks or not each["type"].startswith("user.")} for each in events
    ]
    ran = run(qoder, server, *COMMANDS[command])
    assert ran.code in (0, 9)


def test_a_refusal_after_a_colleague_does_not_say_that_nothing_was_sent(qoder: Qoder, server: Server) -> None:
    server.session("sess_1", call(1))
    server.before_post.append(lambda: server.answered_by_a_colleague("evt_1"))
    ran = run(qoder, server, "approve", "sess_1", "--all", "--yes")
    assert (ran.code, len(server.posted)) == (6, 1)


# A message


@pytest.mark.parametrize("words", [("--when-idle",), ("--when-idle", "--timeout", "30")])
def test_a_session_that_is_always_busy_though_idle(qoder: Qoder, server: Server, words: tuple[str, ...]) -> None:
    server.session("sess_1")
    tries = itertools.count()

    def busy(told: httpx.Response) -> httpx.Response:
        assert next(tries) < 1000, "for ever"
        return refusal(409, "The session is archived.")

    server._take = lambda session, events: httpx.Response(200, json={"data": []})  # type: ignore[method-assign]  # a server that misbehaves
    on_answer(server, busy)
    ran = run(qoder, server, "send", "sess_1", "-m", "hello", *words)
    assert ran.code in (6, 124)


def test_the_same_message_of_before_is_not_taken_for_this_one(qoder: Qoder, server: Server) -> None:
    session = server.session("sess_1")
    said = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}
    server._tell(session, qoder.clock.time - 10, said)
    server.lag = 12.0
    server.goes_wrong = ["drop-before"]
    ran = run(qoder, server, *COMMANDS["send"])
    assert ran.code == 9, ran


def test_a_429_that_was_done_does_not_say_a_message_twice(qoder: Qoder, server: Server) -> None:
    server.session("sess_1")
    once = itertools.count()
    on_answer(server, lambda told: told if next(once) else refusal(429, "Slow down.", "rate_limit_error"))
    ran = qoder("session", *COMMANDS["send"], "--json")
    assert (ran.code, server.ours["hello"]) == (0, 1), ran


# Signals


class Signalling(httpx.BaseTransport):
    """Lets a signal come at one request: before it is done, after it, or after it with the answer lost."""

    def __init__(self, server: Server, at: int, when: str, signum: int) -> None:
        self.server, self.at, self.when, self.signum = server, at, when, signum
        self.asked = 0
        self.is_over = False
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Let no signal come any more: a stream is asked for by a thread that outlives its command."""
        with self._lock:
            self.is_over = True

    def _raise(self) -> None:
        with self._lock:
            if not self.is_over:
                signal.raise_signal(self.signum)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.asked != self.at:
            return self.server.handle_request(request)
        if self.when == "before":
            self._raise()
        answer = self.server.handle_request(request)
        if self.when != "before":
            self._raise()
        if self.when == "lost":
            raise httpx.ReadError("reset")
        return answer


@pytest.mark.parametrize("command", [*COMMANDS, "approve --wait", "send --interrupt"])
@pytest.mark.parametrize("when", ["before", "after", "lost"])
def test_a_signal_at_each_request(qoder: Qoder, server: Server, command: str, when: str) -> None:
    name, _, option = command.partition(" ")
    words = COMMANDS.get(command) or (*COMMANDS[name], option)
    heard: set[int] = set()
    for at in range(1, 12):
        server.sessions.clear()
        server.ours.clear()
        server.taken.clear()
        server.posted.clear()
        asks(server, command)
        qoder.transport = wire = Signalling(server, at, when, signal.SIGTERM)
        with caught(signal.SIGTERM):
            ran = qoder("session", *words, "--json")
            with suppress(Signalled):
                wire.stop()
        heard.add(ran.code)
        check(ran, server)
        if ran.code == 0:
            break
        assert ran.code == 143
        taken = sum(server.ours.values())
        if taken and not ran.out:
            assert "delivered" in ran.error["message"], ran.err
        if "was delivered" in ran.error["message"] and "unknown" not in ran.error["message"]:
            assert taken, ran.err
        if ran.error["type"] == "outcome_unknown":
            assert server.posted
    assert heard == {0, 143}


# What is typed


def test_standard_input_for_two_things(qoder: Qoder, server: Server) -> None:
    server.session("sess_1", call(1, kind="agent.custom_tool_use"))
    qoder.stdin = "sess_1\n"
    ran = run(qoder, server, "answer", "-", "evt_1", "--result", "-")
    assert (ran.code, server.posted) == (2, [])


@pytest.mark.parametrize("id", ["turn_1", "drun_1", "sess_1", "evt_1\n", "evt_\x1b[2J", "../evt_1", "-", "evt_1,evt_2"])
def test_ids_of_another_kind(qoder: Qoder, server: Server, id: str) -> None:
    server.session("sess_1", call(1))
    ran = run(qoder, server, "approve", "sess_1", id, "--yes")
    assert (ran.code in (2, 5), server.posted) == (True, [])


@pytest.mark.parametrize("order", list(itertools.product((0, 1, 2), repeat=2)), ids=str)
def test_hashes_of_several_calls(qoder: Qoder, server: Server, order: tuple[int, ...]) -> None:
    server.session("sess_1", call(1), call(2), call(3))
    hashes = [sha256_of(call(n + 1)).upper() for n in order]
    words = [word for each in hashes for word in ("--input-sha256", each)]
    ran = qoder("session", "approve", "sess_1", "evt_2", "evt_1", "--yes", "--json", *words)
    assert (ran.code, len(server.posted)) == ((0, 1) if sorted(order) == [0, 1] else (6, 0))


def test_all_with_custom_calls_says_what_still_waits(qoder: Qoder, server: Server) -> None:
    server.session("sess_1", call(1), call(2, kind="agent.custom_tool_use"))
    ran = run(qoder, server, "approve", "sess_1", "--all", "--yes")
    assert (ran.code, ran.json["still_waiting"]) == (0, ["evt_2"])
