"""Follow sessions' event streams in threads, reconnecting (api.md#event-streams)."""

import codecs
import io
import math
import queue
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.base.errors import ApiError, AuthError, NoResponse, NotFound
from qoder_cli.base.model import filled, is_new, mapping, text
from qoder_cli.base.outcome import ENDS, event_key, is_asking
from qoder_cli.base.pool import begin
from qoder_cli.sessions.log import REMEMBERED, Log
from qoder_cli.sessions.story import Story

if TYPE_CHECKING:
    from qoder_cli.http.client import Client
    from qoder_cli.sessions.showing import Showing

PAUSES = (5.0, 15.0, 45.0)  # seconds before reopening the stream; the last one repeats
HEALTHY_AFTER = 5.0  # seconds a stream must last to reset the pauses
SILENT = 60.0  # seconds without a byte after which a stream is not relied on
MOST_UNREAD = 1_000  # news in the inbox
MOST_FEEDS = 8  # event streams at a time; what is more is only polled
FRAME_LIMIT = 16 * 2**20  # characters of one frame; a longer one is skipped

_LAST = ("session.status_terminated", "session.deleted")  # after them a stream ends for good
_ALIVE = ("ping", "heartbeat")  # a server's sign of life; others send comments
_PREVIEWS = ("event_start", "event_delta")  # parts of a message, which comes whole later
_NO_STREAM = (405, 501)
_TICK = 0.2  # seconds until a pause notices that it was stopped
_READER_TICK = 0.01  # real seconds: it waits for a thread, not for time


class Frame(NamedTuple):
    """A complete frame. `id` is None if it names none; lines of `data` are joined by newlines."""

    id: str | None
    event: str
    data: str


# A comment (the server's sign of life) is "alive"; a frame skipped as too long is a "gap".
Item = Frame | Literal["alive", "gap"]
Kind = Literal[
    "heard",  # a complete event, each once
    "preview",  # a part of a message being written; it comes whole later, with the same id
    "up",  # the stream is open: all since the last event heard will come
    "gap",  # something was missed: read the list from the last event on
    "alive",  # a sign of life
    "down",  # the stream ended, broke or did not open; it is reopened unless `for_good`
]


@dataclass(frozen=True, slots=True)
class News:
    """What a session's stream says."""

    kind: Kind
    session_id: str
    event: dict[str, Any] = field(default_factory=dict)
    error: ApiError | None = None
    for_good: bool = False


