"""The service as a model: all it shows is computed from a clock that is passed in.

Nothing happens in the background: a run's events are laid out when it starts, and exist
once their time has come. Tests look at `requests`, `started()` and `ending()`.
"""

import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import InitVar, dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar, cast

from qoder_cli.base import cron
from qoder_cli.nouns.parts import UPLOADS, variables_in
from qoder_cli.sandbox.bodies import Unusable, references
from qoder_cli.sandbox.records import ENVIRONMENT, ID_LENGTH, LAYOUTS, PROMPT, TITLE, FakeThing, base36, stamp
from qoder_cli.sandbox.samples import (
    DEMO,
    OF_SESSION,
    PRESETS,
    RETIRED,
    SESSION,
    WORKED,
    WORKERS,
    WRITER,
    behaviour_with,
    samples,
)
from qoder_cli.sandbox.scripts import DELIVERS, Behaviour, FakeEnd, FakeSession
from qoder_cli.sandbox.wire import Generation, Refusal, Request, Shape

# Errors of a scheduled run that do not pause its deployment (api.md#deployments).
_PASSING = ("session_rate_limited_error", "session_creation_rejected_error")

MONTH = 30 * 86400  # seconds
# What a session keeps of its agent (api.md#sessions).
_SNAPSHOT = ("name", "description", "model", "system", "tools", "skills", "mcp_servers", "multiagent")

Act = Callable[[float], object]
T = TypeVar("T", bound=FakeThing)


# Who started a run: a request, someone else, the schedule, or nobody (it was always there).
Origin = Literal["request", "other", "schedule", "seed"]


@dataclass(eq=False)
class FakeDeployment(FakeThing):
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

    def change(self, at: float, **fields: Any) -> None:
        super().change(at, **fields)
        self.replan(at)

    def archive(self, at: float) -> None:
        """Archive it for good: its name is freed, its status stays."""
        self.change(at, archived_at=stamp(at), name=f"{self.name}_archived_{int(at)}")

    def upcoming(self, after: float, *, count: int = 5) -> Sequence[float]:
        """Return when the schedule fires next, also while paused (api.md#deployments)."""
        schedule = self.fields["schedule"]
        if schedule is None or self.archived is not None:
            return []
        return cron.upcoming(schedule, after=after, count=count)

    def replan(self, after: float) -> None:
        """Compute the next fire. Missed ones are not made up."""
        self.next_fire = None if self.paused else next(iter(self.upcoming(after, count=1)), None)


@dataclass(eq=False, kw_only=True)
class FakeRun(FakeThing):
    """A run of a deployment: with a session, with an error, or skipped."""

    deployment: FakeDeployment
    origin: Origin
    session: FakeSession | None = None

    def ending(self, now: float) -> FakeEnd | None:
        """Return how it really ended, None while it is running."""
        if self.session is not None:
            return self.session.ending(now)
        if error := self.fields["error"]:
            return FakeEnd(self.created, "failed", error["type"], error["message"])
        return FakeEnd(self.created, "skipped")

    def status(self, now: float) -> str:
        """Return its status on older servers: pending until a delayed turn begins."""
        if ending := self.ending(now):
            return ending.status
        starts = self.session.starts() if self.session else None
        if starts is not None and max(now, self.created + 0.1) < starts:
            return "pending"
        return "running"


