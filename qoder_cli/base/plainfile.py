"""Files of this machine: read without ever blocking on a named pipe, replaced atomically, and sealed in a sandbox.

`qoder sandbox` marks its folder with its URL, the value of QODER_SANDBOX. Variables lead there, but a command inside
may set others, or meet a link: config and state that would be written elsewhere are refused.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

from qoder_cli.base.errors import UsageError

_SEAL = "sandbox.url"
_LONGEST_URL = 4096  # bytes
LARGEST_BODY = 64 * 2**20  # bytes; the API takes 4 to 32 MB, zipped skills 50 MiB (api.md#limits)


def open_at_once(path: str | Path) -> BinaryIO:
    """Open a file or a pipe (`<(…)`) for reading. Raises OSError, ValueError for a bad path."""
    file = open(path, "rb", opener=without_waiting)  # noqa: SIM115  # the caller closes it
    if sys.platform != "win32":
        os.set_blocking(file.fileno(), True)
    return file


def read_most(file: BinaryIO, most: int) -> bytes:
    """Return at most so many bytes. Raises OSError, also for a pipe that nobody writes to."""
    data = file.read(most)
    if not data and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
        raise BlockingIOError(errno.EAGAIN, "it is a named pipe that nothing writes to")
    return data


def read_typed(path: str, stdin: IO[str] | None, most: int) -> bytes:
    """Return at most so many bytes of a file, or of standard input for `-`. Raises OSError, ValueError."""
    if path != "-":
        with open_at_once(path) as file:
            return read_most(file, most)
    if stdin is None:
        raise ValueError("it is closed")
    if hasattr(stdin, "buffer"):
        return bytes(stdin.buffer.read(most))
    return stdin.read(most).encode("utf-8", "surrogatepass")


def read_checked(path: str, stdin: IO[str] | None, most: int, *, option: str = "", hint: str = "send less") -> bytes:
    """Return what is in a file, in standard input for `-`. Raises UsageError, also for more bytes than `most`."""
    called = f"{option}: " if option else ""
    name, fix = path, "check the file's name"
    if path == "-":
        name, fix = "standard input", "pipe into it, or name a file"
    try:
        content = read_typed(path, stdin, most + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{called}cannot read {name}: {reason_of(error)}", hint=fix) from None
    if len(content) > most:
        raise UsageError(f"{called}{name} is larger than {most // 2**20} MiB", hint=hint)
    return content


def read_body(path: str, stdin: IO[str] | None, *, option: str) -> bytes:
    """Read what an option sends, from a file or `-`. Raises UsageError, for more than the API takes, too."""
    return read_checked(path, stdin, LARGEST_BODY, option=option, hint="send less; the API takes 4 to 32 MB")


def text_of(word: str, *, stdin: IO[str] | None, option: str) -> str:
    """Return a text as typed, of `@FILE`, or of stdin for `-`. Raises UsageError."""
    if not word:
        raise UsageError(f"{option} is empty", hint="is a shell variable unset? For no text at all: @/dev/null")
    if word != "-" and not word.startswith("@"):
        return word
    try:
        text = read_body(word.removeprefix("@"), stdin, option=option).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{option}: the text is not UTF-8", hint="save the file as UTF-8") from None
    if word == "-" and not text:
        raise UsageError(f"{option}: standard input is empty", hint="for no text at all: @/dev/null")
    return text


def replace_file(path: Path, data: bytes, *, is_private: bool = True) -> None:
    """Replace a file atomically, readable by its owner only if it `is_private`. Raises OSError."""
    part = path.with_name(f".{path.name[:40]}.{os.urandom(4).hex()}")  # a name is 255 bytes long at most
    try:
        with open(part, "xb", opener=partial(os.open, mode=0o600 if is_private else 0o666)) as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:  # a signal too must not leave a token lying about
        part.unlink(missing_ok=True)
        raise


def reason_of(error: Exception) -> str:
    """Return why a file could not be used, without its path."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def without_waiting(path: str, flags: int) -> int:
    """Open a file; never wait for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)


def seal(folder: Path, url: str) -> None:
    """Mark a folder as that of the sandbox at `url`. Raises OSError."""
    (folder / _SEAL).write_text(url, "utf-8")


def refuse_outside(path: Path, env: Mapping[str, str]) -> None:
    """Raise UsageError if this is inside a sandbox and the file at `path` is not in its folder, by any link."""
    url = env.get("QODER_SANDBOX")
    if not url:
        return
    for folder in Path(os.path.realpath(path)).parents:
        with suppress(OSError, ValueError), open_at_once(folder / _SEAL) as file:
            if read_most(file, _LONGEST_URL) == url.encode():
                return
    raise UsageError(
        f"{path} is outside the folder of this sandbox; nothing was sent or written",
        hint="run it outside the sandbox",
    )


def writable_by_others(path: str) -> Iterator[Path]:
    """Yield the file and folders above it that others may write, or nobody can look at."""
    if sys.platform == "win32":
        return
    places = map(Path, (os.path.abspath(path), os.path.realpath(path)))  # a link can be replaced, and what it names
    for folder in dict.fromkeys(folder for whole in places for folder in (whole, *whole.parents)):
        try:
            about = os.stat(folder)
        except OSError:
            yield folder
            continue
        if stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX:
            continue  # there everybody can only replace what is theirs
        is_anothers = about.st_uid not in (0, os.geteuid())
        is_shared = bool(about.st_mode & stat.S_IWGRP) and not _is_private(about)
        if is_anothers or is_shared or about.st_mode & stat.S_IWOTH:
            yield folder


def _is_private(about: os.stat_result) -> bool:
    """Return whether the group of a file is its owner's own, which many systems give to each user."""
    if sys.platform == "win32":
        return False
    import grp
    import pwd

    try:
        owner, group = pwd.getpwuid(about.st_uid).pw_name, grp.getgrgid(about.st_gid)
    except KeyError:
        return False
    return group.gr_name == owner and not set(group.gr_mem) - {owner}
