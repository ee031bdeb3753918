"""Which fires of a schedule have no run, came late, or came twice: a pure function over what was read.

A deployment does not say when its schedule was changed, paused or started again, only when it was last changed at all
(help/pages/api.md#deployments). What was due before that cannot be told, and is no alarm.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from itertools import islice, takewhile
from typing import NamedTuple

from qoder_cli.base import cron
from qoder_cli.base.model import Deployment, Run, created_at, mapping, text
from qoder_cli.base.times import unix

LATE = 900.0  # seconds after a fire within which its run is in time: jitter is documented, its size is not
MOST_FIRES = 100_000  # of one deployment that are walked
_EARLY = 5.0  # seconds by which the times of the server's parts may differ
_AT_ONCE = 60.0  # seconds after a change within which a fire may have been left out, or an object is as created
_TURN = 3 * 3600.0  # seconds after a clock change within which a fire may stand for one that it left out
OLDEST = 1_577_836_800.0  # the beginning of 2020: the API is younger
_NOT_BY_SCHEDULE = ("manual", "retry")


class Unclear(NamedTuple):
    """A part of the span of which nothing can be told, in unix seconds, and why: `changed`, `paused`, …"""

    since: float
    until: float
    why: str
    detail: str = ""


class Fired(NamedTuple):
    """A fire, in unix seconds, and the runs that came of it."""

    due: float
    runs: tuple[Run, ...]


@dataclass
class Fires:
    """What became of one deployment's fires within a span."""

    expected: int = 0
    missed: list[float] = field(default_factory=list)
    late: list[Fired] = field(default_factory=list)
    doubled: list[Fired] = field(default_factory=list)
    unclear: list[Unclear] = field(default_factory=list)


def came_at(run: Run) -> float | None:
    """Return when a run was created, in unix seconds; None if it does not say."""
    if run.created is not None:
        return run.created
    return _moment(run.raw.get("triggered_at"))


def due_at(run: Run) -> float | None:
    """Return the fire that a scheduled run names, in unix seconds."""
    return _moment(mapping(run.raw.get("trigger_context")).get("scheduled_at"))


def fires_of(deployment: Deployment, runs: Sequence[Run], *, since: float, now: float, whole: bool = True) -> Fires:
    """Return what became of the fires of a deployment from `since` to `now`, on the server's clock.

    `runs` are those of the deployment since then, each once, in any order; not `whole`: others may be missing.
    What was due in the last 15 minutes may still come.
    """
    found = Fires()
    scheduled = [run for run in runs if run.is_scheduled]
    zone = _zone(deployment)
    _add_by_names(found, scheduled, since, zone)
    start, end = _clear_part(deployment, scheduled, since, now, found)
    if not deployment.schedule or start >= end:
        return found
    try:
        fires = walked(deployment, start, end)
    except ValueError as error:
        found.unclear.append(Unclear(start, end, "unreadable", str(error)))
        return found
    zone = _zone(deployment) or UTC
    if len(fires) == MOST_FIRES:
        found.unclear.append(Unclear(fires[-1], end, "too_many"))
    possible = [run for run in runs if _may_be_scheduled(run)]
    matching = _Matching(fires, possible)
    certain_until = min(end, now - LATE)
    for at in fires:
        again = _second_time(at, zone)
        if datetime.fromtimestamp(at, zone).fold or max(at, again) > certain_until:
            continue
        found.expected += 1
        if not (matching.has(at) or matching.has(again)):
            found.missed.append(at)
    _add_by_place(found, matching)
    _doubt(found, deployment, runs, possible, since=since, now=now, whole=whole)
    return found


def walked(deployment: Deployment, after: float, until: float) -> tuple[float, ...]:
    """Return when a deployment's schedule fires in a time, 100,000 times at most. Raises ValueError."""
    schedule = deployment.schedule
    return _walked(text(schedule.get("expression")) or "", text(schedule.get("timezone")) or "", after, until)


@lru_cache(512)  # many deployments have the same schedule
def _walked(expression: str, timezone: str, after: float, until: float) -> tuple[float, ...]:
    walk = cron.parse(expression).fires(after=after, zone=cron.zone(timezone))
    return tuple(islice(takewhile(lambda at: at <= until, walk), MOST_FIRES))


