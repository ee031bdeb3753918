"""What was triggered from this machine, so that no run is lost and none is started twice.

Append-only JSON lines in the state folder. A trigger is two lines: the intent before the request, and afterwards what
became of it. Each line is one `O_APPEND` write, so parallel processes never mix, and the order of the lines in the
file decides who claimed a run first. Nothing here is ever in the way: what cannot be read or written is a warning.
"""

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from qoder_cli.model import mapping, text
from qoder_cli.statefolder import state_folder

if TYPE_CHECKING:
    from qoder_cli.keylock import KeyLocks

VERSION = 1
# Bytes of one file; the one before is kept beside it. It has room for 20,000 triggers, however long their keys are:
# twice as many as one command takes, of which each must be known when the command is repeated under its key.
LONGEST = 13 * 2**20
_STALE = 60.0  # seconds after which a lock has no holder any more
_LARGEST_FILE = 4 * LONGEST  # bytes; a larger one is not ours
_AT_ONCE = 2**20  # bytes read at a time
_NEWEST = (2**16, 2**20)  # bytes; so many are read first where the newest triggers are enough
_ID = re.compile(rb'"(?:intent|settled)": ?"([^"]+)"')


class Intent(NamedTuple):
    """One trigger: who started what where, when (unix seconds of this machine's clock), under which key."""

    id: str
    at: float
    profile: str
    host: str
    deployment: str
    key: str


class Entry(NamedTuple):
    """A trigger and what became of it: `run` is None while that is not known; `nothing` when nothing was started."""

    intent: Intent
    run: str | None = None
    nothing: bool = False

    @property
    def open(self) -> bool:
        """Whether nobody knows yet what became of it."""
        return self.run is None and not self.nothing


