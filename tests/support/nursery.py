"""A process with qoder's imports behind it, from which tests fork real processes at a fraction of the cost.

What is forked is a process like any other: its own signals, pipes, environment, folder and exit status. Only the start
of the interpreter and its end are left out; what happens then is tested with `python -m qoder_cli` and the installed
programs.
"""

import atexit
import fcntl
import gc
import json
import marshal
import os
import random
import runpy
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import termios
import threading
import time
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import IO, Any

import qoder_cli

# Stands for `qoder` in scripts of shells: hands what it was given to the nursery, and ends as the process there did.
# It imports only what costs nothing.
_DOOR = """#!{python} -ISs
import _socket, marshal, os, sys
ordinary = all(os.environ.get(name) == value for name, value in {environment}.items())
if not ordinary or any(name.startswith("PYTHON") and name != "PYTHONPATH" for name in os.environ):
    os.execv({python!r}, [{python!r}, "-m", "qoder_cli", *sys.argv[1:]])
request = {{"program": sys.argv[0], "words": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}}
line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
line.connect({address!r})
fds = b"".join(fd.to_bytes(4, sys.byteorder) for fd in range(3))
line.sendmsg([marshal.dumps(request)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)])
for descriptor in range(3):
    os.close(descriptor)  # they are the other process's now
status = int(line.recv(64))
if status < 0:
    import signal
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""
PROGRAMS = ("qoder", "qoder-cli")
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}  # read as an interpreter starts, and so the same for all
FIRST = "NURSERY_FIRST"  # variable with some Python that is run before any process is forked
PATIENCE = 60.0  # seconds until something is held to hang
# Imported by commands as they go on.
_NEEDED = (
    "certifi cronsim csv encodings.idna encodings.utf_8_sig filelock html httpcore importlib.metadata platformdirs.unix"
    " prompt_toolkit prompt_toolkit.input.vt100 prompt_toolkit.key_binding.bindings.search prompt_toolkit.patch_stdout"
    " pydantic.fields pydantic.type_adapter rich._emoji_codes rich.live rich.spinner rich.table sqlite3 tomlkit tomllib"
    " uvicorn.lifespan.on uvicorn.protocols.http.auto yaml"
)
_OPTIONAL = "psycopg"  # imported where it is installed
_LARGEST = 1 << 17  # bytes of a request


class Process:
    """A process that was forked, with as much of subprocess.Popen as tests use."""

    def __init__(self, nursery: "Nursery", pid: int, stdout: IO[bytes] | None, stderr: IO[bytes] | None) -> None:
        self.pid, self.stdout, self.stderr = pid, stdout, stderr
        self._nursery = nursery

    def poll(self) -> int | None:
        """Return how it ended, negative when a signal killed it; None while it runs."""
        return self._nursery.ended.get(self.pid)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end, and return how it ended. Raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        with self._nursery.news:
            while (code := self.poll()) is None:
                if not self._nursery.news.wait(deadline - time.monotonic()):
                    raise subprocess.TimeoutExpired("qoder", timeout)
        return code

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """Starts processes, and hears of their ends."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        self._one_at_a_time = threading.Lock()  # so that each hears of its own birth
        self.ended: dict[int, int] = {}
        self._births: list[int] = []
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._folder = tempfile.TemporaryDirectory(prefix="qoder-nursery-")
        self.programs = Path(self._folder.name)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        door.bind(str(self.programs / "door"))
        door.listen(128)
        self._write_programs()
        fds = [theirs.fileno(), door.fileno()]
        command = [sys.executable, "-m", "tests.support.nursery", *map(str, fds)]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, cwd=root, pass_fds=fds)
        theirs.close()
        door.close()
        threading.Thread(target=self._listen, daemon=True).start()

    def _write_programs(self) -> None:
        """Write `qoder` and `qoder-cli` for scripts: as the installed ones, where no signal is sent to them."""
        address = str(self.programs / "door")
        text = _DOOR.format(python=sys.executable, environment=ENVIRONMENT, address=address)
        for name in PROGRAMS:
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)

    def _listen(self) -> None:
        while word := self._line.recv(_LARGEST):
            told = json.loads(word)
            with self.news:
                if "status" in told:
                    self.ended[told["pid"]] = told["status"]
                else:
                    self.ended.pop(told["pid"], None)  # of an earlier process: the numbers are used again
                    self._births.append(told["pid"])
                self.news.notify_all()

    def start(
        self,
        words: list[str],
        *,
        env: dict[str, str],
        cwd: Path,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        prologue: str = "",
        leads: bool = False,
    ) -> Process:
        """Start qoder with these words; the streams are those of subprocess.Popen.

        `prologue` is run before. One that `leads` has a session of its own, with the terminal on its stdin if any.
        """
        given = [_Stream(stream, writes=place > 0) for place, stream in enumerate((stdin, stdout, stderr))]
        asked = {"words": words, "env": env, "cwd": str(cwd), "prologue": prologue, "leads": leads}
        request = marshal.dumps(asked)
        with self._one_at_a_time, self.news:
            socket.send_fds(self._line, [request], [stream.theirs for stream in given])
            self.news.wait_for(lambda: self._births)
            pid = self._births.pop()
        for stream in given:
            stream.close_theirs()
        return Process(self, pid, given[1].ours, given[2].ours)

    def close(self) -> None:
        """End it, and what it has started."""
        self._line.shutdown(socket.SHUT_RDWR)
        self._process.wait()
        self._line.close()
        self._folder.cleanup()