@dataclass(kw_only=True, eq=False)
class World:
    """The state of the service. Hold `lock` where several threads use it."""

    clock: Callable[[], float] = time.time  # unix seconds
    generation: Generation = "current"
    speed: float = 1.0  # of sessions
    skew: float = 0.0  # seconds that the server's clock is off
    token: str = field(default_factory=lambda: f"pt-sandbox-{secrets.token_hex(16)}")
    service_tokens: dict[str, float] = field(default_factory=dict)  # of service accounts, and when each ends
    honour_key: bool = True  # else an Idempotency-Key is ignored
    heartbeat: float = 15.0  # seconds, whatever the speed (api.md#event-streams)
    unique_names: bool = True  # archiving frees a name (api.md#deployments and #errors)
    seed: InitVar[int | None] = None  # makes ids repeatable
    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=10_000))
    late: list[tuple[float, Act]] = field(default_factory=list)  # when, and what happens then
    things: dict[str, dict[str, FakeThing]] = field(default_factory=dict)  # by their path
    answered: dict[str, tuple[object, int, Any]] = field(default_factory=dict)  # by key

    def __post_init__(self, seed: int | None) -> None:
        self.lock = threading.RLock()
        self.deployments = cast(dict[str, FakeDeployment], self.things.setdefault("deployments", {}))
        self.runs = cast(dict[str, FakeRun], self.things.setdefault("deployment_runs", {}))
        self.sessions = cast(dict[str, FakeSession], self.things.setdefault("sessions", {}))
        self._random = random.Random(seed)
        self._delivering: list[FakeSession] = []  # sessions whose turns deliver files
        month_ago = self.now() - MONTH
        for n, preset in enumerate(reversed(PRESETS)):
            at = month_ago + 60 * n
            agent = {"id": preset.agent, "type": "agent", "version": 1}
            about = {"name": preset.title or preset.word, "description": preset.description, **preset.more}
            deployment = self.add_deployment(id=preset.id, at=at, agent=agent, initial_events=PROMPT, **about)
            if preset.archived:
                deployment.archive(at + 86400)
            if "schedule" in preset.more:  # it has no past: nothing fired that could be missed
                deployment.change(self.now() - 600)
        for what, parent, fields in samples():
            self.keep(what, parent, at=month_ago, **fields)
        retired, at = self.things["environments"][RETIRED], month_ago + 86400
        retired.change(at, archived_at=stamp(at))

    def now(self) -> float:
        """Return the server's own clock, in unix seconds."""
        return self.clock() + self.skew

    def new_id(self, prefix: str) -> str:
        """Return a fresh id: prefix, time and random digits."""
        half = ID_LENGTH // 2
        return f"{prefix}_{base36(int(self.now() * 1000), half)}{base36(self._random.getrandbits(64), half)}"

    def pinned(self, agent: Shape) -> Shape:
        """Return an agent with the version that it has, or the latest."""
        agent_kept = self.thing("agents", agent["id"])
        version = agent.get("version") or (agent_kept.fields["version"] if agent_kept else 1)
        return {**agent, "type": "agent", "version": version}

    def thing(self, home: str, key: str) -> FakeThing | None:
        """Return a thing by its list and name; None if missing or deleted."""
        entity = self.things.get(home, {}).get(key)
        return entity if entity and entity.deleted is None else None

    def alive(self, home: str) -> list[FakeThing]:
        """Return a list's things, oldest first, without the deleted."""
        return [entity for entity in self.things.get(home, {}).values() if entity.deleted is None]

    def keep(self, what: str, parent: str = "", *, at: float, **fields: Any) -> FakeThing:
        """Add a thing, created `at`; `what` begins the ids of its operations."""
        return self._add(FakeThing, what, parent, at=at, **fields)

    def _add(self, make: Callable[..., T], what: str, parent: str = "", *, at: float, **fields: Any) -> T:
        layout = LAYOUTS[what]
        shown = {"id": fields.get("id") or self.new_id(layout.prefix), "type": layout.type}
        text = stamp(at, digits=layout.digits)
        dates = {"created_at": text, "updated_at": text, "archived_at": None}
        whole = {**shown, **deepcopy(layout.empty), **{name: dates[name] for name in layout.dated}, **fields}
        entity = make(str(whole[layout.key]), whole, at)
        self.things.setdefault(layout.path.format(parent), {})[entity.id] = entity
        return entity

    def unusable(self, fields: Shape) -> "Unusable | None":
        """Return the first thing that fields refer to and that is not there, or is archived; None if there is none."""
        for at, kind, id in references(fields):
            home, _, parent = kind.partition(" of ")
            if parent and self.thing(f"{home}/{parent}/versions", id) is None:
                return Unusable(at, f"{home[:-1]}_version", id, "not_found")
            entity = self.thing(home, parent or id)
            if entity is None:
                return Unusable(at, home[:-1], id, "not_found")
            if entity.archived is not None and home != "sessions":
                return Unusable(at, home[:-1], id, "archived")
        return None

    def is_self_hosted(self, environment_id: str | None) -> bool:
        environment = self.thing("environments", str(environment_id))
        return environment is not None and environment.fields["config"]["type"] == "self_hosted"

    def snapshot(self, agent: Shape) -> Shape:
        """Return a pinned agent with what a session keeps of it, and what the session has instead."""
        version = self.thing(f"agents/{agent['id']}/versions", str(agent["version"]))
        whole = LAYOUTS["agents"].empty | (version.fields if version else {})
        return {"id": agent["id"]} | {name: whole[name] for name in _SNAPSHOT} | agent

    def behaviour(self, agent: Shape) -> Behaviour:
        """Return how a pinned agent behaves: as from the start with the tools that it had, else by its tools."""
        from_start = next((preset.behaviour for preset in PRESETS if preset.agent == agent["id"]), None)
        first = self.thing(f"agents/{agent['id']}/versions", "1")
        tools = self.snapshot(self.pinned(agent))["tools"]
        if from_start and (first is None or tools == first.fields["tools"]):
            return from_start
        if asking := behaviour_with(tools):
            return asking
        if from_start is None or from_start.asks:
            return DEMO
        return from_start

    # Acts: what requests, other people and the schedule do.

    def add_deployment(
        self, *, at: float | None = None, behaviour: Behaviour | None = None, **fields: Any
    ) -> FakeDeployment:
        """Add a deployment, created `at` (default: now)."""
        if at is None:
            at = self.now()
        deployment = self._add(FakeDeployment, "deployments", at=at, **fields)
        deployment.behaviour = behaviour or self.behaviour(deployment.fields["agent"])
        deployment.replan(self.now())
        return deployment

    def add_session(
        self,
        *,
        at: float,
        behaviour: Behaviour | None = None,
        initial_events: Sequence[dict[str, Any]] = (),
        **fields: Any,
    ) -> FakeSession:
        """Add a session, created `at`."""
        fields["agent"] = self.snapshot(fields["agent"])
        behaviour = behaviour or self.behaviour(fields["agent"])
        if not behaviour.script:
            behaviour = DEMO
        make = partial(FakeSession, speed=self.speed, behaviour=behaviour, initial_events=list(initial_events))
        session = self._add(make, "sessions", at=at, **fields)
        if any(beat.type == DELIVERS for beat in behaviour.script):
            self._delivering.append(session)
        return session

    def new_resource(self, fields: dict[str, Any], *, at: float) -> dict[str, Any]:
        resource = {"id": self.new_id("sesr"), **fields, "created_at": stamp(at), "updated_at": stamp(at)}
        if "file_id" in fields:
            resource.setdefault("mount_path", f"{UPLOADS}{fields['file_id']}")
        return resource

    def start(
        self,
        deployment: FakeDeployment | str,
        *,
        origin: Origin = "other",
        trigger: Literal["manual", "schedule", "retry"] = "manual",
        at: float | None = None,
    ) -> FakeRun:
        """Start a run, by default now and as someone else. Raises Refusal."""
        if isinstance(deployment, str):
            deployment = self.deployments[deployment]
        if deployment.archived is not None or deployment.paused:
            raise Refusal(409, "Deployment is not active.")
        at = self.now() if at is None else at
        fields, behaviour = deployment.fields, deployment.behaviour
        context: Shape = {"type": trigger}
        if trigger == "schedule":
            context["scheduled_at"] = stamp(at)
        same: dict[str, Any] = {"deployment_id": deployment.id, "agent": dict(fields["agent"])}
        make = partial(FakeRun, deployment=deployment, origin=origin)
        run = self._add(make, "deployment_runs", at=at, trigger_context=context, **same)
        error = None
        version = self.thing(f"agents/{fields['agent']['id']}/versions", str(fields["agent"]["version"]))
        skills = version.fields["skills"] if version else []
        referring = {name: value for name, value in fields.items() if name != "agent" or version}  # it cannot go
        if unusable := self.unusable(referring) or self.unusable({"skills": skills}):
            error = unusable.as_error()
        elif self.is_self_hosted(fields["environment_id"]) and (fields["resources"] or fields["environment_variables"]):
            error = "self_hosted_resources_unsupported_error", "Self-hosted environments take no resources."
        elif behaviour.script:
            run.session = self.add_session(
                at=at,
                behaviour=behaviour,
                environment_variables=variables_in(fields["environment_variables"]),
                resources=[self.new_resource(resource, at=at) for resource in fields["resources"]],
                initial_events=fields["initial_events"] or PROMPT,
                title=TITLE,
                **same,
                **{name: fields[name] for name in ("environment_id", "vault_ids", "budget")},
            )
            run.fields["session_id"] = run.session.id
        elif not behaviour.skipped or self.generation == "current":
            error = behaviour.error
        if error is not None:
            run.fields["error"] = {"type": error[0], "message": error[1]}
        deployment.last_run, deployment.total_runs = at, deployment.total_runs + 1
        return run

    def postpone(self, seconds: float, act: Callable[[float], object]) -> None:
        """Call `act` later, with the time at which it was due."""
        self.late.append((self.now() + seconds, act))

    def settle(self) -> None:
        """Do everything whose time has come: late acts and schedules."""
        while True:
            acts: list[tuple[float, Act]] = list(self.late)
            acts += [(d.next_fire, partial(self._fire, d)) for d in self.deployments.values() if d.next_fire]
            first = min(acts, key=lambda late: late[0], default=None)
            if first is None or first[0] > self.now():
                self._deliver()
                return
            self.late = [late for late in self.late if late is not first]
            due, act = first
            act(due)

    # Inspection: what tests ask.

    def started(self, *, origin: Origin = "request") -> list[FakeRun]:
        """Return the runs of this origin started so far, oldest first."""
        with self.lock:
            self.settle()
            return [run for run in self.runs.values() if run.origin == origin]

    def ending(self, run_id: str) -> FakeEnd | None:
        """Return how a run truly ended; None while it goes on."""
        return self.runs[run_id].ending(self.now())

    def seed_deployments(self, count: int, *, behaviour: Behaviour = DEMO) -> list[FakeDeployment]:
        """Add `count` deployments with the same behaviour."""
        with self.lock:
            return [self.add_deployment(name=f"seed-{n:04}", behaviour=behaviour) for n in range(count)]

    def seed_session(self) -> FakeSession:
        """Add the sessions that the samples belong to, a month old. Return the one that is everywhere in help."""
        about: dict[str, Any] = {"agent": {"id": WRITER, "type": "agent", "version": 1}, "initial_events": PROMPT}
        at = self.now() - MONTH
        with self.lock:
            self.add_session(id=WORKED, at=at, environment_id=WORKERS, title="Build on our own hosts", **about)
            about |= {"environment_id": ENVIRONMENT, "title": TITLE, "behaviour": OF_SESSION}
            return self.add_session(id=SESSION, at=at, **about)

    # Within.

    def _deliver(self) -> None:
        for session in self._delivering:
            for moment in session.past(self.now()):
                file = session.file_of(moment)
                if file and file["id"] not in self.things.get("files", {}):
                    self.keep("files", at=moment.at, **file)

    def _fire(self, deployment: FakeDeployment, due: float) -> None:
        run = self.start(deployment, origin="schedule", trigger="schedule", at=due)
        deployment.replan(due)
        error = run.fields["error"]
        if error is not None and error["type"] not in _PASSING:
            reason = {"type": "error", "error": {"type": error["type"]}}
            deployment.change(self.now(), status="paused", paused_reason=reason)
