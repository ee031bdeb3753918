"""Someone at a client of the sandbox, on a clock of their own, in process; and `qoder sandbox` as a process."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from qoder_cli.nouns.table import Operation, all_operations
from qoder_cli.sandbox.records import AGENT as AGENT
from qoder_cli.sandbox.records import ENVIRONMENT as ENVIRONMENT
from qoder_cli.sandbox.wire import Generation
from qoder_cli.sandbox.world import World
from tests.support.inprocess import WorldTransport
from tests.support.lies import Lies
from tests.support.nursery import ENVIRONMENT as LOCALE
from tests.support.nursery import PATIENCE, Process, nursery

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


class Clock:
    """Time that stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Desk:
    """Someone at a client: a world on a clock of its own, and a wire into it."""

    def __init__(self, generation: Generation, *orders: str, **settings: Any) -> None:
        self.generation = generation
        self.clock = Clock()
        self.world = World(clock=self.clock, generation=generation, seed=1, token=TOKEN, **settings)
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


class Texts:
    """A process of the nursery, with as much of a Popen of texts as tests of the sandbox use."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.pid, self.poll, self.wait = process.pid, process.poll, process.wait
        self.send_signal, self.kill = process.send_signal, process.kill
        self.stdout, self.stderr = map(_as_text, (process.stdout, process.stderr))

    @property
    def returncode(self) -> int | Any:  # as a Popen has it: None while it runs
        return self.poll()

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Return what is left to be read, once nothing writes there any more, and it has ended."""
        with ThreadPoolExecutor(2) as pool:
            out, err = pool.map(lambda stream: stream.read() if stream else "", (self.stdout, self.stderr))
        self.wait(timeout)
        return out, err


def _as_text(stream: IO[bytes] | None) -> IO[str] | None:
    if stream is None:
        return None
    return io.TextIOWrapper(stream, encoding="utf-8")


@contextmanager
def started(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, **settings: Any
) -> "Iterator[subprocess.Popen[str] | Texts]":
    """Run a process in a session of its own, of which nothing is left when the block ends."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | settings
    process: subprocess.Popen[str] | Texts
    if command[:3] == SANDBOX[:3] and sys.platform != "win32":
        whole = {**(os.environ if env is None else env), **LOCALE}
        forked = nursery().start([*command[3:]], env=whole, cwd=Path.cwd(), leads=True, **settings)
        process = Texts(forked)
    else:
        process = subprocess.Popen(command, env=env, text=True, start_new_session=True, **settings)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill() if sys.platform == "win32" else os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


SANDBOX = [sys.executable, "-m", "qoder_cli", "sandbox"]


def sandbox(*words: str) -> list[str]:
    return [*SANDBOX, *words]
