"""`--follow`: what happens in the session of a run that is waited for, on stderr, each event once and in order."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qoder_cli.errors import ApiError
from qoder_cli.feed import Recent
from qoder_cli.follow import PAGE, events_of, last_id
from qoder_cli.ids import segment
from qoder_cli.screen import terminal_width
from qoder_cli.transcript import Transcript, entry, event_time

if TYPE_CHECKING:
    from qoder_cli.state import State


class Showing:
    """Shows the events of sessions: those heard from a stream, and from the list what no stream told."""

    def __init__(self, state: "State") -> None:
        self._client = state.client
        self._progress = state.progress
        width = terminal_width() if state.err.is_terminal else None
        self._transcript = Transcript(width=width, styled=state.err.styled)
        self._last: dict[str, str | None] = {}
        self._recent = Recent()

    def hear(self, event: dict[str, Any]) -> None:
        """Show an event, unless it was shown before or is bookkeeping."""
        if self._recent.is_new(event) and (said := entry(event)):
            self._progress.show(self._transcript.write(said, at=event_time(event)))

    def catch_up(self, session_id: str) -> None:
        """Show what the list has beyond what it had before. What cannot be read now is read the next time."""
        query: dict[str, Any] = {"limit": PAGE, "order": "asc"}
        if last := self._last.get(session_id):
            query["after_id"] = last
        with suppress(ApiError):
            for page in self._client.pages(f"/sessions/{segment(session_id)}/events", query, retry=False):
                events = events_of(page)
                for event in events:
                    self.hear(event)
                self._last[session_id] = last_id(page, events) or self._last.get(session_id)
