"""`qoder run logs --follow`: events until the run ends (help/pages/api.md#events and #event-streams)."""

from contextlib import suppress

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NotFound, Signalled
from qoder_cli.base.ids import noun
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import ENDS, is_asking, is_going
from qoder_cli.base.times import Clock
from qoder_cli.commands.run.logs_of_one import explained, following, log_of
from qoder_cli.runs.ending import Wanted, needs_answer, unanswered
from qoder_cli.runs.observe import Observer, any_observer
from qoder_cli.runs.wait import PolledRun
from qoder_cli.sessions.follower import Follower
from qoder_cli.sessions.log import LONGEST_PAUSE, Log
from qoder_cli.sessions.showing import Printer, Selection, credits_of, past_events

CHECK_EVERY = 60.0  # seconds between two checks whether the run has ended
SESSION_PAUSE = 1.0  # seconds between two looks at a run that has no session yet
_THREAD_ENDS = (*ENDS, "session.thread_status_idle", "session.thread_status_terminated")


def follow_run(app: App, chosen: str, selection: Selection, tail: int | None, wanted: Wanted) -> None:
    """Print events until the run ends or, unless it is `wanted` to wait, needs an answer."""
    observer = any_observer(app, chosen)
    observer.asks_a_person = wanted.on_ask == "prompt" or wanted.policy is not None
    run = observer.read_once()
    try:
        if is_going(run) and run.session_id is None:
            app.progress.note(f"run {run.id} has no session yet; waiting for it")
        while is_going(run) and run.session_id is None:
            app.clock.sleep(SESSION_PAUSE)
            run = observer.look(retry=True)
        log = log_of(app, run, selection)
        if not observer.ended:
            app.progress.note(f"following (Ctrl-C to stop; the {noun(chosen)} keeps running)")
        with Printer(app, selection) as printer:
            while True:
                with explained(run, selection):
                    _follow_session(app, PolledRun(observer), log, printer, selection, tail=tail, wanted=wanted)
                run = observer.run or run
                if not _has_moved(observer, log):
                    break
                app.progress.note(f"run {run.id} now has session {run.session_id}; following that one")
                log, tail = log_of(app, run, selection), None
            printer.sum_up(credits_of(app, Run(run.raw), selection))  # the newest figure
        if wanted.on_ask != "wait" and observer.run and observer.needs_answer:
            if wanted.on_ask == "stop" and observer.run.session_id:
                from qoder_cli.sessions.numbering import list_waiting

                list_waiting(app, observer.run.session_id, chosen)
            raise following(app, observer.run, needs_answer(observer.run, app))
    except Signalled as signalled:
        if observer.ended:
            raise
        words = f"stopped following; {noun(chosen)} {chosen} keeps running"
        raise following(app, run, signalled.in_words(words, hint="to follow it again")) from None


def _has_moved(observer: Observer, log: Log) -> bool:
    """Return whether the run names another session than the one that is followed."""
    return observer.run is not None and observer.run.session_id not in (None, log.session_id)


def _follow_session(
    app: App, polled: PolledRun, log: Log, printer: Printer, selection: Selection, *, tail: int | None, wanted: Wanted
) -> None:
    """Print a session's events until its run ends, asks or names another session. Raises NotFound, LostSight."""
    try:
        for events in past_events(log, selection, tail):
            printer.show(events)
        if polled.observer.ended:
            return
        if not _has_ended(polled, app.clock, CHECK_EVERY):
            _follow_on(app, polled, log, printer, selection, wanted)
        if not _has_moved(polled.observer, log):  # what came since the last read, before the end or the ask
            for events in log.on(retry=True):
                printer.show(events)
    except NotFound:
        if not polled.observer.ended:
            with suppress(ApiError):
                polled.observer.look()
        if not _has_moved(polled.observer, log):
            raise


def _follow_on(app: App, polled: PolledRun, log: Log, printer: Printer, selection: Selection, wanted: Wanted) -> None:
    """Print events until the run's end or an ask. Raises NotFound, LostSight."""
    follower = Follower(log)
    observer, ends = polled.observer, _THREAD_ENDS if selection.thread else ENDS
    try:
        for events in follower.batches(lambda: polled.due):
            printer.show(events)
            if endings := [event for event in events if event.get("type") in ends]:
                observer.note_rest()
                polled.wake(app.clock.monotonic(), is_quick=not is_asking(endings[-1]))
            hears_the_end = follower.delivers or not selection.types
            if _has_ended(polled, app.clock, CHECK_EVERY if hears_the_end else LONGEST_PAUSE):
                break
            if _has_moved(observer, log):
                break
            is_to_ask = observer.asks_in > 0
            if polled.is_news(str(is_to_ask)) and is_to_ask:
                app.progress.note(polled.stands)
            if wanted.policy is not None and observer.needs_answer:
                if error := unanswered(observer, wanted, app, left=None):
                    raise following(app, _run_of(observer), error)
            elif wanted.on_ask != "wait" and observer.needs_answer:
                from qoder_cli.sessions.deciding import prompted

                if wanted.on_ask == "stop" or not (log.session_id and prompted(app, log.session_id, run=observer.run)):
                    break
                observer.forget_asks()
    except ApiError as error:
        if isinstance(error, NotFound) and error.enveloped:
            raise
        raise following(app, _run_of(observer), polled.lost(error, "to follow it again")) from error


def _run_of(observer: Observer) -> Run:
    assert observer.run is not None  # it was read before
    return observer.run


def _has_ended(polled: PolledRun, clock: Clock, every: float) -> bool:
    """Return whether the run has ended. It is polled when that is due, and again in `every` seconds."""
    polled.due = min(polled.due, clock.monotonic() + every)
    if clock.monotonic() < polled.due:
        return False
    polled.begin_poll()
    with suppress(ApiError):
        polled.observer.look()
    now = clock.monotonic()
    pause = polled.pause if polled.is_alert(now) else every
    polled.back_off(now, pause, next_pause=pause * 2)
    return polled.is_over
