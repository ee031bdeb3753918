"""A report of a large account: `python -m tests.bench.report [DEPLOYMENTS] [RUNS]`.

So many deployments (200) with so many runs a day altogether (1,000), on the current generation of server, where only
sessions know how runs ended: a first report, and the same again. Then each deployment has a thousand runs in the time
that a report looks at, which takes the server minutes: at most 150 MB. Prints requests, wall time, peak memory and the
lines of progress.
"""

import json
import re
import sys
import tempfile
from collections import Counter

from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.world import World
from tests.bench import QODER, TOKEN, run

DAY = 86400.0
LOOK_BACK = 26 * 3600.0  # seconds before a report's span of which runs are read, too
NEVER = {"type": "cron", "expression": "0 3 30 2 *", "timezone": "UTC"}


def account(deployments: int, runs_a_day: int) -> World:
    """Return so many deployments, and runs at even distances back to where the look back of a report of a day ends."""
    world = World(generation="current", token=TOKEN)
    now = world.now()
    goes = [Behaviour(turn(seconds=40, reason=reason)) for reason in ("end_turn", "retries_exhausted")]
    ids = [
        world.add_deployment(name=f"job-{n}", at=now - 30 * DAY, schedule=NEVER, behaviour=goes[n % 20 == 0]).id
        for n in range(deployments)
    ]
    apart = DAY / runs_a_day
    for number in reversed(range(int((DAY + LOOK_BACK - 180) / apart))):
        world.start(ids[number % deployments], at=now - 120 - number * apart)
    return world


def main(words: list[str]) -> None:
    deployments, runs = (int(word) for word in [*words, *("200", "1000")[len(words) :]])
    many = int(runs * deployments * DAY / (DAY + LOOK_BACK))
    for what, runs_a_day, times in (("a day", runs, 2), ("for each", many, 1)):
        print(f"{deployments} deployments, {runs} runs {what}", flush=True)
        world = account(deployments, runs_a_day)
        with Server(world).start() as server, tempfile.TemporaryDirectory() as folder:
            for _ in range(times):
                world.requests.clear()
                took = run([QODER, "report", "-o", "json"], server.base_url, QODER_STATE_DIR=folder)
                report, paths = json.loads(took.out), (re.sub(r"sess_\w+", "…", one.path) for one in world.requests)
                failed, asked = sum(each["failed"] for each in report["failed"]), Counter(paths)
                print(f"  exit {took.code}, {took.time:.1f} s, {took.memory:.0f} MiB, {asked.total()} requests")
                print(f"  {report['runs']} runs, {failed} failed, {dict(asked)}")
                print("  " + "\n  ".join([*(each["message"] for each in report["problems"]), *took.err]))


if __name__ == "__main__":
    main(sys.argv[1:])
