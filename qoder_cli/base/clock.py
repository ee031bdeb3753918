"""Time, as one thing that can be passed in, so that tests own it."""

import time
from typing import TYPE_CHECKING, Any

from qoder_cli.base import signals

if TYPE_CHECKING:
    import queue

TRIES = 5  # of a request that may be tried again
TRY_FOR = 30.0  # seconds over all tries, but for one pause that the server asked for
LONGEST_RETRY_AFTER = 60.0  # seconds; longer is not worth holding a terminal for


def may_wait(pause: float, spent: float) -> bool:
    """Return whether to pause (seconds) and try again, after so many seconds spent on the tries before."""
    return spent + pause <= TRY_FOR or (spent < TRY_FOR and TRY_FOR < pause <= LONGEST_RETRY_AFTER)


class Clock:
    """The machine's clocks. `now` is unix time; `monotonic` never goes back; all are in seconds."""

    def now(self) -> float:
        """Return the wall clock."""
        return time.time()

    def monotonic(self) -> float:
        """Return a clock that only goes forward."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        with signals.waiting():
            time.sleep(max(seconds, 0))

    def take(self, inbox: "queue.SimpleQueue[Any]", seconds: float) -> Any:
        """Return the next thing that another thread put into the inbox; None when there is none within the time."""
        import queue

        with signals.waiting():
            try:
                return inbox.get(timeout=max(seconds, 0.0))
            except queue.Empty:
                return None

    def jitter(self) -> float:
        """Return a factor of 0.75 to 1, so that many clients do not ask in step."""
        import random

        return 0.75 + random.random() / 4
