"""Many hosts that queue for the slots of one group, as real processes, with a real PostgreSQL server or a memory store.

The server is restarted meanwhile. The service writes down at each start how many runs are going then.
"""

import io
import json
import os
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from qoder_cli.app import App
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.wire import Request, WireResponse
from qoder_cli.sandbox.world import World
from tests.support.hasty import CommonClock
from tests.support.hosts import Lagging, forked, host_of, restarted, serving, store_of

HASTE = 3.0  # how many times faster all clocks go
_CLOCK = CommonClock(HASTE)
_TRIES = 60


class Queued(NamedTuple):
    """So many hosts that start so many runs each, of which at most so many are to be going at once."""

    store: str
    trouble: str = ""  # restart
    hosts: int = 50
    runs: int = 4
    most: int = 5

    def __str__(self) -> str:
        return f"{self.store} {self.trouble or 'quiet'}: {self.hosts} hosts queue, {self.hosts * self.runs} runs"


class Went(NamedTuple):
    """How a play ended."""

    codes: Counter[int]
    going: int  # runs that were going at once, at most
    started: int
    requests: Counter[str]
    connections: tuple[float, int]  # of the database: on average, and at most
    wrong: dict[str, str]
    seconds: float  # on the hosts' clocks


class _Counting(Lagging):
    """Writes down at each start how many runs are going, and at the end of each second what was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "truth", 0.0)
        self._folder = folder
        self._asked = Counter[str]()

    def answer(self, world: World, request: Request) -> WireResponse:
        with world.lock:
            count = len(world.runs)
            answer = super().answer(world, request)
            kind = request.path.removeprefix("/api/v1/cloud/").split("/")
            self._asked[f"{request.method} {kind[0]} {kind[-1] if len(kind) > 2 else ''}".strip()] += 1
            if len(world.runs) > count:
                going = sum(run.ending(world.now()) is None for run in world.started())
                with open(self._folder / "going", "a") as said:
                    said.write(f"{going}\n")
                (self._folder / "asked.json").write_text(json.dumps(self._asked))
            return answer


def play(crowd: Queued, folder: Path) -> Went:
    """Have all hosts start their runs, and look at what the service saw."""
    with ExitStack() as stack:
        keys, server, proxy = store_of(stack, crowd.store, _CLOCK)
        url = stack.enter_context(serving(folder, lambda: _Counting(folder), _CLOCK))
        hosts = [forked(partial(_host, crowd, number, folder, url, keys)) for number in range(crowd.hosts)]
        over, sampled = threading.Event(), list[int]()
        if server is not None and proxy is not None:  # only now: what is forked has no threads
            proxy.start()
            workers = [threading.Thread(target=_sample, args=(server.url(), sampled, over))]
            if "restart" in crowd.trouble:
                workers.append(threading.Thread(target=restarted, args=(server, proxy, over)))
            for worker in workers:
                worker.start()
                stack.callback(worker.join)
            stack.callback(over.set)
        began = _CLOCK.now()
        (folder / "go").touch()
        for host in hosts:
            os.waitpid(host, 0)
        return _judged(crowd, folder, _CLOCK.now() - began, sampled)


def _sample(url: str, sampled: list[int], over: threading.Event) -> None:
    """Count the connections of the hosts now and then."""
    import psycopg

    count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    while not over.wait(0.2):
        with suppress(psycopg.Error), psycopg.connect(url, autocommit=True, connect_timeout=2) as admin:
            rows = admin.execute(count).fetchall()
            sampled.append(int(rows[0][0]))


def _judged(crowd: Queued, folder: Path, seconds: float, sampled: list[int]) -> Went:
    going = [int(line) for line in (folder / "going").read_text().split()]
    started = (folder / "truth").read_text().splitlines()
    codes, wrong = Counter[int](), dict[str, str]()
    for n in range(crowd.hosts):
        for line in (folder / f"host-{n}.said").read_text().splitlines():
            code, runs, err = json.loads(line)
            codes[code] += 1
            if code not in (0, 7):
                wrong["wrong"] = f"host {n} ended in {code}: {err}"
            if runs is None:
                wrong["stuck"] = f"host {n} gave up: {err}"
    if max(going) > crowd.most:
        wrong["twice"] = f"{max(going)} were going"
    if len(started) != crowd.hosts * crowd.runs:
        wrong["lost"] = f"{len(started)} runs were started"
    asked = Counter[str](json.loads((folder / "asked.json").read_text()))
    average = sum(sampled) / len(sampled) if sampled else 0.0
    return Went(codes, max(going), len(started), asked, (average, max(sampled, default=0)), wrong, seconds)


def _host(crowd: Queued, number: int, folder: Path, url: str, keys: str) -> None:
    """Be a host: start its runs, those that the store did not let it start once more."""
    env = host_of(folder, number, url, keys, HASTE)
    left = crowd.runs
    with open(folder / f"host-{number}.said", "w") as said:
        for _ in range(_TRIES):
            words = ["deploy", "run", *["dep_demo"] * left, "--allow-duplicates", "--at-most", str(crowd.most)]
            words += ["--in", "repo", "-o", "jsonl", *["--wait"] * (number % 2)]
            out, err = io.BytesIO(), io.BytesIO()
            app = App(env=env, out=Screen(out), err=Screen(err), stdin=io.StringIO(), clock=_CLOCK)
            code = int(main(words if left > 1 else [word for word in words if word != "--allow-duplicates"], app))
            runs = [json.loads(line)["id"] for line in out.getvalue().decode().splitlines()]
            left -= sum(run is not None for run in runs)
            said.write(json.dumps([code, runs, err.getvalue().decode()[-400:]]) + "\n")
            if not left:
                return
            time.sleep(0.1)
        said.write(json.dumps([code, None, err.getvalue().decode()[-400:]]) + "\n")
