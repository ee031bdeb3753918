"""Many hosts that share keys, as real processes: with a real PostgreSQL server, or a memory store whose reads lag.

Each host has a state folder of its own, and uses its keys one after the other, as cron does: what ended in another exit
code than 0 and 9 is tried again. Each key is used by two of them, one more by many at the same moment. The server is
restarted meanwhile, and its network cut, or silent on some connections, by a proxy of ours. All clocks hurry alike.
"""

import asyncio
import io
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

from qoder_cli.app import App
from qoder_cli.cli.main import main
from qoder_cli.keys import patience, postgres
from qoder_cli.keys.patience import Patience
from qoder_cli.keys.postgres import PostgresKeys
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import Request, WireResponse
from qoder_cli.sandbox.world import World
from tests.support.hasty import CommonClock
from tests.support.machines import MEMORY_STORE, PostgresServer
from tests.support.processes import until

TOKEN = "pt-planted-0123456789abcdef"
HASTE = 10.0  # how many times faster all clocks go
LAG = 0.3  # real seconds that a read of the memory store is old, at most
HOT = "hot"
_CLOCK = CommonClock(HASTE)
_TRIES = 100
_MEMORIES = f"memory_stores/{MEMORY_STORE}/memories"


class Crowd(NamedTuple):
    """So many hosts and keys; so many hosts at once on one more key; and what happens meanwhile."""

    store: str
    trouble: str = ""  # restart, cut, silence, lag
    hosts: int = 50
    keys: int = 1000
    at_once: int = 20

    def __str__(self) -> str:
        return f"{self.store} {self.trouble or 'quiet'}: {self.hosts} hosts, {self.keys} keys"


class Came(NamedTuple):
    """What came of it: how often each exit code, what was wrong, and how long it took."""

    codes: Counter[int]
    wrong: dict[str, str]
    seconds: float


def play(crowd: Crowd, folder: Path) -> Came:
    """Have all hosts use their keys, and compare what they say with what was started."""
    with ExitStack() as stack:
        cuts, silences = "cut" in crowd.trouble, "silence" in crowd.trouble
        keys, server, proxy = store_of(stack, crowd.store, _CLOCK, cuts=cuts, silences=silences)
        lag = LAG if crowd.trouble == "lag" else 0.0
        url = stack.enter_context(serving(folder, lambda: Lagging(folder / "truth", lag), _CLOCK))
        hosts = [forked(partial(_host, crowd, number, folder, url, keys)) for number in range(crowd.hosts)]
        over = threading.Event()
        if server is not None and proxy is not None:  # only now: what is forked has no threads
            proxy.start()
            if "restart" in crowd.trouble:
                worker = threading.Thread(target=restarted, args=(server, proxy, over))
                worker.start()
                stack.callback(worker.join)
                stack.callback(over.set)
        began = time.monotonic()
        (folder / "go").touch()
        for host in hosts:
            os.waitpid(host, 0)
        return _judged(crowd, folder, time.monotonic() - began)


def store_of(
    stack: ExitStack, store: str, clock: CommonClock, *, cuts: bool = False, silences: bool = False
) -> "tuple[str, PostgresServer | None, Proxy | None]":
    """Return what the hosts name as their store; of PostgreSQL, also the server, and the network before it."""
    if store != "postgresql":
        return MEMORY_STORE, None, None
    server = stack.enter_context(closing(PostgresServer()))
    table = PostgresKeys(server.url(), Patience(clock))
    table.create()
    table.close()
    proxy = Proxy(server.port, cuts=cuts, silences=silences)
    return server.url(proxy.port), server, proxy


def host_of(folder: Path, number: int, url: str, keys: str, haste: float) -> dict[str, str]:
    """Make this process a host, which begins with the others. Return its variables."""
    state = folder / f"host-{number}"
    for module in (patience, postgres):
        vars(module).update(CONNECT_WITHIN=5.0 / haste, ANSWER_WITHIN=15.0 / haste)
    until((folder / "go").exists, "the others")
    env = {"QODER_PAT": TOKEN, "QODER_BASE_URL": url, "QODER_STATE_DIR": str(state), "QODER_KEYS": keys}
    return {**env, "QODER_CONFIG": str(state / "config.toml")}


def restarted(server: PostgresServer, proxy: "Proxy", over: threading.Event) -> None:
    """Restart the server a few times, each after so much was said."""
    for number, how in enumerate(("fast", "immediate", "fast")):
        while proxy.said < 400 * 3**number:
            if over.wait(0.02):
                return
        server.restart(how)


def _judged(crowd: Crowd, folder: Path, seconds: float) -> Came:
    started: dict[str, list[str]] = {}
    for line in (folder / "truth").read_text().splitlines():
        key, run = line.split()
        started.setdefault(key, []).append(run)
    codes, wrong = Counter[int](), dict[str, str]()
    said: dict[str, int] = Counter()
    for n in range(crowd.hosts):
        for line in (folder / f"host-{n}.said").read_text().splitlines():
            key, code, run, tries, hint = json.loads(line)
            codes[code] += 1
            said[key] += 1
            if run is not None and run not in started.get(key, []):
                wrong["lost"] = f"host {n} names {run} for {key}: {started.get(key)}"
            if code not in (0, 9) or (code == 9 and "key free" not in hint):
                wrong["stuck"] = f"host {n} ended in {code} for {key} after {tries} tries: {hint}"
    if twice := {key: runs for key, runs in started.items() if len(runs) > 1}:
        wrong["twice"] = str(twice)
    if crowd.keys + 1 != len(said):
        wrong["wrong"] = f"{len(said)} keys were used"
    return Came(codes, wrong, seconds)


def _keys_of(crowd: Crowd, host: int) -> list[str]:
    chance = random.Random(f"{crowd}")
    pairs = [chance.sample(range(crowd.hosts), 2) for _ in range(crowd.keys)]
    mine = [f"key-{n}" for n, pair in enumerate(pairs) if host in pair]
    random.Random(host).shuffle(mine)
    return [HOT] * (host < crowd.at_once) + mine


def _host(crowd: Crowd, number: int, folder: Path, url: str, keys: str) -> None:
    """Be a host: use each key, and write down what came of it."""
    env = host_of(folder, number, url, keys, HASTE)
    with open(folder / f"host-{number}.said", "w") as said:
        for key in _keys_of(crowd, number):
            tries, code = 0, -1
            while code not in (0, 9) and tries < _TRIES:
                time.sleep(min(tries, 1) * 0.1)
                tries += 1
                out, err = io.BytesIO(), io.BytesIO()
                app = App(env=env, out=Screen(out), err=Screen(err), stdin=io.StringIO(), clock=_CLOCK)
                code = int(main(["deploy", "run", "dep_demo", "--idempotency-key", key, "--json"], app))
            run = None
            with suppress(ValueError):
                run = json.loads(out.getvalue() or b"{}").get("id")
            said.write(json.dumps([key, code, run, tries, err.getvalue().decode()[-300:]]) + "\n")


class Lagging(Faults):
    """Writes down each run that is started, with its key. Reads of the memory store may be old."""

    def __init__(self, truth: Path, lag: float) -> None:
        super().__init__()
        self._truth = truth
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
            if len(world.runs) > count:
                key = {name.lower(): value for name, value in request.headers.items()}["idempotency-key"]
                with open(self._truth, "a") as truth:
                    truth.write(f"{key} {[*world.runs][-1]}\n")
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
