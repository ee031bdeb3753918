"""The deployments and the newest runs that commands have seen, for completion and short ids.

They are in the store, by host and profile. What fails here is silent.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from qoder_cli.base.model import Deployment, Run, text
from qoder_cli.base.tokens import shortened
from qoder_cli.local.store import THINGS
from qoder_cli.output.screen import inert

if TYPE_CHECKING:
    from sqlite3 import Connection

    from qoder_cli.local.store import Store
    from qoder_cli.settings.config import Settings

MOST_DEPLOYMENTS = 300  # of one host and profile
MOST_THINGS = 300  # of one noun, host and profile
MOST_RUNS = 50  # that are taken, or offered, at a time
MOST_KEPT_RUNS = 1000  # of one host and profile; more than are taken at a time, for a short id may be of an older one
_LONGEST = 256  # characters of a name
_ID = re.compile(r"d(ep|run)_[A-Za-z0-9_-]{1,128}", re.ASCII)  # anything else could mean something to a shell
_THING = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{1,128}", re.ASCII)  # the same; models have no prefix
_DEPLOYMENTS = "SELECT id, name, created FROM deployments WHERE host = ? AND profile = ? ORDER BY place"
_REHEARSED = "GLOB '127.0.0.1:*'"  # the host of each sandbox


class Invocation(Protocol):
    """What is needed here of one invocation; `app.App` is one."""

    @property
    def settings(self) -> "Settings":
        """Host, profile and the rest."""

    @property
    def store(self) -> "Store":
        """What this machine remembers."""


class Seen(NamedTuple):
    """A deployment or a run as completion tells of it; what is unknown is empty."""

    id: str
    name: str
    deployment: str
    when: str
    host: str


class KnownDeployment(NamedTuple):
    """A deployment that was seen; `created` is the server's timestamp. What is not known is None."""

    id: str
    name: str | None
    created: str | None = None


def known_deployments(store: "Store", host: str, profile: str) -> list[KnownDeployment]:
    """Return the deployments that were seen on this host with this profile, newest first."""
    return [KnownDeployment(*row) for row in store.read(_DEPLOYMENTS, (host, profile), quiet=True)]


def seen_deployments(store: "Store", profile: str | None) -> list[Seen]:
    """Return the deployments seen with a profile, newest first; with None those rehearsed."""
    which, values = _whose("deployments", profile)
    query = f"SELECT id, name, NULL, NULL, host FROM deployments WHERE {which} ORDER BY place LIMIT {MOST_DEPLOYMENTS}"
    return _seen(store, query, values)


def seen_runs(store: "Store", profile: str | None) -> list[Seen]:
    """Return the newest runs that were seen with a profile, on any host; with None those rehearsed."""
    which, values = _whose("runs", profile)
    query = (
        "SELECT runs.id, name, deployment, triggered, runs.host FROM runs LEFT JOIN deployments"
        " ON deployments.host = runs.host AND deployments.profile = runs.profile AND deployments.id = deployment"
        f" WHERE {which} ORDER BY triggered DESC, runs.id DESC LIMIT {MOST_RUNS}"
    )
    return _seen(store, query, values)


def _whose(table: str, profile: str | None) -> tuple[str, tuple[str, ...]]:
    if profile is None:
        return f"{table}.host {_REHEARSED}", ()
    return f"{table}.profile = ? AND NOT {table}.host {_REHEARSED}", (profile,)


def _seen(store: "Store", query: str, values: tuple[str, ...], plain: re.Pattern[str] = _ID) -> list[Seen]:
    """Return the rows that can be ours: what another program wrote is not offered to a shell."""
    rows = store.read(query, values, quiet=True)
    texts = [[text(column) or "" for column in row] for row in rows]
    return [Seen(*row) for row in texts if plain.fullmatch(row[0])]


def seen_things(store: "Store", profile: str | None, noun: str) -> list[Seen]:
    """Return what was seen of a noun (`agent`) with a profile; with None what was rehearsed."""
    which, values = _whose("things", profile)
    query = f"SELECT id, name, NULL, NULL, host FROM things WHERE {which} AND noun = ? ORDER BY place DESC"
    return _seen(store, query, (*values, noun), _THING)


def remember_things(app: Invocation, noun: str, things: Iterable[tuple[Mapping[str, object], str | None]]) -> None:
    """Remember what was seen of a noun, objects and their names, and forget what is archived."""
    where = app.settings.host, app.settings.profile, noun
    found = [(id, name, raw.get("archived_at")) for raw, name in things if (id := text(raw.get("id")))]
    plain = [(id, _plain(name), gone) for id, name, gone in found if _THING.fullmatch(id)][:MOST_THINGS]

    def put(connection: "Connection") -> None:
        connection.execute(THINGS)
        _forget_rehearsals(connection, app, "things")
        after = "(SELECT coalesce(max(place), 0) + 1 FROM things)"
        insert = f"INSERT OR REPLACE INTO things VALUES (?, ?, ?, ?, ?, {after})"
        connection.executemany(insert, [(*where, id, name) for id, name, gone in reversed(plain) if not gone])
        mine = "host = ? AND profile = ? AND noun = ?"
        connection.executemany(
            f"DELETE FROM things WHERE {mine} AND id = ?", [(*where, id) for id, _, gone in plain if gone]
        )
        connection.execute(
            f"DELETE FROM things WHERE {mine} AND id NOT IN"
            f" (SELECT id FROM things WHERE {mine} ORDER BY place DESC LIMIT ?)",
            (*where, *where, MOST_THINGS),
        )

    if plain:
        app.store.write(put, quiet=True)


