"""Many at once: `python -m tests.bench.many [DEPLOYMENTS] [RUNS]`.

For both generations of server: so many deployments (200) whose runs take 2 s are triggered and awaited, and so many
runs (2,000) that go on are awaited from standard input while nothing changes, and then end. Prints wall time, peak
memory, processor time and what the server counted.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.server import serve
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.bench.lists import LAUNCHER, QODER, TOKEN

SECONDS = 2.0  # a run takes
QUIET = 40.0  # seconds for which nothing changes while many runs are awaited


def _serve(generation: Generation, deployments: int, runs: int, wires: Connection) -> None:
    """Serve, in a process of its own; what is received is a question to the world."""
    world = World(generation=generation, token=TOKEN)
    short = world.seed_deployments(deployments, behaviour=Behaviour(turn(seconds=SECONDS)))
    long = world.seed_deployments(1, behaviour=Behaviour(turn(seconds=QUIET)))[0]
    wires.send((serve(world).base_url, [deployment.id for deployment in short]))
    while True:
        match wires.recv():
            case "begin":
                begun = [world.start(long, origin="request", at=world.now()).id for _ in range(runs)]
                wires.send(begun)
            case "requests":
                wires.send([(seen.at, seen.method, seen.path) for seen in world.requests])


def _run(words: list[str], base_url: str, typed: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    env = {**os.environ, "QODER_BASE_URL": base_url, "QODER_PAT": TOKEN, "QODER_STATE_DIR": f"/tmp/bench-{os.getpid()}"}
    launcher = [sys.executable, "-S", "-E", "-c", LAUNCHER, QODER, *words]
    before, began = os.times(), time.time()
    ran = subprocess.run(launcher, env=env, input=typed, capture_output=True, text=True, check=False)
    after = os.times()
    status, took, kilobytes = ran.stderr.splitlines()[-1].split()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    figures = {"status": int(status) >> 8, "time": float(took), "memory": int(kilobytes) / 1024, "processor": processor}
    return ran, {**figures, "began": began}


def _busiest(moments: list[float]) -> int:
    """Return how many fall into the busiest second."""
    return max((sum(first <= moment < first + 1 for moment in moments) for first in moments), default=0)


def measure(generation: Generation, deployments: int, runs: int) -> None:
    mine, its = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=[generation, deployments, runs, its])
    server.start()
    try:
        base_url, ids = mine.recv()
        words = ["deploy", "run", "-", "--wait", "-o", "jsonl"]
        ran, figures = _run(words, base_url, "\n".join(ids))
        items = [json.loads(line) for line in ran.stdout.splitlines()]
        mine.send("requests")
        requests = mine.recv()
        writes = [at for at, method, _ in requests if method == "POST"]
        most = deployments / 20 + SECONDS + 1.5
        print(
            f"  {deployments} runs of {SECONDS:g} s: exit {figures['status']}, {len(items)} items, "
            f"{figures['time']:.2f} s (at most {most:.1f}: {'met' if figures['time'] <= most else 'MISSED'}), "
            f"{figures['memory']:.0f} MiB (under 120), {figures['processor']:.1f} s of processor; "
            f"{len(writes)} writes, {_busiest(writes)} in the busiest second, {len(requests) - len(writes)} reads"
        )
        mine.send("begin")
        begun = mine.recv()
        ran, figures = _run(["run", "wait", "-", "-o", "jsonl"], base_url, "\n".join(begun))
        mine.send("requests")
        requests = mine.recv()[len(requests) :]
        moments = [at for at, _, _ in requests]
        end = moments[0] + QUIET - 2
        quiet = [path for at, _, path in requests if at < end]
        of_events = sum("/events" in path for _, _, path in requests)
        print(
            f"  {runs} runs awaited: exit {figures['status']}, {len(ran.stdout.splitlines())} items, "
            f"{figures['time']:.2f} s, {figures['memory']:.0f} MiB, {figures['processor']:.1f} s of processor; "
            f"{len(requests)} requests, {_busiest(moments)} in the busiest second; "
            f"{len(quiet)} in the {QUIET - 2:.0f} s in which nothing changed, {of_events} for events"
        )
    finally:
        server.kill()


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    deployments, runs = [*numbers, *[200, 2000][len(numbers) :]][:2]
    for generation in GENERATIONS:
        print(generation, flush=True)
        measure(generation, deployments, runs)


if __name__ == "__main__":
    main()
