"""A server for `qoder session`: the rehearsal server, and lists of agents and the like, which it does not have."""

import json
from typing import Any

import httpx

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.records import AGENT
from qoder_cli.sandbox.wire import Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WorldTransport

PREFIX = "/api/v1/cloud"
ENVIRONMENT = "env_019e64e01a137caf953ac2ac7b42ec5c"


class Service(WorldTransport):
    """The rehearsal server with `things` by the path of their list; `sent` are the bodies of writes, by method and
    path. The `before` of a path answers in its place, as often as there are answers.
    """

    def __init__(self, qoder: Qoder, generation: Generation, *faults: str) -> None:
        world = World(clock=qoder.clock.now, generation=generation, token=TOKEN, seed=5)
        super().__init__(world, faults=Faults(*faults), sleep=qoder.clock.sleep)
        self.things: dict[str, list[dict[str, Any]]] = {
            "/agents": [{"id": AGENT, "name": "writer"}],
            "/environments": [{"id": ENVIRONMENT, "name": "default"}],
            "/vaults": [{"id": "vault_1", "display_name": "keys"}],
            "/memory_stores": [{"id": "memstore_1", "name": "notes"}],
        }
        self.sent: list[tuple[str, str, Any]] = []
        self.before: dict[str, list[httpx.Response | Exception]] = {}
        self.asked: list[str] = []
        self.lists_metadata = True
        qoder.transport = self
        qoder.clock.patience = 0.002

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(PREFIX)
        self.asked.append(f"{request.method} {path}")
        if request.method != "GET":
            is_json = request.headers.get("content-type") == "application/json"
            self.sent.append((request.method, path, json.loads(request.read()) if is_json else request.read()))
        if waiting := self.before.get(f"{request.method} {path}"):
            answer = waiting.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if path in self.things and request.method == "GET":
            return httpx.Response(200, json={"data": self.things[path], "has_more": False})
        if (request.method, path) == ("POST", "/files"):
            made = {"id": f"file_{len(self.sent)}", "type": "file", "filename": "notes.txt"}
            return httpx.Response(200, json=made)
        answer = super().handle_request(request)
        if request.method == "GET" and path == "/sessions" and not self.lists_metadata:
            listed = json.loads(answer.read())
            return httpx.Response(200, json={**listed, "data": [_without_metadata(each) for each in listed["data"]]})
        return answer

    def session(self, **fields: Any) -> str:
        """Add a session, and return its id."""
        agent = {"id": AGENT, "type": "agent", "version": 1}
        made = self.world.add_session(
            at=self.world.now(), **{"agent": agent, "environment_id": ENVIRONMENT, "title": None, **fields}
        )
        return made.id


def _without_metadata(session: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in session.items() if name != "metadata"}
