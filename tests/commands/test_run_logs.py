"""`qoder run logs`: what a session's events look like, and its history."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.conftest import Qoder
from tests.support.completions import offered
from tests.support.logs import says, text
from tests.support.one_run import CURRENT, DONE, EVENTS, LEGACY, RUN, WORK
from tests.support.wire import GONE, page

TOOL = "agent.tool_use"

# An event, who does it, and what is said of it.
LOOKS: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "agent.message", "content": text("One.\n", "Two.")}, "agent", "One.\nTwo."),
    ({"type": "agent.message", "content": "1\r\n2\x1b[2J\n\n\t3\u202e\n"}, "agent", "1\n2\\u001b[2J\n\n\t3\\u202e"),
    ({"type": "agent.message", "content": "A plain string."}, "agent", "A plain string."),
    ({"type": "agent.message", "content": [{"type": "image", "source": {}}]}, "agent", "[image]"),
    ({"type": "agent.message", "content": [1, None, {"text": 7}]}, "agent", "(empty)"),
    ({"type": "user.message", "content": text("Go.")}, "user", "Go."),
    ({"type": "user.interrupt"}, "user", "(interrupts)"),
    ({"type": "user.tool_confirmation", "result": "deny", "deny_message": "No."}, "user", "deny: No."),
    ({"type": "user.define_outcome", "description": "A report"}, "user", "wants: A report"),
    ({"type": "system.message", "content": text("Be brief.")}, "system", "Be brief."),
    ({"type": TOOL, "name": "Bash", "input": {"command": "ls\n  -l"}}, "tool", "Bash ls\\n  -l"),
    ({"type": TOOL, "name": "Edit", "input": {"a": 1, "b": "x"}}, "tool", 'Edit {"a":1,"b":"x"}'),
    ({"type": TOOL, "name": "Bash", "input": {"c": "x" * 300}}, "tool", f"Bash {'x' * 300}"),
    ({"type": TOOL, "name": "Bash", "evaluated_permission": "ask"}, "tool", "Bash (waiting for approval)"),
    ({"type": "agent.mcp_tool_use", "mcp_server_name": "db", "name": "ask", "input": {}}, "tool", "db/ask"),
    ({"type": "agent.custom_tool_use", "name": "t", "input": "words"}, "tool", "t words"),
    ({"type": "agent.tool_result", "content": text("ok")}, "result", "ok"),
    ({"type": "agent.tool_result", "content": text("no"), "is_error": True}, "failed", "no"),
    ({"type": "agent.tool_result", "content": text("x" * 2000 + "y" * 3431)}, "result", "x" * 2000 + "y" * 3431),
    (
        {"type": "agent.artifact_delivered", "file_id": "file_1", "original_filename": "a.txt", "size": 1234},
        *("file", "a.txt (1,234 bytes, file_1)"),
    ),
    (
        {"type": "agent.thread_message_sent", "from_agent_name": "a", "to_agent_name": "b", "content": text("Do.")},
        *("thread", "a → b: Do."),
    ),
    ({"type": "session.status_running"}, "session", "running"),
    ({"type": "session.status_idle", "stop_reason": {"type": "end_turn"}}, "session", "idle: end_turn"),
    ({"type": "session.status_idle", "stop_reason": "odd"}, "session", "idle: odd"),
    ({"type": "session.status_terminated"}, "session", "terminated"),
    (
        {"type": "session.error", "error": {"type": "t", "message": "m", "retry_status": {"type": "retrying"}}},
        *("error", "t: m (retrying)"),
    ),
    ({"type": "session.error", "error": {"message": "m", "retry_status": "retrying"}}, "error", "m (retrying)"),
    ({"type": "session.error", "error": "m", "code": "c"}, "error", "c: m"),
    ({"type": "session.error"}, "error", "the session reported an error"),
    ({"type": "span.outcome_evaluation_end", "result": "satisfied", "explanation": "e"}, "outcome", "satisfied: e"),
    ({"type": "span.outcome_evaluation_end"}, "outcome", "evaluated"),
    ({"type": "agent.tool_result", "content": []}, "result", "(empty)"),
    ({"type": "agent.artifact_delivered"}, "file", "(unnamed file)"),
    ({"type": "agent.thread_message_sent", "to_agent_name": "b", "content": text("Do.")}, "thread", "? → b: Do."),
    ({"type": "user.tool_confirmation", "decision": "allow"}, "user", "allow"),
    ({"type": "user.tool_confirmation"}, "user", "(an answer)"),
    ({"type": "agent.dance"}, "event", "agent.dance"),
    ({"type": "agent.\x1b[2J"}, "event", "agent.\\u001b[2J"),
    ({}, "event", "(without a type)"),
]
BOOKKEEPING = ["agent.thinking", "span.model_request_end", "session.thread_created", "session.usage"]


def test_run_logs_in_a_pipe_shows_time_who_and_text(qoder: Qoder) -> None:
    told = [{**event, "processed_at": "2026-06-14T08:54:06Z"} for event, _, _ in LOOKS]
    noise: list[dict[str, Any]] = [{"type": kind} for kind in BOOKKEEPING]
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, {"data": [*noise, *told, {"type": "odd"}]})
    ran = qoder("run", "logs", "drun_1")
    shown = [f"2026-06-14T08:54:06Z\t{who}\t{said}" for _, who, said in LOOKS]
    expected = "\n".join([*shown, "-\tevent\todd"]) + "\n"
    assert ran.out.replace("\n\t\t", "\n").splitlines() == expected.splitlines()
    assert (ran.code, ran.err) == (0, "")


CUT: list[tuple[dict[str, Any], str]] = [
    ({"type": TOOL, "name": "Bash", "input": {"command": "ls\n  -l"}}, "Bash ls -l"),
    ({"type": TOOL, "name": "Bash", "input": {"c": "x" * 300}}, f"Bash {'x' * 100}…"),
    ({"type": "agent.tool_result", "content": text("x" * 2000)}, "x" * 2000),
    (
        {"type": "agent.tool_result", "content": text("x" * 2000 + "y" * 3431)},
        f"{'x' * 2000} … 3,431 more characters (use -o jsonl)",
    ),
]


@pytest.mark.parametrize(("event", "shown"), CUT)
def test_run_logs_cuts_long_calls_and_results_on_a_terminal_only(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch, event: dict[str, Any], shown: str
) -> None:
    monkeypatch.setattr("qoder_cli.sessions.transcript.terminal_width", lambda: 3000)
    qoder.terminal = True
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(event))
    assert " ".join(qoder("run", "logs", "drun_1").out.split()).endswith(shown)


def test_run_logs_of_a_type_shows_bookkeeping_too_and_filters_again(qoder: Qoder) -> None:
    types = ["agent.message", *BOOKKEEPING]
    others = [{"id": f"evt_{kind}", "type": kind} for kind in (*BOOKKEEPING, "session.error")]
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK, says("Hello."), *others))
    ran = qoder("run", "logs", "drun_1", "--type", types[0], "--type", ",".join(BOOKKEEPING))
    shown = [line.split("\t")[1:] for line in ran.out.splitlines()]
    assert shown == [["agent", "Hello."], *(["event", kind] for kind in BOOKKEEPING)]
    assert qoder.wire.requests[-1].url.params.get_list("types[]") == types


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


WRAPPED = [
    ("one two three", 8, ["one two", "three"]),
    ("  indented words", 10, ["  indented", "words"]),
    ("https://example.com/long/address and more", 12, ["https://example.com/long/address", "and more"]),
    ("表表表 表表", 6, ["表表表", "表表"]),
]


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(("words", "room", "pieces"), WRAPPED)
def test_run_logs_on_a_terminal_shows_local_times_and_breaks_lines_at_spaces(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch, words: str, room: int, pieces: list[str]
) -> None:
    monkeypatch.setattr("qoder_cli.sessions.transcript.terminal_width", lambda: 20 + room)
    qoder.terminal = True
    late = says(words, processed_at="2026-06-14T22:54:06.5Z")
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(late, {"type": "odd", "processed_at": "no time"}))
    lines = qoder("run", "logs", "drun_1").out.splitlines()
    assert lines == [
        "2026-06-15 (UTC)",
        f"00:54:06  agent     {pieces[0]}",
        *(f"{'':20}{piece}" for piece in pieces[1:]),
        "          event     odd",
    ]


# Which events, and in which format.


def test_run_logs_leaves_events_as_they_are_in_json(qoder: Qoder) -> None:
    raw = '{"id":"evt_1","type":"session.usage","total_credits":1.10,"big":1E400,"text":"\\u001b[2J"}'
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, f'{{"data": [{raw}], "has_more": false}}')
    assert qoder("run", "logs", "drun_1", "-o", "jsonl").out == raw + "\n"


@pytest.mark.parametrize(
    ("tail", "limits", "shown"),
    [(3, ["10"], 3), (100, ["100"], 100), (150, ["75", "75"], 150), (500, ["100"] * 3, 250)],
)
def test_run_logs_tail_costs_no_more_than_it_shows(qoder: Qoder, tail: int, limits: list[str], shown: int) -> None:
    at = "2026-06-14T08:{:02}:{:02}Z"
    newest_first = [says(f"{n}", id=f"evt_{n}", processed_at=at.format(n // 60, n % 60)) for n in reversed(range(250))]

    def answer(request: httpx.Request) -> httpx.Response:
        query = request.url.params
        assert query["order"] == "desc"
        begin = 250 - int(query["page"][4:]) if "page" in query else 0
        end = begin + int(query["limit"])
        last = newest_first[:end][-1]["id"]
        more = {"has_more": end < 250, "next_page": last if end < 250 else None, "last_id": last}
        return httpx.Response(200, json={"data": newest_first[begin:end], **more})

    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, answer, repeat=True)
    ran = qoder("run", "logs", "drun_1", "--tail", str(tail), "--json")
    assert ran.json == newest_first[:shown][::-1]
    assert [request.url.params["limit"] for request in qoder.wire.requests[1:]] == limits


def test_run_logs_since_is_asked_for_and_filtered_again(qoder: Qoder) -> None:
    timeless = {"id": "evt_t", "type": "odd"}
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(says("early", 5), says("late", 6), timeless))
    ran = qoder("run", "logs", "drun_1", "--since", "2026-06-14T10:54:06+02:00", "-q")
    assert ran.out.split() == ["evt_6", "evt_t"]
    assert qoder.wire.requests[-1].url.params["created_at[gte]"] == "2026-06-14T08:54:06Z"


@pytest.mark.parametrize("words", ["drun_1", "drun_1 --follow", "drun_1 drun_1"])
def test_run_logs_since_counts_an_age_by_the_servers_clock(qoder: Qoder, words: str) -> None:
    qoder.clock.time = NOW.timestamp()  # two hours ahead
    date = {"date": "Sun, 14 Jun 2026 10:00:00 GMT"}
    qoder.wire.on(*RUN, httpx.Response(200, json=DONE, headers=date), repeat=True)
    qoder.wire.on(*EVENTS, page(says("Hello.", processed_at="2026-06-14T09:30:00Z")), repeat=True)
    assert "evt_1" in qoder("run", "logs", *words.split(), "--since", "1h", "-q").out
    assert qoder.wire.requests[-1].url.params["created_at[gte]"] == "2026-06-14T09:00:00Z"


NOW = datetime(2026, 6, 14, 12, 0, tzinfo=UTC)


def test_run_logs_since_takes_this_second_and_none_to_come(qoder: Qoder) -> None:
    qoder.clock.time = NOW.timestamp()
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page())
    assert qoder("run", "logs", "drun_1", "--since=2026-06-14T12:00:00Z", "--json").code == 0
    ran = qoder("run", "logs", "drun_1", "--since=2026-06-14T12:00:01Z")
    assert (ran.code, "in the future" in ran.err) == (2, True)


# Where there is nothing to show.

ERROR = {"type": "environment_archived_error", "message": "The environment is archived."}
NO_SESSION = {**CURRENT, "session_id": None}
# How run and events are told; the exit code, and what is said.
NOTHING: dict[str, tuple[Any, Any, int, str]] = {
    "no events": (CURRENT, page(), 0, "run drun_1 has no events yet\n"),
    "no events that are any": (CURRENT, {**page(), "data": [1, None]}, 0, "run drun_1 has no events yet\n"),
    "never started": ({**NO_SESSION, "error": ERROR}, None, 5, "The environment is archived."),
    "never started, and then": ({**NO_SESSION, "error": ERROR}, None, 5, '"next":["qoder","run","why","drun_1",'),
    "skipped": ({**LEGACY, "session_id": None, "status": "skipped"}, None, 5, "skipped"),
    "no session yet": (NO_SESSION, None, 8, '"next":["qoder","run","logs","drun_1","--follow","-o","json"]'),
    "deleted": (CURRENT, GONE, 5, "sess_1 of run drun_1 was deleted, along with its events"),
    "a page of somebody else": (CURRENT, (404, "<p>Nothing here"), 5, '"message":"HTTP 404 from api.qoder.com: '),
    "no such run": (GONE, None, 5, "No such thing."),
    "no run": ([], None, 7, ""),
}


@pytest.mark.parametrize(("run", "events", "code", "says"), NOTHING.values(), ids=NOTHING.keys())
def test_run_logs_says_why_there_is_nothing_to_show(qoder: Qoder, run: Any, events: Any, code: int, says: str) -> None:
    qoder.wire.on(*RUN, run, repeat=True)
    if events:
        qoder.wire.on(*EVENTS, events)
    ran = qoder("run", "logs", "drun_1", "--json")
    assert (ran.code, ran.out) == (code, "[]\n" if code == 0 else "")
    assert says in ran.err


def test_run_logs_says_that_no_event_is_of_the_type_or_the_thread(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(says("Hello.")))
    assert "no matching events" in qoder("run", "logs", "drun_1", "--type", "agent.mesage", "-q").err
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(says("Hello."), more=True), page({"id": "evt_2", "type": "other"}))
    assert qoder("run", "logs", "drun_1", "--type", "agent.message", "-q").err == ""
    qoder.wire.on(*RUN, CURRENT).on("GET", "/sessions/sess_1/threads/sthr_9/events", GONE)
    assert "was deleted, or has no thread sthr_9" in qoder("run", "logs", "drun_1", "--thread", "sthr_9").err


def test_run_logs_waits_for_the_session_of_a_young_run(qoder: Qoder) -> None:
    young = {**CURRENT, "created_at": "2027-01-15T08:00:00Z"}  # where the fake clock stands
    qoder.wire.on(*RUN, young).on(*EVENTS, GONE, GONE, page(says("Hello.")))
    assert (qoder("run", "logs", "drun_1", "-q").out, qoder.clock.slept) == ("evt_1\n", [1.0, 1.0])
    qoder.wire.on(*RUN, young).on(*EVENTS, *[(502, "")] * 5)  # no longer than for that of another
    assert qoder("run", "logs", "drun_1", "-q").code == 7


def test_run_logs_remembers_the_run_for_completion(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(says("Hello.")))
    assert qoder("run", "logs", "drun_1", "-q").code == 0
    assert offered("qoder run get drun_", qoder.env)["drun_1"].startswith("dep_1 2026-06-14 ")


# Answers that are not as they should be.


FIRST = {**page(says("a"), more=True), "next_page": "p2"}
EMPTY = [{"data": [], "next_page": f"{n}"} for n in range(12)]
PAGES: dict[str, tuple[list[Any], int, str, str]] = {
    "a page that fails": ([FIRST, *[(502, "")] * 5], 7, "evt_1\n", "502"),
    "a cursor that does not move": ([FIRST, FIRST], 7, "evt_1\n", "returns the same page cursor again"),
    "the same page": ([{**FIRST, "next_page": f"{n}"} for n in range(11)], 7, "evt_1\n", "again and again"),
    "two pages in turn": (
        [{**page(says("a", n % 2)), "next_page": f"{n}"} for n in range(12)],
        *(7, "evt_0\nevt_1\n", "again and again"),
    ),
    "pages that overlap": ([FIRST, page(says("a"), says("b", id="evt_2"))], 0, "evt_1\nevt_2\n", ""),
    "more, but no cursor": ([{"data": [], "has_more": True}], 7, "", "more pages but no cursor"),
    "more, by a word": ([{**page(says("a")), "has_more": "yes"}], 7, "evt_1\n", "more pages but no cursor"),
    "null for an empty list": ([{"data": None}], 0, "", ""),
    "empty pages before the next": ([*EMPTY, page(says("a"))], 0, "evt_1\n", ""),
}


@pytest.mark.parametrize(("pages", "code", "out", "says"), PAGES.values(), ids=PAGES.keys())
def test_run_logs_shows_all_it_has_of_bad_pages(qoder: Qoder, pages: list[Any], code: int, out: str, says: str) -> None:
    for format in ("id", "json"):
        qoder.wire.on(*RUN, CURRENT).on(*EVENTS, *pages)
        ran = qoder("run", "logs", "drun_1", "-o", format)
        assert ran.code == code
        assert says in ran.err
        if format == "id":
            assert ran.out == out
        else:
            assert ran.out.endswith("]\n") == (code == 0)
