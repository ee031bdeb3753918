"""A session's events, each once and in order: from the list, and as they happen (api/facts.md, 2.4 and 2.5)."""

import math
import queue
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qoder_cli.base.errors import ApiError, AuthError, NotFound
from qoder_cli.base.model import is_new, text
from qoder_cli.base.outcome import event_key, event_time
from qoder_cli.base.times import parse_timestamp
from qoder_cli.runs.observe import LAGGING, LONGEST_SILENCE
from qoder_cli.sessions.feed import Alive, Down, Feed, Gap, Heard, News, Up
from qoder_cli.sessions.story import BAD_CURSOR, PAGE, REMEMBERED, Events, events_of, events_path, last_id, newest_first

if TYPE_CHECKING:
    from qoder_cli.http.client import Client


ASLEEP = 30.0  # seconds a pause may overrun before this machine is held to have been suspended
SILENT = 60.0  # seconds without a sign of life after which a stream is not relied on
FIRST_PAUSE = 1.0  # seconds between two looks at the list where no stream is relied on, doubling while nothing is new
LONGEST_PAUSE = 5.0
FEWEST = 10  # events that are asked for newest first: fewer do not show whether they are


@dataclass(frozen=True)
class Selection:
    """Which events are wanted: of these `types` (none: all), not before `since`."""

    types: tuple[str, ...] = ()
    since: datetime | None = None

    def takes(self, event: dict[str, Any]) -> bool:
        """Return whether an event is wanted; one without a time is, whatever `since` says."""
        if self.types and event.get("type") not in self.types:
            return False
        happened = parse_timestamp(event_time(event))
        return self.since is None or happened is None or happened >= self.since

    def query(self) -> dict[str, Any]:
        """Return what asks a server for them, which it may ignore."""
        query: dict[str, Any] = {"limit": PAGE, "order": "asc"}
        if self.types:
            query["types[]"] = self.types
        if self.since:
            query["created_at[gte]"] = self.since.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return query


