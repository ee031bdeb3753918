"""`qoder run logs`, in the user's words: what a session's events look like, and following them to the run's end."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.base.errors import Signalled, UsageError
from qoder_cli.base.times import parse_when
from qoder_cli.output.grid import wrapped
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from qoder_cli.sessions.transcript import Transcript, entry
from tests.completions import offered
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.inprocess import WorldTransport
from tests.support.logs import GONE, Many, lines_of, says, text
from tests.support.one_run import CURRENT, DONE, EVENTS, LEGACY, RUN, SESSION, WORK, event, idle
from tests.support.processes import Shell, sandbox
from tests.support.wire import api_error, page

USAGE = {"usage": {"total_credits": 0.42}}


# How an event looks


@pytest.mark.parametrize(
    ("event", "label", "said"),
    [
        ({"type": "agent.message", "content": text("One.\n", "Two.")}, "agent", "One.\nTwo."),
        ({"type": "agent.message", "content": "A plain string."}, "agent", "A plain string."),
        ({"type": "agent.message", "content": [{"type": "image", "source": {}}]}, "agent", "[image]"),
        ({"type": "agent.message"}, "agent", "(empty)"),
        ({"type": "agent.message", "content": [1, None, {"text": 7}]}, "agent", "(empty)"),
        ({"type": "user.message", "content": text("Go.")}, "user", "Go."),
        ({"type": "user.interrupt"}, "user", "(interrupts)"),
        ({"type": "user.tool_confirmation", "result": "deny", "deny_message": "No."}, "user", "deny: No."),
        ({"type": "user.define_outcome", "description": "A report"}, "user", "wants: A report"),
        ({"type": "system.message", "content": text("Be brief.")}, "system", "Be brief."),
        ({"type": "agent.tool_use", "name": "Bash", "input": {"command": "ls\n  -l"}}, "tool", "Bash ls -l"),
        ({"type": "agent.tool_use", "name": "Edit", "input": {"a": 1, "b": "x"}}, "tool", 'Edit {"a":1,"b":"x"}'),
        ({"type": "agent.tool_use", "name": "Bash", "input": {"c": "x" * 300}}, "tool", f"Bash {'x' * 100}…"),
        (
            {"type": "agent.tool_use", "name": "Bash", "evaluated_permission": "ask"},
            "tool",
            "Bash (waiting for approval)",
        ),
        ({"type": "agent.tool_use"}, "tool", "(unnamed tool)"),
        ({"type": "agent.mcp_tool_use", "mcp_server_name": "db", "name": "ask", "input": {}}, "tool", "db/ask"),
        ({"type": "agent.custom_tool_use", "name": "t", "input": "words"}, "tool", "t words"),
        ({"type": "agent.tool_result", "content": text("ok")}, "result", "ok"),
        ({"type": "agent.tool_result", "content": text("no"), "is_error": True}, "failed", "no"),
        ({"type": "agent.mcp_tool_result"}, "result", "(empty)"),
        (
            {"type": "agent.artifact_delivered", "file_id": "file_1", "original_filename": "a.txt", "size": 1234},
            "file",
            "a.txt (1,234 bytes, file_1)",
        ),
        ({"type": "agent.artifact_delivered"}, "file", "(unnamed file)"),
        (
            {"type": "agent.thread_message_sent", "from_agent_name": "a", "to_agent_name": "b", "content": text("Do.")},
            "thread",
            "a → b: Do.",
        ),
        ({"type": "session.status_running"}, "session", "running"),
        ({"type": "session.status_idle", "stop_reason": {"type": "end_turn"}}, "session", "idle: end_turn"),
        ({"type": "session.status_idle", "stop_reason": "odd"}, "session", "idle: odd"),
        ({"type": "session.status_idle"}, "session", "idle"),
        ({"type": "session.status_terminated"}, "session", "terminated"),
        ({"type": "session.deleted"}, "session", "deleted"),
        ({"type": "terminated"}, "session", "terminated"),
        (
            {"type": "session.error", "error": {"type": "t", "message": "m", "retry_status": {"type": "retrying"}}},
            "error",
            "t: m (retrying)",
        ),
        ({"type": "session.error", "error": "m", "code": "c"}, "error", "c: m"),
        ({"type": "session.error"}, "error", "the session reported an error"),
        ({"type": "span.outcome_evaluation_end", "result": "satisfied", "explanation": "e"}, "outcome", "satisfied: e"),
        ({"type": "agent.dance"}, "event", "agent.dance"),
        ({"type": "agent.\x1b[2J"}, "event", "agent.\\u001b[2J"),
        ({"type": 7}, "event", "(without a type)"),
        ({}, "event", "(without a type)"),
    ],
)
def test_how_an_event_looks(event: dict[str, Any], label: str, said: str) -> None:
    found = entry(event)
    assert found is not None
    assert (found.label, found.text) == (label, said)


@pytest.mark.parametrize(
    "kind", ["agent.thinking", "span.model_request_end", "session.thread_created", "session.usage"]
)
def test_bookkeeping_is_left_out_unless_it_is_asked_for(kind: str) -> None:
    assert entry({"type": kind}) is None
    found = entry({"type": kind}, everything=True)
    assert found is not None
    assert found.text == kind


def test_a_long_result_is_cut_and_says_so() -> None:
    found = entry({"type": "agent.tool_result", "content": text("x" * 2000 + "y" * 3431)})
    assert found is not None
    assert found.text == "x" * 2000 + "\n… 3,431 more characters (use -o jsonl)"


@pytest.mark.parametrize(
    ("line", "width", "pieces"),
    [
        ("", 10, [""]),
        ("one two three", 8, ["one two", "three"]),
        ("  indented words", 10, ["  indented", "words"]),
        ("https://example.com/long/address and more", 12, ["https://example.com/long/address", "and more"]),
        ("表表表 表表", 6, ["表表表", "表表"]),
    ],
)
def test_lines_are_broken_at_spaces_only(line: str, width: int, pieces: list[str]) -> None:
    assert wrapped(line, width) == pieces


def written(event: dict[str, Any], at: str | None, *, width: int | None) -> str:
    said = entry(event)
    assert said is not None

    def styled(text: str, style: str) -> str:
        return f"<{style}>{text}</>" if style and text else text

    return Transcript(width=width, styled=styled).write(said, at=at)


def test_in_a_pipe_a_line_is_time_who_and_text() -> None:
    shown = written(says("One.\r\nTwo\x1b[2J.\n\n\tThree \u202e.\n"), "2026-06-14T08:54:06Z", width=None)
    assert shown == "2026-06-14T08:54:06Z\tagent\tOne.\n\t\tTwo\\u001b[2J.\n\t\t\n\t\t\tThree \\u202e.\n"
    assert written({"type": "odd"}, None, width=None) == "-\tevent\todd\n"


def test_on_a_terminal_times_are_local_and_text_is_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        shown = written(says("Some words here"), "2026-06-14T22:54:06.5Z", width=30)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert shown == (
        "<dim>2026-06-15 (UTC)</>\n<dim>00:54:06</>  <green>agent   </>  Some words\n                    here\n"
    )
    assert written({"type": "odd"}, "no time", width=80).startswith("          <dim>event   </>  <dim>odd")


# History


def test_what_the_agent_said_and_did(qoder: Qoder) -> None:
    tool = {"id": "evt_2", "type": "agent.tool_use", "name": "Bash", "input": {"command": "ls"}}
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK, tool, says("Done.\nAll of it.", 9))).on(*SESSION, USAGE)
    ran = qoder("run", "logs", "drun_1")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "2026-06-14T08:54:06Z\tsession\tidle: end_turn",
        "2026-06-14T08:54:07Z\tsession\trunning",
        "-\ttool\tBash ls",
        "2026-06-14T08:54:09Z\tagent\tDone.",
        "\t\tAll of it.",
        "-\tcredits\t0.42",
    ]
    assert ran.err == ""


def test_the_same_events_in_every_format(qoder: Qoder) -> None:
    events = [*WORK, says("Long. " * 1000), {"id": "evt_x", "type": "odd", "cost": 7}, idle("end_turn")]
    qoder.wire.on(*RUN, CURRENT, repeat=True)
    qoder.wire.on(*EVENTS, *[{**page(*events[:3], more=True), "next_page": "p2"}, page(*events[3:])] * 3)
    assert qoder("run", "logs", "drun_1", "--json").json == events
    assert lines_of(qoder("run", "logs", "drun_1", "-o", "jsonl")) == events
    assert qoder("run", "logs", "drun_1", "-q").out.split() == [event["id"] for event in events]
    assert [request.url.params.get("page") for request in qoder.wire.requests if "events" in request.url.path] == [
        None,
        "p2",
    ] * 3


def test_events_are_unchanged_in_json(qoder: Qoder) -> None:
    raw = '{"id":"evt_1","type":"session.usage","total_credits":1.10,"big":1E400,"text":"\\u001b[2J"}'
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, f'{{"data": [{raw}], "has_more": false}}')
    assert qoder("run", "logs", "drun_1", "-o", "jsonl").out == raw + "\n"


def test_an_old_server_is_read_page_by_page(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY).on(*EVENTS, page(says("a", 1), more=True), page(says("b", 2)))
    assert [event["id"] for event in qoder("run", "logs", "drun_1", "--json").json] == ["evt_1", "evt_2"]
    assert qoder.wire.requests[-1].url.params["after_id"] == "evt_1"


@pytest.mark.parametrize(
    ("tail", "limits", "shown"),
    [(3, ["10"], 3), (100, ["100"], 100), (150, ["75", "75"], 150), (500, ["100"] * 3, 250)],
)
def test_a_tail_costs_no_more_than_it_shows(qoder: Qoder, tail: int, limits: list[str], shown: int) -> None:
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


def test_types_are_asked_for_and_filtered_again(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK, says("Hello."), {"type": "agent.thinking", "id": "evt_t"}))
    ran = qoder("run", "logs", "drun_1", "--type", "agent.message", "--type", "agent.thinking,session.error")
    assert [line.split("\t")[1:] for line in ran.out.splitlines()] == [["agent", "Hello."], ["event", "agent.thinking"]]
    asked = qoder.wire.requests[-1].url.params.get_list("types[]")
    assert asked == ["agent.message", "agent.thinking", "session.error"]


def test_since_is_asked_for_and_filtered_again(qoder: Qoder) -> None:
    timeless = {"id": "evt_t", "type": "odd"}
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(says("early", 5), says("late", 6), timeless))
    ran = qoder("run", "logs", "drun_1", "--since", "2026-06-14T10:54:06+02:00", "-q")
    assert ran.out.split() == ["evt_6", "evt_t"]
    assert qoder.wire.requests[-1].url.params["created_at[gte]"] == "2026-06-14T08:54:06Z"


def test_nothing_to_show_is_said(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT, CURRENT).on(*EVENTS, page(), page(says("Hello.")))
    ran = qoder("run", "logs", "drun_1", "--json")
    assert (ran.code, ran.json, ran.err) == (0, [], "run drun_1 has no events yet\n")
    assert "no matching events" in qoder("run", "logs", "drun_1", "--type", "agent.mesage", "-q").err


def test_the_run_is_remembered_for_completion(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(says("Hello.")))
    assert qoder("run", "logs", "drun_1", "-q").code == 0
    assert offered("qoder run get drun_", qoder.env)["drun_1"].startswith("dep_1 2026-06-14 ")


def test_the_cost_is_left_out_when_it_cannot_be_told(qoder: Qoder) -> None:
    sessions: list[Any] = [(500, {}), {}, {"usage": {"total_credits": None}}]
    for session in sessions:
        qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(says("Hello."))).on(*SESSION, session)
        ran = qoder("run", "logs", "drun_1")
        assert (ran.code, "credits" in ran.out) == (0, False)


def test_a_run_without_a_session_has_no_events(qoder: Qoder) -> None:
    error = {"type": "environment_archived_error", "message": "The environment is archived."}
    qoder.wire.on(
        *RUN, {**CURRENT, "session_id": None, "error": error}, {**LEGACY, "session_id": None, "status": "skipped"}
    )
    ran = qoder("run", "logs", "drun_1", "--json")
    assert (ran.code, ran.out, ran.error["run_state"]) == (5, "", "ended")
    assert "The environment is archived." in ran.error["message"]
    assert "skipped" in qoder("run", "logs", "drun_1").errors[0]


def test_a_pending_run_has_no_events_yet(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, {**CURRENT, "session_id": None})
    ran = qoder("run", "logs", "drun_1", "--json")
    assert (ran.code, ran.out) == (8, "")
    assert ran.error["next"] == ["qoder", "run", "logs", "drun_1", "--follow", "-o", "json"]


def test_a_deleted_session_is_said_to_be(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, GONE)
    ran = qoder("run", "logs", "drun_1", "--json")
    assert (ran.code, ran.out) == (5, "")
    assert "sess_1 of run drun_1 was deleted, along with its events" in ran.error["message"]


def test_the_session_of_a_young_run_may_lag_behind(qoder: Qoder) -> None:
    young = {**CURRENT, "created_at": "2027-01-15T08:00:00Z"}  # where the fake clock stands
    qoder.wire.on(*RUN, young).on(*EVENTS, GONE, GONE, page(says("Hello.")))
    assert qoder("run", "logs", "drun_1", "-q").out == "evt_1\n"


def test_an_unknown_run_is_exit_5(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, GONE, GONE, [])
    assert qoder("run", "logs", "drun_1").code == 5
    assert qoder("run", "logs", "drun_1", "--follow").code == 5
    assert qoder("run", "logs", "drun_1").code == 7


@pytest.mark.parametrize(
    "words",
    [
        ["dep_1"],
        [""],
        ["drun_1", "--tail", "-1"],
        ["drun_1", "--tail", "1000000000"],
        ["drun_1", "--tail", "many"],
        ["drun_1", "--since", "3"],
        ["drun_1", "--since", "2999-01-01"],
        ["drun_1", "--since", ""],
        ["drun_1", "--type", ""],
        ["drun_1", "--type", "agent.message,"],
        [],
    ],
)
def test_bad_usage_is_exit_2(qoder: Qoder, words: list[str]) -> None:
    ran = qoder("run", "logs", *words)
    assert (ran.code, ran.out, qoder.wire.requests) == (2, "", [])


# Answers that are not as they should be


def test_a_page_that_fails_leaves_the_array_open(qoder: Qoder) -> None:
    first = {**page(says("a"), more=True), "next_page": "p2"}
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, first, *[(502, "")] * 5)
    ran = qoder("run", "logs", "drun_1", "--json")
    assert ran.code == ran.error["exit_code"] == 7
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(ran.out)


def test_a_cursor_that_does_not_move_is_an_error(qoder: Qoder) -> None:
    stuck = {**page(says("a"), more=True), "next_page": "p2"}
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, stuck, stuck)
    ran = qoder("run", "logs", "drun_1", "-q")
    assert (ran.code, ran.out) == (7, "evt_1\nevt_1\n")
    assert "returns the same page cursor again" in ran.errors[0]


def test_an_empty_page_may_have_a_next_one(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, {"data": [], "next_page": "p2"}, page(says("a")))
    assert qoder("run", "logs", "drun_1", "-q").out == "evt_1\n"


def test_events_that_lack_fields_are_shown(qoder: Qoder) -> None:
    odd = [{"n": 1}, {"type": "agent.message"}, {"id": 7, "type": ["x"], "processed_at": 5}, "text", None]
    qoder.wire.on(*RUN, CURRENT, CURRENT).on(*EVENTS, {"data": odd}, {"data": odd}).on(*SESSION, {})
    assert lines_of(qoder("run", "logs", "drun_1", "-o", "jsonl")) == odd[:3]
    ran = qoder("run", "logs", "drun_1")
    assert ran.out == "-\tevent\t(without a type)\n-\tagent\t(empty)\n-\tevent\t(without a type)\n"


def test_an_event_of_5_mb_is_shown_whole(qoder: Qoder) -> None:
    big = says("é" * 2_500_000)
    qoder.wire.on(*RUN, CURRENT, CURRENT).on(*EVENTS, page(big), page(big)).on(*SESSION, {})
    assert lines_of(qoder("run", "logs", "drun_1", "-o", "jsonl")) == [big]
    assert qoder("run", "logs", "drun_1").out.endswith("é\n")


def test_the_token_is_not_shown(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(says(f"Bearer {TOKEN}")))
    assert "[redacted]" in qoder("run", "logs", "drun_1", "--json").out


# Following


class Place:
    """A world on the test's clock, with a run in it; what is asked of it is counted."""

    def __init__(
        self, qoder: Qoder, generation: Generation, *faults: str, run: str = "dep_minute", speed: float = 1.0
    ) -> None:
        self.world = World(clock=qoder.clock.now, generation=generation, seed=1, token=TOKEN, speed=speed)
        self.faults = Faults(*faults)
        qoder.transport = WorldTransport(self.world, faults=self.faults, sleep=qoder.clock.sleep)
        qoder.clock.patience = 20.0  # real seconds: it is the stream's thread that lets the time pass
        self._qoder = qoder
        self.run = qoder("deploy", "run", run, "-q").out.strip()

    def follow(self, *words: str) -> Ran:
        return self._qoder("run", "logs", self.run, "--follow", *words)

    def listed(self) -> list[Any]:
        listed: list[Any] = self._qoder("run", "logs", self.run, "--json").json
        return listed

    def asked(self, ending: str) -> int:
        return sum(seen.path.endswith(ending) for seen in self.world.requests)


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(
    "faults",
    [
        (),
        ("stream:cut=2",),
        ("stream:cut=0.5",),
        ("stream:truncated*2",),
        ("stream:503*3",),
        ("stream:html=200*2",),
        ("stream:silent*1",),
        ("stream:501*inf",),
        ("stream:409*inf",),
        ("events:503*3", "stream:cut=5"),
        ("any:lagging=2",),
    ],
)
def test_following_misses_nothing_and_repeats_nothing(
    qoder: Qoder, generation: Generation, faults: tuple[str, ...]
) -> None:
    place = Place(qoder, generation, *faults)
    if faults == ("any:lagging=2",):
        qoder.clock.sleep(2)
    if faults == ("stream:501*inf",):
        qoder.clock.patience = 0.01  # nobody but the waiting one lets the time pass
    ran = place.follow("-o", "jsonl")
    assert ran.code == 0
    assert lines_of(ran) == place.listed()
    assert lines_of(ran)[-1]["stop_reason"] == {"type": "end_turn"}
    if faults == ("stream:cut=2",):
        assert place.asked("/stream") >= 4  # after 5, 15, 45 s


