"""`qoder run logs --follow`: what has happened in a run's session, and what happens until the run has ended."""

from contextlib import suppress

from qoder_cli.errors import ApiError, LostSight, NotFound, Signalled
from qoder_cli.events.follow import Selection, SessionLog
from qoder_cli.events.log import Printer, batches_of, credits_of, explained, following, log_of
from qoder_cli.model import Run
from qoder_cli.outcome import SessionStory, is_going
from qoder_cli.runs.observe import Observer, observer_of
from qoder_cli.state import State

CHECK_EVERY = 60.0  # seconds after which the run itself is asked whether it has ended
SESSION_PAUSE = 1.0  # seconds between two looks at a run that has no session yet
_ENDS = ("session.status_idle", "session.status_terminated", "session.deleted")


def follow_run(state: State, chosen: str, selection: Selection, tail: int | None) -> None:
    """Print what has happened, and what happens until the run has ended."""
    observer = observer_of(state, chosen)
    run = observer.read_once()
    try:
        run = _until_session(state, observer)
        log = log_of(state, run, selection)
        if not observer.ended:
            state.progress.note("following; Ctrl-C leaves, and the run goes on")
        with explained(run), Printer(state, selection) as printer:
            for events in batches_of(log, tail):
                printer.show(events)
            if not (observer.ended or _has_ended(observer)):
                _follow_on(state, observer, log, printer)
            printer.sum_up(credits_of(state, Run(run.raw), selection))  # the newest figure, not that of the first look
    except Signalled as signalled:
        if observer.ended:
            raise
        words = f"stopped following; run {chosen} goes on"
        raise following(state, run, signalled.in_words(words, hint="nothing was cancelled; follow it again")) from None


def _until_session(state: State, observer: Observer) -> Run:
    """Wait until a run that is going on has its session, and return it."""
    run = observer.run or observer.read_once()
    if is_going(run) and run.session_id is None:
        state.progress.note(f"run {run.id} has no session yet; waiting for it")
    while is_going(run) and run.session_id is None:
        state.clock.sleep(SESSION_PAUSE)
        run = observer.look(retry=True)
    return run


def _follow_on(state: State, observer: Observer, log: SessionLog, printer: Printer) -> None:
    """Print what happens until the run's first ending: the one its events tell of, or the one that the run has."""
    story = SessionStory(worked=observer.worked)
    follower, checked = log.follower(note=state.progress.note), state.clock.monotonic()
    try:
        for events in follower.batches():
            printer.show(events)
            if story.tell(events).ending:
                return
            now = state.clock.monotonic()
            if any(event.get("type") in _ENDS for event in events) or now - checked >= CHECK_EVERY:
                checked = now
                if _has_ended(observer):
                    break
        for events in follower.read_on():
            printer.show(events)
    except NotFound:
        raise
    except ApiError as error:
        raise _lost(state, observer, error) from error


def _has_ended(observer: Observer) -> bool:
    with suppress(ApiError):
        observer.look()
    return observer.ended


def _lost(state: State, observer: Observer, error: ApiError) -> LostSight:
    run_id = observer.run_id
    return LostSight(
        f"lost sight of run {run_id}, which may be going on: {error.message}",
        hint="follow it again",
        next=state.command("run", "logs", run_id, "--follow"),
        run_id=run_id,
        session_id=observer.run.session_id if observer.run else None,
        run_state="unknown",
        cause=error,
    )
