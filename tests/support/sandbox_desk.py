"""What tests share of: The rehearsal server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import Generation
from qoder_cli.sandbox.world import World
from tests.support.inprocess import WorldTransport

TOKEN = "pt-sandbox"


AUTH = {"Authorization": f"Bearer {TOKEN}"}


START = 1_781_427_246.271902  # 2026-06-14T08:54:06Z


BODY = {
    "name": "report",
    "agent": "agent_019eb4d4a06d747c865d5800b9c57ae2",
    "environment_id": "env_019e64e01a137caf953ac2ac7b42ec5c",
    "initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Report."}]}],
}


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
        self.faults = Faults(*orders)
        transport = WorldTransport(self.world, faults=self.faults, sleep=self.clock.sleep)
        self.http = httpx.Client(transport=transport, base_url="http://sandbox/api/v1/cloud", headers=AUTH, timeout=30)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        return self.http.post(path, json={} if body is None else body, headers=headers)

    def run(self, deployment: str = "dep_demo") -> Any:
        answer = self.post(f"/deployments/{deployment}/run")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def events(self, run: Any, **query: Any) -> list[Any]:
        data: list[Any] = self.get(f"/sessions/{run['session_id']}/events", limit=100, **query)["data"]
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

    def status(self, path: str) -> int:
        with self.http.stream("GET", path) as answer:
            return answer.status_code

    def refused(self, method: str, path: str, **more: Any) -> tuple[int, str, str | None]:
        answer = self.http.request(method, path, **more)
        error = answer.json()["error"]
        return answer.status_code, error["type"], error.get("param")


@contextmanager
def started(command: list[str], **settings: Any) -> Iterator["subprocess.Popen[str]"]:
    """Run a process in a session of its own, of which nothing is left when the block ends."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | settings
    with subprocess.Popen(command, text=True, start_new_session=True, **settings) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill() if sys.platform == "win32" else os.killpg(process.pid, signal.SIGKILL)


def sandbox(*words: str) -> list[str]:
    return [sys.executable, "-m", "qoder_cli", "sandbox", *words]
