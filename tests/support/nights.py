"""Some nights of an account: schedules that are changed, paused and removed, fires that are dropped, doubled, delayed.

Runs end at once or days later, some wait for a person over a weekend. When a schedule is due is worked out here on a
calendar of its own, date by date, not by the program's. `Service` shows the account at one moment as a server whose
lists lag.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from functools import cached_property
from itertools import pairwise, product
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import httpx

from qoder_cli.sandbox.records import stamp
from qoder_cli.sandbox.wire import Generation

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
LATE = 900.0  # seconds after which a fire that has no run is missed
LAG = 60.0  # seconds that a list may lag
DENSE = 1800.0  # seconds between two fires, below which those without a name are only counted
ZONES = (
    *("UTC", "Europe/Berlin", "Europe/London", "America/New_York", "America/Sao_Paulo"),
    *("Australia/Lord_Howe", "Asia/Kolkata", "Asia/Shanghai", "Africa/Cairo", "Pacific/Auckland"),
)
# Mornings before which a clock was changed in one of them, and days on which none was.
DAYS = ("2026-03-08", "2026-03-29", "2026-04-05", "2026-04-24", "2026-06-13", "2026-09-27", "2026-10-25", "2026-11-01")

Went = Literal["done", "failed", "nothing", "refused", "skipped", "stuck"]
WAYS: tuple[Went, ...] = ("done", "failed", "nothing", "refused", "skipped", "stuck")


class Schedule(NamedTuple):
    """Minutes and hours of a day, days of a week from Monday, 0; an empty tuple is every one."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    weekdays: tuple[int, ...]
    zone: str

    @classmethod
    def drawn(cls, chance: random.Random) -> "Schedule":
        hours = chance.choice([(), (1, 2, 3), (2,), (3,), (9,), (0, 12), tuple(sorted(chance.sample(range(24), 4)))])
        minutes = chance.choice([(0,), (30,), (0, 30), (chance.randrange(60),)] if hours else [(0,), (15,), (0, 30)])
        if chance.random() < 0.12:
            minutes = tuple(range(0, 60, chance.choice((5, 10, 15, 20))))
        weekdays = chance.choice([(), (), (0, 1, 2, 3, 4), tuple(sorted(chance.sample(range(7), 2)))])
        return cls(minutes, hours, weekdays, chance.choice(ZONES))

    @property
    def expression(self) -> str:
        weekdays = [str((day + 1) % 7) for day in self.weekdays]
        fields = [",".join(map(str, self.minutes)), ",".join(map(str, self.hours)), "*", "*", ",".join(weekdays)]
        return " ".join(each or "*" for each in fields)

    @property
    def is_dense(self) -> bool:
        return len(self.minutes) > 1 and (self.minutes[1] - self.minutes[0]) * MINUTE < DENSE

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
        offsets = {datetime.fromtimestamp(at + n * HOUR, zone).utcoffset() for n in (-5, -3, -1, 1, 3)}
        return len(offsets) > 1


