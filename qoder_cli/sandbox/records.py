"""What the world is made of: deployments, runs, sessions, and the requests it saw.

All times are unix seconds of the server's own clock.
"""

import string
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from hashlib import blake2s
from typing import Any, Literal

from qoder_cli.base import cron
from qoder_cli.sandbox.presets import DEMO
from qoder_cli.sandbox.scripts import (
    CANCELLED,
    WORK,
    Beat,
    Behaviour,
    Fields,
    Ref,
    answer_to,
    answered,
    echo,
    idle,
    idles,
    said,
)
from qoder_cli.sandbox.wire import Request

ENVIRONMENT = "env_019e0000000070008000000000000e27"
TITLE = "Generate today's status report"
PROMPT = [{"type": "user.message", "content": [{"type": "text", "text": TITLE}]}]
ID_LENGTH = 20  # digits of base 36 after an id's prefix (api/facts.md, 7.2)
_DIGITS = string.digits + string.ascii_lowercase


def base36(number: int, length: int) -> str:
    """Return the last `length` digits of a number in base 36, padded with zeros."""
    return "".join(_DIGITS[number // 36**place % 36] for place in reversed(range(length)))


@lru_cache(20_000)  # lists show the same thousands again and again
def stamp(moment: float, *, digits: int = 0) -> str:
    """Return a unix time as UTC text. Below 9 digits, trailing zeros are dropped."""
    whole, nanos = divmod(int(moment * 1_000_000_000), 1_000_000_000)
    fraction = f"{nanos:09d}"[:digits]
    if digits < 9:
        fraction = fraction.rstrip("0")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + (f".{fraction}" if fraction else "") + "Z"


# Who started a run: a request, someone else, the schedule, or nobody (it was always there).
Origin = Literal["request", "other", "schedule", "seed"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run truly ended; `type` and `message` say why it failed."""

    at: float
    status: Literal["completed", "failed", "skipped"]
    type: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """A beat of a session at its time; `number` makes the event's id."""

    at: float
    number: int
    beat: Beat


@dataclass(eq=False)
class Thing:
    """Anything the API keeps. `fields` are as shown, except those beginning with `_`."""

    id: str  # what a path calls it
    fields: dict[str, Any]
    created: float
    changed: float = 0.0
    before: dict[str, Any] | None = None  # its fields before that
    deleted: float | None = None

    @property
    def archived(self) -> str | None:
        at: str | None = self.fields.get("archived_at")
        return at

    def change(self, at: float, **fields: Any) -> None:
        """Change fields. A lagging replica shows the old ones for a while."""
        self.before, self.changed = dict(self.fields), at
        self.fields.update(fields)
        if "updated_at" in self.fields:
            self.fields["updated_at"] = stamp(at)


@dataclass(eq=False)
class Deployment(Thing):
    """A deployment: what it starts, and when."""

    behaviour: Behaviour = DEMO
    last_run: float | None = None
    total_runs: int = 0
    next_fire: float | None = None

    @property
    def name(self) -> str:
        return str(self.fields["name"])

    @property
    def paused(self) -> bool:
        return bool(self.fields["status"] == "paused")

    def upcoming(self, after: float, *, count: int = 5) -> list[float]:
        """Return when the schedule fires next, also while paused (api/facts.md, 1.2)."""
        schedule = self.fields["schedule"]
        if schedule is None or self.archived is not None:
            return []
        return cron.upcoming(schedule["expression"], schedule["timezone"], after=after, count=count)

    def replan(self, after: float) -> None:
        """Compute the next fire. Missed ones are not made up."""
        self.next_fire = None if self.paused else next(iter(self.upcoming(after, count=1)), None)


@dataclass(eq=False)
class Session(Thing):
    """A session, `speed` times as fast as its script, begun with `initial_events`."""

    speed: float = 1.0
    behaviour: Behaviour = DEMO
    initial_events: list[dict[str, Any]] = field(default_factory=list)
    cancelled: float | None = None

    def __post_init__(self) -> None:
        self._begin_turn()

    def _begin_turn(self) -> None:
        self._questions = iter(self.behaviour.then)  # not asked yet in this turn
        self._answers: list[tuple[str, Beat, Fields]] = []  # to its calls
        self._settled = 0  # how many of these the agent knows

    def called(self, prefix: str) -> str:
        """Return the id of its only thread or turn, with this prefix."""
        return prefix + self.id.removeprefix("sess_")

    @cached_property
    def moments(self) -> list[Moment]:
        """All that happens in it, past and future, in order."""
        if not self.initial_events:
            return []
        beats = said(self.behaviour.script, self.initial_events, heard=self.fields["deployment_id"] is None)
        return [Moment(self.created + beat.at / self.speed, n, beat) for n, beat in enumerate(beats)]

    def break_off(self, now: float, *beats: Beat) -> None:
        """Let only `beats` happen after `now`."""
        self.moments[:] = self.past(now)
        for beat in beats:
            self.moments.append(Moment(now + beat.at / self.speed, len(self.moments), beat))

    def cancel(self, now: float, *events: Beat) -> bool:
        """Stop the turn; return whether one was going. `events` happen either way."""
        going = self.going(now)
        if events or (going and self.cancelled is None):
            self.break_off(now, *events, *(CANCELLED if going else ()))
        if going:
            self.cancelled = self.cancelled or now
        return going

    def say(self, now: float, events: Sequence[Fields]) -> None:
        """Begin a turn with a user's events."""
        start = next((beat.at for beat in self.behaviour.script if beat.type == WORK), 0)
        turn = [replace(beat, at=beat.at - start) for beat in self.behaviour.script if beat.at >= start]
        self.cancelled = None
        self._begin_turn()
        self.break_off(now, *said(tuple(turn), events, heard=True))

    def answer(self, now: float, answers: Sequence[Fields]) -> None:
        """Take answers to waiting calls; continue once none waits, else ask again."""
        waiting = self.waiting(now)
        for answer in answers:
            call_id = answer_to(answer)
            self._answers.append((call_id, waiting.pop(call_id).beat, answer))
        if waiting:
            more = idles(0.02, idle("requires_action", event_ids=list(waiting)))
        else:
            more = answered(self._answers, settled=self._settled, then=next(self._questions, ()))
            self._settled = len(self._answers)
        self.break_off(now, *(echo(answer) for answer in answers), *more)

    def waiting(self, now: float) -> dict[str, Moment]:
        """Return the calls that wait for an answer, by id."""
        past, stop = self.past(now), self._newest_status(now)
        fields = self.told(stop) if stop else {}
        ids = fields.get("stop_reason", {}).get("event_ids", [])
        told = {answer_to(moment.beat.fields) for moment in past}
        by_id = {self.event_id(moment): moment for moment in past}
        return {id: by_id[id] for id in ids if id not in told}

    def going(self, now: float) -> bool:
        """Return whether a turn is under way, even if it waits."""
        return self.busy(now) or bool(self.waiting(now))

    def told(self, moment: Moment) -> dict[str, Any]:
        """Return an event's fields, with references replaced by ids."""
        before = self.moments[: moment.number]
        return {name: self._with_ids(value, before) for name, value in moment.beat.fields.items()}

    def _with_ids(self, value: Any, before: list[Moment]) -> Any:
        if isinstance(value, Ref):
            return self.event_id([m for m in before if m.beat.type == value.type][-1 - value.back])
        if isinstance(value, dict):
            return {key: self._with_ids(inner, before) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._with_ids(inner, before) for inner in value]
        return value

    def past(self, now: float) -> list[Moment]:
        return [moment for moment in self.moments if moment.at <= now]

    def busy(self, now: float) -> bool:
        """Return whether something is still to happen."""
        return any(moment.at > now for moment in self.moments)

    def status(self, now: float) -> str:
        """Return idle, running or terminated, nothing else (api/facts.md, 7.2)."""
        newest = self._newest_status(now)
        return newest.beat.type.removeprefix("session.status_") if newest else "idle"

    def _newest_status(self, now: float) -> Moment | None:
        told = (m for m in reversed(self.past(now)) if m.beat.type.startswith("session.status_"))
        return next(told, None)

    def starts(self) -> float | None:
        """Return when its turn begins; None if cancelled before, or without one."""
        return next((moment.at for moment in self.moments if moment.beat.type == WORK), None)

    def ending(self, now: float) -> Ending | None:
        """Return how its turn ended, or None. One that asks has not ended."""
        message, worked = "", False
        for moment in self.past(now):
            kind, fields = moment.beat.type, moment.beat.fields
            worked = worked or kind == WORK
            if kind == "session.error":
                message = fields["error"]["message"]
            elif kind == "session.status_terminated":
                return Ending(moment.at, "failed", "session_terminated", message or "The session was terminated.")
            elif kind == "session.deleted":
                return Ending(moment.at, "failed", "session_deleted", "The session was deleted.")
            elif kind == "session.status_idle":
                reason = fields["stop_reason"]["type"]
                if reason == "end_turn" and worked:
                    return Ending(moment.at, "completed")
                if reason not in ("end_turn", "requires_action"):
                    return Ending(moment.at, "failed", reason, message or f"The turn stopped: {reason}.")
        return None

    def event_id(self, moment: Moment) -> str:
        digest = blake2s(f"{self.id}:{moment.number}:{moment.beat.type}".encode(), digest_size=16).digest()
        return "evt_" + base36(int.from_bytes(digest), ID_LENGTH)


@dataclass(eq=False, kw_only=True)
class Run(Thing):
    """A run of a deployment: with a session, with an error, or skipped."""

    deployment: Deployment
    origin: Origin
    session: Session | None = None

    def ending(self, now: float) -> Ending | None:
        """Return how it truly ended; None while it goes on."""
        if self.session is not None:
            return self.session.ending(now)
        if error := self.fields["error"]:
            return Ending(self.created, "failed", error["type"], error["message"])
        return Ending(self.created, "skipped")

    def status(self, now: float) -> str:
        """Return its status on older servers: pending until a delayed turn begins."""
        if ending := self.ending(now):
            return ending.status
        starts = self.session.starts() if self.session else None
        if starts is not None and max(now, self.created + 0.1) < starts:
            return "pending"
        return "running"


@dataclass(slots=True)
class Seen:
    """A request as the world saw it; `runs` are the ids of runs it started, also later."""

    at: float
    request: Request
    runs: list[str] = field(default_factory=list)

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def path(self) -> str:
        return self.request.path

    @property
    def key(self) -> str | None:
        return self.request.headers.get("idempotency-key")
