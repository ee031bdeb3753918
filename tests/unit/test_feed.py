"""Following a session's event stream through everything that can break it."""

import io
import json
import queue
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, NoAnswer, NotFound, Rejected, Unavailable
from qoder_cli.base.model import is_new
from qoder_cli.base.outcome import event_key
from qoder_cli.http.client import STREAM_SILENCE
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.world import World
from qoder_cli.sessions.feed import FRAME_LIMIT, Feed, News
from tests.conftest import TOKEN
from tests.support.inprocess import WorldTransport
from tests.support.wire import FakeClock, api_error

SESSION = "sess_1"
ENDED = {"id": "evt_end", "type": "session.status_terminated"}


def event(n: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"evt_{n}", "type": "agent.message", **fields}


def frame(event: dict[str, Any] | str, *, id: str | None = None, kind: str | None = None) -> bytes:
    data = event if isinstance(event, str) else json.dumps(event)
    lines = [f"id: {id}"] * (id is not None) + [f"event: {kind}"] * (kind is not None) + [f"data: {data}"]
    return ("\n".join(lines) + "\n\n").encode()


class Streams(httpx.BaseTransport):
    """Answers each connection to the stream in turn: with bytes, or as told. Then the session ends."""

    def __init__(self, *connections: Any) -> None:
        self.clock = FakeClock()
        self.connections = [*connections, [frame(ENDED)]]
        self.asked: list[httpx.Request] = []
        self.times: list[float] = []
        self.slow = 0.0  # seconds that pass before each chunk

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        self.times.append(self.clock.now())
        said = self.connections[len(self.asked) - 1]
        if isinstance(said, Exception):
            raise said
        if isinstance(said, tuple):
            status, body = said
            return httpx.Response(status, json=body)
        if isinstance(said, httpx.Response):
            return said
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=self._chunks(said))

    def _chunks(self, said: list[Any]) -> Iterator[bytes]:
        for chunk in said:
            self.clock.sleep(self.slow)
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    @property
    def cursors(self) -> list[str | None]:
        return [request.headers.get("last-event-id") for request in self.asked]

    def follow(self, *, after: str | None = None) -> list[Any]:
        """Return all the news until the stream is over for good."""
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        feed = Feed(client_on(self, self.clock), SESSION, inbox=inbox, after=after)
        feed.start()
        return list(until_over(inbox))


def client_on(transport: httpx.BaseTransport, clock: FakeClock, **flags: Any) -> Any:
    env = {"QODER_PAT": TOKEN, "QODER_CONFIG": "/nonexistent/config.toml"}
    app = App(env=env, out=Screen(None), err=Screen(io.BytesIO()), clock=clock, transport=transport)
    return app.client


def until_over(inbox: "queue.SimpleQueue[Any]") -> Iterator[Any]:
    while True:
        item = inbox.get(timeout=10)
        yield item
        if item.kind == "down" and item.for_good:
            return


def heard(news: list[Any]) -> list[Any]:
    return [item.event for item in news if item.kind == "heard"]


def kinds(news: list[Any]) -> list[str]:
    return [item.kind for item in news]


def test_it_tells_of_events_and_ends_with_the_session() -> None:
    streams = Streams([frame(event(1)), b": heartbeat\n\n", frame(event(2)), frame(ENDED), frame(event(3))])
    assert streams.follow(after="evt_0") == [
        News("up", SESSION),
        News("heard", SESSION, event(1)),
        News("alive", SESSION),
        News("heard", SESSION, event(2)),
        News("heard", SESSION, ENDED),
        News("down", SESSION, for_good=True),
    ]
    [request] = streams.asked
    assert request.url.path.endswith("/sessions/sess_1/events/stream")
    assert (request.headers["accept"], streams.cursors) == ("text/event-stream", ["evt_0"])


def test_messages_that_are_being_written_are_asked_for_and_heard() -> None:
    """A server sends parts of messages to those who ask (help/pages/api.md#event-streams)."""
    start = {"type": "event_start", "event": {"id": "evt_1", "type": "agent.message"}}
    streams = Streams([frame(start), frame(event(1))])
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    Feed(client_on(streams, streams.clock), SESSION, inbox=inbox, deltas=["agent.message"]).start()
    assert kinds(list(until_over(inbox)))[:3] == ["up", "preview", "heard"]
    assert [request.url.params.get_list("event_deltas[]") for request in streams.asked] == [["agent.message"]] * 2
    streams = Streams()
    streams.follow()
    assert not streams.asked[0].url.params


def test_a_server_that_knows_of_no_parts_is_asked_without_them_at_once() -> None:
    streams = Streams(api_error(400, "invalid_request_error", "Unknown query parameter."), [frame(event(1))])
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    Feed(client_on(streams, streams.clock), SESSION, inbox=inbox, deltas=["agent.message"]).start()
    assert kinds(list(until_over(inbox)))[:2] == ["up", "heard"]
    assert [bool(request.url.params) for request in streams.asked] == [True, False, False]
    assert streams.times[1] == streams.times[0]


