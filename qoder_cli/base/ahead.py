"""Several things at a time, in threads that the caller need not wait for: the next page, several sessions.

Not the pool of concurrent.futures: its threads are waited for at the exit, so that Ctrl-C would wait for a server, and
a signal may break the lock that its results are waited for with (base/threads.py).
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from qoder_cli.base.threads import Gate, begin

if TYPE_CHECKING:
    import queue

    from qoder_cli.base.times import Clock

T = TypeVar("T")
R = TypeVar("R")

_TICK = 0.2  # seconds between two looks at whether it is late


class Late(Exception):
    """What was waited for did not come in time."""


class Task(Generic[R]):
    """One call, and what came of it."""

    def __init__(self, work: Callable[[], R]) -> None:
        self._work = work
        self._done = Gate()
        self._results: list[R] = []
        self._failure: BaseException | None = None

    def begin(self) -> Self:
        """Make the call in a thread, and return itself at once."""
        begin(self.run)
        return self

    def run(self) -> None:
        """Make the call in this thread."""
        try:
            self._results.append(self._work())
        except BaseException as failure:  # handed to the thread that waits
            self._failure = failure
        finally:
            self._done.open()

    def result(self, *, is_late: Callable[[], bool] = lambda: False) -> R:
        """Wait for the call and return its result, or raise its failure. Raises Late when `is_late` says so."""
        while not self._done.wait(_TICK):
            if is_late():
                raise Late
        if self._failure is not None:
            raise self._failure
        return self._results[0]


class Workers(Generic[T, R]):
    """Calls `work` with each thing that it is given, in up to `at_a_time` threads."""

    def __init__(self, work: Callable[[T], R], *, at_a_time: int) -> None:
        self._work = work
        self._at_a_time = at_a_time
        self._waiting: deque[Task[R]] = deque()
        self._threads = 0
        self._hiring = threading.Lock()

    def give(self, things: Iterable[T]) -> list[Task[R]]:
        """Take on more, and return what will come of each at once."""
        tasks = [Task(partial(self._work, thing)) for thing in things]
        with self._hiring:
            self._waiting.extend(tasks)
            new = min(self._at_a_time - self._threads, len(self._waiting))
            self._threads += new
        for _ in range(new):
            begin(self._work_off)
        return tasks

    def stop(self, clock: "Clock", inbox: "queue.SimpleQueue[Any]", within: float | None) -> None:
        """Begin nothing more, and wait so many seconds for what is under way (None: until it is done).

        What is put into the inbox meanwhile is lost.
        """
        self._waiting.clear()
        until = math.inf if within is None else clock.monotonic() + within
        while self._threads and clock.monotonic() < until:
            clock.take(inbox, _TICK)

    def _work_off(self) -> None:
        while True:
            with self._hiring:
                if not self._waiting:
                    self._threads -= 1
                    return
                task = self._waiting.popleft()
            task.run()


class OneAhead(Generic[T]):
    """An iterator whose next item can be got ready while the caller works on the current one."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._next: Task[T | None] | None = None

    def prepare(self) -> None:
        """Begin to get the next item, in a thread."""
        if self._next is None:
            self._next = Task(lambda: next(self._items, None)).begin()

    def take(self) -> T | None:
        """Return the next item, None at the end. Raises what getting it raised."""
        task, self._next = self._next, None
        return next(self._items, None) if task is None else task.result()


def in_order(
    work: Callable[[T], R], items: Iterable[T], *, at_a_time: int, is_late: Callable[[], bool] = lambda: False
) -> Iterator[R]:
    """Yield `work(item)` for each item, in their order, with up to `at_a_time` of them begun before they are wanted.

    A failure is raised in its place; so is Late, when `is_late` says so while one is waited for. When the caller stops
    early, no further one is begun.
    """
    workers = Workers(work, at_a_time=at_a_time)
    begun: deque[Task[R]] = deque()
    for item in items:
        if len(begun) == at_a_time:
            yield begun.popleft().result(is_late=is_late)
        begun += workers.give([item])
    while begun:
        yield begun.popleft().result(is_late=is_late)


def unless_late(work: Callable[[], R], is_late: Callable[[], bool]) -> R:
    """Do work in a thread, and return its result or raise what came out of it.

    Raises Late when `is_late`, which is asked here five times a second meanwhile, says so; the work continues then.
    """
    return Task(work).begin().result(is_late=is_late)


def within(seconds: float, work: Callable[[], None], *, clock: "Clock") -> bool:
    """Do work in a thread, and return whether it was done within the time. Raises what came out of it."""
    until = clock.monotonic() + seconds
    try:
        unless_late(work, lambda: clock.monotonic() >= until)
    except Late:
        return False
    return True
