"""`qoder run logs --follow`: what happens is shown once and in order, until the run ends."""

import json
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import Signalled
from qoder_cli.base.times import unix
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from qoder_cli.sessions.stream import FRAME_LIMIT
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.cells import checkerboard
from tests.support.inprocess import WorldTransport
from tests.support.lies import Lies
from tests.support.logs import lines_of, says
from tests.support.one_run import CURRENT, DONE, EVENTS, LEGACY, RUN, SESSION, WORK, idle
from tests.support.wire import GONE, api_error, page

FOLLOW = ("run", "logs", "drun_1", "--follow", "-o", "jsonl")
BOTH = pytest.mark.parametrize("generation", GENERATIONS)

# A run of the sandbox, to its end.


class Place:
    """A world on the test's clock, with a run in it; what is asked of it is counted."""

    def __init__(self, qoder: Qoder, generation: Generation = "current", *faults: str, run: str = "dep_minute") -> None:
        self.world = World(clock=qoder.clock.now, generation=generation, seed=1, token=TOKEN)
        qoder.transport = WorldTransport(self.world, faults=Lies(*faults), sleep=qoder.clock.sleep)
        # Real seconds: it is the stream's thread that lets the time pass, or nobody but the one that waits.
        is_silent = bool({"stream:501*inf", "run:half-written=5"} & {*faults})
        qoder.clock.patience = 0.01 if is_silent else 20.0
        self._qoder = qoder
        self.run = qoder("deploy", "run", run, "-q").out.strip()

    def follow(self, *words: str) -> Ran:
        return self._qoder("run", "logs", self.run, "--follow", *words)

    def listed(self) -> list[Any]:
        listed: list[Any] = self._qoder("run", "logs", self.run, "--json").json
        return listed

    def asked(self, ending: str) -> int:
        return sum(seen.path.endswith(ending) for seen in self.world.requests)


FAULTS: list[tuple[str, ...]] = [
    *((), ("stream:cut=2",), ("stream:cut=0.5",), ("stream:truncated*2",), ("stream:503*3",), ("stream:html=200*2",)),
    *(("stream:silent*1",), ("stream:501*inf",), ("stream:409*inf",), ("events:503*3", "stream:cut=5")),
    *(("any:lagging=2",), ("run:half-written=5",)),
]


@pytest.mark.parametrize(("faults", "generation"), checkerboard(FAULTS, GENERATIONS), ids=str)
@pytest.mark.few(6)
def test_run_logs_follow_shows_each_event_once(qoder: Qoder, generation: Generation, faults: tuple[str, ...]) -> None:
    place = Place(qoder, generation, *faults)
    if faults == ("any:lagging=2",):
        qoder.clock.sleep(2)
    ran = place.follow("-o", "jsonl")
    assert ran.code == 0
    assert lines_of(ran) == place.listed()
    assert lines_of(ran)[-1]["stop_reason"] == {"type": "end_turn"}
    assert (ran.err.count("falling back to polling") < 2, "does not show its end" in ran.err) == (True, False)
    match faults:
        case ("stream:cut=2",):
            assert place.asked("/stream") >= 4  # after 5, 15, 45 s
        case ("stream:501*inf",):
            assert "there is no event stream; falling back to polling" in ran.err
            assert place.asked("/stream") == 1
        case ("run:half-written=5",):
            assert generation == "legacy" or "waiting for it" in ran.err


@BOTH
@pytest.mark.parametrize("run", ["dep_demo", "dep_fail", "dep_terminated", "dep_budget", "dep_ask", "dep_slow"])
@pytest.mark.few(4)
def test_run_logs_follow_ends_with_the_run_however_it_ends(qoder: Qoder, generation: Generation, run: str) -> None:
    place = Place(qoder, generation, run=run)
    ran = place.follow("--json")
    assert (ran.code, ran.json) == (11 if run == "dep_ask" else 0, place.listed())


def test_run_logs_follow_leaves_a_run_that_asks_unless_told_otherwise(qoder: Qoder, tmp_path: Path) -> None:
    place = Place(qoder, "current", "stream:501*inf", run="dep_ask")
    began = qoder.clock.time
    ran = place.follow("-o", "jsonl")
    assert (ran.code, ran.error["type"], ran.error["run_state"]) == (11, "needs_answer", "going")
    assert ran.error["next"][1:3] == ["run", "pending"]
    assert 15 <= qoder.clock.time - began < 30
    (policy := tmp_path / "policy.yaml").write_text("allow: [{read: /data}]")
    policy.chmod(0o600)
    for run, pauses, words in (("dep_ask", 40, ["--on-ask", "wait"]), ("dep_slow", 1, ["--policy", str(policy)])):
        place = Place(qoder, "current", "stream:501*inf", run=run)
        leave(qoder, pauses)
        ran = place.follow(*words, "-o", "jsonl")
        assert (ran.code, ran.error["next"][2:7]) == (130, ["logs", place.run, "--follow", *words])


