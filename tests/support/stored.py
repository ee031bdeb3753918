"""What the store in a folder knows, as a test sees it from outside; and all that may be there in its place."""

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

import pytest

from qoder_cli.local import store
from qoder_cli.local.store import NAME, VERSION, Store, StoredAttempt

_connect = store._connect


@cache
def _new(statements: tuple[str, ...]) -> bytes:
    """Return the file that a store begins with, which these statements make."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        _connect(path, 1.0).close()
        return path.read_bytes()


def connect_to_a_copy(path: Path, patience: float) -> sqlite3.Connection:
    """Do what `store._connect` does, where nothing is there with a copy: its twenty tables take a tenth of a test."""
    with suppress(OSError):  # which the program shall meet itself
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.path.lexists(path):
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix="new-") as copy:
                copy.write(_new(tuple(store._statements())))
                copy.flush()
                os.link(copy.name, path)  # at once, for another thread
    return _connect(path, patience)


def entries_in(folder: Path) -> list[StoredAttempt]:
    """Return all attempts, on whatever host; nothing is changed for it."""
    with closing(Store({"QODER_STATE_DIR": str(folder)}, warn=pytest.fail, looking=True)) as store:
        hosts = store.read("SELECT DISTINCT host FROM attempts")
        return [entry for (host,) in hosts for entry in store.entries(host)]


def _with_rows(path: Path, *statements: str, rows: int = 1) -> None:
    """Make a store that has seen deployments, and change it as only another program would."""
    with closing(Store({"QODER_STATE_DIR": str(path.parent)}, warn=pytest.fail)) as store:
        each = [("api.qoder.com", "default", "deploy", f"dep_{n}", "nightly", None, n) for n in range(1, rows + 1)]
        store.write(lambda connection: connection.executemany("INSERT INTO seen VALUES (?, ?, ?, ?, ?, ?, ?)", each))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def _rows_of_another(path: Path) -> None:
    """Write what no command of ours would: ids that are commands, numbers, bytes that are not text."""
    _with_rows(path, "DELETE FROM seen")
    commands = ["dep_$(touch started)", "dep_`touch started`", "';touch started'"]
    hostile = [*commands, "dep_a b", "dep_\n", 7, b"\xff\xfe", ""]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for number, id in enumerate(hostile):
            told = {"deploy": ("$(touch started)", None), "run": (None, b"\xff")}
            rows = [("api.qoder.com", "default", noun, id, *columns, number) for noun, columns in told.items()]
            connection.executemany("INSERT INTO seen VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def _half_a_file(path: Path) -> None:
    _with_rows(path, rows=300)
    os.truncate(path, 6000)


def _of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE deployments (id, name)")


def _a_file_for_a_folder(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("a file")


GARBAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.touch(),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 1000),
    "huge": lambda path: path.write_bytes(b"x" * 3_000_000),
    "many lines": lambda path: path.write_bytes(b"dep_x\t\n" * 40_000),
    "another program's": _of_another_program,
    "newer": lambda path: _with_rows(path, f"PRAGMA user_version = {VERSION + 1}"),
    "half": _half_a_file,
    "commands": _rows_of_another,
    "no utf-8": lambda path: _with_rows(path, "UPDATE seen SET name = CAST(x'fffe' AS TEXT)"),
}
if os.name == "posix":
    GARBAGE |= {
        "a folder": lambda path: path.mkdir(),
        "a pipe": lambda path: os.mkfifo(path),
        "a pipe beside": lambda path: os.mkfifo(f"{path}-wal"),
        "a link to nothing": lambda path: path.symlink_to(path.parent / "no/where"),
        "a file for a folder": _a_file_for_a_folder,
    }


def put_in_the_way(folder: Path, what: str) -> None:
    """Have garbage where the store of this folder is."""
    folder.mkdir()
    GARBAGE[what](folder / "state.db")
