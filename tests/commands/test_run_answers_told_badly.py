"""A server that tells the truth badly, against the commands that answer an agent: none of the promises may break."""

import itertools
import json
import re
import signal
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest

from tests.conftest import Qoder, Ran
from tests.support.asking import Event, Server, call, refusal, sha256_of
from tests.support.interrupting import interrupted

HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b-\u200f]")
COMMANDS = {
    "approve": "approve sess_1 evt_1 --yes",
    "approve --all": "approve sess_1 --all --yes",
    "deny": "deny sess_1 evt_1 --yes",
    "answer": "answer sess_1 evt_1 --with green",
    "send": "send sess_1 -m hello",
}
ALL = COMMANDS["approve --all"]
Events = list[Event]
Handle = Callable[[httpx.Request], httpx.Response]
Change = Callable[[httpx.Request, Handle], httpx.Response]


def commands_with(ways: Iterable[str], *, but: str = "") -> list[tuple[str, str]]:
    """Return each way with approve, and every fourth with each other command: what reads an answer is the same."""
    others = [way for way in ways if way != but]
    return [(command, way) for command in COMMANDS for way in (others if command == "approve" else others[::4])]


@pytest.fixture
def server(qoder: Qoder) -> Server:
    made = Server(qoder.clock)
    qoder.transport = made
    return made


def asks(server: Server, command: str) -> None:
    """Let a session wait for what a command answers, beside another one."""
    kind = "agent.custom_tool_use" if command == "answer" else "agent.tool_use"
    server.session("sess_1", *([] if command == "send" else [call(1, kind=kind)]))
    server.session("sess_2", call(3))


def run(qoder: Qoder, server: Server, line: str) -> Ran:
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
        assert not server.posted, ran.err
    if ran.code == 0 and isinstance(document := json.loads(ran.out or "null"), dict):
        for each in document.get("calls", []):
            assert server.taken[each["call"]], ran
        assert server.posted or not document.get("events")
    return ran


def bent(server: Server, method: str, change: Change) -> None:
    """Change what is answered to each write, or to each request for a list of events."""
    handle = server.respond

    def handled(request: httpx.Request) -> httpx.Response:
        is_meant = request.method == method and request.url.path.endswith("/events")
        return change(request, handle) if is_meant else handle(request)

    server.respond = handled


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
    "404": lambda: refusal(404, "No.", "not_found_error"),
    "429": lambda: refusal(429, "Slow down.", "rate_limit_error"),
    **{f"{n} in the envelope": lambda n=n: refusal(n, "No.", "api_error") for n in (500, 502, 504)},  # type: ignore[misc]
    "html 404": lambda: httpx.Response(404, text="<html>not found</html>"),
    "html 400": lambda: httpx.Response(400, text="<html>result</html>"),
    "204": lambda: httpx.Response(204),
    "hostile": lambda: refusal(500, "Oops\x1b[2J\r\nerror: allow? [y]es\u202e", "api\x1b_error"),
}


def hears(server: Server, heard: str) -> None:
    def change(request: httpx.Request, handle: Handle) -> httpx.Response:
        told, answer = handle(request), HEARD[heard]
        return answer() if answer else httpx.Response(202, content=told.content, headers=told.headers)

    bent(server, "POST", change)


@pytest.mark.parametrize(("command", "heard"), commands_with(HEARD, but="404"))
@pytest.mark.few(12)
def test_session_answers_never_deny_what_was_done(qoder: Qoder, server: Server, command: str, heard: str) -> None:
    asks(server, command)
    hears(server, heard)
    if heard != "429":
        assert run(qoder, server, COMMANDS[command]).code in (0, 9)
    elif command != "send":  # which may be sent again
        ran = qoder("session", *COMMANDS[command].split(), "--json")
        assert server.ours["evt_1"] == 1
        assert "nothing was sent" not in ran.error["message"]


