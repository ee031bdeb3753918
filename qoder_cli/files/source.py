"""Read deployment files, those in a folder, and standard input."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from qoder_cli.base.plainfile import read_typed, reason_of
from qoder_cli.files.tree import Problem

LONGEST = 4 * 1024 * 1024  # bytes; no body may be longer (api/facts.md, 3.7)
STDIN = "-"
_SUFFIXES = (".yaml", ".yml", ".json")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def files(path: str) -> Iterator[str]:
    """Yield a path's files: itself, or the YAML and JSON files in a folder, by name.

    Hidden files and subfolders are ignored. Raises Problem for a folder that cannot
    be listed or has none.
    """
    if path == STDIN or not os.path.isdir(path):
        yield path
        return
    named = [os.path.join(path, name) for name in _names_in(path) if name.lower().endswith(_SUFFIXES)]
    found = [file for file in named if not os.path.isdir(file)]
    if not found:
        more = "; subfolders are ignored" if folders_in(path) else ""
        raise Problem(f"has no .yaml, .yml or .json file{more}")
    yield from found


def folders_in(path: str) -> list[str]:
    """Return the names of the subfolders that are ignored, but for hidden ones."""
    with suppress(Problem):
        if path != STDIN and os.path.isdir(path):
            return [name for name in _names_in(path) if os.path.isdir(os.path.join(path, name))]
    return []


def _names_in(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise Problem(f"cannot be listed: {reason_of(error)}") from None


def identity(path: str) -> str:
    """Return what is equal for two paths of one file. Raises Problem."""
    try:
        return path if path == STDIN else os.path.realpath(path)
    except ValueError:  # a NUL inside
        raise Problem("is not a valid path") from None


def read(path: str, *, stdin: IO[str] | None) -> str:
    """Return the text of a file, or of stdin for `-`, of at most 4 MB. Raises Problem."""
    try:
        data = read_typed(path, stdin, LONGEST + 1)
    except BlockingIOError:
        raise Problem("is a pipe that nothing writes to") from None
    except OSError as error:
        raise Problem(f"cannot be read: {reason_of(error)}") from None
    except ValueError:
        raise Problem("standard input is closed") from None
    if len(data) > LONGEST:
        raise Problem(f"is larger than {LONGEST // 2**20} MB, the limit for a file")
    if data.startswith(_UTF_16):
        raise Problem("is UTF-16; save it as UTF-8", line=1)
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Problem(f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8", line=line) from None
