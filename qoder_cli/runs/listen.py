"""Hear the end of a run from its session's event stream, the moment it comes."""

import queue
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qoder_cli.base.outcome import ENDS
from qoder_cli.runs.watch import Watch
from qoder_cli.sessions.story import Story
from qoder_cli.sessions.stream import SILENT, Feed, News

if TYPE_CHECKING:
    from qoder_cli.http.client import Client
    from qoder_cli.sessions.showing import Showing

MOST_FEEDS = 8  # event streams at a time; more runs than that are asked by reading


@dataclass
class _Ear:
    """What one session's stream has told."""

    feed: Feed
    up: bool = False
    delivers: bool = False  # whether it has told of an event: a proxy may hold back all but heartbeats
    heard: float = 0.0
    story: Story = field(default_factory=Story)


class Listener:
    """Follows the streams of a few sessions: says which run to poll now, and shows events."""

    def __init__(self, client: "Client", *, inbox: "queue.SimpleQueue[Any]", showing: "Showing | None" = None) -> None:
        self._client = client
        self._showing = showing
        self.inbox = inbox
        self._ears: dict[str, _Ear] = {}

    def attend(self, watch: Watch) -> None:
        """Listen to a run's session if there is room; stop once the run has ended."""
        session_id = watch.session_id
        if session_id is None:
            return
        ear = self._ears.get(session_id)
        if self._showing:
            self._showing.name(session_id, watch.label or (watch.run and watch.run.deployment_id) or session_id)
        if self._showing and (watch.over or not self.hears(watch)):
            self._showing.catch_up(session_id)
        if watch.over:
            if ear is not None:
                ear.feed.stop()
        elif ear is None and sum(not each.feed.stopped for each in self._ears.values()) < MOST_FEEDS:
            state = watch.observer.state
            feed = Feed(state.log, inbox=self.inbox)
            self._ears[session_id] = _Ear(feed, story=state.story.copy())
            feed.start()

    def hears(self, watch: Watch) -> bool:
        ear = self._ear_of(watch)
        return ear is not None and ear.up and ear.delivers and self._client.clock.monotonic() - ear.heard < SILENT

    def is_open(self, watch: Watch) -> bool:
        """Whether its stream is open, even if it has told of nothing yet."""
        ear = self._ear_of(watch)
        return ear is not None and ear.up

    def _ear_of(self, watch: Watch) -> _Ear | None:
        return self._ears.get(watch.session_id or "")

    def take(self, news: News) -> tuple[str | None, bool]:
        """Take in news. Return whose run to poll now, and whether its end was heard."""
        if (ear := self._ears.get(news.session_id)) is None:
            return None, False
        ear.heard = self._client.clock.monotonic()
        was_up, ear.up = ear.up, news.kind != "down"
        match news.kind:
            case "up" | "gap":
                if self._showing:
                    self._showing.catch_up(news.session_id)
                return news.session_id, False
            case "down":
                ear.delivers = False
                if was_up:
                    return news.session_id, False
            case "heard":
                ear.delivers = ear.delivers or news.event.get("session_id") in (None, news.session_id)
                if self._showing:
                    self._showing.hear(news.event, session_id=news.session_id)
                ear.story.add([news.event])
                return (news.session_id if news.event.get("type") in ENDS else None), ear.story.ending is not None
        return None, False

    def stop(self) -> None:
        for ear in self._ears.values():
            ear.feed.stop()
