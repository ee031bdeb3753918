"""Shared idempotency keys: machines that are killed, networks that lose, delay and repeat; or every history (`--all`).

Without options tens of thousands of histories are played in threads, on clocks of their own (`tests.support.swarm`);
some of them with a store made to break its promise. With `--processes` each machine is a process with a state folder of
its own. The service is another process, which loses answers and requests, does some later and some twice. A machine is
killed as SIGKILL does before or after one of its steps: a request, or a statement of the database. Afterwards a quiet
machine uses each key once more; and, where that ends in 9, once again after a person has freed the key. `--queue`
has fifty processes that start two hundred runs, five at once. `--postgres` has fifty processes and a thousand keys, a
server of its own, and a memory store of old reads (`tests.support.hosts`).
"""

import io
import json
import os
import random
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from tests.support import hosts, queued_hosts, queues, swarm
from tests.support.hasty import CommonClock
from tests.support.histories import Explorer, Options
from tests.tools.playing import Played

PROMISES = ("twice", "lost", "stuck", "wrong")  # wrong: of a history, whatever it is
HASTE = 60.0  # how many times faster the clocks of machines and service go
_CLOCK = CommonClock(HASTE)
TOKEN = "pt-planted-0123456789abcdef"
STORES = swarm.STORES
MANY = 20_000  # histories of each store
_APPLYING = 10  # beside each so many runs, a stack is applied
_QUEUEING = 4  # and runs queue for the slots of a group
_BROKEN = 100  # one of so many more has a store that is made to break its promise
_STORE = "memstore_keys"
CROWDS = (
    ("postgresql", ""),
    ("postgresql", "restart and cut"),
    ("postgresql", "silence"),
    ("memory", ""),
    ("memory", "lag"),
)
QUEUED = (("postgresql", "restart"), ("memory", ""))
EVERY: dict[str, Options] = {
    "2 commands, 3 faults": Options(faults=3, crashes=0),
    "2 commands, 2 faults, 1 kill": Options(),
    "2 commands, 2 kills": Options(faults=1, crashes=2),
    "2 commands, 1 fault, slow": Options(faults=1, slow=True),
    "2 commands, reads of any age": Options(faults=1, crashes=0, stale=True),
    "2 keys, slow": Options(keys=(0, 1), slow=True),
    "3 commands, 1 fault, 1 kill": Options(keys=(0, 0, 0), faults=1),
    "3 commands, 2 keys": Options(keys=(0, 0, 1), faults=1, crashes=1),
    "runs that fail free their key": Options(until=True),
    "runs that fail, and one by hand": Options(until=True, by_hand=True, faults=1),
}
QUEUES: dict[str, queues.Options] = {
    "queue: 2 commands, 2 faults, 1 kill": queues.Options(faults=2),
    "queue: 2 commands, 1 fault, slow": queues.Options(slow=True, crashes=0),
    "queue: 2 commands, reads of any age": queues.Options(stale=True),
    "queue: 3 commands, 1 slot, 1 fault, 1 kill": queues.Options((1, 1, 1)),
    "queue: 3 commands, 2 slots, 1 fault": queues.Options((2, 2, 2), crashes=0),
    "queue: 3 commands, another N each": queues.Options((1, 2, 3), crashes=0),
}


class Machine(NamedTuple):
    """One command: its key, when it begins, and the step at which it is killed, if any, before or after."""

    key: int
    after: float
    step: int | None
    before: bool


class Cell(NamedTuple):
    """One history: the store, and what happens on which machines."""

    store: str
    seed: int
    machines: tuple[Machine, ...]
    trouble: float  # the share of requests that go wrong

    def __str__(self) -> str:
        return f"{self.store} {self.seed}: {len(self.machines)} machines, trouble {self.trouble:g}"


class Explored(NamedTuple):
    """All histories of the protocol, under these options."""

    what: str

    def __str__(self) -> str:
        return f"every history: {self.what}"


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="every history of the protocol, without machines")
    parser.add_argument("--processes", action="store_true", help="real processes: far slower")
    parser.add_argument(
        "--postgres", action="store_true", help="fifty processes, with a PostgreSQL server of their own"
    )
    parser.add_argument("--queue", action="store_true", help="fifty processes that queue for five slots, with both")
    parser.add_argument(
        "--hosts", type=int, default=50, metavar="N", help="so many processes instead, with 20 keys each"
    )
    parser.add_argument("--keys", type=int, default=20, metavar="N", help="so many keys each instead")
    parser.add_argument("--store", choices=STORES, help="only this store")