class Journal:
    """The triggers of this machine's user. `warn` is told, once, what does not work without it."""

    def __init__(self, env: Mapping[str, str], *, warn: Callable[[str], None]) -> None:
        self._env = env
        self._warn = warn
        self._warned = False

    @property
    def path(self) -> Path:
        """The journal's file: in QODER_STATE_DIR, else in the system's folder for state."""
        return state_folder(self._env) / "journal.jsonl"

    @property
    def files(self) -> tuple[Path, Path]:
        """The files that it consists of, oldest lines first: the full one that was set aside, and its file."""
        return _set_aside(self.path), self.path

    @cached_property
    def _locks(self) -> "KeyLocks":
        from qoder_cli.keylock import KeyLocks

        return KeyLocks(self.path.with_name("keys.lock"))

    def take_key(self, key: str, *, host: str) -> bool:
        """Return whether the key is now held for a trigger on this host, and not by another process."""
        try:
            return self._locks.take(f"{host} {key}")
        except (OSError, RuntimeError) as error:
            self._complain(f"cannot be locked ({error}); another trigger under the same key may not be noticed")
            return True

    def release_key(self, key: str, *, host: str) -> None:
        """Let another process have the key."""
        with suppress(OSError, RuntimeError):
            self._locks.release(f"{host} {key}")

    def intend(self, *, at: float, profile: str, host: str, deployment: str, key: str) -> Intent:
        """Write down what is about to be triggered, and return it."""
        intent = Intent(uuid.uuid4().hex, at, profile, host, deployment, key)
        self._append({"intent": intent.id, **{name: getattr(intent, name) for name in Intent._fields[1:]}})
        return intent

    def settle(self, intent: Intent, run_id: str | None) -> None:
        """Write down what became of a trigger: its run, or None when certainly nothing was started."""
        self._append({"settled": intent.id, "host": intent.host, "run": run_id})

    def claim(self, intent: Intent, run_id: str) -> bool:
        """Claim a run for a trigger whose answer was lost; False, and nothing claimed, when another was first."""
        self.settle(intent, run_id)
        if self.owners(intent.host).get(run_id, intent.id) == intent.id:
            return True
        self._append({"settled": intent.id, "host": intent.host, "open": True})
        return False

    def entries(self, host: str, *, since: float | None = None) -> list[Entry]:
        """Return the triggers on this host, oldest first; all those `since` a time (unix seconds), or all."""
        if since is None:
            return _entries(self._lines(host))
        return self._newest(host, lambda entries: entries[0].intent.at < since)

    def owners(self, host: str) -> dict[str, str]:
        """Return which trigger each run on this host belongs to: the first that claimed it."""
        owners: dict[str, str] = {}
        for line in self._lines(host):
            if run := text(line.get("run")):
                owners.setdefault(run, str(line.get("settled")))
        return owners

    def last(self, *, profile: str, host: str) -> Entry | None:
        """Return the newest trigger with this profile on this host that started something, or may have."""

        def is_it(entry: Entry) -> bool:
            return entry.intent.profile == profile and not entry.nothing

        return next(filter(is_it, reversed(self._newest(host, lambda entries: any(map(is_it, entries))))), None)

    def _newest(self, host: str, are_enough: Callable[[list[Entry]], bool]) -> list[Entry]:
        """Return the newest triggers on this host, or all: so many that they are enough."""
        for newest in _NEWEST:
            entries = _entries(_parsed(self._chunks(newest=newest), host))
            if entries and are_enough(entries):
                return entries
        return self.entries(host)

    def of_key(self, key: str, *, host: str) -> list[Entry]:
        """Return the triggers under this key on this host, oldest first."""
        entries = _entries(_parsed(self._lines_of_key(key), host))
        return [entry for entry in entries if entry.intent.key == key]

    def _append(self, line: dict[str, Any]) -> None:
        data = (json.dumps({"v": VERSION, **line}, separators=(",", ":")) + "\n").encode()
        try:
            path = self.path
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._make_room(path)
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                if os.write(descriptor, data) < len(data):
                    os.write(descriptor, b"\n")  # the disk is full: keep the next line apart from this stump
                    raise OSError("the disk is full")
            finally:
                os.close(descriptor)
        except (OSError, RuntimeError) as error:
            self._complain(f"cannot be written ({error}); `last` and --idempotency-key do not know of this run")

    def _lines(self, host: str) -> Iterator[dict[str, Any]]:
        """Yield the lines on this host, oldest first; stumps, garbage and other versions are passed over."""
        return _parsed(self._chunks(), host)

    def _lines_of_key(self, key: str) -> Iterator[bytes]:
        """Yield the lines of the triggers that may have this key: parsing all would take long where there are many."""
        word, ids = json.dumps(key).encode(), set[bytes]()
        for chunk in self._chunks():
            for line in chunk.splitlines() if ids or word in chunk else ():
                if (id := _ID.search(line)) and (id[1] in ids or word in line):
                    ids.add(id[1])
                    yield line

    def _chunks(self, *, newest: int | None = None) -> Iterator[bytes]:
        """Yield what is written down, oldest first, some whole lines at a time; or only the `newest` bytes of it."""
        try:
            files = self.files
        except (OSError, RuntimeError):  # no home folder
            return
        with ExitStack() as opened:
            # The newer file first: if it is set aside in between, its lines are read twice, which does not matter.
            newer, older = (self._open(file, opened) for file in reversed(files))
            if newer and newest is not None:
                newer.seek(max(newer.seek(0, os.SEEK_END) - newest, 0))
                older = None
            for file in filter(None, (older, newer)):
                with self._reading():
                    while chunk := file.read(_AT_ONCE):
                        yield chunk + file.readline()

    def _open(self, path: Path, opened: ExitStack) -> BinaryIO | None:
        file = None
        with self._reading():
            file = open_file(path)
        return opened.enter_context(file) if file else None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Let what cannot be read be a warning."""
        try:
            yield
        except OSError as error:
            self._complain(f"cannot be read ({error}); `last` and --idempotency-key do not know of earlier runs")

    def _make_room(self, path: Path) -> None:
        """Set a full file aside. Only the one who holds the lock does; an append in between lands in either file."""
        lock = path.with_suffix(".lock")
        with suppress(OSError):  # what cannot be set aside now goes on to be written to
            if path.stat().st_size < LONGEST:
                return
            try:
                os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                if time.time() - lock.stat().st_mtime > _STALE:
                    lock.unlink(missing_ok=True)  # its holder was killed; the next trigger makes room
                return
            try:
                if path.stat().st_size >= LONGEST:
                    path.replace(_set_aside(path))
            finally:
                lock.unlink(missing_ok=True)

    def _complain(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"the journal of triggers {what}")


def _set_aside(path: Path) -> Path:
    return path.with_suffix(".1.jsonl")


def open_file(path: Path) -> BinaryIO | None:
    """Return one of the journal's files, None where there is none.

    Raises OSError when it cannot be read, or is too large to be ours.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise OSError("too large to be a journal")
        return path.open("rb")
    except FileNotFoundError:
        return None


def read_line(line: bytes) -> dict[str, Any] | None:
    """Return what a line of the journal says; None for stumps, garbage and other versions."""
    try:
        entry = mapping(json.loads(line))
    except (ValueError, RecursionError):
        return None
    return entry if entry.get("v") == VERSION and text(entry.get("host")) else None


def _parsed(chunks: Iterable[bytes], host: str) -> Iterator[dict[str, Any]]:
    for chunk in chunks:
        for line in chunk.splitlines():
            if (entry := read_line(line)) is not None and entry["host"] == host:
                yield entry


def _entries(lines: Iterable[dict[str, Any]]) -> list[Entry]:
    entries: dict[str, Entry] = {}
    for line in lines:
        if intent := _intent(line):
            entries[intent.id] = Entry(intent)
        elif entry := entries.get(str(line.get("settled"))):
            run = text(line.get("run"))
            nothing = run is None and not line.get("open")
            entries[entry.intent.id] = Entry(entry.intent, run, nothing)
    return list(entries.values())


def _intent(line: dict[str, Any]) -> Intent | None:
    at, words = line.get("at"), [line.get(name) for name in ("intent", "profile", "host", "deployment", "key")]
    if not isinstance(at, int | float) or not all(isinstance(word, str) for word in words):
        return None
    id, profile, host, deployment, key = map(str, words)
    return Intent(id, float(at), profile, host, deployment, key)