@pytest.mark.parametrize("deployment", ["dep_demo", "dep_fail", "dep_terminated", "dep_budget", "dep_ask", "dep_slow"])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_following_ends_with_the_run_however_it_ends(qoder: Qoder, generation: Generation, deployment: str) -> None:
    place = Place(qoder, generation, run=deployment)
    ran = place.follow("--json")
    assert (ran.code, ran.json) == (11 if deployment == "dep_ask" else 0, place.listed())


def test_a_run_that_waits_for_an_answer_is_left_after_15_seconds_unless_told_otherwise(qoder: Qoder) -> None:
    place = Place(qoder, "current", "stream:501*inf", run="dep_ask")
    qoder.clock.patience = 0.01  # nobody but the waiting one lets the time pass
    began = qoder.clock.time
    ran = place.follow("-o", "jsonl")
    assert (ran.code, ran.error["type"], ran.error["run_state"]) == (11, "needs_answer", "going")
    assert ran.error["next"][1:3] == ["run", "pending"]
    assert 15 <= qoder.clock.time - began < 30
    leave(qoder, 40)
    ran = place.follow("--on-ask", "wait", "-o", "jsonl")
    assert ran.code == 130
    assert ran.error["next"][4:7] == ["--follow", "--on-ask", "wait"]


@pytest.mark.parametrize("words", [("--type", "agent.message"), ("--since", "10s")])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_following_a_selection_starts_where_the_story_stands(
    qoder: Qoder, generation: Generation, words: tuple[str, ...]
) -> None:
    place = Place(qoder, generation)
    qoder.clock.sleep(1)  # the session has gone idle once, before its work
    ran = place.follow(*words, "-o", "jsonl")
    assert ran.code == 0
    assert any(event["type"] == "agent.message" for event in lines_of(ran))


