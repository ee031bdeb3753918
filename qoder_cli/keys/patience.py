"""How long a store of keys may take to answer, by the clock of this machine.

A firewall that drops a connection, a frozen server, a pooler without a database: none of them says that no answer will
come, and a limit that the server keeps is none then.
"""

from collections.abc import Callable

from qoder_cli.base import signals
from qoder_cli.base.times import Clock, Deadline

CONNECT_WITHIN = 5.0  # seconds
ANSWER_WITHIN = 15.0  # seconds for one reading or writing
AT_A_SIGNAL = 0.5  # seconds that a write has, though a signal comes; then each step by which a command leaves
SHORTEST = 0.1  # seconds
_LEAST = 1.0  # seconds, where --timeout is over: a store that answers is told even with --timeout 0
_ENOUGH = 2  # silences after which a store is not asked for a while


class Patience:
    """The limits of one store. `deadline` is that of the wait which the store may not outlast, if there is one."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.deadline: Deadline | None = None
        self._silences = 0  # since a write was answered
        self._silent_since = 0.0

    def left(self, longest: float) -> float:
        """Return the seconds that a step may take which usually has `longest`."""
        if signals.has_come():
            return AT_A_SIGNAL
        if self.deadline is not None:
            return min(longest, max(self.deadline.left(), _LEAST))
        return longest

    def begin(self) -> Callable[[], float]:
        """Begin one reading or writing of several requests. Return what tells the seconds that are left of its time."""
        until = self.clock.monotonic() + self.left(ANSWER_WITHIN)
        return lambda: max(until - self.clock.monotonic(), SHORTEST)

    def note_silence(self) -> None:
        """Note that the store did not answer in time."""
        self._silences += 1
        self._silent_since = self.clock.monotonic()

    def note_answer(self) -> None:
        """Note that the store has answered a write: where its disk hangs, it may still answer reads."""
        self._silences = 0

    @property
    def is_over(self) -> bool:
        """Whether the store was silent so often that it is not asked now: whoever comes next does not wait again."""
        most = _ENOUGH
        if signals.has_come() or (self.deadline is not None and self.deadline.left() <= 0):
            most = 1
        return self._silences >= most and self.clock.monotonic() - self._silent_since < ANSWER_WITHIN
