"""Plays nights of an account, and reports at drawn times: each event is told once, and "All is well" over none.

A cell is some nights of a few deployments on one generation of server. One reader types `report --new` now and then,
perhaps under a name, perhaps of some deployments; another types reports whose spans meet, on one machine or on a new
one each time. Some are killed while they ask, or between printing and noting.
"""

import io
import json
import random
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from qoder_cli.base.times import unix
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.support.nights import DAY, HOUR, LAG, LATE, MINUTE, Account, Deployed, Service, Started
from tests.support.typed import Killed, Mortal, env_of, typed
from tests.support.wire import FakeClock
from tests.tools.playing import Played

# Something that happened and was never told, or twice; something told that did not happen; a state that was not told;
# "All is well" over one of these, or "nothing was due" where something was; a wrong exit code.
PROMISES = ("untold", "told twice", "false alarm", "state untold", "not well", "wrong code")
DECIDED = LATE + LAG  # seconds after a fire until it is judged
DAY_LATE = 24 * HOUR  # what comes later is no fire's run, but told for itself
URGENT = ("needs_you", "did_not_happen", "failed")
Key = tuple[str, ...]


class Cell(NamedTuple):
    generation: Generation
    seed: int
    deployments: int = 3
    crashes: float = 0.15

    def __str__(self) -> str:
        return f"{self.generation}, nights {self.seed} of {self.deployments}, crashes {self.crashes:.0%}"


def cells(options: Namespace) -> Iterator[Cell]:
    """Yield so many nights as --random says, else 2,000, on both generations by turns."""
    for seed in range(options.seed, options.seed + (options.random or 2000)):
        yield Cell(GENERATIONS[seed % 2], seed, 1 + seed % 4)


def simpler(cell: Cell) -> Iterator[Cell]:
    if cell.crashes:
        yield cell._replace(crashes=0.0)


class Look(NamedTuple):
    """One report: who types it, where, when, and from when on it tells; whether it is killed, and when."""

    service: Service
    now: float
    folder: Path
    crash: str
    dies_at: int


class Said(NamedTuple):
    """What a report told: from when to when, events by their keys, states, the deployments of which it cannot tell."""

    code: int
    since: float
    until: float
    events: list[Key]
    states: set[Key]
    doubts: set[str]
    verdict: str
    is_urgent: bool
    is_blind: bool  # whether it says that it has not looked at older runs


def said_of(code: int, report: dict[str, Any]) -> Said:
    """Return what a report in JSON told."""
    events: list[Key] = []
    states: set[Key] = {("waits", str(each["run"])) for each in report["needs_you"] if each["kind"] == "waits"}
    for each in [*report["needs_you"], *report.get("paused", ())]:
        if each["kind"] == "paused":
            states.add(("paused", each["deployment"]))
    for each in report["did_not_happen"]:
        match each["kind"]:
            case "missed":
                events.append(("missed", each["deployment"], f"{unix(each['due']):.0f}"))
            case "counted":
                missing = str(each["due"] - each["came"])
                events.append(("counted", each["deployment"], f"{unix(each['since']):.0f}", missing))
            case "skipped" | "not_started":
                events.append(("unstarted", each["run"]))
            case kind:
                events.append((kind, each["run"]))
    for each in report["failed"]:
        events += [("failed", run) for run in each["run_ids"]]
    events += [("did_nothing", each["run"]) for each in report["did_nothing"]]
    doubts = {each["deployment"] for each in report["cannot_tell"] if each["deployment"]}
    times = (unix(report["since"]) or 0.0, unix(report["until"]) or 0.0)
    is_urgent = any(report[name] for name in URGENT)
    is_blind = any(each["what"] == "older runs" for each in report["cannot_tell"])
    return Said(code, *times, events, states, doubts, report.get("verdict") or "", is_urgent, is_blind)


# What there is to tell.