def test_the_newest_are_shown_where_the_server_does_not_heed_the_order(qoder: Qoder) -> None:
    events = [says(f"{n}", n) for n in range(30)]

    def answer(request: httpx.Request) -> Any:
        begin = next((n + 1 for n, one in enumerate(events) if one["id"] == request.url.params.get("after_id")), 0)
        rest = events[begin:]
        limit = int(request.url.params["limit"])
        return page(*rest[:limit], more=len(rest) > limit)

    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, answer, repeat=True)
    ran = qoder("run", "logs", "drun_1", "--tail", "3", "--json")
    assert ran.json == events[-3:]


def test_following_a_run_that_is_over_shows_it_and_ends(qoder: Qoder) -> None:
    place = Place(qoder, "current")
    qoder.clock.sleep(100)
    assert place.follow("--json").json == place.listed()
    assert place.asked("/stream") == 0


def test_what_the_session_does_after_the_run_is_not_waited_for(qoder: Qoder) -> None:
    later = [event("status_running", 30), event("status_terminated", 31)]
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK), page(*WORK), page(idle("end_turn"), *later), page())
    qoder.wire.on(*SESSION, USAGE, USAGE)
    assert qoder("run", "logs", "drun_1", "-f").code == 0


@pytest.mark.parametrize("words", [["--tail", "2"], ["--tail", "0"], ["--since", "1s"]])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_following_may_begin_with_less_than_everything(qoder: Qoder, generation: Generation, words: list[str]) -> None:
    place = Place(qoder, generation)
    qoder.clock.sleep(20)
    before = len(place.listed())
    shown = lines_of(place.follow(*words, "-o", "jsonl"))
    assert shown == place.listed()[-len(shown) :]
    assert len(place.listed()) - before + (2 if "2" in words else 0) == len(shown)


