"""Faults: how they are written (`WHERE:WHAT[=VALUE][*TIMES]`), and what each does.

`qoder sandbox --help` describes every word. A *disruption* meets TIMES requests, by default one;
several for the same request take turns. A *condition* lasts for ever, or for TIMES requests.
Seconds are real, whatever the speed of the world.
"""

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from qoder_cli.base.errors import UsageError
from qoder_cli.base.marks import without_ours
from qoder_cli.sandbox import api
from qoder_cli.sandbox.wire import Delivery, Refusal, Request, WireResponse, encode
from qoder_cli.sandbox.world import World

WRITES = ("create", "update", "pause", "unpause", "archive")  # `write` is any of them
PLACES = (
    *("write", *WRITES, "send", "session-write"),
    *("trigger", "run", "list", "deployment", "session", "events", "stream", "agent", "any"),
)
_ALL_WRITES = {"trigger", "write", "send", "session-write"}

# Words and the values they take. Statuses are words, too: `503`, `503-bare`, `act-503`, `late-503`.
# A connection can be refused only in process.
DISRUPTIONS = {
    **dict.fromkeys(("refused", "drop-before", "drop-after", "hang-before", "hang-after"), "none"),
    **dict.fromkeys(("truncated", "garbage", "list", "not-a-run"), "none"),
    **dict.fromkeys(("late", "slow", "old", "kept"), "seconds"),
    **dict.fromkeys(("html", "act-html"), "status"),
    "redirect": "text",
}
# A stranger comes once by default.
CONDITIONS = {
    **dict.fromkeys(("stranger", "no-date", "no-idempotency", "echo-token", "silent"), "none"),
    **dict.fromkeys(("lagging", "half-written", "cut", "moving"), "seconds"),
    **dict.fromkeys(("undated", "foreign"), "none"),
    "skew": "offset",
    "year": "year",
}
# The kinds of values: their pattern and description.
_VALUES = {
    "seconds": (r"=\d+(\.\d+)?", "seconds, for example {}=3"),
    "offset": (r"=[+-]?\d+(\.\d+)?", "seconds, for example {}=3"),
    "year": (r"=\d{1,4}", "a year, for example {}=1970"),
    "text": ("=.+", "a URL, for example {}=https://example.com/"),
    "status": (r"=?([2345]\d\d)?", "a status, for example {}=502"),
    "none": ("", "no value"),
}

_STATUS = re.compile(r"(act-|late-)?([45]\d\d)(-bare)?")
_OF_A_TRIGGER = ("old", "kept")  # what only runs are answered with
_TIMES = re.compile(r"(.*)\*(\d{1,6}|inf)", re.DOTALL)
_LONGEST = 1e10  # seconds; a clock further off cannot be written as a date

_HTML = b"<!doctype html><html><head><title>%d</title></head><body><h1>Bad gateway</h1></body></html>"
_DELIVERIES: dict[str, Delivery] = {"drop": "drop", "hang": "hang", "truncated": "cut", "slow": "slow"}
_GARBAGE = {
    "garbage": b'{"id": "drun_", "type": deployment_run',
    "list": b"[]",
    "not-a-run": b'{"id":"agent_019e00000000700080000000000a9e27","type":"agent","version":1}',
}


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
        """Return whether it is due for a request. A stranger comes only with writes, another run to triggers."""
        if self.what == "skew" or (self.what == "stranger" and not _ALL_WRITES & set(where)):
            return False
        if self.what in _OF_A_TRIGGER and "trigger" not in where:
            return False
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
    if not _STATUS.fullmatch(what) or what.startswith("late-"):
        kind = "seconds" if _STATUS.fullmatch(what) else (DISRUPTIONS | CONDITIONS).get(what)
        if kind is None:
            words = [*DISRUPTIONS, "503", "503-bare", "act-503", "act-503-bare", "late-503", *CONDITIONS]
            raise _wrong(text, f"WHAT is one of {', '.join(words[1:])}")
        pattern, example = _VALUES[kind]
        fits = re.fullmatch(pattern, equals + value)
        if not fits or (kind in ("seconds", "offset") and abs(float(value)) >= _LONGEST):
            raise _wrong(text, f"{what} takes {example.format(what)}")
    if times is not None and (float(times) == 0 or what == "skew"):
        raise _wrong(text, "TIMES is at least 1, and skew takes none")
    if times is None:
        times = "inf" if what in CONDITIONS and what != "stranger" else "1"
    return Fault(where, what, value, float(times))


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(
        f"not a valid fault: {text[:80]!r}: {why}",
        hint="write it as WHERE:WHAT[=VALUE][*TIMES], for example trigger:503*2",
    )


