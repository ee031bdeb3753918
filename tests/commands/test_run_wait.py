"""`qoder run wait`: until a run has ended, whatever the server, the network or the machine does meanwhile."""

import io
import json
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.base.times import next_of
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from qoder_cli.sessions import transcript
from qoder_cli.sessions.transcript import cut_inside
from tests.conftest import TOKEN, Qoder
from tests.support.cells import checkerboard
from tests.support.inprocess import WorldTransport
from tests.support.logs import says
from tests.support.one_run import (
    CURRENT,
    DONE,
    EVENTS,
    LEGACY,
    RUN,
    RUNNING,
    SESSION,
    TRIGGER,
    WORK,
    event,
    fails,
    idle,
    rests,
    story,
)
from tests.support.processes import until
from tests.support.typed import typed
from tests.support.wire import GONE, FakeClock, api_error, page

FAILED = {**DONE, "status": "failed", "error": {"type": "api_error", "message": "Agent execution failed."}}
END = idle("end_turn", 40)
WAIT = ("run", "wait", "drun_1", "--json")
STARTS = pytest.mark.parametrize("line", ["deploy run dep_1 --wait", "run wait drun_1"])


# Trouble.

TROUBLE: dict[str, Any] = {
    "502": (502, "<html>"),
    "429": (429, ""),
    "reset": httpx.ReadError("reset"),
    "broken JSON": (200, '{"id"'),
    "a list": (200, "[]"),
    **{f"HTML {status}": (status, "<html>No.</html>") for status in (401, 404, 413)},
}
EACH = pytest.mark.parametrize("trouble", TROUBLE)
# What is read for the run, or for its session: at first, while it ends, and when it has ended.
READ_OF: dict[str, Any] = {"run": (RUN, LEGACY, DONE), "session": (EVENTS, page(*WORK), page(*WORK, END))}


@EACH
@pytest.mark.parametrize("of", READ_OF)
@pytest.mark.few(5)
def test_run_wait_outlives_trouble(qoder: Qoder, trouble: str, of: str) -> None:
    read, going, over = READ_OF[of]
    qoder.wire.on(*RUN, *([CURRENT] if of == "session" else [])).on(*read, going, *[TROUBLE[trouble]] * 3, over)
    qoder.wire.may(*SESSION, {})
    assert qoder(*WAIT).json["status"] == "completed"


@EACH
@pytest.mark.parametrize("of", READ_OF)
@pytest.mark.few(8)
def test_run_wait_loses_sight_after_five_minutes_of_trouble(qoder: Qoder, trouble: str, of: str) -> None:
    read, going, _ = READ_OF[of]
    qoder.wire.on(*RUN, *([CURRENT] if of == "session" else []))
    qoder.wire.on(*read, going, TROUBLE[trouble], repeat=True)
    ran = qoder(*WAIT)
    assert (ran.code, ran.json["status"], ran.error["type"]) == (10, "running", "lost_sight")
    assert ran.error["next"] == ["qoder", "run", "wait", "drun_1", "-o", "json"]
    assert "HTML" not in trouble or ran.error["http_status"] == int(trouble[5:])
    assert 300 < sum(qoder.clock.slept) < 310


ENDS: dict[str, tuple[list[Any], int, tuple[float, float]]] = {
    # How the run is told, the last one for ever; the exit code, and the seconds that were slept.
    "a pause that is asked for": ([httpx.Response(429, headers={"retry-after": "20"}), DONE], 0, (20, 20)),
    "not found now and then": ([LEGACY, GONE, *[LEGACY] * 9, GONE, DONE], 0, (30, 60)),
    "not found any more": ([LEGACY, GONE], 10, (30, 40)),
    "never an answer": ([httpx.ReadError("reset")], 7, (30, 40)),
    "not provided for a moment": ([LEGACY, api_error(501, "feature_not_available", "No."), DONE], 0, (0, 10)),
    "a token that expires": ([LEGACY, api_error(401, "authentication_error", "Expired.")], 10, (0, 1)),
}