@pytest.mark.parametrize("faults", [(), ("stream:501*inf",)])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_following_one_type_ends_too(qoder: Qoder, generation: Generation, faults: tuple[str, ...]) -> None:
    place = Place(qoder, generation, *faults)
    if faults:
        qoder.clock.patience = 0.01
    ran = place.follow("--type", "agent.message", "-o", "jsonl")
    assert [event["type"] for event in lines_of(ran)] == ["agent.message"]


def test_a_run_that_has_no_session_yet_is_waited_for(qoder: Qoder) -> None:
    place = Place(qoder, "current", "run:half-written=5")
    ran = place.follow("-o", "jsonl")
    assert lines_of(ran) == place.listed()
    assert "waiting for it" in ran.err


def test_without_a_stream_it_says_why_events_come_late(qoder: Qoder) -> None:
    place = Place(qoder, "current", "stream:501*inf")
    qoder.clock.patience = 0.01
    assert "there is no event stream; falling back to polling" in place.follow("-q").err
    assert place.asked("/stream") == 1


def held_open(chunks: list[bytes], *, until: threading.Event) -> Iterator[bytes]:
    """Yield the chunks, and then nothing, in real time."""
    yield from chunks
    until.wait(10)


class Mute(WorldTransport):
    """A world whose streams are open and say nothing: only the waiting one lets the time pass."""

    over = threading.Event()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/stream"):
            return super().handle_request(request)
        return httpx.Response(
            200, headers={"content-type": "text/event-stream"}, content=held_open([], until=self.over)
        )


