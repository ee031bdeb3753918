"""A server that tells the truth badly, against the commands that answer an agent: none of the promises may break."""

import itertools
import json
import re
import signal
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import httpx
import pytest

from tests.conftest import Qoder, Ran
from tests.support.asking import Asking, Event, Events, again, call
from tests.support.cells import checkerboard
from tests.support.interrupting import interrupted
from tests.support.things import LOSSES, refusal

HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b-\u200f]")
COMMANDS = {
    "approve": "approve sess_1 evt_1 --yes",
    "approve --all": "approve sess_1 --all --yes",
    "deny": "deny sess_1 evt_1 --yes",
    "answer": "answer sess_1 evt_1 --with green",
    "send": "send sess_1 -m hello",
}
ALL = COMMANDS["approve --all"]
Handle = Callable[..., httpx.Response]


def commands_with(ways: Iterable[str], *, but: str = "") -> list[tuple[str, str]]:
    """Return each way with approve, and every fourth with each other command: what reads an answer is the same."""
    others = [way for way in ways if way != but]
    return [(command, way) for command in COMMANDS for way in (others if command == "approve" else others[::4])]


@pytest.fixture
def server(qoder: Qoder) -> Asking:
    return Asking(qoder)


def asks(server: Asking, command: str) -> None:
    """Let a session wait for what a command answers, beside another one."""
    kind = "agent.custom_tool_use" if command == "answer" else "agent.tool_use"
    server.asks("sess_1", *([] if command == "send" else [call(1, kind=kind)]))
    server.asks("sess_2", call(3))


def run(qoder: Qoder, server: Asking, line: str) -> Ran:
    """Run a command, and check what holds whatever the server does."""
    ran = qoder("session", *line.split(), "--json")
    assert not HIDDEN.search(ran.out + ran.err), ran
    assert ran.code != 70, ran.err
    if ran.code:
        assert sum(line.startswith('{"error"') for line in ran.err.splitlines()) == 1
        assert ran.error["exit_code"] == ran.code
    assert max(server.ours.values(), default=0) <= 1, server.ours
    assert set(server.ours) <= {"evt_1", "evt_2", "hello"}
    if ran.code in (2, 4, 5, 6, 7) or "nothing was sent" in ran.err:
        assert not server.ours, ran.err
    if ran.code and "nothing was sent" in ran.error["message"]:
        assert not server.sent, ran.err
    if ran.code == 0 and isinstance(document := json.loads(ran.out or "null"), dict):
        for each in document.get("calls", []):
            assert server.taken[each["call"]], ran
        assert server.sent or not document.get("events")
    return ran


# What is heard of a write.


def data(*events: Any, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json={"data": [*events]})


OTHERS = {"id": "evt_9", "type": "user.tool_confirmation", "tool_use_id": "evt_3"}
HEARD: dict[str, Callable[[], httpx.Response] | None] = {
    "an empty data": data,
    "data is null": lambda: httpx.Response(200, json={"data": None}),
    "202": None,  # and all else as it was
    "events of another session": lambda: data(OTHERS),
    "another event": lambda: data({"id": "evt_9", "type": "session.status_running"}),
    "ids are numbers": lambda: data({"id": 9}),
    "more than was sent": lambda: data({"id": "evt_9"}, {"id": "evt_8"}),
    "404": lambda: refusal(404, "not_found_error", "No."),
    "429": lambda: refusal(429, "rate_limit_error", "Slow down."),
    **{f"{n} in the envelope": partial(refusal, n, "api_error", "No.") for n in (500, 502, 504)},
    "html 404": lambda: httpx.Response(404, text="<html>not found</html>"),
    "html 400": lambda: httpx.Response(400, text="<html>result</html>"),
    "204": lambda: httpx.Response(204),
    "hostile": lambda: refusal(500, "api\x1b_error", "Oops\x1b[2J\r\nerror: allow? [y]es\u202e"),
}


