"""The text of deployment files: named files, the files of a folder, standard input. Never more than 4 MB of one."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, BinaryIO

from qoder_cli.base.plainfile import open_at_once, read_most
from qoder_cli.files.tree import Problem

LONGEST = 4 * 1024 * 1024  # bytes; no body may be longer (api/facts.md, 3.7)
_TOO_LONG = f"is larger than {LONGEST // 1024 // 1024} MB, the limit for a deployment file"
STDIN = "-"
_SUFFIXES = (".yaml", ".yml", ".json")
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def files(path: str) -> Iterator[str]:
    """Yield the files that `path` stands for: itself, or the YAML and JSON files in a folder, by name.

    Files whose names begin with a dot, and folders within, are ignored. Raises Problem for a folder that cannot be
    listed or has no such file.
    """
    if path == STDIN or not os.path.isdir(path):
        yield path
        return
    found = _in_folder(path, _counts)
    if not found:
        more = "; subfolders are ignored" if folders_in(path) else ""
        raise Problem(f"has no .yaml, .yml or .json file{more}")
    yield from (os.path.join(path, name) for name in found)


def folders_in(path: str) -> list[str]:
    """Return the names of the folders that are ignored in a folder, without those that begin with a dot."""
    with suppress(Problem):
        return _in_folder(path, _is_folder) if path != STDIN and os.path.isdir(path) else []
    return []


def _in_folder(path: str, counts: Callable[[os.DirEntry[str]], bool]) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and counts(entry))
    except OSError as error:
        raise Problem(f"cannot be listed: {_reason(error)}") from None


def identity(path: str) -> str:
    """Return what is the same for two paths of one file. Raises Problem for what can be no path."""
    try:
        return path if path == STDIN else os.path.realpath(path)
    except ValueError:  # a NUL inside
        raise Problem("is not a valid path") from None


def read(path: str, *, stdin: IO[str] | None) -> str:
    """Return the text of a file, or of standard input for `-`, without a byte order mark.

    Raises Problem for what cannot be read, is longer than 4 MB (found out without reading all of it) or is not UTF-8.
    """
    try:
        return _decoded(_bytes_of_stdin(stdin) if path == STDIN else _bytes_of_file(path))
    except OSError as error:
        raise Problem(f"cannot be read: {_reason(error)}") from None
    except ValueError:  # standard input that is closed
        raise Problem("is closed") from None


def _counts(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(_SUFFIXES) and not _is_folder(entry)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle: whoever reads it is told so, with its name
        return False


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _bytes_of_stdin(stdin: IO[str] | None) -> bytes:
    if stdin is None:
        raise Problem("standard input is closed")
    binary: BinaryIO | None = getattr(stdin, "buffer", None)
    return binary.read(LONGEST + 1) if binary else stdin.read(LONGEST + 1).encode("utf-8", "surrogatepass")


def _bytes_of_file(path: str) -> bytes:
    with open_at_once(path) as file:
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_size > LONGEST:
            raise Problem(_TOO_LONG)
        try:
            return read_most(file, LONGEST + 1)
        except BlockingIOError:
            raise Problem("is a pipe that nothing writes to") from None


def _decoded(data: bytes) -> str:
    if len(data) > LONGEST:
        raise Problem(_TOO_LONG)
    if data.startswith(_UTF_16):
        raise Problem("is UTF-16; save it as UTF-8", line=1)
    mark = len(_BOM) if data.startswith(_BOM) else 0
    try:
        return data[mark:].decode()
    except UnicodeDecodeError as error:
        at = mark + error.start
        line = data.count(b"\n", 0, at) + 1
        raise Problem(f"byte {at} (0x{data[at]:02x}) is not UTF-8", line=line) from None
