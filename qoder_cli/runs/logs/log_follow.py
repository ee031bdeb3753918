"""`qoder run logs --follow`: what has happened in a run's session, and what happens until the run has ended."""

import math
from contextlib import suppress

from qoder_cli.app import State
from qoder_cli.base.errors import ApiError, LostSight, NotFound, Signalled
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import is_going
from qoder_cli.base.times import Clock
from qoder_cli.runs.ending import needs_answer
from qoder_cli.runs.logs.follow import Follower, Selection, SessionLog
from qoder_cli.runs.logs.log import Printer, batches_of, credits_of, explained, following, log_of
from qoder_cli.runs.observe import ASKS_FOR, Observer, observer_of
from qoder_cli.sessions.story import Events
from qoder_cli.settings.values import OnAsk

CHECK_EVERY = 60.0  # seconds after which the run itself is asked whether it has ended
QUICK_PAUSE = 0.2  # seconds until it is asked again, doubling, once its end was heard: what is read may lag
ALERT = 5.0  # seconds for which that is done
SESSION_PAUSE = 1.0  # seconds between two looks at a run that has no session yet
_ENDS = ("session.status_idle", "session.status_terminated", "session.deleted")


def follow_run(state: State, chosen: str, selection: Selection, tail: int | None, on_ask: OnAsk) -> None:
    """Print what has happened, and what happens until the run has ended or, unless `on_ask` is wait, needs an answer.

    Raises QoderError.
    """
    observer = observer_of(state, chosen)
    run = observer.read_once()
    try:
        run = _until_session(state, observer)
        log = log_of(state, run, selection)
        if not observer.ended:
            state.progress.note("following (Ctrl-C to stop; the run keeps running)")
        with explained(run), Printer(state, selection) as printer:
            for events in batches_of(log, tail):
                printer.show(events)
            if not (observer.ended or _has_ended(observer)):
                _follow_on(state, observer, log, printer, on_ask)
            printer.sum_up(credits_of(state, Run(run.raw), selection))  # the newest figure, not that of the first look
        if on_ask == "stop" and observer.run and observer.needs_answer:
            raise following(state, observer.run, needs_answer(observer.run))
    except Signalled as signalled:
        if observer.ended:
            raise
        words = f"stopped following; run {chosen} keeps running"
        raise following(state, run, signalled.in_words(words, hint="to follow it again")) from None


def _until_session(state: State, observer: Observer) -> Run:
    """Wait until a run that is going on has its session, and return it."""
    run = observer.run or observer.read_once()
    if is_going(run) and run.session_id is None:
        state.progress.note(f"run {run.id} has no session yet; waiting for it")
    while is_going(run) and run.session_id is None:
        state.clock.sleep(SESSION_PAUSE)
        run = observer.look(retry=True)
    return run


def _follow_on(state: State, observer: Observer, log: SessionLog, printer: Printer, on_ask: OnAsk) -> None:
    """Print what happens until the run's first ending, which the run itself and its session's list are asked for.

    With `on_ask` stop, until it needs an answer at most. Raises NotFound when the session was deleted, LostSight.
    """
    follower = Follower(log, note=state.progress.note)
    watching = _Watching(observer, state.clock)
    follower.wake_at = watching.due
    try:
        for events in follower.batches():
            printer.show(events)
            if watching.has_ended(events):
                break
            if on_ask == "stop" and observer.needs_answer:
                break
            follower.wake_at = watching.due
        for events in follower.read_on():
            printer.show(events)
    except ApiError as error:
        if isinstance(error, NotFound) and error.enveloped:
            raise
        raise LostSight(
            f"lost track of run {observer.run_id}; it may still be running: {error.message}",
            hint="to follow it again",
            next=state.command("run", "logs", observer.run_id, "--follow", *state.known.wait_options),
            run_id=observer.run_id,
            session_id=observer.run.session_id if observer.run else None,
            run_state="unknown",
            cause=error,
        ) from error


class _Watching:
    """Asks now and then whether a run has ended, and at once, for a while, when an event says so."""

    def __init__(self, observer: Observer, clock: Clock) -> None:
        self._observer = observer
        self._clock = clock
        self._pause = CHECK_EVERY
        self._alert_until = -math.inf
        self.due = clock.monotonic() + CHECK_EVERY

    def has_ended(self, events: Events) -> bool:
        """Return whether it has ended, asking for it if it is time to, or these events are a reason to."""
        now = self._clock.monotonic()
        if any(event.get("type") in _ENDS for event in events):
            self.due, self._pause, self._alert_until = now, QUICK_PAUSE, now + ALERT
        if now < self.due:
            return False
        if _has_ended(self._observer):
            return True
        now = self._clock.monotonic()
        self._pause = self._pause * 2 if now < self._alert_until else CHECK_EVERY
        self.due = now + self._pause
        asks_since = self._observer.asks_since
        if asks_since is not None and now < asks_since + ASKS_FOR:
            self.due = min(self.due, asks_since + ASKS_FOR)
        return False


def _has_ended(observer: Observer) -> bool:
    with suppress(ApiError):
        observer.look()
    return observer.ended
