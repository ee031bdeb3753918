"""A folder of deployments applied: `python -m tests.bench.apply [DEPLOYMENTS]`.

For both generations of server, whose answers take 0.1 s: so many deployments (200) are created, applied again, changed,
and exported. Prints wall time, peak memory, processor time and what the server counted.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.server import serve
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.bench.lists import LAUNCHER, QODER, TOKEN

LATENCY = 0.1  # seconds that an answer takes
Seen = tuple[float, str, str]


def _serve(generation: Generation, wires: Connection) -> None:
    """Serve, in a process of its own; what is received asks for the requests since the last time."""
    world = World(generation=generation, token=TOKEN)
    wires.send(serve(world, faults=Faults(f"any:slow={LATENCY}*inf")).base_url)
    while True:
        wires.recv()
        wires.send([(seen.at, seen.method, seen.path) for seen in world.requests])
        world.requests.clear()


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


def _write(folder: Path, deployments: int, description: str) -> None:
    for n in range(deployments):
        fields = {"agent": "agent_writer", "environment_id": "env_workers"}
        fields |= {"message": "Report.", "description": description}
        (folder / f"deployment_{n:04}.json").write_text(json.dumps({"name": f"bench-{n:04}", **fields}))


def _report(what: str, words: list[str], base_url: str, wires: Connection, *, writes: int, code: int = 0) -> None:
    ran, figures = _run(words, base_url, "")
    wires.send("requests")
    seen: list[Seen] = wires.recv()
    posts = [at for at, method, _ in seen if method == "POST"]
    lists = sum(method == "GET" and path.endswith("/deployments") for _, method, path in seen)
    within = [at / LATENCY for at, _, _ in seen]  # so that a second is as long as an answer takes
    most = writes / 20 + 5 * LATENCY + 1.5
    print(
        f"  {what:<16} exit {figures['status']}, {figures['time']:5.2f} s "
        f"(at most {most:.1f}: {'met' if figures['time'] <= most else 'MISSED'}), {figures['memory']:.0f} MiB, "
        f"{figures['processor']:.1f} s of processor; {lists} pages of lists, {len(seen) - len(posts) - lists} reads, "
        f"{len(posts)} writes, {_busiest(posts)} in the busiest second, {_busiest(within)} at a time"
    )
    assert ran.returncode == code, ran.stderr


def measure(generation: Generation, deployments: int) -> None:
    mine, its = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=[generation, its])
    server.start()
    try:
        base_url = mine.recv()
        with tempfile.TemporaryDirectory() as folder:
            apply = ["apply", folder, "--yes", "-o", "jsonl"]
            _write(Path(folder), deployments, "As it is")
            _report("all to create", apply, base_url, mine, writes=deployments)
            _report("all unchanged", apply, base_url, mine, writes=0)
            _write(Path(folder), deployments, "As it is to be")
            _report("all would change", ["diff", folder, "-o", "jsonl"], base_url, mine, writes=0, code=8)
            _report("all to change", apply, base_url, mine, writes=deployments)
    finally:
        server.kill()


def main() -> None:
    deployments = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"{deployments} deployments in a folder")
    for generation in GENERATIONS:
        print(generation, flush=True)
        measure(generation, deployments)


if __name__ == "__main__":
    main()