@pytest.mark.parametrize(("answers", "code", "slept"), ENDS.values(), ids=ENDS.keys())
def test_run_wait_bears_what_may_pass(qoder: Qoder, answers: list[Any], code: int, slept: tuple[float, float]) -> None:
    qoder.wire.on(*RUN, *answers, repeat=True)
    ran = qoder(*WAIT)
    assert (ran.code, "log in again, then wait" in ran.err) == (code, slept == (0, 1))
    assert slept[0] <= sum(qoder.clock.slept) <= slept[1]
    assert len(answers) != 2 or code != 10 or ran.error["http_status"] == answers[1][0]


@pytest.mark.parametrize(("timeout", "looks"), [(0, 1), (10, 6)])
@pytest.mark.parametrize("last", [LEGACY, DONE], ids=["running", "completed"])
def test_run_wait_ends_at_its_timeout_after_one_last_look(qoder: Qoder, timeout: int, looks: int, last: Any) -> None:
    qoder.wire.on(*RUN, *[LEGACY] * (looks - 1), last)
    ran = qoder(*WAIT, "--timeout", str(timeout))
    assert (ran.code, ran.json["status"]) == ((124, "running") if last is LEGACY else (0, "completed"))
    assert ran.code == 0 or ran.error["run_state"] == "going"
    assert sum(qoder.clock.slept) == pytest.approx(timeout)


def test_run_wait_says_how_long_nothing_was_heard_when_it_times_out(qoder: Qoder) -> None:
    """What was so minutes ago is not said to be so now."""
    qoder.wire.on(*RUN, LEGACY, (503, "busy"), repeat=True)
    ran = qoder(*WAIT, "--timeout", "3m")
    assert (ran.code, ran.error["run_state"]) == (124, "unknown")
    assert re.search(r"run drun_1 was running when it was last heard of, [23]m [0-9]+s ago", ran.error["message"])


def test_run_wait_gives_a_look_what_is_left_and_some_seconds(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qoder_cli.base.times.LAST_LOOK", 0.1)
    is_over, began = threading.Event(), time.monotonic()
    qoder.wire.on(*RUN, lambda _: is_over.wait(20) and DONE)
    assert qoder(*WAIT, "--timeout", "0").code == 124
    assert time.monotonic() - began < 10
    is_over.set()


@pytest.mark.parametrize("count", [1, 9], ids=["one", "by lists"])
def test_run_wait_with_timeout_0_says_of_trouble_that_it_stays(qoder: Qoder, count: int) -> None:
    qoder.wire.on("GET", "*", (502, ""), repeat=True)
    ran = qoder("run", "wait", *(f"drun_{number}" for number in range(count)), "--timeout", "0")
    assert (ran.code, "HTTP 502" in ran.err, "retrying" in ran.err) == (124, True, False)


@pytest.mark.parametrize("when", ["between two reads", "while an answer is awaited", "while it is not found"])
def test_run_wait_takes_no_sleep_of_the_machine_for_silence(qoder: Qoder, when: str) -> None:
    def asleep(request: httpx.Request) -> Any:
        """A process that is stopped (SIGSTOP) for minutes finds its request timed out when it goes on."""
        qoder.clock.time += 4000
        return httpx.ReadTimeout("slow")

    def overslept() -> None:
        qoder.clock.time += 4000
        qoder.clock.at_sleep = lambda: None

    if when == "between two reads":
        qoder.clock.at_sleep = overslept
        qoder.wire.on(*RUN, LEGACY, (502, ""), DONE)
    else:
        trouble = (502, "") if when == "while an answer is awaited" else GONE
        qoder.wire.on(*RUN, LEGACY, trouble, asleep, trouble, asleep, DONE)
    assert qoder(*WAIT).code == 0


# Sessions that are not found.


def timeline(qoder: Qoder, *told: tuple[float, Any]) -> Callable[[httpx.Request], Any]:
    """Return what answers with the newest of these that is due, by seconds from now."""
    began = qoder.clock.time
    return lambda _: [value for after, value in told if qoder.clock.time - began >= after][-1]


@pytest.mark.parametrize("verb", ["get --exit-status", "wait"])
@pytest.mark.parametrize("deleted", [GONE, page(*WORK, event("deleted", 20))], ids=["not found", "an event"])
def test_run_wait_exits_9_when_the_session_is_deleted(qoder: Qoder, verb: str, deleted: Any) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, deleted, repeat=True)
    began = qoder.clock.time
    ran = qoder("run", *verb.split(), "drun_1", "--json")
    assert (ran.code, ran.json["error"]["type"]) == (9, "session_deleted")
    assert "status" not in ran.json
    assert ran.error["next"] == ["qoder", "run", "get", "drun_1", "-o", "json"]
    took = qoder.clock.time - began
    assert 30 <= took <= 40 if deleted is GONE else took < 1  # a replica may lag


