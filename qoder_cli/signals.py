"""SIGINT, SIGTERM and SIGHUP: the first is raised where the program stands, the second ends it at once.

Two within a tenth of a second are one: a supervisor may signal a process and then the group that it is in.
"""

import os
import signal
import sys
import threading
import time
from types import FrameType

from qoder_cli.errors import Signalled

ONE_SIGNAL = 0.1  # seconds

_seen: list[float] = []  # when signals came
_last_words: list[bool] = []
_swallowed: list[int] = []


def listen() -> None:
    """Take over the signals; what the parent ignores stays ignored (nohup, background jobs of a shell script)."""
    for signum in _ours():
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _on_signal)
    sys.unraisablehook = _on_unraisable


def raise_swallowed() -> None:
    """Raise a signal that came in a callback, where nothing can be raised. Every wait begins with this.

    Only the main thread is told: the others do what it asks them to.
    """
    if _swallowed and threading.current_thread() is threading.main_thread():
        raise Signalled(_swallowed.pop())


def begin_last_words() -> None:
    """From now on the command only says how it ended: one signal is too late to change that, a second still kills."""
    _last_words.append(True)


def deafen() -> None:
    """Ignore what comes while the interpreter shuts down; the exit code is decided."""
    for signum in _ours():
        signal.signal(signum, signal.SIG_IGN)


def die_by(signum: int) -> None:
    """End this process by the signal, as if it had never been caught."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


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
        raise Signalled(signum)
    if _seen[-1] - _seen[0] > ONE_SIGNAL:
        die_by(signum)