def leave(qoder: Qoder, after: int) -> None:
    """Let SIGINT come at this pause."""
    left = [None] * after

    def interrupt() -> None:
        if not left:
            raise Signalled(signal.SIGINT)
        left.pop()

    qoder.clock.at_sleep = interrupt


@BOTH
@pytest.mark.parametrize("option", ["--type agent.message", "--since 0.5s", "--tail 2", "--tail 0"])
@pytest.mark.few(3)
def test_run_logs_follow_may_show_less_than_everything(qoder: Qoder, generation: Generation, option: str) -> None:
    place = Place(qoder, generation, *["stream:501*inf"] * (generation == "legacy"))
    qoder.clock.sleep(20)
    before = len(place.listed())
    shown = lines_of(place.follow(*option.split(), "-o", "jsonl"))
    after = place.listed()
    if "type" in option:
        assert shown == [event for event in after if event["type"] == "agent.message"]
    else:
        assert shown == after[before - (2 if "2" in option else 0) :]


def test_run_logs_follow_of_a_run_that_is_over_shows_it_and_ends(qoder: Qoder) -> None:
    place = Place(qoder)
    qoder.clock.sleep(100)
    assert place.follow("--json").json == place.listed()
    assert place.asked("/stream") == 0


# A stream, connection by connection.

ENDED = {"id": "evt_end", "type": "session.status_terminated"}


def message(n: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"evt_{n}", "type": "agent.message", **fields}


def frame(event: dict[str, Any] | str, *, id: str | None = None, kind: str | None = None) -> bytes:
    data = event if isinstance(event, str) else json.dumps(event)
    lines = [f"id: {id}"] * (id is not None) + [f"event: {kind}"] * (kind is not None) + [f"data: {data}"]
    return ("\n".join(lines) + "\n\n").encode()


class Streams:
    """Answers each connection to the stream in turn: with bytes, or as told. Then the session ends.

    The list has what came before, and `missed`, which no stream told of. The stream's thread runs ahead of who reads.
    """

    def __init__(self, qoder: Qoder, *connections: Any, missed: list[dict[str, Any]] | None = None) -> None:
        self.qoder, self.missed = qoder, missed or []
        self.connections = [*connections, [frame(ENDED)]]
        self.cursors: list[str | None] = []
        self.times: list[float] = []
        self.slow = 0.0  # seconds that pass before each chunk
        self.noted = ""
        qoder.clock.patience = 20.0
        qoder.wire.on(*RUN, CURRENT, repeat=True).on(*EVENTS, self._listed, repeat=True).may(*SESSION, {})
        qoder.wire.on("GET", EVENTS[1] + "/stream", self._connect, repeat=True)

    def _listed(self, request: httpx.Request) -> Any:
        over = [ENDED] * (len(self.times) == len(self.connections))
        if "types[]" in request.url.params:  # how the run stands
            return page(*WORK, *over)
        return page(*self.missed) if "after_id" in request.url.params else page(*WORK)

    def _connect(self, request: httpx.Request) -> Any:
        said = self.connections[len(self.times)]
        self.times.append(self.qoder.clock.time)
        self.cursors.append(request.headers.get("last-event-id"))
        if not isinstance(said, list):
            return said
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=self._chunks(said))

    def _chunks(self, said: list[Any]) -> Iterator[bytes]:
        for chunk in said:
            self.qoder.clock.sleep(self.slow)
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    @property
    def pauses(self) -> list[float]:
        return [round(after - before) for before, after in pairwise(self.times)]

    def follow(self) -> list[Any]:
        """Follow, and return what is shown after the history, without the end."""
        ran = self.qoder(*FOLLOW)
        assert ran.code == 0, ran.err
        self.noted = ran.err
        first, second, *shown = lines_of(ran)
        assert [first, second] == WORK
        return [event for event in shown if event != ENDED]


LAST = WORK[-1]["id"]
BREAKS: dict[str, list[Any]] = {
    "ends": [],
    "resets": [httpx.ReadError("reset")],
    "times out": [httpx.ReadTimeout("")],
    "is cut": [b'id: evt_2\ndata: {"id": "ev'],
}