def counts_of(account: Account) -> Iterator["Event"]:
    """Yield the hours in which runs are missing of fires that are only counted, where nothing else was going on."""
    for one in account.deployments:
        by_hour: dict[float, list[float]] = {}
        for due, _ in one.due:
            if one.is_counted(due):
                by_hour.setdefault(due // HOUR * HOUR, []).append(due)
        for hour, fires in by_hour.items():
            missing = sum((one.id, due) not in account.by_fire for due in fires)
            if missing and is_calm(account, one, hour):
                key = ("counted", one.id, f"{hour:.0f}", str(missing))
                yield Event(hour + HOUR + LATE, (key,), one, hour)


def is_calm(account: Account, one: Deployed, hour: float) -> bool:
    """Return whether neither a change of a deployment nor one of the clock is near an hour, and runs were seen."""
    schedule = one.at(hour).schedule
    changes = [change.at for change in one.changes if abs(change.at - hour) < 4 * HOUR]
    seen = [run for run in account.runs if run.deployment is one and run.due and hour - 20 * HOUR < run.came < hour]
    is_early = hour - account.begin < 2 * HOUR
    return schedule is not None and bool(seen) and not (changes or is_early or schedule.turns_near(hour))


class Event(NamedTuple):
    """What happened, when, and as what it may be told. A fire may be told as missed before its run comes."""

    at: float
    keys: tuple[Key, ...]
    deployment: Deployed
    due: float | None = None
    late: Started | None = None

    def is_just_before(self, now: float) -> bool:
        return self.keys[0][0] in ("failed", "unstarted") and self.at - 1 <= now <= self.at + LAG + 1


def events_of(account: Account) -> list[Event]:
    found = [event for one in account.deployments for event in _fires_of(account, one)]
    found += counts_of(account)
    for run in account.runs:
        word = {"failed": "failed", "nothing": "did_nothing"}.get(run.went, "unstarted")
        at = run.came + LATE if run.went == "stuck" else run.ended
        if run.went != "done" and at is not None:
            found.append(Event(at, ((word, run.id),), run.deployment))
    return found


def _fires_of(account: Account, one: Deployed) -> Iterator[Event]:
    for due, again in one.due:
        if one.is_counted(due):
            continue
        last = max(due, again)
        of_fire = account.by_fire.get((one.id, due), [])
        of_both = sorted([*of_fire, *account.by_fire.get((one.id, again), [])], key=lambda run: (run.came, run.id))
        late = [run for run in of_both if run.came - (run.due or 0.0) <= DAY_LATE]
        missed = ("missed", one.id, f"{due:.0f}")
        if not late:
            yield Event(last + LATE, (missed,), one, due)
        elif late[0].came - (late[0].due or 0.0) > LATE:
            yield Event(last + LATE, (("late", late[0].id), missed), one, due, late[0])
        for run in of_both:
            if run not in late:
                yield Event(run.came, (("late", run.id),), one, due)
        if not again:
            for run in late[1:]:
                yield Event(max(due + LATE, run.came), (("twice", run.id),), one, due)


def states_at(account: Account, now: float, *, over: float = 0.0) -> set[Key]:
    """Return what was so at a time, for so many seconds at least."""
    found: set[Key] = {("waits", run.id) for run in account.runs if run.waits_at(now) and run.waits_at(now - over)}
    for one in account.deployments:
        last = one.at(now) if one.created <= now - over else one.changes[0]
        if last.at <= now - over and (last.what == "break" or (last.what == "pause" and last.schedule)):
            found.add(("paused", one.id))
    return found


# Who reads.


@dataclass
class Reader:
    """Somebody who types reports: on which deployments, and what was told so far, with what a crash excuses."""

    account: Account
    of: list[str]
    told: Counter[Key] = field(default_factory=Counter)
    excused: Counter[Key] = field(default_factory=Counter)
    doubts: set[str] = field(default_factory=set)
    told_at: dict[Key, float] = field(default_factory=dict)  # states
    blind: list[tuple[float, float]] = field(default_factory=list)  # reports that did not look at older runs

    def is_of(self, deployment: str) -> bool:
        return not self.of or deployment in self.of

    def take(self, said: Said, now: float, *, crashed: bool) -> None:
        self.told.update(said.events)
        self.doubts |= said.doubts
        if said.is_blind:
            self.blind.append((said.since, said.until))
        if crashed:
            self.excused.update(said.events)
        else:
            self.told_at |= dict.fromkeys(said.states, now)


def play(cell: Cell, folder: Path) -> Played:
    account, played = Account(cell.seed, deployments=cell.deployments), Played()
    nights = _Nights(cell, account, folder, played)
    nights.read_news()
    nights.read_spans()
    return played


class _Nights:
    def __init__(self, cell: Cell, account: Account, folder: Path, played: Played) -> None:
        self._cell, self._account, self._folder, self._played = cell, account, folder, played
        self._chance = random.Random(f"reports {cell.seed}")
        self._events = events_of(account)
        self._by_id = {one.id: one for one in account.deployments}

    def _report(self, now: float, where: str, words: list[str], *, may_crash: bool = False) -> tuple[Said | None, bool]:
        """Return what a report says, None if it says nothing, and whether it crashed."""
        chance = self._chance
        crash = chance.choice(("asking", "printed")) if may_crash and chance.random() < self._cell.crashes else ""
        service = Service(self._account, self._cell.generation, now)
        look = Look(service, now, self._folder / where, crash, chance.randrange(6))
        code, printed = _run(look, ["report", *words, "-o", "json", "--exit-status"])
        crashed = code is None
        self._played.codes.append("killed" if code is None else code)
        if not printed:
            if code not in (None, 0, 7):
                self._played.breaks(f"{words}: code {code} without a word", **{"wrong code": True})
            return None, crashed
        said = said_of(code or 0, json.loads(printed))
        may_be_8 = said.is_urgent or ("--new" not in words and any(event.is_just_before(now) for event in self._events))
        wrong = code is not None and (code == 8 if not may_be_8 else said.is_urgent and code != 8)
        self._played.breaks(f"{words}: {code}", **{"wrong code": wrong or code not in (None, 0, 7, 8)})
        return said, crashed

    def read_news(self) -> None:
        """Let one or two readers type `report --new` at drawn times on one machine."""
        chance, account = self._chance, self._account
        looks: list[tuple[float, int]] = []
        readers: list[tuple[Reader, list[str]]] = []
        for number in range(chance.choice((1, 1, 2))):
            name = ["--reader", f"team-{number}"] if number or chance.random() < 0.5 else []
            readers.append((self._reader(), name))
            first = account.begin + chance.uniform(1.05, 1.8) * DAY
            looks += [(now, number) for now in self._times(first)]
        began, last = dict[int, float](), dict[int, float]()
        for now, number in sorted(looks):
            reader, name = readers[number]
            said, crashed = self._report(now, "machine", ["--new", *name, *reader.of], may_crash=True)
            if said is not None:
                self._check_truth(reader, said, now)
                self._check_once(reader, said, now)
                reader.take(said, now, crashed=crashed)
            if not crashed:
                began.setdefault(number, now - DAY)
                last[number] = now
                self._check_states(reader, now, again=DAY)
        for number, since in began.items():
            self._check_told(readers[number][0], since, last[number], chain=False)

    def read_spans(self) -> None:
        """Let somebody type reports whose spans meet, some of them long after."""
        chance, account = self._chance, self._account
        reader, is_new = self._reader(), chance.random() < 0.5
        ends = self._times(account.begin + chance.uniform(0.05, 1.0) * DAY)
        now = ends[0]
        for number, (since, until) in enumerate(pairwise(ends)):
            now = max(now, until) + chance.choice((0.0, 0.0, 120.0, chance.uniform(0, 12 * HOUR)))
            typed = ["--since", _typed(since), *(["--until", _typed(until)] if now > until else [])]
            said, _ = self._report(now, f"new-{number}" if is_new else "spans", [*typed, *reader.of])
            if said is None:
                self._played.breaks(f"nothing of {typed}", untold=True)
                continue
            self._check_truth(reader, said, now, until=until)
            reader.take(said, now, crashed=False)
            self._check_states(reader, now, again=0.0, until=until)
            self._check_verdict(reader, said, since, until, now)
        self._check_told(reader, ends[0], ends[-1], chain=True)

    def _reader(self) -> Reader:
        ids = [one.id for one in self._account.deployments if one.created < self._account.begin]
        some = sorted(self._chance.sample(ids, 1)) if ids and self._chance.random() < 0.2 else []
        return Reader(self._account, some)

    def _times(self, first: float) -> list[float]:
        chance, at = self._chance, float(int(first))
        times = [at]
        while len(times) < 5:
            at += chance.choice((7 * MINUTE, HOUR, 8 * HOUR, DAY, DAY, chance.uniform(MINUTE, 3 * DAY)))
            if at > self._account.end - HOUR:
                break
            times.append(float(int(at)))
        last = self._account.end - HOUR
        return sorted({min(max(self._close_to_an_event(time), times[0]), last) for time in times})

    def _close_to_an_event(self, time: float) -> float:
        """Return a time about then, often while lists do not show yet what has just happened, or just was changed."""
        changes = [change.at for one in self._account.deployments for change in one.changes]
        near = [at for at in (*(event.at for event in self._events), *changes) if abs(at - time) < 6 * HOUR]
        if not near or self._chance.random() < 0.6:
            return time
        return float(int(self._chance.choice(near) + self._chance.uniform(-5, LAG + 10)))

    def _breaks(self, promise: str, words: str) -> None:
        self._played.breaks(words, **{promise: True})

    def _check_truth(self, reader: Reader, said: Said, now: float, *, until: float | None = None) -> None:
        """Check that all that was told is so, and was decided by then."""
        end = now if until is None else until
        true = {key: event for event in self._events if event.at + LAG <= end + 1 for key in event.keys}
        for key in said.events:
            if key[0] == "counted" and not is_calm(self._account, self._by_id[key[1]], float(key[2])):
                continue
            event = true.get(key)
            if event is None or not reader.is_of(event.deployment.id):
                self._breaks("false alarm", f"{key} at {_at(now)}")
            elif key[0] == "missed" and event.late and event.late.came + LAG < end:
                self._breaks("false alarm", f"{key} has come by {_at(now)}")
        states = states_at(self._account, now) | states_at(self._account, now - LAG)
        if until is not None and (wrong := {state for state in said.states - states if state[0] == "paused"}):
            self._breaks("false alarm", f"{wrong} at {_at(now)}")
        elif until is None and said.states - states:
            self._breaks("false alarm", f"{said.states - states} at {_at(now)}")

    def _check_once(self, reader: Reader, said: Said, now: float) -> None:
        """Check that no state is told again within a day while it lasts."""
        for state in said.states:
            told = reader.told_at.get(state, 0.0)
            lasts = state[0] == "waits" or self._by_id[state[1]].at(told) is self._by_id[state[1]].at(now)
            if now - told < DAY - LAG - 1 and lasts:
                self._breaks("told twice", f"{state} at {_at(told)} and {_at(now)}")

    def _check_states(self, reader: Reader, now: float, *, again: float, until: float | None = None) -> None:
        """Check that the states of now are told, and were not told too long ago."""
        for state in states_at(self._account, now, over=LAG + 20):
            run = self._account.by_id.get(state[1])
            of = state[1] if run is None else run.deployment.id
            if run is not None and any(run.came < since - 26 * HOUR and now >= until for since, until in reader.blind):
                continue
            if not reader.is_of(of) or (run is not None and until is not None and run.came + LAG > until):
                continue
            if now - reader.told_at.get(state, 0.0) > again:
                self._breaks("state untold", f"{state} at {_at(now)}")

    def _check_verdict(self, reader: Reader, said: Said, since: float, until: float, now: float) -> None:
        of = [event for event in self._events if reader.is_of(event.deployment.id)]
        events = [event for event in of if since < event.at + LAG <= until]
        states = states_at(self._account, now, over=LAG + 20)
        if "All is well" in said.verdict and (events or said.states):
            self._breaks("not well", f"over {events[:1]} {states}")
        fires = [
            due
            for one in self._account.deployments
            if reader.is_of(one.id)
            for due, _ in one.due
            if since - DECIDED < due <= until and due > one.at(now).at + MINUTE
        ]
        if "nothing was due" in said.verdict and fires:
            self._breaks("not well", f"{len(fires)} were due, to {_at(until)}")

    def _check_told(self, reader: Reader, began: float, last: float, *, chain: bool) -> None:
        """Check that all that happened was told, and once: of a chain of spans each event, of news each key."""
        for event in self._events:
            if not reader.is_of(event.deployment.id):
                continue
            told = [key for key in event.keys if reader.told[key]]
            times = max((reader.told[key] - reader.excused[key] for key in event.keys), default=0)
            if chain:
                times = sum(reader.told[key] for key in event.keys)
            if times > 1:
                self._breaks("told twice", f"{told} {times} times, {_at(event.at)}")
            is_within = began < event.at + (LAG if chain else 0.0) <= last - (0.0 if chain else LAG)
            must = event.keys[:1] if event.late and event.late.came + LAG < last and not chain else event.keys
            run = self._account.by_id.get(event.keys[0][-1])
            is_old = run is not None and any(run.came < since - 26 * HOUR for since, _ in reader.blind)
            if not is_within or is_old or self._is_hidden(reader, event):
                continue
            if not any(reader.told[key] for key in must):
                self._breaks("untold", f"{must} of {_at(event.at)}, looked to {_at(last)}")

    def _is_hidden(self, reader: Reader, event: Event) -> bool:
        """Return whether a change hid a fire, and that was told."""
        changes = event.deployment.changes[1:]
        is_hidden = any(event.due is not None and change.at + MINUTE >= event.due for change in changes)
        return is_hidden and event.deployment.id in reader.doubts


def _at(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%m-%d %H:%M:%S")


def _typed(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# In this process.


class _Output(io.BytesIO):
    """Standard output that may be the last that is seen of a command."""

    is_last = False

    def flush(self) -> None:
        if self.is_last:
            raise Killed


def _run(look: Look, words: list[str]) -> tuple[int | None, str]:
    """Type a report; return its exit code, None if it was killed, and what was printed."""
    out, code = _Output(), None
    out.is_last = look.crash == "printed"
    transport = Mortal(look.service, look.dies_at if look.crash == "asking" else None)
    with suppress(Killed):
        code = typed(words, env_of(look.folder), clock=FakeClock(look.now), transport=transport, out=out).code
    return code, out.getvalue().decode()