@pytest.mark.parametrize(("verb", "gone"), checkerboard(["get", "wait"], [0, 1, 20]))
def test_run_wait_does_not_take_a_session_for_deleted_that_is_briefly_gone(qoder: Qoder, verb: str, gone: int) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, timeline(qoder, (0, GONE), (gone, page(*WORK, END))), repeat=True)
    qoder.wire.on(*SESSION, {})
    assert qoder("run", verb, "drun_1", "--json").json["status"] == "completed"


def test_run_wait_does_not_take_a_session_for_deleted_that_is_not_found_twice_however_far_apart(qoder: Qoder) -> None:
    def late(request: httpx.Request) -> Any:
        qoder.clock.time += 40
        return GONE

    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, GONE, late, page(*WORK, END)).on(*SESSION, {})
    assert qoder(*WAIT).json["status"] == "completed"


@pytest.mark.parametrize(("id", "code"), [("sess_\udc80", 9), ("sess_" + "1" * 70_000, 10)], ids=["odd", "long"])
def test_run_wait_has_no_bug_where_no_url_can_hold_the_session(qoder: Qoder, id: str, code: int) -> None:
    """Half a character can be asked for, and is not found."""
    qoder.wire.on(*TRIGGER, {**CURRENT, "session_id": id})
    qoder.wire.may("GET", "/sessions/sess_%ED%B2%80/events", GONE)
    ran = qoder("deploy", "run", "dep_1", "--wait", "--json")
    assert (ran.code, ran.json["id"], ran.error["run_id"]) == (code, "drun_1", "drun_1")


# A status against the session's word, and questions.

WAITS = event("status_idle", 20, stop_reason={"type": "requires_action", "event_ids": ["evt_call"]})
ON = event("status_running", 30)
DONE_AT_10, ON_15 = idle("end_turn", 10), event("status_running", 15)
TURN = [*WORK, idle("end_turn")]
AGAIN = event("status_running", 40)
BEFORE = [{**each, "processed_at": f"2026-06-14T07:54:{n:02}Z"} for n, each in enumerate(TURN)]
Told = list[tuple[float, Any]]  # with the seconds after which it is told
RARELY = "--timeout 7m --interval 20"


class Wait(NamedTuple):
    """How a run and its session are told, and how the wait ends: exit code, status and type of the error."""

    run: Told
    events: Told
    ends: tuple[int, str, str | None]
    words: str = ""
    says: str = ""
    takes: tuple[float, float] = (0, 1e9)


def rested(*events: dict[str, Any], ends: tuple[int, str, str | None] = (124, "running", None)) -> Wait:
    """Return a wait for a run whose status stays behind a session that shows these events."""
    return Wait([(0, LEGACY)], [(0, page(*story(*events)))], ends, "--timeout 5m --interval 15 --on-ask wait")


