"""Breaks the connection of a trigger at its every n-th byte.

A TCP proxy stands between the real client, over real sockets, and the sandbox as a real server that does not honour
keys. There are four ways to break it, in either direction: both ends are closed; the client's end is reset; one
direction is shut down while the other stays; nothing goes that way any more. The same command is then typed again under
the same key.
"""

import os
import socket
import struct
import threading
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from qoder_cli.sandbox.server import serve
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.support.hasty import HastyClock
from tests.tools.playing import Played
from tests.tools.typed import TOKEN, typed

PROMISES = ("twice", "lost")  # two runs under one key; one that is neither named nor called unknown
EVERY = 8  # bytes
HOWS = ("cut", "reset", "half-close", "stall")
Way = Literal["out", "in"]  # from the client to the server, and back
WAYS: tuple[Way, ...] = ("out", "in")
SPEED = 200.0  # how many times faster than the clock on the wall the program's and the server's go
PATIENCE = ("0.25s", "5s")  # of the two commands, for an answer, in real time; only the first is stalled


class Cell(NamedTuple):
    """What happens after so many bytes of the first trigger went one way."""

    generation: Generation
    how: str
    way: Way
    after: int

    def __str__(self) -> str:
        return f"{self.how} after {self.after} bytes {self.way}, {self.generation}"


def cells(options: Namespace) -> Iterator[Cell]:
    """Yield every fault at every n-th byte; a sample is drawn from all of them."""
    for generation in GENERATIONS:
        with bench(generation) as on, TemporaryDirectory() as folder:
            whole = Cell(generation, "cut", "out", 1 << 30)
            on.play(whole, Path(folder))
            lengths = on.proxy.carried
        for way, how in product(WAYS, HOWS):
            for after in range(0, lengths[way] + EVERY, 1 if options.sample else EVERY):
                yield Cell(generation, how, way, after)


class Proxy:
    """Forwards connections to a server on this machine, and breaks the one of the first trigger."""

    def __init__(self, server: str) -> None:
        self._server = (urlsplit(server).hostname, urlsplit(server).port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.fault: Cell | None = None
        self.carried = Counter[Way]()  # bytes of the first trigger that were forwarded
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/api/v1/cloud"

    def close(self) -> None:
        self.forget()
        self._listener.close()

    def forget(self) -> None:
        """Close what still stands from earlier cases."""
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open += [client, server]
                link = _Link(self, client, server)
                for way in WAYS:
                    threading.Thread(target=link.forward, args=[way], daemon=True).start()


class _Link:
    """One connection: two sockets, and the fault if it carries the first trigger."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._fault: Cell | None = None
        self._left: dict[Way, int] = {}

    def forward(self, way: Way) -> None:
        source, target = (self._client, self._server) if way == "out" else (self._server, self._client)
        with suppress(OSError):
            while data := source.recv(65536):
                if way == "out" and self._proxy.fault and data.startswith(b"POST ") and b"/run HTTP" in data[:300]:
                    self._fault, self._proxy.fault = self._proxy.fault, None
                    self._left[self._fault.way] = self._fault.after
                if not self._carry(way, data, target):
                    return
            target.shutdown(socket.SHUT_WR)

    def _carry(self, way: Way, data: bytes, target: socket.socket) -> bool:
        """Forward data, as far as the fault lets it; return whether more may follow."""
        part = data[: self._left.get(way)]
        if self._fault:
            self._proxy.carried[way] += len(part)
        if part:
            target.sendall(part)
        if way in self._left:
            self._left[way] -= len(part)
            if self._left[way] == 0:
                self._break(target)
                return False
        return True

    def _break(self, target: socket.socket) -> None:
        assert self._fault
        match self._fault.how:
            case "cut":
                for each in (self._client, self._server):
                    each.shutdown(socket.SHUT_RDWR)
            case "reset":
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._client.shutdown(socket.SHUT_RD)  # wakes who reads from it, so that closing it resets it
                self._client.close()
                self._server.shutdown(socket.SHUT_RDWR)
            case "half-close":
                target.shutdown(socket.SHUT_WR)


class Bench:
    """A sandbox of one generation behind the proxy."""

    def __init__(self, generation: Generation) -> None:
        self.clock = HastyClock(SPEED)
        self.world = World(clock=self.clock.now, generation=generation, honour_key=False, token=TOKEN)
        self._server = serve(self.world)
        self.proxy = Proxy(self._server.base_url)

    def close(self) -> None:
        self.proxy.close()
        threading.Thread(target=self._server.stop, daemon=True).start()

    def play(self, cell: Cell, folder: Path) -> Played:
        with self.world.lock:
            deployment = self.world.add_deployment(name=self.world.new_id("name")).id
        self.proxy.fault, self.proxy.carried = cell, Counter()
        words = ("deploy", "run", deployment, "--json", "--idempotency-key", "k", "--request-timeout")
        said = []
        for patience in PATIENCE:
            said.append(typed(None, self.clock, folder, *words, patience, QODER_BASE_URL=self.proxy.url))
            self.proxy.forget()
        with self.world.lock:
            started = [run.id for run in self.world.started() if run.deployment.id == deployment]
        named = [one.document.get("id") for one in said]
        ended = [(one.code, run) for one, run in zip(said, named, strict=True)]
        is_lost = any(code not in (9, 10, 11, 124) and run not in started for code, run in ended)
        return Played([one.code for one in said]).breaks(
            f"{ended}, started {started}", twice=len(started) > 1, lost=started and is_lost
        )


@contextmanager
def bench(generation: Generation) -> Iterator[Bench]:
    """Give a bench, and end it."""
    made = Bench(generation)
    try:
        yield made
    finally:
        made.close()


@cache
def _bench(generation: Generation, pid: int) -> Bench:
    return Bench(generation)


def play(cell: Cell, folder: Path) -> Played:
    return _bench(cell.generation, os.getpid()).play(cell, folder)
