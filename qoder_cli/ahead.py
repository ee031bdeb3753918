"""Work in threads that the caller does not wait for yet: the page after this one, several sessions at a time.

The threads are daemons, so that Ctrl-C and an early end never wait for a server.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_TICK = 0.2  # seconds; on Windows a wait cannot be interrupted, so that Ctrl-C is heard between two of them


class _Task(Generic[R]):
    """One call, and what came of it."""

    def __init__(self, work: Callable[[], R]) -> None:
        self._work = work
        self._done = threading.Event()
        self._results: list[R] = []
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Make the call and keep its result or failure."""
        try:
            self._results.append(self._work())
        except BaseException as failure:  # handed to the thread that waits
            self._failure = failure
        finally:
            self._done.set()

    def result(self) -> R:
        """Wait for the call and return its result, or raise its failure."""
        while not self._done.wait(_TICK):
            pass
        if self._failure is not None:
            raise self._failure
        return self._results[0]


class OneAhead(Generic[T]):
    """An iterator whose next item can be got ready while the caller works on the current one."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._next: _Task[T | None] | None = None

    def prepare(self) -> None:
        """Begin to get the next item, in a thread."""
        if self._next is None:
            self._next = _Task(lambda: next(self._items, None))
            threading.Thread(target=self._next.run, daemon=True).start()

    def take(self) -> T | None:
        """Return the next item, None at the end. Raises what getting it raised."""
        task, self._next = self._next, None
        return next(self._items, None) if task is None else task.result()


def in_order(work: Callable[[T], R], items: Sequence[T], *, at_a_time: int) -> Iterator[R]:
    """Yield `work(item)` for each item, in their order, with up to `at_a_time` of them under way.

    A failure is raised in its place. When the caller stops early, no further one is begun.
    """
    tasks = [_Task(_bound(work, item)) for item in items]
    waiting = deque(tasks)
    for _ in range(min(at_a_time, len(tasks))):
        threading.Thread(target=_work_off, args=[waiting], daemon=True).start()
    try:
        for task in tasks:
            yield task.result()
    finally:
        waiting.clear()


def _bound(work: Callable[[T], R], item: T) -> Callable[[], R]:
    return lambda: work(item)


def _work_off(waiting: deque[_Task[R]]) -> None:
    while True:
        try:
            task = waiting.popleft()
        except IndexError:
            return
        task.run()
