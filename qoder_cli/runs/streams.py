"""Hear the end of a run from its session's event stream, the moment it comes."""

import queue
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qoder_cli.base.outcome import ENDS
from qoder_cli.runs.polled import PolledRun
from qoder_cli.sessions.story import Story
from qoder_cli.sessions.stream import SILENT, Feed, News

if TYPE_CHECKING:
    from qoder_cli.http.client import Client
    from qoder_cli.sessions.showing import Showing

MOST_FEEDS = 8  # event streams at a time; more runs than that are only polled


@dataclass
class _Stream:
    """One session's stream and its state."""

    feed: Feed
    is_open: bool = False
    delivers: bool = False  # whether an event came: a proxy may hold back all but heartbeats
    heard_at: float = 0.0
    story: Story = field(default_factory=Story)


class Streams:
    """Follows the streams of a few sessions: says which run to poll now, and shows events."""

    def __init__(self, client: "Client", *, inbox: "queue.SimpleQueue[Any]", showing: "Showing | None" = None) -> None:
        self._client = client
        self._showing = showing
        self.inbox = inbox
        self._streams: dict[str, _Stream] = {}

    def follow(self, polled: PolledRun) -> None:
        """Open the stream of a run's session if there is room; close it once the run has ended."""
        session_id = polled.session_id
        if session_id is None:
            return
        stream = self._streams.get(session_id)
        if self._showing:
            self._showing.name(session_id, polled.label or (polled.run and polled.run.deployment_id) or session_id)
        if self._showing and (polled.is_over or not self.delivers(polled)):
            self._showing.catch_up(session_id)
        if polled.is_over:
            if stream is not None:
                stream.feed.stop()
        elif stream is None and sum(not each.feed.stopped for each in self._streams.values()) < MOST_FEEDS:
            state = polled.observer.state
            feed = Feed(state.log, inbox=self.inbox)
            self._streams[session_id] = _Stream(feed, story=state.story.copy())
            feed.start()

    def delivers(self, polled: PolledRun) -> bool:
        """Return whether its end would be heard from its stream."""
        stream = self._stream_of(polled)
        if stream is None or not stream.is_open or not stream.delivers:
            return False
        return self._client.clock.monotonic() - stream.heard_at < SILENT

    def is_open(self, polled: PolledRun) -> bool:
        """Return whether its stream is open, even if no event has come of it yet."""
        stream = self._stream_of(polled)
        return stream is not None and stream.is_open

    def _stream_of(self, polled: PolledRun) -> _Stream | None:
        return self._streams.get(polled.session_id or "")

    def receive(self, news: News) -> tuple[str | None, bool]:
        """Take in news. Return the session whose run to poll now, and whether its end was heard."""
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
                if was_open:
                    return news.session_id, False
            case "heard":
                stream.delivers = stream.delivers or news.event.get("session_id") in (None, news.session_id)
                if self._showing:
                    self._showing.hear(news.event, session_id=news.session_id)
                stream.story.add([news.event])
                return (news.session_id if news.event.get("type") in ENDS else None), stream.story.ending is not None
        return None, False

    def close(self) -> None:
        for stream in self._streams.values():
            stream.feed.stop()
