"""The store: triggers sent from this machine, and deployments and runs seen.

One SQLite file, `state.db`. A trigger is recorded before it is sent, and its result
afterwards; each change is one transaction. The write-ahead log is not synced at each commit:
killing a process loses nothing, a power failure perhaps the newest changes, never the file.

The store is never in the way. A failed read or write is one warning: changes stay in memory, appear in all reads, and
are written with a later change, or at the end.
"""

import math
import os
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from qoder_cli.base.errors import Exit, QoderError, Signalled
from qoder_cli.base.ids import RETRY
from qoder_cli.base.plainfile import refuse_outside
from qoder_cli.base.tokens import names_token

if TYPE_CHECKING:
    from sqlite3 import Connection

    from qoder_cli.local.keylock import KeyLocks

T = TypeVar("T")

NAME = "state.db"
ABOUT = 60.0  # seconds; a run this much older than the attempt may still be its own
VERSION = 5  # of the tables; kept in the file as its `user_version`
PATIENCE = 1.2  # seconds that a process waits for others
LAST_PATIENCE = 0.8  # seconds, once more, at the end, if something is unwritten
MOST_ATTEMPTS = 40_000  # kept, and up to 1,000 more; one command starts at most 10,000
_BESIDE = ("", "-wal", "-shm", "-journal")  # the files that SQLite opens

_TABLES = """
CREATE TABLE IF NOT EXISTS attempts (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    at REAL NOT NULL,
    ahead REAL,
    profile TEXT NOT NULL,
    host TEXT NOT NULL,
    deployment TEXT NOT NULL,
    key TEXT NOT NULL,
    run TEXT,
    is_nothing INTEGER NOT NULL DEFAULT 0,
    is_adopted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS attempts_by_key ON attempts (key);
CREATE INDEX IF NOT EXISTS attempts_by_run ON attempts (run) WHERE run IS NOT NULL;
CREATE INDEX IF NOT EXISTS attempts_by_time ON attempts (at);
CREATE TABLE IF NOT EXISTS freed (
    host TEXT NOT NULL,
    key TEXT NOT NULL,
    after TEXT NOT NULL,
    PRIMARY KEY (host, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sightings (
    attempt TEXT NOT NULL,
    run TEXT NOT NULL,
    PRIMARY KEY (attempt, run)
) WITHOUT ROWID;
"""
_PUT = """
INSERT INTO attempts (id, at, ahead, profile, host, deployment, key)
VALUES (:id, :at, :ahead, :profile, :host, :deployment, :key) ON CONFLICT (id) DO NOTHING
"""
# A damaged file may have another type in the place of any, and a time of which no date can be made.
_COLUMNS = "CAST(id AS TEXT), max(0.0, min(CAST(at AS REAL), 1e11)), CAST(ahead AS REAL), " + ", ".join(
    f"CAST({name} AS TEXT)" for name in ("profile", "host", "deployment", "key", "run")
)


class HistoryAway(QoderError):
    """What was started from this machine cannot be known. No request failed, so that others may still be sent."""

    exit = Exit.UNAVAILABLE

    def __init__(self, how: str) -> None:
        super().__init__(f"this machine's history of runs {how}", hint="see what is wrong: qoder doctor")


class Attempt(NamedTuple):
    """One request to start a run, sent or about to be."""

    id: str
    at: float  # in unix seconds of this machine's clock
    ahead: float | None  # seconds by which the server's clock is ahead; None if unknown
    profile: str
    host: str
    deployment: str
    key: str

    @property
    def no_run_before(self) -> float:
        """The time before which no run can be this attempt's, on either clock; -inf if one is unknown."""
        if self.ahead is None:
            return -math.inf
        return min(self.at, self.at + self.ahead) - ABOUT


class StoredAttempt(NamedTuple):
    """An attempt and its result."""

    attempt: Attempt
    run: str | None = None  # None while that is not known
    nothing: bool = False  # certainly nothing was started
    adopted: bool = False  # no response named the run, the run list showed it

    @property
    def open(self) -> bool:
        return self.run is None and not self.nothing


