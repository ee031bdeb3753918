"""Waiting for several runs: what became of each is told as soon as it is known, and more is read beside the wait."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from qoder_cli.app import State
from qoder_cli.base.ahead import Workers
from qoder_cli.base.errors import NoAnswer, NotYet, QoderError, Signalled, WaitTimeout
from qoder_cli.base.times import Limits
from qoder_cli.http.write import LAST_WORDS
from qoder_cli.runs.awaiting import (
    Wanted,
    interrupted,
    item_of,
    left_behind,
    listener_of,
    read_more,
    terms_of,
    unread,
    unreadable,
)
from qoder_cli.runs.ending import take_leave_of
from qoder_cli.runs.fleet.rounds import Rounds
from qoder_cli.runs.item import Item
from qoder_cli.runs.wait import LAST_LOOK, Wait
from qoder_cli.runs.watch import Watch

if TYPE_CHECKING:
    from qoder_cli.runs.fleet.launches import Launches

AT_A_TIME = 6  # runs that are read of
_TICK = 0.1  # seconds


def wait_for_all(state: State, watches: Sequence[Watch], limits: Limits, wanted: Wanted) -> list[Item]:
    """Wait until each run has ended or the wait for it is over, and return what became of each, in this order.

    After a signal it returns too, with the signal as the error of each run that keeps running.
    """
    items: dict[Watch, Item] = {}
    awaiting = Awaiting(state, limits, wanted, lambda watch, item: items.update({watch: item}))
    with suppress(Signalled):  # it is the error of the items
        awaiting.wait(watches)
    return [items[watch] for watch in watches]


class Awaiting:
    """A wait for several runs. `on_item` hears once what became of each, in the caller's thread.

    It ends early when `is_enough` says so. `labels` are what the runs are called.
    """

    def __init__(
        self,
        state: State,
        limits: Limits,
        wanted: Wanted,
        on_item: Callable[[Watch, Item], None],
        *,
        inbox: "SimpleQueue[Any] | None" = None,
        is_enough: Callable[[], bool] = lambda: False,
        labels: Sequence[str] = (),
    ) -> None:
        self._state = state
        self._limits = limits
        self._wanted = wanted
        self._on_item = on_item
        self._is_enough = is_enough
        self._told: set[Watch] = set()
        self._left: dict[Watch, Item] = {}  # of which leave is to be taken before they are told
        self._listener = listener_of(state, wanted, inbox=inbox, labels=labels)
        self._reading = _Reading(state, wanted, self._listener.inbox, self._tell)

    def wait(self, watches: Sequence[Watch], launches: "Launches | None" = None) -> None:
        """Return when all is told, also of `launches`, which are begun here. Raises Signalled, when all is told too."""
        wait = Wait(
            terms_of(self._state, self._limits, self._wanted),
            self._listener,
            on_over=self._over,
            coming=launches,
            poll_many=None if self._wanted.follow else Rounds(self._state.client, self._limits.interval).poll,
            is_enough=self._is_enough,
        )
        try:
            if launches:
                launches.start()
            wait.until_over(watches)
            self._tell_rest(watches, launches, None)
            self._reading.finish(wait.left + LAST_LOOK if self._limits.timeout else math.inf, self._is_enough)
            self._tell_read(None)
        except Signalled as signalled:
            self._tell_rest(watches, launches, signalled)
            self._tell_read(signalled)
            raise

    def _over(self, watch: Watch) -> None:
        item = item_of(watch, self._state)
        if isinstance(item.error, WaitTimeout) and self._state.known.on_leave == "cancel":
            self._left[watch] = item
        elif self._wanted.asks_more_of(item):
            self._reading.begin(watch, item)
        else:
            self._tell(watch, item)

    def _tell_rest(self, watches: Sequence[Watch], launches: "Launches | None", signalled: Signalled | None) -> None:
        """Tell of all runs but those that are read of. A signal may come at any time: it is called again then."""
        if launches:
            launches.stop(LAST_WORDS if signalled else None)
        for watch in [*watches, *(launches.watches if launches else ())]:
            if not (watch in self._told or watch in self._left or self._reading.has(watch)):
                self._end(watch, signalled)
        for watch, item in zip(self._left, take_leave_of(list(self._left.values()), self._state), strict=True):
            self._tell(watch, item)

    def _end(self, watch: Watch, signalled: Signalled | None) -> None:
        if signalled:
            self._left[watch] = interrupted(watch, signalled, self._wanted, self._state)
        elif watch.over:
            self._over(watch)
        else:
            self._left[watch] = left_behind(watch, self._state)

    def _tell_read(self, signalled: Signalled | None) -> None:
        for watch, item, is_read in self._reading.all():
            self._tell(watch, item if is_read or item.error else item.with_(error=self._unread(item, signalled)))

    def _unread(self, item: Item, signalled: Signalled | None) -> QoderError:
        """Return the error of a run that has ended, of which more was to be read when the wait ended."""
        if item.run is None or not (signalled or self._is_enough()):
            return unreadable(item, NoAnswer("there was no time left"), self._wanted, self._state)
        if signalled:
            return unread(item.run, signalled)
        return NotYet(f"run {item.run.id} has ended, but nothing more was read of it after another failed")

    def _tell(self, watch: Watch, item: Item) -> None:
        if watch not in self._told:
            self._on_item(watch, item)
            self._told.add(watch)


class _Reading:
    """Reads what is wanted of runs that have ended, several at a time; a call of `tell` for each goes into `inbox`."""

    def __init__(
        self, state: State, wanted: Wanted, inbox: "SimpleQueue[Any]", tell: Callable[[Watch, Item], None]
    ) -> None:
        self._state = state
        self._wanted = wanted
        self._inbox = inbox
        self._tell = tell
        self._items: dict[Watch, Item] = {}  # as far as they are known
        self._open: set[Watch] = set()
        self._workers = Workers(self._work, at_a_time=AT_A_TIME)

    def has(self, watch: Watch) -> bool:
        """Return whether more is, or was, read of this one."""
        return watch in self._items

    def begin(self, watch: Watch, item: Item) -> None:
        """Begin to read, and return at once."""
        self._items[watch] = item
        self._open.add(watch)
        self._workers.give([watch])

    def _work(self, watch: Watch) -> None:
        self._items[watch] = read_more(self._state, self._items[watch], self._wanted)
        self._open.discard(watch)
        self._inbox.put(partial(self._tell, watch, self._items[watch]))

    def finish(self, within: float, is_enough: Callable[[], bool]) -> None:
        """Tell of each as it is read, until all are, or so many seconds have passed, or it is enough."""
        if not self._open:
            return
        clock, progress = self._state.clock, self._state.progress
        until = clock.monotonic() + within
        with progress.waiting("reading what the runs left"):
            while self._open and clock.monotonic() < until and not is_enough():
                news = clock.take(self._inbox, _TICK)
                if callable(news):
                    news()
                progress.beat()

    def all(self) -> Iterator[tuple[Watch, Item, bool]]:
        """Stop reading, and yield each run with what is known of it, and whether that is all that was wanted."""
        self._workers.stop(self._state.clock, self._inbox, 0.0)
        for watch, item in self._items.items():
            yield watch, item, watch not in self._open
