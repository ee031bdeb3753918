"""Several pieces of work at a time, in threads, each told of when it is done; a signal leaves none of them unknown."""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

from qoder_cli.base.ahead import Workers
from qoder_cli.base.errors import Signalled
from qoder_cli.http.pace import WRITES_PER_SECOND, Closed, Pace
from qoder_cli.http.write import LAST_WORDS

if TYPE_CHECKING:
    from qoder_cli.app import State

T = TypeVar("T")
R = TypeVar("R")

AT_A_TIME = 8
_TICK = 0.2  # seconds; on Windows a wait cannot be interrupted, so that Ctrl-C is heard between two of them


class Batch(Generic[T, R]):
    """Does `work(item, pace)` for each item, whose writes wait for their turn in the pace.

    `give_up(item)` says what became of an item that was stopped: the work did not return in time, or Closed came out
    of it, or it was never begun. Whatever else `work` may raise it has to return.
    """

    def __init__(self, state: "State", work: Callable[[T, Pace], R], give_up: Callable[[T], R]) -> None:
        self._state = state
        self._work = work
        self._give_up = give_up
        self._pace = Pace(state.clock, per_second=WRITES_PER_SECOND)
        self._workers = Workers(self._do, at_a_time=AT_A_TIME)
        self._done: dict[int, R] = {}
        self._inbox: SimpleQueue[int] = SimpleQueue()

    def run(self, items: Sequence[T], on_done: Callable[[int, R], None]) -> Signalled | None:
        """Do all of it, and tell of each in this thread, with its place; return the signal that ended it early.

        A signal may come while one is told of: it is told of again then.
        """
        told: set[int] = set()
        try:
            self._workers.give(enumerate(items))
            while len(told) < len(items):
                number = self._state.clock.take(self._inbox, _TICK)
                if number is None:
                    self._state.progress.beat()
                    continue
                on_done(number, self._done[number])
                told.add(number)
        except Signalled as signalled:
            self._pace.close()
            self._workers.stop(self._state.clock, self._inbox, LAST_WORDS)
            for number in sorted(set(range(len(items))) - told):
                on_done(number, self._done[number] if number in self._done else self._give_up(items[number]))
            return signalled
        return None

    def _do(self, job: tuple[int, T]) -> None:
        number, item = job
        try:
            self._done[number] = self._work(item, self._pace)
        except Closed:
            self._done[number] = self._give_up(item)
        self._inbox.put(number)
