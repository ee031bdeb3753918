"""The keys of a terminal: whether it echoes them, and what was typed but not read yet."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

if sys.platform == "win32":
    import msvcrt

    _GLANCE = 0.01  # seconds between two looks at the keyboard

    @contextmanager
    def keys(*, shown: bool, one_by_one: bool = False) -> Iterator[Callable[[], bytes]]:
        """Yield a function that returns at once the keys typed since. A console echoes only what is read by line."""
        yield _typed if one_by_one else bytes

    def _typed() -> bytes:
        pressed = ""
        while msvcrt.kbhit():
            pressed += msvcrt.getwch()
        return pressed.encode("utf-8", "surrogatepass")

    def is_ready(stream: IO[str], *, within: float) -> bool:
        """Return whether a key was typed at the console, within so many seconds."""
        until = time.monotonic() + within
        while not msvcrt.kbhit():
            if time.monotonic() >= until:
                return False
            time.sleep(_GLANCE)
        return True

    def modes() -> list[Any] | None:
        """Return the modes of the terminal; a console needs none."""
        return None

    def stop(before: list[Any] | None) -> None:
        """Do nothing: Windows stops no process for a person."""

else:
    import select
    import signal
    import termios

    @contextmanager
    def keys(*, shown: bool, one_by_one: bool = False) -> Iterator[Callable[[], bytes]]:
        """Let a terminal echo keys in this block, or not: an Enter would move what is drawn.

        Yield a function that returns at once the keys typed since, if they come `one_by_one`. Ctrl-Z and Ctrl-\\ are
        such keys then: they would leave the terminal to the shell as it is here. Nothing is changed in the background,
        where the system would stop us.
        """
        try:
            terminal = _input()
            before = termios.tcgetattr(terminal)
        except (OSError, ValueError, termios.error):
            yield bytes
            return
        changed = [*before[:6], [*before[6]]]
        changed[3] = changed[3] & ~termios.ECHO | (termios.ECHO * shown)
        if one_by_one:
            changed[3] &= ~termios.ICANON
            changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
            changed[6][termios.VSUSP] = changed[6][termios.VQUIT] = os.fpathconf(terminal, "PC_VDISABLE").to_bytes()

        def set_to(attributes: list[Any]) -> None:
            with suppress(OSError, termios.error):
                if os.tcgetpgrp(terminal) == os.getpgrp():
                    termios.tcsetattr(terminal, termios.TCSANOW, attributes)

        def read_typed() -> bytes:
            if not select.select([terminal], [], [], 0)[0]:
                return b""
            return os.read(terminal, 1024)

        set_to(changed)
        try:
            yield read_typed
        finally:
            set_to(before)

    def is_ready(stream: IO[str], *, within: float) -> bool:
        """Return whether a terminal has a line within so many seconds."""
        with suppress(OSError, ValueError):
            return bool(select.select([stream], [], [], within)[0])
        return False

    def _input() -> int:
        if sys.__stdin__:
            return sys.__stdin__.fileno()
        return 0

    def modes() -> list[Any] | None:
        """Return the modes of the terminal that is read from; None if there is none."""
        with suppress(OSError, ValueError, termios.error):
            return termios.tcgetattr(_input())
        return None

    def stop(before: list[Any] | None) -> None:
        """Stop this job as Ctrl-Z does, in the terminal modes `before`. Once it is resumed, restore its own modes."""
        terminal, own = _input(), modes()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        if before is not None:
            termios.tcsetattr(terminal, termios.TCSANOW, before)
        os.kill(0, signal.SIGTSTP)
        if own is not None:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, own)  # what was typed meanwhile was for the shell
        signal.signal(signal.SIGTSTP, handler)
