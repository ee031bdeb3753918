"""One log of a session's events, whatever a server makes of cursors, filters and order (api.md#events)."""

import math
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, TypeVar

from qoder_cli.base import jsontext
from qoder_cli.base.errors import ApiError, NotFound, QoderError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Raw, array, filled, is_new, mapping, text
from qoder_cli.base.outcome import RUNNING, event_at, event_key
from qoder_cli.base.polling import poll
from qoder_cli.http.answers import no_response

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

T = TypeVar("T")
Events = list[Raw]
Pages = Callable[..., Iterator[Raw]]  # as `Client.pages`

PAGE = 100  # events; the API's limit
REMEMBERED = 10_000  # events remembered, to skip repeats
UNCHECKED = REMEMBERED // 2  # events of a stream, at most, that are read again in the list: it may have others
APART = 5.0  # seconds by which the clocks of runs and of sessions may differ
LAGGING = 30.0  # seconds for which a replica may not show a session, or what was sent to it, yet
LONGEST_SILENCE = 300.0  # seconds without a word from the server until sight of a session is lost
LONGEST_PAUSE = 5.0  # seconds between two reads while nothing is new
LAG_PAUSE = 1.0  # seconds between two looks for a session that a replica does not show yet
_FEWEST = 10  # events to ask for newest first; fewer do not prove the order
_BAD_CURSOR = (400, 409, 410, 422)  # possible answers to an unknown cursor


def events_path(session_id: str) -> str:
    """Return the path of a session's events."""
    return f"/sessions/{segment(session_id)}/events"


def message_text(event: Raw, *, kinds: bool = False) -> str:
    """Return a message's text, with the `kinds` of other blocks. Older servers send a string."""
    content = event.get("content")
    if isinstance(content, str):
        return content
    shown = ""
    for block in map(mapping, array(content)):
        kind, words = text(block.get("type")), text(block.get("text"))
        shown += words or ""
        if kinds and kind not in (None, "text") and not words:
            shown += f"[{kind}]"
    return shown


