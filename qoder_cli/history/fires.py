"""Match the fires of a schedule with the runs that came: a pure function over what was read.

A fire is judged 16 minutes after it was due: a run in time comes within 15, and lists lag by one. Runs that name their
fire (`scheduled_at`) are matched by that; the others by when they came. Where fires are under 30 minutes apart, nobody
can tell by time which run is whose: of those only numbers are compared, hour by hour.

A deployment does not say when its schedule was changed, paused or started again, only when it was last changed at all
(api.md#deployments). What was due before that cannot be told, and is no alarm.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from math import inf
from typing import Literal, NamedTuple

from qoder_cli.base import cron
from qoder_cli.base.model import Deployment, created_at, text
from qoder_cli.base.times import utc_text
from qoder_cli.history.records import LAG, LATE, RunRecord, moment

DAY = 86400.0  # seconds after which a run is no fire's any more, but told for itself
MOST_FIRES = 100_000  # of one deployment that are walked
_NEAR = 60.0  # seconds by which the time that a run names may differ from that of its fire
_EARLY = 5.0  # seconds by which the times of the server's parts may differ
_APART = 1800.0  # seconds between two fires, below which runs without a name are only counted
_HOUR = 3600.0
_DELAYS = (60.0, 120.0, 300.0, 600.0, LATE + _EARLY)  # seconds that the runs of an hour may all come after their fires
_AT_ONCE = 60.0  # seconds after a change within which a fire may have been left out, or an object is as created
_TURN = 3 * _HOUR  # seconds after a clock change within which a fire may stand for one that it left out


class Unclear(NamedTuple):
    """A part of the time of which nothing can be told, in unix seconds, and why: `changed`, `paused`, …

    `at` is when that became so; None if it still is.
    """

    until: float
    why: str
    at: float | None = None
    detail: str = ""

    @property
    def matters_to(self) -> float:
        """When the last fire of that part would have been judged."""
        return inf if self.at is None else self.at + _AT_ONCE + LATE + LAG


class FireEvent(NamedTuple):
    """What is to be told of a fire, or of a scheduled run, and from when on that is certain, in unix seconds.

    `missed`: no run came; `late`: one came late; `twice`: this run is one too many; `stray`: it fits no fire.
    `counted`: so many were due in the hour from `due` on, and so many came.
    """

    kind: Literal["missed", "late", "twice", "stray", "counted"]
    at: float
    due: float | None
    run: RunRecord | None = None
    runs: tuple[str, ...] = ()  # all of that fire
    were_due: int = 1
    came: int = 0


class Fires(NamedTuple):
    """What is to be told of a deployment's fires; so many were `judged` within the span, so many are `undecided`."""

    events: list[FireEvent]
    unclear: list[Unclear]
    judged: int
    undecided: int


class _DueFire(NamedTuple):
    due: float
    again: float  # when the zone's clock shows the same time once more, as in autumn; else `due`

    @property
    def at(self) -> float:
        """When it is certain whether a run came of it."""
        return self.again + LATE + LAG


def fires_of(
    deployment: Deployment,
    runs: Sequence[RunRecord],
    *,
    since: float,
    after: float,
    until: float,
    now: float,
    whole: bool = True,
) -> Fires:
    """Return what is to be told of a deployment's fires since a time, as far as it was certain `until` another.

    `runs` are all of the deployment that were created from `since` to `now`, on the server's clock, each once, in any
    order; not `whole`: some may be missing. Fires that became certain `after` a time are counted.
    """
    start, end, unclear = _clear_part(deployment, runs, since, now)
    fires: Sequence[_DueFire] = ()
    zone: tzinfo = UTC
    if deployment.schedule and start < end:
        try:
            zone = cron.zone(text(deployment.schedule.get("timezone")) or "")
            times = cron.upcoming(deployment.schedule, after=start, until=end, count=MOST_FIRES)
            fires = _fires(times, zone)
        except ValueError as error:
            unclear.append(Unclear(now, "unreadable", detail=str(error)))
            end = start
    if len(fires) >= MOST_FIRES:
        unclear.append(Unclear(now, "too_many"))
    judge = _Judge(fires, zone, start, end, until)
    events = list(judge.events([run for run in runs if run.may_be_scheduled]))
    if doubt := _doubt(deployment, runs, since=since, until=now, whole=whole):
        certain_events = [event for event in events if event.kind not in ("missed", "counted")]
        if doubt.why != "undated" or len(certain_events) < len(events):
            unclear.append(doubt)
        events = certain_events
    certain = list(map(judge.certain_at, range(len(fires))))
    undecided = sum(fire.due <= until < at for fire, at in zip(fires, certain, strict=True))
    return Fires(events, unclear, sum(after < at <= until for at in certain), undecided)


def fire_key(deployment_id: str, due: float) -> str:
    """Return the idempotency key under which a fire is made up, whoever does it: when it was due in unix seconds."""
    return f"fire-{deployment_id}-{utc_text(due)}"