COMPLETED, STILL, CANCELLED = (0, "completed", None), (124, "running", None), (1, "failed", "cancelled")
UNTOLD = {
    "gone": GONE,
    "html 404": (404, "<html>"),
    "html 403": (403, "<html>"),
    "403": api_error(403, "permission_error", "No."),
    "502": (502, ""),
    "null": {"data": None},
}
AT_LAST_DONE: Told = [(0, LEGACY), (400, DONE)]
SESSION_WORKS_ON: Told = [(0, page(*TURN)), (100, page(*TURN, AGAIN)), (200, page(*TURN, AGAIN, idle("end_turn", 50)))]
RESTS_ANEW: Told = [
    (0, page(*TURN)),
    (100, page(*TURN, AGAIN, idle("end_turn", 50))),
    (170, page(*TURN, AGAIN, idle("end_turn", 50), event("status_running", 55))),
]
PASSES: Told = [(0, page(*WORK, WAITS)), (14, page(*WORK, WAITS, ON)), (60, page(*WORK, WAITS, ON, END))]
ANSWERED: Told = [(0, page(*WORK, WAITS)), (150, page(*WORK, WAITS, ON, END))]
UNNAMED: Told = [(0, page(*WORK, event("status_idle", 20, stop_reason={"type": "requires_action"})))]
WAITINGS: dict[str, Wait] = {
    "overruled after a minute of rest": Wait(
        [(0, LEGACY)],
        [(0, page(*WORK)), (70, page(*WORK, idle("cancelled")))],
        CANCELLED,
        says="run drun_1 is still 'running' on the server",
        takes=(180, 195),
    ),
    "a word that nobody knows, overruled": Wait(
        [(0, {**LEGACY, "status": "thinking"})],
        [(0, page(*TURN))],
        COMPLETED,
        says="run drun_1 is still 'thinking' on the server",
    ),
    "works on, then fails": Wait([(0, LEGACY), (290, FAILED)], SESSION_WORKS_ON, (1, "failed", "api_error")),
    "rests anew, then fails": Wait([(0, LEGACY), (250, FAILED)], RESTS_ANEW, (1, "failed", "api_error")),
    **{
        f"a session that tells nothing: {name}": Wait(AT_LAST_DONE, [(0, told)], COMPLETED, RARELY)
        for name, told in UNTOLD.items()
    },
    "an ending older than the run, legacy": Wait([(0, LEGACY)], [(0, page(*BEFORE))], STILL, RARELY),
    "an ending older than the run, current": Wait([(0, CURRENT)], [(0, page(*BEFORE))], STILL, RARELY),
    "rests: done": rested(RUNNING, rests(), ends=COMPLETED),
    "rests: goes on": rested(RUNNING, rests(), RUNNING),
    "rests: done twice": rested(RUNNING, rests(), RUNNING, rests(), ends=COMPLETED),
    "rests: done, then cancelled": rested(RUNNING, rests(), RUNNING, rests("cancelled"), ends=CANCELLED),
    "rests: cancelled, then done": rested(RUNNING, rests("cancelled"), RUNNING, rests(), ends=CANCELLED),
    "rests: done, then asks": rested(RUNNING, rests(), rests("requires_action")),
    "rests: done, then an error": rested(RUNNING, rests(), fails("retrying"), ends=COMPLETED),
    "rests: before any work": rested(rests()),
    "asks, and goes on by itself": Wait([(0, CURRENT)], PASSES, COMPLETED),
    "asks, and is waited for": Wait([(0, CURRENT)], ANSWERED, COMPLETED, "--on-ask wait"),
    "asks, of a server with statuses": Wait([(0, LEGACY)], ANSWERED, (11, "running", None), takes=(15, 85)),
    "asks without a call": Wait([(0, CURRENT)], UNNAMED, (11, "running", None), says='for an answer","hint'),
    "asks, then its status says completed": Wait(
        [(0, LEGACY), (100, DONE)], [(0, page(*WORK, WAITS))], COMPLETED, "--on-ask wait"
    ),
    "asks after the run's own end": Wait(AT_LAST_DONE, [(0, page(*WORK, DONE_AT_10, ON_15, WAITS))], COMPLETED),
}


@pytest.mark.parametrize("name", WAITINGS)
@pytest.mark.few(16)
def test_run_wait_ends_as_run_and_session_together_say(qoder: Qoder, name: str) -> None:
    wait = WAITINGS[name]
    qoder.wire.on(*RUN, timeline(qoder, *wait.run), repeat=True).on(*EVENTS, timeline(qoder, *wait.events), repeat=True)
    qoder.wire.may(*SESSION, {})
    ran = qoder(*WAIT, *wait.words.split())
    shown = ran.json
    assert (ran.code, shown["status"], (shown["error"] or {}).get("type")) == wait.ends
    assert ("requires_action" in shown) == (ran.code == 11)
    assert wait.says in ran.err
    assert ran.err.count("unrecognised status") == wait.says.count("thinking")
    assert wait.takes[0] <= sum(qoder.clock.slept) < wait.takes[1]


