"""What runs used: sessions and runs of a span, added up by what they have in common.

There is no endpoint for it. A session says what it used so far (api.md#sessions), floored to two places;
deleted sessions are gone. So a sum is what was used at least, and what is missing is unknown and never 0.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from sys import intern
from typing import Annotated, Any, Literal, NamedTuple

from qoder_cli.base.credits import amount, as_text, share, total
from qoder_cli.base.jsontext import Number
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.times import parse_timestamp
from qoder_cli.history.records import Outcome, outcome_of
from qoder_cli.history.window import Window

By = Literal["deployment", "agent", "model", "environment", "day", "trigger"]
OUTCOMES: tuple[Outcome, ...] = ("completed", "failed", "skipped", "going", "unknown")
AT_REST = ("idle", "terminated")  # statuses of a session that does not grow; so does none that is archived


class _RunUsage(NamedTuple):
    """What is kept of a run until its session is seen."""

    outcome: Outcome
    milliseconds: int | None
    session: str | None
    deployment: str | None
    agent: str | None
    trigger: str | None
    day: str | None


@dataclass(frozen=True)
class DearestSession:
    """The session that used most."""

    session_id: str
    credits: Number


_SUMMED = "what is added up, its id or word (null for what has none), and its name if that is known"
_ENDED = "how they ended; unknown where nobody can tell"
_TOOK = "how long completed runs took: half of them at most so long, and 95 of 100"


@dataclass(frozen=True)
class UsageSum:
    """The sum of what has one key; None is unknown. Its fields are its JSON."""

    by: Annotated[By, _SUMMED]
    key: Annotated[str | None, _SUMMED]
    name: Annotated[str | None, _SUMMED]
    runs: Annotated[int | None, "how many runs; null where runs may not be read"]
    completed: Annotated[int | None, _ENDED]
    failed: Annotated[int | None, _ENDED]
    skipped: Annotated[int | None, _ENDED]
    going: Annotated[int | None, _ENDED]
    unknown: Annotated[int | None, _ENDED]
    success_percent: Annotated[int | None, "completed runs of those that completed or failed, rounded down, or null"]
    p50_ms: Annotated[int | None, _TOOK]
    p95_ms: Annotated[int | None, _TOOK]
    credits: Annotated[Number | None, "the least that was used, an exact decimal; null where no session says"]
    credits_per_run: Annotated[Number | None, "credits by the runs that have them, rounded down to two places"]
    dearest: Annotated[DearestSession | None, "the session that used most, with session_id and credits, or null"]
    sessions: Annotated[int, "how many sessions"]
    credits_unknown: Annotated[int, "sessions that do not say what they used, or are gone"]
    growing: Annotated[int, "sessions that are still running"]


@dataclass(slots=True)
class Tally:
    """Runs and sessions, counted."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    durations: list[int] = field(default_factory=list)  # of completed runs, in milliseconds
    sessions: int = 0
    unknown: int = 0  # sessions of which it is not known what they used
    silent: int = 0  # of these, that have ended
    growing: int = 0  # sessions that still run
    credits: Decimal = Decimal(0)
    of_runs: Decimal = Decimal(0)  # of these what runs used
    priced: int = 0  # runs of which it is known
    dearest: tuple[Decimal, str] | None = None  # what a session used at most, and its id

    @property
    def runs(self) -> int:
        return self.outcomes.total()

    def add_run(self, outcome: Outcome, milliseconds: int | None) -> None:
        self.outcomes[outcome] += 1
        if outcome == "completed" and milliseconds is not None:
            self.durations.append(milliseconds)

    def add_session(self, id: str, used: Decimal | None, *, of_run: bool, is_growing: bool = False) -> None:
        """Count a session; None for one whose usage is unknown."""
        self.sessions += 1
        self.growing += is_growing
        if used is None:
            self.unknown += 1
            self.silent += not is_growing
            return
        self.credits = total((self.credits, used))
        if of_run:
            self.of_runs = total((self.of_runs, used))
            self.priced += 1
        if self.dearest is None or used > self.dearest[0]:
            self.dearest = used, id

    def as_sum(self, by: By, key: str | None, name: str | None, *, has_runs: bool) -> UsageSum:
        """Return it as it is printed; `has_runs` says whether runs could be read."""
        outcomes: dict[str, int | None] = dict.fromkeys(("runs", *OUTCOMES))
        if has_runs:
            outcomes = {"runs": self.runs, **{outcome: self.outcomes[outcome] for outcome in OUTCOMES}}
        credits = success = per_run = dearest = None
        if self.unknown < self.sessions or not self.sessions:
            credits = Number(as_text(self.credits))
        if judged := self.outcomes["completed"] + self.outcomes["failed"]:
            success = 100 * self.outcomes["completed"] // judged
        if self.priced:
            per_run = Number(as_text(share(self.of_runs, self.priced)))
        if self.dearest is not None:
            dearest = DearestSession(self.dearest[1], Number(as_text(self.dearest[0])))
        return UsageSum(
            by=by,
            key=key,
            name=name,
            **outcomes,
            success_percent=success,
            p50_ms=percentile(self.durations, 50),
            p95_ms=percentile(self.durations, 95),
            credits=credits,
            credits_per_run=per_run,
            dearest=dearest,
            sessions=self.sessions,
            credits_unknown=self.unknown,
            growing=self.growing,
        )


def percentile(values: Collection[int], percent: int) -> int | None:
    """Return the value that so many percent do not exceed; None of none."""
    if not values:
        return None
    return sorted(values)[max(math.ceil(percent * len(values) / 100), 1) - 1]


