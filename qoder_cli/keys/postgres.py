"""Keys in a PostgreSQL database: one row each. A primary key and row locks decide every write in one place."""

import re
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from qoder_cli.base import signals
from qoder_cli.base.errors import QoderError, Signalled, Unavailable, UsageError
from qoder_cli.base.extras import command_for
from qoder_cli.base.polling import doubling
from qoder_cli.base.pool import TICK, Late, Task
from qoder_cli.base.times import span
from qoder_cli.keys.patience import ANSWER_WITHIN, AT_A_SIGNAL, CONNECT_WITHIN, Patience
from qoder_cli.keys.record import KeyRecord, Lost, StoredKey, away, found_of

if TYPE_CHECKING:
    import psycopg

    Connection: TypeAlias = psycopg.Connection[Any]

T = TypeVar("T")

_HIDDEN = "postgresql://…"
# What a server says that has no connection left. libpq tells no code of it; in other languages it is not recognised.
_CROWDED = "too many (clients|connections)|connection slots are reserved|no more connections allowed"
# Of a connection that was left behind: the system ends it once the other side is gone.
_LEFT_BEHIND = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 2, "tcp_user_timeout": 15_000}
_TABLE = """CREATE TABLE IF NOT EXISTS qoder_keys (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    content TEXT NOT NULL
)"""
_TAKE = "INSERT INTO qoder_keys (name, id, content) VALUES (%s, %s, %s) ON CONFLICT (name) DO NOTHING RETURNING id"
_MOVE = "UPDATE qoder_keys SET content = %s WHERE name = %s AND id = %s AND content = %s RETURNING id"
_FREE = "DELETE FROM qoder_keys WHERE name = %s AND id = %s AND content = %s RETURNING id"
_READ = "SELECT id, content FROM qoder_keys WHERE name = %s"
_LIST = "SELECT id, content FROM qoder_keys WHERE name LIKE %s ORDER BY name"
# A commit is on the disk before it is told. A server that is alive gives up sooner than we do.
_SETUP = "SET synchronous_commit = on; SET statement_timeout = '12s'; SET lock_timeout = '5s'"


