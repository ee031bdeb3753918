"""`qoder run logs`: what a session's events look like, and its history."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.conftest import Qoder
from tests.support.completions import offered
from tests.support.logs import lines_of, says, text
from tests.support.one_run import CURRENT, DONE, ELAPSED, EVENTS, LEGACY, RUN, WORK, idle
from tests.support.wire import GONE, api_error, page

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


# `qoder run logs` of several runs: in order, each whole, and what becomes of those that cannot be read.

USAGE = {"usage": {"total_credits": 0.42}}
LOGS = ("run", "logs")
EXPIRED = api_error(401, "authentication_error", "Expired.")


def has_run(qoder: Qoder, number: int, *events: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Let the wire know a run on an older server, with these events in its session; and return it."""
    run = {**DONE, "id": f"drun_{number}", "session_id": f"sess_{number}", "deployment_id": f"dep_{number}", **fields}
    qoder.wire.on("GET", f"/deployment_runs/drun_{number}", run)
    if events:
        qoder.wire.on("GET", f"/sessions/sess_{number}/events", page(*events))
    return run


def test_run_logs_of_several_puts_each_below_a_line_that_names_its_run(qoder: Qoder) -> None:
    has_run(qoder, 2, says("Second.", 2))
    has_run(qoder, 1, says("First.", 1), status="failed")
    ran = qoder(*LOGS, "drun_2", "drun_1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "==> drun_2 (dep_2, completed) <==\n2026-06-14T08:54:02Z\tagent\tSecond.\n\n"
        "==> drun_1 (dep_1, failed) <==\n2026-06-14T08:54:01Z\tagent\tFirst.\n"
    )


def test_run_logs_reads_ids_from_standard_input_and_is_several_also_with_one(qoder: Qoder) -> None:
    for _ in range(4):
        has_run(qoder, 1, says("Hello.", 1))
    qoder.stdin = "# those that failed\n\ndrun_1\r\n"
    assert len(qoder(*LOGS, "-", "--json").json) == 1
    assert qoder(*LOGS, "-", "--tail", "5").out.startswith("==> drun_1 (dep_1, completed) <==\n")
    assert [item["input"] for item in qoder(*LOGS, "drun_1", "drun_1", "--json").json] == ["drun_1"] * 2


@pytest.mark.parametrize("format", ["json", "yaml"])
def test_run_logs_of_several_filters_again_what_the_server_was_to_filter(qoder: Qoder, format: str) -> None:
    has_run(qoder, 1, says("a", 1), {**says("b", 2), "type": "user.message"})
    qoder.stdin = "drun_1"
    shown = qoder(*LOGS, "-", "--type", "agent.message", "-o", format).out
    assert ("evt_1" in shown, "evt_2" in shown) == (True, False)