@STARTS
def test_run_wait_exits_11_when_the_agent_has_asked_for_15_seconds(qoder: Qoder, line: str) -> None:
    qoder.wire.on(*(TRIGGER if "deploy" in line else RUN), CURRENT)
    qoder.wire.on(*EVENTS, page(*WORK, WAITS), repeat=True)
    ran = qoder(*line.split(), "--json")
    assert (ran.code, ran.json["status"]) == (11, "running")
    assert (ran.error["type"], ran.error["run_state"], ran.error["run_id"]) == ("needs_answer", "going", "drun_1")
    assert ran.error["next"] == ["qoder", "run", "pending", "drun_1", "-o", "json"]
    assert "approve, deny or answer it" in ran.error["hint"]
    assert 15 <= sum(qoder.clock.slept) < 17


@pytest.mark.parametrize(("reads", "asks", "on_ask"), [(10, [WAITS], "wait"), (39, [], "policy={}")])
def test_run_wait_asks_the_session_of_a_run_once_a_minute_or_more_often_for_a_policy(
    qoder: Qoder, tmp_path: Path, reads: int, asks: list[Any], on_ask: str
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("deny: [{tool: Bash}]")
    qoder.wire.on(*RUN, LEGACY, repeat=True).on(*EVENTS, page(*WORK, *asks), repeat=True).may(*SESSION, {})
    assert qoder(*WAIT, "--timeout", "10m", "--on-ask", on_ask.format(policy)).code == 124
    assert sum(path.endswith("/events") for path in qoder.wire.asked("GET")) == reads


# Whether standard output and standard error are terminals, the run, and what the error says.
SHORTENED: list[tuple[bool, bool, Any, str]] = [
    (True, True, FAILED, "error: the run failed\n"),
    (True, True, {**FAILED, "session_id": None}, "error: the run did not start\n"),
    (True, False, FAILED, "Agent execution failed."),
    (False, True, FAILED, "Agent execution failed."),
    (True, True, DONE, "completed, but it has no outcome evaluation"),
]


@pytest.mark.parametrize(("out", "err", "shown", "says"), SHORTENED)
def test_run_wait_says_why_a_run_failed_once_on_a_terminal(
    qoder: Qoder, out: bool, err: bool, shown: Any, says: str
) -> None:
    qoder.wire.on(*RUN, shown).may(*SESSION, {})
    words = ["run", "wait", "drun_1", "--require-satisfied", "--no-color"]
    ran = typed(words, qoder.env, clock=qoder.clock, transport=qoder.transport, terminals=(out, err))
    assert ran.code == 1
    assert says in ran.err.replace("\r", "")


# The command that goes on.


@STARTS
def test_run_wait_names_a_command_that_goes_on_and_wants_the_same(qoder: Qoder, line: str) -> None:
    wants = ("--result", "--require-satisfied", "--on-ask", "wait")
    qoder.wire.on(*(TRIGGER if "deploy" in line else RUN), LEGACY).on(*RUN, LEGACY, repeat=True)
    ran = qoder(*line.split(), *wants, "--no-progress", "--timeout", "2", "--json")
    assert ran.code == 124
    assert ran.error["next"] == ["qoder", "run", "wait", "drun_1", *wants, "--no-progress", "-o", "json"]


PENDING, BUSY, WORKS = {**LEGACY, "status": "pending"}, (503, "busy"), page(*WORK)
# How the run and its session answer, and the lines that say how the run stands.
STANDS: dict[str, tuple[list[Any], list[Any], list[str]]] = {
    "run wait": ([PENDING, PENDING, LEGACY, LEGACY, DONE], [], ["pending", "running", "completed"]),
    "run wait, trouble": ([LEGACY, BUSY, BUSY, DONE], [], ["running", "HTTP 503", "completed"]),
    "run wait, an ask": ([CURRENT], [WORKS, page(*WORK, WAITS)], ["running", "waits for an answer"]),
    "run wait, gone": ([CURRENT], [WORKS, page(*WORK, event("deleted", 20))], ["running", "session_deleted"]),
    "deploy run": ([LEGACY, LEGACY, FAILED], [], ["failed"]),
}


@pytest.mark.parametrize("what", STANDS)
def test_run_wait_says_how_a_run_stands_where_that_changes(qoder: Qoder, what: str) -> None:
    answers, events, shown = STANDS[what]
    qoder.wire.may(*TRIGGER, LEGACY).on(*RUN, *answers)
    if events:
        qoder.wire.on(*EVENTS, *events, repeat=True)
    ran = qoder(*WAIT[:3]) if "wait" in what else qoder("deploy", "run", "dep_1", "--wait")
    lines = [line[7:].partition(" from ")[0] for line in ran.err.splitlines() if line.startswith("drun_1 ")]
    assert lines == shown


@pytest.mark.parametrize("verb", ["get", "wait"])
def test_run_wait_says_how_a_run_ended_also_where_what_it_used_cannot_be_read(qoder: Qoder, verb: str) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK, END)).on(*SESSION, (503, "busy"))
    ran = qoder("run", verb, "drun_1", "--json")
    assert (ran.code, ran.json["status"]) == (0, "completed")


