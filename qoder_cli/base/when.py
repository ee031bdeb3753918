"""Moments of the past as people type them: an age, a date, or a time."""

import re
from datetime import datetime, timedelta

from qoder_cli.base.errors import UsageError

_AGE = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:?\d\d)?)?", re.ASCII)
_HINT = "use an age (90m, 7d, 2w), a date (2026-06-14) or a time (2026-06-14T08:54:06Z)"


def parse_when(text: str, *, option: str, now: datetime) -> datetime:
    """Return the moment that `90m`, `7d` or `2w` ago was, or that a date or an RFC 3339 time names.

    `now` must have a zone. A date is its local midnight, a time without a zone is local. Raises UsageError, naming
    `option`, for anything else (a bare number too), for a time that does not exist, and for the future.
    """
    typed = text.strip()
    shown = f"{option} {typed[:60]!a}"
    if typed.isascii() and typed.isdigit():
        raise UsageError(f"{shown} needs a unit", hint=_HINT)
    try:
        moment = _before(typed, now) or _named(typed)
    except (ValueError, OverflowError, OSError):  # the 31st of February, hour 25, a million weeks ago
        raise UsageError(f"{shown} is not a valid date", hint=_HINT) from None
    if moment is None:
        raise UsageError(f"{shown} is not an age, a date or a time", hint=_HINT)
    if moment > now:
        raise UsageError(f"{shown} is in the future", hint="write a zone: times without one are local")
    return moment


def _before(typed: str, now: datetime) -> datetime | None:
    match = _AGE.fullmatch(typed)
    if not typed or match is None:
        return None
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return now - timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


def _named(typed: str) -> datetime | None:
    return datetime.fromisoformat(typed.upper()).astimezone() if _TIME.fullmatch(typed) else None
