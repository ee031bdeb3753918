"""Many hosts that share a store, as real processes: with a real PostgreSQL server, or a memory store whose reads lag.

Each host has a state folder of its own, and uses its keys one after the other, as cron does: what ended in another exit
code than 0 and 9 is tried again. Each key is used by two of them, one more by many at the same moment. Or they queue
for the slots of one group, and start the runs that they were not let start once more. The server is restarted
meanwhile, and its network cut, or silent on some connections, by a proxy of ours. All clocks hurry alike.
"""

import asyncio
import json
import math
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from qoder_cli.keys import patience, postgres
from qoder_cli.keys.patience import Patience
from qoder_cli.keys.postgres import PostgresKeys
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import Request, WireResponse
from qoder_cli.sandbox.world import World
from tests.support.hasty import CommonClock
from tests.support.machines import MEMORY_STORE, PostgresServer
from tests.support.processes import until
from tests.support.typed import typed
from tests.tools.playing import Played

TOKEN = "pt-planted-0123456789abcdef"
LAG = 0.3  # real seconds that a read of the memory store is old, at most
HOT = "hot"
MOST = 5  # slots of the group
RUNS = 4  # of each host that queues
KEYED, QUEUED = CommonClock(10.0), CommonClock(3.0)  # how many times faster all clocks go
_TRIES = 100
_MEMORIES = f"memory_stores/{MEMORY_STORE}/memories"


class Crowd(NamedTuple):
    """So many hosts and keys, of which one more is used by so many hosts at once; without keys they queue."""

    store: str
    trouble: str = ""  # restart, cut, silence, lag
    hosts: int = 50
    keys: int = 0
    at_once: int = 0

    @property
    def clock(self) -> CommonClock:
        return KEYED if self.keys else QUEUED

    def __str__(self) -> str:
        what = f"{self.keys} keys" if self.keys else f"{self.hosts * RUNS} runs in a queue"
        return f"{self.store} {self.trouble or 'quiet'}: {self.hosts} hosts, {what}"


def play(crowd: Crowd, folder: Path) -> Played:
    """Have all hosts do their work, and compare what they say with what was started."""
    with ExitStack() as stack:
        server: PostgresServer | None = None
        proxy: Proxy | None = None
        keys, lag = MEMORY_STORE, LAG if crowd.trouble == "lag" else 0.0
        if crowd.store == "postgresql":
            server = stack.enter_context(closing(PostgresServer()))
            PostgresKeys(server.url(), Patience(crowd.clock)).create()
            proxy = Proxy(server.port, cuts="cut" in crowd.trouble, silences="silence" in crowd.trouble)
            keys = server.url(proxy.port)
        url = stack.enter_context(serving(folder, lambda: Lagging(folder, lag), crowd.clock))
        hosts = [forked(partial(_host, crowd, number, folder, url, keys)) for number in range(crowd.hosts)]
        over = threading.Event()
        if server is not None and proxy is not None:  # only now: what is forked has no threads
            proxy.start()
            if "restart" in crowd.trouble:
                restarting = threading.Thread(target=_restart, args=(server, proxy, over))
                restarting.start()
                stack.callback(restarting.join)
                stack.callback(over.set)
        began = crowd.clock.now()
        (folder / "go").touch()
        for host in hosts:
            os.waitpid(host, 0)
        took = f"in {crowd.clock.now() - began:.0f} s of their clocks"
        return (_judged if crowd.keys else _judged_queue)(crowd, folder, took)


def _restart(server: PostgresServer, proxy: "Proxy", over: threading.Event) -> None:
    """Restart the server a few times, each after so much was said."""
    for number, how in enumerate(("fast", "immediate", "fast")):
        while proxy.said < 400 * 3**number:
            if over.wait(0.02):
                return
        server.restart(how)


def _said(crowd: Crowd, folder: Path) -> Iterator[tuple[int, Any]]:
    """Yield what each host wrote down of its commands."""
    for number in range(crowd.hosts):
        for line in (folder / f"host-{number}.said").read_text().splitlines():
            yield number, json.loads(line)


