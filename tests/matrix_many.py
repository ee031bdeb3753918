"""The fault matrix of the trigger protocol with fifty at once: `python -m tests.matrix_many [--attacks] [WORD...]`.

A cell is one `qoder deploy run - --wait -o jsonl` of fifty deployments, of which all, every third or one meet a fault
of `tests.matrix` when they are triggered, or that meets faults while it waits, on a clock that is faster than a real
one; or a server of `tests.support.hostile`, whose every list is bad (with `--attacks`, in the ways of ATTACKS). Words
choose the cells that have one of them in their name. What must never be: a deployment started twice, a run started that
the answer neither names nor calls unknown, an answer that says of a run that was started that it was not.
"""

import io
import itertools
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx

from qoder_cli.app import App
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.wire import BASE_PATH, GENERATIONS
from qoder_cli.sandbox.world import World
from tests.matrix import AT_THE_TRIGGER, WHILE_WAITING, WORLDS, Generation
from tests.support.hasty import HastyClock
from tests.support.hostile import ATTACKS, LATENCY, OLD, REFUSALS, Hostile, Server
from tests.support.inprocess import WorldTransport

COUNT = 50
SPEED = 50.0  # how many times faster the clock goes
SECONDS = 3.0  # that a run takes

Pattern = Literal["all", "third", "one"]
OnLost = Literal["adopt", "resend"]
AFFLICTED: dict[Pattern, slice] = {"all": slice(None), "third": slice(None, None, 3), "one": slice(7, 8)}

# What blurs the sight while answers are lost.
TOGETHER = (
    ("trigger:drop-after", "trigger:stranger"),
    ("trigger:drop-after", "any:lagging=5"),
    ("trigger:drop-after", "any:half-written=3"),
    ("trigger:drop-after", "any:skew=-7200"),
    ("trigger:drop-after", "any:no-date"),
    ("trigger:drop-after", "list:503-bare*2"),
    ("trigger:act-503", "list:hang-before*2"),
    ("trigger:late=3", "list:garbage*2"),
)
# A server that acts after it was looked for and does not honour the key: `--on-lost resend` says that this is borne.
BORNE = ("late", "lagging")


class Cell(NamedTuple):
    """One thing to try."""

    faults: tuple[str, ...]
    generation: Generation
    honours_key: bool
    pattern: Pattern
    on_lost: OnLost

    def __str__(self) -> str:
        key = "honoured" if self.honours_key else "ignored"
        return f"{' + '.join(self.faults)}, {self.pattern}, {self.generation}, key {key}, --on-lost {self.on_lost}"

    @property
    def is_borne(self) -> bool:
        """Whether starting twice is what was asked for."""
        late = any(word in fault for fault in self.faults for word in BORNE)
        return late and self.on_lost == "resend" and not self.honours_key


class HostileCell(NamedTuple):
    """A server of `tests.support.hostile`; every third deployment meets what is wrong with its triggers."""

    server: Server
    on_lost: OnLost

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with it."""
        return (str(self.server),)

    @property
    def pattern(self) -> Pattern:
        """Which deployments meet it."""
        return "third"

    @property
    def is_borne(self) -> bool:
        """Whether this is a known limit: a gateway's refusal stands after 8 s of a list that lags."""
        return self.server.lag > 8 and self.server.answer in REFUSALS

    def __str__(self) -> str:
        return f"hostile: {self.server}, --on-lost {self.on_lost}"