def test_run_wait_gives_a_sign_of_life_every_30_seconds_where_there_is_no_terminal(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, repeat=True)
    ran = qoder("run", "wait", "drun_1", "--timeout", "55")
    assert [line for line in ran.err.splitlines() if "after 3" in line]


# Several.


def test_run_wait_of_several_with_timeout_0_reads_each_once_however_slow_the_first_is(qoder: Qoder) -> None:
    def slow(request: httpx.Request) -> Any:
        qoder.clock.time += 10
        return LEGACY

    def long_awaited(request: httpx.Request) -> Any:
        threading.Event().wait(0.3)  # it is seen meanwhile whether it is too late
        return {**DONE, "id": "drun_2"}

    qoder.wire.on(*RUN, slow).on("GET", "/deployment_runs/drun_2", long_awaited)
    ran = qoder("run", "wait", "drun_1", "drun_2", "--timeout", "0", "--json")
    assert (ran.code, [item["exit_code"] for item in ran.json]) == (124, [124, 0])


# What a stream tells.


def said(*events: dict[str, Any]) -> bytes:
    return b"".join(f"data: {json.dumps(each)}\n\n".encode() for each in events)


class Listening(FakeClock):
    """A clock that stands still while a stream has so many pieces of news to deliver, from a thread of its own."""

    news = 0

    def receive(self, inbox: "queue.SimpleQueue[Any]", seconds: float) -> Any:
        try:
            item = next_of(inbox, 2.0 if self.news > 0 else 0.0)
        except queue.Empty:
            self.news = 0
            self.sleep(seconds)
            return None
        self.news -= 1
        return item


class Streamed:
    """A world with runs of so many seconds, whose streams say `at_first` and, once one has ended, `then`."""

    has_ended, is_over = threading.Event(), threading.Event()

    def __init__(
        self, qoder: Qoder, generation: Generation, seconds: float, at_first: bytes = b"", then: bytes = b""
    ) -> None:
        self.has_ended.clear()
        self.is_over.clear()
        self.clock = qoder.clock = Listening()
        self.world = World(clock=self.clock.now, generation=generation, seed=1, token=TOKEN)
        self.world.add_deployment(id="dep_1", name="nightly", behaviour=Behaviour(turn(seconds=seconds)))
        self.at_first, self.then = at_first, then
        self.ends = self.world.now() + seconds
        self.told_at = 0.0
        self.streams: set[str] = set()
        self.clock.at_sleep = self._look
        self.clock.news = 1 + at_first.count(b"\n\n") - at_first.count(b"sess_x")  # and that the stream is open
        qoder.transport = WorldTransport(self.world, sleep=self.clock.sleep, lie=self._lie)

    def _look(self) -> None:
        if self.clock.time >= self.ends and not self.told_at:
            self.told_at, self.clock.news = self.clock.time, self.then.count(b"\n\n")
            self.has_ended.set()

    def _lie(self, request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        if not request.url.path.endswith("/stream"):
            return answer()
        if not self.told_at:  # later, who listened to one that has ended may listen to the next
            self.streams.add(request.url.path)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=self._chunks())

    def _chunks(self) -> Iterator[bytes]:
        yield self.at_first
        self.has_ended.wait(20)
        yield self.then
        self.is_over.wait(20)