class Store:
    """What this user has triggered and seen on this machine; threads may share it.

    `warn` is called, once, with what fails without it. With `looking`, nothing on disk changes. Where the machine
    `shares_keys`, these do not depend on this file.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        warn: Callable[[str], None],
        looking: bool = False,
        shares_keys: Callable[[], bool] = lambda: False,
    ) -> None:
        self._warn = warn
        self._shares_keys = shares_keys
        self._looking = looking
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._memory: Connection | None = None
        self._unread: Exception | None = None  # why the tables in memory are incomplete
        self._unwritten: list[Callable[[Connection], object]] = []
        self._patience = PATIENCE
        self._env = env

    @cached_property
    def path(self) -> Path:
        """The file. Raises RuntimeError when there is no home folder."""
        return state_folder(self._env) / NAME

    @cached_property
    def _locks(self) -> "KeyLocks":
        from qoder_cli.local.keylock import KeyLocks

        return KeyLocks(self.path.with_name("keys.lock"))

    def close(self) -> None:
        """Write what could not be written before, if possible, and close the file."""
        with self._lock:
            self._write_rest()
            connections = self._connection, self._memory
            self._connection = self._memory = None
            for connection in filter(None, connections):
                connection.close()
            if "_locks" in self.__dict__:
                self._locks.close()

    def is_written(self) -> bool:
        """Return whether all is in the file, as far as it can be written now; what is not is given up."""
        with self._lock:
            self._write_rest()
            is_written = not self._unwritten
            self._unwritten.clear()
            self._forget_memory()
            return is_written

    def check_read(self) -> None:
        """Raise HistoryAway if what was read last may not be all: what is not there may have happened."""
        if self._unread:
            raise HistoryAway(f"cannot be read ({self._unread})")

    def check_kept(self, why: str) -> None:
        """Raise HistoryAway, with the reason why not, unless the file can be read and written now."""
        if not self.write_now(lambda connection: connection.execute(f"PRAGMA user_version = {VERSION}")):
            raise HistoryAway(f"cannot be read and written, {why}; nothing was started")

    def _write_rest(self) -> None:
        if self._unwritten:
            self._wait_for_others(LAST_PATIENCE)
            self.write(lambda connection: None, quiet=True)

    # Attempts.

    def begin(self, *, at: float, ahead: float | None, profile: str, host: str, deployment: str, key: str) -> Attempt:
        attempt = Attempt(uuid.uuid4().hex, at, ahead, *map(writable, (profile, host, deployment, key)))
        self.write(_change(attempt))
        return attempt

    def know_offset(self, attempt: Attempt, ahead: float) -> Attempt:
        attempt = attempt._replace(ahead=ahead)
        self.write(_change(attempt, "UPDATE attempts SET ahead = :ahead WHERE id = :id", ahead=ahead))
        return attempt

    def record_run(self, attempt: Attempt, run_id: str) -> None:
        """Record the run that a response named. An attempt that had adopted this run becomes open again."""
        named = _change(
            attempt,
            "UPDATE attempts SET run = NULL, is_adopted = 0"
            " WHERE run = :run AND host = :host AND is_adopted AND id <> :id",
            "UPDATE attempts SET run = :run, is_nothing = 0, is_adopted = 0 WHERE id = :id",
            run=writable(run_id),
        )
        self.write(named, insist=True)

    def record_nothing(self, attempt: Attempt) -> None:
        """Record that certainly nothing was started, unless a run is known."""
        self.write(_change(attempt, "UPDATE attempts SET is_nothing = 1 WHERE id = :id AND run IS NULL"), insist=True)

    def free_key(self, key: str, *, host: str) -> None:
        """Let a key start a run again, by a person's decision: what is open under it counts as nothing started.

        Its runs stay known as started here, and `freed_after` says which was the newest.
        """
        statements = (
            "INSERT OR REPLACE INTO freed SELECT host, key, COALESCE(run, id) FROM attempts"
            " WHERE key = :key AND host = :host ORDER BY number DESC LIMIT 1",
            "UPDATE attempts SET is_nothing = 1 WHERE key = :key AND host = :host AND run IS NULL",
            "UPDATE attempts SET key = '' WHERE key = :key AND host = :host",
        )
        values = {"key": key, "host": host}

        def free(connection: "Connection") -> None:
            for statement in statements:
                connection.execute(statement, values)

        self.write(free, insist=True)

    def freed_after(self, key: str, *, host: str) -> str:
        """Return the newest run, or else attempt, that a key had when it was freed last; empty if it never was."""
        rows = self.read("SELECT CAST(after AS TEXT) FROM freed WHERE key = ? AND host = ?", (key, host))
        return rows[0][0] if rows else ""

    def claim(self, attempt: Attempt, run_id: str) -> bool:
        """Adopt a run from the list. Return whether it is this attempt's alone."""
        adopt = _change(
            attempt,
            "UPDATE attempts SET run = :run, is_nothing = 0, is_adopted = is_adopted OR run IS NULL"
            " WHERE id = :id AND (run IS NULL OR run = :run)"
            " AND NOT EXISTS (SELECT * FROM attempts WHERE run = :run AND host = :host AND id <> :id)",
            run=writable(run_id),
        )
        return self.write(adopt)

    def entries(self, host: str, *, since: float | None = None) -> list[StoredAttempt]:
        """Return the attempts on this host `since` a time (unix seconds), oldest first."""
        return self._entries("host = ? AND at >= ? ORDER BY number", host, -1e300 if since is None else since)

    def sight(self, attempt: Attempt, runs: Iterable[str]) -> None:
        """Record runs that an attempt may have started: a list may hide them later."""
        rows = [(attempt.id, run) for run in runs]
        self.write(lambda connection: connection.executemany("INSERT OR IGNORE INTO sightings VALUES (?, ?)", rows))

    def sighted(self, attempts: Iterable[Attempt]) -> set[str]:
        ids = [attempt.id for attempt in attempts]
        marks = ", ".join("?" * len(ids))
        return {run for (run,) in self.read(f"SELECT CAST(run AS TEXT) FROM sightings WHERE attempt IN ({marks})", ids)}

    def owners(self, host: str) -> dict[str, StoredAttempt]:
        """Return each run's attempt on this host: the first, if responses named it to several."""
        entries = self._entries("run IS NOT NULL AND host = ? ORDER BY number DESC", host)
        return {entry.run: entry for entry in entries if entry.run}

    def owner(self, run_id: str, *, host: str) -> StoredAttempt | None:
        """Return the attempt whose response named this run; None if there is none, or only a guess."""
        attempts = self._entries("run = ? AND host = ? AND NOT is_adopted ORDER BY number LIMIT 1", run_id, host)
        return next(iter(attempts), None)

    def last(self, *, profile: str, host: str) -> StoredAttempt | None:
        """Return the newest attempt that may have started a run, or the one of its key that did."""
        newest = "host = ? AND profile = ? AND NOT is_nothing ORDER BY number DESC LIMIT 1"
        entry = next(iter(self._entries(newest, host, profile)), None)
        if entry is None or not entry.open:
            return entry
        return next((attempt for attempt in self.of_key(entry.attempt.key, host=host) if attempt.run), entry)

    def newest_runs(self, count: int, *, profile: str, host: str) -> list[str]:
        """Return so many of the runs that were triggered last with this profile on this host, oldest first."""
        query = "SELECT run FROM attempts WHERE host = ? AND profile = ? AND run IS NOT NULL GROUP BY run"
        rows = self.read(f"{query} ORDER BY max(number) DESC LIMIT ?", (host, profile, count))
        return [run for (run,) in reversed(rows)]

    def of_key(self, key: str, *, host: str) -> list[StoredAttempt]:
        return self._entries("key = ? AND host = ? ORDER BY number", key, host)

    def retries(self, host: str) -> dict[str, str]:
        """Return the runs of which it is known here that they are retries, with the runs that they retry."""
        after = f"{RETRY[:-1]}{chr(ord(RETRY[-1]) + 1)}"  # the first key that does not begin so
        query = (
            "SELECT CAST(run AS TEXT), CAST(key AS TEXT) FROM attempts"
            " WHERE key >= ? AND key < ? AND host = ? AND run IS NOT NULL"
        )
        return {run: key.removeprefix(RETRY) for run, key in self.read(query, (RETRY, after, host), quiet=True)}

    def adopted(self, host: str) -> frozenset[str]:
        return frozenset(entry.run for entry in self._entries("host = ? AND is_adopted", host) if entry.run)

    def _entries(self, which: str, *values: str | float) -> list[StoredAttempt]:
        query = f"SELECT {_COLUMNS}, is_nothing, is_adopted FROM attempts WHERE {which}"
        rows = self.read(query, values)
        return [StoredAttempt(Attempt(*row[:7]), row[7], bool(row[8]), bool(row[9])) for row in rows]

    # Locks.

    def hold(self, what: str, *, host: str) -> bool:
        """Hold a key or a turn; return False while another thread or process does."""
        try:
            return self._locks.lock(f"{host} {what}")
        except (OSError, RuntimeError) as error:
            self.write(lambda connection: None)  # first, so that a failure here is the warning
            self._complain(f"cannot be locked ({error}); another command that does the same may go unnoticed")
            return True

    def let_go(self, what: str, *, host: str) -> None:
        with suppress(OSError, RuntimeError):
            self._locks.release(f"{host} {what}")

    # The file.

    def read(self, query: str, values: Sequence[object] | dict[str, Any] = (), *, quiet: bool = False) -> list[Any]:
        """Return a query's rows. If the file is unreadable, warn unless `quiet`."""
        with self._lock:
            if not self._unwritten:
                try:
                    connection = self._opened()
                    rows: list[Any] = connection.execute(query, values).fetchall() if connection else []
                    self._unread = None
                    return rows
                except _failures():
                    self._wait_for_others(0.0)
            rows = []
            try:
                rows = self._in_memory().execute(query, values).fetchall()
            except _failures() as error:  # what was read is damaged
                self._unread = error
            if self._unread and not quiet:
                self._complain(f"cannot be read ({self._unread}); {self._unaware} of earlier runs")
            return rows

    def write(self, work: "Callable[[Connection], T]", *, quiet: bool = False, insist: bool = False) -> T:
        """Do `work` in one transaction on the file, else in memory. Return its result.

        It must be idempotent. A signal meanwhile leaves it undone; with `insist`, it
        is done later.
        """
        with self._lock:
            try:
                with self._transaction() as connection:
                    for earlier in self._unwritten:
                        earlier(connection)
                    result = work(connection)
                self._unwritten.clear()
                self._forget_memory()
                return result
            except Signalled:
                if insist:
                    self._unwritten.append(work)
                    self._forget_memory()
                raise
            except _failures() as error:
                self._wait_for_others(0.0)
                if not quiet:
                    self._complain(f"cannot be written ({error}); {self._unaware} of this run")
            result = work(self._in_memory())
            self._unwritten.append(work)
            return result

    def write_now(self, work: "Callable[[Connection], object]") -> bool:
        """Do `work` in one transaction on the file. Return whether it is there; if not, it is not done later."""
        with self._lock:
            try:
                with self._transaction() as connection:
                    work(connection)
                return True
            except _failures():
                return False

    @contextmanager
    def _transaction(self) -> "Iterator[Connection]":
        if self._connection is None:
            self._connection = _connect(self.path, self._patience)
        with self._connection as connection:  # commits or rolls back, signal or not
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    def _wait_for_others(self, seconds: float) -> None:
        self._patience = seconds
        if self._connection is not None:
            self._connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    def _opened(self) -> "Connection | None":
        if self._connection is None:
            if self._looking:
                self._connection = _look(self.path)
            elif _is_there(self.path):
                self._connection = _connect(self.path, self._patience)
        return self._connection

    def _in_memory(self) -> "Connection":
        """Return the tables in memory: readable triggers, and unwritten changes.

        One command may start a deployment several times: what one start adopts must not be another's.
        """
        if self._memory is None:
            memory = _sqlite3().connect(":memory:", isolation_level=None, check_same_thread=False)
            memory.executescript(";".join(_statements()))
            self._unread = None
            source = None
            try:
                if source := self._connection or _look(self.path):
                    for table in ("attempts", "freed", "sightings"):
                        if rows := source.execute(f"SELECT * FROM {table}").fetchall():
                            marks = ", ".join("?" * len(rows[0]))
                            memory.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
            except _failures() as error:
                self._unread = error
            finally:
                if source and source is not self._connection:
                    source.close()
            for work in self._unwritten:
                work(memory)
            self._memory = memory
        return self._memory

    def _forget_memory(self) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    @property
    def _unaware(self) -> str:
        """What does not know of a run that is not in the file."""
        return ("`last`" if self._shares_keys() else "`last` and --idempotency-key") + " will not know"

    def _complain(self, what: str) -> None:
        warn, self._warn = self._warn, lambda what: None
        warn(f"this machine's history of runs {what}")


