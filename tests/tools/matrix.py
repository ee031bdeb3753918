"""Plays every fault at the trigger and while waiting; with --attacks those that were thought of later.

A cell is one `qoder deploy run dep_demo --wait` against a sandbox that does one thing wrong once, twice or three times,
on either generation, honouring the idempotency key or not, on a clock that nobody has to wait for; of the later ones,
with each --on-lost, and repeated or settled some time after.
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Literal, NamedTuple

from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.support.inprocess import WithoutStreams
from tests.support.lies import Lies
from tests.support.wire import FakeClock
from tests.tools.playing import Played
from tests.tools.typed import TOKEN, Said, typed

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
# Servers that act minutes later, or answer with another run.
LATER = (
    "late=20", "late=100", "late=150", "late=300", "late-503=20", "late-503=150", "late-504=20", "late-504=150",
    "late-504=300", "old=600", "kept=30",
)  # fmt: skip
LATER_BLURS = ("any:year=1", "any:year=1970", "any:year=2028", "any:undated", "list:foreign", "any:moving=3")
ON_LOST = ("adopt", "resend", "fail")
# What is typed after the first command, so many seconds later: the same again, or `run wait last`.
Then = tuple[Literal["", "again", "last"], float]
THEN: tuple[Then, ...] = (("", 0), ("again", 5), ("again", 130), ("again", 660), ("last", 20), ("last", 660))
LAST = ("run", "wait", "last", "--json", "--timeout", "30m")
LONG_LOOK = 29.0  # seconds for which the list is looked at before anything is sent again, at least


class Cell(NamedTuple):
    """One thing to try. Without a key of the user's, `again` is what the error says is next."""

    faults: tuple[str, ...]
    generation: Generation
    honours_key: bool
    on_lost: str = "adopt"
    has_key: bool = False
    then: Then = ("", 0)

    def __str__(self) -> str:
        first = f"{' + '.join(self.faults)}, {self.generation}, key {'honoured' if self.honours_key else 'ignored'}"
        typed = f"--on-lost {self.on_lost}{' --idempotency-key' if self.has_key else ''}"
        return f"{first}, {typed}, {self.then[0] or 'nothing'} after {self.then[1]:g} s"


def cells(options: Namespace) -> Iterator[Cell]:
    return later_cells() if options.attacks else first_cells()


def first_cells() -> Iterator[Cell]:
    """Yield every cell of one fault, and of a lost answer with a blur."""
    single = [f"trigger:{fault}" for fault in AT_THE_TRIGGER]
    single += [f"{where}:{fault}" for where in ("run", "events", "session") for fault in WHILE_WAITING]
    together = [*((f"{fault}*{times}",) for fault in single for times in (1, 2, 3)), *product(LOST, BLURS)]
    for faults, world in product(together, WORLDS):
        yield Cell(faults, *world)


def later_cells() -> Iterator[Cell]:
    """Yield every cell of what was thought of later."""
    for fault, on_lost, has_key, then, world in product(LATER, ON_LOST, (False, True), THEN, WORLDS):
        yield Cell((f"trigger:{fault}",), *world, on_lost, has_key, then)
    for n, (faults, on_lost, world) in enumerate(product(product(LOST, LATER_BLURS), ON_LOST, WORLDS)):
        yield Cell(faults, *world, on_lost, n % 2 == 0, THEN[n % len(THEN)])
        yield Cell(faults, *world, on_lost, n % 2 == 1, THEN[(n + 3) % len(THEN)])
    for blur, world in product(LATER_BLURS, WORLDS):
        yield Cell((blur,), *world)


def play(cell: Cell, folder: Path) -> Played:
    """Run one cell and return what became of it. `folder` is for its store."""
    clock = FakeClock()
    world = World(clock=clock.now, generation=cell.generation, honour_key=cell.honours_key, token=TOKEN, seed=1)
    transport = WithoutStreams(world, faults=Lies(*cell.faults), sleep=clock.sleep)
    key = ("--idempotency-key", "nightly") if cell.has_key else ()
    first = ("deploy", "run", "dep_demo", "--wait", "--json", "--timeout", "30m", "--on-lost", cell.on_lost, *key)
    began = [clock.time]
    said = typed(transport, clock, folder, *first)
    denied = False
    if words := _following(cell, said):
        clock.time += cell.then[1]
        began.append(clock.time)
        settled = said.code in (5, 6, 7)  # what was said is not asked again
        said = typed(transport, clock, folder, *words)
        denied = not settled and said.code in (5, 6, 7) and bool(world.started())
    visible = _visible(world)
    clock.time += 3600  # whatever was to happen late has happened
    return judged(cell, world, said, visible=visible, is_borne=_is_borne(world, began), denied=denied)


def _following(cell: Cell, said: Said) -> Sequence[str]:
    """Return the words of the second command; none where nothing is to follow."""
    if cell.then[0] == "again":
        return said.words if cell.has_key else said.next if said.next[:1] == ("deploy",) else ()
    return LAST if cell.then[0] else ()


def _visible(world: World) -> int:
    return sum(run.origin in ("request", "other") for run in world.runs.values())


def judged(
    cell: Cell, world: World, said: Said, *, visible: int = -1, is_borne: bool = False, denied: bool = False
) -> Played:
    """Return which promises the last command broke, if all that was late has come."""
    started = [run.id for run in world.started()]
    named = said.document.get("id")
    run = world.runs.get(str(named))
    ending = world.ending(run.id) if run else None
    # Answered with another run, it reports that.
    is_mistaken = run is not None and run.origin == "other" and not cell.has_key
    is_mistaken = is_mistaken and cell.faults[0].startswith(("trigger:old", "trigger:kept"))
    claims = said.code == 0 and (ending.status if ending else None) != "completed"
    played = Played([said.code])
    words = f"exit {said.code} names {named}, started {started}"
    lost = said.code != 9 and any(run != named for run in started)
    played.breaks(words, is_borne=is_borne, twice=len(started) > 1, lost=lost)
    played.breaks(words, lied=denied or is_mistaken or claims)
    if said.code == 9 and (_visible(world) if visible < 0 else visible) == 1:
        played.open.append(" + ".join(cell.faults))  # the server had exactly one run that could be it
    return played


def _is_borne(world: World, began: Sequence[float]) -> bool:
    """Return whether each run but the first was asked for after a long look at a list that showed none before it."""
    sent = [(seen.at, world.runs[run].created) for seen in world.requests for run in seen.runs]
    for (_, created), (later, _) in pairwise(sent):
        looked = later - max(moment for moment in [sent[0][0], *began] if moment <= later)
        if created <= later or looked < LONG_LOOK:
            return False
    return True
