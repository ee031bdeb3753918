"""Clocks, durations and moments as people type them, timestamps as the server writes them."""

import math
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.base import signals
from qoder_cli.base.errors import UsageError

if TYPE_CHECKING:
    import queue

_AGE = "".join(rf"(?:(?P<{unit}>\d+){unit[0]})?" for unit in ("weeks", "days", "hours", "minutes", "seconds"))
_TIME = r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:?\d\d)?)?"
_HINT = "use an age (90m, 7d, 2w), a date (2026-06-14) or a time (2026-06-14T08:54:06Z)"
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = r"(?a)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?"
SHORTEST_INTERVAL = 0.1  # seconds
LAST_LOOK = 5.0  # seconds that a request may take beyond a deadline
CLOCK_AHEAD = 60.0  # seconds by which our clock and the server's may differ before times are read again
SUSPENDED = 30.0  # seconds that a pause may overrun before this machine is held to have been suspended
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Years of a time; others are none: zones and slack would leave the calendar, and to list the days would take for ever.
_YEARS = range(1000, 2200)
_LONGEST = 366 * 86400.0
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:?\d\d)?", re.ASCII)


def parse_duration(text: str, *, option: str) -> float:
    """Return the seconds of `90`, `1.5s`, `1h30m` or `2d`. Raises UsageError, naming `option`."""
    text = text.strip()
    if re.fullmatch(r"(?a)\d+(?:\.\d+)?", text):
        seconds = float(text)
    elif text and (match := re.fullmatch(_DURATION, text)):
        seconds = sum(float(part) * _UNITS[unit] for part, unit in zip(match.groups(), "dhms", strict=True) if part)
    else:
        raise UsageError(f"{option}: invalid duration {text[:60]!r}", hint="use 90, 90s, 10m, 1h30m or 2d")
    if seconds > _LONGEST:
        raise UsageError(f"{option} {text[:60]} is longer than 366 days", hint="for no limit, remove it")
    return seconds


class Limits(NamedTuple):
    """The longest wait and pause, in seconds, None for any; `spent` is already used up."""

    timeout: float | None = None
    interval: float | None = None
    spent: float = 0.0


def read_limits(*, wait: bool, timeout: str | None, interval: str | None) -> Limits:
    """Return the limits as typed. Raises UsageError, also if they are given without waiting."""
    if not wait and (timeout is not None or interval is not None):
        option = "--timeout" if timeout is not None else "--interval"
        raise UsageError(f"{option} only works with --wait", hint="add --wait, or drop it")
    limits = Limits(
        timeout=None if timeout is None else parse_duration(timeout, option="--timeout"),
        interval=None if interval is None else parse_duration(interval, option="--interval"),
    )
    if limits.interval is not None and limits.interval < SHORTEST_INTERVAL:
        raise UsageError("--interval is shorter than 0.1s", hint="leave it out to check every 0.5s to 5s")
    return limits


def parse_when(text: str, *, option: str, now: float, latest: float) -> datetime:
    """Return the moment meant by an age (`90m`, `7d`, `2w`), a date or an RFC 3339 time.

    `now` is in unix seconds; what comes after `latest` is the future. A date is its local midnight; a time without a
    zone is local. Raises UsageError, naming `option`, for anything else, also a bare number and the future.
    """
    written = text.strip()
    shown = f"{option} {written[:60]!a}"
    if written.isascii() and written.isdigit():
        raise UsageError(f"{shown} needs a unit", hint=_HINT)
    age = re.fullmatch(_AGE, written, re.ASCII)
    if not written or not (age or re.fullmatch(_TIME, written, re.ASCII)):
        raise UsageError(f"{shown} is not an age, a date or a time", hint=_HINT)
    try:
        if age:
            units = {unit: int(part) for unit, part in age.groupdict("0").items()}
            moment = datetime.fromtimestamp(now, UTC) - timedelta(**units)
        else:
            moment = datetime.fromtimestamp(datetime.fromisoformat(written.upper()).timestamp(), UTC)
        if moment.year < _YEARS.start:
            raise ValueError
    except (ValueError, OverflowError, OSError):  # hour 25, a million weeks ago
        raise UsageError(f"{shown} is not a valid date", hint=_HINT) from None
    if moment.timestamp() > latest:
        raise UsageError(f"{shown} is in the future", hint="write an earlier time; without a zone it is local")
    return moment


