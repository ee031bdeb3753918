"""Real processes against a real server: what a shell does with the installed program, and what a terminal shows."""

import fcntl
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
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import httpx

from qoder_cli.base.plainfile import seal
from qoder_cli.base.signals import ONE_SIGNAL
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import Generation, Request, WireResponse
from qoder_cli.sandbox.world import World
from tests.conftest import Ran
from tests.support.inprocess import WorldTransport
from tests.support.lies import Lies
from tests.support.nursery import PATIENCE as PATIENCE
from tests.support.nursery import Process, is_ordinary, nursery

MODULE = (sys.executable, "-m", "qoder_cli")
BIN = Path(sys.executable).parent
HASTE = 40.0  # how many times faster than written the sessions of a sandbox go

# Gives the process that follows the terminal on its stdin as its own, so that what is typed there reaches it.
_WITH_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


class DelayedAnswers(Faults):
    """Delays the answers to writes, which are done at once, from the `first` until they are `released`."""

    def __init__(self, *faults: str, first: int = 1) -> None:
        super().__init__(*faults)
        self.released = threading.Event()
        self.is_holding = False
        self._first = first
        self._writes = 0

    def answer(self, world: World, request: Request) -> WireResponse:
        """Return the answer; the body of a delayed one comes when it is released."""
        answer = super().answer(world, request)
        if request.method == "POST":
            self._writes += 1
            if self._writes >= self._first and not self.released.is_set():
                self.is_holding = True
                return replace(answer, stream=_delayed(answer.body, self.released))
        return answer


class Hooked(Faults):
    """Answers as a transport with hooks does."""

    def __init__(self, transport: WorldTransport) -> None:
        super().__init__()
        self._transport = transport

    def answer(self, world: World, request: Request) -> WireResponse:
        """Return the transport's answer; where it raises, the connection breaks."""
        url = f"http://127.0.0.1{request.path}?{request.query}"
        asked = httpx.Request(request.method, url, headers=dict(request.headers), content=request.body)
        try:
            response = self._transport.handle_request(asked)
        except httpx.TransportError:
            return WireResponse(0, delivery="drop")
        return WireResponse(response.status_code, dict(response.headers), response.read())


def _delayed(body: bytes, released: threading.Event) -> Iterator[bytes | float]:
    """Yield the seconds after which to ask again, and the body once something has happened."""
    while not released.is_set():
        yield 0.005
    yield body


@contextmanager
def sandbox(
    generation: Generation,
    *faults: str,
    speed: float = HASTE,
    honour_key: bool = True,
    delayed: DelayedAnswers | None = None,
) -> Iterator[Server]:
    """Serve a world of its own, where `faults` are on order, or answers are `delayed`."""
    world = World(generation=generation, speed=speed, honour_key=honour_key)
    with served(world, delayed or Lies(*faults)) as server:
        yield server


@contextmanager
def served(world: World, faults: Faults) -> Iterator[Server]:
    """Serve a world."""
    server = Server(world, faults=faults).start()
    try:
        yield server
    finally:
        threading.Thread(target=server.stop).start()  # nobody has to wait for it


def an_hour_later(server: Server) -> None:
    """Let every run that lasts an hour at most have ended."""
    server.world.clock = lambda: time.time() + 3600.0


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, looking every few milliseconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


# Time goes twenty times as fast for what waits on purpose. What is waited for an answer is not shortened.
HURRY = """
import time
from qoder_cli.base.times import Clock
from qoder_cli.http import answers
from qoder_cli.input import prompt
answers.CLOCKS_DIFFER = 1e9  # the server's clock does not hurry along
prompt.PASTED, prompt.READ_WITHIN = prompt.PASTED / 20, prompt.READ_WITHIN / 20
sleep, receive = Clock.sleep, Clock.receive
Clock.monotonic = lambda self: 20 * time.monotonic()
Clock.sleep = lambda self, seconds: sleep(self, seconds / 20)
Clock.receive = lambda self, inbox, seconds: receive(self, inbox, seconds / 20)
"""


# A question could be read only once a file is there: until then no key is a reply to it.
SLOWLY_READ = """
import os
from qoder_cli.base import keyboard
prompt.READ_WITHIN, is_ready = 3600.0, keyboard.is_ready
def is_ready_or_read(stream, *, within):
    while within > 60 and not os.path.exists("read"):
        if is_ready(stream, within=0.01):
            return True
    return within < 60 and is_ready(stream, within=within)
keyboard.is_ready = is_ready_or_read
"""