class Usage:
    """Adds up runs, then sessions, each once by its id. `deployments` are those that count; None for all.

    `every` counts all sessions.

    `undated` counts what does not say when it was created, or has no id: it is in no sum. `lacks_runs` is for the
    caller to say that runs could not all be read; it counts what is no run among the `undated`.
    """

    def __init__(self, by: By, window: Window, *, deployments: Collection[str] | None = None) -> None:
        self._by = by
        self._window = window
        self._deployments = deployments
        self._runs: dict[str, _RunUsage] = {}
        self._of_session: dict[str, str] = {}
        self._seen: set[str] = set()
        self._tallies: dict[str | None, Tally] = defaultdict(Tally)
        self._names: dict[str | None, str] = {}
        self.every = Tally()
        self.lacks_runs = False
        self.undated = self._lost_sessions = 0
        self._lost_runs = set[str]()  # sessions of runs that are in no sum, though they may count
        self._of_no_deployment = set[str]()  # sessions left out because neither they nor a run names a deployment

    def add_runs(self, runs: Iterable[Run]) -> None:
        for run in runs:
            created = parse_timestamp(run.triggered_at)
            if not self._counts(run.deployment_id):
                continue
            if created is None:
                self.undated += 1
                if run.session_id is not None:
                    self._lost_runs.add(run.session_id)
                continue
            if not self._window.holds(created):
                continue
            agent = text(mapping(run.raw.get("agent")).get("id"))
            trigger = text(mapping(run.raw.get("trigger_context")).get("type"))
            common = [value and intern(value) for value in (run.deployment_id, agent, trigger, _day(created))]
            self._runs[run.id] = _RunUsage(outcome_of(run), run.duration_ms, run.session_id, *common)
            if run.session_id is not None:
                self._of_session.setdefault(run.session_id, run.id)

    def add_sessions(self, sessions: Iterable[dict[str, Any]]) -> None:
        for session in sessions:
            id, created = text(session.get("id")), parse_timestamp(session.get("created_at"))
            if id is None or created is None:
                self.undated += 1
                self._lost_sessions += 1
                continue
            ran = self._runs.get(self._of_session.get(id, ""))
            if id in self._seen or (ran is None and not self._window.holds(created)):
                continue  # a run within the span counts with its session, made a moment before or after
            deployment = text(session.get("deployment_id")) or (ran and ran.deployment)
            if not self._counts(deployment):
                if deployment is None:
                    self._of_no_deployment.add(id)
                else:
                    self._lost_runs.discard(id)
                continue
            self._seen.add(id)
            key, name = self._key_of(session, ran, deployment, created)
            if name is not None:
                self._names.setdefault(key, name)
            tally = self._tallies[key]
            used = amount(mapping(session.get("usage")).get("total_credits"))
            status = text(session.get("status"))
            is_growing = status is not None and status not in AT_REST and text(session.get("archived_at")) is None
            for one in (tally, self.every):
                one.add_session(id, used, is_growing=is_growing, of_run=ran is not None)
            if ran is not None:
                tally.add_run(ran.outcome, ran.milliseconds)
                del self._runs[self._of_session.pop(id)]

    def sums(self, *, has_runs: bool) -> list[UsageSum]:
        """Return the sums, dearest first, days in their order; `has_runs` says whether runs could be read.

        What a run used whose session is in no list is unknown.
        """
        for ran in self._runs.values():
            of_run = {"deployment": ran.deployment, "agent": ran.agent, "trigger": ran.trigger, "day": ran.day}
            tally = self._tallies[of_run.get(self._by)]
            tally.add_run(ran.outcome, ran.milliseconds)
            if ran.session is not None and ran.session not in self._seen:
                self._seen.add(ran.session)
                for one in (tally, self.every):
                    one.add_session(ran.session, None, of_run=True)
        self._runs.clear()
        tallies = sorted(self._tallies.items(), key=lambda one: (-one[1].credits, -one[1].runs, one[0] or ""))
        if self._by == "day":
            ordinals = [date.fromisoformat(day).toordinal() for day in self._tallies if day]
            # Those between, too, on which nothing ran.
            span = range(min(ordinals, default=1), max(ordinals, default=0) + 1)
            days = [date.fromordinal(ordinal).isoformat() for ordinal in span]
            tallies = [(day, self._tallies[day]) for day in days]
        return [tally.as_sum(self._by, key, self._names.get(key), has_runs=has_runs) for key, tally in tallies]

    @property
    def unclear(self) -> int:
        """How many sessions may count, but are in no sum, once all were added."""
        doubtful = self._lost_runs | (self._of_no_deployment if self.lacks_runs else set())
        return self._lost_sessions + len(doubtful - self._seen)

    def _counts(self, deployment: str | None) -> bool:
        return self._deployments is None or deployment in self._deployments

    def _key_of(
        self, session: dict[str, Any], ran: _RunUsage | None, deployment: str | None, created: datetime
    ) -> tuple[str | None, str | None]:
        """Return the key of a session, and what that is called."""
        agent = mapping(session.get("agent"))
        match self._by:
            case "deployment":
                return deployment, text(session.get("deployment_name"))
            case "agent":
                return text(agent.get("id")) or text(session.get("agent")), text(agent.get("name"))
            case "model":
                model = agent.get("model")
                return text(model) or text(mapping(model).get("id")), None
            case "environment":
                return text(session.get("environment_id")), None
            case "day":
                return (ran and ran.day) or _day(created), None
            case "trigger":
                return ran and ran.trigger, None


def _day(moment: datetime) -> str:
    return datetime.fromtimestamp(moment.timestamp()).date().isoformat()
