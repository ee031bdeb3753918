"""A list side by side in one run: `python -m tests.bench.lists [ROUNDS] [ROWS]`.

Prints, for both generations of server, what `run list --all -o jsonl` of 10,000 runs takes beside the official SDK and
a bare loop of httpx and json: median wall time and peak memory. The commands take turns, so that whatever else the
machine does hits them alike. The server is a process of its own that answers with pages made beforehand, so that what
is measured is the client. Needs the extra `bench` (the official SDK); nothing here is run by the tests.
"""

import asyncio
import json
import statistics
import sys
from multiprocessing.connection import Connection
from urllib.parse import parse_qs

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import BASE_PATH, GENERATIONS, Generation, Request
from qoder_cli.sandbox.world import World
from tests.bench import QODER, TOKEN, Figures, beside, run
from tests.support.inprocess import seed_runs

# The SDK's own pager stops after one page where there is no `next_page`: there it gets the loop that users must write.
SDK = """
import os, sys
from qca import Managed
with Managed(base_url=os.environ["QODER_BASE_URL"]) as client:
    things = client.deployment_runs
    page = things.list(limit=100)
    while page:
        for thing in page:
            sys.stdout.write(thing.model_dump_json() + "\\n")
        its_pager_stopped = page.has_more and not page.next_page
        after = {"after_id": page.last_id}
        page = things.list(limit=100, extra_query=after) if its_pager_stopped else None
"""
BARE = """
import httpx, json, os, sys
headers = {"authorization": "Bearer " + os.environ["QODER_PAT"], "accept": "application/json"}
client, query = httpx.Client(headers=headers), {"limit": 100}
while True:
    page = client.get(os.environ["QODER_BASE_URL"] + "/deployment_runs", params=query).json()
    sys.stdout.write("".join(json.dumps(thing) + "\\n" for thing in page["data"]))
    if not page["has_more"]:
        break
    query = {"limit": 100, "after_id": page["last_id"]}
"""
ALL, HUNDRED = "qoder list --all -o jsonl", "qoder list -n 100 -o jsonl"
AGAINST_SDK, AGAINST_BARE = "qca-sdk iterating", "bare httpx and json"
COMMANDS = {
    ALL: [QODER, "run", "list", "--all", "-o", "jsonl"],
    HUNDRED: [QODER, "run", "list", "-n", "100", "--no-resolve", "-o", "jsonl"],
    AGAINST_SDK: [sys.executable, "-c", SDK],
    AGAINST_BARE: [sys.executable, "-c", BARE],
}
GOALS = [
    ("time", AGAINST_SDK, 0.15),
    ("memory", HUNDRED, 1.2),
    ("time", AGAINST_BARE, None),
]


class Canned(asyncio.Protocol):
    """As little of HTTP as clients of a list need: a page by its cursor."""

    def __init__(self, pages: dict[str, bytes]) -> None:
        self._pages = pages
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, _, self._read = self._read.partition(b"\r\n\r\n")
            query = parse_qs(head.split(b" ")[1].decode().partition("?")[2])
            cursor = (query.get("page") or query.get("after_id") or [""])[0]
            self._transport.write(self._pages[cursor])


def _pages(world: World) -> dict[str, bytes]:
    """Return every page as it goes over the wire, by the cursor that asks for it."""
    pages: dict[str, bytes] = {}
    cursor, more = "", True
    while more:
        query = "limit=100" + (f"&after_id={cursor}" if cursor else "")
        request = Request("GET", f"{BASE_PATH}/deployment_runs", query, {"authorization": f"Bearer {TOKEN}"})
        body = Faults().answer(world, request).body
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        pages[cursor] = head.encode() + body
        page = json.loads(body)
        cursor, more = page["last_id"], page["has_more"]
    return pages


def _serve(generation: Generation, runs: int, ready: Connection) -> None:
    """Serve the list of so many runs, in a process of its own, until that is ended."""
    world = World(generation=generation, speed=10, token=TOKEN)
    seed_runs(world, runs)
    pages = _pages(world)

    async def listen() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Canned(pages), "127.0.0.1", 0)
        ready.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{BASE_PATH}")
        await server.serve_forever()

    asyncio.run(listen())


def measure(generation: Generation, *, rounds: int, runs: int) -> dict[str, Figures]:
    """Return each command's medians over so many rounds after one to warm up."""
    taken: dict[str, list[Figures]] = {name: [] for name in COMMANDS}
    with beside(_serve, generation, runs) as server:
        base_url = server.recv()
        for turn in range(rounds + 1):
            for name, command in COMMANDS.items():
                figures = run(command, base_url)
                expected, printed = min(runs, 100) if name == HUNDRED else runs, figures.out.count("\n")
                if printed != expected or figures.code:
                    sys.exit(f"{name} printed {printed} of {expected} lines\n" + "\n".join(figures.err))
                if turn:
                    taken[name].append(figures)
    return {
        name: each[0]._replace(
            time=statistics.median(one.time for one in each), memory=statistics.median(one.memory for one in each)
        )
        for name, each in taken.items()
    }


def report(figures: dict[str, Figures]) -> str:
    """Return the table of figures and the lines of ratios."""
    ours = figures[ALL]
    lines = [f"  {name:<32} {each.time:6.2f} s {each.memory:6.1f} MiB" for name, each in figures.items()]
    for what, against, goal in GOALS:
        ratio = getattr(ours, what) / getattr(figures[against], what)
        word = "" if goal is None else f"  at most {goal}: {'met' if ratio <= goal else 'MISSED'}"
        lines.append(f"  {what + ' against ' + against:<46} {ratio:5.2f}{word}")
    return "\n".join(lines)


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    rounds, runs = [*numbers, *[5, 10_000][len(numbers) :]][:2]
    for generation in GENERATIONS:
        print(f"run list, {generation}, {runs} rows, median of {rounds}", flush=True)
        print(report(measure(generation, rounds=rounds, runs=runs)), flush=True)


if __name__ == "__main__":
    main()