@pytest.fixture(autouse=True)
def _no_stream_outlives_its_test() -> Iterator[None]:
    yield
    Streamed.has_ended.set()
    Streamed.is_over.set()


IDLE = {"type": "session.status_idle", "stop_reason": {"type": "end_turn"}}
STARTED, ENDED = said({"id": "evt_1", **RUNNING}), said({"id": "evt_2", **IDLE})


@pytest.mark.parametrize("generation", GENERATIONS)
def test_run_wait_confirms_an_end_that_it_hears_at_once_and_reads_rarely(qoder: Qoder, generation: Generation) -> None:
    place = Streamed(qoder, generation, 55, STARTED, ENDED)
    assert qoder("deploy", "run", "dep_1", "--wait").code == 0
    assert qoder.clock.time - place.told_at < 0.5
    assert len(place.world.requests) <= 9


@pytest.mark.parametrize("generation", GENERATIONS)
def test_run_wait_reads_often_while_it_cannot_read_an_end_that_it_heard(qoder: Qoder, generation: Generation) -> None:
    place = Streamed(qoder, generation, 37, STARTED, ENDED)
    ends, place.ends = place.ends, place.ends - 5
    assert qoder("deploy", "run", "dep_1", "--wait").code == 0
    assert place.told_at < ends < qoder.clock.time < ends + 2


