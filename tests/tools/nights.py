"""Plays `qoder report` through a year: fires dropped, doubled, delayed; schedules changed, paused, archived.

A cell is one report of a week, of an account of a hundred deployments in twelve zones, on one generation of server; the
machine's clock is off by up to a day. With --attacks it is a day of `report --new`, every minute, with crashes; with
--core the walk of the schedules alone, without the command: a whole year in a minute.
"""

import io
import json
import random
from argparse import ArgumentParser, Namespace
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from qoder_cli.app import App
from qoder_cli.base.model import Deployment, Run
from qoder_cli.base.times import unix
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen
from qoder_cli.report.fires import fires_of
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.support.nights import BEGIN, DAY, Account, Nights, truth
from tests.support.wire import FakeClock
from tests.tools.playing import Broken, Played
from tests.tools.typed import TOKEN, typed

# A missed fire that is not told; one told that was not missed; something that cannot be told without need, or is not
# said; another section that is wrong; a second report that asks for more than pages; something new told never, twice.
PROMISES = ("overlooked", "false alarm", "doubt", "wrong", "asked again", "untold", "told twice")
WEEK = 7 * DAY


class Cell(NamedTuple):
    generation: Generation
    seed: int
    week: int
    deployments: int = 100
    core: bool = False

    def __str__(self) -> str:
        return f"{self.generation}, account {self.seed} of {self.deployments}, week {self.week}"


class Watch(NamedTuple):
    generation: Generation
    seed: int
    minutes: int = 1440
    crashes: float = 0.1

    def __str__(self) -> str:
        return f"--new on {self.generation}, account {self.seed}, {self.minutes} minutes, crashes {self.crashes:.0%}"


def cells(options: Namespace) -> Iterator[Cell | Watch]:
    """Yield a year of each account, or days of --new."""
    for seed in range(options.seed, options.seed + (options.random or 1)):
        for generation in GENERATIONS:
            if options.attacks:
                yield from (Watch(generation, seed, crashes=crashes) for crashes in (0.0, 0.1))
            else:
                yield from (Cell(generation, seed, week, core=options.core) for week in range(2, 53))


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--core", action="store_true", help="only the walk of the schedules")


@cache
def _account(seed: int, deployments: int) -> Account:
    return Account(seed, deployments=deployments)


def play(cell: Cell | Watch, folder: Path) -> Played:
    """Play a report, or a day of them."""
    return _week(cell, folder) if isinstance(cell, Cell) else _day(cell, folder)


def _week(cell: Cell, folder: Path) -> Played:
    account, chance = _account(cell.seed, cell.deployments), random.Random(f"{cell}")
    now = float(int(BEGIN + cell.week * WEEK - chance.uniform(0, DAY)))
    service, clock = Nights(account, cell.generation, now), FakeClock(now + chance.uniform(-DAY, DAY))
    is_true, played = truth(account, now - WEEK, now), Played()
    words = ("report", "--since", "7d", "-o", "json", "--no-progress")
    report: dict[str, Any] = {}
    if cell.core:
        found, doubts, fires = _walked(service, now)
    else:
        said = typed(service, clock, folder, *words)
        played.codes.append(said.code)
        if said.code:
            return played.breaks(said.err, wrong=True)
        report = said.json
        found, fires = _told(report), report["fires"]
        doubts = {each["deployment"] for each in report["cannot_tell"]}
    played.codes += ["fire"] * fires + ["missed"] * len(is_true.missed)
    _breaks(played, "overlooked", is_true.missed - found["missed"])
    _breaks(played, "false alarm", found["missed"] - is_true.missed)
    _breaks(played, "doubt", (doubts - is_true.changed) | (is_true.hidden - doubts))
    # Of runs that name no fire, these are told only where the schedule is known.
    nameless = {run.id for run in account.runs if not run.deployment.names}
    for name in ("late", "doubled", *(() if cell.core else ("failed", "nothing"))):
        told, real = found[name], getattr(is_true, name)
        names = {one for one in real if not nameless & set(one if isinstance(one, tuple) else (one,))}
        is_wrong = told - real or names - told if name in ("late", "doubled") else told ^ real
        played.breaks(f"{name}: {_first(told ^ real)}", wrong=is_wrong)
    if cell.core:
        return played
    spent = {each["deployment"]: Decimal(each["credits"]) for each in report["ran"]}
    played.breaks("credits", wrong=spent != is_true.credits)
    service.asked.clear()
    again = typed(service, clock, folder, *words)
    sessions = [path for path in service.asked if path.endswith("/events")]
    young = {f"/sessions/{run.session}/events" for run in account.runs if now - 120 <= run.came <= now}
    if again.json != report:
        sessions.append("something else told")
    return _breaks(played, "asked again", set(sessions) - young)


