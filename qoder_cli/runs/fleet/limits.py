"""How long to wait, as it is typed. Apart from the waiting itself, which a command without --wait does not load."""

from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.base.errors import UsageError
from qoder_cli.base.times import parse_duration

if TYPE_CHECKING:
    from qoder_cli.base.clock import Clock

SHORTEST_INTERVAL = 0.1  # seconds


class Limits(NamedTuple):
    """How long to wait, and the longest pause between checks, both in seconds; None when not given.

    `spent` is how much of the time was spent before the waiting begins.
    """

    timeout: float | None = None
    interval: float | None = None
    spent: float = 0.0

    @classmethod
    def read(cls, *, wait: bool, timeout: str | None, interval: str | None) -> "Limits":
        """Return the limits that were typed. Raises UsageError, also when they are given without waiting."""
        if not wait and (timeout is not None or interval is not None):
            option = "--timeout" if timeout is not None else "--interval"
            raise UsageError(f"{option} is for waiting", hint="add --wait")
        limits = cls(
            timeout=None if timeout is None else parse_duration(timeout, option="--timeout"),
            interval=None if interval is None else parse_duration(interval, option="--interval"),
        )
        if limits.interval is not None and limits.interval < SHORTEST_INTERVAL:
            raise UsageError("--interval is shorter than 0.1s", hint="leave it out to check every 0.5s to 5s")
        return limits

    def since(self, began: float, clock: "Clock") -> "Limits":
        """Return the limits of a wait that began at a time, by the monotonic clock, with finding out what it is for."""
        return self._replace(spent=clock.monotonic() - began)
