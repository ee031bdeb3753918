"""Every fault, at the trigger and while waiting, in process on a clock that nobody has to wait for.

`python -m tests.matrix` prints the table, with `--attacks` that of what was thought of later; `test_matrix.py` runs it.
A cell is one `qoder deploy run dep_demo --wait` against a server that does one thing wrong once, twice or three times,
on either generation, honouring the idempotency key or not; of the later ones, with each --on-lost, and repeated or
settled some time after. What must never be: a run started twice by one command, a run started and neither reported nor
ended in exit 9, success claimed for a run that did not succeed. Below it stands what `tests.support.servers` found with
servers that were not made from the sandbox, and are bad in more ways.
"""

import io
import itertools
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx

from qoder_cli.app import App
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.world import World
from tests.support.inprocess import WorldTransport
from tests.support.wire import FakeClock

Generation = Literal["legacy", "current"]

# Which API the server speaks, and whether it honours the idempotency key.
WORLDS: tuple[tuple[Generation, bool], ...] = (
    ("legacy", True),
    ("legacy", False),
    ("current", True),
    ("current", False),
)
AT_THE_TRIGGER = (
    "refused",
    "drop-before",
    "drop-after",
    "late=3",
    "late=30",
    "hang-before",
    "hang-after",
    "slow=20",
    "truncated",
    "garbage",
    "list",
    "not-a-run",
    "redirect=https://elsewhere.example/",
    "html",
    "act-html",
    "429=2",
    "429",
    "429=31536000",
    "429=-3",
    "429=soon",
    "400",
    "401",
    "403",
    "404",
    "409",
    "500",
    "503",
    "act-500",
    "act-503",
    "503-bare",
    "act-503-bare",
    "stranger",
)
WHILE_WAITING = (
    "refused",
    "drop-before",
    "drop-after",
    "hang-before",
    "slow=20",
    "truncated",
    "garbage",
    "list",
    "not-a-run",
    "redirect=https://elsewhere.example/",
    "html",
    "429=2",
    "429=31536000",
    "500",
    "503-bare",
    "401",
    "404",
)
# What goes wrong together: whatever is lost, while something else blurs what can be read of it.
TOGETHER = tuple(
    (lost, blur)
    for lost in ("trigger:drop-after", "trigger:drop-before", "trigger:late=3", "trigger:act-503", "trigger:503")
    for blur in (
        "trigger:stranger",
        "any:lagging=5",
        "any:half-written=3",
        "any:skew=-7200",
        "any:skew=40000000",
        "any:no-date",
        "list:503-bare*2",
        "list:503-bare*inf",
        "list:hang-before*2",
        "list:garbage*4",
    )
)


# What was thought of later, and is played by itself: servers that act minutes later, or answer with another run, with
# all that can be said of a lost answer; and what blurs the sight of a run that was lost.
LATER = (
    *(f"trigger:{late}" for late in ("late=20", "late=100", "late=150", "late=300")),
    *(f"trigger:{late}" for late in ("late-503=20", "late-503=150", "late-504=20", "late-504=150", "late-504=300")),
    *(f"trigger:{other}" for other in ("old=600", "kept=30")),
)
LATER_TOGETHER = tuple(
    (lost, blur)
    for lost in ("trigger:drop-after", "trigger:drop-before", "trigger:late=3", "trigger:act-503", "trigger:503")
    for blur in ("any:year=1", "any:year=1970", "any:year=2028", "any:undated", "list:foreign", "any:moving=3")
)
OnLost = Literal["adopt", "resend", "fail"]
ON_LOST: tuple[OnLost, ...] = ("adopt", "resend", "fail")
# What is typed after the first command, so many seconds later: the same again, or `run wait last`.
Then = Literal["", "again", "last"]
THEN: tuple[tuple[Then, float], ...] = (
    ("", 0),
    ("again", 5),
    ("again", 130),
    ("again", 660),
    ("last", 20),
    ("last", 660),
)
KEY = ("--idempotency-key", "nightly")
LONG_LOOK = 29.0  # seconds for which the list is looked at before anything is sent again, at least


