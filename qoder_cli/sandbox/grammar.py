"""The grammar of `--fault`: `WHERE:WHAT[=VALUE][*TIMES]`. What the words do stands in faults.py."""

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from qoder_cli.base.errors import UsageError

WRITES = ("create", "update", "pause", "unpause", "archive")  # of deployments; `write` is any of them
PLACES = ("write", *WRITES, "trigger", "run", "list", "deployment", "session", "events", "stream", "agent", "any")

Value = Literal["none", "seconds", "text", "status"]

# Word, and the value it takes. Statuses are words of their own: `503`, `503-bare`, `act-503`.
DISRUPTIONS: dict[str, Value] = {
    "refused": "none",
    "drop-before": "none",
    "drop-after": "none",
    "late": "seconds",
    "hang-before": "none",
    "hang-after": "none",
    "slow": "seconds",
    "truncated": "none",
    "garbage": "none",
    "list": "none",
    "not-a-run": "none",
    "redirect": "text",
    "html": "status",
    "act-html": "status",
}
CONDITIONS: dict[str, Value] = {
    "stranger": "none",
    "skew": "seconds",
    "no-date": "none",
    "lagging": "seconds",
    "half-written": "seconds",
    "no-idempotency": "none",
    "echo-token": "none",
    "cut": "seconds",
    "silent": "none",
}

_IN_PROCESS = "refused"  # what only a sandbox within the process can do
_WORDS = (*DISRUPTIONS, "503", "503-bare", "act-503", "act-503-bare", *CONDITIONS)

STATUS = re.compile(r"(act-)?([45]\d\d)(-bare)?")
_TIMES = re.compile(r"(.*)\*(\d{1,6}|inf)", re.DOTALL)
_LONGEST = 1e10  # seconds; a clock further off cannot be written as a date


@dataclass(slots=True)
class Fault:
    """A fault on order: which requests it meets, what it does to them, and how many are still to be met."""

    where: str
    what: str
    value: str = ""
    times: float = 1

    @property
    def lasting(self) -> bool:
        """Return whether it is a condition that goes beside disruptions."""
        return self.what in CONDITIONS

    def __str__(self) -> str:
        return f"{self.where}:{self.what}" + (f"={self.value}" if self.value else "")

    def meets(self, where: Collection[str]) -> bool:
        """Return whether it is due for a request that these words name. A stranger comes only with what writes."""
        if self.what == "stranger" and not {"trigger", "write"} & set(where):
            return False
        return self.times > 0 and self.where in (*where, "any")

    def seconds(self) -> float:
        """Return its value as seconds."""
        return float(self.value)


def parse(text: str) -> Fault:
    """Return the fault that `text` orders. Raises UsageError, listing the words, when it is none."""
    where, colon, rest = text.partition(":")
    if not colon or where not in PLACES:
        raise _wrong(text, f"WHERE is one of {', '.join(PLACES)}")
    counted = _TIMES.fullmatch(rest)
    rest, times = counted.groups() if counted else (rest, None)
    what, equals, value = rest.partition("=")
    _check_value(text, what, value, given=bool(equals))
    if times is not None and (float(times) == 0 or what == "skew"):
        raise _wrong(text, "TIMES is at least 1, and skew takes none")
    if what in CONDITIONS and what != "stranger":
        return Fault(where, what, value, math.inf if times is None else float(times))
    return Fault(where, what, value, float(times or 1))


def _check_value(text: str, what: str, value: str, *, given: bool) -> None:
    """Raise UsageError unless `what` is a known word with the value it takes."""
    if not (value.isascii() and value.isprintable()):
        raise _wrong(text, "VALUE is printable ASCII")
    if STATUS.fullmatch(what):
        return
    kind = (DISRUPTIONS | CONDITIONS).get(what)
    if kind is None:
        raise _wrong(text, f"WHAT is one of {', '.join(word for word in _WORDS if word != _IN_PROCESS)}")
    if kind == "none" and given:
        raise _wrong(text, f"{what} takes no value")
    if kind == "seconds" and not _is_seconds(value, signed=what == "skew"):
        raise _wrong(text, f"{what} takes seconds, as in {what}=3")
    if kind == "text" and not value:
        raise _wrong(text, f"{what} takes a URL, as in {what}=https://example.com/")
    if kind == "status" and given and not re.fullmatch(r"[2345]\d\d", value):
        raise _wrong(text, f"{what} takes a status, as in {what}=502")


def _is_seconds(value: str, *, signed: bool) -> bool:
    return bool(re.fullmatch(r"[+-]?\d+(\.\d+)?" if signed else r"\d+(\.\d+)?", value)) and abs(float(value)) < _LONGEST


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(
        f"no such fault: {text[:80]!r}: {why}",
        hint="write it as WHERE:WHAT[=VALUE][*TIMES], as in trigger:503*2",
    )


def check_real(faults: Iterable[Fault]) -> None:
    """Raise UsageError for a fault that a real server cannot have."""
    for fault in faults:
        if fault.what == _IN_PROCESS:
            raise UsageError(f"{fault} works only in process", hint="use drop-before, or point at a port nobody serves")
