"""Keys in a PostgreSQL database: one row each. A primary key and row locks decide every write in one place."""

import threading
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from qoder_cli.base.errors import QoderError, Unavailable, UsageError
from qoder_cli.base.extras import command_for
from qoder_cli.keys.record import KeyRecord, Lost, StoredKey, away, found_of

if TYPE_CHECKING:
    import psycopg

_HIDDEN = "postgresql://…"
CONNECT_WITHIN = 10  # seconds
ANSWER_WITHIN = 15  # seconds for one statement
_TABLE = """CREATE TABLE IF NOT EXISTS qoder_keys (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    content TEXT NOT NULL
)"""
_TAKE = "INSERT INTO qoder_keys (name, id, content) VALUES (%s, %s, %s) ON CONFLICT (name) DO NOTHING RETURNING id"
_MOVE = "UPDATE qoder_keys SET content = %s WHERE name = %s AND id = %s AND content = %s RETURNING id"
_FREE = "DELETE FROM qoder_keys WHERE name = %s AND id = %s AND content = %s RETURNING id"
_READ = "SELECT id, content FROM qoder_keys WHERE name = %s"
_LIST = "SELECT id, content FROM qoder_keys ORDER BY name"
# A commit is on the disk before it is told; a statement that hangs is not waited for.
_SETUP = f"SET synchronous_commit = on; SET statement_timeout = '{ANSWER_WITHIN}s'; SET lock_timeout = '5s'"


class PostgresKeys:
    """Keys in the database of a URL. Threads may share it: one connection, one statement at a time."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        try:
            import psycopg
        except ImportError as error:
            why = "a store of keys in PostgreSQL needs psycopg, which is not installed"
            raise UsageError(why, hint=f"install it: {command_for('postgres')}") from error
        self._psycopg = psycopg
        self._url = url
        self._read_only = read_only
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self.shown = without_password(url)

    def create(self) -> None:
        """Make the table, unless it is there. Raises QoderError."""
        try:
            self._rows(_TABLE, is_write=True)
        except Lost:
            self._rows(_LIST + " LIMIT 1")

    def take(self, record: KeyRecord) -> StoredKey | None:
        id = uuid.uuid4().hex
        if self._rows(_TAKE, record.name, id, record.content, is_write=True):
            return StoredKey(id, record, record.content)
        return None

    def move(self, found: StoredKey, record: KeyRecord) -> StoredKey | None:
        if self._rows(_MOVE, record.content, found.record.name, found.id, found.content, is_write=True):
            return StoredKey(found.id, record, record.content)
        return None

    def free(self, found: StoredKey) -> bool:
        return bool(self._rows(_FREE, found.record.name, found.id, found.content, is_write=True))

    def read(self, name: str) -> StoredKey | None:
        rows = self._rows(_READ, name)
        return self._found(rows[0]) if rows else None

    def entries(self) -> list[StoredKey]:
        return [self._found(row) for row in self._rows(_LIST)]

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _found(self, row: tuple[Any, ...]) -> StoredKey:
        return found_of(str(row[0]), str(row[1]), where=f"{row[0]} in {self.shown}")

    def _rows(self, statement: str, *values: str, is_write: bool = False) -> list[tuple[Any, ...]]:
        """Return the rows of one statement, which is one transaction. Raises Lost for a write, StoreAway."""
        if is_write and self._read_only:
            raise UsageError(
                f"QODER_READ_ONLY is set: nothing was written to {self.shown}",
                hint="to allow writes, unset QODER_READ_ONLY",
            )
        errors = self._psycopg.Error
        with self._lock:
            fresh = self._connection is None
            try:
                cursor = self._connected().execute(statement.encode(), values)
                return cursor.fetchall() if cursor.description else []
            except errors as error:
                was_sent = self._connection is not None
                is_over = self._connection is None or self._connection.closed or self._connection.broken
                self._drop()
                if was_sent and is_over and not is_write and not fresh:
                    return self._again(statement, *values)  # a connection that has idled may have been closed
                refused = isinstance(error, self._psycopg.errors.ReadOnlySqlTransaction) or (
                    error.sqlstate is not None and error.sqlstate[:2] in ("42", "25", "28", "3D", "53")
                )
                if was_sent and is_write and not refused:
                    raise Lost from None
                raise self._away(error) from None

    def _again(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        try:
            return self._connected().execute(statement.encode(), values).fetchall()
        except self._psycopg.Error as error:
            self._drop()
            raise self._away(error) from None

    def _connected(self) -> "psycopg.Connection[Any]":
        if self._connection is None:
            connection = self._psycopg.connect(
                self._url, autocommit=True, prepare_threshold=None, connect_timeout=CONNECT_WITHIN
            )
            try:
                connection.execute(_SETUP.encode())
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

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