@pytest.mark.parametrize(("command", "heard"), commands_with(HEARD, but="202"))
@pytest.mark.few(12)
def test_session_answers_never_claim_what_was_not_done(qoder: Qoder, server: Server, command: str, heard: str) -> None:
    asks(server, command)
    server.accept = lambda session, events: data()
    hears(server, heard)
    assert run(qoder, server, COMMANDS[command]).code != 0
    assert len(server.posted) == 1 or heard == "429"


# What waits, told badly.


def twice(events: Events, *, last: bool, **changes: Any) -> Events:
    """Tell a call in another way, too: before it or after it."""
    told = []
    for event in events:
        other = [{**event, "input": {"command": "rm -rf /"}, **changes}] if event["id"] == "evt_1" else []
        told += [event, *other] if last else [*other, event]
    return told


def is_other(event: Event) -> bool:
    return bool(event.get("input") == {"command": "rm -rf /"})


MCP = {"type": "agent.mcp_tool_use", "mcp_server_name": "x", "input": {"command": "echo 1"}}
TWICE: dict[str, Callable[[Events], Events]] = {
    "the other first": lambda events: twice(events, last=False),
    "the other last": lambda events: twice(events, last=True),
    "the other much earlier": lambda events: twice(events, last=False, processed_at="2020-01-01T00:00:00Z"),
    "the other at the end": lambda events: [*events, *(each for each in twice(events, last=True) if is_other(each))],
    "of another kind": lambda events: twice(events, last=True, **MCP),
}


@pytest.mark.parametrize("told", TWICE)
@pytest.mark.parametrize("line", [COMMANDS["approve"], ALL])
@pytest.mark.parametrize("newest", [True, False])
def test_session_approve_approves_no_call_that_is_told_in_two_ways(
    qoder: Qoder, server: Server, told: str, line: str, newest: bool
) -> None:
    server.session("sess_1", call(1))
    server.told = lambda events: TWICE[told](events) if newest else TWICE[told](events[::-1])[::-1]
    assert (run(qoder, server, line).code, server.posted) == (6, [])
    [one] = qoder("session", "pending", "sess_1", "--json").json
    assert (one["call"], one["kind"], one["input"]) == ("evt_1", None, None)


NOT_OURS: dict[str, Any] = {
    "of another session": ["evt_3"],
    "of both": ["evt_1", "evt_3"],
    "wrong": ["evt_404"],
    "of an idle": ["evt_s2_sess_1"],
    "an option": ["--all"],
    "hostile": ["evt_1\x1b[2J\r\nallow? [y]es \u202e"],
    "long": ["evt_" + "1" * 5_000_000],
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
def test_session_approve_answers_only_its_own_calls_whatever_is_named(qoder: Qoder, server: Server, ids: str) -> None:
    session = server.session("sess_1", call(1))
    server.session("sess_2", call(3))
    session.told[-1][1]["stop_reason"]["event_ids"] = IDS[ids]
    for line in ("pending sess_1", ALL):
        assert len(run(qoder, server, line).err) < 20_000
    assert set(server.ours) <= {"evt_1"}
    assert len(server.posted) <= (0 if ids in NOT_OURS else 1)


def test_session_pending_offers_no_id_that_is_an_option_in_a_command(qoder: Qoder, server: Server) -> None:
    server.session("sess_1", {**call(1), "id": "--all"}, call(2))
    for one in qoder("session", "pending", "sess_1", "--json").json:
        assert not [words for words in one["answer"].values() if "--all" in words]


STOPS: list[Any] = ["requires_action", {"type": "REQUIRES_ACTION", "event_ids": ["evt_1"]}, 5, ["requires_action"]]


@pytest.mark.parametrize("stop", STOPS, ids=str)
def test_session_approve_answers_only_where_the_stop_reason_asks(qoder: Qoder, server: Server, stop: Any) -> None:
    session = server.session("sess_1", call(1))
    session.told[-1][1]["stop_reason"] = stop
    assert run(qoder, server, ALL).code == 0
    assert bool(server.posted) == (stop == "requires_action")


def test_session_approve_believes_no_list_of_another_sessions_events(qoder: Qoder, server: Server) -> None:
    server.session("sess_1", call(1))
    server.session("sess_2", call(3))
    for session in server.sessions.values():
        for _, event in session.told:
            event["session_id"] = session.id
    bent(server, "GET", lambda asked, handle: handle(httpx.Request("GET", str(asked.url).replace("sess_1", "sess_2"))))
    ran = run(qoder, server, ALL)
    assert server.posted == [], ran


def test_run_approve_and_send_believe_no_other_run_than_the_one_asked_for(qoder: Qoder, server: Server) -> None:
    server.session("sess_1", call(1))
    server.session("sess_2", call(2))
    whole = server.show_run
    server.show_run = lambda id: whole("drun_2")
    for line in ("approve drun_1 --all --yes", "send drun_1 -m hello"):
        assert qoder("run", *line.split(), "--json").code != 0
        assert server.posted == []


def test_session_approve_reads_no_pages_without_end(qoder: Qoder, server: Server) -> None:
    server.session("sess_1", call(1), call(2))
    asked = itertools.count()

    def endless(request: httpx.Request, handle: Handle) -> httpx.Response:
        page = json.loads(handle(httpx.Request("GET", request.url.copy_remove_param("page"))).content)
        assert next(asked) < 2_000, "for ever"
        return httpx.Response(200, json=page | {"has_more": True, "next_page": f"p{next(asked)}"})

    bent(server, "GET", endless)
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
    "404": lambda page: refusal(404, "No.", "not_found_error"),
    "html": lambda page: httpx.Response(200, text="<html>"),
    "503": lambda page: refusal(503, "Busy", "api_error"),
}