class Feed:
    """Puts the stream of a session's log into `inbox`, in a thread, from now or the log's last event.

    It reconnects after 5, 15, 45, 45… s. It ends for good with the session, or if the
    stream is refused or missing. Messages of the types `deltas` are heard while being
    written, too.
    """

    def __init__(self, log: Log, *, inbox: "queue.SimpleQueue[Any]", deltas: Sequence[str] = ()) -> None:
        self._deltas = tuple(deltas)
        self._client = log.client
        self._session_id = log.session_id
        self._path = log.stream
        self._inbox = inbox
        self._cursor = log.last
        self._heard: dict[str, None] = {}
        self._is_left = False
        self._over = False

    @property
    def stopped(self) -> bool:
        return self._over or self._is_left

    def start(self) -> None:
        begin(self._run)

    def stop(self) -> None:
        self._is_left = True

    def _run(self) -> None:
        failures = 0
        while not self.stopped:
            began = self._client.clock.monotonic()
            error = self._listen()
            if self._is_left:
                return
            if error and error.http_status == 409 and self._cursor is not None:
                self._cursor = None  # the server forgot this event; the list is read once the stream is open
                continue
            if error and error.http_status == 400 and self._deltas:
                self._deltas = ()  # an older server may not know them
                continue
            failures = 0 if self._client.clock.monotonic() - began >= HEALTHY_AFTER else failures
            self._inbox.put(News("down", self._session_id, error=error, for_good=self._over))
            pause = max(PAUSES[min(failures, len(PAUSES) - 1)], error.asked_pause if error else 0.0)
            until = self._client.clock.monotonic() + pause
            while not self.stopped and (left := until - self._client.clock.monotonic()) > 0:
                self._client.clock.sleep(min(left, _TICK))
            failures += 1

    def _listen(self) -> ApiError | None:
        """Follow one connection to its end. Return the error that ended it, or None."""
        try:
            after = filled({"last-event-id": self._cursor})
            asked = {"event_deltas[]": self._deltas} if self._deltas else None
            with self._client.open_stream(self._path, params=asked, headers=after) as (_, chunks):
                self._report("up", {})
                for item in frames(chunks):
                    while self._inbox.qsize() > MOST_UNREAD and not self._is_left:
                        time.sleep(_READER_TICK)  # unread data stays with the server
                    if self._is_left or self._pass_on(item):
                        break
        except ApiError as error:
            is_refused = isinstance(error, AuthError | NotFound) and error.enveloped  # a proxy's error may pass
            self._over = is_refused or error.http_status in _NO_STREAM
            return error
        except Exception as error:  # whoever waits must hear of it
            return NoResponse(f"the event stream broke: {type(error).__name__}: {error}")
        return None

    def _pass_on(self, frame: Item) -> bool:
        """Report an item. Return whether the stream is over."""
        if not isinstance(frame, Frame):
            self._report(frame, {})
            return False
        event = self._event(frame)
        kind = text(event.get("type")) or frame.event
        if frame.data.strip() == "[DONE]":
            return True
        if "error" in (frame.event, kind):
            error = event.get("error")
            message = text(error) or text(mapping(error).get("message")) or text(event.get("message"))
            raise NoResponse(f"event stream error: {self._client.veil(message) if message else '(no message)'}")
        if kind in _ALIVE:
            self._report("alive", {})
        if text(event.get("session_id")) not in (None, self._session_id):
            return False  # it is of another session, as on a page of a list
        if kind in _PREVIEWS and self._deltas:
            self._report("preview", event)
        if not event or kind in (*_ALIVE, *_PREVIEWS):
            return False
        event_id = text(event.get("id"))
        if event_id and event_id.isascii() and event_id.isprintable():  # what a header can carry
            self._cursor = event_id
        if is_new(event_key(event), self._heard, most=REMEMBERED):
            self._report("heard", event)
        self._over = kind in _LAST
        return self._over

    def _event(self, frame: Frame) -> dict[str, Any]:
        """Return a frame's event, completed with the frame's id and type; empty if invalid."""
        try:
            event = mapping(jsontext.parse(self._client.hide(frame.data)))
        except ValueError:
            return {}
        named = {"id": self._client.hide(frame.id or ""), "type": self._client.hide(frame.event)}
        if event:
            return {**{name: value for name, value in named.items() if value}, **event}
        return {}

    def _report(self, kind: Kind, event: dict[str, Any]) -> None:
        self._inbox.put(News(kind, self._session_id, event))


@dataclass
class _Stream:
    """One session's stream and its state."""

    feed: Feed
    is_open: bool = False
    delivers: bool = False  # whether an event came of it: a proxy may hold back all but heartbeats
    heard_at: float = -math.inf
    story: Story = field(default_factory=Story)


