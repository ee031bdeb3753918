"""Ends the command of a sandbox, and what that has started, when the sandbox is killed, be it by kill -9.

A process of its own, run by its path. Its standard input is a pipe of which only the sandbox holds the other end. On it
comes the number of the command's process, written by that process before it becomes the command, so that there is no
moment at which it runs unknown; then a line when it has ended in order. A pipe that ends without that line is a sandbox
that was killed.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress


def main() -> None:
    """Wait for the end of the pipe, and do what it means."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # they may be meant for all of a service; the pipe says when to end
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    pid = int(line)
    started = processes().get(pid, (0, ""))[1]  # the number may be another's later
    if not sys.stdin.buffer.readline():
        end(pid, started)


def processes() -> dict[int, tuple[int, str]]:
    """Return all processes by number: their parents, and when they started."""
    return dict(_of_proc() if os.path.exists("/proc/self/stat") else _of_ps())


def _of_proc() -> Iterator[tuple[int, tuple[int, str]]]:
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
            words = file.read().rpartition(")")[2].split()  # a program's name may have spaces and brackets
            yield int(name), (int(words[1]), words[19])


def _of_ps() -> Iterator[tuple[int, tuple[int, str]]]:
    if sys.platform == "win32":  # there nothing lists them; `taskkill` knows the tree
        return
    listed = subprocess.run(["ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "lstart="], capture_output=True, text=True)
    for line in listed.stdout.splitlines():
        pid, parent, started = line.split(maxsplit=2)
        yield int(pid), (int(parent), started)


def end(pid: int, started: str) -> None:
    """End a process and its descendants. Each is stopped when it is found, so that none starts more."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True)
        return
    doomed: set[int] = set()
    while children := {
        child
        for child, (parent, at) in processes().items()
        if child not in doomed and ((child, at) == (pid, started) or parent in doomed)
    }:
        _signal(children, signal.SIGSTOP)
        doomed |= children
    _signal(doomed, signal.SIGKILL)


def _signal(pids: set[int], signum: int) -> None:
    for pid in pids:
        with suppress(OSError):  # gone, or another user's
            os.kill(pid, signum)


if __name__ == "__main__":
    main()
