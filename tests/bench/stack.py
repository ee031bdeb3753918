"""A stack applied: `python -m tests.bench.stack [FILES]`.

For both generations of server: a folder of so many things (500) is applied, applied again, and shown when one agent in
ten has changed. Then only what reading costs: ten times as many files that are all to be created, and 50,000 files that
are none of ours. Prints wall and processor time, peak memory, and requests.
"""

import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.bench import QODER, TOKEN, beside, run
from tests.support import stacks
from tests.support.stacks import SECRETS, sized

FOREIGN = 50_000
MOST_REQUESTS, MOST_SECONDS = 60, 3.0  # of a folder that is as it should be


def _serve(generation: Generation, wires: Connection) -> None:
    """Serve, in a process of its own; what is received asks for the requests since the last time."""
    world = World(generation=generation, token=TOKEN)
    wires.send(Server(world).start().base_url)
    while True:
        wires.recv()
        wires.send([seen.method for seen in world.requests])
        world.requests.clear()


def measure(generation: Generation, count: int) -> None:
    scale = count // 20  # so many things it has of each kind
    with beside(_serve, generation) as server:
        base_url = server.recv()

        def report(what: str, folder: str, *words: str, most: float, requests: int | None = None) -> None:
            took = run([QODER, words[0], folder, *words[1:]], base_url, QODER_STATE_DIR=home, **SECRETS)
            server.send("requests")
            seen = server.recv()
            word = "met" if took.time <= most and (requests is None or len(seen) <= requests) else "MISSED"
            print(f"  {what:<26} exit {took.code}, {took.time:5.1f} s (at most {most:.1f}: {word}),")
            print(f"  {'':<26} {took.computed:.1f} s of processor, {took.memory:.0f} MiB,", end=" ")
            limit = f" (at most {requests})" if requests else ""
            print(
                f"{sum(method != 'GET' for method in seen)} writes, {len(seen)} requests{limit}",
                *took.err[-1:],
                flush=True,
            )

        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
            stacks.write(Path(folder), sized(scale))
            report(f"{20 * scale} to create", folder, "apply", "--yes", "-q", most=scale + 3)
            report("all unchanged", folder, "apply", "--yes", "-q", most=MOST_SECONDS, requests=MOST_REQUESTS)
            for number, path in enumerate(sorted(Path(folder, "agents").iterdir())):
                if number % 10 == 0:
                    path.write_text(path.read_text().replace("Be brief", "Be long"))
            report("some agents differ", folder, "diff", "-q", most=MOST_SECONDS, requests=MOST_REQUESTS)
        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
            stacks.write(Path(folder), sized(10 * scale))
            report(f"{200 * scale} would be created", folder, "diff", "-q", most=30)
        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
            stacks.write(Path(folder), {"environments/e.yaml": {"name": "e"}})
            kinds = (("md", "# Notes\n"), ("yaml", "on: push\n"), ("json", '{"a": 1}'), ("py", "pass\n"))
            stacks.write(Path(folder), {f"src/{n % 97}/{n}.{kinds[n % 4][0]}": kinds[n % 4][1] for n in range(FOREIGN)})
            report(f"{FOREIGN} that are not ours", folder, "diff", "-q", most=2)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    for generation in GENERATIONS:
        print(generation, flush=True)
        measure(generation, count)


if __name__ == "__main__":
    main()
