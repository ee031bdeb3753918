"""Show a session's events: on standard output in every format, or beside a wait on standard error."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError
from qoder_cli.base.model import Raw, open_shape
from qoder_cli.base.outcome import ENDING_EVENTS, event_time
from qoder_cli.base.times import parse_timestamp
from qoder_cli.output.data import Rows
from qoder_cli.sessions.log import Events, Log
from qoder_cli.sessions.transcript import Transcript

if TYPE_CHECKING:
    from qoder_cli.http.client import Client


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

    def log(self, client: "Client", session_id: str, *, also: Sequence[str] = (), **how: Any) -> Log:
        """Return the log of a session, in which others may be, too; `also` has more types, `how` is as of a Log."""
        filters: Raw = {}
        if self.types:
            filters["types[]"] = tuple(dict.fromkeys((*self.types, *also)))
        if self.since:
            filters["created_at[gte]"] = self.since.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return Log(client, session_id, thread=self.thread, filters=filters, **how)

    def past(self, log: Log, tail: int | None) -> Iterator[Events]:
        """Yield a log's events, each once, oldest first; with `tail`, the newest that are wanted. Raises ApiError."""
        if tail is None:
            yield from log.on(retry=True)
        else:
            yield log.newest(tail, self.takes)


class Printer:
    """Prints events in the chosen format, in a `with` block of its `rows`; `data` makes their JSON."""

    def __init__(self, app: App, selection: Selection, *, data: Callable[[Raw], Raw] = lambda one: one) -> None:
        self._output = app.output
        self._selection = selection
        self.shown = False
        self.rows = Rows[Raw](app.output, fields=lambda event: {"id": event.get("id")}, data=data)
        self._transcript = Transcript(app.out)

    def show(self, events: Iterable[Raw]) -> None:
        wanted = list(filter(self._selection.takes, events))
        self.shown = self.shown or bool(wanted)
        if self._output.format != "table":
            self.rows.show(wanted)
            return
        everything = bool(self._selection.types)
        if lines := "".join(self._transcript.write(event, everything=everything) for event in wanted):
            self._output.screen.write(lines)


class Showing:
    """Shows the events of sessions as a wait hears them from streams, and from lists what they missed, each once.

    `write` gets them, and what their session is called. With a `tail`, what happened before is shown up to so many
    events. `at_move` hears of each session but the first, `on_event` of each event, wanted or not.
    """

    def __init__(
        self,
        client: "Client",
        write: Callable[[Events, str], None],
        selection: Selection = Selection(),  # it never changes
        *,
        tail: int | None = None,
        at_move: Callable[[str], None] = lambda session_id: None,
        on_event: Callable[[Raw], None] = lambda event: None,
    ) -> None:
        self.names: dict[str, str] = {}  # of sessions
        self._client = client
        self._write = write
        self._selection = selection
        self._tail = tail
        self._at_move = at_move
        self._on_event = on_event
        self._logs: dict[str, Log] = {}

    def log(self, session_id: str) -> Log:
        """Return the log of a session as far as it was shown: its stream begins there."""
        if session_id not in self._logs:
            if self._logs:
                self._at_move(session_id)
            self._logs[session_id] = self._selection.log(
                self._client, session_id, also=ENDING_EVENTS, on_event=self._on_event
            )
        return self._logs[session_id]

    def hear(self, event: Raw, *, session_id: str) -> None:
        """Show an event of a stream, unless it was shown before."""
        self._on_event(event)
        self._show(self.log(session_id).hear(event), session_id)

    def catch_up(self, session_id: str) -> None:
        """Show what is new in the list. What cannot be read now is read next time."""
        with suppress(ApiError):
            self._read_on(session_id)

    def finish(self, log: Log) -> None:
        """Show what is new in a log, for the last time. Raises ApiError."""
        self._logs.setdefault(log.session_id, log)
        self._read_on(log.session_id, retry=True)

    def _read_on(self, session_id: str, *, retry: bool = False) -> None:
        log = self.log(session_id)
        if self._tail is not None:
            self._show(log.newest(self._tail, self._selection.takes), session_id)
            self._tail = None
        for new in log.on(retry=retry):
            self._show(new, session_id)

    def _show(self, events: Events, session_id: str) -> None:
        self._write(events, self.names.get(session_id, session_id))


def showing_beside(app: App, labels: Sequence[str] = ()) -> Showing:
    """Return what shows events on standard error, beside a wait; each line begins with one of the `labels`."""
    transcript = Transcript(app.err, labels)

    def write(events: Events, name: str) -> None:
        for event in events:
            if lines := transcript.write(event, source=name):
                app.progress.show(lines)

    return Showing(app.client, write)
