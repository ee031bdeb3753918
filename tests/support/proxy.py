"""A TCP proxy that breaks the connection at a chosen byte of the trigger: `python -m tests.support.proxy [STEP]`.

Between the real client, over real sockets, and the sandbox as a real server that does not honour keys. Four ways to
break it, in either direction, at every STEP-th byte of what goes there: both ends are closed; the client's end is
reset; one direction is shut down while the other stays; nothing goes that way any more. The same command is then typed
again under the same key. What must never be: two runs, or one that is neither named nor called unknown.
"""

import io
import json
import os
import socket
import struct
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from qoder_cli.app import App
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.server import Server, serve
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.support.hasty import HastyClock

How = Literal["cut", "reset", "half-close", "stall"]
Way = Literal["out", "in"]  # from the client to the server, and back
HOWS: tuple[How, ...] = ("cut", "reset", "half-close", "stall")
WAYS: tuple[Way, ...] = ("out", "in")
SPEED = 200.0  # how many times faster than the clock on the wall the program's and the server's go
PATIENCE = ("0.25s", "5s")  # of the two commands, for an answer, in real time; only the first is stalled
LONGEST = {"out": 600, "in": 1000}  # bytes of a trigger and of its answer, at most


class Fault(NamedTuple):
    """What happens after so many bytes of the first trigger went one way."""

    how: How
    way: Way
    after: int


class Proxy:
    """Forwards connections to a server on this machine, and breaks the one of the first trigger."""

    def __init__(self, server: str) -> None:
        self._server = (urlsplit(server).hostname, urlsplit(server).port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.fault: Fault | None = None
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
        self._fault: Fault | None = None
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
        if way not in self._left:
            if self._fault:
                self._proxy.carried[way] += len(data)
            target.sendall(data)
            return True
        part = data[: self._left[way]]
        self._left[way] -= len(part)
        self._proxy.carried[way] += len(part)
        if part:
            target.sendall(part)
        if self._left[way] > 0:
            return True
        self._break(target)
        return False

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


@dataclass
class Outcome:
    """What became of a case: runs that were started, what each command named, and how each ended."""

    fault: Fault
    generation: Generation
    started: list[str]
    named: list[str | None]
    codes: list[int]
    errors: str

    @property
    def twice(self) -> bool:
        """Whether two commands under one key started more than one run."""
        return len(self.started) > 1

    @property
    def lost(self) -> bool:
        """Whether a run was started and a command neither named it nor called it unknown."""
        ended = zip(self.codes, self.named, strict=True)
        return bool(self.started) and any(
            code not in (9, 10, 11, 124) and run not in self.started for code, run in ended
        )


class Bench:
    """A sandbox of one generation behind the proxy, with a deployment for each case."""

    def __init__(self, generation: Generation, cases: int) -> None:
        self.generation = generation
        self.clock = HastyClock(SPEED)
        self.world = World(clock=self.clock.now, generation=generation, honour_key=False)
        self._deployments = iter(self.world.seed_deployments(cases))
        self._server: Server = serve(self.world)
        self.proxy = Proxy(self._server.base_url)

    def close(self) -> None:
        self.proxy.close()
        threading.Thread(target=self._server.stop, daemon=True).start()

    def play(self, fault: Fault) -> Outcome:
        deployment = next(self._deployments).id
        self.proxy.fault, self.proxy.carried = fault, Counter()
        named: list[str | None] = []
        codes, errors = [], ""
        with tempfile.TemporaryDirectory() as folder:
            for patience in PATIENCE:
                out, err = io.BytesIO(), io.BytesIO()
                env = {
                    "QODER_PAT": self.world.token,
                    "QODER_BASE_URL": self.proxy.url,
                    "QODER_CONFIG": str(Path(folder) / "config.toml"),
                    "QODER_STATE_DIR": folder,
                }
                app = App(env=env, out=Screen(out), err=Screen(err), clock=self.clock)
                words = ["deploy", "run", deployment, "--json", "--idempotency-key", "k", "--request-timeout", patience]
                codes.append(main(words, app))
                named.append(json.loads(out.getvalue())["id"] if out.getvalue() else None)
                errors += err.getvalue().decode()
                self.proxy.forget()
        with self.world.lock:
            started = [run.id for run in self.world.started() if run.deployment.id == deployment]
        return Outcome(fault, self.generation, started, named, codes, errors)


@contextmanager
def bench(generation: Generation, cases: int = 4000) -> Iterator[Bench]:
    """Give a bench, and end it."""
    made = Bench(generation, cases)
    try:
        yield made
    finally:
        made.close()


def faults(step: int) -> Iterator[Fault]:
    """Yield every fault at every STEP-th byte; how long a trigger is shows when it is forwarded."""
    for way in WAYS:
        for how in HOWS:
            for after in range(0, LONGEST[way], step):
                yield Fault(how, way, after)


def play_all(step: int) -> Iterator[Outcome]:
    """Play every fault on both generations, as far as a trigger and its answer have so many bytes."""
    for generation in GENERATIONS:
        with bench(generation) as on:
            ends: dict[tuple[How, Way], bool] = {}
            for fault in faults(step):
                if ends.get((fault.how, fault.way)):
                    continue
                outcome = on.play(fault)
                ends[fault.how, fault.way] = on.proxy.carried[fault.way] < fault.after
                yield outcome


def table(outcomes: list[Outcome]) -> str:
    """Return a line for each way to break it, its exit codes, and the two zeros."""
    lines = [f"{'generation':<11} {'fault':<16} {'cases':>5} {'first exit code':<24} {'second':<24} twice lost"]
    for generation in GENERATIONS:
        for way in WAYS:
            for how in HOWS:
                found = [o for o in outcomes if (o.generation, *o.fault[:2]) == (generation, how, way)]
                first, second = (_counted(o.codes[n] for o in found) for n in (0, 1))
                twice, lost = sum(o.twice for o in found), sum(o.lost for o in found)
                name = f"{how}, {way}"
                lines.append(
                    f"{generation:<11} {name:<16} {len(found):>5} {first:<24} {second:<24} {twice:>5} {lost:>4}"
                )
    wrong = [outcome for outcome in outcomes if outcome.twice or outcome.lost]
    lines += [f"  {o.generation} {o.fault}: started {o.started}, named {o.named}, codes {o.codes}" for o in wrong[:20]]
    return "\n".join(
        [*lines, f"{len(outcomes)} cases: twice {sum(o.twice for o in outcomes)}, lost {sum(o.lost for o in outcomes)}"]
    )


def _counted(codes: Iterator[int]) -> str:
    return " ".join(f"{code}x{count}" for code, count in sorted(Counter(map(int, codes)).items()))


if __name__ == "__main__":
    print(table(list(play_all(int(sys.argv[1]) if sys.argv[1:] else 8))), flush=True)
    os._exit(0)  # what is stalled is not waited for
