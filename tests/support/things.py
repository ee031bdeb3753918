"""The sandbox with hooks: answers are lost on the way or told otherwise, and others change things in between."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import httpx

from qoder_cli.sandbox.records import AGENT, ENVIRONMENT, FakeThing
from qoder_cli.sandbox.wire import BASE_PATH, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WorldTransport
from tests.support.lies import Lies

Raw = dict[str, Any]
Answer = httpx.Response | Exception
Lie = Callable[[Any], Any]


def ok(body: Any) -> httpx.Response:
    return httpx.Response(200, json=body)


def refusal(status: int, kind: str, message: str = "Oops.") -> httpx.Response:
    """Return an answer in the API's own envelope."""
    return httpx.Response(status, json={"type": "error", "error": {"type": kind, "message": message}})


# How the answer to a write is lost.
LOSSES: dict[str, Callable[[httpx.Response], Answer]] = {
    "reset": lambda done: httpx.RemoteProtocolError("Server disconnected without sending a response."),
    "503": lambda done: refusal(503, "api_error"),
    "502": lambda done: httpx.Response(502, html="<h1>Bad gateway</h1>"),
    "cut": lambda done: httpx.Response(200, content=done.content[:-5]),
}
FAILED = refusal(500, "api_error", "It failed.")


def each_row(change: Lie) -> Lie:
    return lambda page: {**page, "data": [change(row) for row in page["data"]]}


def without(*names: str) -> Lie:
    """Return what a list says of which each row lacks these fields."""
    return each_row(lambda row: {name: value for name, value in row.items() if name not in names})


class Things(WorldTransport):
    """The sandbox under other conditions, with what it was asked.

    Requests are named by method and path: `POST /agents`. The `instead` of one answers in the world's place, as often
    as there are answers, and `never` does so to the next writes. `lies` change what the world says. `meanwhile` is done
    before each write arrives, `late` after it; `after` are losses of the answers to writes. `defaults` is what the
    server makes of what it is sent.
    """

    def __init__(
        self, qoder: Qoder, generation: Generation = "current", *faults: str, world: World | None = None
    ) -> None:
        world = world or World(clock=qoder.clock.now, generation=generation, token=TOKEN, seed=5)
        super().__init__(world, faults=Lies(*faults), sleep=qoder.clock.sleep)
        self.requests: list[httpx.Request] = []
        self.instead: dict[str, list[Answer]] = {}
        self.never: list[Answer] = []
        self.lies: dict[str, Lie] = {}
        self.meanwhile: list[Callable[[], object]] = []
        self.late: list[Callable[[], object]] = []
        self.after: list[Callable[[httpx.Response], Answer]] = []
        self.defaults: Callable[[Raw], object] | None = None
        qoder.transport = self
        qoder.clock.patience = qoder.clock.patience or 0.002

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        request.read()
        asked = _asked(request)
        is_write = request.method != "GET"
        if is_write and self.meanwhile:
            self.meanwhile.pop(0)()
        if waiting := self.instead.get(asked) or (self.never if is_write else []):
            return given(waiting.pop(0))
        done = super().handle_request(request)
        if done.status_code >= 300 or not (is_write or asked in self.lies):
            return done
        done.read()
        if asked in self.lies:
            done = ok(self.lies[asked](done.json()))
        if is_write and self.defaults:
            raw = self.thing(done.json()["id"])
            self.defaults(raw)
            done = ok(raw)
        if is_write and self.late:
            self.late.pop(0)()
        return given(self.after.pop(0)(done)) if is_write and self.after else done

    def loses(self, loss: str, *, done: bool = True) -> None:
        """Lose the answer to the next write; if it is not `done`, it never arrives either."""
        if done:
            self.after = [LOSSES[loss]]
        else:
            self.never = [LOSSES[loss](ok({}))]

    @property
    def asked(self) -> list[str]:
        return list(map(_asked, self.requests))

    @property
    def writes(self) -> list[str]:
        return [each for each in self.asked if not each.startswith("GET")]

    @property
    def sent(self) -> list[Any]:
        """The bodies of the writes; of a form, its bytes."""
        bodies = []
        for write in (request for request in self.requests if request.method != "GET"):
            if write.headers.get("content-type", "").startswith("multipart"):
                bodies.append(write.content)
            else:
                bodies.append(json.loads(write.content or b"{}"))
        return bodies

    @property
    def made(self) -> str:
        """The id of the newest agent or environment."""
        kept = [each for list in ("agents", "environments") for each in self.world.things[list].values()]
        return str(max(kept, key=lambda each: each.created).fields["id"])

    def keep(self, list: str, raw: Raw) -> Raw:
        """Keep something that was always there, and return its fields."""
        kept = FakeThing(raw["id"], deepcopy(raw), self.world.now() - 60)
        self.world.things.setdefault(list, {})[raw["id"]] = kept
        return kept.fields

    def thing(self, id: str) -> Raw:
        return next(held[id].fields for held in self.world.things.values() if id in held)

    def session(self, **fields: Any) -> str:
        agent = {"id": AGENT, "type": "agent", "version": 1}
        known = {"agent": agent, "environment_id": ENVIRONMENT, "title": None}
        return self.world.add_session(at=self.world.now(), **{**known, **fields}).id

    def repeat(self) -> None:
        """Let the request under way arrive once more, under another key, as a proxy does."""
        request = self.requests[-1]
        headers = {**request.headers, "idempotency-key": "another"}
        again = httpx.Request(request.method, request.url, headers=headers, content=request.content)
        WorldTransport.handle_request(self, again)

    def change(self, path: str, body: Raw, *, method: str = "POST") -> Raw:
        """Let someone else write, an agent in the version that there is, and return the answer."""
        known = self.world.things["agents"].get(path.rpartition("/")[2])
        body = body | ({"version": known.fields["version"]} if known else {})
        request = httpx.Request(
            method, f"https://api.qoder.com{BASE_PATH}{path}", json=body, headers={"authorization": f"Bearer {TOKEN}"}
        )
        done = WorldTransport.handle_request(self, request)
        assert done.status_code < 300, done.read()
        answer: Raw = json.loads(done.read())
        if self.defaults:
            self.defaults(self.thing(answer["id"]))
        return answer


def _asked(request: httpx.Request) -> str:
    path = request.url.path
    if not path.startswith(BASE_PATH):
        path = str(request.url)  # of another host
    return f"{request.method} {path.removeprefix(BASE_PATH)}"


def given(answer: Answer) -> httpx.Response:
    """Return an answer, or raise it."""
    if isinstance(answer, Exception):
        raise answer
    return answer
