"""A clock on which everything goes faster than it does, for commands of several threads."""

import queue
import threading
import time
from typing import Any

from qoder_cli.base.times import Clock, next_of
from tests.support.wire import FakeClock

LOOK = 0.01  # real seconds; of a longer time in which nobody could look at the clock, this much counts


class HastyClock(FakeClock):
    """The machine's clock, `speed` times as fast: threads that sleep on it sleep side by side, as they do for real.

    Where the machine is too busy to let anybody look at it, it stands still: what takes long then takes no time here.
    What is waited for an answer is not shortened: httpx and threads know real seconds only.
    """

    def __init__(self, speed: float, *, now: float = 1_800_000_000.0) -> None:
        self.speed = speed
        self._looked = time.monotonic()
        self._lock = threading.Lock()
        super().__init__(now)

    def now(self) -> float:
        with self._lock:
            moment = time.monotonic()
            self._now += min(moment - self._looked, LOOK) * self.speed
            self._looked = moment
            return self._now

    @property
    def time(self) -> float:
        return self.now()

    @time.setter
    def time(self, now: float) -> None:
        self._now = now

    def monotonic(self) -> float:
        return self.now()

    def sleep(self, seconds: float) -> None:
        self.receive(queue.SimpleQueue(), seconds)

    def receive(self, inbox: "queue.SimpleQueue[Any]", seconds: float) -> Any:
        due = self.now() + seconds
        while True:
            left = (due - self.now()) / self.speed
            try:
                return next_of(inbox, min(max(left, 0.0), LOOK / 2))
            except queue.Empty:
                if left <= 0.0:
                    return None

    def skip(self, seconds: float) -> None:
        """Let so much time have passed."""
        with self._lock:
            self._now += seconds


class CommonClock(Clock):
    """The machine's clock, `speed` times as fast, the same in each process that is forked from the one that made it.

    What is waited for a response is not shortened.
    """

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._began = time.time()

    def now(self) -> float:
        return self._began + (time.time() - self._began) * self.speed

    def monotonic(self) -> float:
        return time.monotonic() * self.speed

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds / self.speed)
