"""Threads for several things at a time, in which a signal can be raised wherever one waits.

Not concurrent.futures: its threads are waited for at exit. Not `threading.Event`: a signal raised while waiting
for it may break its lock. A `SimpleQueue` has none.
"""

import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, NoReturn, Self, TypeVar

from qoder_cli.base import signals
from qoder_cli.base.errors import Signalled
from qoder_cli.base.times import Clock, next_of

T = TypeVar("T")
R = TypeVar("R")

TICK = 0.2  # seconds between two looks around
# Seconds. On Windows a wait cannot be interrupted, so that Ctrl-C is heard between two of them.
_LONGEST_WAIT = TICK if sys.platform == "win32" else threading.TIMEOUT_MAX


class Late(Exception):
    """What was waited for did not come in time."""


class _Worker(threading.Thread):
    """A thread that ends with the process; until then it does what is put into its inbox."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.inbox = SimpleQueue[Callable[[], None]]()

    def run(self) -> None:
        while True:
            self.inbox.get()()
            _idle.append(self)


_idle: list[_Worker] = []


def begin(work: Callable[[], None]) -> None:
    """Do work in a thread that ends with the process, an idle one if there is one. Return at once. Raises Signalled."""
    worker = None
    with suppress(IndexError):
        worker = _idle.pop()
    if worker is None or not worker.is_alive():  # a process that was forked has the list, but not the threads
        worker = _Worker()
        try:
            worker.start()
        except RuntimeError as error:  # of the event by which a thread tells that it has started
            if isinstance(error.__context__, Signalled):
                raise error.__context__ from None
            raise
    worker.inbox.put(work)


class Task(Generic[R]):
    """One call in a thread of its own, and its result. It should take at most `within` seconds.

    Before what cannot be undone, the call may `commit`: it is either committed or given up, never both; so a caller
    told that nothing happened can rely on it.
    """

    def __init__(self, call: Callable[[], R], *, within: float = math.inf) -> None:
        self.within = within
        self.is_committed = False
        self._is_given_up = False
        self._deciding = threading.Lock()
        self._call = call
        self._end = SimpleQueue[None]()  # has something in it from the end on
        self._has_ended = False
        self._results: list[R] = []
        self._failure: BaseException | None = None

    def start(self) -> Self:
        begin(self._run)
        return self

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as failure:  # handed to the thread that waits
            self._failure = failure
        finally:
            del self._call  # it may refer to this task, and both would stay in memory with what came of it
            self._has_ended = True
            self._end.put(None)

    def wait(self, seconds: float, *, heeds_signals: bool = True) -> bool:
        """Return whether the call has ended, after at most so many seconds. Raises Signalled.

        One that comes within `signals.deferred` is raised later where the call has ended, or unless it heeds signals.
        """
        if self._has_ended:  # what came of it is not to be lost
            return True
        with signals.waiting() if heeds_signals else nullcontext():
            while seconds > 0 and not self._has_ended:
                try:
                    next_of(self._end, min(seconds, _LONGEST_WAIT))
                    self._end.put(None)  # for other waiters
                except Empty:
                    seconds -= _LONGEST_WAIT
        return self._has_ended

    def commit(self) -> None:
        """Note, within the call, that it does now what it is for. Raises Late if nobody waits any more."""
        with self._deciding:
            if self._is_given_up:
                raise Late
            self.is_committed = True

    def result(self, within: float = math.inf) -> R:
        """Return the call's value, or raise its failure. After so many seconds, give up and raise Late."""
        if not self.wait(within):
            self.give_up()
            raise Late
        return self.value

    @property
    def value(self) -> R:
        """What the call, which has ended, returned. Raises its failure."""
        if self._failure is not None:
            raise self._failure
        return self._results[0]

    def give_up(self) -> None:
        """Note that nobody waits any more: the call may still end, but it does not commit."""
        with self._deciding:
            self._is_given_up = True

    def result_unless(self, is_late: Callable[[], bool]) -> R:
        """Return `result`; raise Late once `is_late` says so, asked five times a second."""
        while not self.wait(TICK) and not is_late():
            pass
        return self.result(0.0)


