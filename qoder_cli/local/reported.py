"""What `report --new` of this machine has reported, by host and workspace, so that it reports each thing once."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from qoder_cli.local.store import Store, writable

if TYPE_CHECKING:
    from sqlite3 import Connection

    from qoder_cli.settings.config import Settings

MOST_KEPT = 200_000  # things, of all hosts, the newest
_AT_ONCE = 500


def reported(store: Store, settings: "Settings", keys: Sequence[str]) -> set[str]:
    """Return those of some things that were reported before."""
    found: set[str] = set()
    for first in range(0, len(keys), _AT_ONCE):
        some = list(map(writable, keys[first : first + _AT_ONCE]))
        marks = ", ".join("?" * len(some))
        query = f"SELECT CAST(item AS TEXT) FROM told WHERE host = ? AND workspace = ? AND item IN ({marks})"
        found |= {item for (item,) in store.read(query, [*_scope(settings), *some], quiet=True)}
    return {key for key in keys if writable(key) in found}


def note_reported(store: Store, settings: "Settings", keys: Iterable[str], *, at: float) -> bool:
    """Note that things were reported, after they were. Return whether that is written."""
    rows = [(*_scope(settings), writable(key), at) for key in keys]

    def put(connection: "Connection") -> None:
        connection.executemany("INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?)", rows)
        kept = "SELECT at FROM told ORDER BY at DESC LIMIT 1 OFFSET ?"
        connection.execute(f"DELETE FROM told WHERE at < ({kept})", (MOST_KEPT,))

    return store.write_now(put)


def _scope(settings: "Settings") -> tuple[str, str]:
    return settings.host, settings.workspace_id or ""