def hears(server: Asking, heard: str, *, is_done: bool = True) -> None:
    def change(request: httpx.Request, handle: Handle) -> httpx.Response:
        response, answer = handle() if is_done else data(), HEARD[heard]
        return answer() if answer else httpx.Response(202, content=response.read())

    server.bends("POST", change)


@pytest.mark.parametrize(("command", "heard"), commands_with(HEARD, but="404"))
@pytest.mark.few(6)
def test_session_answers_never_deny_what_was_done(qoder: Qoder, server: Asking, command: str, heard: str) -> None:
    asks(server, command)
    hears(server, heard)
    if heard != "429":
        assert run(qoder, server, COMMANDS[command]).code in (0, 9)
    elif command != "send":  # which may be sent again
        ran = qoder("session", *COMMANDS[command].split(), "--json")
        assert server.ours["evt_1"] == 1
        assert "nothing was sent" not in ran.error["message"]


@pytest.mark.parametrize(("command", "heard"), commands_with(HEARD, but="202"))
@pytest.mark.few(6)
def test_session_answers_never_claim_what_was_not_done(qoder: Qoder, server: Asking, command: str, heard: str) -> None:
    asks(server, command)
    hears(server, heard, is_done=False)
    assert run(qoder, server, COMMANDS[command]).code != 0
    assert len(server.sent) == 1 or heard == "429"


# What waits, told badly.


def twice(events: Events, *, last: bool, **changes: Any) -> Events:
    """Tell a call in another way, too: before it or after it."""
    told = []
    for event in events:
        other = [{**event, "input": {"command": "rm -rf /"}, **changes}] if event["id"] == "evt_1" else []
        told += [event, *other] if last else [*other, event]
    return told


MCP = {"type": "agent.mcp_tool_use", "mcp_server_name": "x", "input": {"command": "echo 1"}}
TWICE: dict[str, Callable[[Events], Events]] = {
    "the other first": lambda events: twice(events, last=False),
    "the other last": lambda events: twice(events, last=True),
    "the other much earlier": lambda events: twice(events, last=False, processed_at="2020-01-01T00:00:00Z"),
    "the other at the end": lambda events: [
        *events,
        *(one for one in twice(events, last=True) if one not in events),
    ],
    "of another kind": lambda events: twice(events, last=True, **MCP),
}


@pytest.mark.parametrize(("told", "line", "newest"), checkerboard(TWICE, [COMMANDS["approve"], ALL], [True, False]))
@pytest.mark.few(7)
def test_session_approve_approves_no_call_that_is_told_in_two_ways(
    qoder: Qoder, server: Asking, told: str, line: str, newest: bool
) -> None:
    server.asks("sess_1", call(1))
    server.tells(lambda events: TWICE[told](events) if newest else TWICE[told](events[::-1])[::-1])
    assert (run(qoder, server, line).code, server.sent) == (6, [])
    [one] = qoder("session", "pending", "sess_1", "--json").json
    assert (one["call"], one["kind"], one["input"]) == ("evt_1", None, None)


NOT_OURS: dict[str, Any] = {
    "of another session": ["evt_3"],
    "of both": ["evt_1", "evt_3"],
    "wrong": ["evt_404"],
    "of an idle": ["evt_s2_sess_1"],
    "an option": ["--all"],
    "hostile": ["evt_1\x1b[2J\r\nallow? [y]es \u202e"],
    "long": ["evt_" + "1" * 100_000],
}
IDS: dict[str, Any] = {
    **NOT_OURS,
    "numbers": [1, 2],
    "a number beside": ["evt_1", 2],
    "null": None,
    "a string": "evt_1",
    "twice": ["evt_1", "evt_1"],
    "objects": [{"id": "evt_1"}],
}


@pytest.mark.parametrize("ids", IDS)
def test_session_approve_answers_only_its_own_calls_whatever_is_named(qoder: Qoder, server: Asking, ids: str) -> None:
    server.asks("sess_1", call(1))
    server.asks("sess_2", call(3))
    server.stops({"type": "requires_action", "event_ids": IDS[ids]})
    for line in ("pending sess_1", ALL):
        assert len(run(qoder, server, line).err) < 20_000
    assert set(server.ours) <= {"evt_1"}
    assert len(server.sent) <= (0 if ids in NOT_OURS else 1)


