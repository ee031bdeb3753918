"""Cuts an apply of a whole stack at its every write: kills, lost and failed answers, stale lists, several at once.

One that is killed hears of nothing more and sends nothing more; `process/test_apply_turns.py` kills real ones. After it
the same folder is applied again on the same machine. Everything must be there once, nothing that is to be asleep may
have been awake, what exit 0 says must be so, and an apply after that must find nothing to do.
"""

import random
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.support import stacks
from tests.support.inprocess import as_request
from tests.support.stacks import SECRETS, Truth, TruthTransport, things_of
from tests.support.wire import FakeClock
from tests.tools.playing import Played
from tests.tools.typed import Killed, Said, typed

PROMISES = (
    "twice",  # something is there twice, or the content of a skill was uploaded twice
    "lost",  # something is not there, though an apply after it said that all is done
    "lied",  # exit 0 or "unchanged" for what is not so
    "awake",  # a schedule could have fired that was to be paused from the start
    "stuck",  # no number of further applies comes to an end
)
SCALE = 3  # 60 things
WRITES = 66  # that they take
KILLS = ("killed before", "killed after")
AGAIN = 6  # times that an apply is killed at most, one after the other
LOSSES = ("drop", "503", "502", "garbage")
ACTS: tuple[float | None, ...] = (0, None, 6, 25)  # seconds until the server does it; None for never
LAGS = (0, 1, 3, 8, 20)  # seconds by which reads lag
KILLED = 137  # an exit code
GENERATIONS = ("current", "legacy")
AT_ONCE = (2, 5)


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
    """Yield a kill at every write, on either side of it; losses and lags; several at once."""
    for generation, at in product(GENERATIONS, range(1, WRITES + 1)):
        for what, lag in product(KILLS, LAGS):
            yield Cell(generation, what, at, 0, lag)
            yield Cell(generation, f"{what}, again and again", at, 0, lag)
        for what, acts, lag in product(LOSSES, ACTS, LAGS):
            yield Cell(generation, what, at, acts, lag)
    for generation, count, seed, lag in product(GENERATIONS, AT_ONCE, range(5), LAGS):
        yield Cell(generation, f"{count} at once", seed, 0, lag)


def play(cell: Cell, folder: Path) -> Played:
    """Play one cell."""
    stacks.write(folder / "files", stacks.sized(SCALE))
    truth = Truth(cell.generation, lag=cell.lag)
    truth.asleep = frozenset(f"d{n}" for n in range(0, 4 * SCALE, 4))
    words = ("apply", str(folder / "files"), "--yes", "--json")
    if cell.what.endswith("at once"):
        said = _at_once(cell, truth, folder, words)
    else:
        said = [_apply(truth, folder, words, cell)]
        while cell.what.endswith("again") and said[-1].code == KILLED and len(said) < AGAIN:
            said.append(_apply(truth, folder, words, cell))
    lies = [words for one in said for words in _lies(one, truth, is_whole=not cell.is_kill)]
    kills = len([one for one in said if one.code == KILLED])
    while len(said) < kills + 8 and said[-1].code != 0:
        said.append(_apply(truth, folder, words))
        lies += _lies(said[-1], truth)
        truth.time += 30
    codes = [one.code for one in said]
    truth.time += 60
    before = len(truth.writes)
    last = _apply(truth, folder, words)
    found, wanted = stacks.there(truth.world, since=truth.since), things_of(SCALE)
    versions = [key for key, held in truth.world.things.items() if key.endswith("/versions") and len(held) > 1]
    twins = [*map(str, sorted(found - wanted)), *(key for key in versions if key.split("/")[1] in _new_skills(truth))]
    told = " ".join(one.err + one.out for one in said if one.code in (6, 9))
    is_told = cell.what.endswith("at once") and all(id in told for id in stacks.ids_of_twins(truth.world, truth.since))
    more = truth.writes[before:]
    played = Played([*codes, last.code]).breaks(
        f"codes {codes} {last.code}, twins {twins[:3]}, missing {sorted(wanted - found)[:3]}, {more[:2]} {lies[:2]}"
        f" {said[0].err[-200:] if twins else last.err[-300:] if last.code else ''}",
        twice=twins and not is_told,
        lost=wanted - found,
        lied=lies or (more and said[-1].code == 0),
        awake=truth.awake,
        stuck=(said[-1].code != 0 or last.code != 0) and not (is_told and twins),
    )
    if len(said) > kills + 1 + (not kills) or (cell.what in LOSSES and len(said) > 1):
        played.open.append(f"{cell.what}, {cell.acts}, lag {cell.lag}: {_worst(said)}")
    return played


