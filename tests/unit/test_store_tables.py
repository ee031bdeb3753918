"""Tables of what this machine remembers: the newest rows are kept, and one row for each key."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from qoder_cli.local import tables
from qoder_cli.local.store import Store
from qoder_cli.local.tables import LATEST, OUTCOMES, TABLES, Row, Table

NOTES = Table("notes", ("host", "id"), {"host": "TEXT NOT NULL", "id": "TEXT NOT NULL", "at": "REAL NOT NULL"}, most=3)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(tables, "TABLES", (NOTES, *TABLES))
    with closing(Store({"QODER_STATE_DIR": str(tmp_path)}, warn=pytest.fail)) as store:
        yield store


def note(id: str, at: float, host: str = "a") -> Row:
    return {"host": host, "id": id, "at": at}


def test_a_table_keeps_its_newest_rows(store: Store) -> None:
    for at in (5, 1, 4, 2, 3):
        NOTES.save(store, [note(f"n{at}", float(at))])
    assert sorted(NOTES.read(store, {"host": "a"}, "id")) == [("n3",), ("n4",), ("n5",)]


def test_a_table_has_one_row_for_a_key_and_says_which_are_new(store: Store) -> None:
    rows = [note("x", 1.0), note("y", 1.0)]
    assert store.write(lambda of: NOTES.put(of, rows, instead="IGNORE")) == rows
    new = store.write(lambda of: NOTES.put(of, [note("x", 2.0), note("z", 2.0)], instead="IGNORE"))
    assert new == [note("z", 2.0)]
    NOTES.save(store, [note("x", 3.0)])
    store.write(lambda of: NOTES.change(of, {"host": "a", "id": "y"}, at=4.0))
    store.write(lambda of: NOTES.drop(of, {"id": "z"}))
    assert sorted(NOTES.read(store, {}, "id", "at")) == [("x", 3.0), ("y", 4.0)]


def test_a_table_saves_rows_in_place_of_others(store: Store) -> None:
    NOTES.save(store, [note("x", 1.0), note("y", 1.0), note("x", 1.0, "b")])
    assert NOTES.save(store, [note("z", 2.0)], in_place_of={"host": "a"})
    assert sorted(NOTES.read(store, {}, "host", "id")) == [("a", "z"), ("b", "x")]


def test_a_table_is_read_for_very_many_values(store: Store) -> None:
    NOTES.save(store, [note("n7", 1.0), note("n7", 1.0, "b"), note("other", 1.0)])
    ids = [f"n{number}" for number in range(3000)]
    assert list(NOTES.read_of(store, {"host": "a"}, "id", ids, "id", "at")) == [("n7", 1.0)]


@pytest.mark.parametrize(
    ("id", "at", "read"), [("7", "'soon'", ("7", 0.0)), ("NULL", "NULL", ("", 0.0)), ("x''", "9e999", ("", LATEST))]
)
def test_a_damaged_row_is_read_as_what_its_columns_hold(
    store: Store, tmp_path: Path, id: str, at: str, read: tuple[str, float]
) -> None:
    NOTES.save(store, [])
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection, connection:
        connection.execute("DROP TABLE notes")
        connection.execute("CREATE TABLE notes (host, id, at)")
        connection.execute(f"INSERT INTO notes VALUES (x'ff00', {id}, {at})")
    assert NOTES.read(store, {}, "id", "at") == [read]


def test_a_hundred_thousand_outcomes_are_kept() -> None:
    assert OUTCOMES.most == 100_000