class Log:
    """The events of a session, or of one `thread` of it.

    The `whole` is read, or it is read `back` from the newest event, or `on` from the `last` one read; others are heard
    from a stream. Types and `filters` only spare requests: a server may ignore them, so other events come too.

    What names another session, as older events may, is no answer. If the log is to be `exact`, what a proxy has kept is
    none either, nor a page that names a field twice; an event that does is marked. A session that is not found is read
    again for so many seconds as there is `patience`. `pages` reads a list, if not the client; `on_event` gets all that
    is read, also repeats, which may differ.
    """

    def __init__(
        self,
        client: "Client",
        session_id: str,
        *,
        thread: str | None = None,
        filters: Mapping[str, Any] | None = None,
        exact: bool = False,
        patience: float = 0.0,
        pages: Pages | None = None,
        on_event: Callable[[Raw], None] = lambda event: None,
    ) -> None:
        self.client = client
        self.session_id = session_id
        self.last: str | None = None  # its id
        self.is_current = False  # whether the list was read to its end when it was last tried: a stream goes on from it
        self._path, self.stream = events_path(session_id), events_path(session_id) + "/stream"
        self._query: Raw = {"limit": PAGE, "order": "asc", **(filters or {})}
        if thread:  # its stream is not below events, and it takes only limit and cursor (api.md#threads)
            of_thread = f"/sessions/{segment(session_id)}/threads/{segment(thread)}"
            self._path, self.stream, self._query = f"{of_thread}/events", f"{of_thread}/stream", {"limit": PAGE}
        self._exact = exact
        self._patience = patience
        self._list = pages or client.pages
        self._on_event = on_event
        self._seen: dict[str, None] = {}  # events that were new once, while reading on or hearing
        self._oldest = -math.inf  # what happened before was not asked for
        self._heard: deque[str | None] = deque()  # the ids of events heard since the list was read

    def whole(self, types: Sequence[str] = (), *, within: float | None = None, retry: bool = True) -> Iterator[Events]:
        """Yield all events, as they are listed: oldest first, if the server does as asked. Raises ApiError."""
        return map(self._read_to, self._pages(self._asking_for(types), within=within, retry=retry))

    def back(
        self,
        types: Sequence[str] = (),
        *,
        limit: int = PAGE,
        within: float | None = None,
        retry: bool = True,
    ) -> Iterator[Events]:
        """Yield events in portions, newest first, each once. Raises ApiError.

        The server's order is trusted while times confirm it; else all are read oldest first and reversed.
        """
        query = {**self._asking_for(types), "limit": limit}
        seen: set[str] = set()
        oldest: float | None = None
        for page in self._pages({**query, "order": "desc"}, within=within, retry=retry):
            events = _events(page)
            new = [event for event in events if event_key(event) not in seen]
            times = list(map(event_at, new))
            is_all = not seen and is_last(page)
            is_over = True
            if is_all and (len(new) <= 1 or (None not in times and times[0] != times[-1])):
                new = in_order(new)[::-1]
            elif not _descend(times, oldest):
                pages = self._pages({**query, "order": "asc"}, within=within, retry=retry)
                listed = chain.from_iterable(map(_events, pages))
                new = [event for event in in_order(listed)[::-1] if event_key(event) not in seen]
            else:
                is_over = False
            seen.update(map(event_key, new))
            oldest = min([at for at in times if at is not None], default=oldest)
            self.last = self.last or next((id for event in new if (id := text(event.get("id")))), None)
            yield new
            if is_over:
                return

    def newest(self, count: int, wanted: Callable[[Raw], bool] = lambda event: True) -> Events:
        """Return the newest `count` events that are wanted, oldest first; read few others. Raises ApiError."""
        wanted_events: Events = []
        pages = max(-(-count // PAGE), 1)
        for events in self.back(limit=max(-(-count // pages), _FEWEST)):
            self._new(events)
            self._oldest = min((event_at(event) or -math.inf for event in events), default=-math.inf)
            wanted_events += filter(wanted, events)
            if len(wanted_events) >= count:
                break
        return wanted_events[:count][::-1]

    def on(self, *, retry: bool = False) -> Iterator[Events]:
        """Yield the list's new events after the last one; `retry` sends what fails again. Raises ApiError."""
        self.is_current = False
        cursor = filled({"after_id": self.last})
        try:
            for page in self._pages({**self._query, **cursor}, retry=retry):
                new = self._new(_events(page))
                self._read_to(page)
                yield new
            self.is_current = True
        except ApiError as error:
            if cursor and error.http_status in _BAD_CURSOR:
                self.last = None  # it is unknown: all is read again, each new once
            raise

    def hear(self, event: Raw) -> Events:
        """Return a stream's event, if it is new. The list is read on from before it: a stream may leave out others."""
        new = self._new([event])
        types = self._query.get("types[]")
        if self.is_current and (not types or event.get("type") in types):  # else the list does not have it
            self._heard.append(text(event.get("id")) or self.last)
        if len(self._heard) > UNCHECKED:
            self.last = self._heard.popleft()
        return new

    def _new(self, events: Events) -> Events:
        """Return the events neither returned before nor read last."""
        if not self._seen:
            is_new(event_key({"id": self.last}), self._seen, most=REMEMBERED)
        new = [event for event in events if is_new(event_key(event), self._seen, most=REMEMBERED)]
        return [event for event in new if (event_at(event) or math.inf) >= self._oldest]

    def _read_to(self, page: Raw) -> Events:
        """Return the events of a page, after which the list is to be read on."""
        events = _events(page)
        if events:
            self.last = text(events[-1].get("id")) or self.last
        self._heard.clear()
        return events

    def _asking_for(self, types: Sequence[str]) -> Raw:
        return {**filled({"types[]": tuple(types)}), **self._query}

    def _pages(self, query: Mapping[str, Any], *, within: float | None = None, retry: bool) -> Iterator[Raw]:
        """Return the pages of the list; with patience, the first may be found later. Raises ApiError."""
        how: Raw = {"within": within, "retry": retry, "fresh": self._exact, "exact": self._exact}
        begin = partial(self._list, self._path, query, **how)
        if not self._patience:
            return map(self._checked, begin())
        clock = self.client.clock
        until = clock.monotonic() + self._patience

        def pages_read() -> Iterator[Raw]:
            pages = begin()
            return chain([next(pages)], pages)

        def may_pass(error: QoderError) -> bool:
            return isinstance(error, NotFound) and clock.monotonic() < until

        pages = poll(pages_read, clock, pauses=repeat(LAG_PAUSE), may_pass=may_pass)
        self._patience = 0.0
        return map(self._checked, pages)

    def _checked(self, page: Raw) -> Raw:
        """Return a page of events. Raises NoResponse unless it is one of this session's."""
        if isinstance(page, jsontext.Repeated):
            raise no_response("the response names a field twice", retryable=False)
        events = _events(page)
        if any(text(event.get("session_id")) not in (None, self.session_id) for event in events):
            raise no_response(f"the response shows the events of another session than {self.session_id}")
        for event in events:
            self._on_event(event)
        return page


def _events(page: Raw) -> Events:
    """Return the events of a page; what is not an object is ignored."""
    return [event for event in map(mapping, page["data"]) if event]


def is_last(page: Raw) -> bool:
    """Return whether no page of a list follows; what `has_more` says must be understood."""
    return page.get("has_more") in (None, False) and not text(page.get("next_page"))


def _descend(times: Sequence[float | None], before: float | None) -> bool:
    """Return whether times never rise after `before`; without it, whether they also fall."""
    dates = [at for at in times if at is not None]
    if before is None:
        return bool(dates) and dates[0] > dates[-1] and dates == sorted(dates, reverse=True)
    return [before, *dates] == sorted([before, *dates], reverse=True)


def in_order(events: Iterable[Raw]) -> Events:
    """Return events oldest first, each once: as they come, or by their times."""
    by_key: dict[str, tuple[Raw, float | None]] = {}
    for event, at in dated(list(events)):
        by_key.setdefault(event_key(event), (event, at))
    return by_time(list(by_key.values()))


def dated(events: Sequence[Raw], read: Container[str] = ()) -> list[tuple[Raw, float | None]]:
    """Return events oldest first, each with its time or that of the one before it; `read` are the keys of earlier ones.

    Where the newest comes first, they are turned around.
    """
    times = list(map(event_at, events))
    if _is_newest_first(events, times, read):
        events, times = events[::-1], times[::-1]
    dated_events: list[tuple[Raw, float | None]] = []
    last: float | None = None
    for event, at in zip(events, times, strict=True):
        if at is not None:
            last = at
        dated_events.append((event, last))
    return dated_events


def by_time(items: list[tuple[T, float | None]]) -> list[T]:
    """Return items in the order in which they come, unless their times contradict it."""
    times = [at for _, at in items if at is not None]
    if times != sorted(times):
        items = sorted(items, key=lambda pair: float("-inf") if pair[1] is None else pair[1])
    return [item for item, _ in items]


def _is_newest_first(events: Sequence[Raw], times: Sequence[float | None], read: Container[str]) -> bool:
    """Return whether the newest comes first, as on servers that ignore the order asked for.

    Where times do not tell: what is new comes after what was read before, and the agent's work after its beginning.
    """
    dates = [at for at in times if at is not None]
    if len(events) < 2:
        return False
    if dates and dates[0] != dates[-1]:
        return dates[0] > dates[-1]
    is_old = [event_key(event) in read for event in events]
    if any(is_old):
        return is_old[-1] and not is_old[0]
    kinds = [text(event.get("type")) or "" for event in events]
    works = next((n for n, kind in enumerate(kinds) if kind.startswith("agent.")), len(kinds))
    return RUNNING in kinds[works:] and RUNNING not in kinds[:works]
