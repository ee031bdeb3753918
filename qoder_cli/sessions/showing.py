"""Show a session's events: on standard output in every format, or beside a wait on standard error."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypedDict

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError
from qoder_cli.base.model import Raw, open_shape
from qoder_cli.base.outcome import event_time
from qoder_cli.base.times import parse_timestamp
from qoder_cli.output.data import Rows
from qoder_cli.output.screen import terminal_width
from qoder_cli.sessions.log import Events, Log
from qoder_cli.sessions.transcript import Margin, Transcript, entry


@open_shape
class EventData(TypedDict, total=False):
    """An event of a session: every field that the server sent."""

    id: Annotated[Any, "event id, evt_…"]
    type: Annotated[Any, "what happened, e.g. agent.message"]
    run_id: Annotated[str | None, "run id, in JSON lines of several runs"]


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

    def filters(self) -> dict[str, Any]:
        """Return the query for them, which a server may ignore."""
        query: dict[str, Any] = {}
        if self.types:
            query["types[]"] = self.types
        if self.since:
            query["created_at[gte]"] = self.since.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return query


def past_events(log: Log, selection: Selection, tail: int | None) -> Iterator[Events]:
    """Yield past events, oldest first; with `tail`, the newest that are wanted. Raises ApiError."""
    if tail is None:
        yield from log.whole()
    else:
        yield log.newest(tail, selection.takes)


class Printer:
    """Prints events in the chosen format, in a `with` block of its `rows`; `data` makes their JSON."""

    def __init__(self, app: App, selection: Selection, *, data: Callable[[Raw], Raw] = lambda one: one) -> None:
        self._output = app.output
        self._selection = selection
        self.shown = False
        self.rows = Rows[Raw](app.output, fields=lambda event: {"id": event.get("id")}, data=data)
        self._transcript = Transcript(width=terminal_width() if app.out.is_terminal else None, styled=app.out.styled)

    def show(self, events: Iterable[Raw]) -> None:
        wanted = list(filter(self._selection.takes, events))
        self.shown = self.shown or bool(wanted)
        if self._output.format != "table":
            self.rows.show(wanted)
        elif written := "".join(map(self._written, wanted)):
            self._output.screen.write(written)

    def _written(self, event: Raw) -> str:
        shown = entry(event, everything=bool(self._selection.types), whole=not self._output.screen.is_terminal)
        if shown:
            return self._transcript.write(shown, at=event_time(event))
        return ""


class Showing:
    """Shows the events of sessions as a wait hears them from streams, and from lists what they missed, each once.

    The stream of a session begins where its `log` was read to.
    """

    def __init__(self) -> None:
        self._logs: dict[str, Log] = {}
        self._current: set[str] = set()  # sessions whose list was read when it was last tried: a stream goes on from it

    def new_log(self, session_id: str) -> Log:
        """Return the log of a session, of which nothing was read."""
        raise NotImplementedError

    def write(self, events: Events, session_id: str) -> None:
        """Show events of a session."""
        raise NotImplementedError

    def name(self, session_id: str, label: str) -> None:
        """Take note of what a session is called."""

    def log(self, session_id: str) -> Log:
        """Return the log of a session as far as it was shown."""
        if session_id not in self._logs:
            self._logs[session_id] = self.new_log(session_id)
        return self._logs[session_id]

    def hear(self, event: Raw, *, session_id: str) -> None:
        """Show an event of a stream, unless it was shown before."""
        self.write(self.log(session_id).hear(event, is_next=session_id in self._current), session_id)

    def catch_up(self, session_id: str) -> None:
        """Show what is new in the list. What cannot be read now is read next time."""
        with suppress(ApiError):
            self.read_on(session_id)

    def read_on(self, session_id: str, *, retry: bool = False) -> None:
        """Show what is new in the list; `retry` sends what fails again. Raises ApiError."""
        self._current.discard(session_id)
        for new in self.log(session_id).on(retry=retry):
            self.write(new, session_id)
        self._current.add(session_id)


class ShowingBeside(Showing):
    """Shows the events of sessions on standard error, beside a wait; each line begins with one of the `labels`."""

    def __init__(self, app: App, labels: Iterable[str] = ()) -> None:
        super().__init__()
        self._app = app
        self._margin = Margin(app.err, labels)
        self._transcript = Transcript(width=self._margin.room, styled=app.err.styled)
        self._names: dict[str, str] = {}

    def new_log(self, session_id: str) -> Log:
        return Log(self._app.client, session_id)

    def name(self, session_id: str, label: str) -> None:
        self._names[session_id] = label

    def write(self, events: Events, session_id: str) -> None:
        for event in events:
            if shown := entry(event, whole=not self._app.err.is_terminal):
                written = self._transcript.write(shown, at=event_time(event))
                label = self._names.get(session_id, session_id)
                self._app.progress.show(self._margin.beside(written, label))
