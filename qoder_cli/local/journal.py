"""The journal in which earlier versions kept their triggers: read once, when the store's tables are made.

JSON lines: a trigger is two of them, the intent before the request, and afterwards what became of it. The files stay
where they are, so that an earlier version finds what it wrote; it does not know of what was triggered since.
"""

import json
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from qoder_cli.base.model import mapping, text

VERSION = 1
_LARGEST_FILE = 52 * 2**20  # bytes; a larger one is not ours


class Old(NamedTuple):
    """A trigger of the journal and what became of it, as the store's `Entry` tells it."""

    id: str
    at: float
    profile: str
    host: str
    deployment: str
    key: str
    run: str | None = None
    nothing: bool = False


def read(paths: Iterable[Path]) -> list[Old]:
    """Return the triggers in these files, oldest first. What is garbage, of another version or no file is left out."""
    found: dict[str, Old] = {}
    owners: dict[tuple[str, str], str] = {}
    for line in _lines(paths):
        if trigger := _trigger(line):
            found.setdefault(trigger.id, trigger)
        elif trigger := found.get(str(line.get("settled"))):
            run = text(line.get("run"))
            is_open = bool(line.get("open"))
            if run and owners.setdefault((trigger.host, run), trigger.id) != trigger.id:
                run, is_open = None, True  # the first that claimed a run has it
            found[trigger.id] = trigger._replace(run=run, nothing=run is None and not is_open)
    return list(found.values())


def _lines(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in paths:
        if (file := _opened(path)) is not None:
            with file:
                yield from filter(None, map(_parsed, file))


def _opened(path: Path) -> BinaryIO | None:
    """Return a file to read, None for what is not there, cannot be read or is none: a pipe would never end."""
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode) and found.st_size <= _LARGEST_FILE:
            return path.open("rb")
    except OSError:
        pass
    return None


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = mapping(json.loads(line))
    except (ValueError, RecursionError):
        return None
    return entry if entry.get("v") == VERSION and text(entry.get("host")) else None


def _trigger(line: dict[str, Any]) -> Old | None:
    at, words = line.get("at"), [line.get(name) for name in ("intent", "profile", "host", "deployment", "key")]
    if not isinstance(at, int | float) or not all(isinstance(word, str) for word in words):
        return None
    id, profile, host, deployment, key = map(str, words)
    return Old(id, float(at), profile, host, deployment, key)
