"""Wait for several runs, and report what became of each once.

What more is wanted of ended runs is read meanwhile.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from qoder_cli.app import App
from qoder_cli.base.errors import NeedsAnswer, NoResponse, NotYet, QoderError, RunState, Signalled, WaitTimeout
from qoder_cli.base.pool import Pool
from qoder_cli.base.times import LAST_LOOK, Deadline
from qoder_cli.fleet.page_poller import PagePoller
from qoder_cli.http.write import LAST_WORDS
from qoder_cli.runs.awaiting import asks_more, at_ask, interrupted, item_of, leave_runs, read_more, streams_of
from qoder_cli.runs.ending import Ended, Wanted, unread, unreadable
from qoder_cli.runs.wait import Pauses, PolledRun, Poller, RunPoller, Wait

if TYPE_CHECKING:
    from qoder_cli.fleet.launches import Launches
    from qoder_cli.fleet.queue import Queue

AT_A_TIME = 6  # runs to be read further


class Fleet:
    """Several runs that are waited for, until `is_enough`. `report` gets each result, in this thread."""

    def __init__(
        self,
        app: App,
        wanted: Wanted,
        report: Callable[[PolledRun, Ended], None],
        *,
        is_enough: Callable[[], bool] = lambda: False,
        labels: Sequence[str] = (),
        queue: "Queue | None" = None,
    ) -> None:
        self._app = app
        self._queue = queue
        each = math.inf
        if queue and wanted.limits.timeout is not None:  # those that wait for a slot do not use up the time of others
            each = wanted.limits.timeout
            wanted = wanted._replace(limits=wanted.limits._replace(timeout=None))
        self._wanted = wanted
        self._report_item = report
        self._is_enough = is_enough
        self._launches: Launches | None = None
        self._items: dict[PolledRun, Ended] = {}  # of those over
        self._reported: set[PolledRun] = set()
        self._deadline = Deadline(app.clock, wanted.limits)
        streams, pauses = streams_of(app, wanted, labels=labels), Pauses.of(wanted.limits.interval)
        poller: Poller = RunPoller(app, streams, self._deadline, pauses)
        if not wanted.follow:
            to_come, ordered = self._to_come, self._ordered
            if queue:  # what is still to come may come in hours
                to_come = ordered = lambda: 0
            poller = PagePoller(app, poller, self._deadline, pauses, to_come=to_come, ordered=ordered)
        self.wait = Wait(
            app,
            poller,
            streams,
            self._deadline,
            on_ask=at_ask(app, wanted, self._deadline),
            on_over=self._on_over,
            is_enough=is_enough,
            to_come=self._to_come,
            each=each,
        )
        inbox = streams.inbox
        self._reading = Pool(self._read, self._report, at_a_time=AT_A_TIME, inbox=inbox, clock=app.clock)

    def until_reported(self, runs: Sequence[PolledRun], launches: "Launches | None" = None) -> None:
        """Return once all results are reported; only then is Signalled raised."""
        self._launches = launches
        leaving = None
        try:
            if launches:
                leaving = "runs keep running, the rest is not started"
                launches.start()
            self.wait.until_over(runs, self._status, leaving=leaving)
            self._report_rest(runs, None)
            self._report_read()
        except Signalled as signalled:
            self._report_rest(runs, signalled)
            self._reading.stop(0.0, partial(self._unread, signalled=signalled))
            raise

    def _to_come(self) -> int:
        return self._launches.left if self._launches else 0

    def _ordered(self) -> int:
        return len(self._launches.orders) if self._launches else 0

    def _status(self) -> str:
        runs, to_come = list(self.wait.runs), self._to_come()
        if self._queue and to_come:
            return self._queue.line
        if self._launches and not runs:
            return "starting"
        if len(runs) == 1 and not to_come:
            return runs[0].printed or "waiting"  # the line above has its id
        total, refused = len(runs), 0
        if self._launches:
            total = len(self._launches.orders)
            refused = total - to_come - len(runs)
        asking = [polled for polled in runs if isinstance(polled.error, NeedsAnswer)]
        finished = f"{len(runs) - len(self.wait.going) - len(asking)} of {total} runs finished"
        if asking:
            finished += f", {len(asking)} waiting for an answer"
        if refused:
            finished += f", {refused} not started"
        return finished

    # What became of each.

    def _on_over(self, polled: PolledRun) -> None:
        self._items[polled] = item = item_of(polled, self._app)
        if asks_more(self._wanted, item):
            self._reading.give([polled])
        elif not (isinstance(item.error, WaitTimeout) and self._app.flags.on_leave == "cancel"):
            self._report(polled, item)

    def _report_rest(self, runs: Sequence[PolledRun], signalled: Signalled | None) -> None:
        """Report all results but those still being read; again after a signal."""
        if self._launches:
            self._launches.stop(LAST_WORDS if signalled else math.inf)
        for polled in self._left(runs):
            if signalled:
                self._items[polled] = interrupted(polled, signalled, self._wanted, self._app)
            elif not polled.is_over:
                why = f"run {polled.observer.run_id} keeps running (stopped waiting after another failed)"
                state: RunState = "unknown"
                if polled.run:
                    state = "going"
                polled.end(NotYet(why, hint="to wait for it", run_state=state))
                self._items[polled] = item_of(polled, self._app)
            elif polled not in self._items:
                self._on_over(polled)
        left = self._left(runs)
        items = leave_runs([self._items[polled] for polled in left], self._app)
        for polled, item in zip(left, items, strict=True):
            self._report(polled, item)

    def _left(self, runs: Sequence[PolledRun]) -> list[PolledRun]:
        """Return the runs that are neither reported nor being read further."""
        every = dict.fromkeys([*runs, *self.wait.runs])
        return [polled for polled in every if polled not in self._reported and polled not in self._reading.open]

    def _report_read(self) -> None:
        """Report results as they are read, until some seconds after the deadline."""
        clock, progress, until = self._app.clock, self._app.progress, math.inf
        if self._deadline.timeout:
            until = self._deadline.at + LAST_LOOK
        if self._reading.open:
            with progress.waiting("reading what the runs left"):
                self._reading.hear(progress.beat, lambda: clock.monotonic() >= until or self._is_enough())
        self._reading.stop(0.0, self._unread)

    def _read(self, polled: PolledRun) -> Ended:
        return read_more(self._app, self._items[polled], self._wanted)

    def _unread(self, polled: PolledRun, signalled: Signalled | None = None) -> Ended:
        """Return the result of an ended run that was not read in full."""
        item = self._items[polled]
        if item.error or item.found is None:
            return item
        error: QoderError
        if signalled:
            error = unread(item.found, signalled)
        elif self._is_enough():
            error = NotYet(f"run {item.found.id} has ended, but nothing more was read of it after another failed")
        else:
            error = unreadable(item.found, NoResponse("there was no time left"), self._app, self._wanted)
        return item.with_(error=error)

    def _report(self, polled: PolledRun, item: Ended) -> None:
        if self._queue and polled.observer.ended:
            self._queue.is_over(polled.observer.run_id)
        if polled not in self._reported:
            self._report_item(polled, item)
            self._reported.add(polled)