@dataclass
class Outcome:
    """What became of a cell: the runs that each deployment's requests started, its item, and how its runs ended."""

    code: int
    items: dict[str, dict[str, Any]]
    started: dict[str, list[str]]
    endings: Mapping[str, str | None]
    others: frozenset[str] = frozenset()  # runs that a trigger was answered with, and that it had not started

    @property
    def twice(self) -> list[str]:
        """The deployments of which more than one run was started."""
        return [deployment for deployment, runs in self.started.items() if len(runs) > 1]

    @property
    def lost(self) -> list[str]:
        """The deployments with a run that the answer neither names nor calls unknown."""
        return [
            deployment
            for deployment, runs in self.started.items()
            if self._code(deployment) != 9 and set(runs) - {self.items[deployment].get("id")}
        ]

    @property
    def lied(self) -> list[str]:
        """The deployments of which is said what is not so: nothing was started, it completed, the run is theirs."""
        nothing = [d for d, runs in self.started.items() if runs and self._code(d) in (None, 2, 3, 4, 5, 6, 7)]
        success = [d for d, item in self.items.items() if item["exit_code"] == 0 and not self._completed(item)]
        ours = {run for runs in self.started.values() for run in runs}
        wrong = [d for d, item in self.items.items() if item["exit_code"] == 1 and self._ending(item) != "failed"]
        taken = [d for d, item in self.items.items() if item.get("id") in self.others]
        return nothing + success + taken + [d for d in wrong if self.items[d].get("id") in ours]

    @property
    def unknown(self) -> int:
        """How many ended in exit 9."""
        return sum(item["exit_code"] == 9 for item in self.items.values())

    @cached_property
    def codes(self) -> Counter[Any]:
        """How many items ended in which exit code."""
        return Counter(str(item["exit_code"]) for item in self.items.values())

    def _code(self, deployment: str) -> Any:
        return self.items[deployment]["exit_code"]

    def _completed(self, item: dict[str, Any]) -> bool:
        return self._ending(item) == "completed"

    def _ending(self, item: dict[str, Any]) -> str | None:
        return self.endings.get(item["id"])


AnyCell = Cell | HostileCell

# What becomes of a trigger, in what is told badly; and how sessions go, in what is told badly of them.
LOSSES: tuple[tuple[str, float | None], ...] = (
    ("500", 0.0), ("reset", 0.0), ("404 html", 0.0), ("503", 3.0), ("302", None), ("502", 0.0),
    ("certificate error", 0.0),
)  # fmt: skip
BAD_LISTS: tuple[dict[str, Any], ...] = (
    {}, {"date": 2.0}, {"date": -10.0}, {"lag": 10.0}, {"created": "null"}, {"context": "null"}, {"order": "oldest"},
    {"newer": 110}, {"down": 5.0}, {"strangers": (0.6,)}, {"date": "absent"},
)  # fmt: skip
SESSIONS = ("fails", "completes, chats on, fails", "fails, chats on, completes", "idle at first", "asks, and goes on",
            "reason number")  # fmt: skip
BAD_STORIES: tuple[dict[str, Any], ...] = (
    {}, {"telling": "newest first"}, {"telling": "shuffled"}, {"events": "overlap"}, {"events": "after_id ignored"},
    {"events": "strict"}, {"types": "ignored"}, {"ids": "absent"}, {"empty": "null"}, {"earlier": True},
    {"missing": ("404 html", 20.0)}, {"session": "changes"},
)  # fmt: skip


