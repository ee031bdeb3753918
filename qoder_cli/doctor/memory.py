"""What this machine remembers: the state folder, and the journal of triggers in it."""

import json
import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qoder_cli.doctor.finding import Finding, warning
from qoder_cli.journal import VERSION, Entry
from qoder_cli.model import mapping, text
from qoder_cli.statefolder import state_folder
from qoder_cli.times import span

if TYPE_CHECKING:
    from qoder_cli.config import Settings
    from qoder_cli.state import State

OPEN_TOO_LONG = 600.0  # seconds; what has not shown by then, `last` settles
_ANYONE_ELSE = 0o077
_WITHOUT = "without it `last` and --idempotency-key do not know of earlier runs"
_ELSEWHERE = "give it to yourself, or set QODER_STATE_DIR to a folder that you can write"


def folder(env: Mapping[str, str]) -> Finding:
    """Look at the state folder: whether it can be written, and who else can."""
    try:
        path = state_folder(env)
    except RuntimeError:
        return warning("state", f"there is no home folder to keep it in; {_WITHOUT}", fix="set HOME or QODER_STATE_DIR")
    if not os.path.exists(path):
        return _to_be_made(path)
    if not os.path.isdir(path) or not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return warning("state", f"{path} is no folder that can be read and written; {_WITHOUT}", fix=_ELSEWHERE)
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & _ANYONE_ELSE:
        return warning("state", f"{path} is open to others ({mode:04o})", fix=f"chmod 700 {shlex.quote(str(path))}")
    return Finding("state", f"{path} ({mode:04o})" if os.name == "posix" else str(path))


def _to_be_made(path: Path) -> Finding:
    nearest = next((each for each in path.parents if os.path.exists(each)), path)
    if os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK):
        return Finding("state", f"{path} is made when there is something to keep")
    return warning("state", f"{path} cannot be made; {_WITHOUT}", fix=_ELSEWHERE)


@dataclass
class _Lines:
    """How many lines the journal's files have, and how many of them are garbage."""

    count: int = 0
    garbage: int = 0

    def take(self, line: str) -> None:
        self.count += 1
        try:
            entry = mapping(json.loads(line))
        except (ValueError, RecursionError):
            entry = {}
        self.garbage += entry.get("v") != VERSION or text(entry.get("host")) is None


def journal(state: "State", settings: "Settings | None") -> Iterator[Finding]:
    """Look at the journal: whether it can be read, and whether it knows what became of every trigger on this host."""
    try:
        lines = _lines(state)
    except RuntimeError:
        return  # no home folder: the state folder's finding says so
    except OSError as error:
        found = f"cannot be read ({error.strerror or error}); {_WITHOUT}"
        yield warning("journal", found, fix=_ELSEWHERE)
        return
    if lines.garbage:
        yield warning(
            "journal",
            f"{lines.garbage} of {lines.count} lines are not readable and are passed over",
            fix=f"nothing has to be done; to be rid of them, when no run is going: rm {shlex.quote(str(_path(state)))}",
        )
    if settings is not None:
        yield _settled(state, settings, lines)


def _path(state: "State") -> Path:
    return state.journal.path


def _lines(state: "State") -> _Lines:
    lines = _Lines()
    for file in (_path(state).with_suffix(".1.jsonl"), _path(state)):
        if file.exists():
            for line in file.read_text("utf-8", "replace").splitlines():
                lines.take(line)
    return lines


def _is_old(entry: Entry, state: "State") -> bool:
    return entry.open and state.clock.now() - entry.intent.at > OPEN_TOO_LONG


def _settled(state: "State", settings: "Settings", lines: _Lines) -> Finding:
    """Return whether it is known of every trigger on this host what became of it."""
    old = [entry for entry in state.journal.entries(settings.host) if _is_old(entry, state)]
    if not old:
        return Finding("journal", f"{lines.count} lines; every trigger on {settings.host} is settled")
    newest = old[-1].intent
    ago = span(state.clock.now() - newest.at)
    found = f"{len(old)} never settled on {settings.host}, the newest of {newest.deployment} {ago} ago"
    last = state.journal.last(profile=newest.profile, host=newest.host)
    if last is None or last.intent != newest:
        return Finding("journal", f"{found}; `last` is a later one")
    where = "" if newest.profile == settings.profile else f" --profile {shlex.quote(newest.profile)}"
    return warning("journal", found, fix=f"qoder run wait last{where}")
