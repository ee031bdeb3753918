"""The service as a model: everything it shows is computed from a clock that is passed in.

Nothing happens in the background. A run's events are laid out when it starts and exist once their time has
come, so that a test which owns the clock owns the whole world. What the world saw and did is kept for
inspection: `requests`, `started()`, `ending()`.
"""

import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from qoder_cli.sandbox.ids import LENGTH, base36
from qoder_cli.sandbox.presets import DEMO, PRESETS, Preset
from qoder_cli.sandbox.records import Deployment, Ending, Origin, Run, Seen, Session
from qoder_cli.sandbox.scripts import Behaviour
from qoder_cli.sandbox.wire import Answer, Generation, Request

# Errors of a scheduled run that do not pause its deployment: there is no such reason (api/facts.md, 1.2).
_PASSING = ("session_rate_limited_error", "session_creation_rejected_error")


class Conflict(Exception):
    """The deployment is in the wrong state for this, or its name is taken."""


@dataclass(frozen=True, slots=True)
class Late:
    """An act whose time has not come."""

    due: float
    act: Callable[[float], object]


class World:
    """The state of the service. Everything it shows is computed from `clock`, which returns unix seconds.

    `speed` divides the time that sessions take. `skew` is by how many seconds the server's clock is off.
    `honour_key` says whether an Idempotency-Key is respected; `heartbeat` is how many seconds an event stream is quiet
    before it gives a sign of life, whatever the speed. `token` is the one that is
    accepted, by default one that nobody can guess. With `unique_names` a name that an unarchived deployment has is
    refused: archiving is documented to free it, and 409 for a duplicate creation (api/facts.md, 1.2 and 3.4), though on
    no page of deployments. `seed` makes the ids repeatable. Use `lock` around what reads or changes it from several
    threads; `api.handle` does.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        generation: Generation = "current",
        speed: float = 1.0,
        skew: float = 0.0,
        token: str | None = None,
        honour_key: bool = True,
        heartbeat: float = 15.0,
        unique_names: bool = True,
        presets: bool = True,
        seed: int | None = None,
    ) -> None:
        self.clock = clock
        self.generation: Generation = generation
        self.speed = speed
        self.skew = skew
        self.token = token or f"pt-sandbox-{secrets.token_hex(16)}"
        self.honour_key = honour_key
        self.heartbeat = heartbeat
        self.unique_names = unique_names
        self.agent_versions: dict[str, int] = {}  # the latest version of an agent, where it is not 1
        self.lock = threading.RLock()
        self.deployments: dict[str, Deployment] = {}
        self.runs: dict[str, Run] = {}  # oldest first
        self.sessions: dict[str, Session] = {}  # oldest first
        self.requests: deque[Seen] = deque(maxlen=10_000)
        self.late: list[Late] = []
        self.answered: dict[str, tuple[object, Answer]] = {}  # by idempotency key: what was asked, and the answer
        self._random = random.Random(seed)
        if presets:
            self._furnish()

    def now(self) -> float:
        """Return the server's own clock, in unix seconds."""
        return self.clock() + self.skew

    def turn_clock(self, skew: float) -> None:
        """Set the server's own clock `skew` seconds off; schedules go on from there."""
        if skew != self.skew:
            self.skew = skew
            for deployment in self.deployments.values():
                deployment.replan(self.now())

    def new_id(self, prefix: str) -> str:
        """Return a fresh id: a prefix, the time, and what tells it from others of the same time."""
        half = LENGTH // 2
        return f"{prefix}_{base36(int(self.now() * 1000), half)}{base36(self._random.getrandbits(64), half)}"

    def latest_version(self, agent_id: str) -> int:
        """Return the version that an agent without one is pinned to."""
        return self.agent_versions.get(agent_id, 1)

    def refuse_taken(self, name: str, *, besides: Deployment | None = None) -> None:
        """Raise Conflict when another deployment that is not archived has this name, and names are unique."""
        others = (each for each in self.deployments.values() if each.archived is None and each is not besides)
        if self.unique_names and any(each.name == name for each in others):
            raise Conflict("A deployment with this name already exists.")

    # Acts: what requests, other people and the schedule do.

    def add_deployment(self, *, name: str, id: str | None = None, at: float | None = None, **fields: Any) -> Deployment:
        """Add a deployment, created `at` (default: now). `fields` are those of Deployment."""
        at = self.now() if at is None else at
        made = Deployment(id=id or self.new_id("dep"), name=name, created=at, updated=at, **fields)
        made.replan(at)
        self.deployments[made.id] = made
        return made

    def start(
        self,
        deployment: Deployment | str,
        *,
        origin: Origin = "other",
        trigger: Literal["manual", "schedule", "retry"] = "manual",
        at: float | None = None,
    ) -> Run:
        """Start a run `at` (default: now), as someone else unless told. Raises Conflict when it cannot be."""
        deployment = self.deployments[deployment] if isinstance(deployment, str) else deployment
        if deployment.archived is not None:
            raise Conflict("Deployment is archived.")
        if deployment.paused:
            raise Conflict("Deployment is not active.")
        at = self.now() if at is None else at
        run = self._new_run(deployment, origin=origin, trigger=trigger, at=at)
        deployment.last_run, deployment.total_runs = at, deployment.total_runs + 1
        return run

    def pause(self, deployment: Deployment) -> None:
        """Stop its schedule and forbid runs. Raises Conflict when it is paused or archived."""
        self._refuse_archived(deployment)
        if deployment.paused:
            raise Conflict("Deployment is already paused.")
        self.change(deployment, {"paused": True})

    def unpause(self, deployment: Deployment) -> None:
        """Undo a pause. Raises Conflict when it is not paused, or archived."""
        self._refuse_archived(deployment)
        if not deployment.paused:
            raise Conflict("Deployment is not paused.")
        self.change(deployment, {"paused": False, "paused_error": None})

    def archive(self, deployment: Deployment) -> None:
        """Retire it for good: its name is freed, its status stays. Raises Conflict if it is."""
        now = self.now()
        self.change(deployment, {"archived": now, "name": f"{deployment.name}_archived_{int(now)}"})

    def change(self, deployment: Deployment, fields: dict[str, Any]) -> None:
        """Give it new values for some of its fields. Raises Conflict when it is archived, or the name is taken."""
        self._refuse_archived(deployment)
        if "name" in fields:
            self.refuse_taken(fields["name"], besides=deployment)
        deployment.before = replace(deployment, before=None)
        for name, value in fields.items():
            setattr(deployment, name, value)
        deployment.updated = self.now()
        deployment.replan(deployment.updated)

    def cancel(self, session: Session) -> bool:
        """Stop what is going on in a session, a moment from now, and return whether anything was."""
        if not session.busy(self.now()):
            return False
        if session.cancelled is None:
            session.cancelled = self.now()
        return True

    def delete(self, session: Session) -> None:
        """Delete a session for good, whatever goes on in it: its run stays."""
        session.deleted = self.now()

    def postpone(self, seconds: float, act: Callable[[float], object]) -> None:
        """Let `act` happen later; it is called with the time at which it was due."""
        self.late.append(Late(self.now() + seconds, act))

    def settle(self) -> None:
        """Let everything happen whose time has come: late acts and schedules."""
        while (late := self._next_due()) is not None:
            late.act(late.due)

    # Inspection: what tests ask.

    def note(self, request: Request, *, fault: str | None = None) -> Seen:
        """Remember a request, and return the entry that its consequences are written to."""
        seen = Seen(self.now(), request, fault)
        self.requests.append(seen)
        return seen

    def started(self, *, origin: Origin = "request") -> list[Run]:
        """Return the runs that requests (or others) started so far, oldest first."""
        with self.lock:
            self.settle()
            return [run for run in self.runs.values() if run.origin == origin]

    def ending(self, run_id: str) -> Ending | None:
        """Return how a run truly ended; None while it goes on."""
        return self.runs[run_id].ending(self.now())

    def seed_runs(self, count: int, *, deployment_id: str = "dep_demo", every: float = 60.0) -> list[Run]:
        """Add `count` manual runs of the past, `every` seconds apart, and return them oldest first."""
        deployment = self.deployments[deployment_id]
        last = self.now() - 3600
        with self.lock:
            made = [
                self._new_run(deployment, origin="seed", trigger="manual", at=last - every * n)
                for n in reversed(range(count))
            ]
            self.runs = {run.id: run for run in sorted(self.runs.values(), key=lambda run: run.created)}
            self.sessions = {s.id: s for s in sorted(self.sessions.values(), key=lambda s: s.created)}
        return made

    def seed_deployments(self, count: int, *, behaviour: Behaviour = DEMO) -> list[Deployment]:
        """Add `count` deployments, all with the same behaviour, and return them."""
        with self.lock:
            return [self.add_deployment(name=f"seed-{n:04}", behaviour=behaviour) for n in range(count)]

    # Within.

    def _furnish(self) -> None:
        month_ago = self.now() - 30 * 86400
        for n, preset in enumerate(reversed(PRESETS)):
            self._place(preset, at=month_ago + 60 * n)

    def _place(self, preset: Preset, *, at: float) -> None:
        archived = at + 86400 if preset.archived else None
        self.add_deployment(
            id=preset.id,
            name=preset.name + (f"_archived_{int(archived)}" if archived else ""),
            at=at,
            behaviour=preset.behaviour,
            description=preset.description,
            initial_events=[
                {
                    "type": "user.message",
                    "content": [{"type": "text", "text": "Generate today's status report"}],
                }
            ],
            schedule={"expression": preset.cron, "timezone": "UTC"} if preset.cron else None,
            budget={"type": "limit", "max_credit_cost": preset.budget} if preset.budget else None,
            paused=preset.paused,
            archived=archived,
        ).replan(self.now())

    def _new_run(self, deployment: Deployment, *, origin: Origin, trigger: str, at: float) -> Run:
        context = {"type": trigger} | ({"scheduled_at": at} if trigger == "schedule" else {})
        run = Run(self.new_id("drun"), deployment, dict(deployment.agent), at, context, origin)
        behaviour = deployment.behaviour
        if behaviour.script:
            run.session = self._new_session(deployment, at=at)
        elif not behaviour.skipped or self.generation == "current":
            run.error = behaviour.error
        self.runs[run.id] = run
        return run

    def _new_session(self, deployment: Deployment, *, at: float) -> Session:
        session = Session(
            id=self.new_id("sess"),
            turn_id=self.new_id("turn"),
            deployment_id=deployment.id,
            environment_id=deployment.environment_id,
            agent=dict(deployment.agent),
            script=deployment.behaviour.script,
            prompt=deployment.prompt(),
            created=at,
            speed=self.speed,
            budget=deployment.budget,
        )
        self.sessions[session.id] = session
        return session

    def _next_due(self) -> Late | None:
        """Return the earliest act whose time has come, taken off the list."""
        fires = [Late(d.next_fire, self._fire(d)) for d in self.deployments.values() if d.next_fire is not None]
        first = min(self.late + fires, key=lambda late: late.due, default=None)
        if first is None or first.due > self.now():
            return None
        self.late = [late for late in self.late if late is not first]
        return first

    def _fire(self, deployment: Deployment) -> Callable[[float], None]:
        def fire(due: float) -> None:
            run = self.start(deployment, origin="schedule", trigger="schedule", at=due)
            deployment.replan(due)
            if run.error is not None and run.error[0] not in _PASSING:
                self.change(deployment, {"paused": True, "paused_error": run.error[0]})

        return fire

    def _refuse_archived(self, deployment: Deployment) -> None:
        if deployment.archived is not None:
            raise Conflict("Deployment is archived.")
