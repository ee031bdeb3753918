"""`--follow`: what happens in the sessions of runs that are waited for, on stderr, each event once and in order."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from qoder_cli.base.errors import ApiError
from qoder_cli.base.outcome import event_key
from qoder_cli.base.recent import Recent
from qoder_cli.output.margin import Margin
from qoder_cli.sessions.reading import BAD_CURSOR, PAGE, REMEMBERED, events_of, events_path, last_id
from qoder_cli.sessions.transcript import Transcript, entry, event_time

if TYPE_CHECKING:
    from qoder_cli.app import State


class Showing:
    """Shows the events of sessions: those heard from a stream, and from the list what no stream told.

    With several runs `labels` has what their lines are to begin with, and `name` says which session has which.
    """

    def __init__(self, state: "State", labels: Iterable[str] = ()) -> None:
        self._client = state.client
        self._progress = state.progress
        self._margin = Margin(state.err, labels)
        self._transcript = Transcript(width=self._margin.room, styled=state.err.styled)
        self._names: dict[str, str] = {}
        self._last: dict[str, str | None] = {}
        self._recent = Recent(REMEMBERED)

    def name(self, session_id: str, label: str) -> None:
        """Let the lines of a session begin with one of the labels; one without a name shows its own id."""
        self._names[session_id] = label

    def hear(self, event: dict[str, Any], *, session_id: str = "") -> None:
        """Show an event of a session, unless it was shown before or is bookkeeping."""
        if self._recent.is_new(event_key(event)) and (said := entry(event)):
            written = self._transcript.write(said, at=event_time(event))
            self._progress.show(self._margin.beside(written, self._names.get(session_id, session_id)))

    def catch_up(self, session_id: str) -> None:
        """Show what the list has beyond what it had before. What cannot be read now is read the next time."""
        query: dict[str, Any] = {"limit": PAGE, "order": "asc"}
        if last := self._last.get(session_id):
            query["after_id"] = last
        try:
            for page in self._client.pages(events_path(session_id), query, retry=False):
                events = events_of(page)
                for event in events:
                    self.hear(event, session_id=session_id)
                self._last[session_id] = last_id(page, events) or self._last.get(session_id)
        except ApiError as error:
            if last and error.http_status in BAD_CURSOR:
                self._last[session_id] = None  # what was shown is known; the next time all is read again