def _worst(said: list[Said]) -> str:
    """Return what the first apply that did not end well said, without ids."""
    error = next((one for one in said if one.code not in (0, KILLED)), said[-1])
    message = str(error.error.get("message", ""))
    return f"{error.code} {message.partition(';')[2][:60].strip() or message[:60]}"


def _new_skills(truth: Truth) -> set[str]:
    return {each.id for each in truth.world.alive("skills") if each.created >= truth.since}


def _lies(said: Said, truth: Truth, *, is_whole: bool = True) -> list[str]:
    """Return what a report says that is not so: each thing that it calls fine is there."""
    if said.code == KILLED or not is_whole:
        return []
    ids = {id for kept in truth.world.things.values() for id, each in kept.items() if each.deleted is None}
    try:
        rows = said.json
    except ValueError:
        return ["no JSON"]
    wrong = [f"{row['kind']} {row.get('id')}" for row in rows if row.get("exit_code") == 0 and row.get("id") not in ids]
    if said.code == 0 and len(rows) != sum(things_of(SCALE).values()):
        wrong.append(f"{len(rows)} results")
    if said.code == 0 and (missing := things_of(SCALE) - stacks.there(truth.world, since=truth.since)):
        wrong.append(f"exit 0 without {sorted(missing)[:2]}")
    return wrong


def _clock(truth: Truth) -> FakeClock:
    clock = FakeClock(truth.time)
    clock.patience = 0.02
    return clock


def _apply(truth: Truth, folder: Path, words: tuple[str, ...], cell: Cell | None = None) -> Said:
    clock = _clock(truth)
    transport = _Losing(truth, clock, cell) if cell else TruthTransport(truth, clock)
    try:
        return typed(transport, clock, folder / "state", *words, **SECRETS)
    except Killed:
        return Said(words, KILLED, "", "")


class _Losing(TruthTransport):
    """Loses the answer to one write of a cell, or ends whoever asks for it."""

    def __init__(self, truth: Truth, clock: FakeClock, cell: Cell) -> None:
        super().__init__(truth, clock)
        self.cell, self.count, self.is_dead = cell, 0, False
        self.lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            self.count += request.method != "GET"
            is_it = request.method != "GET" and self.count == self.cell.at
            if self.is_dead:
                raise Killed
            self.is_dead = is_it and self.cell.is_kill
        if not is_it or self.cell.what.startswith(KILLS[1]):
            answer = super().handle_request(request)
        if self.is_dead:
            raise Killed
        if not is_it:
            return answer
        asked = as_request(request)
        if self.cell.acts == 0:
            self.truth.perform(asked, self.clock.now())
        elif self.cell.acts is not None:
            self.truth.world.postpone(self.cell.acts, lambda at: self.truth.act(asked, at))
        if self.cell.what == "drop":
            raise httpx.ReadError("[Errno 104] Connection reset by peer", request=request)
        if self.cell.what == "503":
            error = {"type": "overloaded_error", "message": "Overloaded."}
            return httpx.Response(503, json={"type": "error", "error": error})
        if self.cell.what == "502":
            return httpx.Response(502, html="<h1>Bad gateway</h1>")
        return httpx.Response(200, content=b'{"id": "x')


# Several at once, each on a machine of its own.


def _at_once(cell: Cell, truth: Truth, folder: Path, words: tuple[str, ...]) -> list[Said]:
    """Run several applies, whose requests are served in an order drawn by chance."""
    chance = random.Random(cell.at)
    clock = _clock(truth)
    said: list[Said] = []
    gate = threading.Lock()

    class Mixed(TruthTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            time.sleep(chance.random() / 200)
            with gate:
                return super().handle_request(request)

    def run(number: int) -> None:
        said.append(typed(Mixed(truth, clock), clock, folder / f"state{number}", *words, **SECRETS))

    threads = [threading.Thread(target=run, args=[number]) for number in range(int(cell.what.split()[0]))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return said
