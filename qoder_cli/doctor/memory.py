"""What this machine remembers: the state folder, and the journal of triggers in it."""

import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.doctor.finding import Finding, warning
from qoder_cli.journal import Entry, open_file, read_line
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
        return warning("state", f"{path} is open to others ({mode:04o})", fix=f"chmod 700 {_quoted(path)}")
    return Finding("state", f"{path} ({mode:04o})" if os.name == "posix" else str(path))


def _to_be_made(path: Path) -> Finding:
    if os.path.islink(path):
        return warning("state", f"{path} leads to nothing; {_WITHOUT}", fix=_ELSEWHERE)
    nearest = next((each for each in path.parents if os.path.exists(each)), path)
    if os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK):
        return Finding("state", f"{path} is made when there is something to keep")
    return warning("state", f"{path} cannot be made; {_WITHOUT}", fix=_ELSEWHERE)


class _File(NamedTuple):
    """One of the journal's files: how many lines it has, how many of them are garbage, and why it cannot be read."""

    path: Path
    lines: int = 0
    garbage: int = 0
    error: OSError | None = None


def journal(state: "State", settings: "Settings | None") -> Iterator[Finding]:
    """Look at the journal: whether it can be read, and whether it knows what became of every trigger on this host."""
    try:
        files = [_read(path) for path in state.journal.files]
    except RuntimeError:
        return  # no home folder: the state folder's finding says so
    unreadable = [_unreadable(file.path, file.error) for file in files if file.error]
    yield from unreadable
    if spoilt := [file for file in files if file.garbage]:
        yield _spoilt(spoilt)
    if settings is not None and not unreadable:
        yield _settled(state, settings, sum(file.lines for file in files))


def _read(path: Path) -> _File:
    try:
        file = open_file(path)
        if file is None:
            return _File(path)
        with file:
            lines = list(map(read_line, file))
    except OSError as error:
        return _File(path, error=error)
    return _File(path, len(lines), lines.count(None))


def _unreadable(path: Path, error: OSError) -> Finding:
    in_the_way = error.errno is None or os.path.isdir(path)  # too large, or no file: the system lets us read it
    fix = f"move it away: mv {_quoted(path)} {_quoted(path)}.old" if in_the_way else _ELSEWHERE
    return warning("journal", f"{path} cannot be read ({error.strerror or error}); {_WITHOUT}", fix=fix)


def _spoilt(files: list[_File]) -> Finding:
    lines, garbage = sum(file.lines for file in files), sum(file.garbage for file in files)
    names = " and ".join(file.path.name for file in files)
    more = ", and of the others there," if lines > garbage else ""
    return warning(
        "journal",
        f"{garbage} of {lines} lines in {names} are not readable and are passed over",
        fix=f"nothing has to be done; to be rid of them{more} when no run is going: "
        f"rm {' '.join(_quoted(file.path) for file in files)}",
    )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _is_old(entry: Entry, state: "State") -> bool:
    return entry.open and state.clock.now() - entry.intent.at > OPEN_TOO_LONG


def _settled(state: "State", settings: "Settings", lines: int) -> Finding:
    """Return whether it is known of every trigger on this host what became of it."""
    old = [entry for entry in state.journal.entries(settings.host) if _is_old(entry, state)]
    if not old:
        return Finding("journal", f"{lines} lines; every trigger on {settings.host} is settled")
    newest = old[-1].intent
    ago = span(state.clock.now() - newest.at)
    found = f"{len(old)} never settled on {settings.host}, the newest of {newest.deployment} {ago} ago"
    last = state.journal.last(profile=newest.profile, host=newest.host)
    if last is None or last.intent != newest:
        return Finding("journal", f"{found}; `last` is a later one")
    where = "" if newest.profile == settings.profile else f" --profile {shlex.quote(newest.profile)}"
    return warning("journal", found, fix=f"qoder run wait last{where}")
