"""Wait for runs, one or many: the only loop that waits for an ending.

It sleeps until a poll is due or news comes in, polls, judges what was read, and reports what became of each run once.
What more is wanted of ended runs is read meanwhile.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import (
    ApiError,
    Interrupted,
    LostSight,
    NeedsAnswer,
    NoResponse,
    NotYet,
    QoderError,
    RunFailed,
    RunState,
    Signalled,
    WaitTimeout,
)
from qoder_cli.base.ids import noun
from qoder_cli.base.model import text
from qoder_cli.base.outcome import evaluations, is_going
from qoder_cli.base.pool import Pool, in_order
from qoder_cli.base.times import LAST_LOOK, SUSPENDED, Deadline
from qoder_cli.fleet.page_poller import PagePoller
from qoder_cli.http.pace import WRITES_PER_SECOND, Pace
from qoder_cli.http.write import LAST_WORDS
from qoder_cli.local.remembered import remember_runs
from qoder_cli.runs.ending import (
    Ended,
    Wanted,
    ending_error,
    leave_run,
    naming,
    stopped_waiting,
    timed_out,
    unanswered,
    unread,
    unreadable,
)
from qoder_cli.runs.observe import Observer
from qoder_cli.runs.polled import FEW, Pauses, PolledRun, RunPoller, Runs, Starts, Test, WaitReading
from qoder_cli.sessions.state import read_session
from qoder_cli.sessions.stream import Streams

if TYPE_CHECKING:
    from qoder_cli.sessions.showing import Showing

LONGEST_SLEEP = 30.0  # seconds between two signs of life
GLANCE = 1.0  # the same where standard output is a pipe, whose reader may go away
READ_AT_A_TIME = 6  # runs to be read further
CANCELLED_AT_A_TIME = 40  # as many as are begun within the longest of them, however slow the server is


def wait_for(app: App, observer: Observer, wanted: Wanted, *, showing: "Showing | None" = None) -> Ended:
    """Wait until a run has ended or the wait is over. Return its outcome; its final message is read later.

    `showing` shows the session's events, if not --follow does.
    """
    app.tracked.awaits = True
    observer.asks_a_person = wanted.on_ask == "prompt" or wanted.policy is not None
    polled = PolledRun(observer)
    wait = Wait(app, wanted._replace(result=False), showing=showing)
    try:
        wait.until_reported([polled])
        if polled.run is not None and not polled.run.is_session:
            remember_runs(app.store, app.settings, [polled.run])  # its session may not have been known before
    except Signalled:
        if polled not in wait.items:  # it came before the wait began; else the result names it
            raise
    return wait.items[polled].with_(with_message=wanted.result)


class Wait:
    """A wait for runs, until `is_enough`. `report` gets each result once, in this thread; `items` has them, too.

    What comes into the inbox of the streams is their news, or a function to be called in this thread.
    """

    def __init__(
        self,
        app: App,
        wanted: Wanted,
        report: Callable[[PolledRun, Ended], None] = lambda polled, item: None,
        *,
        starts: Starts | None = None,
        is_enough: Test | None = None,
        labels: Sequence[str] = (),
        showing: "Showing | None" = None,
    ) -> None:
        self._app = app
        self._starts = starts = starts or Starts()
        self._each = math.inf  # seconds that each may take from its own beginning
        if starts.is_queue and wanted.limits.timeout is not None:
            self._each = wanted.limits.timeout
            wanted = wanted._replace(limits=wanted.limits._replace(timeout=None))
        self._wanted = wanted
        self._report_item = report
        self._is_enough = is_enough
        self.runs: list[PolledRun] = []
        self.items: dict[PolledRun, Ended] = {}  # of those that are not waited for any more
        self._reported: set[PolledRun] = set()
        self._awake_at = app.clock.monotonic()  # when this thread last looked at the clock
        self._deadline = Deadline(app.clock, wanted.limits)
        if wanted.follow:
            from qoder_cli.sessions.showing import showing_beside

            showing = showing_beside(app, labels)
        self._inbox, pauses = starts.inbox, Pauses.of(wanted.limits.interval)
        self._streams = Streams(app.client, inbox=self._inbox, showing=showing)
        singly = RunPoller(app, self._streams, self._deadline, pauses)
        self._poller: RunPoller | PagePoller = singly
        if not wanted.follow:
            self._poller = PagePoller(app, singly, self._deadline, pauses, starts)
        self._reading = Pool(
            self._read_more, self._report, at_a_time=READ_AT_A_TIME, inbox=self._inbox, clock=app.clock
        )

    @property
    def going(self) -> list[PolledRun]:
        """The runs that are still waited for."""
        return [polled for polled in self.runs if polled not in self.items]

    def add(self, polled: PolledRun) -> None:
        """Wait for a run too."""
        polled.begin(self._app.clock.monotonic())
        self.runs.append(polled)
        self._end_if_over(polled)

    def until_reported(self, runs: Runs) -> None:
        """Wait for these, and those that are started. All results are reported then; only then is Signalled raised."""
        try:
            self._until_over(runs)
            self._report_rest(runs, None)
            clock, progress, until = self._app.clock, self._app.progress, math.inf
            if self._deadline.timeout:  # results are reported as they are read, until some seconds after it
                until = self._deadline.at + LAST_LOOK
            if self._reading.open:
                with progress.waiting("reading what the runs left"):
                    self._reading.hear(progress.beat, lambda: clock.monotonic() >= until or self._has_enough())
            self._reading.stop(0.0, self._unread)
        except Signalled as signalled:
            self._report_rest(runs, signalled)
            self._reading.stop(0.0, partial(self._unread, signalled=signalled))
            raise

    # The loop.

    def _until_over(self, runs: Runs) -> None:
        leaving = None
        try:
            if self._starts.ordered:
                leaving = "runs keep running, the rest is not started"
            self._starts.start(self.add)
            for polled in runs:
                self.add(polled)
            self._start_deadline()
            with self._app.progress.waiting(self._status, leaving=leaving):
                while ((going := self.going) or self._starts.left) and not self._has_enough():
                    first_end = min((polled.began + self._each for polled in going), default=math.inf)
                    if (news := self._next_news(until=min(self._poller.due(going), first_end))) is not None:
                        self._receive(news)
                    elif not self._has_enough() and not self._end_late(going):
                        self._note_time()
                        for reading in self._poller.poll(going, total=len(self.runs), must_stop=self._must_stop):
                            self._judge(reading)
            self._take_in_news()  # which may have events that are to be shown
        finally:
            self._streams.close()

    def _status(self) -> str:
        """Return what the line of the wait says, in front of the time so far."""
        runs, to_come = self.runs, self._starts.left
        if to_come and self._starts.is_queue:
            return self._starts.line
        if not runs:
            return "starting"
        if len(runs) == 1 and not to_come:  # the line above has its id
            if runs[0].observer.asks_in > 0:
                return f"{runs[0].stands};"
            return runs[0].stands or "waiting"
        total, refused = len(runs), 0
        if self._starts.ordered:
            total = self._starts.ordered
            refused = total - to_come - len(runs)
        asking = [polled for polled in runs if isinstance(polled.error, NeedsAnswer)]
        finished = f"{len(runs) - len(self.going) - len(asking)} of {total} runs finished"
        if asking:
            finished += f", {len(asking)} waiting for an answer"
        if refused:
            finished += f", {refused} not started"
        return finished

    def _end_late(self, going: Runs) -> bool:
        """End the wait for those whose own time is up. Return whether there were any."""
        late = [polled for polled in going if polled.began + self._each <= self._app.clock.monotonic()]
        for polled in late:
            self._time_out(polled, self._each)
        return bool(late)

    def _time_out(self, polled: PolledRun, timeout: float | None) -> None:
        silence = self._app.clock.monotonic() - polled.contact.heard_at
        self._end(polled, timed_out(polled.observer.run_id, polled.run, timeout, silence))

    def _judge(self, reading: WaitReading) -> None:
        """Take in a reading: end the wait for its run, or say how it stands."""
        polled, error = reading.polled, reading.error
        if reading.is_last:
            self._time_out(polled, self._deadline.timeout)
            return
        self._note_time()
        is_first = not polled.is_read
        polled.is_read = polled.is_read or not reading.is_of_list
        polled.heard(error, self._app.clock.monotonic())
        self._end_if_over(polled)
        if error is not None or polled.run is None:
            return
        if polled.is_over or not is_first or len(self.runs) <= FEW:  # not a line for each of a thousand
            stands = polled.run.status or polled.run.error_type or ""
            if polled.observer.asks_since is not None:
                stands = "waits for an answer"
            if polled.is_news(stands):
                self._app.progress.change(f"{polled.name} {polled.stands}")
        if polled.observer.needs_answer:
            left = None if self._deadline.timeout is None else self._deadline.left
            if (unmet := unanswered(polled.observer, self._wanted, self._app, left=left)) is not None:
                self._end(polled, unmet)

    def _end(self, polled: PolledRun, error: QoderError) -> None:
        polled.end(error)
        self._end_if_over(polled)

    def _end_if_over(self, polled: PolledRun) -> None:
        if polled.is_over and polled not in self.items:
            self._take_result(polled)

    def _next_news(self, *, until: float) -> Any:
        """Sleep until there is news, and return it; None at that time or the deadline, or if there is enough."""
        clock, until = self._app.clock, min(until, self._deadline.at)
        longest = LONGEST_SLEEP
        if self._is_enough and self._app.out.is_piped:
            longest = GLANCE
        news = None
        while news is None and (seconds := min(until - clock.monotonic(), longest)) > 0 and not self._has_enough():
            self._awake_at = clock.monotonic()
            news = clock.receive(self._inbox, seconds)
            self._note_time(seconds)
            self._app.progress.beat()
        return news

    def _must_stop(self) -> bool:
        """Take in news during a request. Return whether to abandon it."""
        self._note_time()
        self._take_in_news()
        self._app.progress.beat()
        return self._deadline.is_past or self._has_enough()

    def _take_in_news(self) -> None:
        while not self._inbox.empty() and (news := self._app.clock.receive(self._inbox, 0.0)) is not None:
            self._receive(news)

    def _receive(self, news: Any) -> None:
        """Take in news, and wake the runs that it is about."""
        if callable(news):
            news()
            self._start_deadline()
            return
        session_id, is_quick = self._streams.receive(news)
        for polled in self.going:
            if session_id and polled.session_id == session_id:
                polled.observer.note_rest()
                polled.wake(self._app.clock.monotonic(), is_quick=is_quick)

    def _note_time(self, meant: float = 0.0) -> None:
        """Note the time. A much longer gap than was meant: this machine, or the process, was suspended."""
        now = self._app.clock.monotonic()
        gap, self._awake_at = now - self._awake_at - meant, now
        if gap > SUSPENDED:
            for polled in self.going:
                polled.contact.suspended(gap)

    def _start_deadline(self) -> None:
        if not self._starts.left:
            self._deadline.start()

    def _has_enough(self) -> bool:
        return self._is_enough is not None and self._is_enough()

    # What became of each.

    def _take_result(self, polled: PolledRun) -> None:
        """Take the result of a run that is over: report it, have more read of it, or keep it until it is left."""
        self.items[polled] = item = self._result_of(polled)
        if self._asks_more(item):
            self._reading.give([polled])
        elif not (isinstance(item.error, WaitTimeout) and self._app.flags.on_leave == "cancel"):
            self._report(polled, item)

    def _result_of(self, polled: PolledRun) -> Ended:
        """Return the result for a run, with how to wait again."""
        run_id, error = polled.observer.run_id, polled.error
        if isinstance(error, WaitTimeout | LostSight | NeedsAnswer | NotYet):
            next = error.next or self._app.wait_again(run_id)
            error = error.with_(run_id=run_id, session_id=polled.session_id, next=next)
        elif error is None and polled.run:
            error = ending_error(polled.run, self._app)
        return Ended(run_id, polled.run, error)

    def _report_rest(self, runs: Runs, signalled: Signalled | None) -> None:
        """Report all results but those still being read; again after a signal."""
        self._starts.stop(LAST_WORDS if signalled else math.inf)
        for polled in self._left(runs):
            if signalled:
                self.items[polled] = self._interrupted(polled, signalled)
            elif not polled.is_over:
                why = f"run {polled.observer.run_id} keeps running (stopped waiting after another failed)"
                state: RunState = "unknown"
                if polled.run:
                    state = "going"
                polled.end(NotYet(why, hint="to wait for it", run_state=state))
                self.items[polled] = self._result_of(polled)
            elif polled not in self.items:
                self._take_result(polled)
        left = self._left(runs)
        for polled, item in zip(left, self._leave([self.items[polled] for polled in left]), strict=True):
            self._report(polled, item)

    def _left(self, runs: Runs) -> list[PolledRun]:
        """Return the runs that are neither reported nor being read further."""
        every = dict.fromkeys([*runs, *self.runs])
        return [polled for polled in every if polled not in self._reported and polled not in self._reading.open]

    def _interrupted(self, polled: PolledRun, signalled: Signalled) -> Ended:
        """Return the result for a run when a signal ended the command."""
        run, run_id = polled.run, polled.observer.run_id
        if not polled.is_over:
            return Ended(run_id, run, stopped_waiting(signalled, run_id, run, self._app))
        item = self._result_of(polled)
        if run is not None and item.error is None and self._asks_more(item):
            return item.with_(error=unread(run, signalled))
        return item

    def _leave(self, items: Sequence[Ended]) -> list[Ended]:
        """Take leave of several runs, 20 a second at most."""
        if self._app.flags.on_leave != "cancel":
            return list(items)
        pace = Pace(self._app.clock, per_second=WRITES_PER_SECOND)

        def leave(item: Ended) -> Ended:
            error, run = item.error, item.found
            if isinstance(error, WaitTimeout | Interrupted) and run is not None and is_going(run):
                pace.wait_turn()
                return item.with_(error=leave_run(error, run, self._app))
            return item

        return list(in_order(leave, items, at_a_time=CANCELLED_AT_A_TIME))

    def _report(self, polled: PolledRun, item: Ended) -> None:
        if polled not in self._reported:
            self.items[polled] = item
            self._report_item(polled, item)
            self._reported.add(polled)

    # What more is wanted of those that have ended.

    def _asks_more(self, item: Ended) -> bool:
        """Return whether more is to be read of a run that has ended."""
        if not self._wanted.result and (not self._wanted.require_satisfied or item.error is not None):
            return False
        return item.found is not None and not is_going(item.found)

    def _read_more(self, polled: PolledRun) -> Ended:
        """Return the result with what is wanted of it; its error says what could not be read."""
        item = self.items[polled]
        run = item.found
        assert run is not None  # else there is nothing to be read
        try:
            if self._wanted.require_satisfied and item.error is None:
                session = read_session(self._app.client, run.session_id) if run.session_id else {}
                results = {text(one.get("result")) or "unknown" for one in evaluations(session)}
                if results != {"satisfied"}:
                    why = "it has no outcome evaluation"
                    if results:
                        why = f"its outcome is {', '.join(sorted(results))}"
                    message, hint = f"{run.called} completed, but {why}", f"see: qoder {noun(run.id)} get {run.id}"
                    item = item.with_(error=RunFailed(message, hint=hint, **naming(run, "ended")))
            if self._wanted.result:
                from qoder_cli.sessions.result import final_message

                item = item.with_(more={"result": final_message(self._app, run)})
        except ApiError as error:
            return item.with_(error=item.error or unreadable(run, error, self._app, self._wanted))
        return item

    def _unread(self, polled: PolledRun, signalled: Signalled | None = None) -> Ended:
        """Return the result of an ended run that was not read in full."""
        item = self.items[polled]
        if item.error or item.found is None:
            return item
        error: QoderError
        if signalled:
            error = unread(item.found, signalled)
        elif self._has_enough():
            error = NotYet(f"run {item.found.id} has ended, but nothing more was read of it after another failed")
        else:
            error = unreadable(item.found, NoResponse("there was no time left"), self._app, self._wanted)
        return item.with_(error=error)
