"""Many hosts that share a PostgreSQL server, as real processes.

Each host has a state folder of its own, and uses its keys one after the other, as cron does: what ended in another exit
code than 0 and 9 is tried again. Each key is used by two of them, one more by many at the same moment. The server is
restarted meanwhile, three times, once as after a crash. All clocks hurry alike.
"""

import json
import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
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

    is_restarted: bool = False
    hosts: int = 50
    keys: int = 1000
    at_once: int = 20

    def __str__(self) -> str:
        return f"postgresql {'restarted' if self.is_restarted else 'quiet'}: {self.hosts} hosts, {self.keys} keys"


def play(crowd: Crowd, folder: Path) -> Played:
    """Have all hosts do their work, and compare what they say with what was started."""
    with ExitStack() as stack:
        database = stack.enter_context(closing(PostgresServer()))
        PostgresKeys(database.url(), Patience(CLOCK)).create()
        hosts = [forked(partial(_host, crowd, number, folder)) for number in range(crowd.hosts)]
        world = World(token=TOKEN, honour_key=False, clock=CLOCK.now)
        url = stack.enter_context(Server(world).start()).base_url
        over = threading.Event()
        if crowd.is_restarted:
            restarting = threading.Thread(target=_restart, args=(database, crowd.keys, world, over))
            restarting.start()  # only now: what is forked has no threads
            stack.callback(restarting.join)
            stack.callback(over.set)
        began = CLOCK.now()
        (folder / "places").write_text(json.dumps([url, database.url()]))
        (folder / "places").rename(folder / "go")
        for host in hosts:
            os.waitpid(host, 0)
        started: dict[str, list[str]] = {}
        for seen in world.requests:
            started.setdefault(str(seen.key), []).extend(seen.runs)
        return _judged(crowd, folder, started, f"in {CLOCK.now() - began:.0f} s of their clocks")


def _restart(server: PostgresServer, keys: int, world: World, over: threading.Event) -> None:
    """Restart the server when a quarter of the keys, half of them and three quarters have started a run."""
    for quarter, how in enumerate(("fast", "immediate", "fast"), 1):
        while len(world.requests) < keys * quarter // 4:
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
