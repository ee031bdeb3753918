"""Many runs on a server whose lists can be bent, awaited by one command, on a clock that nobody has to wait for."""

import io
import json
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from qoder_cli.base.times import Clock
from qoder_cli.fleet import page_poller
from qoder_cli.sandbox.scripts import Behaviour, Script, turn
from qoder_cli.sandbox.wire import BASE_PATH, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder, Ran
from tests.support.inprocess import WorldTransport
from tests.support.wire import FakeClock

Rows = list[dict[str, Any]]
LISTS = ("/deployment_runs", "/sessions")


class Asked(NamedTuple):
    """A request: when, for what."""

    at: float
    path: str
    query: dict[str, str]


class Told(NamedTuple):
    """A line of the answer, and when it was printed."""

    at: float
    item: dict[str, Any]


class Bent(WorldTransport):
    """A world without event streams, of which the answers can be bent.

    `refuse` may answer in the world's place, `arrange` is given the rows of a list and returns those that it shows, and
    `deaf_to` are parameters that lists do not heed.
    """

    def __init__(self, world: World, clock: Clock) -> None:
        super().__init__(world, sleep=clock.sleep)
        self.clock = clock
        self.asked: list[Asked] = []
        self.refuse: Callable[[Asked], httpx.Response | None] = lambda asked: None
        self.arrange: Callable[[str, Rows], Rows] | None = None
        self.deaf_to: tuple[str, ...] = ()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events/stream"):
            return httpx.Response(501, json={})
        asked = Asked(self.clock.now(), request.url.path.removeprefix(BASE_PATH), dict(request.url.params))
        self.asked.append(asked)
        if (refusal := self.refuse(asked)) is not None:
            return refusal
        if asked.path not in LISTS or (self.arrange is None and not self.deaf_to):
            return super().handle_request(request)
        heard = [(name, value) for name, value in request.url.params.multi_items() if not name.startswith(self.deaf_to)]
        bent = httpx.Request("GET", request.url.copy_with(params=heard), headers=request.headers)
        return super().handle_request(bent) if self.arrange is None else self._arranged(asked, bent)

    def _arranged(self, asked: Asked, request: httpx.Request) -> httpx.Response:
        """Return a page of the list as `arrange` makes it of all its rows."""
        asked_for = request.url.params.multi_items()
        filters = [pair for pair in asked_for if pair[0] not in ("page", "after_id", "limit")]
        rows: Rows = []
        last: str | None = None
        while True:
            params = [*filters, ("limit", "100"), *([("after_id", last)] if last else [])]
            url = request.url.copy_with(params=params)
            answer = super().handle_request(httpx.Request("GET", url, headers=request.headers))
            page = json.loads(answer.read())
            if answer.status_code != 200:
                return httpx.Response(answer.status_code, json=page)
            rows += page["data"]
            last = page["last_id"]
            if not page["has_more"]:
                break
        assert self.arrange is not None
        return self._cut(self.arrange(asked.path, rows), asked)

    def _cut(self, rows: Rows, asked: Asked) -> httpx.Response:
        cursor = asked.query.get("page") or asked.query.get("after_id")
        start = next((n + 1 for n, row in enumerate(rows) if row["id"] == cursor), 0)
        end = start + int(asked.query["limit"])
        data, more = rows[start:end], end < len(rows)
        last = data[-1]["id"] if data else None
        following = {"next_page": last if more else None} if self.world.generation == "current" else {}
        return httpx.Response(200, json={"data": data, "last_id": last, "has_more": more, **following})


class Town(Qoder):
    """A server with deployments and runs, and the real `main` that asks it."""

    def __init__(self, generation: Generation, folder: Path, clock: Any) -> None:
        super().__init__(folder / "config.toml")
        self.clock = clock
        self.world = World(clock=clock.now, generation=generation, seed=1)
        self.transport = self.server = Bent(self.world, clock)
        self.folder = folder
        self.env |= {"QODER_PAT": self.world.token, "QODER_STATE_DIR": str(folder)}
        self.env["QODER_BASE_URL"] = "http://127.0.0.1:9/api/v1/cloud"

    def __call__(self, *words: str, stdin: str = "", out: io.BytesIO | None = None) -> Ran:
        """Run a command line and return what a user would see; `out` takes standard output, if it is given."""
        self.stdin, self.out = stdin, out
        return super().__call__(*words)


class Crowd(Town):
    """Runs to wait for, and what `qoder run wait -o jsonl` makes of them, on a clock that moves when someone sleeps."""

    def __init__(self, generation: Generation, folder: Path) -> None:
        super().__init__(generation, folder, FakeClock())
        self.told: list[Told] = []
        self.code = -1
        self.said = ""  # on standard error

    def begin(
        self, count: int, script: Script | None = None, *, seconds: float = 60.0, every: float = 0.1
    ) -> list[str]:
        """Start runs, `every` seconds apart, and return their ids; the clock stands where the last has begun."""
        made = self.world.add_deployment(
            name=self.world.new_id("name"), behaviour=Behaviour(script or turn(seconds=seconds))
        )
        ids = []
        for number in range(count):
            self.clock.time += every if number else 0.0
            ids.append(self.world.start(made, origin="request").id)
        return ids

    def wait(self, ids: Sequence[str], *options: str) -> "Crowd":
        """Run `qoder run wait -` with these on standard input, and return itself."""
        self.began = self.clock.time
        ran = self("run", "wait", "-", "-o", "jsonl", *options, stdin="\n".join(ids), out=_Noted(self))
        self.code, self.said = ran.code, ran.err
        return self

    @property
    def error(self) -> dict[str, Any]:
        """The error that ends stderr."""
        error: dict[str, Any] = json.loads(self.said.splitlines()[-1])["error"]
        assert error["exit_code"] == self.code
        return error

    @property
    def codes(self) -> dict[int, int]:
        """How many items ended in which exit code."""
        return dict(Counter(item["exit_code"] for _, item in self.told))

    @property
    def checks(self) -> list[list[Asked]]:
        """The requests, apart where nothing was asked for a while."""
        checks: list[list[Asked]] = []
        for asked in self.server.asked:
            if not checks or asked.at - checks[-1][-1].at > 0.3:
                checks.append([])
            checks[-1].append(asked)
        return checks

    @property
    def busiest(self) -> int:
        """The most requests in any second."""
        moments = sorted(asked.at for asked in self.server.asked)
        return max((bisect_left(moments, first + 1) - n for n, first in enumerate(moments)), default=0)

    def asked_for(self, word: str) -> list[Asked]:
        """Return the requests with a word in their path."""
        return [asked for asked in self.server.asked if word in asked.path]

    def delays(self) -> list[float]:
        """Return for each run how many seconds after its end it was told of."""
        ended = {id: run.ending(self.world.now()) for id, run in self.world.runs.items()}
        return [told.at - ending.at for told in self.told if (ending := ended.get(told.item["id"]))]


class _Noted(io.BytesIO):
    """Standard output, of which each line is noted with the time."""

    def __init__(self, crowd: Crowd) -> None:
        super().__init__()
        self._crowd = crowd

    def write(self, data: Any) -> int:
        for line in bytes(data).decode().splitlines():
            self._crowd.told.append(Told(self._crowd.clock.time, json.loads(line)))
        return super().write(data)


def pages(runs: int) -> int:
    """Return how many pages so many rows fill."""
    return math.ceil(runs / page_poller.PAGE)