# Says "heard" for each signal, when the program has taken it in: two within a tenth of a second would be one. What is
# under way then may take as long as a busy machine needs; that it is 2 s at most is tested on a clock.
HEARING = f"""
import os
from qoder_cli.base import signals
from qoder_cli.http import write
from qoder_cli.stack import writer
from qoder_cli.runs import ending
from qoder_cli.fleet import wait as fleet
write.LAST_WORDS = writer.LAST_WORDS = fleet.LAST_WORDS = ending.CANCEL_WITHIN = {PATIENCE}
hear = signals._on_signal
def hear_and_say(signum, frame):
    try:
        hear(signum, frame)
    finally:
        os.write(2, b'heard\\n')
signals._on_signal = hear_and_say
"""
MORE_THAN_ONE_SIGNAL = 2 * ONE_SIGNAL  # seconds
# Gives an answer that is under way when a signal comes only a moment, where a test has it never come.
IMPATIENT = """
from qoder_cli.http import write
from qoder_cli.stack import writer
from qoder_cli.fleet import wait as fleet
write.LAST_WORDS = writer.LAST_WORDS = fleet.LAST_WORDS = 0.2
"""
# The run list is looked at for 30 s where an answer was lost; here it does not lag.
HASTY_LOOKS = "from qoder_cli.runs import lost; lost.RUN_LIST_LOOKS, lost.THOROUGH_LOOKS = (0.1,), (0.2,)"


def staged(prologue: str) -> tuple[str, ...]:
    """Return the command that runs qoder after some Python that stands for what the world does to it."""
    return (sys.executable, "-c", prologue + "\nimport runpy; runpy.run_module('qoder_cli', run_name='__main__')")


class Ended(Ran):
    """A process that has ended. `code` is negative when a signal killed it, as subprocess has it."""

    def __post_init__(self) -> None:
        assert "Traceback" not in self.err, self.err
        assert "Exception ignored" not in self.err, self.err


class Going:
    """A process under way that leads a group of its own, with what it has said so far."""

    alive: ClassVar[set["Going"]] = set()  # whose end nobody has waited for yet

    def __init__(self, process: "subprocess.Popen[bytes] | Process") -> None:
        self.process = process
        self.alive.add(self)
        self._said = {"out": bytearray(), "err": bytearray()}
        self._readers = []
        for name, stream in (("out", process.stdout), ("err", process.stderr)):
            if stream is not None:
                self._readers.append(threading.Thread(target=self._read, args=[name, stream.fileno()], daemon=True))
                self._readers[-1].start()

    def _read(self, name: str, descriptor: int) -> None:
        while chunk := os.read(descriptor, 65536):
            self._said[name] += chunk

    @property
    def out(self) -> str:
        return self._said["out"].decode()

    @property
    def err(self) -> str:
        return self._said["err"].decode()

    def says(self, word: str) -> "Going":
        """Wait until stderr has a word, and return itself."""
        until(lambda: word in self.err or self.process.poll() is not None, f"{word!r} on stderr")
        assert word in self.err or word in self._whole_err(), f"ended in {self.process.poll()}, and said {self.err!r}"
        return self

    def _whole_err(self) -> str:
        """What is on stderr when all of it has been read; its end is known sooner than its last words."""
        for reader in self._readers:
            reader.join(PATIENCE)
        return self.err

    def signal(self, signum: int) -> "Going":
        """Send a signal, and return itself."""
        self.process.send_signal(signum)
        return self

    def end(self) -> Ended:
        """Wait for its end, which must be free of tracebacks."""
        code, err = self.last()
        return Ended(code, self.out, err)

    def last(self) -> tuple[int, str]:
        """Wait for its end, and return its exit code and stderr, whatever is there."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running; stderr: {self.err}") from None
        finally:
            for reader in self._readers:
                reader.join(PATIENCE)
            for stream in (self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()
        self.alive.discard(self)
        return code, self.err

    def kill(self) -> None:
        """End it, and what it has started."""
        self.alive.discard(self)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


class Shell:
    """Starts processes in a clean environment: nothing of ours but PATH, and a home of the test's own."""

    def __init__(self, home: Path, server: Server | None = None) -> None:
        self.home = home
        self.env = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "QODER_STATE_DIR": str(home / "state"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }
        if server is not None:
            self.enter(server)

    def enter(self, server: Server) -> "Shell":
        """Lead what is started from now on into a sandbox, whose folder this home is, and return itself."""
        seal(self.home, server.base_url)
        variables = ("QODER_BASE_URL", "QODER_SANDBOX")
        self.env |= {**dict.fromkeys(variables, server.base_url), "QODER_PAT": server.world.token}
        return self

    def hurry(self, also: str = "") -> "Shell":
        """Let what is started from now on wait for less long, and have this done before; return itself."""
        folder = self.home / "hurry"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(HURRY + also)
        self.env["PYTHONPATH"] = str(folder)
        return self

    def quick(self) -> "Shell":
        """Let scripts start `qoder` at a fraction of the cost, where they send no signal to it; return itself."""
        self.env["PATH"] = f"{nursery().programs}{os.pathsep}{self.env['PATH']}"
        return self

    def start(self, *command: str, env: dict[str, str] | None = None, **settings: Any) -> Going:
        """Start a command; `env` is added to the environment, `settings` are those of subprocess.Popen."""
        whole = {**self.env, **(env or {})}
        return Going(subprocess.Popen(command, env=whole, process_group=0, **self._given(settings)))

    def begin(self, *words: str, env: dict[str, str] | None = None, prologue: str = "", **settings: Any) -> Going:
        """Start qoder, after some Python that stands for what the world does to it."""
        whole, given = {**self.env, **(env or {})}, self._given(settings)
        if is_ordinary(whole) and given.keys() == self._given({}).keys():
            return Going(nursery().start(list(words), env=whole, prologue=prologue, **given))
        return self.start(*(staged(prologue) if prologue else MODULE), *words, env=env, **settings)

    def _given(self, settings: dict[str, Any]) -> dict[str, Any]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return {"stdin": subprocess.DEVNULL, **pipes, "cwd": self.home, **settings}

    def run(self, *command: str, **settings: Any) -> Ended:
        return self.start(*command, **settings).end()

    def qoder(self, *words: str, **settings: Any) -> Ended:
        return self.begin(*words, **settings).end()

    def bash(self, line: str) -> Ended:
        """Run a line of bash to its end, with `qoder` on PATH."""
        return self.run("bash", "-c", line)


