"""The local state: its folder, and the store of runs that were started from this machine."""

import os
import shlex
import stat
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from qoder_cli.app import App
from qoder_cli.base.plainfile import state_folder
from qoder_cli.base.times import span
from qoder_cli.doctor import Finding, warning
from qoder_cli.local.store import Attempt, Entry, Store
from qoder_cli.settings.configfile import ANYONE_ELSE

if TYPE_CHECKING:
    from qoder_cli.settings.config import Settings

OPEN_TOO_LONG = 600.0  # seconds; what has not been confirmed by then, `last` settles
_WITHOUT = "`last` and --idempotency-key cannot see earlier runs"
_ELSEWHERE = "fix its owner or permissions, or set QODER_STATE_DIR to a folder that you can write"


def folder(env: Mapping[str, str]) -> Finding:
    """Look at the state folder: whether it can be written, and who else can."""
    try:
        path = state_folder(env)
    except RuntimeError:
        return warning("state", f"there is no home folder for it; {_WITHOUT}", fix="set HOME or QODER_STATE_DIR")
    if os.path.islink(path) and not os.path.exists(path):
        return warning("state", f"{path} is a broken link; {_WITHOUT}", fix=_ELSEWHERE)
    if not os.path.exists(path):
        nearest = next((each for each in path.parents if os.path.exists(each)), path)
        if os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK):
            return Finding("state", f"{path} will be created when needed")
        return warning("state", f"{path} cannot be created; {_WITHOUT}", fix=_ELSEWHERE)
    if not os.path.isdir(path) or not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return warning("state", f"{path} is not a folder that you can read and write; {_WITHOUT}", fix=_ELSEWHERE)
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & ANYONE_ELSE:
        return warning("state", f"others can read or write {path} ({mode:04o})", fix=f"chmod 700 {_quoted(path)}")
    return Finding("state", f"{path} ({mode:04o})" if os.name == "posix" else str(path))


def store(app: App, settings: "Settings | None") -> Finding | None:
    """Check the store: whether it can be read, and whether every start on this host was confirmed.

    None where there is no home folder: the state folder's finding says so.
    """
    complaints: list[str] = []
    with closing(Store(app.env, warn=complaints.append, looking=True)) as store:
        try:
            path = store.path
        except RuntimeError:
            return None
        entries = store.entries(settings.host) if settings else []
        if complaints:
            aside = f"move it away while no command runs: mv {_quoted(path)} {_quoted(path)}.old"
            is_newer = "newer version" in complaints[0]
            return warning("store", complaints[0], fix="use the newer version" if is_newer else aside)
        if os.path.lexists(path) and not os.access(path, os.R_OK | os.W_OK):
            return warning("store", f"{path} cannot be written; {_WITHOUT}", fix=_ELSEWHERE)
        if settings is None:
            return Finding("store", str(path))
        now = app.clock.now()
        unconfirmed = [entry for entry in entries if entry.open]
        if old := [entry for entry in unconfirmed if now - entry.attempt.at > OPEN_TOO_LONG]:
            return _unconfirmed(old, store, app, settings)
        found = f"starts on {settings.host}: {len(entries)}"
        if unconfirmed:
            newest = unconfirmed[-1].attempt
            ago = span(now - newest.at)
            found += f", not confirmed yet: {len(unconfirmed)} ({newest.deployment}, {ago} ago)"
            found += f"; to check it: {_check(newest, settings)}"
        return Finding("store", found)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _unconfirmed(old: list[Entry], store: Store, app: App, settings: "Settings") -> Finding:
    """Return what is said of starts of which it is unknown whether there is a run."""
    newest = old[-1].attempt
    ago = span(app.clock.now() - newest.at)
    found = f"starts never confirmed on {settings.host}: {len(old)} (latest: {newest.deployment}, {ago} ago)"
    last = store.last(profile=newest.profile, host=newest.host)
    if last is None or last.attempt != newest:
        return Finding("store", f"{found}; `last` refers to a later run")
    return warning("store", found, fix=_check(newest, settings))


def _check(newest: Attempt, settings: "Settings") -> str:
    """Return the command that finds out what became of an attempt."""
    where = "" if newest.profile == settings.profile else f" --profile {shlex.quote(newest.profile)}"
    return f"qoder run wait last{where}"