def writable(text: str) -> str:
    """Return text without lone surrogates, which JSON can have but no file."""
    return text.encode("utf-8", "backslashreplace").decode()


def _failures() -> tuple[type[Exception], ...]:
    return OSError, RuntimeError, UnicodeError, _sqlite3().Error  # Unicode: in SQLite's words of a damaged file


def _sqlite3() -> Any:
    """Return the module, imported when first used: it takes some milliseconds."""
    import sqlite3

    return sqlite3


def _change(attempt: Attempt, *statements: str, **values: object) -> "Callable[[Connection], bool]":
    """Return what records an attempt, once, and runs statements. It returns whether the last changed a row."""
    values |= {"id": attempt.id, "host": attempt.host}

    def change(connection: "Connection") -> bool:
        put = connection.execute(_PUT, attempt._asdict())
        if put.rowcount > 0 and (number := put.lastrowid or 0) % 1000 == 0:
            connection.execute("DELETE FROM attempts WHERE number <= ?", (number - MOST_ATTEMPTS,))
            connection.execute("DELETE FROM sightings WHERE attempt NOT IN (SELECT id FROM attempts)")
        for statement in statements:
            put = connection.execute(statement, values)
        return put.rowcount > 0

    return change


def _connect(path: Path, patience: float) -> "Connection":
    """Return a connection to the file, or to a new one. Raises OSError, sqlite3.Error."""
    sqlite3 = _sqlite3()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _check(path)
    if not os.path.lexists(path):
        _create(path)
    deadline = time.monotonic() + patience
    connection: Connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
    try:
        version = _version(connection, path)  # before changing what may be another's
        connection.execute("PRAGMA synchronous = NORMAL")
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:  # SQLite does not wait here by itself
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        if version < VERSION:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                version = _version(connection, path)  # another may have been faster
                for statement in _statements():
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Make the file, only its owner's, unless it is there by now. It is never empty: an empty one has lost its rows."""
    part = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
    try:
        _new(part).close()
        with closing(_sqlite3().connect(part, isolation_level=None)) as blank:
            blank.execute("VACUUM")  # which writes its first page
        with suppress(FileExistsError):  # another was faster
            try:
                os.link(part, path)
            except FileExistsError:
                raise
            except OSError:  # where there are no links, a copy
                content = part.read_bytes()
                with _new(path) as file:
                    file.write(content)
    finally:
        part.unlink(missing_ok=True)


