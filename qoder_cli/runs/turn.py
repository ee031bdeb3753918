"""A session's turns, observed and waited for like runs."""

from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, Rejected
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run, mapping
from qoder_cli.base.outcome import (
    Asks,
    Ending,
    SessionStory,
    apply_asks,
    apply_ending,
    is_going,
    waits_for_answer,
)
from qoder_cli.runs.observe import USAGE_WITHIN, Observer, SessionKnown, observer_of
from qoder_cli.sessions.asks import look
from qoder_cli.sessions.story import TurnStory, keys, read_story

if TYPE_CHECKING:
    from qoder_cli.http.client import Client


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
    """Reads how a turn of a session ends, whose `story` goes beyond the first ending."""

    reads_on = True

    def __init__(self, client: "Client", session: dict[str, Any], story: SessionStory) -> None:
        super().__init__(client, str(session["id"]), run=Run(session))
        self.known = SessionKnown(self.run_id, story)

    def _read_again(self, run: Run, within: float | None, retry: bool) -> Run:
        return run  # a session is asked for by its own id

    def _conclude(self, run: Run, ending: Ending) -> None:
        self._keep(apply_ending(run, ending))
        with suppress(ApiError):
            path = f"/sessions/{segment(self.run_id)}"
            session = mapping(self._client.get(path, within=USAGE_WITHIN, retry=False))
            if session.get("id") == self.run_id:
                self._keep(apply_ending(Run({**session, "type": "session"}), ending))


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
    observer = app.known.observed = SessionObserver(app.client, session, story)
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
