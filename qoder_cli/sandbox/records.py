"""What the world is made of: deployments, runs, their sessions, and the requests it has seen.

All times are unix seconds of the server's own clock.
"""

import string
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2s
from typing import Any, Literal

from qoder_cli.base import cron
from qoder_cli.sandbox.presets import DEMO
from qoder_cli.sandbox.scripts import WORK, Beat, Behaviour, Script
from qoder_cli.sandbox.wire import Request

AGENT = "agent_019e00000000700080000000000a9e27"
ENVIRONMENT = "env_019e0000000070008000000000000e27"
PROMPT = [{"type": "text", "text": "Generate today's status report"}]
ID_LENGTH = 20  # digits of base 36 after an id's prefix (api/facts.md, 7.2)
_DIGITS = string.digits + string.ascii_lowercase


def base36(number: int, length: int) -> str:
    """Return the last `length` digits of a number in base 36, padded with zeros."""
    return "".join(_DIGITS[number // 36**place % 36] for place in reversed(range(length)))


# Who started a run: a request, someone else, the schedule, or nobody (it was always there).
Origin = Literal["request", "other", "schedule", "seed"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run truly ended: when, `completed`, `failed` or `skipped`, and why if it failed."""

    at: float
    status: Literal["completed", "failed", "skipped"]
    type: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """A beat of a session, placed in time. `number` makes its event id."""

    at: float
    number: int
    beat: Beat


@dataclass(slots=True)
class Deployment:
    """A deployment. `schedule` holds expression and timezone."""

    id: str
    name: str
    created: float
    updated: float
    behaviour: Behaviour = DEMO
    description: str | None = None
    agent: dict[str, Any] = field(default_factory=lambda: {"id": AGENT, "type": "agent", "version": 1})
    environment_id: str = ENVIRONMENT
    environment_variables: str = ""
    initial_events: list[dict[str, Any]] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    resources: list[dict[str, Any]] = field(default_factory=list)
    vault_ids: list[str] = field(default_factory=list)
    schedule: dict[str, str] | None = None
    budget: dict[str, str] | None = None
    paused: bool = False
    paused_error: str | None = None  # the type of the error that paused it
    archived: float | None = None
    last_run: float | None = None
    total_runs: int = 0
    next_fire: float | None = None
    before: "Deployment | None" = None  # as it was before its last change

    def upcoming(self, after: float, *, count: int = 5) -> list[float]:
        """Return when the schedule fires next, also while paused (api/facts.md, 1.2)."""
        if self.schedule is None or self.archived is not None:
            return []
        return cron.upcoming(self.schedule["expression"], self.schedule["timezone"], after=after, count=count)

    def replan(self, after: float) -> None:
        """Work out the next fire anew: fires that were missed are not made up for."""
        self.next_fire = None if self.paused else next(iter(self.upcoming(after, count=1)), None)

    def prompt(self) -> Any:
        """Return the content of the first user message, which the session echoes."""
        said = (event["content"] for event in self.initial_events if event["type"] == "user.message")
        return next(said, PROMPT)


@dataclass
class Session:
    """A session that follows a script `speed` times as fast; `prompt` is its first message."""

    id: str
    turn_id: str
    deployment_id: str
    environment_id: str
    agent: dict[str, Any]
    script: Script
    prompt: Any
    created: float
    speed: float
    budget: dict[str, str] | None = None
    cancelled: float | None = None
    deleted: float | None = None
    _ended: Ending | None = None  # once it was found: lists ask thousands of sessions, again and again

    @cached_property
    def moments(self) -> list[Moment]:
        """Everything that happens in it, past and future, in order."""
        return [Moment(self.created + beat.at / self.speed, n, beat) for n, beat in enumerate(self.script)]

    def break_off(self, now: float, *beats: Beat) -> None:
        """Let only `beats` happen after `now`."""
        self.moments[:] = self.past(now)
        for beat in beats:
            self.moments.append(Moment(now + beat.at / self.speed, len(self.moments), beat))

    def past(self, now: float) -> list[Moment]:
        """Return what has happened by `now`."""
        return [moment for moment in self.moments if moment.at <= now]

    def busy(self, now: float) -> bool:
        """Return whether something is still to happen."""
        return any(moment.at > now for moment in self.moments)

    def status(self, now: float) -> str:
        """Return idle, running or terminated: there are no others (api/facts.md, 7.2)."""
        said = [m.beat.type for m in self.past(now) if m.beat.type.startswith("session.status_")]
        return said[-1].removeprefix("session.status_") if said else "idle"

    def starts(self) -> float | None:
        """Return when its turn begins, or None when it was cancelled before that."""
        return next((moment.at for moment in self.moments if moment.beat.type == WORK), None)

    def ending(self, now: float) -> Ending | None:
        """Return how its turn ended, or None; a session that asks has not ended."""
        if self._ended is None or self._ended.at > now:
            self._ended = self._find_ending(now)
        return self._ended

    def _find_ending(self, now: float) -> Ending | None:
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
        """Return the id of the event that a moment is."""
        digest = blake2s(f"{self.id}:{moment.number}:{moment.beat.type}".encode(), digest_size=16).digest()
        return "evt_" + base36(int.from_bytes(digest), ID_LENGTH)


@dataclass(slots=True)
class Run:
    """A run of a deployment: with a session, with an error, or skipped."""

    id: str
    deployment: Deployment
    agent: dict[str, Any]
    created: float
    trigger: dict[str, Any]
    origin: Origin
    session: Session | None = None
    error: tuple[str, str] | None = None

    def ending(self, now: float) -> Ending | None:
        """Return how it truly ended, or None while it goes on."""
        if self.session is not None:
            return self.session.ending(now)
        if self.error is not None:
            return Ending(self.created, "failed", *self.error)
        return Ending(self.created, "skipped")

    def status(self, now: float) -> str:
        """Return its status on an older server: pending only where the turn waits."""
        if ending := self.ending(now):
            return ending.status
        starts = self.session.starts() if self.session else None
        waits = starts is not None and starts - self.created > 0.1
        return "pending" if waits and starts is not None and now < starts else "running"


@dataclass(slots=True)
class Seen:
    """A request as the world saw it: when, what, which fault met it, and what it led to.

    `runs` are the ids of the runs it started, also later; `status` is None without a response;
    `replayed` means that an idempotency key brought back an earlier one.
    """

    at: float
    request: Request
    fault: str | None = None
    status: int | None = None
    runs: list[str] = field(default_factory=list)
    replayed: bool = False

    @property
    def method(self) -> str:
        """Return the method."""
        return self.request.method

    @property
    def path(self) -> str:
        """Return the whole path."""
        return self.request.path

    @property
    def key(self) -> str | None:
        """Return its Idempotency-Key."""
        return self.request.headers.get("idempotency-key")