@dataclass
class Started:
    """A run: of which fire, when it came, how it went and when it ended, if it did; when it waited for a person."""

    id: str
    deployment: "Deployed"
    due: float | None  # None for one that a person started
    came: float
    went: Went
    ended: float | None
    credits: str
    waits: tuple[float, float | None] | None = None  # from when, to when
    lag: float = 0.0

    @property
    def session(self) -> str | None:
        return None if self.went in ("refused", "skipped") else f"sess_{self.id[5:]}"

    def waits_at(self, now: float) -> bool:
        return self.waits is not None and self.waits[0] <= now and (self.waits[1] is None or now < self.waits[1])

    def row(self, generation: Generation, now: float) -> dict[str, Any]:
        context: dict[str, Any] = {"type": "manual" if self.due is None else "schedule"}
        if self.deployment.names and self.due is not None:
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
        if self.session is None and (generation == "current" or self.went == "refused"):
            shown["error"] = {"type": "environment_archived_error", "message": "It is archived."}
        if generation == "current":
            return shown
        shown |= {"status": "pending" if self.went == "stuck" else "running", "triggered_at": stamp(self.came)}
        if self.ended is not None and self.ended + self.lag <= now:
            status = {"done": "completed", "nothing": "completed", "skipped": "skipped"}.get(self.went, "failed")
            shown |= {"status": status, "completed_at": stamp(self.ended)}
        if self.went == "refused":
            shown |= {"status": "failed", "completed_at": stamp(self.came)}
        elif shown["status"] == "failed":
            shown["error"] = {"type": "retries_exhausted", "message": "It broke."}
        return shown

    def events(self, now: float) -> list[dict[str, Any]]:
        """Return its session's events, as far as a list that lags shows them."""
        told: list[tuple[float, dict[str, Any]]] = []
        if self.went != "stuck":
            told.append((self.came + 2, {"type": "session.status_running"}))
        if self.went == "done":
            told.append((self.came + 5, {"type": "agent.message", "content": [{"type": "text", "text": "Done."}]}))
        if self.waits is not None:
            asked, answered = self.waits
            call = {"type": "agent.tool_use", "name": "Bash", "input": {"command": "make"}}
            told.append((asked - 1, {"id": f"evt_call_{self.id}", **call, "evaluated_permission": "ask"}))
            reason = {"type": "requires_action", "event_ids": [f"evt_call_{self.id}"]}
            told.append((asked, {"type": "session.status_idle", "stop_reason": reason}))
            if answered is not None:
                reply = {"type": "user.tool_confirmation", "tool_use_id": f"evt_call_{self.id}", "result": "allow"}
                told += [(answered, reply), (answered + 1, {"type": "session.status_running"})]
        if self.ended is not None:
            reason = {"type": "retries_exhausted" if self.went == "failed" else "end_turn"}
            told.append((self.ended, {"type": "session.status_idle", "stop_reason": reason}))
        return [
            {"id": f"evt_{n}_{self.id}", "processed_at": stamp(at), **event}
            for n, (at, event) in enumerate(told)
            if at + self.lag <= now
        ]


class Change(NamedTuple):
    """What was done to a deployment: when, what, and its schedule from then on."""

    at: float
    what: Literal["create", "edit", "touch", "pause", "break", "unpause", "archive", "remove"]
    schedule: Schedule | None
    lag: float = 0.0

    @property
    def fires(self) -> bool:
        return self.schedule is not None and self.what not in ("pause", "break", "archive")


@dataclass
class Deployed:
    """A deployment, and what was done to it."""

    id: str
    names: bool  # whether its runs name their fires
    jitter: float
    twice: bool  # whether it fires twice where a clock shows a time twice
    changes: list[Change]
    due: list[tuple[float, float]] = field(default_factory=list)  # as `Schedule.moments`

    @property
    def created(self) -> float:
        return self.changes[0].at

    def at(self, now: float) -> Change:
        """Return what was done to it last."""
        return [self.changes[0], *(change for change in self.changes if change.at <= now)][-1]

    def is_counted(self, at: float) -> bool:
        """Return whether its fires at a time are only counted."""
        schedule = self.at(at).schedule
        return not self.names and schedule is not None and schedule.is_dense

    def row(self, now: float, last_run: float | None) -> dict[str, Any]:
        last = [change for change in self.changes if change.at + change.lag <= now][-1]
        schedule: dict[str, Any] | None = None
        if last.schedule is not None:
            schedule = {"type": "cron", "expression": last.schedule.expression, "timezone": last.schedule.zone}
            schedule |= {"last_run_at": stamp(last_run)} if last_run else {}
        reasons: dict[str, Any] = {
            "pause": {"type": "manual"},
            "break": {"type": "error", "error": {"type": "environment_archived_error"}},
        }
        return {
            "id": self.id,
            "type": "deployment",
            "name": self.id.removeprefix("dep_"),
            "status": "paused" if last.what in reasons else "active",
            "paused_reason": reasons.get(last.what),
            "schedule": schedule,
            "created_at": stamp(self.created),
            "updated_at": stamp(last.at),
            "archived_at": stamp(last.at) if last.what == "archive" else None,
        }


