"""How long to wait, as it is typed. Apart from the waiting itself, which a command without --wait does not load."""

from typing import NamedTuple

from qoder_cli.errors import UsageError
from qoder_cli.times import parse_duration

SHORTEST_INTERVAL = 0.1  # seconds


class Limits(NamedTuple):
    """How long to wait, and the longest pause between checks, both in seconds; None when not given."""

    timeout: float | None = None
    interval: float | None = None

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