def _walked(service: Nights, now: float) -> tuple[dict[str, set[Any]], set[str], int]:
    """Return what the walk finds, of which deployments it cannot tell, and how many fires were due."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for row in service.rows("/deployment_runs"):
        if (unix(row["created_at"]) or 0.0) >= now - 2 * WEEK:
            runs[row["deployment_id"]].append(Run(row))
    found: dict[str, set[Any]] = {"missed": set(), "late": set(), "doubled": set()}
    doubts, fires = set[str](), 0
    for deployment in map(Deployment, service.rows("/deployments")):
        walked = fires_of(deployment, runs[deployment.id], since=now - WEEK, now=now)
        found["missed"] |= {(deployment.id, at) for at in walked.missed}
        found["late"] |= {fired.runs[0].id for fired in walked.late}
        found["doubled"] |= {tuple(sorted(run.id for run in fired.runs)) for fired in walked.doubled}
        doubts |= {deployment.id for _ in walked.unclear}
        fires += walked.expected
    return found, doubts, fires


def _told(report: dict[str, Any]) -> dict[str, set[Any]]:
    """Return what a report told, as `truth` has it."""
    by_kind: dict[str, list[dict[str, Any]]] = {"missed": [], "late": [], "twice": []}
    for each in report["did_not_happen"]:
        by_kind.setdefault(each["kind"], []).append(each)
    return {
        "missed": {(each["deployment"], unix(each["due"])) for each in by_kind["missed"]},
        "late": {each["run"] for each in by_kind["late"]},
        "doubled": {tuple(each["runs"]) for each in by_kind["twice"]},
        "failed": {run for each in report["failed"] for run in each["run_ids"]},
        "nothing": {each["run"] for each in report["did_nothing"]},
    }


def _breaks(played: Played, promise: str, by: set[Any]) -> Played:
    if by:
        played.broken.append(Broken(promise, f"{len(by)}: {_first(by)}"))
    return played


def _first(found: Any) -> str:
    return ", ".join(sorted(map(str, found))[:2])


class Killed(BaseException):
    """The machine stops here."""


class _Output(io.BytesIO):
    """Standard output that may be the last that is seen of a command."""

    is_last = False

    def flush(self) -> None:
        if self.is_last:
            raise Killed


class _Dying(httpx.BaseTransport):
    """A service whose client may die while it asks."""

    def __init__(self, service: Nights, dies_at: int | None) -> None:
        self._service, self._left = service, dies_at

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise Killed
        return self._service.handle_request(request)


def _day(cell: Watch, folder: Path) -> Played:
    """Play a report every minute; each thing must be told, and once, but for what a crash let it tell again."""
    account = Account(cell.seed, deployments=12, begin=BEGIN, end=BEGIN + 3 * DAY)
    chance, played = random.Random(cell.seed), Played()
    told, excused = Counter[str](), Counter[str]()
    for minute in range(cell.minutes):
        now = BEGIN + DAY + 60.0 * minute
        crash = chance.choice(("asking", "printed")) if chance.random() < cell.crashes else ""
        service = _Dying(Nights(account, cell.generation, now), chance.randrange(4) if crash == "asking" else None)
        out = _Output()
        out.is_last = crash == "printed"
        env = {"QODER_PAT": TOKEN, "QODER_CONFIG": str(folder / "none"), "QODER_STATE_DIR": str(folder)}
        env["QODER_BASE_URL"] = "http://127.0.0.1:9/api/v1/cloud"
        app = App(env=env, out=Screen(out), err=Screen(io.BytesIO()), clock=FakeClock(now), transport=service)
        with suppress(Killed):
            played.codes.append(main(["report", "--new", "-o", "json"], app))
        if printed := out.getvalue():
            keys = list(_keys(json.loads(printed)))
            told.update(keys)
            excused.update(keys if crash else ())
    last = typed(Nights(account, cell.generation, now), FakeClock(now), folder, "report", "-o", "json")
    there = set(_keys(last.json)) if last.code == 0 else {last.err}
    played.codes += ["thing"] * len(told)
    twice = {key for key, times in told.items() if times > 1 + excused[key]}
    return _breaks(_breaks(played, "untold", there - told.keys()), "told twice", twice)


def _keys(report: dict[str, Any]) -> Iterator[str]:
    for section in ("needs_you", "did_not_happen", "did_nothing", "cannot_tell"):
        for each in report[section]:
            until = each.get("until") if each["kind"] == "changed" else None
            yield f"{each['kind']} {each['deployment']} {each.get('run')} {each.get('due')} {until}"
    for each in report["failed"]:
        yield from (f"failed {run}" for run in each["run_ids"])
