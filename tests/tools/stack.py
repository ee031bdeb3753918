"""Cuts an apply of a whole stack at its every write: kills, lost and failed answers, stale lists.

One that is killed hears of nothing more and sends nothing more; `process/test_apply_turns.py` kills real ones. After it
the same folder is applied again on the same machine. Everything must be there once, nothing that is to be asleep may
have been awake, what exit 0 says must be so, and an apply after that must find nothing to do.
"""

import threading
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from qoder_cli.sandbox import api
from qoder_cli.sandbox.world import World
from tests.support import stacks
from tests.support.inprocess import as_request
from tests.support.stacks import SECRETS, things_of
from tests.support.things import LOSSES, given
from tests.support.typed import TOKEN, Killed, Said, typed_in
from tests.support.wire import FakeClock
from tests.tools.playing import Played

PROMISES = (
    "twice",  # something is there twice, or the content of a skill was uploaded twice
    "lost",  # something is not there, though an apply after it said that all is done
    "lied",  # exit 0 or "unchanged" for what is not so
    "awake",  # a schedule could have fired that was to be paused from the start
    "stuck",  # no number of further applies comes to an end
)
SCALE = 3  # 60 things
ASLEEP = [f"d{n}" for n in range(0, 4 * SCALE, 4)]  # deployments that are paused from the start
WRITES = 66  # that they take
KILLS = ("killed before", "killed after")
AGAIN = 6  # times that an apply is killed at most, one after the other
ACTS: tuple[float | None, ...] = (0, None, 6, 25)  # seconds until the server does it; None for never
LAGS = (0, 1, 3, 8, 20)  # seconds by which reads lag
KILLED = 137  # an exit code
GENERATIONS = ("current", "legacy")


class Cell(NamedTuple):
    """What happens at which write of the first apply."""

    generation: str
    what: str
    at: int = 1
    acts: float | None = 0
    lag: float = 0.0

    @property
    def is_kill(self) -> bool:
        return self.what.startswith("killed")

    def __str__(self) -> str:
        known: dict[float | None, str] = {None: "never done", 0: "done"}
        acts = known.get(self.acts, f"done after {self.acts} s")
        return f"{self.generation}, {self.what} at {self.at}, {acts}, lag {self.lag}"


def cells(options: Namespace) -> Iterator[Cell]:
    """Yield a kill at every write, on either side of it; losses and lags."""
    for generation, at in product(GENERATIONS, range(1, WRITES + 1)):
        for what, lag in product(KILLS, LAGS):
            yield Cell(generation, what, at, 0, lag)
            yield Cell(generation, f"{what}, again and again", at, 0, lag)
        for what, acts, lag in product(LOSSES, ACTS, LAGS):
            yield Cell(generation, what, at, acts, lag)


def play(cell: Cell, folder: Path) -> Played:
    stacks.write(folder / "files", stacks.sized(SCALE))
    service, numbers = Service(cell), count()
    words = ("apply", str(folder / "files"), "--yes", "--json")

    def apply() -> Said:
        wire = httpx.MockTransport(partial(service.answer, next(numbers)))
        try:
            return typed_in(folder / "state", service.clock, wire, *words, **SECRETS)
        except Killed:
            return Said(KILLED, "", "")

    said = [apply()]
    while cell.what.endswith("again") and said[-1].code == KILLED and len(said) < AGAIN:
        service.left = cell.at
        said.append(apply())
    service.left = 0
    lies = [words for one in said for words in _lies(one, service) if not cell.is_kill]
    kills = len([one for one in said if one.code == KILLED])
    while len(said) < kills + 8 and said[-1].code != 0:
        said.append(apply())
        lies += _lies(said[-1], service)
        service.clock.time += 30
    codes = [one.code for one in said]
    service.clock.time += 60
    before = len(service.writes)
    last = apply()
    found, wanted = stacks.there(service.world, since=service.since), things_of(SCALE)
    versions = [key for key, held in service.world.things.items() if key.endswith("/versions") and len(held) > 1]
    new_skills = {skill.id for skill in service.world.alive("skills") if skill.created >= service.since}
    twins = [*map(str, sorted(found - wanted)), *(key for key in versions if key.split("/")[1] in new_skills)]
    more = service.writes[before:]
    played = Played([*codes, last.code]).breaks(
        f"codes {codes} {last.code}, twins {twins[:3]}, missing {sorted(wanted - found)[:3]}, {more[:2]} {lies[:2]}"
        f" {said[0].err[-200:] if twins else last.err[-300:] if last.code else ''}",
        twice=twins,
        lost=wanted - found,
        lied=lies or (more and said[-1].code == 0),
        awake=service.awake,
        stuck=said[-1].code != 0 or last.code != 0,
    )
    if len(said) > kills + 1 + (not kills) or (cell.what in LOSSES and len(said) > 1):
        played.open.append(f"{cell.what}, {cell.acts}, lag {cell.lag}: {_worst(said)}")
    return played


