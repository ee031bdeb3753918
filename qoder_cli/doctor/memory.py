"""What this machine remembers: the state folder, and the store of triggers in it."""

import os
import shlex
import stat
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from qoder_cli.base.times import span
from qoder_cli.doctor.finding import Finding, warning
from qoder_cli.local.folder import state_folder
from qoder_cli.local.store import Entry, Store

if TYPE_CHECKING:
    from qoder_cli.app import State
    from qoder_cli.settings.config import Settings

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
        return warning("state", f"{path} is open to others ({mode:04o})", fix=f"chmod 700 {_quoted(path)}")
    return Finding("state", f"{path} ({mode:04o})" if os.name == "posix" else str(path))


def _to_be_made(path: Path) -> Finding:
    if os.path.islink(path):
        return warning("state", f"{path} leads to nothing; {_WITHOUT}", fix=_ELSEWHERE)
    nearest = next((each for each in path.parents if os.path.exists(each)), path)
    if os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK):
        return Finding("state", f"{path} is made when there is something to keep")
    return warning("state", f"{path} cannot be made; {_WITHOUT}", fix=_ELSEWHERE)


def store(state: "State", settings: "Settings | None") -> Finding | None:
    """Look at the store: whether it can be read, and whether it knows what became of every trigger on this host.

    None where there is no home folder: the state folder's finding says so.
    """
    complaints: list[str] = []
    with closing(Store(state.env, warn=complaints.append, looking=True)) as store:
        return _looked_at(store, complaints, state, settings)


def _looked_at(store: Store, complaints: list[str], state: "State", settings: "Settings | None") -> Finding | None:
    try:
        path = store.path
    except RuntimeError:
        return None
    entries = store.entries(settings.host) if settings else []
    if complaints:
        fix = f"move it away while no command runs: mv {_quoted(path)} {_quoted(path)}.old"
        return warning("store", complaints[0], fix="use the newer version" if "newer version" in complaints[0] else fix)
    if os.path.lexists(path) and not os.access(path, os.R_OK | os.W_OK):
        return warning("store", f"{path} cannot be written; {_WITHOUT}", fix=_ELSEWHERE)
    if settings is None:
        return Finding("store", str(path))
    if old := [entry for entry in entries if _is_old(entry, state)]:
        return _unsettled(old, store, state, settings)
    going = " or under way" if any(entry.open for entry in entries) else ""
    return Finding("store", f"{len(entries)} triggers on {settings.host}, each settled{going}")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _is_old(entry: Entry, state: "State") -> bool:
    return entry.open and state.clock.now() - entry.attempt.at > OPEN_TOO_LONG


def _unsettled(old: list[Entry], store: Store, state: "State", settings: "Settings") -> Finding:
    """Return what is said of triggers of which it is not known what became of them."""
    newest = old[-1].attempt
    ago = span(state.clock.now() - newest.at)
    found = f"{len(old)} never settled on {settings.host}, the newest of {newest.deployment} {ago} ago"
    last = store.last(profile=newest.profile, host=newest.host)
    if last is None or last.attempt != newest:
        return Finding("store", f"{found}; `last` is a later one")
    where = "" if newest.profile == settings.profile else f" --profile {shlex.quote(newest.profile)}"
    return warning("store", found, fix=f"qoder run wait last{where}")