def _clear_part(
    deployment: Deployment, scheduled: Sequence[Run], since: float, now: float, found: Fires
) -> tuple[float, float]:
    """Return the part of the span in which the schedule was as it is now; note the rest as unclear."""
    raw = deployment.raw
    created, updated, archived = created_at(raw), _moment(raw.get("updated_at")), _moment(raw.get("archived_at"))
    start, end = since, now
    if created is not None and created + _AT_ONCE > since:
        start = created + _AT_ONCE
    if archived is not None:
        end = min(end, archived)
    if start >= end:
        return start, end
    has_fired = any(start <= (due_at(run) or came_at(run) or start) <= end for run in scheduled)
    if not deployment.schedule:
        if has_fired:  # it had one
            found.unclear.append(Unclear(start, end, "unscheduled"))
        return end, end
    is_changed = updated is not None and updated >= start and updated - (created or 0.0) > _AT_ONCE
    if deployment.archived_at:
        if is_changed or updated is None or archived is None:  # to archive is a change, too, and hides those before
            found.unclear.append(Unclear(start, end, "archived"))
            return end, end
    elif deployment.state != "active":
        if is_changed or updated is None or has_fired or deployment.state != "paused":
            found.unclear.append(Unclear(start, min(updated or end, end) if is_changed else end, "paused"))
        return end, end
    elif updated is None:
        found.unclear.append(Unclear(start, end, "unsaid"))
        return end, end
    elif is_changed:
        found.unclear.append(Unclear(start, min(updated, end), "changed"))
        start = updated + _AT_ONCE
    return start, end


def _add_by_names(found: Fires, scheduled: Sequence[Run], since: float, zone: tzinfo | None) -> None:
    """Add what is late or doubled by the fires that the runs name, whatever the schedule is now."""
    by_fire: dict[float, list[Run]] = defaultdict(list)
    for run in scheduled:
        due, came = due_at(run), came_at(run)
        if due is None or due < since:
            continue
        by_fire[due].append(run)
        if came is not None and came - due > LATE:
            found.late.append(Fired(due, (run,)))
    for due, of_fire in sorted(by_fire.items()):
        if len(of_fire) > 1 and not (zone and _has_turned(due, zone)):
            found.doubled.append(Fired(due, tuple(of_fire)))


def _add_by_place(found: Fires, matching: "_Matching") -> None:
    """Add what is late or doubled of runs that name no fire: by the fire before them."""
    for run, at in matching.left_over:
        place = bisect_right(matching.fires, at + _EARLY) - 1
        if not run.is_scheduled or due_at(run) is not None or place < 0:
            continue
        fire = matching.fires[place]
        if fire in found.missed:
            found.missed.remove(fire)
            found.late.append(Fired(fire, (run,)))
        elif at - fire <= LATE and matching.is_alone(place):
            found.doubled.append(Fired(fire, (*matching.runs_of(fire), run)))


def _doubt(
    found: Fires,
    deployment: Deployment,
    runs: Sequence[Run],
    possible: Sequence[Run],
    *,
    since: float,
    now: float,
    whole: bool,
) -> None:
    """Make no alarm of fires whose runs may be somewhere: take them as unclear."""
    last = _moment(deployment.schedule.get("last_run_at"))
    undated = sum(due_at(run) is None and came_at(run) is None for run in possible)
    why = detail = ""
    if not whole:
        why = "list_cut"
    elif undated:
        why, detail = "undated", str(undated)
    elif last is not None and since <= last <= now and not any(_is_near(run, last) for run in runs):
        why, detail = "list_late", str(deployment.schedule.get("last_run_at"))
    if why and (found.missed or why != "undated"):
        found.unclear.append(Unclear(min([*found.missed, now]) if why == "undated" else since, now, why, detail))
        found.missed = []


def _is_near(run: Run, at: float) -> bool:
    return any(abs(each - at) <= LATE for each in (due_at(run), came_at(run)) if each is not None)