def unix(text: object) -> float | None:
    """Return an RFC 3339 timestamp in unix seconds, or None (api.md#ids-times-and-numbers).

    A year that no run is of, such as 1 or 9999, means no time; and a zone may lead out of the calendar there.
    """
    if not isinstance(text, str) or not _TIMESTAMP.fullmatch(text.strip()):
        return None
    try:
        moment = datetime.fromisoformat(text.strip().upper())
    except ValueError:  # the 31st of February, hour 25
        return None
    if moment.year not in _YEARS:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def parse_timestamp(text: object) -> datetime | None:
    """Return the moment of a timestamp in UTC, or None."""
    seconds = unix(text)
    return None if seconds is None else _EPOCH + timedelta(seconds=seconds)


def descend(times: Sequence[float]) -> bool:
    """Return whether each time is earlier than the one before, or equal, and the last is earlier than the first."""
    return len(times) > 1 and times[0] > times[-1] and list(times) == sorted(times, reverse=True)


def milliseconds_between(start: object, end: object) -> int | None:
    """Return the milliseconds between two timestamps; None if one is missing or they cross."""
    begin, finish = unix(start), unix(end)
    if begin is None or finish is None or finish < begin:
        return None
    return round((finish - begin) * 1000)


def coarse(seconds: float) -> str:
    """Return a time in its largest unit: 3d, 2h, 13m, 5s."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def local_time(text: str, *, zone: tzinfo | None = None) -> str:
    """Return a timestamp as local time to the second; any other text unchanged."""
    moment = parse_timestamp(text)
    if moment is None:
        return text
    try:
        return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):  # the platform cannot place the year 1 or 9999
        return text


def local_zone_name() -> str:
    """Return the name of the local time zone."""
    try:
        return datetime.now(UTC).astimezone().tzname() or "local time"
    except ValueError:  # TZ names a zone that is days away
        return "local time"


def utc_text(moment: datetime | float) -> str:
    """Return a moment, or one in unix seconds, for a server's query: RFC 3339, UTC, whole seconds."""
    if not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(moment, UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(seconds: float) -> str:
    """Return a duration for people: `0.4s`, `12s`, `3m 05s`, `2h 14m`, `3d 04h`."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def next_of(inbox: "queue.SimpleQueue[Any]", seconds: float) -> Any:
    """Return the next thing put into an inbox within so many seconds. Raises queue.Empty.

    Before Python 3.13 a `get` whose time is over as it begins may wait for ever: the time left is negative then,
    which means no limit (Modules/_queuemodule.c). So it is looked into first.
    """
    import queue

    try:
        return inbox.get_nowait()
    except queue.Empty:
        return inbox.get(timeout=seconds)


class Clock:
    """The machine's clocks, in seconds. `now` is unix time; `monotonic` never goes back."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        with signals.waiting():
            time.sleep(max(seconds, 0))

    def receive(self, inbox: "queue.SimpleQueue[Any]", seconds: float) -> Any:
        import queue

        with signals.waiting():
            try:
                return next_of(inbox, max(seconds, 0.0))
            except queue.Empty:
                return None

    def jitter(self) -> float:
        """Return a factor from 0.75 to 1, so that many clients do not poll in step."""
        import random

        return 0.75 + random.random() / 4


class Instant(NamedTuple):
    """A moment by both clocks of a machine: one may stand still while it sleeps, the other may be set back."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls, clock: Clock) -> "Instant":
        return cls(clock.monotonic(), clock.now())

    def age(self, clock: Clock) -> float:
        """Return the seconds since then, by the clock that shows more."""
        return max(clock.monotonic() - self.monotonic, clock.now() - self.wall)


class Deadline:
    """When a wait gives up, counted from `start`. A timeout of 0 leaves time for one poll."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self.timeout = limits.timeout
        self.at = math.inf  # on the monotonic clock
        self._clock = clock
        self._spent = limits.spent

    def start(self) -> None:
        """Begin to count, once."""
        if self.timeout is not None and self.at == math.inf:
            self.at = self._clock.monotonic() + max(self.timeout - self._spent, 0.0)

    def left(self) -> float:
        """Seconds until the deadline, negative after it."""
        return self.at - self._clock.monotonic()

    @property
    def is_past(self) -> bool:
        """Whether another request would come too late."""
        return self.timeout != 0 and self.left() < -LAST_LOOK

    def longest_request(self, usual: float) -> float:
        """Return the seconds that a request may take."""
        return min(usual, max(self.left(), LAST_LOOK))