class Cell(NamedTuple):
    """One thing to try. Without a key of the user's, `again` is what the error says is next."""

    faults: tuple[str, ...]
    generation: Generation
    honours_key: bool
    on_lost: OnLost = "adopt"
    has_key: bool = False
    then: tuple[Then, float] = ("", 0)

    def __str__(self) -> str:
        first = f"{' + '.join(self.faults)}, {self.generation}, key {'honoured' if self.honours_key else 'ignored'}"
        typed = f"--on-lost {self.on_lost}{' --idempotency-key' if self.has_key else ''}"
        return f"{first}, {typed}, {self.then[0] or 'nothing'} after {self.then[1]:g} s"


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: runs our requests started, the run that was reported, and how the last command ended."""

    started: list[str]
    reported: str | None
    exit_code: int
    true_ending: str | None
    visible: int  # manual runs that the server had when the command ended
    is_borne: bool = False  # it is a known limit that more than one was started
    is_mistaken: bool = False  # it was answered with another run, and reports that
    denied: bool = False  # a later command said that nothing was started, though the server listed it

    @property
    def twice(self) -> bool:
        """Whether one command, or its repetition, started more than one run."""
        return len(self.started) > 1 and not self.is_borne

    @property
    def lost(self) -> bool:
        """Whether a run was started, and neither reported nor ended in exit 9."""
        return self.exit_code != 9 and not self.is_borne and any(run != self.reported for run in self.started)

    @property
    def lied(self) -> bool:
        """Whether success was claimed for a run that did not succeed or was not asked for, or nothing for something."""
        return self.denied or self.is_mistaken or (self.exit_code == 0 and self.true_ending != "completed")

    @property
    def could_have_been_settled(self) -> bool:
        """Whether it ended in exit 9 although the server had exactly one run that could be it."""
        return self.exit_code == 9 and self.visible == 1


def cells() -> Iterator[Cell]:
    """Yield every cell."""
    single = [f"trigger:{fault}" for fault in AT_THE_TRIGGER]
    single += [f"{where}:{fault}" for where in ("run", "events", "session") for fault in WHILE_WAITING]
    for fault, times in itertools.product(single, (1, 2, 3)):
        for generation, honours_key in WORLDS:
            yield Cell((f"{fault}*{times}",), generation, honours_key)
    for faults, (generation, honours_key) in itertools.product(TOGETHER, WORLDS):
        yield Cell(faults, generation, honours_key)


def later_cells() -> Iterator[Cell]:
    """Yield every cell of what was thought of later."""
    for fault, on_lost, has_key, then in itertools.product(LATER, ON_LOST, (False, True), THEN):
        for generation, honours_key in WORLDS:
            yield Cell((fault,), generation, honours_key, on_lost, has_key, then)
    for n, (faults, on_lost, world) in enumerate(itertools.product(LATER_TOGETHER, ON_LOST, WORLDS)):
        yield Cell(faults, *world, on_lost, n % 2 == 0, THEN[n % len(THEN)])
        yield Cell(faults, *world, on_lost, n % 2 == 1, THEN[(n + 3) % len(THEN)])
    for blur, (generation, honours_key) in itertools.product(dict.fromkeys(blur for _, blur in LATER_TOGETHER), WORLDS):
        yield Cell((blur,), generation, honours_key)


class WithoutStreams(WorldTransport):
    """A world without event streams: two threads on one clock that nobody waits for would race."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events/stream"):
            return httpx.Response(501, json={})
        return super().handle_request(request)


def play(cell: Cell, folder: Path) -> Outcome:
    """Run one cell and return what became of it. `folder` is for its store."""
    clock = FakeClock()
    world = World(clock=clock.now, generation=cell.generation, honour_key=cell.honours_key, seed=1)
    transport = WithoutStreams(world, faults=Faults(*cell.faults), sleep=clock.sleep)
    first = ["deploy", "run", "dep_demo", "--wait", "--json", "--timeout", "30m", "--on-lost", cell.on_lost]
    first += KEY if cell.has_key else ()
    began = [clock.time]
    code, out, err = run_against(transport, clock, folder, *first)
    denied = False
    if words := _following(cell, first, err):
        clock.time += cell.then[1]
        began.append(clock.time)
        settled = code in (5, 6, 7)  # what was said is not asked again
        code, out, err = run_against(transport, clock, folder, *words)
        denied = not settled and code in (5, 6, 7) and bool(world.started())
    visible = len([run for run in world.runs.values() if run.origin in ("request", "other")])
    clock.time += 3600  # whatever was to happen late has happened
    started = [run.id for run in world.started()]
    document = json.loads(out) if out else {}
    reported = document.get("id")
    ending = world.ending(reported) if reported in world.runs else None
    is_other = reported in world.runs and world.runs[reported].origin == "other"
    is_mistaken = is_other and not cell.has_key and cell.faults[0].startswith(("trigger:old", "trigger:kept"))
    status = ending.status if ending else None
    return Outcome(started, reported, code, status, visible, _is_borne(world, began), is_mistaken, denied)