class _Matching:
    """Which run came of which fire: those that name one, then as many others as fit, each of the nearest before it."""

    def __init__(self, fires: Sequence[float], runs: Sequence[Run]) -> None:
        self.fires = fires
        self._named: dict[float, list[Run]] = defaultdict(list)
        self._free: list[tuple[float, Run]] = []  # when each came
        due_times = set(fires)
        for run in runs:
            due = due_at(run)
            at = due if due is not None else came_at(run)
            if due in due_times and due is not None:
                self._named[due].append(run)
            elif at is not None:
                self._free.append((at, run))
        self._free.sort(key=lambda pair: pair[0])
        self._times = [at for at, _ in self._free]
        self._run_of: dict[int, int] = {}  # by the fire's place
        self._fire_of: dict[int, int] = {}
        for number in range(len(self._free)):
            self._take_nearest(number)
        for place in range(len(fires)):
            if len(self._fire_of) < len(self._free) and not self.has(fires[place]):
                self._reach(place)

    def has(self, fire: float) -> bool:
        """Return whether a fire has a run."""
        place = bisect_left(self.fires, fire)
        is_walked = place < len(self.fires) and self.fires[place] == fire
        return fire in self._named or (is_walked and place in self._run_of)

    def runs_of(self, fire: float) -> list[Run]:
        place = bisect_left(self.fires, fire)
        found = [self._free[self._run_of[place]][1]] if place in self._run_of else []
        return [*self._named.get(fire, ()), *found]

    def is_alone(self, place: int) -> bool:
        """Return whether no other fire is so near before it that its run may have come now."""
        return place == 0 or self.fires[place] - self.fires[place - 1] > LATE

    @property
    def left_over(self) -> list[tuple[Run, float]]:
        """The runs that came of no fire here, and when."""
        left = sorted(set(range(len(self._free))) - self._fire_of.keys())
        return [(self._free[place][1], self._free[place][0]) for place in left]

    def _take_nearest(self, run: int) -> None:
        at = self._times[run]
        fire = bisect_right(self.fires, at + _EARLY) - 1
        while fire >= 0 and at - self.fires[fire] <= LATE:
            if fire not in self._run_of and self.fires[fire] not in self._named:
                self._pair(fire, run)
                return
            fire -= 1

    def _pair(self, fire: int, run: int) -> None:
        self._run_of[fire], self._fire_of[run] = run, fire

    def _reach(self, first: int) -> None:
        """Give a fire a run that is left over, where others can take another run for it."""
        before: dict[int, int] = {}  # the fire from which each run was reached
        reached = deque([first])
        while reached:
            fire = reached.popleft()
            at = self.fires[fire]
            for run in range(bisect_left(self._times, at - _EARLY), bisect_right(self._times, at + LATE)):
                if run in before:
                    continue
                before[run] = fire
                if run in self._fire_of:
                    reached.append(self._fire_of[run])
                    continue
                while True:
                    fire = before[run]
                    its = self._run_of.get(fire)
                    self._pair(fire, run)
                    if its is None:
                        return
                    run = its


def _second_time(at: float, zone: tzinfo) -> float:
    """Return when the zone's clock shows the same time again, as once in autumn; without that, the same moment."""
    return max(at, datetime.fromtimestamp(at, zone).replace(fold=1).timestamp())


def _has_turned(at: float, zone: tzinfo) -> bool:
    """Return whether the zone's clock was changed shortly before."""
    return datetime.fromtimestamp(at, zone).utcoffset() != datetime.fromtimestamp(at - _TURN, zone).utcoffset()


def _may_be_scheduled(run: Run) -> bool:
    context = run.raw.get("trigger_context")
    return (text(context) or text(mapping(context).get("type"))) not in _NOT_BY_SCHEDULE


def _zone(deployment: Deployment) -> tzinfo | None:
    try:
        return cron.zone(text(deployment.schedule.get("timezone")) or "")
    except ValueError:
        return None


def _moment(value: object) -> float | None:
    """Return a server's time in unix seconds; one before 2020 is none."""
    at = unix(value)
    return at if at is not None and at >= OLDEST else None
