"""One trigger at a time under one key, over all processes of this machine.

A key is a byte of one lock file: the system frees it when its process ends, and no file is
left to delete. `filelock` locks whole files, one for each key, and its import takes 13 ms.
"""

import os
import stat
import sys
import threading
import zlib
from pathlib import Path

_locked: set[tuple[str, int]] = set()  # file and byte: the system sees no threads
_guard = threading.Lock()


class KeyLocks:
    """The keys this process holds, in a lock file shared by the user's processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None  # opened once: closing any handle frees all keys

    def lock(self, key: str) -> bool:
        """Hold a key unless somebody does. Return whether it is held. Raises OSError."""
        with _guard:
            place = self._place(key)
            if place in _locked or not _lock(self._opened(), place[-1]):
                return False
            _locked.add(place)
            return True

    def release(self, key: str) -> None:
        with _guard:
            place = self._place(key)
            if self._file is not None and place in _locked:
                _locked.discard(place)
                _unlock(self._file, place[-1])

    def close(self) -> None:
        """Close the file, unless a key of it is held in this process."""
        with _guard:
            is_locked = str(self._path) in {file for file, _ in _locked}
            if self._file is not None and not is_locked:
                os.close(self._file)
                self._file = None

    def _place(self, key: str) -> tuple[str, int]:
        return str(self._path), zlib.crc32(key.encode()) & 0x7FFFFFFF

    def _opened(self) -> int:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o600)
            if not stat.S_ISREG(os.fstat(file).st_mode):
                os.close(file)
                raise OSError(f"{self._path} is not a file")
            self._file = file
        return self._file


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
