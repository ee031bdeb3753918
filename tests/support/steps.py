"""Killed and interrupted at every n-th step of the trigger: `python -m tests.support.steps [EVERY]`.

A step is a bytecode instruction of the program in its main thread. At it the process is killed as SIGKILL does (nothing
of it runs any more), or SIGINT comes. Each case is a process of its own, forked from one that has imported everything;
the server's true history is handed from one to the next. Afterwards somebody types `run wait last`, and the same
command under the same key. What must never be: two runs, or one that nobody names or calls unknown.
"""

import io
import json
import os
import pickle
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

from qoder_cli.base import signals
from qoder_cli.base.errors import Signalled
from tests.support.hostile import Hostile, Server, SplitClock
from tests.support.servers import KEY, LAST, RUN, Words, run_against

Kind = Literal["SIGKILL", "SIGINT"]
KINDS: tuple[Kind, ...] = ("SIGKILL", "SIGINT")
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


class Step(NamedTuple):
    """What is to happen, and after how many instructions."""

    kind: Kind
    after: int


class Case(NamedTuple):
    """What became of one."""

    server: Server
    step: Step
    codes: tuple[int, ...]
    named: tuple[str | None, ...]
    started: tuple[str, ...]
    since: int  # the command in which it was started

    @property
    def twice(self) -> bool:
        """Whether more than one run was started."""
        return len(self.started) > 1

    @property
    def lost(self) -> bool:
        """Whether a run was started and somebody since then neither named it nor called it unknown."""
        first = max(self.since, 1) if self.step.kind == "SIGKILL" else self.since  # the dead say nothing
        said = list(zip(self.codes, self.named, strict=True))[first:]
        known = {*self.started, UNKNOWN}
        return bool(self.started) and any(run not in known and code not in _OPEN for code, run in said)

    def __str__(self) -> str:
        return f"{self.server}, {self.step}: codes {self.codes}, named {self.named}, started {self.started}"


def _play(folder: Path, server: Server, words: Words, step: Step | None, number: int) -> tuple[int, str, int]:
    """Play one command in a process of its own. Return its exit code, its output, and the instructions it took."""
    report = folder / "report"
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, _KILLED):
            raise AssertionError(f"the child ended in {code} at {step}")
        said = pickle.loads(report.read_bytes())
        return said["code"], said["out"], said["count"]
    try:
        _be(folder, server, words, step, number)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(3)
    os._exit(0)


def _be(folder: Path, server: Server, words: Words, step: Step | None, number: int) -> None:
    clock = SplitClock()
    hostile = Hostile(server, now=lambda: clock.time, let_pass=clock.let_pass)
    truth = folder / "truth"
    if truth.exists():
        history = pickle.loads(truth.read_bytes())
        clock.time = history.pop("time")
        vars(hostile).update(history)
    hostile.command = number
    count = 0

    def report(code: int, out: str) -> None:
        with hostile.lock:
            hostile.ours()
            history = {name: getattr(hostile, name) for name in _HISTORY}
            truth.write_bytes(pickle.dumps({**history, "time": clock.time}))
        (folder / "report").write_bytes(pickle.dumps({"code": code, "out": out, "count": count}))

    def trace(frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        nonlocal count
        if PACKAGE not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if step and count == step.after:
                if step.kind == "SIGKILL":
                    sys.settrace(None)
                    report(_KILLED, "")
                    os._exit(_KILLED)
                signal.raise_signal(signal.SIGINT)
        return trace

    signals.listen()
    sys.stdout = io.StringIO()
    if number == 0:  # what comes after is neither stopped nor counted
        sys.settrace(trace)
    try:
        code, out, err = run_against(hostile, clock, folder / "state", *words)
    except Signalled:  # before `main` could begin, or after it ended
        code, out, err = 130, "", ""
    sys.settrace(None)
    if not out and '"run_id"' in err:
        error = json.loads(err.splitlines()[-1])["error"]
        out = json.dumps({"id": error["run_id"] or (UNKNOWN if error["run_state"] == "unknown" else None)})
    report(int(code), out)


def _warm() -> None:
    """Import what the commands import, without doing anything that starts a thread here."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            for words in (KEY, LAST, TRIGGER):
                clock = SplitClock()
                hostile = Hostile(SERVERS[2], now=lambda c=clock: c.time, let_pass=clock.let_pass)  # type: ignore[misc]
                run_against(hostile, clock, folder / "state", *words)
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


def play(server: Server, step: Step) -> Case:
    """Play one case: the trigger that is stopped, `run wait last`, and the trigger again under its key."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        codes: list[int] = []
        named: list[str | None] = []
        started: list[str] = []
        since = 0
        for number, words in enumerate((TRIGGER, LAST, TRIGGER)):
            code, out, _ = _play(folder, server, words, None if number else step, number)
            codes.append(code)
            named.append(json.loads(out).get("id") if out.strip() else None)
            history = pickle.loads((folder / "truth").read_bytes())
            since = since if started else number
            started = [run.id for run in history["runs"] if run.origin == "ours"]
        return Case(server, step, tuple(codes), tuple(named), tuple(started), since)


def length(server: Server) -> int:
    """Return how many instructions the trigger takes on a server."""
    with tempfile.TemporaryDirectory() as name:
        return _play(Path(name), server, TRIGGER, None, 0)[2]


def cases(every: int, *, servers: tuple[Server, ...] = SERVERS, most: int | None = None) -> Iterator[Case]:
    """Play every n-th step of every server, or `most` of them spread over the whole of it."""
    _warm()
    for n, server in enumerate(servers):
        whole = length(server)
        stride = max(every, whole // most) if most else every
        for after in (*range(1 + n * stride // len(servers), whole + 1, stride), whole - 12):
            for kind in KINDS:
                yield play(server, Step(kind, after))


def table(found: list[Case]) -> str:
    """Return a line for each server and kind, the exit codes, and the two zeros."""
    lines = [f"{'server':<44} {'kind':<8} {'cases':>5} {'exit codes: stopped, last, same key':<60} twice lost"]
    for server in SERVERS:
        for kind in KINDS:
            these = [case for case in found if (case.server, case.step.kind) == (server, kind)]
            codes = " | ".join(
                " ".join(f"{code}x{count}" for code, count in sorted(Counter(case.codes[n] for case in these).items()))
                for n in range(3)
            )
            twice, lost = sum(case.twice for case in these), sum(case.lost for case in these)
            lines.append(f"{str(server)[:44]:<44} {kind:<8} {len(these):>5} {codes:<60} {twice:>5} {lost:>4}")
    wrong = [case for case in found if case.twice or case.lost]
    lines += [f"  {case}" for case in wrong[:20]]
    total = f"{len(found)} cases: twice {sum(c.twice for c in found)}, lost {sum(c.lost for c in found)}"
    return "\n".join([*lines, total])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--some"]:  # a part, as JSON, for the test suite
        some = list(cases(1, most=int(sys.argv[2])))
        print(json.dumps({"cases": len(some), "wrong": [str(c) for c in some if c.twice or c.lost]}))
    else:
        print(table(list(cases(int(sys.argv[1]) if sys.argv[1:] else 200))))
