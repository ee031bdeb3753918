"""Let the program and its tests see what Python has on Windows: `python -m pytest -p tests.support.windows tests/unit`.

To our own modules `sys.platform` is `win32`, modules and names that Windows lacks are absent, `select` takes sockets
alone, and `msvcrt` is there, with locks that keep out another handle of the same process. Libraries stay as they are.
"""

import builtins
import errno
import fcntl
import os
import re
import select
import signal
import stat
import struct
import sys
import time
from collections.abc import Generator
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ABSENT = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")
HIDDEN = {
    os: "fork forkpty getuid geteuid killpg mkfifo openpty O_NOFOLLOW O_NONBLOCK setsid set_blocking WNOHANG",
    signal: "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGQUIT SIGSTOP SIGTSTP SIGUSR1 pthread_sigmask sigpending sigwait",
    time: "tzset",
}


class Seen(ModuleType):
    """A module without some of its names, and with others in the place of some."""

    def __init__(self, real: ModuleType, **instead: Any) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(instead, _real=real)

    def __getattr__(self, name: str) -> Any:
        if name in HIDDEN.get(self._real, "").split():
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        return getattr(self._real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real, name, value)


def _locking(file: int, mode: int, count: int) -> None:
    kind = fcntl.F_UNLCK if mode == 0 else fcntl.F_WRLCK
    try:
        place = os.lseek(file, 0, os.SEEK_CUR)
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, place, count, 0))
    except BlockingIOError:
        raise PermissionError(errno.EACCES, "Permission denied") from None


def _select(reads: Any, writes: Any, errors: Any, timeout: float | None = None) -> Any:
    for each in (*reads, *writes, *errors):
        if not stat.S_ISSOCK(os.fstat(each if isinstance(each, int) else each.fileno()).st_mode):
            raise OSError(10038, "An operation was attempted on something that is not a socket")
    return select.select(reads, writes, errors, timeout)


_WINDOWS: dict[str, Any] = {
    "msvcrt": SimpleNamespace(LK_UNLCK=0, LK_LOCK=1, LK_NBLCK=2, locking=_locking, kbhit=lambda: False),
    "os": Seen(os, name="nt"),
    "select": Seen(select, select=_select),
    "signal": Seen(signal),
    "sys": Seen(sys, platform="win32"),
    "time": Seen(time),
}


def _import(name: str, *more: Any, **named: Any) -> Any:
    if name in ABSENT:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return _WINDOWS[name] if name in _WINDOWS else builtins.__import__(name, *more, **named)


class _Finder:
    """Finds our modules as ever, and hands them an `import` of their own."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in ("qoder_cli", "tests") or name == __name__:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """A module's own loader, but for the `import` that the module gets."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
        self._real.exec_module(module)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a module that needs what is absent."""
    report = yield
    missing = re.search(r"No module named '(\w+)'", str(report.longrepr))
    if report.failed and missing and missing[1] in ABSENT:
        report.outcome, report.longrepr = "skipped", (str(collector.path), 1, f"Skipped: there is no {missing[1]}")
    return report


sys.meta_path.insert(0, _Finder())
