"""Follow a session's log as it grows (api.md#events and #event-streams)."""

import math
import queue
from collections.abc import Callable, Iterator
from typing import Any

from qoder_cli.base.errors import ApiError, AuthError, NotFound
from qoder_cli.base.times import SUSPENDED
from qoder_cli.sessions.log import LAGGING, LONGEST_PAUSE, LONGEST_SILENCE, Events, Log
from qoder_cli.sessions.stream import SILENT, Feed, News, polled_instead

FIRST_PAUSE = 1.0  # seconds between two reads of the list, doubling while nothing is new


class Follower:
    """Returns a log's new events, as its stream tells them, or its list what that missed.

    The list is read when a stream begins, and every few seconds while none is open or it has been silent for 60 s;
    `preview` gets messages being written.
    """

    def __init__(self, log: Log, *, preview: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._log = log
        self._preview = preview
        self._clock = log.client.clock
        self._inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._has_noted = False  # whether a note said that there is no stream
        self.delivers = False  # whether a stream is open that tells of events
        self._is_behind = False  # whether the list could not be read: it may have what no stream tells of
        self._pause = FIRST_PAUSE
        self._due = self._clock.monotonic() + FIRST_PAUSE
        self._failing_since: float | None = None

    def batches(self, wake_at: Callable[[], float]) -> Iterator[Events]:
        """Yield new events without end, and an empty batch at `wake_at()` (monotonic).

        Raises AuthError, NotFound after 30 s, any ApiError that lasts 5 minutes.
        """
        deltas = ("agent.message",) if self._preview else ()
        feed = Feed(self._log, inbox=self._inbox, deltas=deltas)
        feed.start()
        try:
            while True:
                began = self._clock.monotonic()
                until = max(min(self._due, wake_at()), began)
                news = self._clock.receive(self._inbox, until - began)
                overslept = self._clock.monotonic() - until
                if self._failing_since is not None and overslept > SUSPENDED:
                    self._failing_since += overslept  # which is no silence
                if news is not None or self._clock.monotonic() >= self._due:
                    yield from self._react(news)
                yield []
        finally:
            feed.stop()

    def _react(self, news: News | None) -> Iterator[Events]:
        """Handle news of the stream; None means that the list is due first."""
        if news is None:
            self.delivers = False
        elif news.kind == "heard":
            self.delivers = True
            yield self._log.hear(news.event, is_next=not self._is_behind)
        elif news.kind == "preview" and self._preview:
            self._preview(news.event)
        elif news.kind == "down":
            self.delivers = False
            self._due = self._clock.monotonic() + self._pause
            if news.error and not self._has_noted:
                self._log.client.progress.note(polled_instead(news.error, for_good=news.for_good))
                self._has_noted = True
        if self.delivers:
            self._pause, self._failing_since = FIRST_PAUSE, None
        if self.delivers and not self._is_behind:
            self._due = self._clock.monotonic() + SILENT
        if news is None or news.kind in ("up", "gap"):
            yield from self._read_on()

    def _read_on(self) -> Iterator[Events]:
        """Yield the list's newer events. A read that fails is repeated later."""
        has_news = False
        try:
            for new in self._log.on():
                has_news = has_news or bool(new)
                yield new
            self._failing_since, self._is_behind = None, False
        except ApiError as error:
            self._is_behind = True
            self._give_up_after(error)
        is_relied_on = self.delivers and not self._is_behind
        self._due = self._clock.monotonic() + (SILENT if is_relied_on else self._pause)
        self._pause = FIRST_PAUSE if has_news else min(self._pause * 2, LONGEST_PAUSE)

    def _give_up_after(self, error: ApiError) -> None:
        """Raise an error that has lasted too long."""
        now = self._clock.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        patience = LONGEST_SILENCE
        if error.enveloped and isinstance(error, AuthError | NotFound):
            patience = LAGGING if isinstance(error, NotFound) else -math.inf
        if now - self._failing_since > patience:
            raise error
