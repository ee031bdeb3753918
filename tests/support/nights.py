"""An account through a year: schedules that are changed, paused and archived, fires that are dropped, doubled, delayed.

When a schedule is due is worked out here on a calendar of its own, date by date, not by the program's.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import formatdate
from functools import cached_property
from itertools import pairwise, product
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import httpx

from qoder_cli.sandbox.records import stamp
from qoder_cli.sandbox.wire import Generation

DAY, HOUR = 86400.0, 3600.0
LATE = 900.0
BEGIN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
END = BEGIN + 365 * DAY
ZONES = (
    *("UTC", "Europe/Berlin", "Europe/London", "America/New_York", "America/Los_Angeles", "America/Sao_Paulo"),
    *("Australia/Lord_Howe", "Australia/Sydney", "Asia/Kolkata", "Asia/Shanghai", "Africa/Cairo", "Pacific/Auckland"),
)


class Schedule(NamedTuple):
    """Minutes and hours of a day, days of a week from Monday, 0; an empty tuple is every one."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    weekdays: tuple[int, ...]
    zone: str

    @classmethod
    def drawn(cls, chance: random.Random) -> "Schedule":
        few = [(1, 2, 3), (2,), (3,), (9,), (0, 12), (23,), tuple(sorted(chance.sample(range(24), 4)))]
        hours = () if chance.random() < 0.08 else chance.choice(few)
        minutes = chance.choice([(0,), (30,), (0, 30), (chance.randrange(60),)] if hours else [(0,), (15,)])
        weekdays = chance.choice([(), (), (0, 1, 2, 3, 4), tuple(sorted(chance.sample(range(7), 2)))])
        return cls(minutes, hours, weekdays, chance.choice(ZONES))

    @property
    def expression(self) -> str:
        weekdays = [str((day + 1) % 7) for day in self.weekdays]
        fields = [",".join(map(str, self.minutes)), ",".join(map(str, self.hours)), "*", "*", ",".join(weekdays)]
        return " ".join(each or "*" for each in fields)

    def moments(self, since: float, until: float) -> Iterator[tuple[float, float]]:
        """Yield when it is due after `since` and before `until`, and when the clock shows that time again, or 0."""
        zone = ZoneInfo(self.zone)
        date = datetime.fromtimestamp(since, zone).date() - timedelta(days=1)
        while date <= datetime.fromtimestamp(until, zone).date():
            hours = self.hours or range(24)
            for hour, minute in product(hours, self.minutes) if date.weekday() in (self.weekdays or range(7)) else ():
                wall = datetime(date.year, date.month, date.day, hour, minute)
                first, again = (wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
                is_shown = datetime.fromtimestamp(first, zone).replace(tzinfo=None, fold=0) == wall
                if is_shown and since < first < until:
                    yield first, again if again > first else 0.0
            date += timedelta(days=1)

    def turns_near(self, at: float) -> bool:
        zone = ZoneInfo(self.zone)
        offsets = {datetime.fromtimestamp(at + n * HOUR, zone).utcoffset() for n in (-4, -2, 0, 2)}
        return len(offsets) > 1


@dataclass
class Started:
    """A run: of which fire, when it came, and how it went: done, failed, or nothing."""

    id: str
    deployment: "Deployed"
    due: float
    came: float
    went: str
    credits: str

    @property
    def session(self) -> str:
        return f"sess_{self.id[5:]}"

    @property
    def ended(self) -> float:
        return self.came + 40.0

    def row(self, generation: Generation, now: float) -> dict[str, Any]:
        context: dict[str, Any] = {"type": "schedule"}
        if self.deployment.names:
            context["scheduled_at"] = stamp(self.due)
        shown: dict[str, Any] = {
            "id": self.id,
            "type": "deployment_run",
            "deployment_id": self.deployment.id,
            "session_id": self.session,
            "error": None,
            "trigger_context": context,
            "created_at": stamp(self.came),
        }
        if generation == "current":
            return shown
        shown |= {"status": "running", "triggered_at": stamp(self.came)}
        if self.ended <= now:
            shown |= {"status": "failed" if self.went == "failed" else "completed", "completed_at": stamp(self.ended)}
        if shown["status"] == "failed":
            shown["error"] = {"type": "retries_exhausted", "message": "It broke."}
        return shown

    def events(self, now: float) -> list[dict[str, Any]]:
        reason = "retries_exhausted" if self.went == "failed" else "end_turn"
        message = {"type": "agent.message", "content": [{"type": "text", "text": "Done."}]}
        told: list[tuple[float, dict[str, Any]]] = [
            (2.0, {"type": "session.status_running"}),
            *([(20.0, message)] if self.went == "done" else []),
            (40.0, {"type": "session.status_idle", "stop_reason": {"type": reason}}),
        ]
        return [
            {"id": f"evt_{n}_{self.id}", "processed_at": stamp(self.came + at), **event}
            for n, (at, event) in enumerate(told)
            if self.came + at <= now
        ]


@dataclass
class Deployed:
    """A deployment, and what was done to it: when, what, and the schedule from then on."""

    id: str
    created: float
    names: bool  # whether its runs name their fires
    history: list[tuple[float, str, Schedule]]
    twice: bool  # whether it fires twice where a clock shows a time twice
    due: list[tuple[float, float]] = field(default_factory=list)  # as `Schedule.moments`

    def at(self, now: float) -> tuple[float, str, Schedule]:
        """Return what was done to it last."""
        return [each for each in self.history if each[0] <= now][-1]

    def row(self, now: float, last_run: float | None) -> dict[str, Any]:
        changed, what, schedule = self.at(now)
        told: dict[str, Any] = {"last_run_at": stamp(last_run)} if last_run else {}
        return {
            "id": self.id,
            "type": "deployment",
            "name": self.id.removeprefix("dep_"),
            "status": "paused" if what == "pause" else "active",
            "paused_reason": {"type": "manual"} if what == "pause" else None,
            "schedule": {"type": "cron", "expression": schedule.expression, "timezone": schedule.zone, **told},
            "created_at": stamp(self.created),
            "updated_at": stamp(changed),
            "archived_at": stamp(changed) if what == "archive" else None,
        }


class Account:
    """Deployments and all their runs from `begin` to `end`."""

    def __init__(self, seed: int, *, deployments: int = 100, begin: float = BEGIN, end: float = END) -> None:
        self.chance = random.Random(seed)
        self._begin, self._end = begin, end
        self.deployments = [self._deployed(n) for n in range(deployments)]
        self.runs: list[Started] = []
        for each in self.deployments:
            self._fire(each)
        self.runs.sort(key=lambda run: run.came)

    def _deployed(self, number: int) -> Deployed:
        chance, begin, end = self.chance, self._begin, self._end
        created = begin - 30 * DAY if chance.random() < 0.7 else chance.uniform(begin, end - DAY)
        history = [(created, "create", Schedule.drawn(chance))]
        for at in sorted(chance.uniform(created + HOUR, end) for _ in range(chance.choice((0, 0, 1, 2, 4)))):
            what = history[-1][1]
            if what == "archive" or at - history[-1][0] < HOUR:
                continue
            choices = ["unpause"] if what == "pause" else ["edit", "edit", "pause", "archive"]
            done = chance.choice(choices)
            history.append((at, done, Schedule.drawn(chance) if done == "edit" else history[-1][2]))
        return Deployed(f"dep_{number}", created, chance.random() < 0.8, history, chance.random() < 0.5)

    def _fire(self, one: Deployed) -> None:
        ends = [*(at for at, _, _ in one.history[1:]), self._end]
        for (start, what, schedule), end in zip(one.history, ends, strict=True):
            if what in ("pause", "archive"):
                continue
            moments = list(schedule.moments(max(start, self._begin), end))
            one.due += moments
            alone = not moments or min((b[0] - a[0] for a, b in pairwise(moments)), default=DAY)
            for due, again in moments:
                for at in [due, *([again] if again and one.twice and again < end else [])]:
                    self._start(one, at, schedule, may_stray=one.names or alone > 3 * HOUR, must=at - start < 120)

    def _start(self, one: Deployed, due: float, schedule: Schedule, *, may_stray: bool, must: bool) -> None:
        chance, fate = self.chance, self.chance.random()
        if fate < 0.03 and not must:
            return
        strays = may_stray and not schedule.turns_near(due)
        delay = chance.uniform(LATE + 60, 1.5 * HOUR) if 0.03 <= fate < 0.06 and strays else chance.uniform(0, 60)
        for _ in range(2 if 0.06 <= fate < 0.08 and strays else 1):
            went = chance.choices(("done", "failed", "nothing"), (90, 6, 4))[0]
            credits = f"{chance.randrange(1000)}.{chance.randrange(100):02}"
            self.runs.append(Started(f"drun_{len(self.runs)}", one, due, due + delay, went, credits))

    @cached_property
    def by_session(self) -> dict[str, Started]:
        return {run.session: run for run in self.runs}


class Truth(NamedTuple):
    """What a report from `since` to `now` must tell, and what it may."""

    missed: set[tuple[str, float]]
    hidden: set[str]  # deployments of which a change hides a fire that has no run
    changed: set[str]  # those that something was done to
    late: set[str]
    doubled: set[tuple[str, ...]]
    failed: set[str]
    nothing: set[str]
    credits: dict[str, Decimal]
    fires: int


def truth(account: Account, since: float, now: float) -> Truth:
    """Return what there is to tell."""
    runs = [run for run in account.runs if since <= run.came <= now]
    came: dict[tuple[str, float], list[Started]] = defaultdict(list)
    for run in account.runs:
        if since <= run.due and run.came <= now:
            came[run.deployment.id, run.due].append(run)
    missed, hidden, changed, fires = set(), set(), set(), 0
    for one in account.deployments:
        if one.created > now:
            continue
        begun, what, _ = one.at(now)
        if begun >= since and what != "create":
            changed.add(one.id)
        for due, again in one.due:
            if not since < due <= now - LATE or (again and again > now - LATE):
                continue
            fires += 1
            if (one.id, due) not in came and (not again or (one.id, again) not in came):
                if due > begun and what not in ("pause", "archive"):
                    missed.add((one.id, due))
                else:
                    hidden.add(one.id)
    over = [run for run in runs if run.ended <= now]
    credits: dict[str, Decimal] = defaultdict(Decimal)
    for run in runs:
        credits[run.deployment.id] += Decimal(run.credits)
    return Truth(
        missed,
        hidden,
        changed,
        {run.id for found in came.values() for run in found if run.came - run.due > LATE},
        {tuple(sorted(run.id for run in found)) for found in came.values() if len(found) > 1},
        {run.id for run in over if run.went == "failed"},
        {run.id for run in over if run.went == "nothing"},
        credits,
        fires,
    )


class Nights(httpx.BaseTransport):
    """The service at one moment: lists in pages of 100, the newest first."""

    def __init__(self, account: Account, generation: Generation, now: float) -> None:
        self.account, self.generation, self.now = account, generation, now
        self.asked: list[str] = []
        self._listed: dict[str, list[dict[str, Any]]] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1/cloud")
        self.asked.append(path)
        headers = {"date": formatdate(self.now, usegmt=True)}
        return httpx.Response(200, json=self._page(path, request.url.params), headers=headers)

    def _page(self, path: str, query: httpx.QueryParams) -> dict[str, Any]:
        if path.endswith("/events"):
            wanted = query.get_list("types[]")
            told = self.account.by_session[path.split("/")[2]].events(self.now)
            return {"data": [event for event in told if event["type"] in wanted], "has_more": False}
        since = query.get("created_at[gte]", "")
        if path not in self._listed:
            self._listed[path] = self.rows(path)
        rows = [row for row in self._listed[path] if row["created_at"] >= since]
        start = int(query.get("page", "0"))
        more = start + 100 < len(rows)
        return {"data": rows[start : start + 100], "has_more": more, "next_page": str(start + 100) if more else None}

    def rows(self, path: str) -> list[dict[str, Any]]:
        """Return all that a list has."""
        runs = [run for run in reversed(self.account.runs) if run.came <= self.now]
        if path == "/deployment_runs":
            return [run.row(self.generation, self.now) for run in runs]
        if path == "/sessions":
            about = {"type": "session", "status": "idle"}
            return [
                {**about, "id": run.session, "created_at": stamp(run.came), "usage": {"total_credits": run.credits}}
                for run in runs
            ]
        last: dict[str, float] = {}
        for run in runs:
            last.setdefault(run.deployment.id, run.came)
        there = [one for one in self.account.deployments if one.created <= self.now]
        return [one.row(self.now, last.get(one.id)) for one in there]