def test_a_stream_that_has_told_of_nothing_is_not_relied_on(qoder: Qoder) -> None:
    place = Place(qoder, "current", speed=0.5)
    qoder.transport, qoder.clock.patience = Mute(place.world, sleep=qoder.clock.sleep), 0.01
    ran = place.follow("-o", "jsonl")
    Mute.over.set()
    assert lines_of(ran) == place.listed()
    assert max(qoder.clock.slept) == 5.0


def leave(qoder: Qoder, after: int) -> None:
    """Let SIGINT come at this pause."""
    left = [None] * after

    def interrupt() -> None:
        if not left:
            raise Signalled(signal.SIGINT)
        left.pop()

    qoder.clock.at_sleep = interrupt


def test_ctrl_c_leaves_and_says_how_to_go_on(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK), page(*WORK), page(), page(says("Hello.", 8)))
    leave(qoder, 1)
    ran = qoder("run", "logs", "drun_1", "--follow", "-o", "jsonl")
    assert (ran.code, ran.error["run_state"], ran.error["session_id"]) == (130, "going", "sess_1")
    assert ran.error["next"] == ["qoder", "run", "logs", "drun_1", "--follow", "-o", "jsonl"]
    assert lines_of(ran)[-1] == says("Hello.", 8)


def test_trouble_that_lasts_five_minutes_loses_sight(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK), page(*WORK), page()).on(*EVENTS, (502, ""), repeat=True)
    ran = qoder("run", "logs", "drun_1", "--follow", "-o", "jsonl")
    assert (ran.code, ran.error["type"], ran.error["run_state"]) == (10, "lost_sight", "unknown")
    assert ran.error["next"][:5] == ["qoder", "run", "logs", "drun_1", "--follow"]
    assert 300 < sum(qoder.clock.slept) < 315


