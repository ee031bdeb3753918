"""A clock on which everything goes faster than it does, for commands of several threads."""

import queue
import time
from typing import Any

from qoder_cli.base.clock import Clock


class HastyClock(Clock):
    """The machine's clock, `speed` times as fast: threads that sleep on it sleep side by side, as they do for real.

    What is waited for an answer is not shortened: httpx and threads know real seconds only.
    """

    def __init__(self, speed: float, *, now: float = 1_800_000_000.0) -> None:
        self.speed = speed
        self._now = now
        self._began = time.monotonic()

    def now(self) -> float:
        return self._now + (time.monotonic() - self._began) * self.speed

    def monotonic(self) -> float:
        return self.now()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(seconds, 0.0) / self.speed)

    def take(self, inbox: "queue.SimpleQueue[Any]", seconds: float) -> Any:
        try:
            return inbox.get(timeout=max(seconds, 0.0) / self.speed)
        except queue.Empty:
            return None

    def jitter(self) -> float:
        return 1.0

    def skip(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._now += seconds
