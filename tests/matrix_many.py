"""The fault matrix of the trigger protocol with fifty at once: `python -m tests.matrix_many [WORD...]`.

A cell is one `qoder deploy run - --wait -o jsonl` of fifty deployments, of which all, every third or one meet a fault
of `tests.matrix` when they are triggered, or that meets faults while it waits, on a clock that is faster than a real
one. Words choose the cells that have one of them in their name. What must never be: a deployment started twice, a run
started that the answer neither names nor calls unknown, an answer that says of a run that was started that it was not.
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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx

from qoder_cli.cli import main
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.inprocess import WorldTransport
from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.wire import BASE_PATH, GENERATIONS
from qoder_cli.sandbox.world import World
from qoder_cli.state import State
from tests.hasty import HastyClock
from tests.matrix import AT_THE_TRIGGER, WHILE_WAITING, WORLDS, Generation

COUNT = 50
SPEED = 25.0  # how many times faster the clock goes
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


@dataclass
class Outcome:
    """What became of a cell: the runs that each deployment's requests started, its item, and how its runs ended."""

    code: int
    items: dict[str, dict[str, Any]]
    started: dict[str, list[str]]
    endings: Mapping[str, str | None]

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
        """The deployments of which it is said that nothing was started, or that a run completed, and it is not so."""
        nothing = [d for d, runs in self.started.items() if runs and self._code(d) in (None, 2, 3, 4, 5, 6, 7)]
        success = [d for d, item in self.items.items() if item["exit_code"] == 0 and not self._completed(item)]
        return nothing + success

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
        return self.endings.get(item["id"]) == "completed"


def cells() -> Iterator[Cell]:
    """Yield every cell."""
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
    out, err = io.BytesIO(), io.BytesIO()
    state = State(
        env={
            "QODER_PAT": world.token,
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
    words = ["--wait", "-o", "jsonl", "--parallel", str(count), "--on-lost", cell.on_lost, "--timeout", "60"]
    code = main(["deploy", "run", "-", *words], state)
    assert b"Traceback" not in err.getvalue(), err.getvalue().decode()
    items = [json.loads(line) for line in out.getvalue().decode().splitlines()]
    assert [item["input"] for item in sorted(items, key=lambda item: ids.index(item["input"]))] == ids
    clock.skip(3600)  # whatever was to happen late has happened
    started: dict[str, list[str]] = {id: [] for id in ids}
    for run in world.started():
        started[run.deployment.id].append(run.id)
    endings = {run.id: ending.status if (ending := world.ending(run.id)) else None for run in world.started()}
    return Outcome(code, {item["input"]: item for item in items}, started, endings)


def table(outcomes: dict[Cell, Outcome]) -> str:
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
            f"{len(outcomes)} cells, {items} triggers.  twice lost lied: {_wrong(others)}; "
            f"ended in 9: {sum(outcome.unknown for outcome in outcomes.values())}",
            f"of them {len(borne)} in which --on-lost resend met a late server without keys: {_wrong(borne)}",
        ]
    )


def _wrong(outcomes: Sequence[Outcome]) -> str:
    wrong = [sum(len(getattr(outcome, word)) for outcome in outcomes) for word in ("twice", "lost", "lied")]
    return "{:>5} {:>4} {:>4}".format(*wrong)


def _play_alone(cell: Cell) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        return play(cell, Path(folder))


def play_all(words: Sequence[str], *, processes: int) -> dict[Cell, Outcome]:
    """Run the cells of which a fault has one of the words in its name (all, without words), several at a time."""
    wanted = [cell for cell in cells() if not words or any(word in str(cell) for word in words)]
    with ProcessPoolExecutor(processes) as pool:
        return dict(zip(wanted, pool.map(_play_alone, wanted), strict=True))


if __name__ == "__main__":
    print(table(play_all(sys.argv[1:], processes=os.cpu_count() or 1)))
