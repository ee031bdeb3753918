"""Waiting for several runs: what became of each is told as soon as it is known, and more is read beside the wait."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import NoAnswer, NotYet, QoderError, Signalled, WaitTimeout
from qoder_cli.base.pool import Pool
from qoder_cli.base.times import Limits
from qoder_cli.http.write import LAST_WORDS
from qoder_cli.runs.awaiting import (
    asks_more,
    interrupted,
    item_of,
    left_behind,
    listener_of,
    read_more,
    terms_of,
    unread,
    unreadable,
)
from qoder_cli.runs.ending import Wanted, take_leave_of
from qoder_cli.runs.fleet.rounds import FleetWait, Rounds
from qoder_cli.runs.item import Item
from qoder_cli.runs.wait import LAST_LOOK
from qoder_cli.runs.watch import Watch

if TYPE_CHECKING:
    from qoder_cli.runs.fleet.launches import Launches

AT_A_TIME = 6  # runs that are read of


def wait_for_all(app: App, watches: Sequence[Watch], limits: Limits, wanted: Wanted) -> list[Item]:
    """Wait until each run has ended or the wait is over, also by a signal; return what became of each, in order."""
    items: dict[Watch, Item] = {}
    awaiting = Awaiting(app, limits, wanted, lambda watch, item: items.update({watch: item}))
    with suppress(Signalled):  # it is the error of the items
        awaiting.wait(watches)
    return [items[watch] for watch in watches]


class Awaiting:
    """A wait for several runs, until `is_enough`. `on_item` hears once what became of each, in this thread."""

    def __init__(
        self,
        app: App,
        limits: Limits,
        wanted: Wanted,
        on_item: Callable[[Watch, Item], None],
        *,
        inbox: "SimpleQueue[Any] | None" = None,
        is_enough: Callable[[], bool] = lambda: False,
        labels: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._limits = limits
        self._wanted = wanted
        self._on_item = on_item
        self._is_enough = is_enough
        self._told: set[Watch] = set()
        self._left: dict[Watch, Item] = {}  # of which leave is to be taken before they are told
        self._ended: dict[Watch, Item] = {}  # of which more is, or was, read
        self._listener = listener_of(app, wanted, inbox=inbox, labels=labels)
        inbox, clock = self._listener.inbox, app.clock
        self._reading = Pool(self._read, self._tell, at_a_time=AT_A_TIME, inbox=inbox, clock=clock)

    def wait(self, watches: Sequence[Watch], launches: "Launches | None" = None) -> None:
        """Return when all is told, also of `launches`, which are begun here. Raises Signalled, when all is told too."""
        wait = FleetWait(
            terms_of(self._app, self._limits, self._wanted),
            self._listener,
            on_over=self._over,
            is_enough=self._is_enough,
            rounds=None if self._wanted.follow else Rounds(self._app.client, self._limits.interval),
            coming=launches,
        )
        try:
            if launches:
                launches.start()
            wait.until_all_over(watches)
            self._tell_rest(watches, launches, None)
            self._tell_read(wait.left + LAST_LOOK if self._limits.timeout else math.inf)
        except Signalled as signalled:
            self._tell_rest(watches, launches, signalled)
            self._reading.stop(0.0, partial(self._unread, signalled=signalled))
            raise

    def _tell_read(self, within: float) -> None:
        """Tell of each run as it is read, until all are, or so many seconds have passed, or it is enough."""
        clock, progress = self._app.clock, self._app.progress
        until = clock.monotonic() + within
        if self._reading.open:
            with progress.waiting("reading what the runs left"):
                self._reading.hear(progress.beat, lambda: clock.monotonic() >= until or self._is_enough())
        self._reading.stop(0.0, self._unread)

    def _read(self, watch: Watch) -> Item:
        return read_more(self._app, self._ended[watch], self._wanted)

    def _over(self, watch: Watch) -> None:
        item = item_of(watch, self._app)
        if isinstance(item.error, WaitTimeout) and self._app.known.on_leave == "cancel":
            self._left[watch] = item
        elif asks_more(self._wanted, item):
            self._ended[watch] = item
            self._reading.give([watch])
        else:
            self._tell(watch, item)

    def _tell_rest(self, watches: Sequence[Watch], launches: "Launches | None", signalled: Signalled | None) -> None:
        """Tell of all runs but those that are read of. A signal may come at any time: it is called again then."""
        if launches:
            launches.stop(LAST_WORDS if signalled else math.inf)
        for watch in [*watches, *(launches.watches if launches else ())]:
            if not (watch in self._told or watch in self._left or watch in self._ended):
                self._end(watch, signalled)
        for watch, item in zip(self._left, take_leave_of(list(self._left.values()), self._app), strict=True):
            self._tell(watch, item)

    def _end(self, watch: Watch, signalled: Signalled | None) -> None:
        if signalled:
            self._left[watch] = interrupted(watch, signalled, self._wanted, self._app)
        elif watch.over:
            self._over(watch)
        else:
            self._left[watch] = left_behind(watch, self._app)

    def _unread(self, watch: Watch, signalled: Signalled | None = None) -> Item:
        """Return what became of a run that has ended, of which more was to be read when the wait ended."""
        item = self._ended[watch]
        if item.error or item.run is None:
            return item
        error: QoderError
        if signalled:
            error = unread(item.run, signalled)
        elif self._is_enough():
            error = NotYet(f"run {item.run.id} has ended, but nothing more was read of it after another failed")
        else:
            error = unreadable(item, NoAnswer("there was no time left"), self._wanted, self._app)
        return item.with_(error=error)

    def _tell(self, watch: Watch, item: Item) -> None:
        if watch not in self._told:
            self._on_item(watch, item)
            self._told.add(watch)
