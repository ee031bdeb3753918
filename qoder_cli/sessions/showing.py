"""Show a session's events: on standard output in every format, or beside a wait on standard error."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import event_time
from qoder_cli.base.times import parse_timestamp
from qoder_cli.output.data import Rows
from qoder_cli.output.screen import terminal_width
from qoder_cli.sessions.follower import Follower
from qoder_cli.sessions.log import Events, Log
from qoder_cli.sessions.state import read_session
from qoder_cli.sessions.transcript import Margin, Passage, Transcript, entry

Event = dict[str, Any]

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
        shown = entry(event, everything=bool(self._selection.types), whole=not self._output.screen.is_terminal)
        if shown:
            return self._transcript.write(shown, at=event_time(event))
        return ""

    def sum_up(self, credits: object) -> None:
        if credits is not None:
            self._output.screen.write(self._transcript.write(Passage("credits", str(credits)), at=None))


class Showing:
    """Shows sessions' events on stderr: from streams, and from lists what they missed."""

    def __init__(self, app: App, labels: Iterable[str] = ()) -> None:
        self._app = app
        self._margin = Margin(app.err, labels)
        self._transcript = Transcript(width=self._margin.room, styled=app.err.styled)
        self._names: dict[str, str] = {}
        self._followers: dict[str, Follower] = {}

    def name(self, session_id: str, label: str) -> None:
        """Begin a session's lines with this label, instead of its id."""
        self._names[session_id] = label

    def hear(self, event: Event, *, session_id: str) -> None:
        """Show an event, unless it was shown before or is bookkeeping."""
        self._show([self._follower(session_id).hear(event)], session_id)

    def catch_up(self, session_id: str) -> None:
        """Show new events from the list. What cannot be read now is read next time."""
        with suppress(ApiError):
            self._show(self._follower(session_id).read_on(), session_id)

    def _follower(self, session_id: str) -> Follower:
        return self._followers.setdefault(session_id, Follower(Log(self._app.client, session_id)))

    def _show(self, batches: Iterable[Events], session_id: str) -> None:
        for event in chain.from_iterable(batches):
            if shown := entry(event, whole=not self._app.err.is_terminal):
                written = self._transcript.write(shown, at=event_time(event))
                label = self._names.get(session_id, session_id)
                self._app.progress.show(self._margin.beside(written, label))


def credits_of(app: App, run: Run, selection: Selection) -> object:
    """Return the session's credits, for people who read it all; None if unknown."""
    if app.output.format != "table" or selection.types or not run.session_id:
        return None
    if run.credits is not None:
        return run.credits
    with suppress(ApiError):
        return Run(read_session(app.client, run.session_id, within=USAGE_WITHIN, retry=False)).credits
    return None