def _worst(said: list[Said]) -> str:
    """Return what the first apply that did not end well said, without ids."""
    error = next((one for one in said if one.code not in (0, KILLED)), said[-1])
    message = str(error.error.get("message", ""))
    return f"{error.code} {message.partition(';')[2][:60].strip() or message[:60]}"


def _lies(said: Said, service: "Service") -> list[str]:
    """Return what a report says that is not so: each thing that it calls fine is there."""
    if said.code == KILLED:
        return []
    ids = {id for kept in service.world.things.values() for id, each in kept.items() if each.deleted is None}
    try:
        rows = said.json
    except ValueError:
        return ["no JSON"]
    wrong = [f"{row['kind']} {row.get('id')}" for row in rows if row.get("exit_code") == 0 and row.get("id") not in ids]
    if said.code == 0 and len(rows) != sum(things_of(SCALE).values()):
        wrong.append(f"{len(rows)} results")
    if said.code == 0 and (missing := things_of(SCALE) - stacks.there(service.world, since=service.since)):
        wrong.append(f"exit 0 without {sorted(missing)[:2]}")
    return wrong


class Service:
    """The service of a cell, whose reads lag: one write loses its answer, or ends the process that asks for it."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.clock, self.lock = cell, FakeClock(), threading.Lock()
        self.clock.patience = 0.02
        generation: Any = cell.generation
        self.world = World(clock=self.clock.now, generation=generation, token=TOKEN, seed=5)
        self.since = self.clock.now()
        self.dead: set[int] = set()  # processes that hear of nothing more, and send nothing
        self.left = cell.at  # writes until it happens; 0 for never
        self.writes: list[str] = []
        self.awake: list[str] = []  # which were active, with a schedule, though they are never to be

    def answer(self, process: int, request: httpx.Request) -> httpx.Response:
        """Return the answer to a request of a process. Raises Killed."""
        with self.lock:
            if process in self.dead:
                raise Killed
            self.world.settle()
            if request.method == "GET":
                return self._plain(request, {"lagging": self.cell.lag} if self.cell.lag else {})
            self.left -= 1
            if self.left != 0:
                return self._acted(request)
            return self._lost(process, request)

    def _plain(self, request: httpx.Request, conditions: dict[str, float], at: float | None = None) -> httpx.Response:
        answer = api.perform(self.world, as_request(request), at or self.world.now(), conditions)
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body)

    def _acted(self, request: httpx.Request, at: float | None = None) -> httpx.Response:
        self.writes.append(f"{request.method} {request.url.path}")
        response = self._plain(request, {}, at)
        for one in self.world.deployments.values():
            if one.name in ASLEEP and one.fields["schedule"] and not one.paused and one.archived is None:
                self.awake.append(one.name)
        return response

    def _lost(self, process: int, request: httpx.Request) -> httpx.Response:
        cell = self.cell
        if cell.acts == 0 and not cell.what.startswith(KILLS[0]):
            self._acted(request)
        elif cell.acts:
            self.world.postpone(cell.acts, lambda at: self._acted(request, at))
        if cell.is_kill:
            self.dead.add(process)
            raise Killed
        return given(LOSSES[cell.what](httpx.Response(200, content=b'{"id": "x_1"}')))
