"""`qoder sandbox` over real sockets, and as a process: what runs inside, its signals, and its exit codes."""

import json
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder
from tests.sandbox.desk import AUTH, TOKEN, needs_signals
from tests.support.nursery import PATIENCE
from tests.support.processes import Shell, Terminal, until

TRIGGER = "/deployments/dep_demo/run"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(World(speed=10, token=TOKEN)).start() as server:
        yield server


@pytest.fixture
def wire(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, headers=AUTH, timeout=PATIENCE, trust_env=False) as client:
        yield client


def stream_of(wire: httpx.Client, deployment: str) -> str:
    """Start a run, and return the path of its session's stream."""
    return f"/sessions/{wire.post(f'/deployments/{deployment}/run').json()['session_id']}/events/stream"


def patience(met: type[Exception]) -> httpx.Timeout:
    """Wait for little only where that is what is met."""
    return httpx.Timeout(PATIENCE, read=0.3 if met is httpx.ReadTimeout else PATIENCE)


@pytest.mark.parametrize(
    ("what", "acts", "met"),
    [
        ("drop-before", 0, httpx.RemoteProtocolError),
        ("drop-after", 1, httpx.RemoteProtocolError),
        ("hang-before", 0, httpx.ReadTimeout),
        ("hang-after", 1, httpx.ReadTimeout),
        ("truncated", 1, httpx.RemoteProtocolError),
    ],
)
def test_sandbox_really_breaks_connections(
    server: Server, wire: httpx.Client, what: str, acts: int, met: type[Exception]
) -> None:
    server.faults.add(f"trigger:{what}")
    with pytest.raises(met):
        wire.post(TRIGGER, timeout=patience(met))
    assert wire.get("/deployments/dep_demo").status_code == 200
    assert len(server.world.started()) == acts


@pytest.mark.parametrize(("what", "met"), [("silent", httpx.ReadTimeout), ("truncated", httpx.RemoteProtocolError)])
def test_sandbox_really_breaks_streams(server: Server, wire: httpx.Client, what: str, met: type[Exception]) -> None:
    server.faults.add(f"stream:{what}")
    with pytest.raises(met), wire.stream("GET", stream_of(wire, "dep_demo"), timeout=patience(met)) as answer:
        answer.read()


def test_sandbox_streams_live_with_heartbeats_until_the_end(server: Server, wire: httpx.Client) -> None:
    path = stream_of(wire, "dep_terminated")
    events = path.removesuffix("/stream")
    until(lambda: wire.get(events).json()["first_id"], "its turn")
    first = wire.get(events).json()["first_id"]
    with wire.stream("GET", path, headers={"Last-Event-ID": first}) as answer:
        lines = list(answer.iter_lines())
    told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert told == wire.get(events).json()["data"][1:]
    server.world.heartbeat = 0.1
    with wire.stream("GET", stream_of(wire, "dep_ask")) as answer:  # nothing happens any more
        assert ": heartbeat" in answer.iter_lines()
    server.faults.add("stream:cut=0.1")
    assert wire.get(stream_of(wire, "dep_ask")).status_code == 200


def test_sandbox_listens_on_loopback_only_and_stops() -> None:
    with Server(World()).start() as server:
        assert server.origin == f"http://127.0.0.1:{server.port}"
        with pytest.raises(OSError, match="use"):
            Server(World(), port=server.port).start()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--speed 0 -- never-started", "--speed"),
        ("--port 70000 -- never-started", "--port"),
        ("--fault any:x -- never-started", "any:x"),
        ("--generation old -- never-started", "--generation"),
        ("--port {port} -- never-started", "--port {port}"),
        ("deploy run dep_demo", "for example: qoder sandbox -- qoder deploy run dep_demo"),
        ("-o json -- no-such-command", "cannot run 'no-such-command': "),
        ("-- {data}", "cannot run '{data}': "),
    ],
)
def test_sandbox_refuses_options_and_commands_that_cannot_be(
    qoder: Qoder, server: Server, tmp_path: Path, words: str, said: str
) -> None:
    (tmp_path / "data").write_text("no program")
    given = {"port": server.port, "data": tmp_path / "data"}
    ran = qoder("sandbox", *words.format(**given).split())
    assert (ran.code, ran.out) == (2, "")
    assert said.format(**given) in ran.err


def python(code: str) -> list[str]:
    return ["--", sys.executable, "-c", code]


def test_sandbox_runs_a_command_inside_and_exits_with_its_code(tmp_path: Path) -> None:
    code = (
        "import os, urllib.request as u\n"
        "request = u.Request(os.environ['QODER_BASE_URL'] + '/deployments/dep_demo')\n"
        "request.add_header('Authorization', 'Bearer ' + os.environ['QODER_PAT'])\n"
        "print(u.build_opener(u.ProxyHandler({})).open(request).read().decode())\n"
        "raise SystemExit(42)"
    )
    env = {"TMPDIR": str(tmp_path)}
    ended = Shell(tmp_path).qoder("sandbox", "--generation", "legacy", "--speed", "20", *python(code), env=env)
    assert list(tmp_path.iterdir()) == []
    assert (ended.code, "cas_config" in json.loads(ended.out)["metadata"]) == (42, True)
    assert ended.err.startswith("sandbox at http://127.0.0.1:")
    assert "(legacy API, speed 20); nothing here is real or charged\n" in ended.err


@needs_signals
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
@pytest.mark.few(1)
def test_sandbox_exits_128_and_the_signal_where_its_command_was_killed(tmp_path: Path, name: str) -> None:
    signum = signal.Signals[name]
    dies = python(f"import os; os.kill(os.getpid(), {int(signum)})")
    assert Shell(tmp_path).qoder("sandbox", *dies).code == 128 + signum


# Prints a line when ready, then one at each signal, and ends with 7 half a second after the first.
LISTENER = """
import os, signal, sys, time
end = float("inf")
def heard(signum, frame):
    global end
    end = min(end, time.monotonic() + 0.5)
    os.write(1, signal.Signals(signum).name.encode() + b"\\n")  # the other print may not be over yet
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), heard)
print("ready", flush=True)
while time.monotonic() < end:
    time.sleep(0.05)
sys.exit(7)
"""


@needs_signals
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.few(2)
def test_sandbox_passes_signals_on_once_and_waits_for_its_command(tmp_path: Path, name: str) -> None:
    sandbox = Shell(tmp_path).begin("sandbox", *python(LISTENER))
    until(lambda: sandbox.out == "ready\n", "its command")
    ended = sandbox.signal(signal.Signals[name]).end()
    assert (ended.code, ended.out) == (7, f"ready\n{name}\n")


# Two signals at once are one to Python.
LATE = """
import subprocess, time
send = subprocess.Popen.send_signal
subprocess.Popen.send_signal = lambda self, signum: (time.sleep(0.2), send(self, signum))
"""


@needs_signals
def test_sandbox_on_a_terminal_lets_ctrl_c_reach_its_command_once(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(LATE)
    env = {"PYTHONPATH": str(tmp_path)}
    with Terminal(Shell(tmp_path), "qoder", "sandbox", *python(LISTENER), env=env) as terminal:
        terminal.shows("ready").type("\x03")
        assert (terminal.end(), terminal.raw.count("SIGINT")) == (7, 1)
