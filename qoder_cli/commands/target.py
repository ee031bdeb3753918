"""The session that a command is about, and how it waits for it."""

from collections.abc import Sequence

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import Rejected, UsageError
from qoder_cli.base.model import Run
from qoder_cli.history import names
from qoder_cli.runs.awaiting import wait_for
from qoder_cli.runs.ending import Ended, Wanted
from qoder_cli.runs.observe import observer_of, turn_observer
from qoder_cli.sessions.answering import AfterAnswer, Turn, TypedSession
from qoder_cli.sessions.log import Events
from qoder_cli.sessions.state import session_of
from qoder_cli.sessions.story import keys

FEW = 8  # sessions at a time; no list shows their state


def target_of(given: str, app: App) -> TypedSession:
    """Return the session typed, or that of the run typed. Raises QoderError."""
    word = ids.run(given)
    if word.startswith("sess_"):
        return TypedSession(word)
    run = observer_of(app, names.run(word, app)).read_once()
    if run.session_id is None:
        why = f"run {run.id} has no session, so nothing waits in it"
        raise Rejected(why, hint="to see how it went", next=app.looking("run", "get", run.id))
    return TypedSession(run.session_id, run)


def sessions_of(words: Sequence[str], app: App) -> list[str]:
    """Return the ids of the sessions typed, 8 at most. Raises QoderError."""
    if len(words) > FEW:
        raise UsageError(f"{len(words)} sessions at once are too many; the limit is {FEW}", hint="use xargs -n 8")
    return [target_of(word, app).session_id for word in words]


def waits_of(app: App, wanted: Wanted | None, *, began: float | None = None) -> AfterAnswer | None:
    """Return how a command waits, as `wanted`; its timeout counts from when it `began`, else from now on."""
    if wanted is None:
        return None

    def left() -> Wanted:
        return wanted if began is None else wanted.since(began, app.clock)

    def rests(session_id: str) -> None:
        observer = turn_observer(app, session_of(app, session_id))
        item = wait_for(app, observer, left()._replace(follow=False, require_satisfied=False))
        if item.error and not observer.ended:
            raise item.error

    def follows(target: TypedSession, turn: Turn | None, sent: Events) -> Ended:
        if turn is None and (run := target.run) is not None:
            observer = observer_of(app, run.id, run=Run(run.raw), adopted=run.adopted)
        else:
            session, before = turn or Turn(session_of(app, target.session_id), set())
            observer = turn_observer(app, session, before=before, after=keys(sent))
        ended = wait_for(app, observer, left())
        if ended.error is None or ended.error.session_id is not None:
            return ended
        return ended.with_(error=ended.error.with_(session_id=target.session_id))

    return AfterAnswer(wanted.limits.timeout, rests, follows)
