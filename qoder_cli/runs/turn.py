"""A session's turns, observed and waited for like runs."""

from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, Rejected
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run, mapping
from qoder_cli.base.outcome import (
    NO_WORK,
    SESSION_ARCHIVED,
    Asks,
    Ending,
    SessionStory,
    apply_asks,
    apply_ending,
    is_going,
    waits_for_answer,
)
from qoder_cli.base.times import unix
from qoder_cli.runs.observe import DISAGREEMENT_AFTER, USAGE_WITHIN, Observer, SessionKnown, SessionReading, observer_of
from qoder_cli.sessions.asks import look
from qoder_cli.sessions.story import TurnStory, keys, read_story

if TYPE_CHECKING:
    from qoder_cli.http.client import Client


AT_WORK = ("running", "rescheduling", "canceling")  # what a session says of itself while it works


def session_of(app: App, id: str) -> dict[str, Any]:
    """Return a session as the server shows it. Raises ApiError."""
    from qoder_cli.nouns.change import read
    from qoder_cli.nouns.table import NOUNS
    from qoder_cli.nouns.write import target_of

    return {**read(app, target_of(NOUNS["session"], id)), "type": "session"}


def session_to_talk_to(app: App, id: str) -> dict[str, Any]:
    """Return a session. Raises Rejected if it takes no messages, ApiError."""
    session = session_of(app, id)
    if session.get("archived_at") or session.get("status") == "terminated":
        why = "is archived" if session.get("archived_at") else "was terminated"
        said = f"session {id} {why}, so it takes no messages; nothing was sent"
        raise Rejected(said, hint="start another run or session")
    return session


class SessionObserver(Observer):
    """Reads how a turn of a session ends, whose `story` goes beyond the first ending.

    A turn that will never end is ended: of a session that is archived, or rests without having worked on a message.
    """

    reads_on = True

    def __init__(self, client: "Client", session: dict[str, Any], story: SessionStory) -> None:
        super().__init__(client, str(session["id"]), run=Run(session))
        self.known = SessionKnown(self.run_id, story)
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
        story = self.known.story
        if not isinstance(story, TurnStory) or (unworked := story.unworked) is None:
            self._unworked = None
            return None
        if self._unworked is None or self._unworked[0] != unworked.key:
            self._unworked = unworked.key, self._client.clock.monotonic()
        rests_for = self._client.clock.monotonic() - self._unworked[1]
        if unworked.at is not None and not story.is_of_this_command:
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
    known: Collection[str] = (),
    after: Collection[str] = (),
    is_new: bool = False,
) -> SessionObserver:
    """Return the observer of the turn after the events `after`, else of the last turn.

    `known` are earlier events. Of a session that `is_new`, the first turn is meant.
    """
    story = SessionStory() if is_new else TurnStory(known=known, after=after)
    observer = app.tracked.observer = SessionObserver(app.client, session, story)
    return observer


def is_of_sessions(ctx: Any) -> bool:
    """Return whether a command is below `session`; there, a run's id means its session."""
    return bool(ctx.parent and ctx.parent.info_name == "session")


def any_observer(app: App, id: str) -> Observer:
    """Return the observer of a run or of a session. Raises ApiError."""
    return turn_observer(app, session_of(app, id)) if id.startswith("sess_") else observer_of(app, id)


def with_asks(client: "Client", run: Run) -> Run:
    """Return a run with its waiting calls, if readable: its status does not show them."""
    if run.raw.get("status") is None or not run.session_id or not is_going(run) or waits_for_answer(run):
        return run
    with suppress(ApiError):
        asked = look(client, run.session_id, retry=False)
        if asked.key is not None and asked.is_open:
            return apply_asks(run, Asks(asked.key, asked.waiting))
    return run


def events_so_far(app: App, session_id: str) -> set[str]:
    """Return the keys of events that can begin or end a turn. Raises ApiError."""
    story = TurnStory()
    read_story(app.client, session_id, story, within=None, retry=True, whole=True)
    return keys(story.events)
