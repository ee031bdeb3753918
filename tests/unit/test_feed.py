"""A session's stream, and when its list is read, by a wait that shows events and by a chat."""

import json
import queue
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, NotFound, Unavailable
from qoder_cli.output.screen import Screen
from qoder_cli.sessions.chat import followed
from qoder_cli.sessions.log import UNCHECKED, Log
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
    "heard": ([stream(START, MESSAGE, END, MESSAGE)], ["up", "preview", "heard", "heard", "down"], [ASKED], 0),
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
    """Shows nothing, and notes how often the list was to be read."""

    reads = 0

    def catch_up(self, session_id: str) -> None:
        self.reads += 1


def unseen(app: App) -> Unseen:
    return Unseen(app.client, lambda events, name: None)


@pytest.mark.parametrize("is_shown", [True, False])
def test_session_is_read_at_once_where_its_stream_says_that_it_rests_or_was_answered(is_shown: bool) -> None:
    app = app_at(Wire(), FakeClock())
    streams = Streams(app.client, inbox=queue.SimpleQueue(), showing=unseen(app) if is_shown else None)
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
    showing = unseen(app)
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


def test_run_wait_follow_reads_its_list_on_from_where_it_was_read_for_a_stream_may_leave_out_events() -> None:
    client: Any = Script("", "b, busy, c, d")
    showing = Showing(client, lambda events, name: None)

    def read_after(*ids: str | None) -> str:
        for id in ids:
            showing.hear({"id": id, "type": "odd"}, session_id="sess_1")
        showing.catch_up("sess_1")
        return str(client.reads[-1])

    assert [read_after(id) for id in ("a", "x", "y", "z", None)] == ["0@", "0@b", "0@b", "0@c", "0@d"]
    assert read_after(*map(str, range(UNCHECKED + 2))) == "0@1"


# A chat follows its session: what happens, and when its list is read.

OWN = {"enveloped": True}  # an error in the API's own envelope
ERRORS: dict[str, ApiError] = {
    "busy": Unavailable("Busy.").with_(**OWN),
    "gone": NotFound("Gone.").with_(**OWN),
    "expired": AuthError("Expired.").with_(**OWN),
    "a proxy's 404": NotFound("Not here."),
    "a proxy's 403": AuthError("Not you."),
}


class Script(FakeClock):
    """A session's client and its clock: news and pauses come in turn, and answers to each read of the list.

    `9` is nine seconds without news, `z9` as many in which this machine sleeps.
    """

    def __init__(self, script: str, answers: str) -> None:
        super().__init__(0.0)
        self.script, self.answers = script.split(), answers.split(", ")  # the last answer repeats
        self.clock = self
        self.progress = SimpleNamespace(note=lambda text: None)
        self.reads: list[str] = []  # when, and from where on

    def receive(self, inbox: Any, seconds: float) -> Any:
        if not self.script:
            raise EOFError
        kind, _, id = self.script.pop(0).partition(":")
        if kind.isalpha():
            return SimpleNamespace(kind=kind, event={"id": id}, error=None)
        passed = float(kind.strip("z"))
        if passed > seconds and kind[0] != "z":
            self.script.insert(0, str(passed - seconds))
            passed = seconds
        self.time += passed
        return None

    def open_stream(self, *given: Any, **named: Any) -> Any:
        raise Unavailable("The script says what a stream tells.").with_(http_status=501)

    def pages(self, path: str, query: dict[str, Any], **how: Any) -> Iterator[dict[str, Any]]:
        self.reads.append(f"{self.time:.0f}@{query.get('after_id', '')}")
        answer = self.answers.pop(0) if self.answers[1:] else self.answers[0]
        if answer in ERRORS:
            raise ERRORS[answer]
        for page in answer.split("|"):
            yield {"data": [{"id": id} for id in page.split()]}


# What happens, what the list answers; its last three reads, and whether sight is lost at last.
SCRIPTS: dict[str, tuple[str, str, str, bool]] = {
    "no stream": ("15", "", "5@ 10@ 15@", False),
    "heartbeats alone": ("4 alive 4 alive 4", "", "5@ 10@", False),
    "a stream that falls silent": ("up heard:a 66", "", "0@ 60@ 65@", False),
    "a stream that is alive": ("up heard:a 50 alive 50 alive 50", "", "0@", False),
    "a stream that ends": ("up heard:a 9 down 6", "", "0@ 14@", False),
    "something missed while the list is busy": ("up heard:a gap heard:b 5 heard:d 9", ", busy, c", "0@ 0@ 5@", False),
    "a session that is gone": ("up 30 gap 9", "gone", "30@ 30@ 35@", True),
    "a session that is gone for a while": ("up 45", f"{', '.join(['gone'] * 6)}, , gone", "35@ 40@ 45@", False),
    "a session that is gone, but tells": ("up 20 heard:a 20", "gone", "30@ 35@ 40@", False),
    "a list that is busy, and this machine asleep": ("up z600 6", "busy", "0@ 600@ 605@", False),
    "a message that is being written": ("up preview:x 1", "", "0@", False),
    "a proxy that finds nothing": ("up 400", "a proxy's 404", "295@ 300@ 305@", True),
    "a proxy that refuses": ("up 400", "a proxy's 403", "295@ 300@ 305@", True),
    "a token that expires": ("15", ", expired", "5@ 10@", True),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_session_chat_reads_the_list_when_it_is_due(name: str) -> None:
    script, answers, reads, is_lost = SCRIPTS[name]
    client: Any = Script(script, answers)
    previews: list[Any] = []
    with pytest.raises(ApiError if is_lost else EOFError):
        list(followed(Log(client, "sess_1"), previews.append))
    assert " ".join(client.reads[-3:]) == reads
    assert previews == [{"id": "x"}] * ("preview:x" in script)