def test_session_pending_offers_no_id_that_is_an_option_in_a_command(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1", {**call(1), "id": "--all"}, call(2))
    for one in qoder("session", "pending", "sess_1", "--json").json:
        assert not [words for words in one["answer"].values() if "--all" in words]


STOPS: list[tuple[Any, int]] = [
    ("requires_action", 0),
    ({"type": "REQUIRES_ACTION", "event_ids": ["evt_1"]}, 7),  # a word that nobody knows, and a call that may wait
    ({"type": "REQUIRES_ACTION", "event_ids": []}, 0),
    ({"type": "end_turn", "event_ids": ["evt_1"]}, 0),
    *((unreadable, 7) for unreadable in (5, ["requires_action"])),
]


@pytest.mark.parametrize(("stop", "code"), STOPS, ids=str)
def test_session_approve_answers_only_where_the_stop_reason_asks(
    qoder: Qoder, server: Asking, stop: Any, code: int
) -> None:
    server.asks("sess_1", call(1))
    server.stops(stop)
    assert run(qoder, server, ALL).code == code
    assert bool(server.sent) == (stop == "requires_action")


def test_session_approve_believes_no_list_of_another_sessions_events(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1", call(1))
    server.asks("sess_2", call(3))
    server.tells(lambda events: [{**event, "session_id": "sess_2"} for event in events])
    server.bends("GET", lambda asked, handle: handle(again(asked, url=str(asked.url).replace("sess_1", "sess_2"))))
    ran = run(qoder, server, ALL)
    assert server.sent == [], ran


def test_run_approve_and_send_believe_no_other_run_than_the_one_asked_for(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1", call(1))
    server.asks("sess_2", call(2))
    server.lies["GET /deployment_runs/drun_1"] = lambda run: {**run, "id": "drun_2", "session_id": "sess_2"}
    for line in ("approve drun_1 --all --yes", "send drun_1 -m hello"):
        assert qoder("run", *line.split(), "--json").code != 0
        assert server.sent == []


def test_session_approve_reads_no_pages_without_end(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1", call(1), call(2))
    asked = itertools.count()

    def endless(request: httpx.Request, handle: Handle) -> httpx.Response:
        page = json.loads(handle(again(request, url=request.url.copy_remove_param("page"))).read())
        assert next(asked) < 2_000, "for ever"
        return httpx.Response(200, json=page | {"has_more": True, "next_page": f"p{next(asked)}"})

    server.bends("GET", endless)
    assert run(qoder, server, "approve sess_1 evt_404 --yes").code in (5, 7)
    assert run(qoder, server, "approve sess_1 evt_1 --yes").code == 0


Told = Callable[[dict[str, Any]], httpx.Response]


def page_with(**changes: Any) -> Told:
    return lambda page: httpx.Response(200, json={**page, **changes})


def events_with(**changes: Callable[[int, Event], Any]) -> Told:
    """Return what answers with events of which these fields are others, by their number and what they were."""
    return lambda page: httpx.Response(
        200,
        json={
            **page,
            "data": [
                {**event, **{name: change(n, event) for name, change in changes.items()}}
                for n, event in enumerate(page["data"])
            ],
        },
    )


def text_with(old: str, new: str) -> Told:
    return lambda page: httpx.Response(
        200, text=json.dumps(page).replace(old, new), headers={"content-type": "application/json"}
    )


ECHO, INPUT = '"echo 1"', '{"command": "echo 1"}'
LISTS: dict[str, Told] = {
    "null": page_with(data=None),
    "no events": page_with(data=[1, None, "x", []]),
    "cut": lambda page: httpx.Response(200, text=json.dumps(page)[:-40]),
    "a list": lambda page: httpx.Response(200, json=page["data"]),
    "has more without a cursor": page_with(data=[], has_more=True),
    "the same cursor": page_with(has_more=True, next_page="same"),
    "no ids": events_with(id=lambda n, event: None),
    "ids are numbers": events_with(id=lambda n, event: n),
    "types are numbers": events_with(type=lambda n, event: n),
    "types are lists": events_with(type=lambda n, event: [event["type"]]),
    "types are objects": events_with(type=lambda n, event: {"a": 1}),
    "times are numbers": events_with(processed_at=lambda n, event: 5),
    "lone surrogates": text_with("echo 1", "\\ud800 echo"),
    "deep": text_with(ECHO, "[" * 5000 + "]" * 5000),
    "90 deep": text_with(ECHO, "[" * 90 + "]" * 90),
    "a key twice": text_with('"command": "echo 1"', '"command": "rm -rf /", "command": "echo 1"'),
    "input is text": text_with(INPUT, '"echo\\r1"'),
    "no input": text_with(INPUT, "null"),
    "name is a list": text_with('"Bash"', '["Bash"]'),
    "thread is a number": text_with('"Bash"', '"Bash", "session_thread_id": 5'),
    "huge numbers": text_with(ECHO, '1e999999, "n": ' + "9" * 5000),
    "404": lambda page: refusal(404, "not_found_error", "No."),
    "html": lambda page: httpx.Response(200, text="<html>"),
    "503": lambda page: refusal(503, "api_error", "Busy"),
}


@pytest.mark.parametrize(("command", "told"), commands_with(LISTS))
@pytest.mark.few(7)
def test_session_answers_keep_their_promises_on_a_list_that_is_told_badly(
    qoder: Qoder, server: Asking, told: str, command: str
) -> None:
    asks(server, command)

    def badly(request: httpx.Request, handle: Handle) -> httpx.Response:
        first = again(request, url=request.url.copy_remove_param("page"))
        return LISTS[told](json.loads(handle(first).read()))

    server.bends("GET", badly)
    run(qoder, server, COMMANDS[command])
    assert qoder("session", "pending", "sess_1", "--json").code != 70
    assert len(server.sent) <= 1


# A call whose JSON names a field twice: readers differ about which one counts.

MARK = '"command":"echo 1"'
DOUBLED = {
    "in the input": (MARK, '"command":"rm -rf /","command":"echo 1"'),
    "deep in the input": (MARK, '"command":"echo 1","more":[{"a":{"b":1,"b":2}}]'),
    "spelled otherwise": (MARK, '"\\u0063ommand":"rm -rf /","command":"echo 1"'),
    "the same value": (MARK, '"command":"echo 1","command":"echo 1"'),
    "the input": ('"input":', '"input":{"command":"rm -rf /"},"input":'),
    "the name": ('"name":"Bash"', '"name":"Danger","name":"Bash"'),
    "the type": ('"type":"agent.tool_use"', '"type":"agent.message","type":"agent.tool_use"'),
    "the id": ('"id":"evt_1"', '"id":"evt_9","id":"evt_1"'),
    "below 200 levels": (MARK, '"command":"echo 1","a":1,"a":' + "[" * 150 + "]" * 150),
}


def swaps(server: Asking, old: str, new: str) -> None:
    """Have something else in the place of a text, in each list of the events of a session whose call waits."""
    server.asks("sess_1", call(1))
    server.bends("GET", lambda _, handle: httpx.Response(200, text=handle().read().decode().replace(old, new)))


@pytest.mark.parametrize("where", DOUBLED)
@pytest.mark.few(6)
def test_run_approve_sends_nothing_for_a_call_with_a_field_twice(qoder: Qoder, server: Asking, where: str) -> None:
    swaps(server, *DOUBLED[where])
    for words in (("--all",), ("evt_1",)):
        ran = qoder("run", "approve", "drun_1", *words, "--yes")
        assert ran.code == 6
        assert "cannot be read" in ran.err
    assert server.sent == []
    [row] = qoder("run", "pending", "drun_1", "--json").json
    assert (row["call"], row["input"], row["input_sha256"], row["answer"]) == ("evt_1", None, None, {})
    assert qoder("run", "pending", "drun_1").out.split("\t")[4] == "unreadable"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [(MARK, '"command":"echo 1","more":[{"command":1},{"command":2}]', 0), ('{"data":', '{"data":[],"data":', 7)],
    ids=["each field once", "the list twice"],
)
def test_run_approve_takes_what_names_fields_once(qoder: Qoder, server: Asking, old: str, new: str, code: int) -> None:
    swaps(server, old, new)
    assert qoder("run", "approve", "drun_1", "evt_1", "--yes").code == code
    assert len(server.sent) == (0 if code else 1)


# Who was faster, and what is left of it.


@pytest.mark.parametrize("told", [{"id": "evt_s2_sess_1"}, {"content": [{"type": "text", "text": "theirs"}]}], ids=str)
def test_session_answer_takes_no_other_answer_for_its_own(qoder: Qoder, server: Asking, told: dict[str, Any]) -> None:
    server.asks("sess_1", call(1, "lookup", "agent.custom_tool_use"))
    sent: Event = {"type": "user.custom_tool_result", "custom_tool_use_id": "evt_1"}
    sent |= {"content": [{"type": "text", "text": "mine"}]}
    server.bends("POST", lambda request, handle: data({"id": "evt_9", **sent, **told}))
    ran = qoder("session", "answer", "sess_1", "evt_1", "--with", "mine")
    assert (ran.code, ran.out) == (9, "")


def answered_after(qoder: Qoder, server: Asking, result: str, *, id: str = "evt_1", count: int | None = None) -> None:
    """Let somebody else answer a call right after ours, of which only so many are taken; and lose our response."""

    def answer() -> None:
        qoder.clock.time += 0.1
        server.colleague(id, result)

    def part(request: httpx.Request, handle: Handle) -> httpx.Response:
        events = json.loads(request.content)["events"][:count]
        return handle(again(request, content=json.dumps({"events": events})))

    server.lenient, server.late, server.after = True, [answer], [LOSSES["reset"]]
    server.bends("POST", part)


@pytest.mark.parametrize(("heard", "code"), [("", 9), ("400", 6), ("500", 9)])
def test_session_approve_does_not_deny_a_request_that_is_done_in_part(
    qoder: Qoder, server: Asking, heard: str, code: int
) -> None:
    server.asks("sess_1", call(1), call(2))
    answered_after(qoder, server, "deny", id="evt_2", count=1)
    if heard:
        server.after = [lambda done: refusal(int(heard), "api_error", "evt_2 is not waiting.")]
    ran = qoder("session", *ALL.split(), "--json")
    assert server.ours == {"evt_1": 1}
    assert ran.code == code, ran.err
    assert "nothing was sent" not in ran.err
    if code == 6:  # the API refused it, and says how each call was decided
        assert "evt_1 no longer waits: it was approved at" in ran.err
        assert "evt_2 no longer waits: it was denied at" in ran.err


@pytest.mark.skipif(not hasattr(signal, "SIGTERM"), reason="there is no SIGTERM")
@pytest.mark.parametrize(
    ("command", "answer_comes"), checkerboard([*COMMANDS, "approve --wait", "send --interrupt"], [True, False])
)
def test_session_answers_say_after_a_signal_what_was_delivered(
    qoder: Qoder, server: Asking, command: str, answer_comes: bool
) -> None:
    """A signal at other moments: tests/contract."""
    name, _, option = command.partition(" ")
    asks(server, name)
    with interrupted(qoder, answer_comes=answer_comes):
        ran = run(qoder, server, COMMANDS.get(command) or f"{COMMANDS[name]} {option}")
    assert ran.code in (0, 143)
    if ran.code and sum(server.ours.values()) and not ran.out:
        assert "delivered" in ran.error["message"], ran.err
        assert "not sent" not in ran.error["message"]
    if ran.code and "was delivered" in ran.error["message"] and "unknown" not in ran.error["message"]:
        assert sum(server.ours.values()), ran.err