class Account:
    """Deployments and all their runs from `begin` to `end`, drawn by chance."""

    def __init__(self, seed: object, *, deployments: int = 3, days: float = 4.0) -> None:
        self.chance = chance = random.Random(f"account {seed}")
        first = datetime.fromisoformat(chance.choice(DAYS)).replace(tzinfo=UTC).timestamp()
        self.begin = first - chance.uniform(0.5, 2.5) * DAY
        self.end = self.begin + days * DAY
        self.runs: list[Started] = []
        self.deployments = [self._deployed(number) for number in range(deployments)]
        for deployment in self.deployments:
            self._fire(deployment)
            for _ in range(chance.choice((0, 0, 1, 3))):
                self._start(deployment, None, chance.uniform(max(deployment.created, self.begin), self.end))
        self.runs.sort(key=lambda run: run.came)

    def _deployed(self, number: int) -> Deployed:
        chance, begin, end = self.chance, self.begin, self.end
        schedule = Schedule.drawn(chance) if chance.random() < 0.85 else None
        created = begin - 30 * DAY if chance.random() < 0.8 else chance.uniform(begin, end - DAY)
        changes = [Change(created, "create", schedule, chance.uniform(0, LAG))]
        for at in sorted(
            chance.uniform(max(created, begin) + HOUR, end) for _ in range(chance.choice((0, 0, 0, 1, 2)))
        ):
            before = changes[-1]
            if before.what == "archive" or at - before.at < HOUR:
                continue
            what = chance.choice(("edit", "touch", "pause", "break", "archive", "remove"))
            if before.what in ("pause", "break"):
                what = "unpause"
            schedules = {"edit": Schedule.drawn(chance), "remove": None}
            changes.append(Change(at, what, schedules.get(what, before.schedule), chance.uniform(0, LAG)))  # type: ignore[arg-type]
        names, jitter = chance.random() < 0.6, chance.choice((5.0, 60.0, 600.0))
        return Deployed(f"dep_{number}", names, jitter, chance.random() < 0.5, changes)

    def _fire(self, one: Deployed) -> None:
        ends = [*(change.at for change in one.changes[1:]), self.end]
        for change, end in zip(one.changes, ends, strict=True):
            if change.schedule is None or not change.fires:
                continue
            moments = list(change.schedule.moments(max(change.at, self.begin), end))
            one.due += moments
            gap = min((later[0] - sooner[0] for sooner, later in pairwise(moments)), default=DAY)
            for due, again in moments:
                for at in [due, *([again] if again and one.twice and again < end else [])]:
                    self._fire_once(one, change, at, gap)

    def _fire_once(self, one: Deployed, change: Change, due: float, gap: float) -> None:
        chance, fate = self.chance, self.chance.random()
        assert change.schedule is not None
        jitter = one.jitter
        if change.schedule.is_dense and not one.names:
            jitter = min(jitter, gap * 0.9)  # beyond that nobody can tell which run is whose
        if due - change.at < 120:  # a fire right after a change is not judged
            fate = 1.0
        is_odd = not change.schedule.turns_near(due)
        if fate < 0.06:
            return
        delay = chance.uniform(0, jitter)
        if fate < 0.12 and is_odd and (one.names or gap > 3 * HOUR):
            longest = 90 * MINUTE
            if one.names and chance.random() < 0.3:
                longest = 40 * HOUR
            delay = chance.uniform(LATE + 1, longest)
        self._start(one, due, due + delay)
        if 0.12 < fate < 0.16 and is_odd and (one.names or not change.schedule.is_dense):
            more = chance.uniform(0, 5 * HOUR if one.names else max(LATE - delay - 1, 0.0))
            self._start(one, due, due + delay + more)

    def _start(self, one: Deployed, due: float | None, came: float) -> None:
        chance = self.chance
        came = float(int(came))
        if came >= self.end:
            return
        [went] = chance.choices(WAYS, (80, 8, 4, 3, 2, 2))
        lasts = chance.choice((10.0, 40.0, 40.0, 40.0, 600.0, chance.uniform(HOUR, 30 * HOUR)))
        waits: tuple[float, float | None] | None = None
        ended: float | None = float(int(came + lasts))
        if went in ("done", "failed") and chance.random() < 0.08:
            asked = came + 10
            answered = None if chance.random() < 0.3 else float(int(asked + chance.uniform(MINUTE, 66 * HOUR)))
            waits = asked, answered
            ended = None if answered is None else float(int(answered + lasts))
        if went in ("refused", "skipped"):
            ended = came
        elif went == "stuck":
            ended = None
        id, credits = f"drun_{len(self.runs)}", f"{chance.randrange(1000)}.{chance.randrange(100):02}"
        self.runs.append(Started(id, one, due, came, went, ended, credits, waits, chance.uniform(0, LAG)))

    @cached_property
    def by_session(self) -> dict[str, Started]:
        return {run.session: run for run in self.runs if run.session}

    @cached_property
    def by_id(self) -> dict[str, Started]:
        return {run.id: run for run in self.runs}

    @cached_property
    def by_fire(self) -> dict[tuple[str, float], list[Started]]:
        """The runs of each fire, as they came."""
        found: dict[tuple[str, float], list[Started]] = defaultdict(list)
        for run in self.runs:
            if run.due is not None:
                found[run.deployment.id, run.due].append(run)
        return found