def in_order(
    work: Callable[[T], R], items: Iterable[T], *, at_a_time: int = 8, is_late: Callable[[], bool] = lambda: False
) -> Iterator[R]:
    """Yield `work(item)`, or raise, in order, with up to `at_a_time` begun ahead."""
    begun: deque[Task[R]] = deque()
    for item in items:
        if len(begun) == at_a_time:
            yield begun.popleft().result_unless(is_late)
        begun.append(Task(partial(work, item)).start())
    while begun:
        yield begun.popleft().result_unless(is_late)


class OneAhead(Generic[T]):
    """An iterator that can prepare its next item while the caller works on the current one. A loop over it does so."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._next: Task[T | None] | None = None

    def __iter__(self) -> Iterator[T]:
        while (current := self.next()) is not None:
            self.prepare()
            yield current

    def prepare(self) -> None:
        if self._next is None:
            self._next = Task(lambda: next(self._items, None)).start()

    def next(self) -> T | None:
        task, self._next = self._next, None
        if task is None:
            return next(self._items, None)
        return task.result()


class Pool(Generic[T, R]):
    """Calls `work` with each thing given, in up to `at_a_time` threads; `on_result` hears each result once.

    Calls of `on_result` go through the inbox, to be made in the caller's thread. If a signal comes during one, it is
    made again.
    """

    def __init__(
        self,
        work: Callable[[T], R],
        on_result: Callable[[T, R], Any],
        *,
        at_a_time: int,
        inbox: "SimpleQueue[Any]",
        clock: Clock,
    ) -> None:
        self._work = work
        self._on_result = on_result
        self._at_a_time = at_a_time
        self._inbox = inbox
        self._clock = clock
        self._waiting: deque[T] = deque()
        self._threads = 0
        self._under_way = 0  # threads with something to do
        self._hiring = threading.Lock()
        self.open: dict[T, list[R]] = {}  # what is not reported yet in the order given, with the result if it is there

    def give(self, tasks: Iterable[T]) -> None:
        tasks = list(tasks)
        self.open.update((task, []) for task in tasks)
        with self._hiring:
            self._waiting.extend(tasks)
            new = min(self._at_a_time - self._threads, len(self._waiting))
            self._threads += new
        for _ in range(new):
            begin(self._work_off)

    def hear(self, beat: Callable[[], None], is_enough: Callable[[], bool] = lambda: False) -> None:
        """Report each result as it comes, until all are reported or `is_enough`."""
        while self.open and not is_enough():
            news = self._clock.receive(self._inbox, TICK)
            if callable(news):
                news()
            beat()

    def stop(self, within: float, give_up: Callable[[T], R]) -> None:
        """Begin nothing more. After so many seconds, tell the rest as `give_up` says."""
        self._waiting.clear()
        until = self._clock.monotonic() + within
        while self._under_way and self._clock.monotonic() < until:
            self._clock.receive(self._inbox, TICK)  # what it holds is told of below
        for task, results in list(self.open.items()):
            result = results[0] if results else give_up(task)
            self._report(task, result)

    def _report(self, task: T, result: R) -> None:
        if task in self.open:
            self._on_result(task, result)
            self.open.pop(task)  # only now: a signal may come before, and it is reported again then

    def _work_off(self) -> None:
        while True:
            with self._hiring:
                self._under_way += 1  # before it is taken, for `stop` asks after it has left nothing to take
                try:
                    task = self._waiting.popleft()
                except IndexError:
                    self._under_way -= 1
                    self._threads -= 1
                    return
            try:
                result = self._work(task)
                self.open.get(task, []).append(result)
                news: Callable[[], None] = partial(self._report, task, result)
            except BaseException as bug:  # handed to the thread that hears of it: else it would wait for ever
                news = partial(throw, bug)
            with self._hiring:
                self._under_way -= 1
            self._inbox.put(news)


def throw(failure: BaseException) -> NoReturn:
    """Raise an exception that another thread caught."""
    raise failure