def test_run_wait_reads_again_at_once_where_it_hears_the_end_while_it_reads(qoder: Qoder) -> None:
    place = Streamed(qoder, "legacy", 55, said({"id": "evt_1", "type": "span.model_request_start"}), ENDED)

    def ends_meanwhile(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        answered = place._lie(request, answer)
        if "/deployment_runs/" in request.url.path and qoder.clock.time > place.ends - 30 and not place.told_at:
            qoder.clock.time = place.ends
            place._look()
            until(lambda: not place.clock.news, "what the stream tells is heard")
        return answered

    qoder.transport = WorldTransport(place.world, sleep=qoder.clock.sleep, lie=ends_meanwhile)
    assert qoder("deploy", "run", "dep_1", "--wait").code == 0
    assert qoder.clock.time == place.ends


SILENT = {
    "nothing": b"",
    "heartbeats": b": heartbeat\n\n" * 9,
    "an event of another session": said({"id": "evt_x", "session_id": "sess_x", **RUNNING}),
    "one event": STARTED,
}


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("silent", SILENT)
@pytest.mark.few(3)
def test_run_wait_sees_the_end_within_six_seconds_where_the_stream_is_open_but_silent(
    qoder: Qoder, generation: Generation, silent: str
) -> None:
    place = Streamed(qoder, generation, 152, SILENT[silent])
    assert qoder("deploy", "run", "dep_1", "--wait").code == 0
    assert 0 <= qoder.clock.time - place.ends < 6


def test_run_wait_is_hurried_or_held_up_by_no_stream_that_repeats_an_end(qoder: Qoder) -> None:
    again = b"".join(said({"id": f"evt_{n}", **IDLE}) for n in range(2, 102))
    place = Streamed(qoder, "legacy", 60, STARTED + again)
    assert qoder("deploy", "run", "dep_1", "--wait").code == 0
    assert len(place.world.requests) < 40
    assert qoder.clock.time - place.ends < 30


# `--follow` of several runs: whose each line is, on a terminal and elsewhere.


def follow(qoder: Qoder, said: dict[str, list[Any]], *, terminal: bool = False, color: bool = False) -> list[str]:
    """Start these deployments, in whose sessions this is said, and follow them; return the lines of their events."""
    named = page(*({"id": f"dep_{n}", "name": name} for n, name in enumerate(said)))
    qoder.wire.on("GET", "/deployments", named)
    for n, events in enumerate(said.values()):
        run = {**LEGACY, "id": f"drun_{n}", "session_id": f"sess_{n}", "deployment_id": f"dep_{n}"}
        qoder.wire.on("POST", f"/deployments/dep_{n}/run", run)
        qoder.wire.on("GET", f"/deployment_runs/drun_{n}", run, {**run, "status": "completed"})
        qoder.wire.on("GET", f"/sessions/sess_{n}/events", page(*events), page(*events), repeat=True)  # each once
    qoder.wire.may("GET", "/sessions", page()).may("GET", "/sessions/*", {})
    out = Screen(io.BytesIO())
    err = Screen(written := io.BytesIO(), is_terminal=terminal, color=color, moves=False)
    app = App(env=qoder.env, out=out, err=err, clock=qoder.clock, transport=qoder.wire)
    assert main(["deploy", "run", *said, "--follow", "-q"], app) == 0
    return [line for line in written.getvalue().decode().splitlines() if " | " in line]


def test_deploy_run_follow_of_several_begins_each_line_with_its_deployment(qoder: Qoder) -> None:
    said = {"nightly-report": [says("One.\nTwo\x1b[2J.", 1)], "tidy": [says("Three.", 2), says("Four.", 3)]}
    lines = follow(qoder, said)
    assert [line for line in lines if line.startswith("nightly")] == [
        "nightly-report | 2026-06-14T08:54:01Z\tagent\tOne.",
        "nightly-report | \t\tTwo\\u001b[2J.",
    ]
    assert [line for line in lines if line.startswith("tidy")] == [
        "tidy | 2026-06-14T08:54:02Z\tagent\tThree.",
        "tidy | 2026-06-14T08:54:03Z\tagent\tFour.",
    ]


def test_deploy_run_follow_of_one_begins_no_line_with_its_deployment(qoder: Qoder) -> None:
    qoder.wire.on("POST", "/deployments/dep_1/run", LEGACY).on("GET", "/sessions/sess_1/events", page(says("Hello.")))
    qoder.wire.on("GET", "/deployment_runs/drun_1", {**LEGACY, "status": "completed"})
    ran = qoder("deploy", "run", "dep_1", "--follow", "-q")
    assert "2026-06-14T08:54:01Z\tagent\tHello." in ran.err.splitlines()


@pytest.mark.parametrize("color", [False, True])
def test_deploy_run_follow_on_terminals_pads_labels(qoder: Qoder, monkeypatch: pytest.MonkeyPatch, color: bool) -> None:
    monkeypatch.setattr(transcript, "terminal_width", lambda: 60)
    long = {"type": "agent.message", "content": "word " * 12}
    lines = follow(qoder, {"nightly-report": [says("Hello.")], "tidy": [long]}, terminal=True, color=color)
    if color:
        assert all(line.startswith("\x1b[2m") for line in lines)
        return
    assert [line for line in lines if line.startswith("tidy")] == [
        "tidy           |           agent     word word word word",
        "tidy           |                     word word word word",
        "tidy           |                     word word word word",
    ]
    [day, hello] = [line for line in lines if line.startswith("nightly-report | ")]
    assert (day[17:21], hello[-6:]) == ("2026", "Hello.")


@pytest.mark.parametrize(
    ("label", "width", "shown"),
    [
        ("tidy", 6, "tidy  "),
        ("tidy", 4, "tidy"),
        ("quarterly-report-emea", 11, "quart…-emea"),
        ("日报日报日报", 7, "日 … 报"),
        ("日报", 4, "日报"),
        ("abc", 1, "…"),
        ("", 2, "  "),
    ],
)
def test_follow_cuts_a_label_in_the_middle(label: str, width: int, shown: str) -> None:
    assert cut_inside(label, width) == shown