@cache
def nursery() -> Nursery:
    made = Nursery()
    atexit.register(made.close)
    return made


class _Stream:
    """One standard stream of a process: the end that it gets, and ours if it is a pipe."""

    def __init__(self, given: Any, *, writes: bool) -> None:
        self.ours: IO[bytes] | None = None
        self._opened = True
        if given == subprocess.PIPE:
            reader, self.theirs = os.pipe()
            self.ours = open(reader, "rb")  # noqa: SIM115  (whoever reads it closes it)
        elif given == subprocess.DEVNULL:
            self.theirs = os.open(os.devnull, os.O_WRONLY if writes else os.O_RDONLY)
        else:
            self.theirs, self._opened = given if isinstance(given, int) else given.fileno(), False

    def close_theirs(self) -> None:
        if self._opened:
            os.close(self.theirs)


def is_ordinary(env: dict[str, str]) -> bool:
    """Return whether a process with this environment starts as those of the nursery do."""
    python = {name for name in env if name.startswith("PYTHON")} - {"PYTHONPATH"}
    return not python and all(env.get(name) == value for name, value in ENVIRONMENT.items())


def _serve(line: socket.socket, door: socket.socket) -> None:
    living: dict[int, socket.socket] = {}  # who is told of the end of a process, by its number
    _import_all()
    exec(os.environ.get(FIRST, ""), {})
    gc.collect()
    gc.freeze()
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    signal.set_wakeup_fd(wakes)
    while True:
        ready, _, _ = select.select([line.fileno(), door.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 512)
            _tell_ends(line, living)
        if line.fileno() in ready:
            if not (pid := _bear(line, line, door)):
                for each in living:
                    os.kill(each, signal.SIGKILL)
                os._exit(0)
            living[pid] = line
            line.send(json.dumps({"pid": pid}).encode())
        if door.fileno() in ready:
            visitor, _ = door.accept()
            if pid := _bear(visitor, line, door):
                living[pid] = visitor


def _bear(asked: socket.socket, line: socket.socket, door: socket.socket) -> int:
    """Start the process that is asked for, and return its number; 0 if nothing is asked for any more."""
    request, fds, _, _ = socket.recv_fds(asked, _LARGEST, 3)
    if not request:
        return 0
    if (pid := os.fork()) == 0:
        signal.set_wakeup_fd(-1)
        for each in (asked, line, door):
            each.close()
        _be(marshal.loads(request), fds)
    for fd in fds:
        os.close(fd)
    return pid


def _import_all() -> None:
    """Import all that commands import, and let OpenSSL get ready, as it does once in a process."""
    for found in walk_packages(qoder_cli.__path__, "qoder_cli."):
        if found.name != "qoder_cli.__main__":
            import_module(found.name)
    for module in _NEEDED.split():
        import_module(module)
    with suppress(ImportError):
        import_module(_OPTIONAL)
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _tell_ends(line: socket.socket, living: dict[int, socket.socket]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        if (asked := living.pop(pid)) is line:
            line.send(json.dumps({"pid": pid, "status": code}).encode())
            continue
        with suppress(OSError):  # it was ended meanwhile
            asked.send(str(code).encode())
        asked.close()


def _be(request: dict[str, Any], fds: list[int]) -> None:
    """Become a process of qoder, as if it had been started; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for place, fd in enumerate(fds):
        os.dup2(fd, place)
    for fd in fds:
        os.close(fd)
    if request.get("leads"):
        os.setsid()
        if os.isatty(0):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    elif "program" not in request:  # what a script starts is of the script's group
        os.setpgid(0, 0)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    random.seed()
    sys.argv = [request.get("program", "qoder"), *request["words"]]
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    for folder in filter(None, request["env"].get("PYTHONPATH", "").split(os.pathsep)):
        if (site := Path(folder) / "sitecustomize.py").exists():  # how a test changes the world of a process
            exec(site.read_text(), {})
    try:
        exec(request.get("prologue", ""), {})  # which may be all
        runpy.run_module("qoder_cli", run_name="__main__")
    except SystemExit as end:
        threading._shutdown()  # type: ignore[attr-defined]  # as an interpreter does before what costs most: its end
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(end.code if isinstance(end.code, int) else 0)


if __name__ == "__main__":
    _serve(*(socket.socket(fileno=int(fd)) for fd in sys.argv[1:]))
