"""Tables of what this machine remembers: the newest rows are kept, and one row for each key."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from qoder_cli.local.tables import OUTCOMES, TABLES, Row, Table

NOTES = Table("notes", ("host", "id"), {"host": "TEXT NOT NULL", "id": "TEXT NOT NULL", "at": "REAL NOT NULL"}, most=3)


class File:
    """A file of tables, as a store reads and writes it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def read(self, query: str, values: Any = (), *, quiet: bool = False) -> list[Any]:
        return self.connection.execute(query, values).fetchall()

    def write_now(self, work: Callable[[sqlite3.Connection], object]) -> bool:
        work(self.connection)
        return True


@pytest.fixture
def file() -> Iterator[File]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for table in (NOTES, *TABLES):
            for statement in table.create:
                connection.execute(statement)
        yield File(connection)


def note(id: str, at: float, host: str = "a") -> Row:
    return {"host": host, "id": id, "at": at}


def test_a_table_keeps_its_newest_rows(file: File) -> None:
    for at in (5, 1, 4, 2, 3):
        NOTES.put(file.connection, [note(f"n{at}", float(at))], instead="REPLACE")
    assert sorted(NOTES.read(file, {"host": "a"}, "id")) == [("n3",), ("n4",), ("n5",)]


def test_a_table_has_one_row_for_a_key_and_says_which_are_new(file: File) -> None:
    rows = [note("x", 1.0), note("y", 1.0)]
    assert NOTES.put(file.connection, rows, instead="IGNORE") == rows
    assert NOTES.put(file.connection, [note("x", 2.0), note("z", 2.0)], instead="IGNORE") == [note("z", 2.0)]
    NOTES.put(file.connection, [note("x", 3.0)], instead="REPLACE")
    NOTES.change(file.connection, {"host": "a", "id": "y"}, at=4.0)
    NOTES.drop(file.connection, {"id": "z"})
    assert sorted(NOTES.read(file, {}, "id", "at")) == [("x", 3.0), ("y", 4.0)]


def test_a_table_saves_rows_in_place_of_others(file: File) -> None:
    NOTES.save(file, [note("x", 1.0), note("y", 1.0), note("x", 1.0, "b")])
    assert NOTES.save(file, [note("z", 2.0)], in_place_of={"host": "a"})
    assert sorted(NOTES.read(file, {}, "host", "id")) == [("a", "z"), ("b", "x")]


def test_a_table_is_read_for_very_many_values(file: File) -> None:
    NOTES.put(file.connection, [note("n7", 1.0), note("n7", 1.0, "b"), note("other", 1.0)], instead="REPLACE")
    ids = [f"n{number}" for number in range(3000)]
    assert list(NOTES.read_of(file, {"host": "a"}, "id", ids, "id", "at")) == [("n7", 1.0)]


def test_a_damaged_row_is_read_as_what_its_columns_hold(file: File) -> None:
    file.connection.execute("INSERT INTO notes VALUES (x'ff00', 7, 'soon')")
    assert NOTES.read(file, {}, "id", "at") == [("7", 0.0)]


def test_a_hundred_thousand_outcomes_are_kept() -> None:
    assert OUTCOMES.most == 100_000
