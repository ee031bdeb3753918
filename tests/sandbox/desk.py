"""Someone at a client of the sandbox, on a clock of their own, in process."""

import json
import os
import pickle
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.commands.sandbox import variables
from qoder_cli.nouns.table import Operation, all_operations
from qoder_cli.sandbox.records import AGENT as AGENT
from qoder_cli.sandbox.records import ENVIRONMENT as ENVIRONMENT
from qoder_cli.sandbox.wire import Generation
from qoder_cli.sandbox.world import World
from tests.support.inprocess import WorldTransport
from tests.support.lies import Lies
from tests.support.processes import Going, until
from tests.support.wire import FakeClock

TOKEN = "pt-sandbox"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
START = 1_781_427_246.271902  # 2026-06-14T08:54:06Z
KEYS = "/vaults/vault_team/credentials"
BEARER = {"type": "static_bearer", "token": "t-1", "mcp_server_url": "https://a.example.com"}
STORE = {"type": "memory_store", "memory_store_id": "memstore_project"}


def said(text: str) -> dict[str, Any]:
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


# A body that is well, by the path of its list.
BODY = {"name": "report", "agent": AGENT, "environment_id": ENVIRONMENT, "initial_events": [said("Report.")]}
BODIES: dict[str, dict[str, Any]] = {
    "/deployments": BODY,
    "/sessions": {"agent": AGENT, "environment_id": ENVIRONMENT},
    "/agents": {"name": "a", "model": "auto"},
    "/environments": {"name": "a"},
    "/vaults": {"display_name": "a"},
    KEYS: {"auth": BEARER},
    "/memory_stores": {"name": "a"},
    "/dreams": {"model": "auto", "inputs": [STORE]},
}
OPERATIONS: dict[str, Operation] = {operation.id: operation for operation in all_operations()}

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send to a process")


class Desk:
    """Someone at a client: a world on a clock of its own, and a wire into it."""

    def __init__(self, generation: Generation, *orders: str, **settings: Any) -> None:
        self.generation = generation
        self.clock = FakeClock(START)
        self.world = World(clock=self.clock.now, generation=generation, seed=1, token=TOKEN, **settings)
        self._looked = -1, b""  # how much was asked when it was looked last what is kept, and that
        self.faults = Lies(*orders)
        transport = WorldTransport(self.world, faults=self.faults, sleep=self.clock.sleep)
        self.http = httpx.Client(transport=transport, base_url="http://sandbox/api/v1/cloud", headers=AUTH, timeout=30)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ids(self, path: str, field: str = "id", **query: Any) -> list[Any]:
        """Return one field of each row of a list."""
        return [row[field] for row in self.get(path, **query)["data"]]

    def post(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        return self.http.post(path, json={} if body is None else body, headers=headers)

    def done(self, path: str, **fields: Any) -> Any:
        """Post what must succeed, and return the answer."""
        answer = self.post(path, fields)
        assert answer.is_success, answer.text
        return answer.json()

    def made(self, path: str, **fields: Any) -> Any:
        """Create a thing, from a body that is well but for these fields, and return it as it is then read."""
        answer = self.post(path, BODIES[path] | fields)
        assert answer.status_code == (201 if self.generation == "legacy" else 200), answer.text
        read = self.get(f"{path}/{answer.json()['id']}")
        assert read == {name: value for name, value in answer.json().items() if name != "credentials"}
        return read

    def run(self, deployment: str = "dep_demo") -> Any:
        return self.done(f"/deployments/{deployment}/run")

    def events(self, run: Any, **query: Any) -> list[Any]:
        data: list[Any] = self.get(f"/sessions/{run.get('session_id', run['id'])}/events", limit=100, **query)["data"]
        return data

    @contextmanager
    def stream(
        self, run: Any, *, path: str = "/events/stream", after: str | None = None, deltas: Sequence[str] = ()
    ) -> Iterator[Any]:
        query = {"event_deltas[]": deltas}
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        with self.http.stream("GET", f"/sessions/{run['session_id']}{path}", params=query, headers=headers) as answer:
            assert answer.status_code == 200
            yield (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))

    def status(self, path: str, method: str = "GET", **more: Any) -> int:
        with self.http.stream(method, path, **more) as answer:
            return answer.status_code

    def refused(self, method: str, path: str, **more: Any) -> tuple[int, str, str | None]:
        """Return status, type and field of what must be refused, and must change nothing."""
        asked, before = self._looked
        if asked != len(self.world.requests):
            before = self.kept
        answer = self.http.request(method, path, **more)
        error = answer.json()["error"]
        self._looked = len(self.world.requests), self.kept
        assert self._looked[1] == before
        return answer.status_code, error["type"], error.get("param")

    @property
    def kept(self) -> bytes:
        """All that the world keeps, to see whether it has changed."""
        return pickle.dumps(self.world.things)  # far less work than a text of it


NOWHERE: dict[str, Any] = {"base_url": "http://127.0.0.1:1/api/v1/cloud", "token": TOKEN, "folder": Path("/own")}


def exported(sandbox: Going) -> dict[str, str]:
    """Wait for what a sandbox without a command prints, and return it by name."""
    names = list(variables(os.environ, **NOWHERE))
    until(lambda: sandbox.out.count("\n") == len(names), "the exports")
    exports = dict(shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in sandbox.out.splitlines())
    assert list(exports) == names
    return exports