def _new(path: Path) -> IO[bytes]:
    return open(path, "xb", opener=partial(os.open, mode=0o600))


def _statements() -> list[str]:
    from qoder_cli.local.tables import TABLES

    return [*_TABLES.split(";"), *(statement for table in TABLES for statement in table.create)]


def _look(path: Path) -> "Connection | None":
    """Return a read-only connection; None without tables. Raises as `_connect`."""
    if not _is_there(path):
        return None
    _check(path)
    log = Path(f"{path}-wal")
    how = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    url = f"{path.absolute().as_uri()}?{how}"
    connection: Connection = _sqlite3().connect(
        url, uri=True, timeout=0.05, isolation_level=None, check_same_thread=False
    )
    try:
        if _version(connection, path):
            return connection
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


def _is_there(path: Path) -> bool:
    """Return whether there is anything at a path. Raises OSError where that cannot be seen: it may have a history."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        if any(folder.is_symlink() and not folder.exists() for folder in path.parents):
            raise  # a link that leads nowhere, as where a volume is not mounted
        return False
    return True


def _check(path: Path) -> None:
    """Raise OSError unless SQLite would open a regular file, of which something is left. On a pipe it would wait."""
    for name in _BESIDE:
        with suppress(FileNotFoundError):
            status = os.stat(f"{path}{name}")
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{path}{name} is not a file")
            if not name and not status.st_size:
                raise OSError(f"{path} is empty, so what it recorded is lost")


def _version(connection: "Connection", path: Path) -> int:
    """Return the version of the tables, 0 for none. Raises OSError for a newer one."""
    query = "SELECT user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_user_version"
    version, tables = connection.execute(query).fetchone()
    if version > VERSION:
        raise OSError(f"a newer version of qoder wrote {path}")
    if not version and tables:
        raise OSError(f"{path} is another program's")
    return int(version)


def state_folder(env: Mapping[str, str]) -> Path:
    """Return QODER_STATE_DIR, STATE_DIRECTORY or the system's. Raises RuntimeError."""
    if folder := env.get("QODER_STATE_DIR"):
        if names_token(folder):
            raise RuntimeError("QODER_STATE_DIR holds a token, not the path of a folder")
        return Path(folder).expanduser()
    # systemd makes it for a service; of several, which colons part, the first is taken
    if (folder := env.get("STATE_DIRECTORY", "").partition(":")[0]) and os.path.isabs(folder):
        return Path(folder)
    from platformdirs import user_state_path

    with suppress(RuntimeError):
        path = user_state_path("qoder", appauthor=False)
        if path.is_absolute():  # older versions leave a `~` that stands for nothing
            return path
    raise RuntimeError("no home folder was found; set HOME or QODER_STATE_DIR")


def check_seal(env: Mapping[str, str]) -> None:
    """Raise UsageError if this is inside a sandbox, and its state would be written elsewhere."""
    if not env.get("QODER_SANDBOX"):
        return
    try:
        folder = state_folder(env)
    except RuntimeError:  # it has no place, and is not written
        return
    links = [entry_path for entry_path in folder.iterdir() if entry_path.is_symlink()] if folder.is_dir() else []
    for path in (folder / NAME, *links):
        refuse_outside(path, env)
