"""What reports remember on this machine, by profile, host, workspace, reader and the deployments that were typed.

A reader is a series of `report --new`; the plain reports of a machine are one, too, to which nothing counts as told.
All times are unix seconds of the server's clock. What cannot be read counts as never remembered.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.base.model import OLDEST, mapping
from qoder_cli.local.store import Store, writable
from qoder_cli.local.tables import LATEST, MEMORIES, REPORTED

if TYPE_CHECKING:
    from sqlite3 import Connection

    from qoder_cli.settings.config import Settings


class ReaderMemory(NamedTuple):
    """What a reader's reports remember.

    `states` are those that last, by key, with when they were told. `open_runs` had not ended when they were last looked
    at, or, with a time, ended since. Runs created before `known_from` were never looked at; lists are to be read again
    back to `back_to`.
    """

    began: float  # when its first span began
    ended: float  # when its last span ended
    known_from: float
    back_to: float
    states: dict[str, float]
    open_runs: dict[str, float | None]


class ReportMemory:
    """The memory of one reader, in the store."""

    def __init__(self, store: Store, settings: "Settings", reader: str | None, deployments: Sequence[str]) -> None:
        """`reader` is the name of a series of `report --new`, empty for the one without a name; None for the others."""
        self._store = store
        kind = "report" if reader is None else "new"
        scope = [kind, settings.profile, settings.host, settings.workspace_id or "", reader or "", *sorted(deployments)]
        self.name = hashlib.sha256(jsontext.dump(scope).encode("utf-8", "backslashreplace")).hexdigest()[:32]
        self._where = {"memory": self.name}

    def read(self) -> ReaderMemory | None:
        """Return what is remembered; None if this is the first report."""
        rows = MEMORIES.read(self._store, self._where)
        for _, began, ended, known_from, back_to, states, runs, _ in rows:
            try:
                if min(began, ended) < OLDEST or max(began, ended) >= LATEST:
                    continue
                reported_at = {key: float(str(at)) for key, at in mapping(jsontext.parse(states)).items()}
                left = mapping(jsontext.parse(runs))
                open_runs = {id: at if at is None else float(str(at)) for id, at in left.items()}
            except (TypeError, ValueError):  # a damaged file may have anything there
                continue
            return ReaderMemory(began, ended, known_from, back_to, reported_at, open_runs)
        return None

    def reported_of(self, keys: Sequence[str]) -> set[str]:
        """Return those of some things that were told before."""
        written = {writable(key): key for key in keys}
        rows = REPORTED.read_of(self._store, self._where, "item", list(written), "item")
        return {written[item] for (item,) in rows}

    def note(self, memory: ReaderMemory, keys: Iterable[str], *, at: float) -> bool:
        """Note what is remembered from now on, and that things were told, after they were. Return whether it is."""
        row = {
            **self._where,
            **memory._asdict(),
            "states": writable(jsontext.dump(memory.states)),
            "open_runs": writable(jsontext.dump(memory.open_runs)),
            "at": at,
        }
        rows = [{**self._where, "item": writable(key), "at": at} for key in keys]

        def put(connection: "Connection") -> None:
            MEMORIES.put(connection, [row], instead="REPLACE")
            REPORTED.put(connection, rows, instead="REPLACE")

        return self._store.write_now(put)