@pytest.mark.parametrize("breaks", BREAKS.values(), ids=BREAKS.keys())
def test_run_logs_follow_goes_on_after_the_last_complete_event(qoder: Qoder, breaks: list[Any]) -> None:
    again = [frame(message(1)), b": heartbeat\n\n", frame(message(2)), *breaks]
    streams = Streams(qoder, [frame(message(1)), *breaks], again)
    assert streams.follow() == [message(1), message(2)]
    assert streams.cursors == [LAST, "evt_1", "evt_2"]


PAUSES: dict[str, tuple[list[Any], float, list[int]]] = {
    # What the connections meet, the seconds that pass before each chunk, and the pauses between them.
    "5, 15 and 45 s": ([(503, {})] * 5, 0, [5, 15, 45, 45, 45]),
    "anew after one that held": ([*[(503, {})] * 2, [frame(message(1))], (503, {})], 6, [5, 15, 6 + 5, 15]),
    "a conflict, twice": ([(409, {})] * 2, 0, [0, 5]),
    "as the server says": ([httpx.Response(503, headers={"retry-after": "50"}, json={})], 0, [50]),
}


@pytest.mark.parametrize(("connections", "slow", "pauses"), PAUSES.values(), ids=PAUSES.keys())
def test_run_logs_follow_reopens_a_stream(qoder: Qoder, connections: list[Any], slow: float, pauses: list[int]) -> None:
    streams = Streams(qoder, *connections)
    streams.slow = slow
    streams.follow()
    assert streams.pauses == pauses


@pytest.mark.parametrize("status", [401, 403, 404, 405, 501])
@pytest.mark.few(3)
def test_run_logs_follow_opens_no_stream_again_that_is_refused_or_missing(qoder: Qoder, status: int) -> None:
    asked: list[float] = []

    def refuse(request: httpx.Request) -> Any:
        asked.append(qoder.clock.time)
        return api_error(status, "some_error", "No.")

    began = qoder.clock.time
    qoder.clock.patience = 0.01
    qoder.wire.on(*RUN, lambda _: DONE if qoder.clock.time - began > 30 else LEGACY, repeat=True)
    qoder.wire.on(*EVENTS, page(*WORK), repeat=True).on("GET", EVENTS[1] + "/stream", refuse, repeat=True)
    assert qoder(*FOLLOW).code == 0
    assert len(asked) == 1


FAILURES: dict[str, Any] = {
    "500": api_error(500, "api_error", "Broken."),
    "refused": httpx.ConnectError("refused"),
    "JSON": (200, {}),
    "HTML": httpx.Response(200, text="<html>", headers={"content-type": "text/html"}),
    "redirect": httpx.Response(302, headers={"location": "https://elsewhere/"}),
    "odd": ValueError("odd"),
    "an error": [frame({"type": "error", "error": {"message": "Too busy."}})],
    "an error that is no JSON": [frame("broken", kind="error")],
    "an error by its name": [frame({"message": "Gone."}, kind="error")],
    "an error in a word": [frame({"type": "error", "error": "Word."})],
    "a program that is wrong": [ValueError("Odd.")],
    "400": api_error(400, "invalid_request_error", "No."),
    "a proxy that refuses": (403, "No."),
    "a conflict not about the cursor": (409, {}),
}
SAYS = {"an error": "Too busy.", "an error by its name": "Gone.", "an error in a word": "Word."}
SAYS["a program that is wrong"] = "ValueError: Odd."


@pytest.mark.parametrize("name", FAILURES)
def test_run_logs_follow_comes_back_whatever_goes_wrong(qoder: Qoder, name: str) -> None:
    streams = Streams(qoder, FAILURES[name])
    assert streams.follow() == []
    assert streams.pauses == [0 if "conflict" in name else 5]
    assert SAYS.get(name, "") in streams.noted


def test_run_logs_follow_reads_the_list_where_the_server_forgot_the_cursor(qoder: Qoder) -> None:
    forgotten = api_error(409, "conflict_error", "Invalid cursor.")
    streams = Streams(qoder, [frame(message(1))], forgotten, [frame(message(5))], missed=[message(3)])
    assert sorted(each["id"] for each in streams.follow()) == ["evt_1", "evt_3", "evt_5"]
    assert streams.cursors == [LAST, "evt_1", None, "evt_5"]
    assert streams.pauses[1] == 0


