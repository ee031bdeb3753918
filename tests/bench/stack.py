"""A stack applied: `python -m tests.bench.stack [FILES]`.

For both generations of server: a folder of so many things (500, of which 20 are vaults and stores) is applied, applied
again, and shown when one agent in ten has changed. Then only what reading costs: ten times as many files that are all
to be created, and 50,000 files that are none of ours. Prints wall and processor time, peak memory, and requests.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.support import stacks
from tests.support.stacks import SECRETS, skill
from tests.support.typed import TOKEN

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


def files_of(count: int) -> dict[str, Any]:
    """Return the files of a stack of so many things."""
    files: dict[str, Any] = {"qoder.yaml": {"stack": "bench"}}
    held = max(count // 50, 1)
    auth = {"type": "static_bearer", "token": "${TOKEN}", "mcp_server_url": "https://a.example/mcp"}
    for n in range(held):
        files[f"vaults/v{n}.yaml"] = {"display_name": f"v{n}", "credentials": [{"display_name": "c", "auth": auth}]}
        files[f"memory_stores/m{n}.yaml"] = {"name": f"m{n}"}
        files[f"memory_stores/m{n}/a.md"] = "Hello\n"
    rest = count - 4 * held
    for n in range(rest // 5):
        files[f"environments/e{n}.yaml"] = {"name": f"e{n}"}
        files[f"skills/s{n}/SKILL.md"] = skill(f"s{n}")
    for n in range((rest - 2 * (rest // 5)) // 2):
        agent = {"name": f"a{n}", "model": "auto", "system": f"Be brief. {n}", "tools": [stacks.TOOLSET]}
        files[f"agents/a{n}.yaml"] = agent | {"skills": [f"../skills/s{n % (rest // 5)}"]}
        used = {"agent": f"../agents/a{n}.yaml", "environment": f"e{n % (rest // 5)}", "message": "Report."}
        files[f"deployments/d{n}.yaml"] = {"name": f"d{n}", **used}
    return files


def _run(base_url: str, home: str, *words: str) -> tuple[int, float, float, float, str]:
    """Run a command in a process of its own. Return exit code, seconds, those of the processor, MiB, its last words."""
    env = {**os.environ, "QODER_BASE_URL": base_url, "QODER_PAT": TOKEN, "QODER_STATE_DIR": home, **SECRETS}
    said = Path(home) / "said"
    began = time.monotonic()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "qoder_cli", *words],
        env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, fd, str(said), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) for fd in (1, 2)
        ],
    )
    _, status, used = os.wait4(child, 0)
    took = time.monotonic() - began
    last = said.read_text().strip().splitlines()[-1:]
    words_said = (last or [""])[0][:100]
    return os.waitstatus_to_exitcode(status), took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, words_said


def measure(generation: Generation, count: int) -> None:
    mine, its = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=[generation, its])
    server.start()
    try:
        base_url = mine.recv()

        def report(what: str, folder: str, *words: str, most: float, requests: int | None = None) -> None:
            code, took, computed, memory, last = _run(base_url, home, words[0], folder, *words[1:])
            mine.send("requests")
            seen = mine.recv()
            writes = sum(method != "GET" for method in seen)
            is_met = took <= most and (requests is None or len(seen) <= requests)
            limit = f" (at most {requests})" if requests else ""
            print(
                f"  {what:<26} exit {code}, {took:5.1f} s (at most {most:.1f}: {'met' if is_met else 'MISSED'}),"
                f" {computed:.1f} s of processor, {memory:.0f} MiB, {writes} writes, {len(seen)} requests{limit}"
                f"{'' if code in (0, 8) else f'  {last}'}",
                flush=True,
            )

        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
            stacks.write(Path(folder), files_of(count))
            things = sum(path != "qoder.yaml" for path in files_of(count)) + max(count // 50, 1)
            report(f"{things} to create", folder, "apply", "--yes", "-q", most=things / 20 + 3)
            report("all unchanged", folder, "apply", "--yes", "-q", most=MOST_SECONDS, requests=MOST_REQUESTS)
            for number, path in enumerate(sorted(Path(folder, "agents").iterdir())):
                if number % 10 == 0:
                    path.write_text(path.read_text().replace("Be brief", "Be long"))
            report("one agent in ten differs", folder, "diff", "-q", most=MOST_SECONDS, requests=MOST_REQUESTS)
        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
            stacks.write(Path(folder), files_of(10 * count))
            report(f"{10 * count} would be created", folder, "diff", "-q", most=30)
        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
            stacks.write(Path(folder), {"environments/e.yaml": {"name": "e"}})
            kinds = (("md", "# Notes\n"), ("yaml", "on: push\n"), ("json", '{"a": 1}'), ("py", "pass\n"))
            stacks.write(Path(folder), {f"src/{n % 97}/{n}.{kinds[n % 4][0]}": kinds[n % 4][1] for n in range(FOREIGN)})
            report(f"{FOREIGN} that are not ours", folder, "diff", "-q", most=2)
    finally:
        server.kill()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    for generation in GENERATIONS:
        print(generation, flush=True)
        measure(generation, count)


if __name__ == "__main__":
    main()