def _fires(times: Sequence[float], zone: tzinfo) -> Sequence[_DueFire]:
    """Return each time of a zone's clock once, though it may be shown twice."""
    if zone is UTC:
        return [_DueFire(at, at) for at in times]
    shown = [(at, datetime.fromtimestamp(at, zone)) for at in times]
    return [_DueFire(at, max(at, wall.replace(fold=1).timestamp())) for at, wall in shown if not wall.fold]


def _clear_part(
    deployment: Deployment, runs: Sequence[RunRecord], since: float, until: float
) -> tuple[float, float, list[Unclear]]:
    """Return the part of the time in which the schedule was as it is now, and the rest as unclear."""
    created = created_at(deployment.raw)
    updated, archived = (moment(deployment.raw.get(name)) for name in ("updated_at", "archived_at"))
    start, end = since, until
    if created is not None and created + _AT_ONCE > since:
        start = created + _AT_ONCE
    if archived is not None:
        end = min(end, archived)
    if start >= end:
        return start, end, []
    has_fired = any(start <= (run.due or run.created or start) <= end for run in runs if run.is_scheduled)
    is_changed = updated is not None and updated >= start and updated - (created or 0.0) > _AT_ONCE
    changed = Unclear(min(updated or end, end), "changed", updated)
    if not is_changed:
        changed = Unclear(end, "changed")
    if "schedule" in deployment.unreadable:
        return end, end, [Unclear(end, "unreadable", detail="it has another type than the API's")]
    if not deployment.schedule:  # it may have had one
        return end, end, [changed._replace(why="unscheduled")] if is_changed or has_fired else []
    if archived is not None:
        if is_changed or updated is None:  # to archive is a change, too, and hides those before
            return end, end, [changed._replace(why="archived", until=end)]
        return start, end, []
    if deployment.state != "active":
        is_unclear = is_changed or updated is None or has_fired or deployment.state != "paused"
        return end, end, [changed._replace(why="paused")] if is_unclear else []
    if updated is None:
        return end, end, [Unclear(end, "unsaid")]
    if is_changed:
        return updated + _AT_ONCE, end, [changed]
    return start, end, []


def _doubt(
    deployment: Deployment, runs: Sequence[RunRecord], *, since: float, until: float, whole: bool
) -> Unclear | None:
    """Return why runs may be missing, so that no fire counts as missed; None if none may."""
    last = moment(deployment.schedule.get("last_run_at"))
    if not whole:
        return Unclear(until, "list_cut")
    if undated := sum(run.may_be_scheduled and not run.order for run in runs):
        return Unclear(until, "undated", detail=str(undated))
    times = (time for run in runs for time in (run.due, run.created) if time is not None)
    if last is not None and since <= last <= until - LAG and all(abs(time - last) > LATE for time in times):
        return Unclear(until, "list_late", detail=str(deployment.schedule.get("last_run_at")))
    return None


