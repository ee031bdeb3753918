"""Faults: how they are written (`WHERE:WHAT[=VALUE][*TIMES]`), and what each does.

`qoder sandbox --help` describes every word. A *disruption* meets TIMES requests, by default one;
several for the same request take turns. A *condition* lasts for ever, or for TIMES requests.
Seconds are real, whatever the speed of the world.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from qoder_cli.base.errors import UsageError
from qoder_cli.sandbox import api
from qoder_cli.sandbox.wire import Delivery, Refusal, Request, WireResponse
from qoder_cli.sandbox.world import World

WRITES = ("create", "update", "pause", "unpause", "archive")  # `write` is any of them
PLACES = (
    *("write", *WRITES, "send", "session-write"),
    *("trigger", "run", "list", "deployment", "session", "events", "stream", "agent", "any"),
)

# Statuses are words, too: `503`, `503-bare`, `act-503`, `late-503`.
DISRUPTIONS = ("drop-before", "drop-after", "hang-before", "hang-after", "truncated", "late", "slow")
CONDITIONS = ("lagging", "cut", "silent")

_IN_SECONDS = ("late", "slow", "lagging", "cut")
_STATUS = re.compile(r"(act-|late-)?([45]\d\d)(-bare)?")
_TIMES = re.compile(r"(.*)\*(\d{1,6}|inf)", re.DOTALL)
_DELIVERIES: dict[str, Delivery] = {"drop": "drop", "hang": "hang", "truncated": "cut", "slow": "slow"}


@dataclass(slots=True)
class Fault:
    """A fault on order: which requests it meets, how, and how many more."""

    where: str
    what: str
    value: str = ""
    times: float = 1

    def __str__(self) -> str:
        return f"{self.where}:{self.what}" + (f"={self.value}" if self.value else "")

    def meets(self, where: Collection[str]) -> bool:
        """Return whether it is due for a request."""
        return self.times > 0 and self.where in (*where, "any")


def parse(text: str) -> Fault:
    """Parse a fault. Raises UsageError."""
    where, colon, rest = text.partition(":")
    if not colon or where not in PLACES:
        raise _wrong(text, f"WHERE is one of {', '.join(PLACES)}")
    counted = _TIMES.fullmatch(rest)
    rest, times = counted.groups() if counted else (rest, None)
    what, equals, value = rest.partition("=")
    if not (value.isascii() and value.isprintable()):
        raise _wrong(text, "VALUE is printable ASCII")
    is_status = _STATUS.fullmatch(what) is not None
    if not is_status and what not in (*DISRUPTIONS, *CONDITIONS):
        words = [*DISRUPTIONS, "503", "503-bare", "act-503", "act-503-bare", "late-503", *CONDITIONS]
        raise _wrong(text, f"WHAT is one of {', '.join(words)}")
    if what in _IN_SECONDS or (is_status and what.startswith("late-")):
        if not re.fullmatch(r"\d{1,9}(\.\d+)?", value):
            raise _wrong(text, f"{what} takes seconds, for example {what}=3")
    elif equals and not is_status:
        raise _wrong(text, f"{what} takes no value")
    if times is not None and float(times) == 0:
        raise _wrong(text, "TIMES is at least 1")
    if times is None:
        times = "inf" if what in CONDITIONS else "1"
    return Fault(where, what, value, float(times))


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(
        f"not a valid fault: {text[:80]!r}: {why}",
        hint="write it as WHERE:WHAT[=VALUE][*TIMES], for example trigger:503*2",
    )


class Faults:
    """The faults on order, and the answers they spoil."""

    lasting: Collection[str] = CONDITIONS

    def __init__(self, *texts: str) -> None:
        self.on_order: list[Fault] = []
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Order a fault. Raises UsageError if it is none."""
        self.on_order.append(parse(text))

    def answer(self, world: World, request: Request) -> WireResponse:
        """Return the answer to a request, spoilt by the faults due for it."""
        with world.lock:
            world.settle()
            where = api.where(request)
            met = [fault for fault in self.on_order if fault.meets(where)]
            lasting = [fault for fault in met if fault.what in self.lasting]
            disruption = next((fault for fault in met if fault.what not in self.lasting), None)
            for fault in filter(None, (disruption, *lasting)):
                fault.times -= 1
            noted = replace(request, at=world.now(), runs=[])
            world.requests.append(noted)
            return self.spoil(world, noted, disruption, {fault.what: float(fault.value or 1) for fault in lasting})

    def spoil(
        self, world: World, request: Request, disruption: Fault | None, conditions: dict[str, float]
    ) -> WireResponse:
        """Return the answer to a request that meets at most one disruption, and conditions with their values."""

        def act(now: float) -> WireResponse:
            return api.perform(world, request, now, conditions)

        if disruption is None:
            return act(world.now())
        what, value = disruption.what, disruption.value
        seconds = float(value) if what in _IN_SECONDS else 0.0
        if status := _STATUS.fullmatch(what):
            acts, code, bare = status.groups()
            if acts == "late-":
                world.postpone(float(value), act)
            elif acts:
                act(world.now())
            answer = api.refused(world, request, Refusal(int(code), "Refused by a fault of the sandbox."))
            if bare:
                answer = WireResponse(answer.status, api.dated(world))
            if value and acts != "late-":
                answer = replace(answer, headers={**answer.headers, "retry-after": value})
            return answer
        if what == "late":
            world.postpone(seconds, act)
            return WireResponse(0, delivery="drop")
        if what == "slow":
            conditions["behind"] = seconds
        answer = WireResponse(0)
        if what not in ("drop-before", "hang-before"):
            answer = act(world.now())
        return replace(answer, delivery=_DELIVERIES[what.partition("-")[0]], seconds=seconds)