def hostile_cells() -> Iterator[HostileCell]:
    """Yield every cell of a server of `tests.support.hostile`."""
    for n, (way, (answer, acts)) in enumerate(itertools.product(BAD_LISTS, LOSSES)):
        server = replace(Server(GENERATIONS[n % 2], answer=answer, acts=acts), **way)
        yield HostileCell(server, ("adopt", "resend")[n // 2 % 2])
    for script, way in itertools.product(SESSIONS, BAD_STORIES):
        yield HostileCell(replace(Server(script=script), **way), "adopt")


def attack_cells() -> Iterator[HostileCell]:
    """Yield every cell of a server that is bad in a way of `tests.support.hostile.ATTACKS`."""
    lists: list[dict[str, Any]] = [{name: value} for name in ("created", "foreign") for value in ATTACKS[name]]
    lists += [{"more": more, "paging": "next_page null", "newer": 110} for more in ATTACKS["more"]]
    for n, (way, (answer, acts)) in enumerate(itertools.product(lists, LOSSES)):
        server = replace(Server(GENERATIONS[n % 2], answer=answer, acts=acts), **way)
        yield HostileCell(server, ("adopt", "resend")[n // 2 % 2])
    for kept, acts, generation in itertools.product(OLD, (0.0, None), GENERATIONS):
        yield HostileCell(Server(generation, answer=kept, acts=acts), "adopt")
    for session, script, generation in itertools.product(ATTACKS["session"], SESSIONS, GENERATIONS):
        yield HostileCell(Server(generation, session=session, script=script), "adopt")


def cells() -> Iterator[Cell]:
    """Yield every cell of the sandbox."""
    faults = [(f"trigger:{fault}",) for fault in AT_THE_TRIGGER]
    for together, pattern, on_lost in itertools.product([*faults, *TOGETHER], AFFLICTED, ("adopt", "resend")):
        for generation, honours_key in WORLDS:
            yield Cell(together, generation, honours_key, pattern, on_lost)
    for where, fault in itertools.product(("list", "session", "events", "run"), WHILE_WAITING):
        for generation in GENERATIONS:
            yield Cell((f"{where}:{fault}*5",), generation, True, "all", "adopt")


class Afflicting(WorldTransport):
    """A world without event streams in which each afflicted deployment meets the faults by itself."""

    def __init__(self, world: World, clock: HastyClock, sick: Sequence[str], faults: Sequence[str]) -> None:
        super().__init__(world, sleep=clock.sleep)
        of_all = [fault for fault in faults if not fault.startswith("trigger:")]
        self._of_each = {id: WorldTransport(world, faults=Faults(*faults), sleep=clock.sleep) for id in sick}
        self.faults = Faults(*of_all)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(BASE_PATH).split("/")
        if path[-1] == "stream":
            return httpx.Response(501, json={})
        of_one = self._of_each.get(path[2]) if path[1] == "deployments" and len(path) > 2 else None
        return of_one.handle_request(request) if of_one else super().handle_request(request)


def play(cell: Cell, folder: Path, *, count: int = COUNT, speed: float = SPEED) -> Outcome:
    """Run one cell and return what became of it. `folder` is for its store."""
    clock = HastyClock(speed)
    world = World(clock=clock.now, generation=cell.generation, honour_key=cell.honours_key, seed=1)
    ids = [each.id for each in world.seed_deployments(count, behaviour=Behaviour(turn(seconds=SECONDS)))]
    clock.skip(86400)  # they are there for long, whatever is wrong with the server's clock
    transport = Afflicting(world, clock, ids[AFFLICTED[cell.pattern]], cell.faults)
    code, items = _deploy(ids, transport, clock, cell.on_lost, folder, token=world.token)
    clock.skip(3600)  # whatever was to happen late has happened
    started: dict[str, list[str]] = {id: [] for id in ids}
    for run in world.started():
        started[run.deployment.id].append(run.id)
    endings = {run.id: ending.status if (ending := world.ending(run.id)) else None for run in world.started()}
    return Outcome(code, items, started, endings)


def play_hostile(cell: HostileCell, folder: Path, *, count: int = COUNT, speed: float = SPEED) -> Outcome:
    """Run one cell of a server of `tests.support.hostile` and return what became of it. `folder` is for its journal."""
    clock = HastyClock(speed)
    ids = [f"dep_{n:032x}" for n in range(count)]
    only = frozenset(ids[AFFLICTED[cell.pattern]])
    hostile = Hostile(
        cell.server, now=clock.now, let_pass=lambda seconds: clock.sleep(min(seconds, LATENCY)), only=only
    )
    code, items = _deploy(ids, hostile, clock, cell.on_lost, folder)
    ended = clock.now()
    clock.skip(3600)
    started: dict[str, list[str]] = {id: [] for id in ids}
    for run in hostile.ours():
        started[run.deployment].append(run.id)
    others = frozenset(run.id for run in hostile.runs if run.heard and run.origin != "ours")
    return Outcome(code, items, started, {run.id: run.truth(ended) for run in hostile.runs}, others)


def _deploy(
    ids: Sequence[str],
    transport: httpx.BaseTransport,
    clock: HastyClock,
    on_lost: OnLost,
    folder: Path,
    *,
    token: str = "pt-of-a-hostile-server",
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Trigger all and wait for them; return the exit code and the items by what was typed."""
    out, err = io.BytesIO(), io.BytesIO()
    app = App(
        env={
            "QODER_PAT": token,
            "QODER_CONFIG": str(folder / "config.toml"),
            "QODER_STATE_DIR": str(folder),
            "QODER_BASE_URL": "http://127.0.0.1:9/api/v1/cloud",
        },
        out=Screen(out),
        err=Screen(err),
        stdin=io.StringIO("\n".join(ids)),
        clock=clock,
        transport=transport,
    )
    words = ["--wait", "-o", "jsonl", "--parallel", str(len(ids)), "--on-lost", on_lost, "--timeout", "60"]
    code = main(["deploy", "run", "-", *words], app)
    assert b"Traceback" not in err.getvalue(), err.getvalue().decode()
    items = [json.loads(line) for line in out.getvalue().decode().splitlines()]
    assert [item["input"] for item in sorted(items, key=lambda item: ids.index(item["input"]))] == ids
    return code, {item["input"]: item for item in items}


def table(outcomes: Mapping[AnyCell, Outcome]) -> str:
    """Return the table: a line for faults and pattern, its exit codes, and the three zeros at the end."""
    lines = [f"{'fault':<46} {'meets':<6} {'--on-lost':<9} {'items by exit code':<34} twice lost lied"]
    for (faults, pattern, on_lost), group in itertools.groupby(
        outcomes.items(), key=lambda item: (item[0].faults, item[0].pattern, item[0].on_lost)
    ):
        found = [outcome for _, outcome in group]
        codes = sum((outcome.codes for outcome in found), Counter[Any]())
        counted = " ".join(f"{code}x{count}" for code, count in sorted(codes.items()))
        lines.append(f"{' + '.join(faults):<46} {pattern:<6} {on_lost:<9} {counted:<34} {_wrong(found)}")
    borne = [outcome for cell, outcome in outcomes.items() if cell.is_borne]
    others = [outcome for cell, outcome in outcomes.items() if not cell.is_borne]
    items = sum(len(outcome.items) for outcome in outcomes.values())
    return "\n".join(
        [
            *lines,
            "",
            f"{len(outcomes)} cells, {items} triggers.  started twice, lost, claimed wrongly: {_wrong(others)}; "
            f"ended in 9: {sum(outcome.unknown for outcome in outcomes.values())}",
            f"of them {len(borne)} known limits: {_wrong(borne)}",
        ]
    )


def _wrong(outcomes: Sequence[Outcome]) -> str:
    wrong = [sum(len(getattr(outcome, word)) for outcome in outcomes) for word in ("twice", "lost", "lied")]
    return "{:>5} {:>4} {:>4}".format(*wrong)


def _play_alone(cell: AnyCell) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        return play(cell, Path(folder)) if isinstance(cell, Cell) else play_hostile(cell, Path(folder))


def play_all(words: Sequence[str], *, processes: int, attacks: bool = False) -> dict[AnyCell, Outcome]:
    """Run the cells of which a fault has one of the words in its name (all, without words), several at a time."""
    every: list[AnyCell] = [*attack_cells()] if attacks else [*cells(), *hostile_cells()]
    wanted = [cell for cell in every if not words or any(word in str(cell) for word in words)]
    with ProcessPoolExecutor(processes) as pool:
        return dict(zip(wanted, pool.map(_play_alone, wanted), strict=True))


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--attacks"]
    print(table(play_all(words, processes=os.cpu_count() or 1, attacks=words != sys.argv[1:])))
