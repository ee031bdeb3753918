"""The sandbox in process: a transport for httpx that leads straight into its world, without a socket or real time."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import Broken, Request, WireResponse
from qoder_cli.sandbox.world import FakeRun, World
from tests.support.lies import Lies, RefusedConnection

_FOR_EVER = 600.0  # seconds after which a client without a read timeout is woken all the same
_TURN = 0.005  # real seconds for other threads, before a stream lets the time pass


Lie = Callable[[httpx.Request, Callable[..., httpx.Response]], httpx.Response]


class WorldTransport(httpx.BaseTransport):
    """Responds as the sandbox does, and fails as a network does.

    `sleep` lets the time of the world's clock pass, in seconds. `lie` may answer in the world's place, or change its
    answer, which it gets by calling what it is handed, also with another request; without that call the world hears of
    nothing.
    """

    def __init__(
        self,
        world: World,
        *,
        faults: Faults | None = None,
        sleep: Callable[[float], object] = lambda seconds: None,
        lie: Lie = lambda request, answer: answer(),
    ) -> None:
        self.world = world
        self.faults = faults or Lies()
        self.lie = lie
        self._sleep = sleep

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the world's answer, or a lie. Raises what httpx raises when a connection breaks."""
        return self.lie(request, lambda asked=request: self._answer(asked))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = self.faults.answer(self.world, as_request(request))
        except RefusedConnection:
            raise httpx.ConnectError("[Errno 111] Connection refused", request=request) from None
        if answer.delivery == "drop":
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        if answer.delivery == "hang":
            self._sleep(_patience(request))
            raise httpx.ReadTimeout("The read operation timed out", request=request)
        headers = dict(answer.headers)
        if answer.stream is None:
            headers["content-length"] = str(len(answer.body))
        return httpx.Response(answer.status, headers=headers, stream=_Body(answer, request, self._sleep))


def as_request(request: httpx.Request) -> Request:
    """Return httpx's request as the world sees it."""
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    return Request(request.method, path, query, dict(request.headers.items()), request.read())


def _patience(request: httpx.Request) -> float:
    """Return the seconds that the client waits for a byte."""
    timeout = request.extensions.get("timeout", {}).get("read")
    return _FOR_EVER if timeout is None else float(timeout)


class _Body(httpx.SyncByteStream):
    """A body as it comes in: to wait for more of it is to let the time pass."""

    def __init__(self, answer: WireResponse, request: httpx.Request, sleep: Callable[[float], object]) -> None:
        self._answer = answer
        self._request = request
        self._sleep = sleep

    def __iter__(self) -> Iterator[bytes]:
        patience = left = _patience(self._request)
        try:
            for step in self._answer.steps():
                if isinstance(step, bytes):
                    left = patience
                    yield step
                    continue
                if self._answer.stream is not None:
                    time.sleep(_TURN)
                self._sleep(min(step, left))
                left -= step
                if left < 0:
                    raise httpx.ReadTimeout("The read operation timed out", request=self._request)
        except Broken:
            message = "peer closed connection without sending complete message body (incomplete read)"
            raise httpx.RemoteProtocolError(message, request=self._request) from None


class WithoutStreams(WorldTransport):
    """A world without event streams: two threads on one clock that nobody waits for would race."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events/stream"):
            return httpx.Response(501, json={})
        return super().handle_request(request)


def with_known(world: World) -> World:
    """Add the agent, the environment, the vaults and the file that tests of deployments name, and return the world."""
    at = world.now() - 86400
    at_version(world, "agent_1", 1)
    world.keep("environments", at=at, id="env_1", name="env-1", config={"type": "cloud"})
    for n in (1, 2):
        world.keep("vaults", at=at, id=f"vault_{n}", display_name=f"vault-{n}")
    world.keep("files", at=at, id="file_1", filename="one.md")
    return world


def at_version(world: World, id: str, version: int) -> None:
    """Let an agent have so many versions."""
    at = world.now() - 86400
    agent: dict[str, Any] = {"id": id, "name": id, "model": {"id": "auto"}}
    for number in range(1, version + 1):
        world.keep("agents.versions", id, at=at, **agent, version=number)
    world.keep("agents", at=at, **agent, version=version)


def seed_runs(world: World, count: int, *, deployment_id: str = "dep_demo", every: float = 60.0) -> list[FakeRun]:
    """Add manual runs of the past, `every` seconds apart, and return them oldest first."""
    last = world.now() - 3600
    with world.lock:
        times = [last - every * n for n in reversed(range(count))]
        return [world.start(deployment_id, origin="seed", at=at) for at in times]
