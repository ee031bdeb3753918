"""Kills or interrupts a start at its every n-th instruction.

A step is a bytecode instruction of the program in its main thread. At it the process is killed as SIGKILL does (nothing
of it runs any more), or SIGINT comes. Each command is a process of its own, forked from one that has imported all; the
server's true history is handed from one to the next. Afterwards somebody types `run wait last`, and the same command
under the same key.
"""

import io
import os
import pickle
import signal
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from qoder_cli.base import signals
from qoder_cli.base.errors import Signalled
from tests.support.hostile import Hostile, Server, SplitClock
from tests.tools.playing import Played
from tests.tools.servers import KEY, LAST, RUN
from tests.tools.typed import Said, Words, typed

PROMISES = ("twice", "lost")  # two runs; one that nobody names or calls unknown
KINDS = ("SIGKILL", "SIGINT")
EVERY = 200  # instructions
TRIGGER: Words = (*RUN, "--idempotency-key", "nightly")
SERVERS = (
    Server(),
    Server("legacy"),
    Server(answer="reset"),
    Server(answer="500", acts=None),
    Server(answer="404 html"),
)
PACKAGE = f"{os.sep}qoder_cli{os.sep}"
_HISTORY = ("runs", "posts", "requests", "named", "_late", "_answered", "_reads", "_began")
_KILLED = 137
_OPEN = (9, 10, 11, 124)  # exit codes that say that it goes on, or is not known
UNKNOWN = "unknown"  # what is named where a signal's last words say that it is not known


class Cell(NamedTuple):
    """What is to happen, and after how many instructions."""

    server: Server
    kind: str
    after: int

    def __str__(self) -> str:
        return f"{self.kind} after {self.after}, {self.server}"


def cells(options: Namespace) -> Iterator[Cell]:
    """Yield every n-th step of every server; a sample is drawn from all of them."""
    for n, server in enumerate(SERVERS):
        whole = length(server)
        stride = 1 if options.sample else EVERY
        for after in (*range(1 + n * stride // len(SERVERS), whole + 1, stride), whole - 12):
            for kind in KINDS:
                yield Cell(server, kind, after)


def play(cell: Cell, folder: Path) -> Played:
    """Play one case: the trigger that is stopped, `run wait last`, and the trigger again under its key."""
    said: list[Said] = []
    started: list[str] = []
    since = 0  # the command in which the run was started
    for number, words in enumerate((TRIGGER, LAST, TRIGGER)):
        said.append(_forked(folder, cell.server, words, None if number else cell, number)[0])
        since = since if started else number
        history = pickle.loads((folder / "truth").read_bytes())
        started = [run.id for run in history["runs"] if run.origin == "ours"]
    first = max(since, 1) if cell.kind == "SIGKILL" else since  # the dead say nothing
    named = [one.run or (UNKNOWN if one.error.get("run_state") == "unknown" else None) for one in said]
    is_lost = [
        one.code not in _OPEN and run not in {*started, UNKNOWN}
        for one, run in zip(said[first:], named[first:], strict=True)
    ]
    codes = [one.code for one in said]
    return Played([*codes]).breaks(
        f"codes {codes}, named {named}, started {started}", twice=len(started) > 1, lost=started and any(is_lost)
    )


def length(server: Server) -> int:
    """Return how many instructions the trigger takes on a server."""
    with tempfile.TemporaryDirectory() as name:
        return _forked(Path(name), server, TRIGGER, None, 0)[1]


def _forked(folder: Path, server: Server, words: Words, cell: Cell | None, number: int) -> tuple[Said, int]:
    """Play one command in a process of its own. Return what it said, and the instructions it took."""
    _warm()
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, _KILLED):
            raise AssertionError(f"the child ended in {code} at {cell}")
        told: tuple[Said, int] = pickle.loads((folder / "report").read_bytes())
        return told
    try:
        _be(folder, server, words, cell, number)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(3)
    os._exit(0)


def _be(folder: Path, server: Server, words: Words, cell: Cell | None, number: int) -> None:
    clock = SplitClock()
    hostile = Hostile(server, now=lambda: clock.time, let_pass=clock.let_pass)
    truth = folder / "truth"
    if truth.exists():
        history = pickle.loads(truth.read_bytes())
        clock.time = history.pop("time")
        vars(hostile).update(history)
    hostile.command = number
    count = 0

    def report(said: Said) -> None:
        with hostile.lock:
            hostile.ours()
            history = {name: getattr(hostile, name) for name in _HISTORY}
            truth.write_bytes(pickle.dumps({**history, "time": clock.time}))
        (folder / "report").write_bytes(pickle.dumps((said, count)))

    def trace(frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        nonlocal count
        if PACKAGE not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if cell and count == cell.after:
                if cell.kind == "SIGKILL":
                    sys.settrace(None)
                    report(Said(words, _KILLED, "", ""))
                    os._exit(_KILLED)
                signal.raise_signal(signal.SIGINT)
        return trace

    signals.listen({})
    sys.stdout = io.StringIO()
    if number == 0:  # what comes after is neither stopped nor counted
        sys.settrace(trace)
    try:
        said = typed(hostile, clock, folder / "state", *words)
    except Signalled:  # before `main` could begin, or after it ended
        said = Said(words, 130, "", "")
    sys.settrace(None)
    report(said)


@cache
def _warm() -> None:
    """Import what the commands import, without doing anything that starts a thread here."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with tempfile.TemporaryDirectory() as folder:
            for words in (KEY, LAST, TRIGGER):
                clock = SplitClock()
                hostile = Hostile(SERVERS[2], now=lambda c=clock: c.time, let_pass=clock.let_pass)  # type: ignore[misc]
                typed(hostile, clock, Path(folder), *words)
        os.write(writer, "\n".join(sorted(sys.modules)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as names:
        loaded = names.read().split()
    os.waitpid(child, 0)
    for module in loaded:
        if module.partition(".")[0] != "__main__" and module not in sys.modules:
            try:
                import_module(module)
            except ImportError:
                continue