def _judged(crowd: Crowd, folder: Path, took: str) -> Played:
    started: dict[str, list[str]] = {}
    for line in (folder / "truth").read_text().splitlines():
        key, run = line.split()
        started.setdefault(key, []).append(run)
    played, used = Played(), set[str]()
    for number, (key, code, run, tries, hint) in _said(crowd, folder):
        played.codes.append(code)
        used.add(key)
        is_lost = run is not None and run not in started.get(key, [])
        played.breaks(f"host {number} names {run} for {key}: {started.get(key)}", lost=is_lost)
        is_stuck = code not in (0, 9) or (code == 9 and "key free" not in hint)
        played.breaks(f"host {number} ended in {code} for {key} after {tries} tries: {hint}", stuck=is_stuck)
    twice = {key: runs for key, runs in started.items() if len(runs) > 1}
    played.breaks(str(twice), twice=twice)
    played.breaks(f"{len(used)} keys were used", wrong=crowd.keys + 1 != len(used))
    played.told = f"{len(played.codes)} commands {took}"
    return played


def _judged_queue(crowd: Crowd, folder: Path, took: str) -> Played:
    going = [int(line) for line in (folder / "going").read_text().split()]
    played = Played()
    for number, (code, is_done, err) in _said(crowd, folder):
        played.codes.append(code)
        played.breaks(f"host {number} ended in {code}: {err}", wrong=code not in (0, 7))
        played.breaks(f"host {number} gave up: {err}", stuck=not is_done)
    played.breaks(f"{max(going)} were going", twice=max(going) > MOST)
    played.breaks(f"{len(going)} runs were started", lost=len(going) != crowd.hosts * RUNS)
    asked = json.loads((folder / "asked.json").read_text())
    played.told = f"{len(going)} runs, {max(going)} at once, {len(played.codes)} commands {took}; {asked}"
    return played


def _host(crowd: Crowd, number: int, folder: Path, url: str, keys: str) -> None:
    """Be a host, which begins with the others, and write down what came of each command."""
    state = folder / f"host-{number}"
    haste = crowd.clock.speed
    for module in (patience, postgres):
        vars(module).update(CONNECT_WITHIN=5.0 / haste, ANSWER_WITHIN=15.0 / haste)
    until((folder / "go").exists, "the others")
    env = {"QODER_PAT": TOKEN, "QODER_BASE_URL": url, "QODER_STATE_DIR": str(state), "QODER_KEYS": keys}
    env["QODER_CONFIG"] = str(state / "config.toml")

    def command(*words: str) -> tuple[int, list[Any], str]:
        ran = typed(["deploy", "run", *words, "-o", "jsonl"], env, clock=crowd.clock)
        runs = [json.loads(line)["id"] for line in ran.out.splitlines()]
        return ran.code, [run for run in runs if run is not None], ran.err[-400:]

    with open(folder / f"host-{number}.said", "w") as said:
        work = _use_keys(crowd, number, command) if crowd.keys else _queue(number, command)
        for line in work:
            said.write(json.dumps(line) + "\n")


Command = Callable[..., tuple[int, list[Any], str]]


def _use_keys(crowd: Crowd, host: int, command: Command) -> Iterator[Any]:
    """Use each key of a host."""
    chance = random.Random(f"{crowd}")
    pairs = [chance.sample(range(crowd.hosts), 2) for _ in range(crowd.keys)]
    mine = [f"key-{n}" for n, pair in enumerate(pairs) if host in pair]
    random.Random(host).shuffle(mine)
    for key in [HOT] * (host < crowd.at_once) + mine:
        tries, code = 0, -1
        while code not in (0, 9) and tries < _TRIES:
            time.sleep(min(tries, 1) * 0.1)
            tries += 1
            code, runs, err = command("dep_demo", "--idempotency-key", key)
        yield key, code, next(iter(runs), None), tries, err


def _queue(host: int, command: Command) -> Iterator[Any]:
    """Start the runs of a host, those that the store did not let it start once more."""
    left = RUNS
    for tries in range(_TRIES):
        several = ["--allow-duplicates"] * (left > 1)
        words = [*["dep_demo"] * left, *several, "--at-most", str(MOST), "--in", "repo", *["--wait"] * (host % 2)]
        code, runs, err = command(*words)
        left -= len(runs)
        yield code, not left or tries + 1 < _TRIES, err
        if not left:
            return
        time.sleep(0.1)


