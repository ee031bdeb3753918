"""Every fault, at the trigger and while waiting, in process on a clock that nobody has to wait for.

`python -m tests.matrix` prints the table; `test_matrix.py` runs it. A cell is one `qoder deploy run dep_demo
--wait` against a server that does one thing wrong once, twice or three times, on either generation, honouring the
idempotency key or not. What must never be: a run started twice by one command, a run started and neither reported nor
ended in exit 9, success claimed for a run that did not succeed. Below it stands what `tests.support.servers` found with
servers that were not made from the sandbox, and are bad in more ways.
"""

import io
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
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


class Cell(NamedTuple):
    """One thing to try."""

    faults: tuple[str, ...]
    generation: Generation
    honours_key: bool

    def __str__(self) -> str:
        return f"{' + '.join(self.faults)}, {self.generation}, key {'honoured' if self.honours_key else 'ignored'}"


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: runs our request started, the run that was reported, and how the command ended."""

    started: list[str]
    reported: str | None
    exit_code: int
    true_ending: str | None
    visible: int  # manual runs that the server had when the command ended

    @property
    def twice(self) -> bool:
        """Whether one command started more than one run."""
        return len(self.started) > 1

    @property
    def lost(self) -> bool:
        """Whether a run was started, and neither reported nor ended in exit 9."""
        return self.exit_code != 9 and any(run != self.reported for run in self.started)

    @property
    def lied(self) -> bool:
        """Whether success was claimed for a run that did not succeed."""
        return self.exit_code == 0 and self.true_ending != "completed"

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
    code, out, _ = run_against(transport, clock, folder, "deploy", "run", "dep_demo", "--wait", "--json")
    visible = len([run for run in world.runs.values() if run.origin in ("request", "other")])
    clock.time += 3600  # whatever was to happen late has happened
    started = [run.id for run in world.started()]
    document = json.loads(out) if out else {}
    reported = document.get("id")
    ending = world.ending(reported) if reported in world.runs else None
    return Outcome(started, reported, code, ending.status if ending else None, visible)


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


def play_all() -> dict[Cell, Outcome]:
    """Run every cell, each with a store of its own."""
    outcomes = {}
    for cell in cells():
        with tempfile.TemporaryDirectory() as folder:
            outcomes[cell] = play(cell, Path(folder))
    return outcomes


if __name__ == "__main__":
    from tests.support import servers

    print(table(play_all()))
    print()
    print(servers.table(servers.play_all(servers.cells())))