def test_a_token_that_is_no_longer_accepted_loses_sight(qoder: Qoder) -> None:
    expired = api_error(401, "authentication_error", "Expired.")
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK), page(*WORK), page(), expired)
    ran = qoder("run", "logs", "drun_1", "--follow", "-o", "jsonl")
    assert (ran.code, ran.error["http_status"]) == (10, 401)


def test_a_session_deleted_meanwhile_ends_it(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK), page(*WORK), page()).on(*EVENTS, GONE, repeat=True)
    ran = qoder("run", "logs", "drun_1", "--follow", "-o", "jsonl")
    assert ran.code == 5
    assert "was deleted, along" in ran.error["message"]


def test_the_server_s_own_word_ends_it_where_no_event_does(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, *[LEGACY] * 2, {**LEGACY, "status": "completed"}).on(*EVENTS, page(*WORK)).on(*SESSION, {})
    qoder.wire.on(*EVENTS, page(), repeat=True)
    assert qoder("run", "logs", "drun_1", "--follow").code == 0


def test_an_ending_is_not_waited_for_where_the_run_s_beginning_was_not_read(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, LEGACY, DONE).on(*EVENTS, page(*WORK[::-1]), page(idle("end_turn")), page())
    assert qoder("run", "logs", "drun_1", "--follow", "--tail", "0", "-q").out == "evt_status_idle_23\n"
    assert sum(qoder.clock.slept) < 5


