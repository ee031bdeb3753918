"""The things that commands have seen, for completion, short ids and names.

They are in the store, by host and profile. What fails here is silent.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.base.model import Run, text
from qoder_cli.base.words import shortened
from qoder_cli.local.store import writable
from qoder_cli.output.screen import inert

if TYPE_CHECKING:
    from sqlite3 import Connection

    from qoder_cli.local.store import Store
    from qoder_cli.settings.config import Settings

Things = Iterable[tuple[Mapping[str, object], str | None]]  # the server's objects, and their names

MOST = 300  # offered at a time
MOST_RUNS = 50  # taken or offered at a time, of runs
MOST_KEPT = 1000  # of a noun, host and profile; a short id may be an old run's
_OF_RUNS = "run session"  # a noun of their own: sessions that runs have, each named by its run
_LONGEST = 256  # characters of a name
_ID = re.compile(r"[A-Za-z][\w.-]{0,127}[A-Za-z0-9]", re.ASCII)  # safe in a shell
_REHEARSED = "GLOB '127.0.0.1:*'"  # the host of each sandbox
_SCOPE = "host = :host AND profile = :profile AND noun = :noun"
_PUT = """
INSERT INTO seen VALUES (:host, :profile, :noun, :id, :name, :deployment, :created)
ON CONFLICT DO UPDATE SET name = excluded.name, deployment = excluded.deployment, created = excluded.created
WHERE (name, deployment, created) IS NOT (excluded.name, excluded.deployment, excluded.created)
"""
_FIND = f"""
SELECT it.id, coalesce(it.name, its.name), it.deployment, it.created, it.host FROM seen AS it LEFT JOIN seen AS its
ON (its.host, its.profile, its.noun, its.id) = (it.host, it.profile, 'deploy', it.deployment)
WHERE it.noun = :noun AND it.profile = coalesce(:profile, it.profile) AND it.host = coalesce(:host, it.host)
AND (:host IS NOT NULL OR (it.host {_REHEARSED}) = (:profile IS NULL))
ORDER BY it.created DESC, it.id DESC LIMIT :most
"""


class Seen(NamedTuple):
    """A thing seen; a run has its deployment's name. What is unknown is empty."""

    id: str
    name: str
    deployment: str
    created: str
    host: str


def seen(store: "Store", noun: str, *, profile: str | None, host: str | None = None) -> list[Seen]:
    """Return what was seen of a noun, newest first; in sandboxes if no profile is given."""
    values = {"noun": noun, "profile": profile, "host": host, "most": MOST_RUNS if noun == "run" else MOST}
    rows = store.read(_FIND, values, quiet=True)
    rows_seen = [Seen(*[text(column) or "" for column in row]) for row in rows]
    return [seen_id for seen_id in rows_seen if _ID.fullmatch(seen_id.id)]  # others may write others


def ids_with_prefix(store: "Store", host: str, prefix: str, *, noun: str | None = None) -> list[str]:
    """Return the ids, with this prefix, of runs triggered and things seen on this host, or only of those of a noun."""
    query = (
        "SELECT id FROM seen WHERE noun = coalesce(:noun, noun) AND host = :host"
        " AND substr(id, 1, length(:prefix)) = :prefix"
        " UNION SELECT run FROM attempts WHERE host = :host AND substr(run, 1, length(:prefix)) = :prefix ORDER BY 1"
    )
    return [id for (id,) in store.read(query, {"host": host, "prefix": prefix, "noun": noun}, quiet=True)]


class SeenNames:
    """What this machine saw last of the deployments and sessions of a profile."""

    def __init__(self, store: "Store", settings: "Settings") -> None:
        self._store = store
        self._scope = {"host": settings.host, "profile": settings.profile}
        self._names: dict[tuple[str, str], str | None] = {}

    def name_of(self, deployment: str | None) -> str | None:
        """Return a deployment's name, or None."""
        return self._name("deploy", deployment)

    def run_of(self, session: str | None) -> str | None:
        """Return the id of the run that a session belongs to, or None."""
        return self._name(_OF_RUNS, session)

    def standing_for(self, deployment: str | None) -> str | None:
        """Return a deployment's name if it can stand for the id: no other has it, and it looks like none."""
        name = self.name_of(deployment)
        if name is None or name in self._shared or name.startswith("dep_"):
            return None
        return name

    @cached_property
    def retries(self) -> dict[str, str]:
        return self._store.retries(self._scope["host"])

    @cached_property
    def _shared(self) -> set[str]:
        query = f"SELECT name FROM seen WHERE {_SCOPE} GROUP BY name HAVING count(*) > 1"
        return {name for (name,) in self._store.read(query, {**self._scope, "noun": "deploy"}, quiet=True)}

    def _name(self, noun: str, id: str | None) -> str | None:
        if not id or not _ID.fullmatch(id):
            return None
        if (noun, id) not in self._names:
            query = f"SELECT name FROM seen WHERE {_SCOPE} AND id = :id"
            rows = self._store.read(query, {**self._scope, "noun": noun, "id": id}, quiet=True)
            self._names[noun, id] = next((text(name) for (name,) in rows), None)
        return self._names[noun, id]


def remember_runs(store: "Store", settings: "Settings", runs: Iterable[Run]) -> None:
    """Remember runs, and whose their sessions are; 50 at most."""
    raws = [run.raw for run in islice(runs, MOST_RUNS)]
    sessions = [({**raw, "id": raw.get("session_id")}, text(raw.get("id"))) for raw in raws if raw.get("session_id")]
    remember(store, settings, "run", [(raw, None) for raw in raws])
    remember(store, settings, _OF_RUNS, sessions)


def remember(store: "Store", settings: "Settings", noun: str, objects: Things, *, whole: bool = False) -> None:
    """Remember things of a noun; forget archived ones, with `whole` all others too."""
    scope = {"host": settings.host, "profile": settings.profile, "noun": noun}
    columns: dict[str, dict[str, str | None]] = {}
    gone: set[str] = set()
    for raw, name in islice(objects, MOST_KEPT):
        id = text(raw.get("id")) or ""
        if raw.get("archived_at"):
            gone.add(id)
        elif _ID.fullmatch(id):
            created = raw.get("triggered_at") or raw.get("created_at")
            defaults = {"name": name, "deployment": raw.get("deployment_id"), "created": created}
            columns[id] = {**scope, "id": id, **{key: as_remembered(value) for key, value in defaults.items()}}

    def put(connection: "Connection") -> None:
        if settings.sandbox:  # of past sandboxes: each has its own port
            connection.execute(f"DELETE FROM seen WHERE host {_REHEARSED} AND host <> :host", scope)
        connection.executemany(_PUT, columns.values())
        newest = f"SELECT id FROM seen WHERE {_SCOPE} ORDER BY created DESC, id DESC"
        kept = [id for (id,) in connection.execute(newest, scope)]
        old = {*kept[MOST_KEPT:], *gone} | (set(kept) - columns.keys() if whole else set())
        connection.executemany(f"DELETE FROM seen WHERE {_SCOPE} AND id = :id", [{**scope, "id": id} for id in old])

    if columns or gone or whole:
        store.write(put, quiet=True)


def as_remembered(value: object) -> str | None:
    """Return text made inert, shortened and writable; None if it is empty."""
    shown = inert(writable(text(value) or "")[: _LONGEST + 1]).strip()
    return shortened(shown, _LONGEST) or None
