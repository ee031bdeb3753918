"""One trigger at a time under one key, over all processes of this machine.

Two calls with one key must not both find that nothing was started yet. A key is a byte of one lock file; the system
lets go of it when its process ends, however it ends. Written by hand: the libraries for this bring asyncio along.
"""

import os
import sys
import threading
import zlib
from pathlib import Path


class KeyLocks:
    """The keys that this process holds, in a lock file that all processes of this user share."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None  # opened once: to close any handle of it would let go of every key
        self._opening = threading.Lock()

    def take(self, key: str) -> bool:
        """Hold a key if nobody does, and return whether that is so now. Raises OSError where nothing can be locked."""
        return _lock(self._opened(), _place(key))

    def release(self, key: str) -> None:
        """Let go of a key."""
        if self._file is not None:
            _unlock(self._file, _place(key))

    def _opened(self) -> int:
        with self._opening:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            return self._file


def _place(key: str) -> int:
    """Return the byte that stands for a key; two keys that share one wait for each other, which does no harm."""
    return zlib.crc32(key.encode()) & 0x7FFFFFFF


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, place: int) -> bool:
        os.lseek(file, place, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: int, place: int) -> None:
        os.lseek(file, place, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: int, place: int) -> bool:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(file: int, place: int) -> None:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, place)
