"""A session's turns, observed and waited for like runs."""

from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run, mapping
from qoder_cli.base.outcome import (
    NO_WORK,
    SESSION_ARCHIVED,
    Ending,
    apply_ending,
)
from qoder_cli.base.times import unix
from qoder_cli.runs.observe import DISAGREEMENT_AFTER, USAGE_WITHIN, Observer, observer_of
from qoder_cli.sessions.log import Log
from qoder_cli.sessions.session import session_of
from qoder_cli.sessions.state import SessionReading, SessionState
from qoder_cli.sessions.story import Story, turn_story

if TYPE_CHECKING:
    from qoder_cli.http.client import Client


AT_WORK = ("running", "rescheduling", "canceling")  # what a session says of itself while it works


class SessionObserver(Observer):
    """Reads how a turn of a session ends, whose `story` goes beyond the first ending.

    A turn that will never end is ended: of a session that is archived, or rests without having worked on a message.
    """

    reads_on = True

    def __init__(self, client: "Client", session: dict[str, Any], story: Story) -> None:
        super().__init__(client, str(session["id"]), run=Run(session))
        self.state = SessionState(Log(client, self.run_id), story)
        self._read_at = client.clock.monotonic()  # the session
        self._unworked: tuple[str, float] | None = None  # the event at which it rests, and since when that is known

    def _ask_session(self, run: Run, within: float | None, retry: bool) -> SessionReading:
        if self._client.clock.monotonic() - self._read_at >= DISAGREEMENT_AFTER:
            run = self._read_session(within) or run
        told = super()._ask_session(run, within, retry)
        if told.ending is None and told.error is None:
            return told._replace(ending=self._why_it_never_ends(run.raw))
        return told

    def _why_it_never_ends(self, session: dict[str, Any]) -> Ending | None:
        now = self._client.server_now()
        archived_at = unix(session.get("archived_at"))
        if session.get("archived_at") and (archived_at is None or now - archived_at >= DISAGREEMENT_AFTER):
            return SESSION_ARCHIVED
        story = self.state.story
        if (unworked := story.unworked) is None:
            self._unworked = None
            return None
        if self._unworked is None or self._unworked[0] != unworked.key:
            self._unworked = unworked.key, self._client.clock.monotonic()
        rests_for = self._client.clock.monotonic() - self._unworked[1]
        if unworked.at is not None and story.is_latest:
            rests_for = max(rests_for, now - unworked.at)
        if rests_for < DISAGREEMENT_AFTER or session.get("status") in AT_WORK:
            return None
        return SESSION_ARCHIVED if session.get("archived_at") else NO_WORK

    def _read_again(self, run: Run, within: float | None, retry: bool) -> Run:
        return run  # a session is asked for by its own id

    def _conclude(self, run: Run, ending: Ending) -> None:
        self._keep(apply_ending(run, ending))
        if (session := self._read_session(USAGE_WITHIN)) is not None:
            self._keep(apply_ending(session, ending))

    def _read_session(self, within: float | None) -> Run | None:
        """Return the session, read again; None if it cannot be."""
        with suppress(ApiError):
            session = mapping(self._client.get(f"/sessions/{segment(self.run_id)}", within=within, retry=False))
            if session.get("id") == self.run_id:
                self._read_at = self._client.clock.monotonic()
                return Run({**session, "type": "session"})
        return None


def turn_observer(
    app: App,
    session: dict[str, Any],
    *,
    before: Collection[str] = (),
    after: Collection[str] = (),
    is_new: bool = False,
) -> SessionObserver:
    """Return the observer of the turn after the events `after`, else of the last turn.

    `before` are the keys of earlier events. Of a session that `is_new`, the first turn is meant.
    """
    story = Story() if is_new else turn_story(before=before, after=after)
    observer = app.tracked.observer = SessionObserver(app.client, session, story)
    return observer


def any_observer(app: App, id: str) -> Observer:
    """Return the observer of a run or of a session. Raises ApiError."""
    return turn_observer(app, session_of(app, id)) if id.startswith("sess_") else observer_of(app, id)
