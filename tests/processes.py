"""Real processes against a real server: what a shell does with the installed program, and what a terminal shows."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.server import Server, serve
from qoder_cli.sandbox.wire import Generation
from qoder_cli.sandbox.world import World

MODULE = (sys.executable, "-m", "qoder_cli")
BIN = Path(sys.executable).parent
SCRIPT = (str(BIN / "qoder"),)
PATIENCE = 20.0  # seconds until something is held to hang
HASTE = 40.0  # how many times faster than in the world the sessions of a sandbox go

# Gives the process that follows the terminal on its stdin as its own, so that ^C typed there reaches it.
_WITH_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"


@contextmanager
def sandbox(generation: Generation, *faults: str, speed: float = HASTE) -> Iterator[Server]:
    """Serve a world of its own, where `faults` are on order."""
    with serve(World(generation=generation, speed=speed), faults=Faults(*faults)) as server:
        yield server


@dataclass
class Ended:
    """A process that has ended. `code` is negative when a signal killed it, as subprocess has it."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        assert "Traceback" not in self.err, self.err
        assert "Exception ignored" not in self.err, self.err

    @property
    def json(self) -> Any:
        """Standard output, which must be exactly one JSON document and a newline, on one line."""
        assert self.out.endswith("\n")
        assert self.out.count("\n") == 1
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The JSON error, which must be the last line of stderr, and the only error there."""
        *before, last = self.err.splitlines()
        assert not [line for line in before if line.startswith(("{", "error:"))], self.err
        document: dict[str, Any] = json.loads(last)
        assert list(document) == ["error"]
        error: dict[str, Any] = document["error"]
        return error

    @property
    def errors(self) -> list[str]:
        """The errors for people on stderr."""
        return [line for line in self.err.splitlines() if line.startswith("error:")]


@dataclass
class Going:
    """A process under way, with what it has said so far."""

    process: "subprocess.Popen[bytes]"
    _said: dict[str, bytearray] = field(default_factory=lambda: {"out": bytearray(), "err": bytearray()})
    _readers: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, stream in (("out", self.process.stdout), ("err", self.process.stderr)):
            if stream is not None:
                self._readers.append(threading.Thread(target=self._read, args=[name, stream.fileno()], daemon=True))
                self._readers[-1].start()

    def _read(self, name: str, descriptor: int) -> None:
        while chunk := os.read(descriptor, 65536):
            self._said[name] += chunk

    @property
    def err(self) -> str:
        """What is on stderr so far."""
        return self._said["err"].decode()

    @property
    def out(self) -> str:
        """What is on stdout so far."""
        return self._said["out"].decode()

    def says(self, word: str) -> "Going":
        """Wait until stderr has a word, and return itself."""
        until(lambda: word in self.err or self.process.poll() is not None, f"{word!r} on stderr")
        assert word in self.err, self.err
        return self

    def signal(self, signum: int) -> None:
        """Send a signal."""
        self.process.send_signal(signum)

    def end(self, within: float = PATIENCE) -> Ended:
        """Wait for its end, killing it when it hangs."""
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still running after {within} s; stderr: {self.err}") from None
        finally:
            for reader in self._readers:
                reader.join(PATIENCE)
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()
        return Ended(code, self.out, self.err)


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, looking every few milliseconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


class Shell:
    """Starts processes in a clean environment: nothing of ours but PATH, and homes in a folder of the test's own."""

    def __init__(self, home: Path, server: Server | None = None) -> None:
        self.home = home
        self.env = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }
        if server is not None:
            self.enter(server)

    def enter(self, server: Server) -> "Shell":
        """Lead what is started from now on into a sandbox, and return itself."""
        self.env |= {
            "QODER_BASE_URL": server.base_url,
            "QODER_PAT": server.world.token,
            "QODER_SANDBOX": server.base_url,
        }
        return self

    def start(self, *command: str, **settings: Any) -> Going:
        """Start a command; `settings` are those of subprocess.Popen."""
        pipes: dict[str, Any] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        given = {"stdin": subprocess.DEVNULL, "env": self.env, "cwd": self.home, **pipes, **settings}
        return Going(subprocess.Popen(command, **given))

    def run(self, *command: str, **settings: Any) -> Ended:
        """Run a command to its end."""
        return self.start(*command, **settings).end()

    def qoder(self, *words: str, **settings: Any) -> Ended:
        """Run qoder to its end."""
        return self.run(*MODULE, *words, **settings)

    def begin(self, *words: str, **settings: Any) -> Going:
        """Start qoder."""
        return self.start(*MODULE, *words, **settings)

    def sh(self, line: str) -> Ended:
        """Run a line of shell to its end, with `qoder` on PATH."""
        return self.run("sh", "-c", line)


class Terminal:
    """A process on a terminal of its own: what it writes, and what the screen shows."""

    def __init__(self, shell: Shell, *command: str, columns: int = 80, **env: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.columns = columns
        self._raw = bytearray()
        self.process = subprocess.Popen(
            [sys.executable, "-ISc", _WITH_TERMINAL, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**shell.env, "TERM": "xterm-256color", **env},
            cwd=shell.home,
            start_new_session=True,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._master, 65536):
                self._raw += chunk
        except OSError:  # Linux says that the last writer is gone in this way
            pass

    @property
    def raw(self) -> str:
        """Everything that was written, escapes included."""
        return self._raw.decode("utf-8", "replace")

    @property
    def screen(self) -> list[str]:
        """The lines that the screen shows, without those that were erased; nothing is wrapped."""
        return Screenful(self.raw).lines

    def shows(self, word: str) -> "Terminal":
        """Wait until the screen shows a word, and return itself."""
        until(lambda: any(word in line for line in self.screen), f"{word!r} on {self.screen}")
        return self

    def type(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def hang_up(self) -> int:
        """Close the terminal under the process, and return its exit code."""
        self._reader_gone()
        return self.process.wait(PATIENCE)

    def _reader_gone(self) -> None:
        os.close(self._master)

    def end(self) -> int:
        """Wait for its end, and return its exit code; negative when a signal killed it."""
        try:
            code = self.process.wait(PATIENCE)
        finally:
            self.process.kill()
        self._reader.join(PATIENCE)
        os.close(self._master)
        assert "Traceback" not in self.raw, self.raw
        return code


_ESCAPE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\r\n|[\r\n]|[^\x1b\r\n]")


class Screenful:
    """What a terminal of endless width makes of a text: enough of one for what is written here."""

    def __init__(self, text: str) -> None:
        self.lines = [""]
        self._row = self._column = 0
        for match in _ESCAPE.finditer(text):
            self._take(match)

    def _take(self, match: re.Match[str]) -> None:
        token = match[0]
        if token == "\r":
            self._column = 0
        elif token in ("\n", "\r\n"):
            self._row, self._column = self._row + 1, 0
            self.lines += [""] * (self._row + 1 - len(self.lines))
        elif match[2] == "A":
            self._row = max(self._row - int(match[1] or 1), 0)
        elif match[2] == "K":
            self.lines[self._row] = ""
        elif match[2] is None:
            line = self.lines[self._row].ljust(self._column)
            self.lines[self._row] = line[: self._column] + token + line[self._column + 1 :]
            self._column += 1


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """End what is left of a process that leads a group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