class Terminal:
    """A process on a terminal of its own, as its session's leader: what it writes, and what the screen shows."""

    def __init__(
        self, shell: Shell, *command: str, columns: int = 80, rows: int = 50, env: dict[str, str] | None = None
    ) -> None:
        self._master, slave = pty.openpty()
        self._rows = rows
        self._set_width(columns)
        self._raw = bytearray()
        self._resized: list[tuple[int, int]] = []
        self._drawn: tuple[tuple[int, int], list[str]] = (0, 0), []  # what was drawn last, and when
        self._path = os.ttyname(slave)
        self.modes = [termios.tcgetattr(slave)]  # at first, and when the last process has left it
        self.process = self._start(shell, command, slave, {**shell.env, "TERM": "xterm-256color", **(env or {})})
        os.close(slave)
        self._hung_up = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @staticmethod
    def _start(
        shell: Shell, command: tuple[str, ...], slave: int, env: dict[str, str]
    ) -> "subprocess.Popen[bytes] | Process":
        given: dict[str, Any] = {**dict.fromkeys(("stdin", "stdout", "stderr"), slave), "env": env, "cwd": shell.home}
        if command[0] == "qoder" and is_ordinary(env):
            return nursery().start(list(command[1:]), leads=True, **given)
        leader = [sys.executable, "-ISc", _WITH_TERMINAL, *command]
        return subprocess.Popen(leader, start_new_session=True, **given)

    def _set_width(self, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", self._rows, columns, 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """End everything that was started on it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)

    def _read(self) -> None:
        """Read until the last writer and the process, or the terminal are gone; only this thread closes it.

        A process that has closed its streams and still runs would hear a hang-up.
        """
        os.set_blocking(self._master, False)
        while not self._hung_up.is_set():
            try:
                chunk = os.read(self._master, 65536)
            except BlockingIOError:
                time.sleep(0.005)
                continue
            except OSError:  # how Linux says that the last writer is gone
                chunk = b""
            if not chunk and self.process.poll() is not None:
                self.modes.append(termios.tcgetattr(self._master))
                break
            if not chunk:
                time.sleep(0.005)
            self._raw += chunk
        os.close(self._master)

    @property
    def raw(self) -> str:
        """Everything that was written, escapes included."""
        return self._raw.decode("utf-8", "replace")

    @property
    def screen(self) -> list[str]:
        """The lines that are left on the screen, without the spaces at their ends.

        Nothing is scrolled, and only a resize wraps lines.
        """
        state = len(self._raw), len(self._resized)
        if self._drawn[0] != state:
            raw, screenful, begin = self.raw, Screenful(), 0
            for end, columns in self._resized:
                screenful.take(raw[begin:end]).narrow(columns)
                begin = end
            self._drawn = state, screenful.take(raw[begin:]).shown
        return self._drawn[1]

    def resize(self, columns: int) -> None:
        """Make it narrower or wider between two pictures, and wrap what it shows as most terminals do."""
        length = -1
        while length != len(self._raw):
            length = len(self._raw)
            time.sleep(0.05)
        self._resized.append((len(self.raw), columns))
        self._set_width(columns)

    def shows(self, word: str) -> Self:
        """Wait until the screen shows a word, and return itself."""
        until(lambda: self._has(word) or self.process.poll() is not None, f"{word!r} on the screen")
        assert self._has(word), self.screen
        return self

    def _has(self, word: str) -> bool:
        return word in self.raw and any(word in line for line in self.screen)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def has_read(self, home: Path) -> Self:
        """Let the question on the screen have been read, of a program that is SLOWLY_READ; return itself.

        What was typed before has arrived by then.
        """
        until(lambda: not self._waiting(), "what was typed to arrive")
        (home / "read").touch()
        until(lambda: self._takes_lines() or self.process.poll() is not None, "a question that takes replies")
        (home / "read").unlink()
        return self

    def reply(self, keys: str) -> Self:
        """Type a reply to the question on the screen once it counts, and return itself."""
        until(lambda: self._takes_lines() or self.process.poll() is not None, "a question that takes replies")
        self.type(keys)
        return self

    def _waiting(self) -> int:
        """Return how many bytes were typed that the program has not taken yet."""
        terminal = os.open(self._path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            [count] = struct.unpack("i", fcntl.ioctl(terminal, termios.FIONREAD, b"\0" * 4))
        finally:
            os.close(terminal)
        return int(count)

    def _takes_lines(self) -> bool:
        """Return whether lines are read and echoed, as by a question that could be read by now."""
        wanted = termios.ECHO | termios.ICANON
        return bool(termios.tcgetattr(self._master)[3] & wanted == wanted)

    def hang_up(self) -> None:
        """Take the terminal away, as when its window is closed."""
        self._hung_up.set()
        self._reader.join(PATIENCE)

    def end(self) -> int:
        """Wait for its end, and return its exit code; negative when a signal killed it."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert "Traceback" not in self.raw, self.raw
        return code


def asked_again(terminal: Terminal, question: str, times: int) -> Terminal:
    """Return the terminal once it has asked so often."""
    until(lambda: terminal.raw.count(question) >= times, f"{question!r} for the {times}. time")
    return terminal


class Screenful:
    """What a terminal of endless size makes of a text: enough of one for what is written here."""

    _TOKEN = re.compile(r"\x1b\[(?P<number>[?0-9;]*)(?P<verb>[A-Za-z])|\r?\n|[^\n]", re.DOTALL)

    def __init__(self) -> None:
        self._lines = [""]
        self._row = self._column = 0

    def take(self, text: str) -> "Screenful":
        """Show more text, and return itself."""
        for match in self._TOKEN.finditer(text):
            self._take(match[0], match["verb"], match["number"])
        return self

    def narrow(self, columns: int) -> None:
        """Wrap the lines that are longer than this; the cursor stays at the end of its line."""
        rows = [[line[at : at + columns] for at in range(0, len(line), columns)] or [""] for line in self._lines]
        self._row = sum(map(len, rows[: self._row + 1])) - 1
        self._lines = [piece for pieces in rows for piece in pieces]
        self._column %= columns

    @property
    def shown(self) -> list[str]:
        """The lines with something on them."""
        return [line.rstrip() for line in self._lines if line.strip()]

    def _take(self, token: str, verb: str | None, number: str | None) -> None:
        if token == "\r":
            self._column = 0
        elif token in ("\n", "\r\n"):
            self._row, self._column = self._row + 1, 0
            self._lines += [""] * (self._row + 1 - len(self._lines))
        elif verb == "A":
            self._row = max(self._row - int(number or 1), 0)
        elif verb == "K":
            kept = "" if number == "2" else self._lines[self._row][: self._column]
            self._lines[self._row] = kept
        elif verb == "J":
            self._lines[self._row + 1 :] = []
            self._lines[self._row] = self._lines[self._row][: self._column]
        elif verb is None:
            line = self._lines[self._row].ljust(self._column)
            self._lines[self._row] = line[: self._column] + token + line[self._column + 1 :]
            self._column += 1