def _following(cell: Cell, first: Sequence[str], err: str) -> Sequence[str]:
    """Return the words of the second command; none where nothing is to follow."""
    match cell.then[0]:
        case "last":
            return ("run", "wait", "last", "--json", "--timeout", "30m")
        case "again" if cell.has_key:
            return first
        case "again":
            last = (err.splitlines() or [""])[-1]
            error = json.loads(last)["error"] if last.startswith("{") else {}
            next = error.get("next") or []
            return next[1:] if next[1:3] == ["deploy", "run"] else ()
    return ()


def _is_borne(world: World, began: Sequence[float]) -> bool:
    """Return whether each run but the first was asked for after a long look at a list that showed none before it."""
    sent = [(seen.at, world.runs[run].created) for seen in world.requests for run in seen.runs]
    for (_, created), (later, _) in itertools.pairwise(sent):
        looked = later - max(moment for moment in [sent[0][0], *began] if moment <= later)
        if created <= later or looked < LONG_LOOK:
            return False
    return True


def run_against(transport: WorldTransport, clock: FakeClock, folder: Path, *words: str) -> tuple[int, str, str]:
    """Run one command line in process against a world; return its exit code, stdout and stderr."""
    out, err = io.BytesIO(), io.BytesIO()
    app = App(
        env={
            "QODER_PAT": transport.world.token,
            "QODER_CONFIG": str(folder / "config.toml"),
            "QODER_STATE_DIR": str(folder),
            "QODER_BASE_URL": "http://127.0.0.1:9/api/v1/cloud",
        },
        out=Screen(out),
        err=Screen(err),
        clock=clock,
        transport=transport,
    )
    code = main(list(words), app)
    return code, out.getvalue().decode(), err.getvalue().decode()


def table(outcomes: dict[Cell, Outcome]) -> str:
    """Return the table: a line a fault and count, its exit codes, and the three zeros at the end."""
    lines = [f"{'fault':<62} {'started':<12} {'exit codes':<28} twice lost lied"]
    for faults, group in itertools.groupby(outcomes.items(), key=lambda item: item[0].faults):
        found = [outcome for _, outcome in group]
        started = Counter(len(outcome.started) for outcome in found)
        codes = Counter(outcome.exit_code for outcome in found)
        lines.append(
            f"{' + '.join(faults):<62} {_counted(started):<12} {_counted(codes):<28} "
            f"{sum(o.twice for o in found):>5} {sum(o.lost for o in found):>4} {sum(o.lied for o in found):>4}"
        )
    every = list(outcomes.values())
    return "\n".join(
        [
            *lines,
            "",
            f"{len(every)} cells. started twice: {sum(o.twice for o in every)}, lost: {sum(o.lost for o in every)}, "
            f"success claimed wrongly: {sum(o.lied for o in every)}",
            f"ended in 9: {sum(o.exit_code == 9 for o in every)}, of which could have been settled: "
            f"{sum(o.could_have_been_settled for o in every)}",
        ]
    )


def _counted(counter: Counter[Any]) -> str:
    return " ".join(f"{value}x{count}" for value, count in sorted(counter.items()))


def play_all(some: Iterator[Cell]) -> dict[Cell, Outcome]:
    """Run cells, each with a store of its own."""
    outcomes = {}
    for cell in some:
        with tempfile.TemporaryDirectory() as folder:
            outcomes[cell] = play(cell, Path(folder))
    return outcomes


if __name__ == "__main__":
    from tests.support import servers

    later = sys.argv[1:] == ["--attacks"]
    print(table(play_all(later_cells() if later else cells())))
    print()
    print(servers.table(servers.play_all(servers.attack_cells() if later else servers.cells())))
