"""The world over real sockets, on loopback."""

import asyncio
import math
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

import uvicorn
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from qoder_cli.sandbox.api import refused
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import BASE_PATH, Broken, Refusal, Request, WireResponse
from qoder_cli.sandbox.world import World
from qoder_cli.settings.values import is_loopback

HOST = "127.0.0.1"


class _Protocol(H11Protocol):
    """Gives each request its connection, so that a fault can break it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small writes at once
        self.app_state = {**self.app_state, "connection": transport}


async def _app(world: World, faults: Faults, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request; refuse a web page whose own name leads here (DNS rebinding)."""
    http = HttpRequest(scope, receive)
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    try:
        request = Request(http.method, path, query, dict(http.headers), await http.body())
    except ClientDisconnect:
        return
    if is_loopback(request.headers.get("host", "").lower()):
        answer = faults.answer(world, request)
    else:
        refusal = Refusal(403, "The sandbox answers only to a name of this machine.")
        answer = refused(world, request, refusal)
    connection: asyncio.Transport = http.scope["state"]["connection"]
    headers = dict(answer.headers)
    if answer.delivery == "drop":
        connection.abort()
    if answer.delivery in ("drop", "hang"):
        await _until_gone(http)
        return
    if answer.stream is None:
        headers["content-length"] = str(len(answer.body))
    response = Response(answer.body, answer.status, headers)
    if answer.stream is not None or answer.delivery != "whole":
        response = StreamingResponse(_flow(answer, http, connection), answer.status, headers)
    await response(scope, receive, send)


async def _flow(answer: WireResponse, http: HttpRequest, connection: asyncio.Transport) -> AsyncIterator[bytes]:
    """Yield a body piece by piece."""
    longest = math.inf if answer.stream is None else 0.02  # then it looks for the unforeseen
    try:
        for step in answer.steps():
            if isinstance(step, bytes):
                yield step
            else:
                await asyncio.sleep(min(step, longest))
    except Broken:
        connection.close()
        await _until_gone(http)


async def _until_gone(http: HttpRequest) -> None:
    """Wait until either side closes the connection."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


class Server:
    """A listening sandbox that answers from `start()` until `stop()` or the end of `with`. Clients use `base_url`."""

    def __init__(self, world: World, *, faults: Faults | None = None, port: int = 0) -> None:
        """Take connections. Raises OSError for the port."""
        self._listener = socket.create_server((HOST, port), backlog=512)
        world.seed_session()
        self.world = world
        self.faults = faults or Faults()
        self.port: int = self._listener.getsockname()[1]
        self.origin = f"http://{HOST}:{self.port}"
        self.base_url = self.origin + BASE_PATH
        self._loop = asyncio.new_event_loop()
        self._is_over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> "Server":
        """Answer from now on, and return itself. The socket listens already: nobody need wait for the thread."""
        self._thread.start()
        return self

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        """Serve like `uvicorn.Server`, which checks only ten times a second whether to stop."""
        config = uvicorn.Config(
            partial(_app, self.world, self.faults),
            interface="asgi3",
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,  # longer than a waiting client pauses
        )
        config.load()
        state = ServerState()
        listening = await self._loop.create_server(partial(_Protocol, config, state, {}), sock=self._listener)
        await self._is_over.wait()
        with suppress(NotImplementedError):  # on Windows the loop has no readers to remove
            self._loop.remove_reader(self._listener)
        for _ in range(4):  # turns of the loop: the newest connection is known after two, gone after three
            for connection in list(state.connections):
                assert isinstance(connection, _Protocol)
                connection.transport.abort()
            await asyncio.sleep(0)
        listening.close()  # only now: until it is known a connection needs it

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop serving, if it has started; cut off whoever still hangs."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._is_over.set)
            self._thread.join(timeout=5)
        elif self._thread.ident is None:
            self._loop.close()
        self._listener.close()
