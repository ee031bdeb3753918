"""Wait for several runs: few are polled one by one, many through the lists.

What more is wanted of ended runs is read meanwhile.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import NoAnswer, NotYet, QoderError, RunState, Signalled, WaitTimeout
from qoder_cli.base.pool import Pool
from qoder_cli.http.write import LAST_WORDS
from qoder_cli.runs.awaiting import (
    Item,
    asks_more,
    interrupted,
    item_of,
    listener_of,
    read_more,
    take_leave_of,
)
from qoder_cli.runs.ending import Wanted, unread, unreadable
from qoder_cli.runs.fleet.rounds import Rounds
from qoder_cli.runs.wait import FEW, LAST_LOOK, Wait
from qoder_cli.runs.watch import Watch

if TYPE_CHECKING:
    from qoder_cli.runs.fleet.launches import Launches

AT_A_TIME = 6  # runs to be read further
GLANCE = 1.0  # seconds between two looks whether standard output is still read


def wait_for_all(app: App, watches: Sequence[Watch], wanted: Wanted) -> list[Item]:
    """Wait for all runs, until the deadline or a signal. Return the results."""
    items: dict[Watch, Item] = {}
    wait = FleetWait(app, wanted, items.__setitem__)
    with suppress(Signalled):  # the results tell of it
        wait.until_told(watches)
    return [items[watch] for watch in watches]


class FleetWait(Wait):
    """A wait for several runs, until `enough`. `tell` gets each result, in this thread.

    Functions put into the inbox are called in this thread too.
    """

    def __init__(
        self,
        app: App,
        wanted: Wanted,
        tell: Callable[[Watch, Item], None],
        *,
        enough: Callable[[], bool] = lambda: False,
        labels: Sequence[str] = (),
    ) -> None:
        super().__init__(app, wanted, listener_of(app, wanted, labels=labels))
        if app.out.is_piped:  # its reader may go away
            self.longest_sleep = GLANCE
        self._on_item = tell
        self._enough = enough
        self._coming: Launches | None = None
        self._told: set[Watch] = set()
        self._items: dict[Watch, Item] = {}  # of those over
        self._rounds = None if wanted.follow else Rounds(self)
        self._reading = Pool(self._read, self._tell, at_a_time=AT_A_TIME, inbox=self.listener.inbox, clock=app.clock)

    def until_told(self, watches: Sequence[Watch], coming: "Launches | None" = None) -> None:
        """Return once all results are told; only then is Signalled raised."""
        self._coming = coming
        try:
            if coming:
                coming.start()
            for watch in watches:
                self.begin(watch)
            self.set_deadline()
            leaving = "runs keep running, the rest is not started" if coming else None
            with self.app.progress.waiting(self._summary, leaving=leaving):
                while (self.going or not self.has_all) and not self._enough():
                    self._poll_next()
            self._tell_rest(watches, None)
            self._tell_read(self.left + LAST_LOOK if self.limits.timeout else math.inf)
        except Signalled as signalled:
            self._tell_rest(watches, signalled)
            self._reading.stop(0.0, partial(self._unread, signalled=signalled))
            raise
        finally:
            self.listener.stop()

    # The wait.

    def _poll_next(self) -> None:
        """Wait until a poll is due, of one run or of all, and do it."""
        expected = 0 if self.has_all or self._coming is None else self._coming.total
        if self._rounds and max(len(self.going), expected) > FEW:
            self._rounds.poll(list(self.going), has_all=self.has_all)
        elif not self.going:
            self.sleep_until(math.inf)
        else:
            nearest = min(self.going, key=lambda watch: watch.due)
            if self.sleep_until(nearest.due):
                self.poll(nearest)

    @property
    def has_all(self) -> bool:
        """Whether no more runs are to come."""
        return self._coming is None or not self._coming.left

    def set_deadline(self) -> None:
        if self.has_all and self._deadline == math.inf:
            super().set_deadline()

    def hear(self, news: Any) -> bool:
        if not callable(news):
            return super().hear(news)
        news()
        self.set_deadline()
        return True

    def is_enough(self) -> bool:
        return self._enough()

    def _summary(self) -> str:
        if self._coming and not self.said:
            return "starting"
        if len(self.said) == 1 and self.has_all:
            return next(iter(self.said.values())) or "waiting"  # the line above has its id
        total, refused = len(self.said), 0
        if self._coming:
            total = self._coming.total
            refused = total - self._coming.left - len(self.said)
        finished = f"{len(self.said) - len(self.going)} of {total} runs finished"
        return f"{finished}, {refused} not started" if refused else finished

    # What became of each.

    def on_over(self, watch: Watch) -> None:
        self._items[watch] = item = item_of(watch, self.app)
        if asks_more(self.wanted, item):
            self._reading.give([watch])
        elif not (isinstance(item.error, WaitTimeout) and self.app.flags.on_leave == "cancel"):
            self._tell(watch, item)

    def _tell_rest(self, watches: Sequence[Watch], signalled: Signalled | None) -> None:
        """Tell all results but those still being read; again after a signal."""
        if self._coming:
            self._coming.stop(LAST_WORDS if signalled else math.inf)
        for watch in self._left(watches):
            if signalled:
                self._items[watch] = interrupted(watch, signalled, self.wanted, self.app)
            elif not watch.over:
                said = f"run {watch.observer.run_id} keeps running (stopped waiting after another failed)"
                state: RunState = "going" if watch.run else "unknown"
                watch.end(NotYet(said, hint="to wait for it", run_state=state))
                self._items[watch] = item_of(watch, self.app)
            elif watch not in self._items:
                self.on_over(watch)
        left = self._left(watches)
        for watch, item in zip(left, take_leave_of([self._items[each] for each in left], self.app), strict=True):
            self._tell(watch, item)

    def _left(self, watches: Sequence[Watch]) -> list[Watch]:
        """Return the runs that are neither told of nor being read further."""
        all = dict.fromkeys([*watches, *self.said])
        return [each for each in all if each not in self._told and each not in self._reading.open]

    def _tell_read(self, within: float) -> None:
        """Tell results as they are read, for so many seconds at most."""
        clock, progress = self.app.clock, self.app.progress
        until = clock.monotonic() + within
        if self._reading.open:
            with progress.waiting("reading what the runs left"):
                self._reading.hear(progress.beat, lambda: clock.monotonic() >= until or self._enough())
        self._reading.stop(0.0, self._unread)

    def _read(self, watch: Watch) -> Item:
        return read_more(self.app, self._items[watch], self.wanted)

    def _unread(self, watch: Watch, signalled: Signalled | None = None) -> Item:
        """Return the result of an ended run that was not read in full."""
        item = self._items[watch]
        if item.error or item.found is None:
            return item
        error: QoderError
        if signalled:
            error = unread(item.found, signalled)
        elif self._enough():
            error = NotYet(f"run {item.found.id} has ended, but nothing more was read of it after another failed")
        else:
            error = unreadable(item.found, NoAnswer("there was no time left"), self.app, self.wanted)
        return item.with_(error=error)

    def _tell(self, watch: Watch, item: Item) -> None:
        if watch not in self._told:
            self._on_item(watch, item)
            self._told.add(watch)
