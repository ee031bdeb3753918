"""How fast requests may follow each other, over all threads, and when a failed one is retried."""

import threading
from collections.abc import Callable

from qoder_cli.base.errors import LONGEST_RETRY_AFTER, ApiError
from qoder_cli.base.times import Clock

TRIES = 5  # of a request that may be tried again
TRY_FOR = 30.0  # seconds over all tries, but for one pause that the server asked for
WRITES_PER_SECOND = 20.0  # what the API advises (api.md#limits)
# Of a command that makes very many: less than the 50 that the API advises (api.md#limits), so that a busy
# machine, which lets some wait, never sends one too many in a second. Runs end as fast as they were started, and each
# end is two requests, beside the checks.
READS_PER_SECOND = 45.0
_TIGHTER = 1.02  # so that delayed requests never bunch up beyond the limit
_TICK = 0.1  # seconds; how soon it notices that there are no more turns, or that the server asks for more time


class Closed(Exception):
    """Nothing more is to be sent."""


class Pace:
    """Spaces requests evenly: each takes its turn before it is sent. Once closed, or `is_over`, nobody gets one."""

    def __init__(self, clock: Clock, *, per_second: float, is_over: Callable[[], bool] = lambda: False) -> None:
        self._clock = clock
        self._is_over = is_over
        self._spacing = _TIGHTER / per_second
        self._next = clock.monotonic()
        self.is_closed = False
        self._queue = threading.Lock()  # held by the one whose turn is next, so that nobody who wakes late is overtaken
        self._lock = threading.Lock()

    def wait_turn(self, at_turn: Callable[[], None] = lambda: None) -> None:
        """Wait for a turn and call `at_turn` in it. Raises Closed if there are none."""
        with self._queue:
            while True:
                with self._lock:
                    if self.is_closed or self._is_over():
                        raise Closed
                    now = self._clock.monotonic()
                    if now >= self._next:
                        self._next = now + self._spacing
                        at_turn()
                        return
                    wait = self._next - now
                self._clock.sleep(min(wait, _TICK))

    def hold(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, self._clock.monotonic() + seconds)

    def close(self) -> None:
        with self._lock:
            self.is_closed = True


def next_try(error: ApiError, *, tries: int, spent: float, jitter: float, within: float | None = None) -> float | None:
    """Return the seconds to wait before retrying; None if that is pointless, or enough."""
    wait = error.retry_after
    if wait is None:
        wait = 0.5 * 2 ** (tries - 1) * jitter
    in_time = spent + wait <= TRY_FOR or (spent < TRY_FOR and TRY_FOR < wait <= LONGEST_RETRY_AFTER)
    if within is not None:
        in_time = spent + wait < within
    if error.retryable and tries < TRIES and in_time:
        return wait
    return None