def cells(options: Namespace) -> Iterator[Any]:
    """Yield what to play: all explorations, or machines drawn by chance."""
    if options.all:
        yield from map(Explored, (*EVERY, *QUEUES))
        return
    chance = random.Random(options.seed)
    stores = [store for store in STORES if options.store in (None, store)]
    if options.queue:
        n = options.hosts
        yield from (queued_hosts.Queued(store, how, n) for store, how in QUEUED if store in stores)
        return
    if options.postgres:
        n = options.hosts
        yield from (
            hosts.Crowd(store, how, n, options.keys * n, n * 2 // 5) for store, how in CROWDS if store in stores
        )
        return
    for number in range(options.random or options.sample or (200 if options.processes else MANY)):
        seed = options.seed * 1_000_000 + number
        for store in stores:
            if options.processes:
                yield drawn(store, seed, chance)
                continue
            yield swarm.Cell(store, seed)
            if number % _APPLYING == 0:
                yield swarm.Cell(store, seed, applies=True)
            if number % _QUEUEING == 0:
                yield swarm.Cell(store, seed, queues=True)
            if number % _BROKEN == 0:
                yield from (swarm.Cell(store, seed, how) for how in swarm.BREAKS)


def drawn(store: str, seed: int, chance: random.Random) -> Cell:
    """Return a history made up by chance."""
    machines = []
    for _ in range(chance.choice((2, 2, 3, 4))):
        step = chance.randrange(1, 6) if chance.random() < 0.4 else None
        after = chance.choice((0.0, 0.0, chance.random() * 0.3))
        machines.append(Machine(int(chance.random() < 0.25), after, step, chance.random() < 0.5))
    return Cell(store, seed, tuple(machines), chance.choice((0.0, 0.1, 0.3)))


def play(cell: Any, folder: Path) -> Played:
    """Play one history, or all of them."""
    if isinstance(cell, hosts.Crowd):
        came = hosts.play(cell, folder)
        played = Played([*came.codes.elements()], told=f"{came.codes.total()} commands in {came.seconds:.0f} s")
        for promise, words in came.wrong.items():
            played.breaks(words, **{promise: True})
        return played
    if isinstance(cell, queued_hosts.Queued):
        went = queued_hosts.play(cell, folder)
        told = (
            f"{went.started} runs, {went.going} at once at most, {went.codes.total()} commands in {went.seconds:.0f} s"
        )
        played = Played([*went.codes.elements()], told=f"{told}; {dict(went.requests)}; {went.connections}")
        for promise, words in went.wrong.items():
            played.breaks(words, **{promise: True})
        return played
    if isinstance(cell, swarm.Cell):
        return _in_threads(cell, folder)
    if isinstance(cell, Explored):
        if cell.what in QUEUES:
            seen = queues.QueueExplorer(QUEUES[cell.what], most=1_500_000).explore()
        else:
            seen = Explorer(EVERY[cell.what], most=1_500_000).explore()
        said = f"{seen.states:,} states, {seen.ended:,} ended, {'all' if seen.whole else 'CUT'}"
        print(f"{cell}: {said} {dict(seen.wrong)}", file=sys.stderr)
        return Played([said]).breaks(str(seen.wrong), wrong=bool(set(seen.wrong) - _BORNE.get(cell.what, set())))
    with _database(cell) as keys:
        return _play(cell, folder, keys)


def _in_threads(cell: swarm.Cell, folder: Path) -> Played:
    if cell.breaks and swarm.is_refused(cell, folder / "test"):
        return Played([f"{cell.breaks} broken: found by the self-test"])
    ended = swarm.play(cell, folder)
    codes = [machine.code for machine in ended.history.machines]
    played = Played(["killed" if code is None else code for code in codes])
    if cell.breaks:
        played.codes = [f"{cell.breaks} broken: not seen by the self-test"]
    played.open = ["exit 9, decided by a person" for after in ended.after.values() if len(after) > 1]
    for promise, words in ended.wrong().items():
        played.breaks(words, is_borne=bool(cell.breaks), **{promise: True})
    return played


# Somebody's run by hand cannot be told from our own: a known limit, also on one machine.
_BORNE = {"runs that fail, and one by hand": {"answered with the run of another key"}}


def _play(cell: Cell, folder: Path, keys: str) -> Played:
    ready, service = folder / "ready", os.fork()
    if not service:
        _child(lambda: _serve(cell, folder))
    try:
        _until(ready.exists)
        url = ready.read_text()
        children = []
        for number, machine in enumerate(cell.machines):
            child = os.fork()
            if not child:
                name, words = f"m{number}", _words(cell, machine.key)
                _child(partial(_command, folder, url, keys, name, words, machine))
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        (folder / "quiet").touch()
        time.sleep(0.35)  # what was still to be done late
        said = {f"m{n}": (m.key, _told(folder / f"m{n}.json")) for n, m in enumerate(cell.machines)}
        for key in sorted({machine.key for machine in cell.machines}):
            said[f"after{key}"] = key, _typed(folder, url, keys, f"after{key}", _words(cell, key))
        truth = _truth(folder)
        ends = {}
        for key in sorted({machine.key for machine in cell.machines}):
            if said[f"after{key}"][1]["code"] == 9:
                freed = _typed(folder, url, keys, f"free{key}", ["key", "free", _key(cell, key), "--yes"])
                again = _typed(folder, url, keys, f"again{key}", _words(cell, key))
                ends[key] = freed["code"], again["code"]
    finally:
        os.kill(service, signal.SIGKILL)
        os.waitpid(service, 0)
    return _judged(cell, said, truth, ends)


def _judged(cell: Cell, said: dict[str, tuple[int, Any]], truth: dict[str, list[str]], ends: dict[int, Any]) -> Played:
    codes = [f"{name}:{told['code']}" for name, (_, told) in said.items()]
    twice = any(len(runs) > 1 for runs in truth.values())
    lost, stuck = [], []
    for name, (key, told) in said.items():
        started = truth.get(_key(cell, key), [])
        if told["run"] is not None and told["run"] not in started:
            lost.append(f"{name} names {told['run']}, which is not of its key: {started}")
        if told["code"] in (0, None) or told["run"]:
            continue
        if name.startswith("after") and told["code"] != 9:
            stuck.append(f"{name} ended in {told['code']}: {told['err'][-300:]}")
        if told["code"] == 9 and "key free" not in told["err"]:
            stuck.append(f"{name} ended in 9 without a word: {told['err'][-300:]}")
    stuck += [f"key {key} after it was freed: {code}" for key, code in ends.items() if code != (0, 0)]
    words = f"{cell}; {codes}; {truth}; {lost}; {stuck}"
    played = Played([str(told["code"]) for _, told in said.values()])
    played.open += ["exit 9, decided by a person" for _ in ends]
    return played.breaks(words, twice=twice, lost=bool(lost), stuck=bool(stuck))


def _words(cell: Cell, key: int) -> list[str]:
    return ["deploy", "run", "dep_demo", "--idempotency-key", _key(cell, key), "--json"]


def _key(cell: Cell, key: int) -> str:
    return f"key-{cell.seed}-{key}"


# The machines.


def _command(folder: Path, url: str, keys: str, name: str, words: list[str], machine: Machine | None = None) -> None:
    """Be a machine that types one command, on a clock that hurries. What it says is in a file, unless it is killed."""
    from qoder_cli.app import App
    from qoder_cli.cli.main import main
    from qoder_cli.http.client import Client
    from qoder_cli.output.screen import Screen

    if machine is not None:
        time.sleep(machine.after)
        steps = _Steps(machine)
        patch.object(Client, "_exchange", steps.around(Client._exchange)).start()
        with suppress(ImportError):
            from qoder_cli.keys.postgres import PostgresKeys

            patch.object(PostgresKeys, "_rows", steps.around(PostgresKeys._rows)).start()

    state = folder / name
    env = {"QODER_PAT": TOKEN, "QODER_BASE_URL": url, "QODER_STATE_DIR": str(state), "QODER_KEYS": keys}
    env["QODER_CONFIG"] = str(state / "config.toml")
    out, err = io.BytesIO(), io.BytesIO()
    app = App(env=env, out=Screen(out), err=Screen(err), stdin=io.StringIO(), clock=_CLOCK)
    code = main(words, app)
    run = None
    with suppress(ValueError):
        run = json.loads(out.getvalue() or b"{}").get("id")
    said = {"code": code, "run": run, "err": err.getvalue().decode()}
    (folder / f"{name}.part").write_text(json.dumps(said))
    (folder / f"{name}.part").rename(folder / f"{name}.json")


class _Steps:
    """Kills this process before or after its n-th step."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._left = machine.step

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **how: Any) -> Any:
            if self._left is not None:
                self._left -= 1
            is_it = self._left == 0
            if is_it and self._machine.before:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return step(*args, **how)
            finally:
                if is_it:
                    os.kill(os.getpid(), signal.SIGKILL)

        return stepped


def _typed(folder: Path, url: str, keys: str, name: str, words: list[str]) -> Any:
    child = os.fork()
    if not child:
        _child(lambda: _command(folder, url, keys, name, words))
    os.waitpid(child, 0)
    return _told(folder / f"{name}.json")


def _told(path: Path) -> Any:
    """Return what a machine said; nothing if it was killed."""
    if not path.exists():
        return {"code": None, "run": None, "err": ""}
    return json.loads(path.read_text())


# The service.


def _serve(cell: Cell, folder: Path) -> None:
    """Be the service until killed: it writes down each run that it starts, with the key that it was asked with."""
    import threading
    from dataclasses import replace

    from qoder_cli.sandbox.faults import Faults
    from qoder_cli.sandbox.server import serve
    from qoder_cli.sandbox.wire import Request, WireResponse
    from qoder_cli.sandbox.world import World

    chance = random.Random(cell.seed)
    lock = threading.Lock()

    class Trouble(Faults):
        def answer(self, world: World, request: Request) -> WireResponse:
            is_write = request.method != "GET"
            with lock:
                draw, kind = chance.random(), chance.randrange(6)
            if draw >= cell.trouble or not is_write or (folder / "quiet").exists():
                return self._act(world, request)
            if kind == 0:  # the request is lost
                return replace(super().answer(world, _LOOK(request)), delivery="drop")
            if kind == 1:  # it is done later
                threading.Timer(0.02 + 0.2 * draw, self._act, [world, request]).start()
                return replace(super().answer(world, _LOOK(request)), delivery="drop")
            if kind == 2 and not request.path.endswith("/run"):  # a network that sends it twice
                self._act(world, request)
            if kind == 3:
                time.sleep(0.1 * draw)
                return self._act(world, request)
            return replace(self._act(world, request), delivery="drop")  # the response is lost

        def _act(self, world: World, request: Request) -> WireResponse:
            with lock:
                before = len(world.runs)
                answer = super().answer(world, request)
                if len(world.runs) > before:
                    key = {name.lower(): value for name, value in request.headers.items()}["idempotency-key"]
                    with open(folder / "truth", "a") as truth:
                        truth.write(f"{key} {[*world.runs][-1]}\n")
            return answer

    world = World(token=TOKEN, honour_key=False, clock=_CLOCK.now)  # else its Date would make responses look old
    world.keep("memory_stores", at=world.now(), id=_STORE, name="qoder-keys")
    server = serve(world, faults=Trouble())
    (folder / "ready.part").write_text(server.base_url)
    (folder / "ready.part").rename(folder / "ready")
    while True:
        time.sleep(60)


def _LOOK(request: Any) -> Any:
    """Return a request that changes nothing, in the place of one that is lost."""
    from dataclasses import replace

    return replace(request, method="GET", path="/api/v1/cloud/deployments/dep_demo", query="", body=b"")


def _truth(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with suppress(FileNotFoundError):
        for line in (folder / "truth").read_text().splitlines():
            key, run = line.split()
            found.setdefault(key, []).append(run)
    return found


class _database:
    """The store of a history; of a database its connections are cut meanwhile, by chance."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def __enter__(self) -> str:
        if self._cell.store == "memory":
            return _STORE
        url = os.environ.get("QODER_TEST_POSTGRES")
        if not url:
            raise SystemExit("set QODER_TEST_POSTGRES to the URL of an empty database, or give --store memory")
        from qoder_cli.keys.patience import Patience
        from qoder_cli.keys.postgres import PostgresKeys

        keys = PostgresKeys(url, Patience(_CLOCK))
        keys.create()
        keys.close()
        self._cutter = os.fork() if self._cell.trouble else 0
        if self._cell.trouble and not self._cutter:
            _child(lambda: _cut(url, self._cell))
        return url

    def __exit__(self, *error: object) -> None:
        if self._cell.store != "memory" and self._cutter:
            os.kill(self._cutter, signal.SIGKILL)
            os.waitpid(self._cutter, 0)


def _cut(url: str, cell: Cell) -> None:
    """Cut every connection of the database now and then, for a second."""
    import psycopg

    chance = random.Random(cell.seed)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'qoder'"
    with suppress(psycopg.Error):
        for _ in range(int(cell.trouble * 30)):
            time.sleep(chance.random() * 0.15)
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute(cut)


def _child(work: Callable[[], object]) -> None:
    """Do the work in this process, which was forked for it, and end it."""
    code = 3
    try:
        work()
        code = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the service did not start")
        time.sleep(0.005)
