"""The process around `main`: signal handlers before any import that takes time, and dying by the signal after it."""

import gc
import os
import signal
import sys
from types import FrameType

from qoder_cli.errors import Exit, Signalled

_seen: list[int] = []


def _on_signal(signum: int, frame: FrameType | None) -> None:
    """Raise the first signal where the program stands; at the second, end at once."""
    _seen.append(signum)
    if len(_seen) > 1:
        _die_by(signum)
    raise Signalled(signum)


def _die_by(signum: int) -> None:
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def _listen() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signum = getattr(signal, name, None)
        # What the parent ignores stays ignored: nohup, and background jobs of a shell script.
        if signum is not None and signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _on_signal)


def run() -> None:
    """Run the command line of this process, and end as its exit code says. Never returns."""
    gc.set_threshold(50_000)  # imports make many objects and no garbage; looking for it takes 8 % of a short command
    try:
        _listen()
        from qoder_cli.cli import main

        code = main()
    except Signalled as signalled:  # before `main` could put it into words
        code = signalled.exit
    if code == Exit.INTERRUPTED and os.name == "posix":
        _flush()
        _die_by(signal.SIGINT)  # a child that exits 130 lets a shell loop go on; one that dies by SIGINT stops it
    if code == Exit.CLOSED_PIPE:
        from qoder_cli.screen import silence

        silence(sys.stdout)
    sys.exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass


if __name__ == "__main__":
    run()
