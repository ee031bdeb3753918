"""Plays the faults of `matrix` and the servers of `servers` with fifty starts at once; with --attacks the later ones.

A cell is one `qoder deploy run - --wait -o jsonl` of fifty deployments, of which all, every third or one meet what is
wrong with triggers, on a clock that is faster than a real one.
"""

import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.wire import BASE_PATH, GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.support.hasty import HastyClock
from tests.support.hostile import ATTACKS, LATENCY, OLD, REFUSALS, Hostile, Server
from tests.support.inprocess import WithoutStreams
from tests.tools.matrix import AT_THE_TRIGGER, WHILE_WAITING, WORLDS
from tests.tools.playing import Played
from tests.tools.typed import TOKEN, typed

# A deployment started twice; a run that the answer neither names nor calls unknown; something said that is not so.
PROMISES = ("twice", "lost", "lied")
COUNT = 50
SPEED = 50.0  # how many times faster the clock goes
SECONDS = 3.0  # that a run takes
AFFLICTED = {"all": slice(None), "third": slice(None, None, 3), "one": slice(7, 8)}
# What blurs the sight while answers are lost.
TOGETHER = (
    *product(
        ("trigger:drop-after",),
        ("trigger:stranger", "any:lagging=5", "any:half-written=3", "any:skew=-7200", "any:no-date", "list:503-bare*2"),
    ),
    ("trigger:act-503", "list:hang-before*2"),
    ("trigger:late=3", "list:garbage*2"),
)


class Sandbox(NamedTuple):
    faults: tuple[str, ...]
    generation: Generation
    honours_key: bool

    def __str__(self) -> str:
        return f"{' + '.join(self.faults)}, {self.generation}, key {'honoured' if self.honours_key else 'ignored'}"


class Cell(NamedTuple):
    server: Sandbox | Server
    meets: str = "third"  # which deployments meet it
    on_lost: str = "adopt"

    def __str__(self) -> str:
        return f"{self.server}, {self.meets}, --on-lost {self.on_lost}"

    @property
    def is_borne(self) -> bool:
        """Whether a second run is a known limit."""
        if isinstance(self.server, Server):  # a gateway's refusal stands after 8 s of a list that lags
            return self.server.lag > 8 and self.server.answer in REFUSALS
        # A server that acts after it was looked for, without the key: `--on-lost resend` asks for it.
        late = any(word in fault for fault in self.server.faults for word in ("late", "lagging"))
        return late and self.on_lost == "resend" and not self.server.honours_key


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


def cells(options: Namespace) -> Iterator[Cell]:
    if options.attacks:
        lists: list[dict[str, Any]] = [{name: value} for name in ("created", "foreign") for value in ATTACKS[name]]
        lists += [{"more": more, "paging": "next_page null", "newer": 110} for more in ATTACKS["more"]]
        yield from _lossy(lists)
        for kept, acts, generation in product(OLD, (0.0, None), GENERATIONS):
            yield Cell(Server(generation, answer=kept, acts=acts))
        for session, script, generation in product(ATTACKS["session"], SESSIONS, GENERATIONS):
            yield Cell(Server(generation, session=session, script=script))
        return
    faults = [*((f"trigger:{fault}",) for fault in AT_THE_TRIGGER), *TOGETHER]
    for together, meets, on_lost, world in product(faults, AFFLICTED, ("adopt", "resend"), WORLDS):
        yield Cell(Sandbox(together, *world), meets, on_lost)
    for where, fault, generation in product(("list", "session", "events", "run"), WHILE_WAITING, GENERATIONS):
        yield Cell(Sandbox((f"{where}:{fault}*5",), generation, True), "all")
    yield from _lossy(BAD_LISTS)
    for script, way in product(SESSIONS, BAD_STORIES):
        yield Cell(Server(script=script, **way))