class SessionLog:
    """The events of one session. `young` says that replicas may not know the session yet."""

    def __init__(self, client: "Client", session_id: str, selection: Selection, *, young: bool = False) -> None:
        self.client = client
        self.session_id = session_id
        self.selection = selection
        self._young = young
        self.last: str | None = None  # the id of the newest event that was read

    def history(self) -> Iterator[Events]:
        """Yield what has happened, oldest first, page by page: what is wanted and perhaps more. Raises ApiError."""
        for page in self._patiently(self.selection.query()):
            events = events_of(page)
            self.last = last_id(page, events) or self.last
            yield events

    def newest(self, count: int) -> Events:
        """Return the newest `count` of the wanted events, oldest first, reading hardly more than these."""
        found: Events = []
        query = self.selection.query()
        pages = max(-(-count // PAGE), 1)
        query["limit"] = max(-(-count // pages), FEWEST)
        for events in newest_first(self._patiently, query):
            self.last = self.last or next((id for event in events if (id := text(event.get("id")))), None)
            found += filter(self.selection.takes, events)
            if len(found) >= count:
                break
        return found[:count][::-1]

    def _patiently(self, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield pages; while the session is young, wait up to 30 s until it is found."""
        clock = self.client.clock
        until = clock.monotonic() + (LAGGING if self._young else 0.0)
        while True:
            pages = self.client.pages(events_path(self.session_id), query)
            try:
                first = next(pages)
            except NotFound:
                if clock.monotonic() >= until:
                    raise
                clock.sleep(FIRST_PAUSE)
            else:
                yield first
                yield from pages
                return


class Follower:
    """Reads on from the last event of a log: by the stream, and by the list where there is no stream to rely on.

    The list is read whenever a stream begins, so that nothing between the two is missed, and every few seconds while
    none is open or one is silent for 60 s. A stream is relied on once it has delivered an event. `note` is told why
    events may be late. `wake_at` is when, by the monotonic clock, the caller wants to look around at the latest.
    """

    def __init__(self, log: SessionLog, *, note: Callable[[str], None]) -> None:
        self._client = log.client
        self._clock = log.client.clock
        self._query = log.selection.query()
        self._path = events_path(log.session_id)
        self._last = log.last
        self._note = note
        self._inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._feed = Feed(log.client, log.session_id, inbox=self._inbox, after=log.last)
        self._known: dict[str, None] = {}
        is_new(event_key({"id": log.last}), self._known, most=REMEMBERED)
        self._relied_on = False
        self._delivers = False  # whether the stream that is open has told of an event
        self.wake_at = math.inf
        self._pause = FIRST_PAUSE
        self._due = self._clock.monotonic() + FIRST_PAUSE
        self._failing_since: float | None = None
        self._told = False

    def batches(self) -> Iterator[Events]:
        """Yield the events that are new, for ever; and an empty batch now and then, so that the caller can look around.

        Raises AuthError, NotFound when the session is not found for 30 s, and any ApiError that lasts for 5 minutes.
        """
        self._feed.start()
        try:
            while True:
                began = self._clock.monotonic()
                until = max(min(self._due, self.wake_at), began)
                news = self._clock.take(self._inbox, until - began)
                overslept = self._clock.monotonic() - until
                if self._failing_since is not None and overslept > ASLEEP:
                    self._failing_since += overslept  # this machine was suspended, which is no silence
                if news is not None or self._clock.monotonic() >= self._due:
                    yield from self._react(news)
                yield []
        finally:
            self._feed.stop()

    def _react(self, news: News | None) -> Iterator[Events]:
        match news:
            case Heard(event=event):
                self._delivers = True
                self._rely()
                yield self._new([event])
            case Alive() | Up() | Gap():
                if self._delivers:
                    self._rely()
                if not isinstance(news, Alive):
                    yield from self.read_on()
            case Down():
                self._relied_on = self._delivers = False
                self._due = self._clock.monotonic() + self._pause
                self._explain(news)
            case None:
                self._relied_on = False
                yield from self.read_on()

    def _rely(self) -> None:
        self._relied_on, self._pause, self._failing_since = True, FIRST_PAUSE, None
        self._due = self._clock.monotonic() + SILENT

    def read_on(self) -> Iterator[Events]:
        """Yield what the list has beyond the last event."""
        cursor = {"after_id": self._last} if self._last else {}
        found = False
        try:
            for page in self._client.pages(self._path, {**self._query, **cursor}, retry=False):
                events = events_of(page)
                new = self._new(events)
                self._last = last_id(page, events) or self._last
                found = found or bool(new)
                yield new
        except ApiError as error:
            if cursor and error.http_status in BAD_CURSOR and not isinstance(error, NotFound):
                self._last = None  # the server does not know it any more: all is read again, and each told once
            self._bear(error)
            self._plan(found=False)
        else:
            self._failing_since = None
            self._plan(found=found)

    def _plan(self, *, found: bool) -> None:
        """Decide when the list is read next."""
        failing = self._failing_since is not None
        self._due = self._clock.monotonic() + (SILENT if self._relied_on and not failing else self._pause)
        self._pause = FIRST_PAUSE if found else min(self._pause * 2, LONGEST_PAUSE)

    def _new(self, events: Events) -> Events:
        new = [event for event in events if is_new(event_key(event), self._known, most=REMEMBERED)]
        types = self._query.get("types[]")
        # Only an event that the list has, as it is asked for, can be gone on from.
        listed = (event.get("id") for event in reversed(new) if types is None or event.get("type") in types)
        self._last = next(filter(text, listed), self._last)
        return new

    def _bear(self, error: ApiError) -> None:
        """Go on after trouble, or raise it when there is no point any more."""
        now = self._clock.monotonic()
        self._failing_since = now if self._failing_since is None else self._failing_since
        patience = LONGEST_SILENCE
        if error.enveloped and isinstance(error, AuthError | NotFound):
            patience = LAGGING if isinstance(error, NotFound) else -math.inf
        if now - self._failing_since > patience:
            raise error

    def _explain(self, down: Down) -> None:
        """Say once why events come late."""
        if self._told or not down.error:
            return
        self._told = True
        why = "there is no event stream" if down.for_good else f"the event stream broke ({down.error.message})"
        self._note(f"{why}; falling back to polling")
