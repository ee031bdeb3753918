"""What this machine remembers besides triggers: tables of which the newest rows are kept, each declared here once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from sqlite3 import Connection

_IN_A_QUERY = 500  # values; SQLite takes at least 999

LATEST = 1e11  # unix seconds, of which a date can be made

Row = Mapping[str, object]


class TablesFile(Protocol):
    """The file that the tables are in: a `store.Store`."""

    def read(self, query: str, values: Any = (), *, quiet: bool = False) -> list[Any]: ...

    def write_now(self, work: "Callable[[Connection], object]") -> bool: ...


class Table(NamedTuple):
    """A table, its key, and its columns; if `most`, the newest so many rows are kept."""

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
        marks = ", ".join(f":{name}" for name in self.columns)
        query = f"INSERT OR {instead} INTO {self.name} ({', '.join(self.columns)}) VALUES ({marks})"
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
        return store.read(f"{self._select(columns)} WHERE {_all(where)}", dict(where), quiet=quiet)

    def _select(self, columns: Sequence[str]) -> str:
        return f"SELECT {', '.join(map(self._value, columns or self.columns))} FROM {self.name}"

    def _value(self, name: str) -> str:
        """Return the SQL that reads a column; a damaged file may hold other types, and times that are no dates."""
        type, *more = self.columns[name].split()
        value = f"CAST({name} AS {type})"
        if type == "REAL":
            value = f"max(0.0, min({value}, {LATEST}))"
        return f"COALESCE({value}, CAST('' AS {type}))" if more else value

    def read_of(
        self, store: TablesFile, where: Row, column: str, values: Sequence[object], *columns: str
    ) -> Iterator[Any]:
        """Yield columns of the rows that have one of many values in a column."""
        same = " AND ".join(f"{name} = ?" for name in where)
        for first in range(0, len(values), _IN_A_QUERY):
            some = values[first : first + _IN_A_QUERY]
            query = f"{self._select(columns)} WHERE {same} AND {column} IN ({', '.join('?' * len(some))})"
            yield from store.read(query, [*where.values(), *some], quiet=True)


def _all(where: Row) -> str:
    return " AND ".join(f"{name} = :{name}" for name in where) or "1"


def _columns(declared: str) -> dict[str, str]:
    """Return columns with their types: text, or as in `name:TYPE`; with a `?` it may be null."""
    columns = {}
    for column in declared.split():
        name, _, type = column.removesuffix("?").partition(":")
        columns[name] = type or "TEXT"
        if not column.endswith("?"):
            columns[name] += " NOT NULL"
    return columns


def _table(name: str, key: str, others: str, most: int = 0) -> Table:
    key_columns = _columns(key)
    return Table(name, tuple(key_columns), key_columns | _columns(others), most)


SEEN = _table("seen", "host profile noun id", "name? deployment? created?")  # things: `remembered.py`
NUMBERED = _table("numbered", "host profile session number:INTEGER", "call sha256 at:REAL", most=10_000)
MADE = _table("made", "host profile noun parent name", "id at:REAL", most=10_000)  # from files
# How runs ended, and what their sessions had used then: `outcomes.py`.
OUTCOMES = _table(
    "outcomes", "host workspace run", "session status ended type? message? worked:INTEGER? at:REAL", most=100_000
)
CREDITS = _table("credits", "host workspace session", "credits at:REAL", most=100_000)
# What reports remember, and what they told: `reports.py`.
MEMORIES = _table(
    "memories", "memory", "began:REAL ended:REAL known_from:REAL back_to:REAL states open_runs at:REAL", most=1000
)
REPORTED = _table("reported", "memory item", "at:REAL", most=200_000)
# What policies decided: `sessions/by_policy.py`.
DECISIONS = _table(
    "decisions",
    "host session call",
    "at:REAL run call_sha256 asked_by name input answer rule line:INTEGER file policy_sha256 state",
    most=10_000,
)
TABLES = (SEEN, NUMBERED, MADE, OUTCOMES, CREDITS, MEMORIES, REPORTED, DECISIONS)
