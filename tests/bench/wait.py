"""From a run's end on the server to the command's exit: `python -m tests.bench.wait [RUNS]`.

Prints the median and the worst delay over so many runs of about 3 s, and how many requests a run of one minute costs,
with the event stream and with it broken, on both generations. Real processes against a sandbox on this machine.
"""

import os
import statistics
import subprocess
import sys
import threading
import time
from typing import NamedTuple

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import Generation
from qoder_cli.sandbox.world import World


class Waited(NamedTuple):
    """One run waited for: seconds from its end on the server to the command's exit, and requests made."""

    delay: float
    requests: int


def wait_for(deployment: str, generation: Generation, *faults: str) -> Waited:
    world = World(generation=generation)
    with Server(world, faults=Faults(*faults)).start() as server:
        environment = {**os.environ, "QODER_BASE_URL": server.base_url, "QODER_SANDBOX": "", "QODER_PAT": world.token}
        command = [sys.executable, "-m", "qoder_cli", "deploy", "run", deployment, "--wait", "-q"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        ended = time.time()
        ending = world.ending(done.stdout.strip())
        assert ending is not None
        return Waited(ended - ending.at, len(world.requests))


def main() -> None:
    """Print the figures; the runs of a minute go on beside each other."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    cases: list[tuple[Generation, tuple[str, ...]]] = [
        (generation, faults) for generation in ("legacy", "current") for faults in ((), ("stream:501*inf",))
    ]
    minutes: dict[int, Waited] = {}
    threads = [
        threading.Thread(target=lambda n=n, case=case: minutes.update({n: wait_for("dep_minute", case[0], *case[1])}))
        for n, case in enumerate(cases)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{'server':<10} {'stream':<8} {'median delay':>13} {'worst':>8}   requests of a one-minute run")
    for n, (generation, faults) in enumerate(cases):
        delays = [wait_for("dep_demo", generation, *faults).delay for _ in range(runs)]
        stream = "broken" if faults else "works"
        middle, worst = statistics.median(delays), max(delays)
        print(f"{generation:<10} {stream:<8} {middle:>12.3f}s {worst:>7.3f}s   {minutes[n].requests}")


if __name__ == "__main__":
    main()