def run_ids_with_prefix(store: "Store", host: str, prefix: str) -> list[str]:
    """Return the ids of runs on this host, triggered here or seen, that begin so."""
    query = (
        "SELECT id FROM runs WHERE host = :host AND substr(id, 1, length(:prefix)) = :prefix"
        " UNION SELECT run FROM attempts WHERE host = :host AND substr(run, 1, length(:prefix)) = :prefix ORDER BY 1"
    )
    return [id for (id,) in store.read(query, {"host": host, "prefix": prefix}, quiet=True)]


def remember_deployments(app: Invocation, deployments: Iterable[Deployment], *, whole: bool = False) -> None:
    """Remember deployments, and forget those that are archived; with `whole` also all others."""
    found = list(islice((each for each in deployments if text(each.raw.get("id"))), MOST_DEPLOYMENTS))
    gone = {each.id for each in found if each.archived_at}
    kept = [(each.id, each.name, text(each.raw.get("created_at"))) for each in found if each.id not in gone]
    _remember(app, [KnownDeployment(*each) for each in kept], gone=gone, whole=whole)


def remember_names(app: Invocation, names: Mapping[str, str], *, whole: bool = False) -> None:
    """Remember deployments by id and name, as `remember_deployments` does."""
    found = [KnownDeployment(*each) for each in islice(names.items(), MOST_DEPLOYMENTS)]
    _remember(app, found, gone=set(), whole=whole)


def remember_runs(app: Invocation, runs: Iterable[Run]) -> None:
    """Remember runs by their deployment and the time they were triggered."""
    found = list(islice((run for run in runs if text(run.raw.get("id"))), MOST_RUNS))
    where = app.settings.host, app.settings.profile
    plain = [run for run in found if _ID.fullmatch(run.id)]
    rows = [(*where, run.id, _plain(run.deployment_id), _plain(run.triggered_at)) for run in plain]

    def put(connection: "Connection") -> None:
        _forget_rehearsals(connection, app)
        connection.executemany(
            "INSERT INTO runs VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET deployment = excluded.deployment, triggered = excluded.triggered"
            " WHERE deployment IS NOT excluded.deployment OR triggered IS NOT excluded.triggered",
            rows,
        )
        connection.execute(
            "DELETE FROM runs WHERE host = ? AND profile = ? AND id NOT IN"
            " (SELECT id FROM runs WHERE host = ? AND profile = ? ORDER BY triggered DESC, id DESC LIMIT ?)",
            (*where, *where, MOST_KEPT_RUNS),
        )

    if rows:
        app.store.write(put, quiet=True)


def _remember(app: Invocation, found: list[KnownDeployment], *, gone: set[str], whole: bool) -> None:
    """Put what is new before what is known; where it is known when they were created, the newest first."""
    where = app.settings.host, app.settings.profile

    def put(connection: "Connection") -> None:
        _forget_rehearsals(connection, app)
        before = [KnownDeployment(*row) for row in connection.execute(_DEPLOYMENTS, where)]
        known = {each.id: each for each in before if each.id not in gone}
        new = {each.id: _shown(each, known.get(each.id)) for each in found if _ID.fullmatch(each.id)}
        first = [each for id, each in new.items() if id not in known]
        kept = [new.get(id, each) for id, each in known.items() if id in new or not whole]
        after = _newest_first([*first, *kept])[:MOST_DEPLOYMENTS]
        if after != before:
            connection.execute("DELETE FROM deployments WHERE host = ? AND profile = ?", where)
            rows = [(*where, each.id, each.name, place, each.created) for place, each in enumerate(after)]
            connection.executemany("INSERT INTO deployments VALUES (?, ?, ?, ?, ?, ?)", rows)

    if found or gone or whole:
        app.store.write(put, quiet=True)


def _shown(new: KnownDeployment, known: KnownDeployment | None) -> KnownDeployment:
    """Return a deployment as it is kept; when it was created may be known from before."""
    created = _plain(new.created) or (known.created if known else None)
    return KnownDeployment(new.id, _plain(new.name), created)


def _forget_rehearsals(connection: "Connection", app: Invocation, *tables: str) -> None:
    """In the sandbox, forget those that are over: each has a port of its own."""
    if app.settings.sandbox:
        for table in tables or ("deployments", "runs"):
            connection.execute(f"DELETE FROM {table} WHERE host {_REHEARSED} AND host <> ?", (app.settings.host,))


def _newest_first(all: list[KnownDeployment]) -> list[KnownDeployment]:
    """Return deployments, those of known age in the order of it, in the places they have."""
    dated = iter(sorted((each for each in all if each.created), key=lambda each: each.created or "", reverse=True))
    return [next(dated) if each.created else each for each in all]


def _plain(value: str | None) -> str | None:
    """Return text that only shows, is not too long and can be written; None where there is none."""
    value = (value or "").encode("utf-8", "backslashreplace").decode()  # JSON can have halves of surrogate pairs
    shown = inert(value[: _LONGEST + 1]).strip()
    return shortened(shown, _LONGEST) or None
