"""Many hosts that share a PostgreSQL server, as real processes.

Each host has a state folder of its own, and uses its keys one after the other, as cron does: what ended in another exit
code than 0 and 9 is tried again. Each key is used by two of them, one more by many at the same moment. The server is
restarted meanwhile, and its network cut, or silent on some connections, by a proxy of ours. All clocks hurry alike.
"""

import asyncio
import json
import math
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from qoder_cli.keys import patience, postgres
from qoder_cli.keys.patience import Patience
from qoder_cli.keys.postgres import PostgresKeys
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.world import World
from tests.support.hasty import CommonClock
from tests.support.machines import PostgresServer
from tests.support.processes import until
from tests.support.typed import TOKEN, env_of, typed
from tests.tools.playing import Played

HOT = "hot"
CLOCK = CommonClock(10.0)  # how many times faster all clocks go
_TRIES = 100


class Crowd(NamedTuple):
    """So many hosts and keys, of which one more is used by so many hosts at once."""

    trouble: str = ""  # restart, cut, silence
    hosts: int = 50
    keys: int = 1000
    at_once: int = 20

    def __str__(self) -> str:
        return f"postgresql {self.trouble or 'quiet'}: {self.hosts} hosts, {self.keys} keys"


def play(crowd: Crowd, folder: Path) -> Played:
    """Have all hosts do their work, and compare what they say with what was started."""
    with ExitStack() as stack:
        database = stack.enter_context(closing(PostgresServer()))
        PostgresKeys(database.url(), Patience(CLOCK)).create()
        hosts = [forked(partial(_host, crowd, number, folder)) for number in range(crowd.hosts)]
        proxy = Proxy(database.port, cuts="cut" in crowd.trouble, silences="silence" in crowd.trouble)
        proxy.start()  # only now: what is forked has no threads
        world = World(token=TOKEN, honour_key=False, clock=CLOCK.now)
        url = stack.enter_context(Server(world).start()).base_url
        over = threading.Event()
        if "restart" in crowd.trouble:
            restarting = threading.Thread(target=_restart, args=(database, proxy, over))
            restarting.start()
            stack.callback(restarting.join)
            stack.callback(over.set)
        began = CLOCK.now()
        (folder / "places").write_text(json.dumps([url, database.url(proxy.port)]))
        (folder / "places").rename(folder / "go")
        for host in hosts:
            os.waitpid(host, 0)
        started: dict[str, list[str]] = {}
        for seen in world.requests:
            started.setdefault(str(seen.key), []).extend(seen.runs)
        return _judged(crowd, folder, started, f"in {CLOCK.now() - began:.0f} s of their clocks")


def _restart(server: PostgresServer, proxy: "Proxy", over: threading.Event) -> None:
    """Restart the server a few times, each after so much was said."""
    for number, how in enumerate(("fast", "immediate", "fast")):
        while proxy.said < 400 * 3**number:
            if over.wait(0.02):
                return
        server.restart(how)


def _judged(crowd: Crowd, folder: Path, started: dict[str, list[str]], took: str) -> Played:
    """Compare what the hosts say with the runs that were started under each key."""
    played, used = Played(), set[str]()
    texts = [(folder / f"host-{number}.said").read_text() for number in range(crowd.hosts)]
    said = [(number, json.loads(line)) for number, text in enumerate(texts) for line in text.splitlines()]
    for number, (key, code, run, tries, hint) in said:
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


def _host(crowd: Crowd, number: int, folder: Path) -> None:
    """Be a host, which begins with the others, and write down what came of each command."""
    state = folder / f"host-{number}"
    for module in (patience, postgres):
        vars(module).update(CONNECT_WITHIN=5.0 / CLOCK.speed, ANSWER_WITHIN=15.0 / CLOCK.speed)
    until((folder / "go").exists, "the others")
    url, keys = json.loads((folder / "go").read_text())
    env = env_of(state) | {"QODER_BASE_URL": url, "QODER_KEYS": keys}
    chance = random.Random(f"{crowd}")
    pairs = [chance.sample(range(crowd.hosts), 2) for _ in range(crowd.keys)]
    mine = [f"key-{n}" for n, pair in enumerate(pairs) if number in pair]
    random.Random(number).shuffle(mine)
    with open(folder / f"host-{number}.said", "w") as said:
        for key in [HOT] * (number < crowd.at_once) + mine:
            tries, code = 0, -1
            while code not in (0, 9) and tries < _TRIES:
                time.sleep(min(tries, 1) * 0.1)
                tries += 1
                words = ["deploy", "run", "dep_demo", "--idempotency-key", key, "-o", "jsonl"]
                ran = typed(words, env, clock=CLOCK)
                code = ran.code
            runs = [json.loads(line)["id"] for line in ran.out.splitlines()]
            said.write(json.dumps([key, code, next(filter(None, runs), None), tries, ran.err[-400:]]) + "\n")


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
