"""Runs one program for `compare`: `python compare_worker.py`, with the program's package on the path.

It imports nothing of the tests. What it needs of the program is in `_run`: `main`, `App`, `Screen` and `Clock`. Time
passes only when someone sleeps, threads run where they are started, and chance begins anew with each line, so that the
same program does the same twice.
"""

import io
import os
import pickle
import queue
import random
import struct
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx

import qoder_cli
from qoder_cli.app import App
from qoder_cli.base import pool
from qoder_cli.base.times import Clock
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen

_asked, _answers = os.dup(0), os.dup(1)
_chance = random.Random()


def tell(fd: int, told: Any) -> None:
    """Send something to the other side."""
    data = pickle.dumps(told)
    data = struct.pack("!I", len(data)) + data
    while data:
        data = data[os.write(fd, data) :]


def hear(fd: int) -> Any:
    """Return what the other side sent. Raises EOFError where it has gone."""
    return pickle.loads(_read(fd, struct.unpack("!I", _read(fd, 4))[0]))


def _read(fd: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        if not (part := os.read(fd, length - len(data))):
            raise EOFError
        data += part
    return data


class _Clock(Clock):
    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += max(seconds, 0.0)

    def receive(self, inbox: "queue.SimpleQueue[Any]", seconds: float) -> Any:
        try:
            return inbox.get_nowait()
        except queue.Empty:
            self.sleep(max(seconds, 0.001))
            return None

    def jitter(self) -> float:
        return 1.0


class _Server(httpx.BaseTransport):
    """The server, which is on the other side."""

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        patience = request.extensions.get("timeout", {}).get("read")
        headers, url = list(request.headers.multi_items()), str(request.url)
        tell(_answers, ("ask", self._clock.time, request.method, url, headers, request.read(), patience))
        self._clock.time, failure, status, told, body = hear(_asked)
        if status == 0:
            raise getattr(httpx, failure[0])(failure[1], request=request)
        return httpx.Response(status, headers=told, stream=_Body(body, failure, request))


class _Body(httpx.SyncByteStream):
    def __init__(self, body: bytes, failure: Any, request: httpx.Request) -> None:
        self._body, self._failure, self._request = body, failure, request

    def __iter__(self) -> Iterator[bytes]:
        yield self._body
        if self._failure:
            raise getattr(httpx, self._failure[0])(self._failure[1], request=self._request)


def _run(
    words: list[str], *, stdin: str, env: dict[str, str], folder: str, now: float, terminal: bool, seed: int
) -> Any:
    """Run one command line; return its exit code, what it said, and the time at its end."""
    os.chdir(folder)
    random.seed(seed)
    _chance.seed(seed)
    out, err, clock = io.BytesIO(), io.BytesIO(), _Clock(now)
    app = App(
        env=env,
        out=Screen(out, is_terminal=terminal, moves=False),
        err=Screen(err, is_terminal=terminal, moves=False),
        stdin=io.StringIO(stdin),
        clock=clock,
        transport=_Server(clock),
    )
    try:
        code = int(main(words, app))
    except BaseException as failure:
        code = -1
        err.write(f"{type(failure).__name__}: {failure}".encode())
    return code, out.getvalue(), err.getvalue(), clock.time


def _begin(thread: threading.Thread) -> None:
    thread.run()


def serve() -> None:
    """Run what is asked for until nothing is."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)  # a stray print is seen, and is no answer
    os.environ |= {"TZ": "UTC", "LC_ALL": "C.UTF-8", "COLUMNS": "100"}
    time.tzset()
    pool.begin = lambda work: work()
    threading.Thread.start = _begin  # type: ignore[assignment, method-assign]
    threading.Thread.join = lambda self, timeout=None: None  # type: ignore[method-assign]
    uuid.uuid4 = lambda: uuid.UUID(int=_chance.getrandbits(128), version=4)
    tell(_answers, {os.path.dirname(qoder_cli.__file__): "PACKAGE", sys.executable: "PYTHON", sys.prefix: "PREFIX"})
    while True:
        try:
            asked = hear(_asked)
        except EOFError:
            return
        tell(_answers, ("done", *_run(**asked)))


if __name__ == "__main__":
    serve()
