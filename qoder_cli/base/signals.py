"""SIGINT, SIGTERM and SIGHUP: the first is raised where the program stands, the second ends it at once.

Two within a tenth of a second count as one: a supervisor may signal a process and then its group. Within `deferred`,
the first is raised only where the program waits, so that nothing learnt in between is lost.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType

from qoder_cli.base.errors import Signalled

ONE_SIGNAL = 0.1  # seconds

_seen: list[float] = []  # when signals came
_last_words: list[bool] = []
_swallowed: list[int] = []  # came where nothing could be raised, or within `deferred`
_holds: list[Callable[[], None]] = []
_waits: list[bool] = []
_prepared: dict[int, bytes] = {}  # what is written, whole, before dying by a second signal


def listen(errors: Mapping[int, bytes]) -> None:
    """Take over what the parent does not ignore; `errors` are the last words at a second signal."""
    _prepared.update(errors)
    for signum in _ours():
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _on_signal)
    sys.unraisablehook = _on_unraisable


@contextmanager
def deferred(wake: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Raise a signal only in a `waiting`, or at the end of this block; `wake` is called when one comes before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _holds.append(wake)
    try:
        yield
    finally:
        _holds.pop()
        if _swallowed and not _holds:
            raise Signalled(_swallowed.pop())


@contextmanager
def waiting() -> Iterator[None]:
    """Let a signal be raised in this block, in which nothing can be lost. Every wait is in one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _waits.append(True)  # before the look: a signal that comes in between is raised
    try:
        if _swallowed:
            raise Signalled(_swallowed.pop())
        yield
    finally:
        _waits.pop()


@contextmanager
def stops() -> Iterator[list[int]]:
    """Yield a list that has something once this process went on after a stop in this block, as by Ctrl-Z and `fg`."""
    seen: list[int] = []
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = signal.signal(signal.SIGCONT, lambda signum, frame: seen.append(signum))
    try:
        yield seen
    finally:
        signal.signal(signal.SIGCONT, before)


def has_come() -> bool:
    """Return whether a signal has come: the command is about to end."""
    return bool(_seen)


def begin_last_words() -> None:
    """Mark that the command only says how it ended: a first signal is too late."""
    _last_words.append(True)


def begin_error() -> None:
    """Mark that the error of this command is being written: there is to be no other."""
    _prepared.clear()


def deafen() -> None:
    """Ignore signals while the interpreter shuts down: the exit code is decided."""
    for signum in _ours():
        signal.signal(signum, signal.SIG_IGN)


def die_by(signum: int) -> None:
    """End this process by the signal, as if it had never been caught."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
    if os.getpid() == 1:  # of a container: the kernel spares it
        os._exit(128 + signum)


def _ours() -> list[int]:
    return [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _on_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    if isinstance(unraisable.exc_value, Signalled):
        _swallowed.append(unraisable.exc_value.signum)
    else:
        sys.__unraisablehook__(unraisable)


def _on_signal(signum: int, frame: FrameType | None) -> None:
    _seen.append(time.monotonic())
    if len(_seen) == 1 and not _last_words:
        if _holds and not _waits:
            _swallowed.append(signum)
            _holds[-1]()
            return
        raise Signalled(signum)
    if _seen[-1] - _seen[0] > ONE_SIGNAL:
        with suppress(OSError):
            if sys.platform == "win32" or select.select([], [2], [], 0)[1]:  # else nobody reads it
                os.write(2, _prepared.get(signum, b""))
        die_by(signum)
