"""Read and print the log of one run, or say why it has none."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NotFound, NotYet, QoderError
from qoder_cli.base.ids import noun, segment
from qoder_cli.base.model import Run, is_new, mapping, text
from qoder_cli.base.outcome import event_key, event_time, is_going
from qoder_cli.base.times import parse_timestamp
from qoder_cli.http.client import Client
from qoder_cli.output.data import Rows
from qoder_cli.output.screen import terminal_width
from qoder_cli.runs.ending import going_on
from qoder_cli.runs.observe import LAGGING, YOUNG
from qoder_cli.sessions.story import (
    BAD_CURSOR,
    PAGE,
    REMEMBERED,
    Events,
    events_of,
    events_path,
    last_id,
    newest_first,
    pages_of_events,
)
from qoder_cli.sessions.transcript import Entry, Margin, Transcript, entry

Event = dict[str, Any]

FIRST_PAUSE = 1.0  # seconds between two reads of the list, doubling while nothing is new
FEWEST = 10  # events to ask for newest first; fewer do not prove the order
USAGE_WITHIN = 5.0  # seconds for the cost, which is only the last line


@dataclass(frozen=True)
class Selection:
    """The events to show: of `types` (none: all), since a time, of one `thread`."""

    types: tuple[str, ...] = ()
    since: datetime | None = None
    thread: str | None = None

    def takes(self, event: dict[str, Any]) -> bool:
        """Return whether an event is wanted; one without a time passes `since`."""
        if self.types and event.get("type") not in self.types:
            return False
        happened = parse_timestamp(event_time(event))
        return self.since is None or happened is None or happened >= self.since

    def query(self) -> dict[str, Any]:
        """Return the query for them, which a server may ignore."""
        query: dict[str, Any] = {"limit": PAGE, "order": "asc"}
        if self.thread:  # takes only limit and cursor (help/pages/api.md#threads)
            return {"limit": PAGE}
        if self.types:
            query["types[]"] = self.types
        if self.since:
            query["created_at[gte]"] = self.since.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return query


class SessionLog:
    """One session's events, read on from `last`. Replicas may not know a `young` one."""

    def __init__(self, client: Client, session_id: str, selection: Selection, *, young: bool = False) -> None:
        self.client = client
        self.session_id = session_id
        self.path, self.stream = events_path(session_id), events_path(session_id) + "/stream"
        if selection.thread:  # its stream is not below events (help/pages/api.md#threads)
            thread = f"/sessions/{segment(session_id)}/threads/{segment(selection.thread)}"
            self.path, self.stream = f"{thread}/events", f"{thread}/stream"
        self.selection = selection
        self._young = young
        self.last: str | None = None
        self._known: dict[str, None] = {}  # events that were told as new

    def _pages(self, query: Mapping[str, Any], *, retry: bool = True) -> Iterator[dict[str, Any]]:
        return pages_of_events(self.client, self.session_id, query, path=self.path, retry=retry)

    def batches(self, tail: int | None) -> Iterator[Events]:
        """Yield past events, oldest first; with `tail`, the newest. Raises ApiError."""
        if tail is not None:
            yield self._newest(tail)
            return
        for page in self._patiently(self.selection.query()):
            events = events_of(page)
            self.last = last_id(page, events) or self.last
            yield events

    def _newest(self, count: int) -> Events:
        """Return the newest `count` wanted events, oldest first; read few others."""
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

    def beyond(self, *, retry: bool = False) -> Iterator[Events]:
        """Yield the list's new events after the last one; `retry` sends what fails again. Raises ApiError."""
        cursor = {"after_id": self.last} if self.last else {}
        try:
            for page in self._pages({**self.selection.query(), **cursor}, retry=retry):
                events = events_of(page)
                new = self.new_of(events)
                self.last = last_id(page, events) or self.last
                yield new
        except ApiError as error:
            if cursor and error.http_status in BAD_CURSOR and not isinstance(error, NotFound):
                self.last = None  # it is unknown: all is read again, each told once
            raise

    def new_of(self, events: Events) -> Events:
        """Return the events neither returned before nor read last."""
        if not self._known:
            is_new(event_key({"id": self.last}), self._known, most=REMEMBERED)
        return [event for event in events if is_new(event_key(event), self._known, most=REMEMBERED)]

    def heard(self, event: Event) -> Events:
        """Return a stream's event, if new. The list is then read on from it."""
        new = self.new_of([event])
        types = self.selection.types
        if new and (not types or event.get("type") in types):  # else the list does not have it
            self.last = text(event.get("id")) or self.last
        return new

    def _patiently(self, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield pages; wait up to 30 s for a young session to be found."""
        clock = self.client.clock
        until = clock.monotonic() + (LAGGING if self._young else 0.0)
        while True:
            pages = self._pages(query)
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


class Printer:
    """Prints events in the chosen format, in a `with` block; `data` makes their JSON."""

    def __init__(self, app: App, selection: Selection, *, data: Callable[[Event], Event] = lambda one: one) -> None:
        self._output = app.output
        self._selection = selection
        self.shown = False
        self._rows = Rows[Event](app.output, fields=lambda event: {"id": event.get("id")}, data=data)
        self._transcript = Transcript(width=terminal_width() if app.out.is_terminal else None, styled=app.out.styled)

    def __enter__(self) -> "Printer":
        return self

    def __exit__(self, failure: type[BaseException] | None, *rest: object) -> None:
        self._rows.__exit__(failure, *rest)

    def show(self, events: Iterable[Event]) -> None:
        wanted = list(filter(self._selection.takes, events))
        self.shown = self.shown or bool(wanted)
        if self._output.format != "table":
            self._rows.show(wanted)
        elif written := "".join(map(self._written, wanted)):
            self._output.screen.write(written)

    def _written(self, event: Event) -> str:
        said = entry(event, everything=bool(self._selection.types))
        return self._transcript.write(said, at=event_time(event)) if said else ""

    def sum_up(self, credits: object) -> None:
        if credits is not None:
            self._output.screen.write(self._transcript.write(Entry("credits", str(credits)), at=None))


class Showing:
    """Shows sessions' events on stderr: from streams, and from lists what they missed."""

    def __init__(self, app: App, labels: Iterable[str] = ()) -> None:
        self._app = app
        self._margin = Margin(app.err, labels)
        self._transcript = Transcript(width=self._margin.room, styled=app.err.styled)
        self._names: dict[str, str] = {}
        self._logs: dict[str, SessionLog] = {}

    def name(self, session_id: str, label: str) -> None:
        """Begin a session's lines with this label, instead of its id."""
        self._names[session_id] = label

    def hear(self, event: Event, *, session_id: str) -> None:
        """Show an event, unless it was shown before or is bookkeeping."""
        self._show(self._log(session_id).new_of([event]), session_id)

    def catch_up(self, session_id: str) -> None:
        """Show new events from the list. What cannot be read now is read next time."""
        with suppress(ApiError):
            for events in self._log(session_id).beyond():
                self._show(events, session_id)

    def _log(self, session_id: str) -> SessionLog:
        return self._logs.setdefault(session_id, SessionLog(self._app.client, session_id, Selection()))

    def _show(self, events: Events, session_id: str) -> None:
        for event in events:
            if said := entry(event):
                written = self._transcript.write(said, at=event_time(event))
                label = self._names.get(session_id, session_id)
                self._app.progress.show(self._margin.beside(written, label))


def credits_of(app: App, run: Run, selection: Selection) -> object:
    """Return the session's credits, for people who read it all; None if unknown."""
    if app.output.format != "table" or selection.types or not run.session_id:
        return None
    if run.credits is not None:
        return run.credits
    with suppress(ApiError):
        session = app.client.get(f"/sessions/{segment(run.session_id)}", within=USAGE_WITHIN, retry=False)
        return Run(mapping(session)).credits
    return None


def log_of(app: App, run: Run, selection: Selection) -> SessionLog:
    """Return the log of a run's session. Raises NotYet or NotFound without one."""
    if run.session_id is None:
        raise _without_session(app, run)
    young = run.created is not None and app.client.server_now() - run.created < YOUNG
    return SessionLog(app.client, run.session_id, selection, young=young)


@contextmanager
def explained(run: Run) -> Iterator[None]:
    """Say of a NotFound in this block that the session was deleted."""
    try:
        yield
    except NotFound as error:
        message = f"session {run.session_id} of run {run.id} was deleted, along with its events"
        raise error.with_(message=message, run_id=run.id, session_id=run.session_id) from error


def nothing_shown(run_id: str, selection: Selection) -> str:
    """Return the message for an empty log."""
    return f"{noun(run_id)} {run_id} has no " + ("matching events" if selection != Selection() else "events yet")


def following(app: App, run: Run, error: QoderError) -> QoderError:
    """Return the error of a run that goes on, with the command to follow it."""
    again = app.command(noun(run.id), "logs", run.id, "--follow", *app.flags.wait_options)
    return going_on(error.with_(next=error.next or again), run, app)


def _without_session(app: App, run: Run) -> QoderError:
    if is_going(run):
        words = f"run {run.id} ({run.status}) has no session yet, so it has no events"
        return following(app, run, NotYet(words, hint="to wait for them"))
    why = ": ".join(filter(None, (run.error_type, run.error_message))) or run.status or "it never started"
    return NotFound(
        f"run {run.id} has no session, so it has no events: {why}",
        run_id=run.id,
        run_state="ended",
        api_type=run.error_type,
    )
