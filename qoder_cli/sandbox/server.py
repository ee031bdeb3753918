"""The world over real sockets, on loopback: starlette reads and writes, uvicorn keeps the connections."""

import asyncio
import socket
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from qoder_cli.sandbox.api import error_answer
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.grammar import check_real
from qoder_cli.sandbox.wire import BASE_PATH, Answer, Request, Stream
from qoder_cli.sandbox.world import World
from qoder_cli.settings.values import is_loopback

HOST = "127.0.0.1"
_SHORTEST_PAUSE = 0.005  # seconds between two drops of a slow answer
_LONGEST_PAUSE = 0.02  # seconds after which a stream looks whether something unforeseen has happened


class _Protocol(H11Protocol):
    """Hands each request the connection it came over, so that a fault can break it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self.app_state = {**self.app_state, "connection": transport}


class _App:
    """The ASGI application: everything it knows is in the world."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = HttpRequest(scope, receive)
        try:
            request = await _as_request(http)
        except ClientDisconnect:
            return
        await _deliver(self._answer(request), http, send)

    def _answer(self, request: Request) -> Answer:
        """Return the world's answer; a page of the web that had its own name lead here gets none (DNS rebinding)."""
        if is_loopback(request.headers.get("host", "")):
            return self._faults.answer(self._world, request)
        return error_answer(self._world, request, 403, "The sandbox answers only to a name of this machine.")


async def _as_request(http: HttpRequest) -> Request:
    path: bytes = http.scope["raw_path"]
    query: bytes = http.scope["query_string"]
    return Request(http.method, path.decode("latin-1"), query.decode("latin-1"), dict(http.headers), await http.body())


async def _deliver(answer: Answer, http: HttpRequest, send: Send) -> None:
    connection: asyncio.Transport = http.scope["state"]["connection"]
    if answer.stream is not None:
        await _stream(answer, answer.stream, http, send)
    elif answer.delivery == "whole":
        await Response(answer.body, answer.status, dict(answer.headers))(http.scope, http.receive, send)
    elif answer.delivery == "slow":
        await _drip(answer, http, send)
    elif answer.delivery == "cut":
        await _send_half(answer, send)
        connection.close()
        await _until_gone(http)
    elif answer.delivery == "hang":
        await _until_gone(http)
    else:
        connection.abort()
        await _until_gone(http)


async def _until_gone(http: HttpRequest) -> None:
    """Wait until the connection is closed, by whichever side."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def _send_half(answer: Answer, send: Send) -> None:
    headers = {**answer.headers, "content-length": str(len(answer.body))}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    half = answer.body[: len(answer.body) // 2]
    await send({"type": "http.response.body", "body": half, "more_body": True})


async def _drip(answer: Answer, http: HttpRequest, send: Send) -> None:
    """Send the body byte by byte; in larger drops where bytes would have to come faster than timers tick."""
    size = max(1, round(_SHORTEST_PAUSE * len(answer.body) / answer.seconds)) if answer.seconds else len(answer.body)
    drops = [answer.body[n : n + size] for n in range(0, len(answer.body), size or 1)]

    async def trickle() -> Any:
        for drop in drops:
            await asyncio.sleep(answer.seconds / len(drops))
            yield drop

    headers = {**answer.headers, "content-length": str(len(answer.body))}
    await StreamingResponse(trickle(), answer.status, headers)(http.scope, http.receive, send)


async def _stream(answer: Answer, stream: Stream, http: HttpRequest, send: Send) -> None:
    """Send a stream as its events come to be; a cut one breaks off in its first frame."""

    async def flow() -> AsyncIterator[bytes]:
        for step in stream.steps():
            if isinstance(step, float):
                await asyncio.sleep(min(step, _LONGEST_PAUSE))
            elif answer.delivery == "cut":
                yield step[: len(step) // 2]
                http.scope["state"]["connection"].close()
                await _until_gone(http)
            else:
                yield step

    await StreamingResponse(flow(), answer.status, dict(answer.headers))(http.scope, http.receive, send)


class Server:
    """A sandbox that listens. A client needs `base_url`; a test looks into `world` and adds to `faults`."""

    def __init__(self, world: World, faults: Faults, listener: socket.socket) -> None:
        self.world = world
        self.faults = faults
        self.port: int = listener.getsockname()[1]
        self.origin = f"http://{HOST}:{self.port}"
        self.base_url = self.origin + BASE_PATH
        self._listener = listener
        self._uvicorn = uvicorn.Server(_settings(_App(world, faults)))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def start(self) -> None:
        """Serve in a thread. The socket is listening already, so that nobody has to wait for the thread."""
        self._thread.start()

    async def _serve(self) -> None:
        await self._uvicorn.serve(sockets=[self._listener])
        for connection in list(self._uvicorn.server_state.connections):  # those whose answer was cut off
            connection.transport.abort()
        await asyncio.sleep(0)  # what is aborted is closed on the next turn of the loop

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop serving; whoever still hangs is cut off."""
        self._uvicorn.should_exit = True
        self._thread.join(timeout=5)
        self._listener.close()


def _settings(app: _App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,  # longer than a waiting client pauses: it never meets a closing connection
        timeout_graceful_shutdown=0,
    )


def listen(port: int = 0) -> socket.socket:
    """Return a socket that listens on loopback, on any free port for 0. Raises OSError when it is taken."""
    # The protocol has to be named: asyncio sends small writes at once (TCP_NODELAY) only where it is.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # there it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(512)
    except BaseException:
        listener.close()
        raise
    return listener


def serve(world: World, *, faults: Faults | None = None, port: int = 0) -> Server:
    """Serve a world from a thread, until the server's `stop()` or the end of its `with` block.

    Raises OSError when the port is taken, UsageError for a fault that only works in process.
    """
    faults = faults or Faults()
    check_real(faults.on_order)
    server = Server(world, faults, listen(port))
    server.start()
    return server