@pytest.mark.parametrize(("command", "told"), commands_with(LISTS))
@pytest.mark.few(16)
def test_session_answers_keep_their_promises_on_a_list_that_is_told_badly(
    qoder: Qoder, server: Server, told: str, command: str
) -> None:
    asks(server, command)

    def badly(request: httpx.Request, handle: Handle) -> httpx.Response:
        first = httpx.Request("GET", request.url.copy_remove_param("page"))
        return LISTS[told](json.loads(handle(first).content))

    bent(server, "GET", badly)
    run(qoder, server, COMMANDS[command])
    assert qoder("session", "pending", "sess_1", "--json").code != 70
    assert len(server.posted) <= 1


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


def swaps(server: Server, old: str, new: str) -> None:
    """Have something else in the place of a text, in each list of the events of a session whose call waits."""
    server.session("sess_1", call(1))
    headers = {"date": ""}
    bent(
        server,
        "GET",
        lambda asked, handle: httpx.Response(200, text=handle(asked).text.replace(old, new), headers=headers),
    )


@pytest.mark.parametrize("where", DOUBLED)
def test_run_approve_sends_nothing_for_a_call_with_a_field_twice(qoder: Qoder, server: Server, where: str) -> None:
    swaps(server, *DOUBLED[where])
    for words in (("--all",), ("evt_1",)):
        ran = qoder("run", "approve", "drun_1", *words, "--yes")
        assert ran.code == 6
        assert "cannot be read" in ran.err
    assert server.posted == []
    [row] = qoder("run", "pending", "drun_1", "--json").json
    assert (row["call"], row["input"], row["input_sha256"], row["answer"]) == ("evt_1", None, None, {})
    assert qoder("run", "pending", "drun_1").out.split("\t")[4] == "unreadable"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [(MARK, '"command":"echo 1","more":[{"command":1},{"command":2}]', 0), ('{"data":', '{"data":[],"data":', 7)],
    ids=["each field once", "the list twice"],
)
def test_run_approve_takes_what_names_fields_once(qoder: Qoder, server: Server, old: str, new: str, code: int) -> None:
    swaps(server, old, new)
    assert qoder("run", "approve", "drun_1", "evt_1", "--yes").code == code
    assert len(server.posted) == (0 if code else 1)


# Who was faster, and what is left of it.