class Streams:
    """Follows the streams of a few sessions: says which to poll now; `showing` shows events."""

    def __init__(self, client: "Client", *, inbox: "queue.SimpleQueue[Any]", showing: "Showing | None" = None) -> None:
        self._client = client
        self._showing = showing
        self.inbox = inbox
        self._streams: dict[str | None, _Stream] = {}
        self._has_noted = False  # whether a note said that a stream is missing

    def follow(self, log: Log, story: Story, *, name: str | None, is_over: bool) -> None:
        """Open the stream of a session if there is room; close it once what is waited for is over."""
        session_id = log.session_id
        stream = self._streams.get(session_id)
        if self._showing:
            self._showing.names[session_id] = name or session_id
        if self._showing and (is_over or not self.delivers(session_id)):
            self._showing.catch_up(session_id)
        if is_over:
            if stream is not None:
                stream.feed.stop()
        elif stream is None and sum(not stream.feed.stopped for stream in self._streams.values()) < MOST_FEEDS:
            if self._showing:
                log = self._showing.log(session_id)  # which was read further
            feed = Feed(log, inbox=self.inbox)
            self._streams[session_id] = _Stream(feed, story=story.copy())
            feed.start()

    def delivers(self, session_id: str | None) -> bool:
        """Return whether the end of a turn would be heard from the session's stream."""
        stream = self._streams.get(session_id)
        if stream is None or not stream.delivers:
            return False
        return self._client.clock.monotonic() - stream.heard_at < SILENT

    def is_open(self, session_id: str | None) -> bool:
        """Return whether the session's stream is open, even if no event has come of it yet."""
        stream = self._streams.get(session_id)
        return stream is not None and stream.is_open

    def receive(self, news: News) -> tuple[str | None, bool]:
        """Take in news. Return the session to poll now, and whether the end of its turn was heard."""
        if (stream := self._streams.get(news.session_id)) is None:
            return None, False
        stream.heard_at = self._client.clock.monotonic()
        was_open, stream.is_open = stream.is_open, news.kind != "down"
        match news.kind:
            case "up" | "gap":
                if self._showing:
                    self._showing.catch_up(news.session_id)
                return news.session_id, False
            case "down":
                stream.delivers = False
                if self._showing and news.error is not None and not self._has_noted:
                    self._client.progress.note(polled_instead(news.error, for_good=news.for_good))
                    self._has_noted = True
                if was_open:
                    return news.session_id, False
            case "heard":
                stream.delivers = True
                if self._showing:
                    self._showing.hear(news.event, session_id=news.session_id)
                asked = stream.story.asks
                stream.story.add([news.event])
                is_answered = self._showing is not None and asked is not None and stream.story.asks is None
                is_news = news.event.get("type") in ENDS or is_asking(news.event) or is_answered
                return (news.session_id if is_news else None), stream.story.ending is not None
        return None, False

    def close(self) -> None:
        for stream in self._streams.values():
            stream.feed.stop()


def polled_instead(error: ApiError, *, for_good: bool) -> str:
    """Return the note that a session is polled, because of the error that ended its stream, perhaps `for_good`."""
    why = f"the event stream broke ({error.message})"
    if for_good:
        why = "there is no event stream"
    return f"{why}; falling back to polling"


def frames(chunks: Iterable[bytes], *, limit: int = FRAME_LIMIT) -> Iterator[Item]:
    """Yield what a stream says, as it completes; `limit` is the longest frame in characters."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")("replace"), translate=True)
    line: list[str] = []  # the parts of the incomplete line
    size = 0  # of the frame, without its comments
    fields: defaultdict[str, list[str]] = defaultdict(list)
    for chunk in chunks:
        for number, part in enumerate(decoder.decode(chunk).split("\n")):
            if number:  # a line is complete
                whole = "".join(line)
                line = []
                if whole.startswith(":"):
                    size -= len(whole)
                    yield "alive"
                elif whole:
                    name, _, value = whole.partition(":")
                    fields[name].append(value.removeprefix(" "))
                else:
                    if size > limit:
                        yield "gap"
                    elif fields["data"] or any(fields["event"][-1:]):
                        ids = [id for id in fields["id"] if "\0" not in id]
                        event = "".join(fields["event"][-1:])
                        yield Frame(next(reversed(ids), None), event, "\n".join(fields["data"]))
                    size = 0
                    fields.clear()
            line.append(part)
            size += len(part)
            if size > limit:
                line = ["".join(line)[:1]]  # only how it begins
                fields.clear()