@pytest.mark.parametrize(
    "breaks", [[], [httpx.ReadError("reset")], [httpx.ReadTimeout("")], [b'id: evt_2\ndata: {"id": "ev']]
)
def test_it_goes_on_after_the_last_complete_event(breaks: list[Any]) -> None:
    streams = Streams([frame(event(1)), *breaks], [frame(event(1)), frame(event(2)), *breaks])
    news = streams.follow()
    assert heard(news) == [event(1), event(2), ENDED]
    assert streams.cursors == [None, "evt_1", "evt_2"]
    assert kinds(news) == ["up", "heard", "down"] * 2 + ["up", "heard", "down"]


def test_it_comes_back_after_5_15_and_45_seconds() -> None:
    streams = Streams(*[(503, {})] * 5)
    streams.follow()
    assert [after - before for before, after in pairwise(streams.times)] == pytest.approx([5, 15, 45, 45, 45])


def test_a_stream_that_held_for_a_while_starts_the_pauses_anew() -> None:
    streams = Streams(*[(503, {})] * 2, [frame(event(1))], (503, {}))
    streams.slow = 6
    streams.follow()
    assert [after - before for before, after in pairwise(streams.times)] == pytest.approx([5, 15, 6 + 5, 15])


def test_it_comes_back_when_the_server_says() -> None:
    late = httpx.Response(503, headers={"retry-after": "50"}, json={})
    streams = Streams(late)
    streams.follow()
    assert [after - before for before, after in pairwise(streams.times)] == pytest.approx([50])


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthError), (403, AuthError), (404, NotFound), (405, Rejected), (501, Unavailable)]
)
def test_where_there_is_no_stream_it_gives_up(status: int, kind: type[ApiError]) -> None:
    streams = Streams(api_error(status, "some_error", "No."))
    [down] = streams.follow()
    assert isinstance(down.error, kind)
    assert down.error.message.startswith(f"HTTP {status} from ")
    assert (down.error.message[-3:], len(streams.asked)) == ("No.", 1)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (api_error(500, "api_error", "Broken."), "Broken."),
        (httpx.ConnectError("refused"), "refused"),
        ((200, {}), "application/json"),
        (httpx.Response(200, text="<html>", headers={"content-type": "text/html"}), "text/html"),
        (httpx.Response(302, headers={"location": "https://elsewhere/"}), "redirect"),
        (ValueError("odd"), "odd"),
        ([frame({"type": "error", "error": {"message": "Too busy."}})], "Too busy."),
        ([frame("broken", kind="error")], "(no message)"),
        ([frame({"message": "Gone."}, kind="error")], "Gone."),
    ],
)
def test_whatever_else_goes_wrong_it_comes_back(answer: Any, told: str) -> None:
    news = Streams(answer).follow()
    [error] = [item.error for item in news if item.kind == "down" and item.error]
    assert isinstance(error, Unavailable)
    assert told in error.message
    assert heard(news) == [ENDED]


def test_a_cursor_that_is_not_known_any_more_leaves_a_gap() -> None:
    streams = Streams([frame(event(1))], api_error(409, "conflict_error", "Invalid cursor."), [frame(event(5))])
    news = streams.follow()
    assert streams.cursors == [None, "evt_1", None, "evt_5"]
    assert kinds(news) == ["up", "heard", "down", "up", "gap", "heard", "down", "up", "heard", "down"]
    assert streams.times[1] == streams.times[2]


def test_a_conflict_that_is_not_about_the_cursor_is_a_failure() -> None:
    assert kinds(Streams((409, {})).follow()) == ["down", "up", "heard", "down"]


def test_an_event_that_is_too_long_leaves_a_gap() -> None:
    parts = [b"data: ", *[b"x" * 2**20] * (FRAME_LIMIT // 2**20 + 1), b"\n\n"]
    news = Streams([frame(event(1)), *parts, frame(event(3))]).follow()
    assert kinds(news)[:4] == ["up", "heard", "gap", "heard"]


def test_an_event_of_5_mb_is_heard_whole() -> None:
    big = event(1, content=[{"type": "text", "text": "é" * 2_500_000}])
    raw = frame(big)
    chunks = [raw[n : n + 65_536] for n in range(0, len(raw), 65_536)]
    assert heard(Streams(chunks).follow()) == [big, ENDED]


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (frame({"type": "agent.message"}, id="evt_1"), [{"id": "evt_1", "type": "agent.message"}]),
        (frame({"n": 1}, id="evt_1", kind="odd.event"), [{"id": "evt_1", "type": "odd.event", "n": 1}]),
        (frame({"id": "evt_1", "n": 1}), [{"id": "evt_1", "n": 1}]),
        (frame({"type": "agent.message"}) * 2, [{"type": "agent.message"}]),
        (frame(event(1)) * 2, [event(1)]),
        (frame("not json", id="evt_1", kind="agent.message"), []),
        (frame("[1]", kind="agent.message"), []),
        (frame("[" * 100_000), []),
        (frame({"type": "event_start", "event": {"id": "evt_1", "type": "agent.message"}}, id="evt_1"), []),
        (frame({"type": "event_delta", "event_id": "evt_1"}, id="evt_1") + frame(event(1), id="evt_1"), [event(1)]),
        (frame("{}", kind="ping", id="evt_9"), []),
        (b"event: ping\n\n", []),
        (frame("{}", kind="heartbeat", id="evt_9"), []),
        (b"data: [DONE]\n\n" + frame(event(1)), []),
        (frame(event(1, text="café\u2028")).replace(b"\n", b"\r\n"), [event(1, text="café\u2028")]),
        (frame('{"id": "evt_1", "text": "X"}').replace(b"X", b"\xff"), [{"id": "evt_1", "text": "\ufffd"}]),
        (frame(event(1, text=f"Bearer {TOKEN}")), [event(1, text="Bearer [redacted]")]),
    ],
)
def test_what_is_an_event(raw: bytes, events: list[Any]) -> None:
    assert heard(Streams([raw]).follow()) == [*events, ENDED]


