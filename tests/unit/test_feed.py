"""A session's stream while a message is being written, as a chat shows it."""

import json
import queue
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.http.client import Client
from qoder_cli.output.screen import Screen
from qoder_cli.sessions.log import Events, Log
from qoder_cli.sessions.showing import Showing
from qoder_cli.sessions.story import Story
from qoder_cli.sessions.stream import Feed, News, Streams
from tests.conftest import TOKEN
from tests.support.one_run import RUNNING, rests, story
from tests.support.wire import FakeClock, Wire, api_error


def app_at(wire: Wire, clock: FakeClock) -> App:
    env = {"QODER_PAT": TOKEN, "QODER_CONFIG": "/nonexistent/config.toml"}
    return App(env=env, out=Screen(None), err=Screen(None), clock=clock, transport=wire)


def stream(*events: bytes) -> httpx.Response:
    content = iter([b"data: " + event + b"\n\n" for event in events])
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=content)


MESSAGE, END = b'{"id": "evt_1", "type": "agent.message"}', b'{"id": "evt_2", "type": "session.deleted"}'
START = b'{"type": "event_start", "event": {"id": "evt_1", "type": "agent.message"}}'
REFUSED = api_error(400, "invalid_request_error", "Unknown query parameter.")
ASKED = ["agent.message"]
BUSY = api_error(503, "api_error", "Busy.")
WHOLE = ["up", "heard", "heard", "down"]
CONNECTIONS: dict[str, tuple[list[Any], list[str], list[list[str]], float]] = {
    # What the connections meet, the news, the parts that each asks for, and the seconds between them.
    "heard": ([stream(START, MESSAGE, END)], ["up", "preview", "heard", "heard", "down"], [ASKED], 0),
    "a server that knows of none": ([REFUSED, stream(START, MESSAGE, END)], WHOLE, [ASKED, []], 0),
    "a server that is busy": ([BUSY, stream(MESSAGE, END)], ["down", *WHOLE], [ASKED, ASKED], 5),
}


@pytest.mark.parametrize(("connections", "kinds", "asked", "slept"), CONNECTIONS.values(), ids=CONNECTIONS.keys())
def test_session_chat_asks_for_parts_of_messages_and_without_them_at_once_where_they_are_refused(
    connections: list[Any], kinds: list[str], asked: list[list[str]], slept: float
) -> None:
    wire, clock = Wire().on("GET", "/sessions/sess_1/events/stream", *connections), FakeClock()
    app = app_at(wire, clock)
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    Feed(Log(app.client, "sess_1"), inbox=inbox, deltas=ASKED).start()
    assert [inbox.get(timeout=20).kind for _ in kinds] == kinds
    assert [request.url.params.get_list("event_deltas[]") for request in wire.requests] == asked
    assert sum(clock.slept) == pytest.approx(slept)


def test_run_logs_follow_resumes_after_the_last_event_that_a_header_can_name() -> None:
    odd = [json.dumps({"id": id, "type": "agent.message"}).encode() for id in ("evt_é", "evt_\x07", "")]
    wire = Wire().on("GET", "*/events/stream", stream(MESSAGE, b"[1]\n:", b"{", b"{}\nevent: ping", *odd), stream(END))
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    Feed(Log(app_at(wire, FakeClock()).client, "sess_1"), inbox=inbox).start()
    kinds = ["up", "heard", "alive", "alive", *["heard"] * 3, "down", "up", "heard", "down"]
    assert [inbox.get(timeout=20).kind for _ in kinds] == kinds
    assert [request.headers.get("last-event-id") for request in wire.requests] == [None, "evt_1"]


class Unseen(Showing):
    """Shows nothing, to somebody; notes how often the list was to be read."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        self.reads = 0

    def new_log(self, session_id: str) -> Log:
        return Log(self._client, session_id)

    def write(self, events: Events, session_id: str) -> None:
        pass

    def catch_up(self, session_id: str) -> None:
        self.reads += 1


@pytest.mark.parametrize("is_shown", [True, False])
def test_session_is_read_at_once_where_its_stream_says_that_it_rests_or_was_answered(is_shown: bool) -> None:
    app = app_at(Wire(), FakeClock())
    streams = Streams(app.client, inbox=queue.SimpleQueue(), showing=Unseen(app.client) if is_shown else None)
    streams.follow(Log(app.client, "sess_1"), Story(), name=None, is_over=False)
    asks = {"type": "session.status_idle", "stop_reason": {"type": "requires_action", "event_ids": ["evt_9"]}}
    says = {"type": "agent.message"}
    events = story(RUNNING, says, asks, says, RUNNING, says, rests())
    polled = [streams.receive(News("heard", "sess_1", event))[0] for event in events]
    assert polled == [None, None, "sess_1", None, "sess_1" if is_shown else None, None, "sess_1"]
    assert streams.receive(News("heard", "sess_2", events[-1])) == (None, False)
    changes: list[Any] = ["gap", "down", "down"]
    answers = [("sess_1", False), ("sess_1", False), (None, False)]
    assert [streams.receive(News(kind, "sess_1")) for kind in changes] == answers


@pytest.fixture
def silent() -> Iterator[Wire]:
    """Answer each connection with a stream that says nothing until the test is over."""
    over = threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        silence = (b"" for _ in [0] if not over.wait(20))
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=silence)

    yield Wire().may("GET", "*/events/stream", answer)
    over.set()


def test_run_wait_of_many_opens_eight_streams(silent: Wire) -> None:
    app = app_at(silent, FakeClock())
    streams = Streams(app.client, inbox=queue.SimpleQueue())
    ids = [f"sess_{number}" for number in range(9)]
    for id in ids:
        streams.follow(Log(app.client, id), Story(), name=None, is_over=False)
    assert [streams.receive(News("up", id)) for id in ids] == [*((id, False) for id in ids[:8]), (None, False)]
    for id, is_over in ((ids[0], True), (ids[8], False)):
        streams.follow(Log(app.client, id), Story(), name=None, is_over=is_over)
    assert streams.receive(News("up", ids[8])) == (ids[8], False)
    streams.close()


def test_run_wait_follow_reads_the_list_unless_the_stream_delivers(silent: Wire) -> None:
    clock = FakeClock()
    app = app_at(silent, clock)
    showing = Unseen(app.client)
    streams, log = Streams(app.client, inbox=queue.SimpleQueue(), showing=showing), Log(app.client, "sess_1")

    def reads(*kinds: Any, after: float = 0.0, is_over: bool = False) -> tuple[bool, bool]:
        before = showing.reads
        for kind in kinds:
            streams.receive(News(kind, "sess_1", {"type": "agent.message"}))
        clock.time += after
        streams.follow(log, Story(), name=None, is_over=is_over)
        return showing.reads > before, streams.is_open("sess_1")

    assert reads() == (True, False)
    assert reads("up") == (True, True)
    assert reads("heard", after=59.9) == (False, True)
    assert reads(after=0.1) == (True, True)
    assert reads("alive") == (False, True)
    assert reads("gap") == (True, True)
    assert reads("alive", is_over=True) == (True, True)
    assert reads("down") == (True, False)
    assert reads("up") == (True, True)
