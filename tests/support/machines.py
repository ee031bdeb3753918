"""Several machines with one service and one shared store of keys; and a PostgreSQL server of the test's own."""

import io
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from email.utils import formatdate
from pathlib import Path

import httpx

from qoder_cli.app import App
from qoder_cli.keys.opening import opened
from qoder_cli.keys.record import KeyStore
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import Lie, WithoutStreams
from tests.support.lies import Lies
from tests.support.wire import FakeClock

MEMORY_STORE = "memstore_keys"
STORES = ("memory store", "PostgreSQL")
_AS = "nobody"  # PostgreSQL refuses to be root's


def lacks_postgres() -> str | None:
    """Return what is missing to start a PostgreSQL server, or None."""
    for program in ("initdb", "pg_ctl", "postgres"):
        if shutil.which(program) is None:
            return program
    return None


class PostgresServer:
    """A server in a folder of its own."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="qoder-postgres-", dir="/tmp"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._data, self._user = str(self._folder / "data"), None
        if os.getuid() == 0:  # the server refuses to run as root
            shutil.chown(self._folder, _AS)
            self._user = _AS
        self._run("initdb", "-D", self._data, "-U", "qoder", "--auth=trust", "-E", "UTF8", "--locale=C")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder} -c fsync=off"
        options += " -c max_connections=200"
        self._control("start", "-w", "-o", options, "-l", str(self._folder / "log"))

    def url(self, port: int | None = None) -> str:
        """Return the URL of its database, there or behind another port."""
        return f"postgresql://qoder@127.0.0.1:{port or self.port}/postgres"

    def execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def restart(self, how: str) -> None:
        """Stop it, `fast` or `immediate` as a crash, and start it again."""
        self._control("restart", "-w", "-m", how, "-l", str(self._folder / "log"))

    def close(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self._control("stop", "-m", "immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _control(self, *words: str) -> None:
        self._run("pg_ctl", "-D", self._data, *words)

    def _run(self, *words: str) -> None:
        quiet = subprocess.DEVNULL
        subprocess.run(words, check=True, stdout=quiet, stderr=quiet, cwd="/", user=self._user)


@contextmanager
def postgres() -> Iterator[str]:
    """Start a server, and yield the URL of its database."""
    with closing(PostgresServer()) as server:
        yield server.url()


class Machines:
    """Machines that share one service, one clock and one store; each has a state folder of its own."""

    def __init__(self, folder: Path, keys: str) -> None:
        self.clock = FakeClock()
        self.world = World(token=TOKEN, clock=lambda: self.clock.time, honour_key=False)
        self.world.keep("memory_stores", at=self.clock.time, id=MEMORY_STORE, name="qoder-keys")
        self.keys = keys
        self.sent: list[str] = []  # each request, as METHOD path
        self.date = ""  # what the service says in place of its time
        self._folder = folder

    def machine(self, name: str, *faults: str, lie: Lie = lambda request, answer: answer()) -> Qoder:
        """Return a machine, the network of which has these faults, and may `lie` as a WorldTransport does."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        runner = Qoder(folder / "config.toml")
        runner.clock = self.clock
        runner.env["QODER_KEYS"] = self.keys

        def note(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
            self.sent.append(f"{request.method} {request.url.path.removeprefix('/api/v1/cloud')}")
            response = lie(request, answer)
            response.headers["date"] = self.date or formatdate(self.clock.time, usegmt=True)
            return response

        runner.transport = WithoutStreams(self.world, faults=Lies(*faults), sleep=self.clock.sleep, lie=note)
        return runner

    def app(self, name: str) -> App:
        """Return a command on a machine, from within."""
        runner, screen = self.machine(name), Screen(io.BytesIO())
        return App(env=runner.env, out=screen, err=screen, clock=self.clock, transport=runner.transport)

    def store(self) -> KeyStore:
        """Return the store as a program of somebody else opens it."""
        return opened(self.app("other"), self.keys)

    @property
    def triggers(self) -> int:
        """How many times a run was asked for."""
        return sum(each.startswith("POST /deployments/") and each.endswith("/run") for each in self.sent)

    @property
    def runs(self) -> list[str]:
        """The runs that were started."""
        return [run.id for run in self.world.started()]
