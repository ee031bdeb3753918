"""Plays every fault at the trigger and while waiting.

A cell is one `qoder deploy run dep_demo --wait` against a sandbox that does one thing wrong once, twice or three times,
on either generation, honouring the idempotency key or not, on a clock that nobody has to wait for. What servers do that
act later or answer for others, and what is typed then: `tests.tools.servers --attacks`.
"""

from argparse import Namespace
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.support.inprocess import WithoutStreams
from tests.support.lies import Lies
from tests.support.typed import TOKEN
from tests.support.wire import FakeClock
from tests.tools.playing import Played
from tests.tools.typed import typed

PROMISES = ("twice", "lost", "lied")  # started twice, neither reported nor exit 9, claimed and not so
# Which API the server speaks, and whether it honours the idempotency key.
WORLDS: tuple[tuple[Generation, bool], ...] = tuple(product(GENERATIONS, (True, False)))
AT_THE_TRIGGER = (
    "refused", "drop-before", "drop-after", "late=3", "late=30", "hang-before", "hang-after", "slow=20",
    "truncated", "garbage", "list", "not-a-run", "redirect=https://elsewhere.example/", "html", "act-html", "429=2",
    "429", "429=31536000", "429=-3", "429=soon", "400", "401", "403", "404", "409", "500", "503", "act-500",
    "act-503", "503-bare", "act-503-bare", "stranger",
)  # fmt: skip
WHILE_WAITING = (
    "refused", "drop-before", "drop-after", "hang-before", "slow=20", "truncated", "garbage", "list", "not-a-run",
    "redirect=https://elsewhere.example/", "html", "429=2", "429=31536000", "500", "503-bare", "401", "404",
)  # fmt: skip
LOST = tuple(f"trigger:{fault}" for fault in ("drop-after", "drop-before", "late=3", "act-503", "503"))
# What blurs what can be read of it.
BLURS = (
    "trigger:stranger", "any:lagging=5", "any:half-written=3", "any:skew=-7200", "any:skew=40000000", "any:no-date",
    "list:503-bare*2", "list:503-bare*inf", "list:hang-before*2", "list:garbage*4",
)  # fmt: skip


class Cell(NamedTuple):
    """One thing to try."""

    faults: tuple[str, ...]
    generation: Generation
    honours_key: bool

    def __str__(self) -> str:
        return f"{' + '.join(self.faults)}, {self.generation}, key {'honoured' if self.honours_key else 'ignored'}"


def cells(options: Namespace) -> Iterator[Cell]:
    """Yield every cell of one fault, and of a lost answer with a blur."""
    single = [f"trigger:{fault}" for fault in AT_THE_TRIGGER]
    single += [f"{where}:{fault}" for where in ("run", "events", "session") for fault in WHILE_WAITING]
    together = [*((f"{fault}*{times}",) for fault in single for times in (1, 2, 3)), *product(LOST, BLURS)]
    for faults, world in product(together, WORLDS):
        yield Cell(faults, *world)


def play(cell: Cell, folder: Path) -> Played:
    """Run one cell and return what became of it. `folder` is for its store."""
    clock = FakeClock()
    world = World(clock=clock.now, generation=cell.generation, honour_key=cell.honours_key, token=TOKEN, seed=1)
    transport = WithoutStreams(world, faults=Lies(*cell.faults), sleep=clock.sleep)
    said = typed(transport, clock, folder, "deploy", "run", "dep_demo", "--wait", "--json", "--timeout", "30m")
    visible = sum(run.origin in ("request", "other") for run in world.runs.values())
    clock.time += 3600  # whatever was to happen late has happened
    started, named = [run.id for run in world.started()], said.document.get("id")
    run = world.runs.get(str(named))
    ending = world.ending(run.id) if run else None
    played = Played([said.code])
    played.breaks(
        f"exit {said.code} names {named}, started {started}",
        twice=len(started) > 1,
        lost=said.code != 9 and any(id != named for id in started),
        lied=said.code == 0 and (ending.status if ending else None) != "completed",
    )
    if said.code == 9 and visible == 1:
        played.open.append(" + ".join(cell.faults))  # the server had exactly one run that could be it
    return played
