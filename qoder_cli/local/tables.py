"""What this machine remembers besides triggers: tables of which the newest rows are kept, each declared here once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from sqlite3 import Connection

_IN_A_QUERY = 500  # values; SQLite takes at least 999

Row = Mapping[str, object]


class TablesFile(Protocol):
    """The file that the tables are in: a `store.Store`."""

    def read(self, query: str, values: Any = (), *, quiet: bool = False) -> list[Any]: ...

    def write_now(self, work: "Callable[[Connection], object]") -> bool: ...


class Table(NamedTuple):
    """A table: its columns with their types in SQLite, those first that name a row; if `most`, so many rows are kept.

    The newest are those whose `at` is latest.
    """

    name: str
    key: tuple[str, ...]
    columns: dict[str, str]
    most: int = 0

    @property
    def create(self) -> Iterator[str]:
        """The statements that make it, if it is not there."""
        columns = ", ".join(f"{name} {type}" for name, type in self.columns.items())
        yield (f"CREATE TABLE IF NOT EXISTS {self.name} ({columns}, PRIMARY KEY ({', '.join(self.key)})) WITHOUT ROWID")
        if self.most:
            yield f"CREATE INDEX IF NOT EXISTS {self.name}_by_time ON {self.name} (at)"

    def put(self, connection: "Connection", rows: Iterable[Row], *, instead: Literal["REPLACE", "IGNORE"]) -> list[Row]:
        """Put rows in, in place of those with their keys, or only where there is none. Return those that were put."""
        names = ", ".join(self.columns)
        marks = ", ".join(f":{name}" for name in self.columns)
        query = f"INSERT OR {instead} INTO {self.name} ({names}) VALUES ({marks})"
        done = [row for row in rows if connection.execute(query, row).rowcount > 0]
        if self.most:
            oldest = f"SELECT at FROM {self.name} ORDER BY at DESC LIMIT 1 OFFSET {self.most - 1}"
            connection.execute(f"DELETE FROM {self.name} WHERE at < ({oldest})")
        return done

    def save(self, store: TablesFile, rows: Iterable[Row], *, in_place_of: Row | None = None) -> bool:
        """Put rows into the file, in place of those with these values: all or none. Return whether they are there."""

        def work(connection: "Connection") -> None:
            if in_place_of is not None:
                self.drop(connection, in_place_of)
            self.put(connection, rows, instead="REPLACE")

        return store.write_now(work)

    def drop(self, connection: "Connection", where: Row) -> None:
        """Drop the rows that have these values."""
        connection.execute(f"DELETE FROM {self.name} WHERE {_all(where)}", where)

    def change(self, connection: "Connection", where: Row, **values: object) -> None:
        """Give values to the rows that have these."""
        given = ", ".join(f"{name} = :new_{name}" for name in values)
        new = {f"new_{name}": value for name, value in values.items()}
        connection.execute(f"UPDATE {self.name} SET {given} WHERE {_all(where)}", {**where, **new})

    def read(self, store: TablesFile, where: Row, *columns: str, quiet: bool = True) -> list[Any]:
        """Return columns, or all, of the rows that have these values; a damaged file may have anything in them."""
        names = ", ".join(f"CAST({name} AS {self.columns[name].split()[0]})" for name in columns or self.columns)
        return store.read(f"SELECT {names} FROM {self.name} WHERE {_all(where)}", dict(where), quiet=quiet)

    def read_of(
        self, store: TablesFile, where: Row, column: str, values: Sequence[object], *columns: str
    ) -> Iterator[Any]:
        """Yield columns of the rows that have one of many values in a column."""
        names = ", ".join(f"CAST({name} AS {self.columns[name].split()[0]})" for name in columns)
        same = " AND ".join(f"{name} = ?" for name in where)
        for first in range(0, len(values), _IN_A_QUERY):
            some = values[first : first + _IN_A_QUERY]
            query = f"SELECT {names} FROM {self.name} WHERE {same} AND {column} IN ({', '.join('?' * len(some))})"
            yield from store.read(query, [*where.values(), *some], quiet=True)


def _all(where: Row) -> str:
    return " AND ".join(f"{name} = :{name}" for name in where) or "1"


_TEXT, _MAYBE, _NUMBER, _TIME = "TEXT NOT NULL", "TEXT", "INTEGER NOT NULL", "REAL NOT NULL"


def _texts(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), _TEXT)


# Things seen: see `remembered.py`.
SEEN = Table(
    "seen",
    ("host", "profile", "noun", "id"),
    {**_texts("host profile noun id"), "name": _MAYBE, "deployment": _MAYBE, "created": _MAYBE},
)
# The numbers of calls: `numbered.py`.
NUMBERED = Table(
    "numbered",
    ("host", "profile", "session", "number"),
    {**_texts("host profile session"), "number": _NUMBER, **_texts("call sha256"), "at": _TIME},
    most=10_000,
)
# What was created from files: `made.py`.
MADE = Table(
    "made",
    ("host", "profile", "noun", "parent", "name"),
    {**_texts("host profile noun parent name id"), "at": _TIME},
    most=10_000,
)
# How runs ended: `outcomes.py`.
OUTCOMES = Table(
    "outcomes",
    ("host", "workspace", "run"),
    {
        **_texts("host workspace run session status ended"),
        **{"type": _MAYBE, "message": _MAYBE, "worked": "INTEGER", "at": _TIME},
    },
    most=100_000,
)
# What sessions of runs that have ended had used: `outcomes.py`.
CREDITS = Table(
    "credits",
    ("host", "workspace", "session"),
    {**_texts("host workspace session credits"), "at": _TIME},
    most=100_000,
)
# What reports remember, and what they told: `reports.py`.
MEMORIES = Table(
    "memories",
    ("memory",),
    {
        "memory": _TEXT,
        **dict.fromkeys(("began", "ended", "known_from", "back_to"), _TIME),
        **_texts("states open_runs"),
        "at": _TIME,
    },
    most=1000,
)
REPORTED = Table("reported", ("memory", "item"), {**_texts("memory item"), "at": _TIME}, most=200_000)
# What policies decided: `decided.py`.
DECISIONS = Table(
    "decisions",
    ("host", "session", "call"),
    {
        **{"host": _TEXT, "at": _TIME},
        **_texts("session run call call_sha256 asked_by name input answer rule"),
        **{"line": _NUMBER, **_texts("file policy_sha256 state")},
    },
    most=10_000,
)
TABLES = (SEEN, NUMBERED, MADE, OUTCOMES, CREDITS, MEMORIES, REPORTED, DECISIONS)
