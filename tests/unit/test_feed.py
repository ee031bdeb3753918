"""A session's stream while a message is being written, as a chat shows it."""

import queue
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.output.screen import Screen
from qoder_cli.sessions.log import Log
from qoder_cli.sessions.story import Story
from qoder_cli.sessions.stream import Feed, News, Streams
from tests.conftest import TOKEN
from tests.support.one_run import RUNNING, rests, story
from tests.support.wire import FakeClock, Wire, api_error


def stream(*events: bytes) -> httpx.Response:
    content = iter([b"data: " + event + b"\n\n" for event in events])
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=content)


MESSAGE, END = b'{"id": "evt_1", "type": "agent.message"}', b'{"id": "evt_2", "type": "session.deleted"}'
START = b'{"type": "event_start", "event": {"id": "evt_1", "type": "agent.message"}}'
REFUSED = api_error(400, "invalid_request_error", "Unknown query parameter.")
ASKED = ["agent.message"]
CONNECTIONS: dict[str, tuple[list[Any], list[str], list[list[str]]]] = {
    # What the connections meet, the news, and the parts that each asks for.
    "heard": ([stream(START, MESSAGE, END)], ["up", "preview", "heard", "heard", "down"], [ASKED]),
    "a server that knows of none": ([REFUSED, stream(MESSAGE, END)], ["up", "heard", "heard", "down"], [ASKED, []]),
}


@pytest.mark.parametrize(("connections", "kinds", "asked"), CONNECTIONS.values(), ids=CONNECTIONS.keys())
def test_session_chat_asks_for_parts_of_messages_and_without_them_at_once_where_they_are_refused(
    connections: list[Any], kinds: list[str], asked: list[list[str]]
) -> None:
    wire, clock = Wire().on("GET", "/sessions/sess_1/events/stream", *connections), FakeClock()
    env = {"QODER_PAT": TOKEN, "QODER_CONFIG": "/nonexistent/config.toml"}
    app = App(env=env, out=Screen(None), err=Screen(None), clock=clock, transport=wire)
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    Feed(Log(app.client, "sess_1"), inbox=inbox, deltas=ASKED).start()
    assert [inbox.get(timeout=20).kind for _ in kinds] == kinds
    assert [request.url.params.get_list("event_deltas[]") for request in wire.requests] == asked
    assert clock.slept == []


class Showing:
    """Shows nothing, to somebody."""

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: None


@pytest.mark.parametrize("is_shown", [True, False])
def test_session_is_read_at_once_where_its_stream_says_that_it_rests_or_was_answered(is_shown: bool) -> None:
    env = {"QODER_PAT": TOKEN, "QODER_CONFIG": "/nonexistent/config.toml"}
    app = App(env=env, out=Screen(None), err=Screen(None), clock=FakeClock(), transport=Wire())
    streams = Streams(app.client, inbox=queue.SimpleQueue(), showing=Showing() if is_shown else None)
    streams.follow(Log(app.client, "sess_1"), Story(), name=None, is_over=False)
    asks = {"type": "session.status_idle", "stop_reason": {"type": "requires_action", "event_ids": ["evt_9"]}}
    says = {"type": "agent.message"}
    events = story(RUNNING, says, asks, RUNNING, says, rests())
    polled = [streams.receive(News("heard", "sess_1", event))[0] for event in events]
    assert polled == [None, None, "sess_1", "sess_1" if is_shown else None, None, "sess_1"]
    assert streams.receive(News("heard", "sess_2", events[-1])) == (None, False)