class PostgresKeys:
    """Keys in the database of a URL. Threads may share it: one statement at a time, each over a connection of its own.

    Statements run, and connections are made, in threads of their own: where a server says nothing, libpq waits for
    ever. Whoever has waited long enough leaves such a thread behind with its connection. None is held between two
    statements: a hundred jobs that wait must not fill the server.
    """

    def __init__(self, url: str, patience: Patience, *, read_only: str = "") -> None:
        try:
            import psycopg
        except ImportError as error:
            why = "a store of keys in PostgreSQL needs psycopg, which is not installed"
            raise UsageError(why, hint=f"install it: {command_for('postgres')}") from error
        self.patience = patience
        self.shown = without_password(url)
        self._psycopg = psycopg
        self._url = url
        self._read_only = read_only
        self._turn = threading.Lock()  # held by the thread that asks, never by one that hangs

    def create(self) -> None:
        """Make the table, unless it is there. Raises QoderError."""
        try:
            self._rows(_TABLE, is_write=True)
        except Lost:
            self._rows(_LIST + " LIMIT 1", "%")

    def put(self, found: StoredKey | None, record: KeyRecord | None) -> StoredKey | None:
        id, there = uuid.uuid4().hex, list[str]()
        if found is not None:
            id, there = found.id, [found.record.name, found.id, found.content]
        if record is None:
            rows = self._rows(_FREE, *there, is_write=True)
            return found if rows else None
        if found is None:
            rows = self._rows(_TAKE, record.name, id, record.content, is_write=True)
        else:
            rows = self._rows(_MOVE, record.content, *there, is_write=True)
        return StoredKey(id, record, record.content) if rows else None

    def read(self, name: str) -> StoredKey | None:
        rows = self._rows(_READ, name)
        return self._found(rows[0]) if rows else None

    def entries(self, prefix: str = "") -> list[StoredKey]:
        return [self._found(row) for row in self._rows(_LIST, f"{prefix}%")]

    def _found(self, row: tuple[Any, ...]) -> StoredKey:
        return found_of(str(row[0]), str(row[1]), where=f"{row[0]} in {self.shown}")

    def _rows(self, statement: str, *values: str, is_write: bool = False) -> list[tuple[Any, ...]]:
        """Return the rows of one statement, which is one transaction. Raises Lost for a write, StoreAway, Signalled."""
        if is_write and self._read_only:
            raise UsageError(
                f"{self._read_only}: nothing was written to {self.shown}", hint="to allow writes, change that setting"
            )
        within = self.patience.left(ANSWER_WITHIN)
        if not self._turn.acquire(blocking=False):
            with signals.waiting():
                has_turn = self._turn.acquire(timeout=within)
            if not has_turn:
                raise self._silent(within)
        try:
            if self.patience.is_over:
                raise self._silent()
            return self._answered(statement, values, is_write=is_write)
        except self._psycopg.Error as error:
            # Some mean that the statement was not done, and will not be; of any other nobody knows.
            refuses = isinstance(error, self._psycopg.errors.ReadOnlySqlTransaction)
            refuses |= error.sqlstate is not None and error.sqlstate[:2] in ("42", "25", "28", "3D", "53")
            if is_write and not refuses:
                raise Lost from None
            raise self._away(error) from None
        finally:
            self._turn.release()

    def _connected(self, undisturbed: float) -> "Connection":
        """Return a new connection. Where others have all that the server allows, wait for one. Raises StoreAway."""
        clock = self.patience.clock
        until = clock.monotonic() + self.patience.left(ANSWER_WITHIN)
        for pause in doubling(0.05, 1.0):
            within = self.patience.left(CONNECT_WITHIN)
            try:
                return self._within(within, self._connect, undisturbed=undisturbed)
            except (Late, self._psycopg.errors.ConnectionTimeout):
                self.patience.note_silence()
                raise self._silent(within) from None
            except self._psycopg.Error as error:
                if not re.search(_CROWDED, str(error)) or clock.monotonic() + pause > until:
                    raise self._away(error) from None
            clock.sleep(pause * clock.jitter())
        raise AssertionError("the pauses have no end")

    def _connect(self, commit: Callable[[], None]) -> "Connection":
        given = self._psycopg.conninfo.conninfo_to_dict(self._url)
        hosts = str(given.get("host") or "").count(",") + 1
        timeout = max(int(CONNECT_WITHIN / hosts), 2)
        settings: dict[str, Any] = {**_LEFT_BEHIND, **given, "connect_timeout": timeout}
        connection = self._psycopg.connect(**settings, autocommit=True, prepare_threshold=None)
        try:
            connection.execute(_SETUP.encode())
            commit()
        except BaseException:
            connection.close()
            raise
        return connection

    def _answered(self, statement: str, values: Sequence[str], *, is_write: bool) -> list[tuple[Any, ...]]:
        """Return the rows that the server answers. Raises psycopg's Error, Lost for a write, StoreAway, Signalled."""
        undisturbed = AT_A_SIGNAL if is_write else 0.0
        connection = self._connected(undisturbed)

        def execute(commit: Callable[[], None]) -> list[tuple[Any, ...]]:
            with closing(connection):
                cursor = connection.execute(statement.encode(), values)
                rows = cursor.fetchall() if cursor.description else []
                commit()
            return rows

        within = self.patience.left(ANSWER_WITHIN)
        try:
            rows = self._within(within, execute, undisturbed=undisturbed)
        except Late:
            self.patience.note_silence()
            if is_write:  # it may still be done, at any later time
                raise Lost from None
            raise self._silent(within) from None
        if is_write:
            self.patience.note_answer()
        return rows

    def _within(self, seconds: float, call: Callable[[Callable[[], None]], T], *, undisturbed: float = 0.0) -> T:
        """Return what a call in a thread of its own returns. Raises its failure, Signalled; Late after so many seconds.

        The call gets a function that raises Late once nobody waits any more: what it has made then is for nobody.
        """
        task, came_before = Task(lambda: call(task.commit)), signals.has_come()
        until = time.monotonic() + seconds
        task.start()  # not above: the call needs the name
        try:
            has_ended = task.wait(min(undisturbed, seconds), heeds_signals=False)
            while not has_ended and (left := until - time.monotonic()) > 0:
                has_ended = task.wait(min(left, TICK))
                if signals.has_come() and not came_before:  # only the main thread is told of it
                    break
        except Signalled:
            task.give_up()
            if undisturbed:
                self.patience.note_silence()
            raise
        if not has_ended:
            task.give_up()
            if not task.is_committed:
                raise Late
        return task.result()

    def _silent(self, within: float | None = None) -> QoderError:
        """Return the error that nothing was heard from the database, for so many seconds or before."""
        when = "" if within is None else f" within {span(within)}"
        return away(self.shown, Unavailable(f"it did not respond{when}"))

    def _away(self, error: Exception) -> QoderError:
        """Return the error that the database cannot be used, in words that never have the URL's password."""
        hint = None
        if isinstance(error, self._psycopg.errors.UndefinedTable):
            hint = "to make its table: qoder key init --store URL"
        if isinstance(error, self._psycopg.ProgrammingError) and getattr(error, "sqlstate", None) is None:
            return away(self.shown, UsageError("the URL is not valid"))
        message = " ".join(str(error).split()) or type(error).__name__
        for secret in passwords(self._url):
            message = message.replace(secret, "****")
        return away(self.shown, Unavailable(message, hint=hint))


def without_password(url: str) -> str:
    """Return host and database of a URL: neither user, password nor options."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return _HIDDEN
    host = parts.netloc.rpartition("@")[2]
    if "@" in url.removeprefix(f"{parts.scheme}://{parts.netloc}"):  # then `host` may be part of a password
        return _HIDDEN
    return f"postgresql://{host}{parts.path}"


def passwords(url: str) -> list[str]:
    """Return what of a URL is secret, however it is spelled there."""
    try:
        parts = urlsplit(url)
        typed = parts.netloc.rpartition("@")[0].partition(":")[2]
        found = [typed, *(value for name, value in parse_qsl(parts.query) if "pass" in name), parts.query]
    except ValueError:
        found = [url]
    return sorted({each for one in found for each in (one, unquote(one)) if each}, key=len, reverse=True)