def test_run_logs_of_several_asks_the_session_for_a_status_that_only_it_knows(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployment_runs/drun_1", CURRENT, CURRENT)
    ending = page(*WORK, idle("end_turn"))
    qoder.wire.on("GET", "/sessions/sess_1/events", *[ending, page(says("Hello."))] * 2)
    qoder.wire.on("GET", "/sessions/sess_1", USAGE, USAGE)
    qoder.stdin = "drun_1\n"
    assert qoder(*LOGS, "-").out.splitlines()[0] == "==> drun_1 (dep_1, completed) <=="
    [item] = qoder(*LOGS, "-", "--json").json
    assert (item["status"], item["usage"]) == ("completed", USAGE["usage"])


# Those that cannot be read.

ALL = [f"drun_{number}" for number in range(1, 6)]


@pytest.mark.parametrize("format", ["table", "json", "jsonl"])
def test_run_logs_of_several_shows_the_others_where_some_cannot_be_read(qoder: Qoder, format: str) -> None:
    """One is whole, one is not there, one is without a session, one's session is gone, and one is whole."""
    has_run(qoder, 1, says("Hello.", 1, run_id="of the server"))
    qoder.wire.on("GET", "/deployment_runs/drun_2", GONE)
    has_run(qoder, 3, session_id=None, status="failed", error={"type": "odd", "message": "No room."})
    has_run(qoder, 4)
    qoder.wire.on("GET", "/sessions/sess_4/events", GONE)
    has_run(qoder, 5, says("Bye.", 5))
    ran = qoder(*LOGS, *ALL, "-o", format)
    assert ran.code == 5
    *warnings, error = [line for line in ran.err.splitlines() if not line.startswith(("hint:", "request"))]
    assert [line[:9] for line in warnings] == ["warning: "] * 3
    for line, told in zip(warnings, ["drun_2", "drun_3 has no session", "sess_4 of run drun_4"], strict=True):
        assert told in line
    assert "3 of 5 logs are incomplete or missing: run drun_2" in error
    whole = [("drun_1", "drun_1", 0, 1), ("drun_5", "drun_5", 0, 1)]
    items = [whole[0], (None, "drun_2", 5, 0), ("drun_3", "drun_3", 5, 0), ("drun_4", "drun_4", 5, 0), whole[1]]
    match format:
        case "table":
            heads = [line for line in ran.out.splitlines() if line.startswith("==>")]
            assert heads == ["==> drun_1 (dep_1, completed) <==", "==> drun_5 (dep_5, completed) <=="]
        case "json":
            assert [(each["id"], each["input"], each["exit_code"], len(each["events"])) for each in ran.json] == items
            assert ran.json[1]["error"]["type"] == "not_found"
            assert ran.json[2]["error"] == {"type": "odd", "message": "No room."}
        case "jsonl":
            shown = [(each["run_id"], each.get("input"), each.get("exit_code")) for each in lines_of(ran)]
            assert shown == [(id, None if n else input, None if n else code) for id, input, code, n in items]


def test_run_logs_of_several_closes_a_log_that_breaks_off_and_goes_on(qoder: Qoder) -> None:
    run = has_run(qoder, 1)
    first = {**page(says("a", 1), more=True), "next_page": "p"}
    qoder.wire.on("GET", "/sessions/sess_1/events", first, *[(502, "")] * 5)
    has_run(qoder, 2, says("b", 2))
    ran = qoder(*LOGS, "drun_1", "drun_2", "--json")
    assert ran.code == 7
    assert ran.json[0] == {**run, **ELAPSED, "events": [says("a", 1)], "input": "drun_1", "exit_code": 7}
    assert ran.json[1]["exit_code"] == 0
    assert "1 of 2 logs" in ran.error["message"]


def test_run_logs_of_several_says_why_one_has_no_events(qoder: Qoder) -> None:
    for number in (1, 1, 1):
        has_run(qoder, number, says("a", 1))
    has_run(qoder, 2, session_id=None, status="pending", completed_at=None)
    ran = qoder(*LOGS, "drun_1", "drun_2", "--json")
    assert (ran.code, ran.json[1]["status"], ran.json[1]["exit_code"]) == (8, "pending", 8)
    assert ran.error["next"] == ["qoder", "run", "logs", "drun_2", "--follow", "-o", "json"]
    has_run(qoder, 3)
    qoder.wire.on("GET", "/sessions/sess_3/events", page())
    ran = qoder(*LOGS, "drun_1", "drun_3", "--json")
    assert (ran.code, ran.json[1]["events"], ran.err) == (0, [], "run drun_3 has no events yet\n")
    qoder.wire.on("GET", "/deployment_runs/drun_4", api_error(403, "permission_error", "Not yours."))
    ran = qoder(*LOGS, "drun_4", "drun_1", "-q")
    assert (ran.code, ran.out) == (4, "evt_1\n")


@pytest.mark.parametrize(("answer", "code"), [((502, ""), 7), (EXPIRED, 4)], ids=["away", "no token"])
def test_run_logs_of_fifty_gives_up_where_none_can_be_read(qoder: Qoder, answer: Any, code: int) -> None:
    """Every one is tried for 30 seconds: fifty of them would take minutes, and say the same."""
    qoder.wire.on("GET", "/deployment_runs/*", answer, repeat=True)
    ran = qoder(*LOGS, *[f"drun_{number}" for number in range(1, 51)], "--json")
    assert ran.code == code
    assert ran.out.count('"exit_code"') < 10
    assert not ran.out.endswith("]\n")
    assert len(qoder.wire.requests) < (15 if code == 4 else 150)
    assert code == 4 or "gave up" in ran.error["message"]


# Names.


def test_run_logs_takes_runs_named_in_every_way(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments/dep_1/runs", page({**DONE, "id": "drun_1"}))
    has_run(qoder, 1, says("a", 1))
    has_run(qoder, 2, says("b", 2))
    ran = qoder("run", "logs", "dep_1@last", "drun_2", "last", "--json")
    assert ran.code == 5
    assert [(item["input"], item["id"]) for item in ran.json] == [
        ("dep_1@last", "drun_1"),
        ("drun_2", "drun_2"),
        ("last", None),
    ]
    assert "warning: last: no run was started from this machine" in ran.err


def test_run_logs_refuses_a_name_of_several_deployments_before_anything_is_printed(qoder: Qoder) -> None:
    same = [{"id": f"dep_{n}", "type": "deployment", "name": "nightly", "archived_at": None} for n in (1, 2)]
    qoder.wire.on("GET", "/deployments", page(*same))
    ran = qoder("run", "logs", "drun_1", "nightly@last", "--json")
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize("words", [["drun_1", "drun_2"], ["-"]])
def test_run_logs_follow_of_several_names_the_command_that_does_it(qoder: Qoder, words: list[str]) -> None:
    ran = qoder(*LOGS, *words, "--follow", "--json")
    assert (ran.code, ran.out, qoder.wire.requests) == (2, "", [])
    assert ran.error["next"] == ["qoder", "run", "wait", *words, "--follow", "-o", "json"]
