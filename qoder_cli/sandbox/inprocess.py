"""A transport for httpx that leads straight into the world: no socket, no real time."""

import time
from collections.abc import Callable, Iterator

import httpx

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import Answer, Request
from qoder_cli.sandbox.world import World

_FOR_EVER = 600.0  # seconds after which a client without a read timeout is woken all the same
_TURN = 0.005  # real seconds that other threads get, before a stream that nobody waits for lets the time pass


class WorldTransport(httpx.BaseTransport):
    """Answers as the sandbox would, and fails as a network does.

    `sleep` is called with the seconds that a hanging or slow answer takes: pass that of the world's clock.
    """

    def __init__(
        self,
        world: World,
        *,
        faults: Faults | None = None,
        sleep: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        self.world = world
        self.faults = faults or Faults()
        self._sleep = sleep

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the world's answer. Raises what httpx raises when a connection breaks."""
        answer = self.faults.answer(self.world, as_request(request))
        if answer.delivery == "refuse":
            raise httpx.ConnectError("[Errno 111] Connection refused", request=request)
        if answer.delivery == "drop":
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        if answer.delivery == "hang":
            self._sleep(_patience(request))
            raise httpx.ReadTimeout("The read operation timed out", request=request)
        if answer.stream is not None:
            return httpx.Response(answer.status, headers=answer.headers, stream=_Stream(answer, request, self._sleep))
        headers = {**answer.headers, "content-length": str(len(answer.body))}
        return httpx.Response(answer.status, headers=headers, stream=_Body(answer, request, self._sleep))


def as_request(request: httpx.Request) -> Request:
    """Return httpx's request as the world sees it."""
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    return Request(request.method, path, query, dict(request.headers), request.read())


def _patience(request: httpx.Request) -> float:
    """Return the seconds that the client waits for a byte."""
    timeout = request.extensions.get("timeout", {}).get("read")
    return _FOR_EVER if timeout is None else float(timeout)


class _Body(httpx.SyncByteStream):
    """A body as it trickles in."""

    def __init__(self, answer: Answer, request: httpx.Request, sleep: Callable[[float], object]) -> None:
        self._answer = answer
        self._request = request
        self._sleep = sleep

    def __iter__(self) -> Iterator[bytes]:
        body = self._answer.body
        if self._answer.delivery == "slow":
            yield from self._drops(body, self._answer.seconds / max(len(body), 1))
        elif self._answer.delivery == "cut":
            yield body[: len(body) // 2]
            raise _broken_off(self._request)
        else:
            yield body

    def _drops(self, body: bytes, pause: float) -> Iterator[bytes]:
        patience = _patience(self._request)
        for n in range(len(body)):
            self._sleep(min(pause, patience))
            if pause > patience:
                raise httpx.ReadTimeout("The read operation timed out", request=self._request)
            yield body[n : n + 1]


class _Stream(httpx.SyncByteStream):
    """An event stream as it comes in: waiting for the next event is letting the time pass."""

    def __init__(self, answer: Answer, request: httpx.Request, sleep: Callable[[float], object]) -> None:
        assert answer.stream is not None
        self._steps = answer.stream.steps()
        self._breaks = answer.delivery == "cut"
        self._request = request
        self._sleep = sleep

    def __iter__(self) -> Iterator[bytes]:
        patience = left = _patience(self._request)
        for step in self._steps:
            if isinstance(step, float):
                time.sleep(_TURN)
                self._sleep(min(step, left))
                left -= step
                if left < 0:
                    raise httpx.ReadTimeout("The read operation timed out", request=self._request)
            elif self._breaks:
                yield step[: len(step) // 2]
                raise _broken_off(self._request)
            else:
                left = patience
                yield step


def _broken_off(request: httpx.Request) -> httpx.RemoteProtocolError:
    message = "peer closed connection without sending complete message body (incomplete read)"
    return httpx.RemoteProtocolError(message, request=request)
