"""Threads, and waiting for them, such that a signal can be raised anywhere in it.

A `threading.Event` that is waited for when the signal comes may lose its lock, and raise RuntimeError in its place.
"""

import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from qoder_cli.base import signals
from qoder_cli.base.errors import Signalled

# Seconds. On Windows a wait cannot be interrupted, so that Ctrl-C is heard between two of them.
_LONGEST_WAIT = 0.2 if sys.platform == "win32" else threading.TIMEOUT_MAX


def begin(work: Callable[[], None]) -> None:
    """Do work in a thread that ends with the process, and return at once. Raises Signalled."""
    try:
        threading.Thread(target=work, daemon=True).start()
    except RuntimeError as error:  # of the event by which a thread tells that it has started
        if isinstance(error.__context__, Signalled):
            raise error.__context__ from None
        raise


class Gate:
    """Something to wait for: closed at first, and once it is open it stays so."""

    def __init__(self) -> None:
        self._opened = SimpleQueue[None]()
        self.is_open = False

    def open(self) -> None:
        """Let everybody through."""
        self.is_open = True
        self._opened.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait until it is open, so many seconds at most, and return whether it is. Raises Signalled."""
        with signals.waiting():
            while seconds > 0 and not self.is_open:
                try:
                    self._opened.get(timeout=min(seconds, _LONGEST_WAIT))
                    self._opened.put(None)  # for whoever waits beside
                except Empty:
                    seconds -= _LONGEST_WAIT
        return self.is_open