@pytest.mark.parametrize("refused", [True, False])
def test_what_a_stream_left_out_is_read_from_the_list(qoder: Qoder, refused: bool) -> None:
    """A server may not know the cursor any more, or may not heed it; and it may count the cursor's event in."""
    told = [says("heard", 9), idle("end_turn")]
    stream = httpx.Response(
        200,
        headers={"content-type": "text/event-stream"},
        content=held_open(
            [f"data: {json.dumps(event)}\n\n".encode() for event in told], until=(over := threading.Event())
        ),
    )
    answers = [api_error(409, "conflict_error", "Invalid cursor."), stream] if refused else [stream]
    qoder.wire.on("GET", "/sessions/sess_1/events/stream", *answers)
    pages = iter([page(*WORK), page(WORK[-1], says("missed", 8), told[0])])

    def listed(request: httpx.Request) -> Any:
        if "types[]" in request.url.params:  # how the run stands is asked for by itself
            return page(*WORK, told[-1]) if qoder.wire.expected[0].asked == len(answers) else page(*WORK)
        return next(pages, page())

    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, listed, repeat=True).on(*SESSION, {})
    qoder.clock.patience = 20.0
    ran = qoder("run", "logs", "drun_1", "--follow", "-o", "jsonl")
    over.set()
    assert lines_of(ran) == [*WORK, says("missed", 8), *told]


# Real processes


def test_a_process_follows_over_real_sockets(tmp_path: Path) -> None:
    with sandbox("current", "stream:cut=0.4") as server:
        shell = Shell(tmp_path, server)
        line = 'qoder run logs "$(qoder deploy run dep_minute -q)" --follow -o jsonl'
        followed = shell.run("sh", "-c", line).out.splitlines()
        listed = shell.qoder("run", "logs", "last", "-o", "jsonl").out.splitlines()
    assert followed == listed
    assert len(listed) > 20


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to a process")
def test_ctrl_c_kills_a_process_with_last_words(tmp_path: Path) -> None:
    with sandbox("current") as server:
        shell = Shell(tmp_path, server)
        run = shell.qoder("deploy", "run", "dep_ask", "-q").out.strip()
        server.world.sessions[next(reversed(server.world.sessions))].speed = 0.001
        going = shell.begin("run", "logs", run, "--follow").says("following")
        going.signal(signal.SIGINT)
        ended = going.end()
    assert ended.code == -signal.SIGINT
    assert f"qoder run logs {run} --follow" in ended.err


