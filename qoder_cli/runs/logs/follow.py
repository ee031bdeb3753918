"""`qoder run logs --follow`: events until the run ends (help/pages/api.md#events and #event-streams)."""

import math
import queue
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, NotFound, Signalled
from qoder_cli.base.ids import noun
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import ENDS, is_going, stop_reason
from qoder_cli.base.times import Clock
from qoder_cli.runs.ending import needs_answer
from qoder_cli.runs.listen import SILENT
from qoder_cli.runs.logs.log import (
    FIRST_PAUSE,
    Printer,
    Selection,
    SessionLog,
    credits_of,
    explained,
    following,
    log_of,
)
from qoder_cli.runs.observe import LAGGING, LONGEST_SILENCE, Observer
from qoder_cli.runs.turn import any_observer
from qoder_cli.runs.wait import ASLEEP, LONGEST_PAUSE
from qoder_cli.runs.watch import Watch
from qoder_cli.sessions.feed import Feed, News
from qoder_cli.sessions.story import Events
from qoder_cli.settings.values import OnAsk

CHECK_EVERY = 60.0  # seconds between two checks whether the run has ended
SESSION_PAUSE = 1.0  # seconds between two looks at a run that has no session yet
_THREAD_ENDS = (*ENDS, "session.thread_status_idle", "session.thread_status_terminated")


def follow_run(app: App, chosen: str, selection: Selection, tail: int | None, on_ask: OnAsk) -> None:
    """Print events until the run ends or, unless `on_ask` is wait, needs an answer."""
    observer = any_observer(app, chosen)
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
                with explained(run):
                    _follow_session(app, Watch(observer), log, printer, tail=tail, on_ask=on_ask)
                run = observer.run or run
                if not _has_moved(observer, log):
                    break
                app.progress.note(f"run {run.id} now has session {run.session_id}; following that one")
                log, tail = log_of(app, run, selection), None
            printer.sum_up(credits_of(app, Run(run.raw), selection))  # the newest figure
        if on_ask != "wait" and observer.run and observer.needs_answer:
            raise following(app, observer.run, needs_answer(observer.run, app))
    except Signalled as signalled:
        if observer.ended:
            raise
        words = f"stopped following; {noun(chosen)} {chosen} keeps running"
        raise following(app, run, signalled.in_words(words, hint="to follow it again")) from None


def _has_moved(observer: Observer, log: SessionLog) -> bool:
    """Return whether the run names another session than the one that is followed."""
    return observer.run is not None and observer.run.session_id not in (None, log.session_id)


def _follow_session(
    app: App, watch: Watch, log: SessionLog, printer: Printer, *, tail: int | None, on_ask: OnAsk
) -> None:
    """Print a session's events until its run ends, asks or names another session. Raises NotFound, LostSight."""
    try:
        for events in log.batches(tail):
            printer.show(events)
        if watch.observer.ended:
            return
        if not _has_ended(watch, app.clock, CHECK_EVERY):
            _follow_on(app, watch, log, printer, on_ask)
        if not _has_moved(watch.observer, log):  # what came since the last read, before the end or the ask
            for events in log.beyond(retry=True):
                printer.show(events)
    except NotFound:
        if not watch.observer.ended:
            with suppress(ApiError):
                watch.observer.look()
        if not _has_moved(watch.observer, log):
            raise


def _follow_on(app: App, watch: Watch, log: SessionLog, printer: Printer, on_ask: OnAsk) -> None:
    """Print events until the run's end or an ask. Raises NotFound, LostSight."""
    follower = Follower(log)
    observer, ends = watch.observer, _THREAD_ENDS if log.selection.thread else ENDS
    try:
        for events in follower.batches(lambda: watch.due):
            printer.show(events)
            if told := [event for event in events if event.get("type") in ends]:
                is_quick = stop_reason(told[-1]) != "requires_action"
                watch.call(app.clock.monotonic(), is_quick=is_quick)
            tells_of_the_end = follower.delivers or not log.selection.types
            if _has_ended(watch, app.clock, CHECK_EVERY if tells_of_the_end else LONGEST_PAUSE):
                break
            if _has_moved(observer, log):
                break
            if on_ask != "wait" and observer.needs_answer:
                from qoder_cli.sessions.question import prompted

                if on_ask == "stop" or not (log.session_id and prompted(app, log.session_id).goes_on):
                    break
                observer.forget_asks()
    except ApiError as error:
        if isinstance(error, NotFound) and error.enveloped:
            raise
        assert observer.run is not None  # it was read before
        raise following(app, observer.run, watch.lost(error, "to follow it again")) from error