class Faults:
    """The faults on order, and the answers they spoil."""

    def __init__(self, *texts: str) -> None:
        self.on_order = [parse(text) for text in texts]

    def add(self, text: str) -> None:
        """Order a fault. Raises UsageError if it is none."""
        self.on_order.append(parse(text))

    def answer(self, world: World, request: Request) -> WireResponse:
        """Return the answer to a request, spoilt by the faults due for it."""
        with world.lock:
            for fault in self.on_order:
                if fault.what == "skew" and world.skew != float(fault.value):
                    world.skew = float(fault.value)
                    for deployment in world.deployments.values():  # schedules go on from there
                        deployment.replan(world.now())
            world.settle()
            where = api.where(request)
            met = [fault for fault in self.on_order if fault.meets(where)]
            lasting = [fault for fault in met if fault.what in CONDITIONS]
            disruption = next((fault for fault in met if fault.what not in CONDITIONS), None)
            for fault in filter(None, (disruption, *lasting)):
                fault.times -= 1
            if disruption and disruption.what == "refused":
                return WireResponse(0, delivery="refuse")  # nothing that the world sees
            conditions = {fault.what: float(fault.value or 1) for fault in lasting}
            noted = replace(request, at=world.now(), runs=[])
            world.requests.append(noted)
            return _Visit(world, noted, conditions).answer(disruption)


@dataclass(slots=True)
class _Visit:
    """A request that meets faults: at most one disruption, and conditions."""

    world: World
    request: Request
    conditions: dict[str, float]

    def answer(self, disruption: Fault | None) -> WireResponse:
        if "stranger" in self.conditions:
            self._let_a_stranger_in()
        answer = self._disrupt(disruption)
        if "no-date" in self.conditions:
            return replace(answer, headers={k: v for k, v in answer.headers.items() if k != "date"})
        return answer

    def _act(self, now: float) -> WireResponse:
        return api.perform(self.world, self.request, now, self.conditions)

    def _let_a_stranger_in(self) -> None:
        """Let someone else act first, without what marks a request as ours."""
        where, same = api.where(self.request), self.request
        _, ids = api.find(same)
        unmarked = {k: v for k, v in same.headers.items() if k != "idempotency-key"}
        same = replace(same, headers=unmarked, runs=[])
        deployment = self.world.deployments.get(ids[0]) if ids else None
        with suppress(Refusal, ValueError):
            if same.body:
                body = json.loads(same.body)
                if isinstance(body.get("metadata"), dict):
                    body["metadata"] = without_ours(body["metadata"])
                same = replace(same, body=encode(body))
            if deployment is None or ("write" in where and "update" not in where):
                api.perform(self.world, same, self.world.now(), {})
            elif "update" in where:
                deployment.change(self.world.now(), description="Changed by someone else.")
            else:
                self.world.start(deployment, origin="other")

    def _fail(self, acts: str | None, status: str, bare: str | None, *, value: str) -> WireResponse:
        retry_after = "" if acts == "late-" else value
        if acts == "late-":
            self.world.postpone(float(value), self._act)
        elif acts:
            self._act(self.world.now())
        refusal = Refusal(int(status), "Refused by a fault of the sandbox.")
        answer = api.refused(self.world, self.request, refusal, self.conditions)
        if bare:
            answer = WireResponse(answer.status, api.dated(self.world))
        if retry_after:
            answer = replace(answer, headers={**answer.headers, "retry-after": retry_after})
        return answer

    def _other_run(self, seconds: float, headers: Mapping[str, str]) -> WireResponse:
        """Answer a trigger with someone else's run of the same deployment, started some seconds ago."""
        unmarked = {k: v for k, v in self.request.headers.items() if k != "idempotency-key"}
        same = replace(self.request, headers=unmarked, runs=[])
        answer = api.perform(self.world, same, self.world.now() - seconds, self.conditions)
        for id in same.runs:
            self.world.runs[id].origin = "other"
        return replace(answer, headers={**answer.headers, **headers})

    def _disrupt(self, fault: Fault | None) -> WireResponse:
        if fault is None:
            return self._act(self.world.now())
        name, value = fault.what, fault.value
        if name == "slow":
            self.conditions["behind"] = float(value)
        if matched := _STATUS.fullmatch(name):
            return self._fail(*matched.groups(), value=value)
        if name in _OF_A_TRIGGER:
            if name == "old":
                self._act(self.world.now())
            return self._other_run(float(value), {"age": value} if name == "kept" else {})
        if name == "late":
            self.world.postpone(float(value), self._act)
            return WireResponse(0, delivery="drop")
        if name == "redirect":
            return WireResponse(302, {"location": value, **api.dated(self.world)})
        answer = WireResponse(0)
        if name not in ("drop-before", "hang-before", "html"):
            answer = self._act(self.world.now())
        if name in ("html", "act-html"):
            status = int(value or 502)
            return WireResponse(status, {"content-type": "text/html", **api.dated(self.world)}, _HTML % status)
        if name in _GARBAGE:
            return replace(answer, status=200, body=_GARBAGE[name], stream=None)
        return replace(answer, delivery=_DELIVERIES[name.partition("-")[0]], seconds=float(value or 0))
