"""Runs the command of `--notify`, as a program of its own: it outlives the command that began it.

`python notifier.py SECONDS WORD...`: its standard input is the command's. What the command prints is passed on as long
as somebody reads it; at the end of its time it is killed, with all that it began.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress


def run(seconds: float, words: list[str]) -> int:
    """Run a command for so many seconds at most. Return its exit code; negative when a signal killed it."""
    try:
        command = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0, start_new_session=True
        )
    except (OSError, ValueError) as error:
        _pass_on(f"{words[0]}: {error.strerror if isinstance(error, OSError) else error}\n".encode())
        return 127  # as in a shell
    timer = threading.Timer(seconds, _kill, [command])
    timer.start()
    with command:
        while printed := command.stdout.read(65536) if command.stdout else b"":
            _pass_on(printed)
    timer.cancel()
    return command.returncode


def _pass_on(printed: bytes) -> None:
    with suppress(OSError):  # nobody reads it any more
        os.write(1, printed)


def _kill(command: "subprocess.Popen[bytes]") -> None:
    with suppress(OSError):
        if sys.platform == "win32":
            command.kill()
        else:
            os.killpg(command.pid, signal.SIGKILL)


if __name__ == "__main__":
    for name in ("SIGINT", "SIGHUP", "SIGPIPE"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    sys.exit(abs(run(float(sys.argv[1]), sys.argv[2:])))