def _has_ended(watch: Watch, clock: Clock, every: float) -> bool:
    """Return whether the run has ended; it is asked for when that is due, in so many seconds again."""
    watch.due = min(watch.due, clock.monotonic() + every)
    if clock.monotonic() < watch.due:
        return False
    watch.begin_look()
    with suppress(ApiError):
        watch.observer.look()
    now = clock.monotonic()
    pause = watch.pause if watch.is_alert(now) else every
    watch.put_off(now, pause, next_pause=pause * 2)
    return watch.over


class Follower:
    """Reads on from a log's last event: from the stream, or the list if it fails.

    The list is read when a stream begins, and every few seconds while none is
    open or it has been silent for 60 s. `preview` gets messages being written.
    """

    def __init__(self, log: SessionLog, *, preview: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._log = log
        self._preview = preview
        self._clock = log.client.clock
        self._inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._has_noted = False  # whether it was said that there is no stream
        self.delivers = False  # whether a stream is open that tells of events
        self._pause = FIRST_PAUSE
        self._due = self._clock.monotonic() + FIRST_PAUSE
        self._failing_since: float | None = None

    def batches(self, wake_at: Callable[[], float]) -> Iterator[Events]:
        """Yield new events without end, and an empty batch at `wake_at()` (monotonic).

        Raises AuthError, NotFound after 30 s, any ApiError that lasts 5 minutes.
        """
        log = self._log
        deltas = ("agent.message",) if self._preview else ()
        feed = Feed(log.client, log.session_id, inbox=self._inbox, after=log.last, deltas=deltas, path=log.stream)
        feed.start()
        try:
            while True:
                began = self._clock.monotonic()
                until = max(min(self._due, wake_at()), began)
                news = self._clock.take(self._inbox, until - began)
                overslept = self._clock.monotonic() - until
                if self._failing_since is not None and overslept > ASLEEP:
                    self._failing_since += overslept  # which is no silence
                if news is not None or self._clock.monotonic() >= self._due:
                    yield from self._react(news)
                yield []
        finally:
            feed.stop()

    def _react(self, news: News | None) -> Iterator[Events]:
        """Handle news of the stream; None means that the list is due first."""
        if news is None:
            self.delivers = False
        elif news.kind == "heard":
            self.delivers = True
            yield self._log.heard(news.event)
        elif news.kind == "preview" and self._preview:
            self._preview(news.event)
        elif news.kind == "down":
            self.delivers = False
            self._due = self._clock.monotonic() + self._pause
            if news.error and not self._has_noted:
                broke = f"the event stream broke ({news.error.message})"
                why = "there is no event stream" if news.for_good else broke
                self._log.client.progress.note(f"{why}; falling back to polling")
                self._has_noted = True
        if self.delivers:
            self._pause, self._failing_since = FIRST_PAUSE, None
            self._due = self._clock.monotonic() + SILENT
        if news is None or news.kind in ("up", "gap"):
            yield from self.read_on()

    def read_on(self) -> Iterator[Events]:
        """Yield the list's newer events. A read that fails is repeated later."""
        found = False
        try:
            for new in self._log.beyond():
                found = found or bool(new)
                yield new
            self._failing_since = None
        except ApiError as error:
            self._bear(error)
        is_relied_on = self.delivers and self._failing_since is None
        self._due = self._clock.monotonic() + (SILENT if is_relied_on else self._pause)
        self._pause = FIRST_PAUSE if found else min(self._pause * 2, LONGEST_PAUSE)

    def _bear(self, error: ApiError) -> None:
        now = self._clock.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        patience = LONGEST_SILENCE
        if error.enveloped and isinstance(error, AuthError | NotFound):
            patience = LAGGING if isinstance(error, NotFound) else -math.inf
        if now - self._failing_since > patience:
            raise error