class _Judge:
    """Says which run came of which fire, of fires from `start` to `end`, as far as it was certain `until` a time."""

    def __init__(self, fires: Sequence[_DueFire], zone: tzinfo, start: float, end: float, until: float) -> None:
        self._fires = fires
        self._zone = zone
        self._start, self._end, self._until = start, end, until
        self._number_of = {time: number for number, fire in enumerate(fires) for time in (fire.again, fire.due)}
        self._times = sorted(self._number_of)
        self._counted = set[int]()  # fires of which only the number is compared
        self._came: dict[int, list[tuple[float, RunRecord]]] = defaultdict(list)  # by fire: for when, and the run

    def events(self, runs: Sequence[RunRecord]) -> Iterator[FireEvent]:
        named = sorted((run for run in runs if run.due is not None), key=_order)
        unnamed = sorted((run for run in runs if run.due is None and run.created is not None), key=_order)
        elsewhere: list[RunRecord] = []
        for run in named:
            due = run.due or 0.0
            place = bisect_left(self._times, due)
            near = min(self._times[max(place - 1, 0) : place + 1], key=lambda at: abs(at - due), default=None)
            if near is None or abs(near - due) > _NEAR or _lateness(run, near) > DAY:
                elsewhere.append(run)
            else:
                self._came[self._number_of[near]].append((near, run))
        yield from self._elsewhere(elsewhere)
        is_dense = any(later.due - sooner.due < _APART for sooner, later in pairwise(self._fires))
        if is_dense and len(unnamed) > len(named):
            self._counted = {number for number in range(len(self._fires)) if not self._came[number]}
            yield from self._by_number(unnamed)
        else:
            yield from self._by_time(unnamed)
        for number, fire in enumerate(self._fires):
            if number in self._counted:
                continue
            if self._came[number]:
                yield from self._odd(fire, self._came[number])
            elif fire.at <= self._until:
                yield FireEvent("missed", fire.at, fire.due)

    def certain_at(self, number: int) -> float:
        """Return from when on it is certain whether a run came of a fire."""
        fire = self._fires[number]
        return _end_of_hour(fire.due) + LATE + LAG if number in self._counted else fire.at

    def _elsewhere(self, runs: Iterable[RunRecord]) -> Iterator[FireEvent]:
        """Yield what is to be told of runs that name none of the fires."""
        by_due: dict[float, list[RunRecord]] = defaultdict(list)
        for run in runs:
            assert run.due is not None
            if not run.is_scheduled or run.created is None:
                continue
            if run.created - run.due > DAY:
                yield FireEvent("late", run.created + LAG, run.due, run, (run.id,))
            elif self._start + _NEAR <= run.due <= self._end - _NEAR:
                if not self._has_turned(run.due):
                    yield FireEvent("stray", run.created + LAG, run.due, run, (run.id,))
            else:  # what was due then is unknown, but not when this came
                by_due[run.due].append(run)
        for due, of_fire in by_due.items():
            yield from self._odd(_DueFire(due, due), [(due, run) for run in of_fire], grace=_NEAR)

    def _by_time(self, runs: Iterable[RunRecord]) -> Iterator[FireEvent]:
        """Take runs that name no fire for the last one before them; yield those that fit none."""
        too_late: list[tuple[float, RunRecord]] = []
        for run in runs:
            assert run.created is not None
            place = bisect_right(self._times, run.created + _EARLY) - 1
            due = self._times[place] if place >= 0 else self._start
            if place >= 0 and run.created - due <= LATE:
                self._came[self._number_of[due]].append((due, run))
            elif run.is_scheduled and (place >= 0 or run.created - due > DAY):
                too_late.append((due, run))
        for due, run in too_late:
            number = self._number_of.get(due)
            if number is not None and not self._came[number] and _lateness(run, due) <= DAY:
                self._came[number].append((due, run))
            elif not self._has_turned(run.created or due):
                yield FireEvent("stray", (run.created or due) + LAG, None, run, (run.id,))

    def _by_number(self, runs: Sequence[RunRecord]) -> Iterator[FireEvent]:
        """Compare how many fires were due in each hour, and how many runs came that name none."""
        free = [self._fires[number].due for number in sorted(self._counted)]
        twice = {fire.due for fire in map(self._fires.__getitem__, self._counted) if fire.again > fire.due}
        times = [run.created for run in runs if run.created is not None]
        for hour in dict.fromkeys(_end_of_hour(due) - _HOUR for due in free):
            end, at = hour + _HOUR, hour + _HOUR + LATE + LAG
            first = max(hour - _HOUR, self._start)
            due = free[bisect_left(free, first) : bisect_right(free, end + LATE)]
            came = times[bisect_left(times, first) : bisect_right(times, end + LATE)]
            without, surplus = _compared(due, came, first)
            here, missing, more = (sum(hour <= time < end for time in times) for times in (due, without, surplus))
            if self._has_turned(hour) or self._has_turned(end):
                more = 0  # they may stand for what the clock left out
            if at <= self._until and missing != more and twice.isdisjoint(due):
                of_hour = tuple(run.id for run in runs if hour <= (run.created or 0.0) < end)
                yield FireEvent("counted", at, hour, None, of_hour, here, here - missing + more)

    def _odd(self, fire: _DueFire, came: Iterable[tuple[float, RunRecord]], grace: float = 0.0) -> Iterator[FireEvent]:
        """Yield what is odd about the runs of one fire: the first came late, or there are more."""
        in_order = sorted(came, key=lambda pair: _order(pair[1]))
        ids = tuple(run.id for _, run in in_order)
        due, first = in_order[0]
        if first.is_scheduled and _lateness(first, due) > LATE + grace:
            yield FireEvent("late", fire.at, fire.due, first, ids)
        if fire.again > fire.due or self._has_turned(fire.due):
            return
        for _, run in in_order[1:]:
            if run.is_scheduled:
                certain = max(fire.due + LATE, run.created or fire.due) + LAG
                yield FireEvent("twice", certain, fire.due, run, ids)

    def _has_turned(self, at: float) -> bool:
        """Return whether the zone's clock was changed shortly before."""
        offsets = {datetime.fromtimestamp(time, self._zone).utcoffset() for time in (at, at - _TURN)}
        return len(offsets) > 1


def _end_of_hour(at: float) -> float:
    return at // _HOUR * _HOUR + _HOUR


def _order(run: RunRecord) -> tuple[float, str]:
    return run.order, run.id


def _lateness(run: RunRecord, due: float) -> float:
    return 0.0 if run.created is None else run.created - due


def _compared(due: Sequence[float], came: Sequence[float], first: float) -> tuple[list[float], list[float]]:
    """Return the fires that have no run, and the runs that have no fire; both are in order, from a `first` time on.

    Each run is taken for the first fire that is free and less than so long ago. How long that is, is the least by which
    every run has a fire: else one that is missing would be made up for by those after it, one by one.
    """
    without: list[float] = []
    surplus: list[float] = []
    for longest in _DELAYS:
        without, surplus = [], []
        free = iter(due)
        fire = next(free, None)
        for time in came:
            while fire is not None and fire <= time - longest:
                without.append(fire)
                fire = next(free, None)
            if fire is None or fire > time + _EARLY:
                surplus.append(time)
            else:
                fire = next(free, None)
        without += [*([] if fire is None else [fire]), *free]
        surplus = [time for time in surplus if time > first + longest]  # of those before, the fire is not here
        if not surplus:
            break
    return without, surplus
