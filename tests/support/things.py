"""The sandbox's agents and environments, where answers are lost and others change things in between."""

import json
from collections.abc import Callable
from typing import Any

import httpx

from qoder_cli.sandbox.records import Thing
from qoder_cli.sandbox.wire import Generation
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WorldTransport
from tests.support.sessions import PREFIX, Service

Raw = dict[str, Any]


def refusal(status: int, kind: str, message: str) -> httpx.Response:
    """Return an answer in the API's own envelope."""
    return httpx.Response(status, json={"type": "error", "error": {"type": kind, "message": message}})


# How the answer to a write is lost, after it was done.
LOSSES: dict[str, Callable[[httpx.Response], httpx.Response | Exception]] = {
    "reset": lambda done: httpx.ReadError("[Errno 104] Connection reset by peer"),
    "502": lambda done: httpx.Response(502, html="<h1>Bad gateway</h1>"),
    "html": lambda done: httpx.Response(200, html="<h1>Welcome</h1>"),
    "cut": lambda done: httpx.Response(200, content=done.content[: len(done.content) // 2]),
}


class Things(Service):
    """The sandbox's agents and environments, under other conditions.

    `after` are losses of the answers to writes; `meanwhile` is done before each write arrives, `late` after it;
    `defaults` are what the server adds to what it is sent.
    """

    def __init__(self, qoder: Qoder, generation: Generation, *faults: str) -> None:
        super().__init__(qoder, generation, *faults)
        self.things.clear()
        self.after: list[Callable[[httpx.Response], httpx.Response | Exception]] = []
        self.meanwhile: list[Callable[[], object]] = []
        self.late: list[Callable[[], object]] = []
        self.defaults: Callable[[Raw], object] = lambda raw: None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(PREFIX)
        if request.method != "POST":
            return super().handle_request(request)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        is_refused = bool(self.before.get(f"POST {path}"))
        done = super().handle_request(request)
        if is_refused or done.status_code >= 400:
            return done
        raw = self.thing(json.loads(done.read())["id"])
        self.defaults(raw)
        done = httpx.Response(done.status_code, json=raw)
        if self.late:
            self.late.pop(0)()
        lost = self.after.pop(0)(done) if self.after else done
        if isinstance(lost, Exception):
            raise lost
        return lost

    @property
    def made(self) -> str:
        """The id of the newest agent or environment."""
        kept = [each for list in ("agents", "environments") for each in self.world.things[list].values()]
        return str(max(kept, key=lambda each: each.created).fields["id"])

    def keep(self, list: str, raw: Raw) -> None:
        """Keep something that was always there."""
        self.world.things[list][raw["id"]] = Thing(raw["id"], json.loads(json.dumps(raw)), self.world.now() - 60)

    def thing(self, id: str) -> Raw:
        """Return the fields of an agent or an environment, as they are now."""
        return next(held[id].fields for held in self.world.things.values() if id in held)

    def change(self, id: str, body: Raw) -> None:
        """Change an agent or an environment, as someone else does."""
        known = self.thing(id)
        list = f"{known['type']}s"
        version = {"version": known["version"]} if "version" in known else {}
        headers = {"authorization": f"Bearer {TOKEN}"}
        url = f"https://api.qoder.com{PREFIX}/{list}/{id}"
        answer = WorldTransport.handle_request(self, httpx.Request("POST", url, json=body | version, headers=headers))
        assert answer.status_code == 200, answer.read()
        self.defaults(known)