def test_run_logs_follow_reads_the_list_where_an_event_is_too_long(qoder: Qoder) -> None:
    parts = [b"data: ", *[b"x" * 2**20] * (FRAME_LIMIT // 2**20 + 1), b"\n\n"]
    streams = Streams(qoder, [frame(message(1)), *parts, frame(message(3))], missed=[message(2)])
    assert sorted(each["id"] for each in streams.follow()) == ["evt_1", "evt_2", "evt_3"]


PING = frame("{}", kind="ping", id="evt_9")
PREVIEW = {"type": "event_start", "event": {"id": "evt_1", "type": "agent.message"}}
OURS = message(2, session_id="sess_1")
# What a stream says, the events in it, and the cursor afterwards.
SAID: dict[str, tuple[bytes, list[Any], str]] = {
    "an id of the frame": (frame({"type": "a.b"}, id="evt_1"), [{"id": "evt_1", "type": "a.b"}], "evt_1"),
    "a type, too": (frame({"n": 1}, id="evt_1", kind="odd"), [{"id": "evt_1", "type": "odd", "n": 1}], "evt_1"),
    "no type": (frame({"id": "evt_1", "n": 1}), [{"id": "evt_1", "n": 1}], "evt_1"),
    "no id, twice": (frame({"type": "agent.message"}) * 2, [{"type": "agent.message"}], LAST),
    "twice": (frame(message(1)) * 2, [message(1)], "evt_1"),
    "no JSON": (frame("not json", id="evt_1", kind="agent.message"), [], LAST),
    "a list": (frame("[1]", kind="agent.message"), [], LAST),
    "deep": (frame("[" * 100_000), [], LAST),
    "a preview": (frame(PREVIEW, id="evt_1"), [], LAST),
    "a delta": (frame({"type": "event_delta"}, id="evt_9") + frame(message(1)), [message(1)], "evt_1"),
    "a ping": (frame(message(1)) + PING + frame(PREVIEW, id="evt_2"), [message(1)], "evt_1"),
    "a ping without data": (b"event: ping\n\n", [], LAST),
    "a heartbeat": (frame("{}", kind="heartbeat", id="evt_9"), [], LAST),
    "done": (b"data: [DONE]\n\n" + frame(message(1)), [], LAST),
    "our token": (frame(message(1, text=f"Bearer {TOKEN}")), [message(1, text="Bearer [redacted]")], "evt_1"),
    "another session": (frame(message(1, session_id="sess_2")) + frame(OURS), [OURS], "evt_2"),
    "an id that no header can carry": (frame(message(1)) + frame({"id": "é"}), [message(1), {"id": "é"}], "evt_1"),
    "an id with a header in it": (frame({"id": "e\r\nX-Evil: 1"}), [{"id": "e\r\nX-Evil: 1"}], LAST),
}


@pytest.mark.parametrize("name", SAID)
def test_run_logs_follow_reads_what_a_stream_says(qoder: Qoder, name: str) -> None:
    said, events, cursor = SAID[name]
    streams = Streams(qoder, [said[n : n + 65_536] for n in range(0, len(said), 65_536)])
    assert streams.follow() == events
    assert streams.cursors == [LAST, cursor]


# Endings, and what cannot be read.


def lists(qoder: Qoder, *, judged: list[Any], shown: list[Any]) -> None:
    """Answer in turn what asks for the events that tell how a run goes, and what asks for all of them."""

    def answer(request: httpx.Request) -> Any:
        answers = judged if "types[]" in request.url.params else shown
        return answers.pop(0) if answers[1:] else answers[0]

    qoder.wire.on(*EVENTS, answer, repeat=True)


OLDER = {**WORK[0], "id": "evt_0", "processed_at": "2026-06-14T08:00:00Z"}


@pytest.mark.parametrize("repeated", [[], [OLDER, *WORK]], ids=["cursor kept", "cursor ignored"])
def test_run_logs_follow_sees_the_end_where_it_has_not_read_the_beginning(qoder: Qoder, repeated: list[Any]) -> None:
    qoder.wire.on(*RUN, LEGACY, LEGACY, DONE)
    lists(qoder, judged=[page()], shown=[page(*WORK[::-1]), page(*repeated, idle("end_turn")), page()])
    assert qoder("run", "logs", "drun_1", "--follow", "--tail", "0", "-q").out == "evt_status_idle_23\n"
    assert sum(qoder.clock.slept) < 2


def test_run_logs_follow_prints_no_run_where_it_shows_no_event(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT)
    lists(qoder, judged=[page(*WORK)], shown=[(503, {})])
    leave(qoder, 1)
    ran = qoder(*FOLLOW)
    assert (ran.code, ran.out) == (130, "")


# What the list is answered with after its first pages; exit code, and seconds that were slept.
TROUBLE: dict[str, tuple[Any, int, tuple[float, float]]] = {
    "five minutes of 502": ((502, ""), 10, (300, 315)),
    "a token that expires": (api_error(401, "authentication_error", "Expired."), 10, (0, 10)),
    "a session that is deleted": (GONE, 5, (0, 60)),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_run_logs_follow_loses_sight_in_trouble_that_lasts(qoder: Qoder, name: str) -> None:
    answer, code, slept = TROUBLE[name]
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK), page(*WORK), page()).on(*EVENTS, answer, repeat=True)
    ran = qoder(*FOLLOW)
    assert (ran.code, ran.error["http_status"]) == (code, answer[0])
    if code == 10:
        assert (ran.error["run_state"], ran.error["next"]) == ("unknown", ["qoder", *FOLLOW])
    else:
        assert "was deleted, along" in ran.error["message"]
    assert slept[0] <= sum(qoder.clock.slept) < slept[1]


# What comes right before the end is shown, too.


@BOTH
@pytest.mark.parametrize("words", [(), ("--type", "agent.message"), ("--tail", "0")])
@pytest.mark.parametrize("lag", [5, 999])
def test_run_logs_follow_reads_on_until_its_end_shows_or_says_that_it_may_be_missing(
    qoder: Qoder, generation: Generation, words: tuple[str, ...], lag: int
) -> None:
    """The list of all events lags behind that of those which tell how a run goes, and behind its status."""
    run, last = (CURRENT, DONE)[generation == "legacy"], says("last", 22)
    since = qoder.clock.time = (unix(DONE["completed_at"]) or 0.0) + 1

    def listed(request: httpx.Request) -> Any:
        kinds = [*request.url.params.get_list("types[]")]
        is_shown = "user.tool_confirmation" in kinds or qoder.clock.time >= since + lag
        events = [says("first", 8), *([last, idle("end_turn")] if is_shown else [])]
        return page(*(event for event in [*WORK, *events] if not kinds or event["type"] in kinds))

    qoder.wire.on(*RUN, run, repeat=True).on(*EVENTS, listed, repeat=True).may(*SESSION, {"id": "sess_1"})
    ran = qoder(*FOLLOW, *words)
    is_missing = "does not show its end, so more may be missing" in ran.err
    assert (ran.code, last in lines_of(ran), is_missing) == (0, lag == 5, lag == 999), ran.err
    assert sum(qoder.clock.slept) == pytest.approx(min(lag, 30), abs=2)


@BOTH
def test_run_logs_follow_misses_no_end_behind_what_is_shown_or_before_it(qoder: Qoder, generation: Generation) -> None:
    later = page(*(says(str(second), second) for second in (40, 50)))
    qoder.wire.on(*RUN, (CURRENT, DONE)[generation == "legacy"], repeat=True).may(*SESSION, {"id": "sess_1"})
    early = page(*WORK, idle("end_turn", 10))  # seconds before a status says so
    lists(qoder, judged=[early], shown=(shown := [later]))
    qoder.wire.on("GET", "/sessions/sess_1/threads/sthr_1/events", page(*WORK))
    since = ("--since", "2026-06-14T08:54:30Z")
    for words, answer in {(): early, ("--tail", "1"): later, ("--thread", "sthr_1"): later, since: page()}.items():
        shown[:] = [answer]
        ran = qoder(*FOLLOW, *words)
        assert (ran.code, "does not show its end" in ran.err) == (0, False), ran.err


LAST_READS: dict[str, tuple[list[Any], int]] = {
    "read": ([page(says("last", 2))], 0),
    "502 at first": ([(502, ""), page(says("last", 2))], 0),
    "429 at first": ([(429, ""), page(says("last", 2))], 0),
    "502 for ever": ([(502, "")], 7),
}


@pytest.mark.parametrize("name", LAST_READS)
def test_run_logs_follow_shows_what_comes_right_before_the_end(qoder: Qoder, name: str) -> None:
    reads, code = LAST_READS[name]
    qoder.wire.on(*RUN, LEGACY, DONE).on(*EVENTS, page(says("first", 1))).on(*EVENTS, *reads, repeat=code == 7)
    ran = qoder(*FOLLOW)
    assert ran.code == code
    assert lines_of(ran) == [says("first", 1), *([says("last", 2)] if code == 0 else [])]