def with_many_events(count: int, follow: bool) -> None:
    """Run `run logs` over so many events, and print exit code, events written and the most memory that was used."""
    transport, sink = Many(count, streamed=follow), Sink()
    env = {"QODER_PAT": TOKEN, "QODER_CONFIG": "/nonexistent/config.toml"}
    app = App(env=env, out=Screen(sink), err=Screen(None), transport=transport)  # type: ignore[arg-type]
    from qoder_cli.cli.main import main

    words = ["--follow", "-o", "jsonl"] if follow else ["--json"]
    print(main(["run", "logs", "drun_1", *words], app), sink.events, most_memory())


def most_memory() -> int:
    """Return the most memory this process has used, in KiB."""
    status = Path("/proc/self/status")  # not what it inherits from its parent, as getrusage on Linux
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Sink:
    """Standard output that only counts the events written to it."""

    events = 0

    def write(self, data: bytes) -> int:
        self.events += data.count(b'"agent.tool_result"')
        return len(data)

    def flush(self) -> None:
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say how much memory was used")
@pytest.mark.parametrize("follow", [False, True])
def test_10_000_events_take_no_more_memory_than_1_000(follow: bool) -> None:
    script = (
        f"from tests.commands.test_logs import with_many_events as run; run(1_000, {follow}); run(10_000, {follow})"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    few, many = ([int(word) for word in line.split()] for line in ran.stdout.splitlines())
    assert [few[:2], many[:2]] == [[0, 1_000], [0, 10_000]]
    assert many[2] < few[2] * 1.3


# Moments


NOW = datetime(2026, 6, 14, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "moment"),
    [
        ("90m", NOW - timedelta(minutes=90)),
        (" 7d ", NOW - timedelta(days=7)),
        ("2w", NOW - timedelta(days=14)),
        ("1d12h", NOW - timedelta(hours=36)),
        ("0s", NOW),
        ("2026-06-14T08:54:06Z", datetime(2026, 6, 14, 8, 54, 6, tzinfo=UTC)),
        ("2026-06-14t08:54:06.271902633z", datetime(2026, 6, 14, 8, 54, 6, 271902, tzinfo=UTC)),
        ("2026-06-14T08:54:06+0200", datetime(2026, 6, 14, 6, 54, 6, tzinfo=UTC)),
        ("2026-06-13", datetime(2026, 6, 13).astimezone()),
        ("2026-06-13 08:54", datetime(2026, 6, 13, 8, 54).astimezone()),
        ("2026-06-13T08:54:06", datetime(2026, 6, 13, 8, 54, 6).astimezone()),
    ],
)
def test_what_is_a_moment(typed: str, moment: datetime) -> None:
    assert parse_when(typed, option="--since", now=NOW.timestamp()) == moment


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("3", "needs a unit"),
        ("90", "needs a unit"),
        ("", "not an age, a date or a time"),
        ("yesterday", "not an age, a date or a time"),
        ("-3d", "not an age, a date or a time"),
        ("1.5h", "not an age, a date or a time"),
        ("٣d", "not an age, a date or a time"),
        ("3d ago", "not an age, a date or a time"),
        ("20260613", "needs a unit"),
        ("2026-06", "not an age, a date or a time"),
        ("2026-02-31", "not a valid date"),
        ("2026-06-13T25:00", "not a valid date"),
        ("99999999999w", "not a valid date"),
        ("9" * 5000 + "d", "not a valid date"),
        ("2026-06-14T12:00:01Z", "in the future"),
        ("2999-01-01", "in the future"),
    ],
)
def test_what_is_no_moment(typed: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        parse_when(typed, option="--since", now=NOW.timestamp())
    assert caught.value.message.startswith("--since ")
    assert len(caught.value.message) < 150


def test_run_logs_follow_of_one_type_leaves_soon_after_the_end_where_there_is_no_stream(qoder: Qoder) -> None:
    began = qoder.clock.time

    def run(request: httpx.Request) -> Any:
        return DONE if qoder.clock.time > began + 20 else LEGACY

    qoder.wire.on(*RUN, run, repeat=True).on(*EVENTS, page(*WORK, says("working", 8)), repeat=True)
    ran = qoder("run", "logs", "drun_1", "--follow", "--type", "agent.message", "-o", "jsonl")
    assert (ran.code, len(lines_of(ran))) == (0, 1)
    assert qoder.clock.time - began < 20 + 6
