"""The journal in which earlier versions kept their triggers: read once, when the store's tables are made.

JSON lines: a trigger is two of them, the intent before the request, and afterwards what became of it. The files stay
where they are, so that an earlier version finds what it wrote; it does not know of what was triggered since.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from qoder_cli.base.model import mapping, text
from qoder_cli.base.plainfile import open_at_once, read_most

VERSION = 1
_LARGEST_FILE = 52 * 2**20  # bytes; what follows is not ours


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
    """Return the triggers in these files, oldest first. Garbage and other versions are ignored."""
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
        with suppress(OSError), open_at_once(path) as file:
            yield from filter(None, map(_parsed, read_most(file, _LARGEST_FILE).split(b"\n")))


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