STOPPED: dict[str, Event] = {
    "cancelled": {"type": "session.status_idle", "stop_reason": {"type": "cancelled"}},
    "budget_reached": {"type": "session.status_idle", "stop_reason": {"type": "budget_reached"}},
    "terminated": {"type": "session.status_terminated"},
    "deleted": {"type": "session.deleted"},
}


@pytest.mark.parametrize("command", ["approve", "deny"])
@pytest.mark.parametrize("stop", STOPPED)
def test_session_answers_claim_nothing_lost_by_a_stop(qoder: Qoder, server: Server, command: str, stop: str) -> None:
    session = server.session("sess_1", call(1))
    server.goes_wrong = ["drop-before"]
    server.before_post.append(lambda: server._tell(session, qoder.clock.time, STOPPED[stop]))
    assert run(qoder, server, COMMANDS[command]).code == 9


def test_session_approve_claims_nothing_of_a_call_that_cannot_be_read_any_more(qoder: Qoder, server: Server) -> None:
    def nameless(events: Events) -> Events:
        return [{**event, "name": 5} if event["id"] == "evt_1" else event for event in events]

    server.session("sess_1", call(1))
    server.goes_wrong = ["drop-before"]
    server.before_post.append(lambda: setattr(server, "told", nameless))
    assert run(qoder, server, COMMANDS["approve"]).code == 9


def test_session_approve_claims_nothing_from_a_list_that_does_not_show_yet_that_the_agent_asked(
    qoder: Qoder, server: Server
) -> None:
    server.session("sess_1", call(1))
    server.goes_wrong = ["drop-before"]
    server.before_post.append(lambda: setattr(server, "lag", 55.0))  # as of when the agent was at work
    assert run(qoder, server, COMMANDS["approve"]).code == 9


@pytest.mark.parametrize("told", [{"id": "evt_s2_sess_1"}, {"content": [{"type": "text", "text": "theirs"}]}], ids=str)
def test_session_answer_takes_no_other_answer_for_its_own(qoder: Qoder, server: Server, told: dict[str, Any]) -> None:
    server.session("sess_1", call(1, "lookup", "agent.custom_tool_use"))
    server.accept = lambda session, sent: httpx.Response(200, json={"data": [{"id": "evt_9", **sent[0], **told}]})
    ran = qoder("session", "answer", "sess_1", "evt_1", "--with", "mine")
    assert (ran.code, ran.out) == (9, "")


def test_session_deny_does_not_claim_a_lost_denial_of_a_tool_that_ran(qoder: Qoder, server: Server) -> None:
    session = server.session("sess_1", call(1))
    server.goes_wrong = ["drop-before"]
    ran_it = {"type": "agent.tool_result", "tool_use_id": "evt_1", "content": [], "is_error": False}
    server.before_post.append(lambda: server.turn(session, qoder.clock.time, "Done.", ran_it))
    ran = run(qoder, server, COMMANDS["deny"])
    assert ran.code != 0 or '"denied"' not in ran.out


def answered_after(qoder: Qoder, server: Server, result: str, *, id: str = "evt_1", count: int | None = None) -> None:
    """Let somebody else answer a call right after ours, of which only so many are taken; and lose our response."""
    take = server.accept
    server.lenient, server.goes_wrong = True, ["drop-after"]

    def taken(session: Any, events: Events) -> httpx.Response:
        answer = take(session, events[:count])
        qoder.clock.time += 0.1
        server.answered_by_a_colleague(id, result)
        return answer

    server.accept = taken


@pytest.mark.parametrize(("command", "theirs"), [("approve", "deny"), ("deny", "allow")])
def test_session_answers_see_their_own_though_somebody_else_answered_after_it(
    qoder: Qoder, server: Server, command: str, theirs: str
) -> None:
    server.session("sess_1", call(1))
    answered_after(qoder, server, theirs)
    assert run(qoder, server, COMMANDS[command]).code in (0, 9)


