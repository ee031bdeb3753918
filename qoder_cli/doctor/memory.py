"""The local state: its folder, and the store of runs that were started from this machine."""

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import closing

from qoder_cli.app import App
from qoder_cli.base.plainfile import state_folder
from qoder_cli.base.times import span
from qoder_cli.doctor import Finding, warning
from qoder_cli.local.store import Store
from qoder_cli.settings.config import Settings
from qoder_cli.settings.configfile import ANYONE_ELSE

OPEN_TOO_LONG = 600.0  # seconds; what has not been confirmed by then, `last` settles
_WITHOUT = "`last` and --idempotency-key cannot see earlier runs"
_ELSEWHERE = "fix its owner or permissions, or set QODER_STATE_DIR to a folder that you can write"


def memory(app: App, settings: Settings | None) -> Iterator[Finding]:
    """Look at the folder, and at the store in it: who can read it, and whether every start here was confirmed."""
    try:
        path = state_folder(app.env)
    except RuntimeError:
        yield warning("state", f"it has no place: HOME is not set; {_WITHOUT}", fix="set HOME or QODER_STATE_DIR")
        return
    nearest = next(each for each in (path, *path.parents) if os.path.lexists(each))
    mode = stat.S_IMODE(os.lstat(nearest).st_mode)
    if not os.path.isdir(nearest) or not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
        yield warning("state", f"{nearest} is not a folder that you can read and write; {_WITHOUT}", fix=_ELSEWHERE)
    elif nearest != path:
        yield Finding("state", f"{path} will be created when needed")
    elif os.name == "posix" and mode & ANYONE_ELSE:
        fix = f"chmod 700 {shlex.quote(str(path))}"
        yield warning("state", f"others can read or write {path} ({mode:04o})", fix=fix)
    else:
        yield Finding("state", str(path))
    with closing(Store(app.env, warn=(complaints := list[str]()).append, looking=True)) as store:
        yield _of_store(store, complaints, app.clock.now(), settings)


def _of_store(store: Store, complaints: list[str], now: float, settings: Settings | None) -> Finding:
    path, entries = store.path, store.entries(settings.host) if settings else []
    if complaints:
        quoted = shlex.quote(str(path))
        fix = f"move it away while no command runs: mv {quoted} {quoted}.old"
        if "newer version" in complaints[0]:
            fix = "use the newer version"
        return warning("store", complaints[0], fix=fix)
    if os.path.lexists(path) and not os.access(path, os.R_OK | os.W_OK):
        return warning("store", f"{path} cannot be written; {_WITHOUT}", fix=_ELSEWHERE)
    if settings is None:
        return Finding("store", str(path))
    unconfirmed = [entry.attempt for entry in entries if entry.open]
    old = [attempt for attempt in unconfirmed if now - attempt.at > OPEN_TOO_LONG]
    if not unconfirmed:
        return Finding("store", f"starts on {settings.host}: {len(entries)}")
    newest = (old or unconfirmed)[-1]
    ago = span(now - newest.at)
    check = "qoder run wait last"
    if newest.profile != settings.profile:
        check += f" --profile {shlex.quote(newest.profile)}"
    if not old:
        found = f"starts on {settings.host}: {len(entries)}, not confirmed yet: {len(unconfirmed)}"
        return Finding("store", f"{found} ({newest.deployment}, {ago} ago); to check it: {check}")
    found = f"starts never confirmed on {settings.host}: {len(old)} (latest: {newest.deployment}, {ago} ago)"
    last = store.last(profile=newest.profile, host=newest.host)
    if last is None or last.attempt != newest:
        return Finding("store", f"{found}; `last` refers to a later run")
    return warning("store", found, fix=check)