class Lagging(Faults):
    """Writes down each run: its key, and how many are going then. Reads of a memory store may be old."""

    def __init__(self, folder: Path, lag: float) -> None:
        super().__init__()
        self._folder = folder
        self._asked = Counter[str]()
        self._lag = lag
        self._lock = threading.Lock()
        self._kept: dict[str, Any] = {}
        self._before: list[tuple[float, dict[str, Any]]] = [(0.0, {})]

    def answer(self, world: World, request: Request) -> WireResponse:
        is_of_store, now = f"/{_MEMORIES}" in request.path, time.monotonic()
        with self._lock, world.lock:
            memories = world.things.setdefault(_MEMORIES, {})
            if is_of_store and request.method == "GET" and self._lag:
                seen = now - random.random() * self._lag
                world.things[_MEMORIES] = next(kept for since, kept in reversed(self._before) if since <= seen)
                answer = super().answer(world, request)
                world.things[_MEMORIES] = memories
                return answer
            count = len(world.runs)
            answer = super().answer(world, request)
            kind = request.path.removeprefix("/api/v1/cloud/").split("/")
            self._asked[f"{request.method} {kind[0]} {kind[-1] if len(kind) > 2 else ''}".strip()] += 1
            if len(world.runs) > count:
                key = {name.lower(): value for name, value in request.headers.items()}["idempotency-key"]
                going = sum(run.ending(world.now()) is None for run in world.started())
                for file, line in (("truth", f"{key} {[*world.runs][-1]}"), ("going", str(going))):
                    with open(self._folder / file, "a") as noted:
                        noted.write(f"{line}\n")
                (self._folder / "asked.json").write_text(json.dumps(self._asked))
            if is_of_store and self._lag and request.method != "GET":
                changed = request.path.rpartition("/")[2]
                for id in [changed] if changed in memories else [id for id in memories if id not in self._kept]:
                    self._kept[id] = copy(memories[id])
                    self._kept[id].fields = dict(memories[id].fields)
                self._before = [*(one for one in self._before[-200:]), (now, dict(self._kept))]
            return answer


@contextmanager
def serving(folder: Path, faults: Callable[[], Faults], clock: CommonClock) -> Iterator[str]:
    """Serve in a process of its own, and yield the URL."""
    (folder / "truth").touch()

    def be() -> None:
        from qoder_cli.sandbox.server import serve

        world = World(token=TOKEN, honour_key=False, clock=clock.now)
        world.keep("memory_stores", at=world.now(), id=MEMORY_STORE, name="qoder-keys")
        server = serve(world, faults=faults())
        (folder / "ready.part").write_text(server.base_url)
        (folder / "ready.part").rename(folder / "ready")
        while True:
            time.sleep(60)

    child = forked(be)
    try:
        until((folder / "ready").exists, "the service")
        yield (folder / "ready").read_text()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def forked(work: Callable[[], object]) -> int:
    """Do the work in a process of its own; return its id."""
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        work()
        code = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


class Proxy:
    """A network before the server of a port. If it `cuts`, each connection breaks after so many messages.

    If it `silences`, some say nothing any more after so many.
    """

    def __init__(self, port: int, *, cuts: bool, silences: bool = False) -> None:
        self.said = 0  # messages
        self._to = port
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._chance = random.Random(1)
        self._most = 80 if cuts else None
        self._silences = silences

    def start(self) -> None:
        """Let what is said through from now on, in a thread that ends with the process."""

        async def listen() -> None:
            await asyncio.start_server(self._carry, sock=self._socket)

        self._loop.create_task(listen())
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = math.inf if self._most is None else self._chance.randrange(2, self._most)
        heard: float = math.inf
        if self._silences and self._chance.random() < 0.1:
            heard = self._chance.randrange(12)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return

        async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            nonlocal left, heard
            with suppress(OSError):
                while left > 0 and (data := await source.read(65_536)):
                    self.said += 1
                    left -= 1
                    heard -= 1
                    if heard < 0:
                        continue
                    if left > 0 or self._chance.random() < 0.5:  # the last one may be lost on the way
                        target.write(data)
                        await target.drain()
            for each in (writer, back):
                each.close()

        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))