class Service(httpx.BaseTransport):
    """The server of an account at one moment: lists in pages of 100, the newest first, that lag by up to a minute."""

    def __init__(self, account: Account, generation: Generation, now: float) -> None:
        self.account, self.generation, self.now = account, generation, now
        self._listed: dict[str, list[dict[str, Any]]] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1/cloud")
        headers = {"date": formatdate(self.now, usegmt=True)}
        shown = self.answer(path, request.url.params)
        if shown is None:
            error = {"type": "error", "error": {"type": "not_found_error", "message": "No."}}
            return httpx.Response(404, json=error, headers=headers)
        return httpx.Response(200, json=shown, headers=headers)

    def answer(self, path: str, query: httpx.QueryParams) -> dict[str, Any] | None:
        """Return what a GET shows; None for what is not there."""
        parts = path.strip("/").split("/")
        if parts[-1] == "events":
            wanted = query.get_list("types[]")
            events = self.account.by_session[parts[1]].events(self.now)
            if query.get("order") == "desc":
                events.reverse()
            return {"data": [event for event in events if not wanted or event["type"] in wanted], "has_more": False}
        if len(parts) == 2:
            return next((row for row in self.rows(f"/{parts[0]}") if row["id"] == parts[1]), None)
        name = "/deployment_runs" if parts[-1] == "runs" else path
        if name not in self._listed:
            self._listed[name] = self.rows(name)
        rows = self._listed[name]
        if parts[-1] == "runs":
            rows = [row for row in rows if row["deployment_id"] == parts[1]]
        since = query.get("created_at[gte]") or query.get("triggered_after") or ""
        until = query.get("created_at[lte]") or query.get("created_at[lt]") or query.get("triggered_before") or "9"
        rows = [row for row in rows if since <= row["created_at"] <= until]
        start = int(query.get("page", "0"))
        more = start + 100 < len(rows)
        return {"data": rows[start : start + 100], "has_more": more, "next_page": str(start + 100) if more else None}

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return all that a list has."""
        there = [run for run in reversed(self.account.runs) if run.came <= self.now]
        listed = [run for run in there if run.came + run.lag <= self.now]
        if name == "/deployment_runs":
            return [run.row(self.generation, self.now) for run in listed]
        if name == "/sessions":
            about = {"type": "session", "status": "idle"}
            return [
                {**about, "id": run.session, "created_at": stamp(run.came), "usage": {"total_credits": run.credits}}
                for run in listed
                if run.session
            ]
        last: dict[str, float] = {}
        for run in there:  # what a deployment says of itself does not lag
            last.setdefault(run.deployment.id, run.came)
        shown = [one for one in self.account.deployments if one.created + one.changes[0].lag <= self.now]
        return [one.row(self.now, last.get(one.id)) for one in shown]