@pytest.mark.parametrize("kind", ["ping", "heartbeat"])
def test_pings_and_previews_do_not_move_the_cursor(kind: str) -> None:
    pings = frame("{}", kind=kind, id="evt_9") + frame({"type": "event_start", "event": {}}, id="evt_2")
    streams = Streams([frame(event(1)) + pings])
    assert kinds(streams.follow())[2] == "alive"
    assert streams.cursors == [None, "evt_1"]


def test_an_id_that_no_header_can_carry_does_not_move_the_cursor() -> None:
    odd = {"id": "evt\r\nX-Evil: 1", "type": "agent.message"}
    streams = Streams([frame(event(1)), frame(odd), frame({**odd, "id": "é"})])
    assert len(heard(streams.follow())) == 4
    assert streams.cursors == [None, "evt_1"]


def test_after_stop_it_says_nothing_and_ends() -> None:
    streams = Streams((503, {}))
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    feed = Feed(client_on(streams, streams.clock), SESSION, inbox=inbox)
    streams.clock.at_sleep = feed.stop
    feed.start()
    assert inbox.get(timeout=10).kind == "down"
    assert feed.stopped
    assert inbox.empty()
    assert len(streams.asked) == 1


def test_only_so_many_ids_are_remembered() -> None:
    known: dict[str, None] = {}
    assert [is_new(key, known, most=2) for key in "abacabdea"] == [
        True,
        True,
        False,
        True,
        False,
        False,
        True,
        True,
        True,
    ]
    assert event_key({"a": 1}) == event_key({"a": 1}) != event_key({"a": 2})  # without an id, by the whole content


# Against the sandbox


def follow_run(deployment: str, *faults: str, after_first: bool = True) -> tuple[list[Any], list[Any], FakeClock]:
    """Follow a run of the sandbox to its end; return the news, the events in truth, and the clock."""
    clock = FakeClock()
    world = World(clock=clock.now, seed=1)
    client = client_on(WorldTransport(world, faults=Faults(*faults), sleep=clock.sleep), clock)
    client._http.headers["authorization"] = f"Bearer {world.token}"
    run = client.understand(client.send(client.prepare("POST", f"/deployments/{deployment}/run"), 10))
    path = f"/sessions/{run['session_id']}/events"
    clock.time += 0.04  # its turn has just begun
    first = client.get(path)["data"][0]
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    feed = Feed(client, run["session_id"], inbox=inbox, after=first["id"] if after_first else None)
    feed.start()
    news: list[Any] = []
    while not is_end(news):
        news.append(inbox.get(timeout=10))
    feed.stop()
    events = [event for page in client.pages(path, {"limit": 100}) for event in page["data"]]
    return news, events[1:], clock


def is_end(news: list[Any]) -> bool:
    return bool(news) and news[-1].kind == "heard" and news[-1].event["type"] == "session.status_idle"


@pytest.mark.parametrize(
    "faults", [(), ("stream:cut=2",), ("stream:truncated*3",), ("stream:503*2",), ("stream:silent*1",)]
)
def test_a_minute_in_the_sandbox_is_heard_whole_and_in_order(faults: tuple[str, ...]) -> None:
    news, events, _ = follow_run("dep_minute", *faults)
    assert heard(news) == events
    assert kinds(news).count("down") >= len(faults)


def test_a_silent_stream_is_down_after_75_seconds() -> None:
    news, _, clock = follow_run("dep_demo", "stream:silent*1")
    [down] = [item for item in news if item.kind == "down"]
    assert isinstance(down.error, NoAnswer)
    assert sum(clock.slept) >= STREAM_SILENCE


def test_debug_shows_the_request_and_never_the_token() -> None:
    said = io.BytesIO()
    streams = Streams([frame(event(1))])
    env = {"QODER_PAT": TOKEN, "QODER_CONFIG": "/nonexistent/config.toml"}
    app = App(env=env, out=Screen(None), err=Screen(said), clock=streams.clock, transport=streams)
    app.flags.debug = True
    with app.client.open_stream("/sessions/sess_1/events/stream", headers={"last-event-id": "evt_7"}) as (_, chunks):
        assert b"".join(chunks) == frame(event(1))
    shown = said.getvalue().decode()
    assert "GET" in shown
    assert "evt_7" in shown
    assert "< 200" in shown
    assert TOKEN not in shown