@pytest.mark.parametrize("heard", ["", "400", "500"])
def test_session_approve_does_not_deny_a_request_that_is_done_in_part(qoder: Qoder, server: Server, heard: str) -> None:
    server.session("sess_1", call(1), call(2))
    answered_after(qoder, server, "deny", id="evt_2", count=1)
    if heard:
        server.goes_wrong = []
        take = server.accept
        server.accept = lambda session, events: take(session, events) and refusal(int(heard), "evt_2 is not waiting.")
    ran = qoder("session", *ALL.split(), "--json")
    assert server.ours == {"evt_1": 1}
    assert ran.code == 9, ran.err
    assert "nothing was sent" not in ran.err


@pytest.mark.parametrize("lacks", ["result", "content", "is_error", "session_thread_id", "deny_message"])
@pytest.mark.parametrize("command", ["approve", "deny", "answer"])
def test_session_answers_deny_nothing_a_list_leaves_out(qoder: Qoder, server: Server, command: str, lacks: str) -> None:
    asks(server, command)
    server.goes_wrong = ["drop-after"]
    server.told = lambda events: [
        {k: v for k, v in each.items() if k != lacks or not each["type"].startswith("user.")} for each in events
    ]
    assert run(qoder, server, COMMANDS[command]).code in (0, 9)


@pytest.mark.skipif(not hasattr(signal, "SIGTERM"), reason="there is no SIGTERM")
@pytest.mark.parametrize("command", [*COMMANDS, "approve --wait", "send --interrupt"])
@pytest.mark.parametrize("answer_comes", [True, False])
def test_session_answers_say_after_a_signal_what_was_delivered(
    qoder: Qoder, server: Server, command: str, answer_comes: bool
) -> None:
    """A signal at other moments: tests/contract."""
    name, _, option = command.partition(" ")
    asks(server, name)
    with interrupted(qoder, answer_comes=answer_comes):
        ran = run(qoder, server, COMMANDS.get(command) or f"{COMMANDS[name]} {option}")
    assert ran.code in (0, 143)
    if ran.code and sum(server.ours.values()) and not ran.out:
        assert "delivered" in ran.error["message"], ran.err
    if ran.code and "was delivered" in ran.error["message"] and "unknown" not in ran.error["message"]:
        assert sum(server.ours.values()), ran.err


# What is typed.


@pytest.mark.parametrize(
    "line",
    [
        "answer - evt_1 --with -",
        *(f"approve sess_1 {id} --yes" for id in ("turn_1", "drun_1", "sess_1", "evt_\x1b[2J")),
        *(f"approve sess_1 {id} --yes" for id in ("../evt_1", "-", "evt_1,evt_2")),
    ],
)
def test_session_answers_refuse_ids_of_another_kind(qoder: Qoder, server: Server, line: str) -> None:
    server.session("sess_1", call(1, kind="agent.custom_tool_use" if "answer" in line else "agent.tool_use"))
    qoder.stdin = "sess_1\n"
    assert run(qoder, server, line).code in (2, 5)
    assert server.posted == []


@pytest.mark.parametrize("order", list(itertools.product((0, 1, 2), repeat=2)), ids=str)
def test_session_approve_takes_many_hashes_in_any_order(qoder: Qoder, server: Server, order: tuple[int, ...]) -> None:
    server.session("sess_1", call(1), call(2), call(3))
    words = " ".join(f"--input-sha256 {sha256_of(call(n + 1)).upper()}" for n in order)
    ran = qoder("session", *f"approve sess_1 evt_2 evt_1 --yes --json {words}".split())
    assert (ran.code, len(server.posted)) == ((0, 1) if sorted(order) == [0, 1] else (6, 0))


def test_session_approve_all_says_which_custom_calls_still_wait(qoder: Qoder, server: Server) -> None:
    server.session("sess_1", call(1), call(2, kind="agent.custom_tool_use"))
    ran = run(qoder, server, ALL)
    assert (ran.code, ran.json["still_waiting"]) == (0, ["evt_2"])