def _lossy(ways: Sequence[dict[str, Any]]) -> Iterator[Cell]:
    for n, (way, (answer, acts)) in enumerate(product(ways, LOSSES)):
        server = replace(Server(GENERATIONS[n % 2], answer=answer, acts=acts), **way)
        yield Cell(server, on_lost=("adopt", "resend")[n // 2 % 2])


class Afflicting(WithoutStreams):
    """A world in which each afflicted deployment meets the faults by itself."""

    def __init__(self, world: World, clock: HastyClock, sick: Sequence[str], faults: Sequence[str]) -> None:
        of_all = [fault for fault in faults if not fault.startswith("trigger:")]
        super().__init__(world, faults=Faults(*of_all), sleep=clock.sleep)
        self._of_each = {id: WithoutStreams(world, faults=Faults(*faults), sleep=clock.sleep) for id in sick}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(BASE_PATH).split("/")
        of_one = self._of_each.get(path[2]) if path[1] == "deployments" and len(path) > 2 else None
        return of_one.handle_request(request) if of_one else super().handle_request(request)


def play(cell: Cell, folder: Path) -> Played:
    """Run one cell and return what became of it. `folder` is for its store."""
    clock, server = HastyClock(SPEED), cell.server
    if isinstance(server, Server):
        ids = [f"dep_{n:032x}" for n in range(COUNT)]
        only = frozenset(ids[AFFLICTED[cell.meets]])
        hostile = Hostile(server, now=clock.now, let_pass=lambda s: clock.sleep(min(s, LATENCY)), only=only)
        items = _deploy(ids, hostile, clock, cell, folder)
        ended = clock.now()
        clock.skip(3600)  # whatever was to happen late has happened
        runs = [(run.deployment, run.id) for run in hostile.ours()]
        endings = {run.id: run.truth(ended) for run in hostile.runs}
        others = {run.id for run in hostile.runs if run.heard and run.origin != "ours"}
        return _judged(cell, items, runs, endings, others)
    world = World(clock=clock.now, generation=server.generation, honour_key=server.honours_key, token=TOKEN, seed=1)
    ids = [each.id for each in world.seed_deployments(COUNT, behaviour=Behaviour(turn(seconds=SECONDS)))]
    clock.skip(86400)  # they are there for long, whatever is wrong with the server's clock
    afflicting = Afflicting(world, clock, ids[AFFLICTED[cell.meets]], server.faults)
    items = _deploy(ids, afflicting, clock, cell, folder)
    clock.skip(3600)
    runs = [(run.deployment.id, run.id) for run in world.started()]
    endings = {run.id: ending.status if (ending := world.ending(run.id)) else None for run in world.started()}
    return _judged(cell, items, runs, endings, set())


def _deploy(
    ids: Sequence[str], transport: httpx.BaseTransport, clock: HastyClock, cell: Cell, folder: Path
) -> dict[str, dict[str, Any]]:
    """Trigger all and wait for them; return the items by what was typed."""
    words = ["--wait", "-o", "jsonl", "--parallel", str(len(ids)), "--on-lost", cell.on_lost, "--timeout", "60"]
    said = typed(transport, clock, folder, "deploy", "run", "-", *words, stdin="\n".join(ids))
    assert "Traceback" not in said.err, said.err
    items = {item["input"]: item for item in map(json.loads, said.out.splitlines())}
    assert (set(items), said.out.count("\n")) == (set(ids), len(ids)), said.out
    return items


def _judged(
    cell: Cell,
    items: dict[str, dict[str, Any]],
    runs: Sequence[tuple[str, str]],
    endings: dict[str, str | None],
    others: set[str],
) -> Played:
    """Return what was broken. `others` are runs that a trigger was answered with, and that it had not started."""
    played = Played([item["exit_code"] for item in items.values()])
    ours = {run for _, run in runs}
    for deployment, item in items.items():
        code, named = item["exit_code"], str(item.get("id"))
        started = [run for of, run in runs if of == deployment]
        nothing = started and code in (None, 2, 3, 4, 5, 6, 7)
        success = code == 0 and endings.get(named) != "completed"
        failure = code == 1 and named in ours and endings.get(named) != "failed"
        played.breaks(
            f"{deployment}: exit {code} names {named}, started {started}",
            is_borne=cell.is_borne,
            twice=len(started) > 1,
            lost=code != 9 and set(started) - {named},
            lied=nothing or success or failure or named in others,
        )
        if code == 9:
            played.open.append(str(cell.server))
    return played
