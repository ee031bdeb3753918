"""Where in the lists of runs and of sessions the runs that are waited for stand, and what to ask those lists for."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.base.model import Run
from qoder_cli.base.outcome import Standing, standing
from qoder_cli.base.times import parse_timestamp, utc_text

if TYPE_CHECKING:
    from qoder_cli.runs.watch import Watch

APART = timedelta(minutes=10)  # runs created closer together are asked for in one list
_ROUNDED = timedelta(seconds=1)  # the current generation shows whole seconds


class Source(NamedTuple):
    """A list: its path, its filters, and by how much its times may differ from those of the runs."""

    name: str
    path: str
    filters: dict[str, Any]
    slack: timedelta


RUNS = Source("runs", "/deployment_runs", {}, timedelta(seconds=1))
SESSIONS = Source("sessions", "/sessions", {"include_archived": "true"}, timedelta(minutes=1))
AT_REST = SESSIONS._replace(name="at rest", filters={**SESSIONS.filters, "statuses[]": ("idle", "terminated")})

Key = tuple[str, int]


@dataclass
class Cluster:
    """Watched runs that were created close together, and the list that shows them."""

    source: Source
    watches: list["Watch"]
    first: datetime
    last: datetime

    def key(self, source: Source) -> Key:
        """What is remembered of reading it from a list, though runs leave it."""
        return source.name, int(self.first.timestamp() / APART.total_seconds())

    @property
    def span(self) -> tuple[datetime, datetime]:
        """The times between which the list is asked for."""
        return self.first - self.source.slack, self.last + self.source.slack

    @cached_property
    def by_id(self) -> dict[str, "Watch"]:
        """The runs by the id that the list has: their own, or that of their session."""
        if self.source is RUNS:
            return {watch.observer.run_id: watch for watch in self.watches}
        return {watch.run.session_id: watch for watch in self.watches if watch.run and watch.run.session_id}

    def is_passed(self, rows: Sequence[dict[str, Any]]) -> bool:
        """Return whether the pages after this one are older than the cluster.

        Only of sessions the order is documented, as newest first; rows in another order say nothing.
        """
        if self.source is RUNS or not rows:
            return False
        newest, oldest = (parse_timestamp(row.get("created_at")) for row in (rows[0], rows[-1]))
        return bool(newest and oldest and newest > oldest and oldest < self.first - self.source.slack)


def clusters_of(
    watches: Iterable["Watch"], source: Source | None = None, *, unwindowed: Collection[str] = ()
) -> list[Cluster]:
    """Return the runs that go on in groups that were created close together and that one list shows.

    It is the list given, or the one that tells most of a run: its own, or that of sessions where only its session tells
    how it ended. Of an `unwindowed` list all runs are one group. Runs of which no time is known are in none.
    """
    clusters: list[Cluster] = []
    newest: dict[str, Cluster] = {}
    dated = [(created, watch) for watch in watches if not watch.over and (created := created_of(watch.run))]
    for created, watch in sorted(dated, key=itemgetter(0)):
        of = source or (SESSIONS if is_told_by_session(watch) else RUNS)
        cluster = newest.get(of.path)
        if cluster is None or (created - cluster.last > APART and of.path not in unwindowed):
            cluster = newest[of.path] = Cluster(of, [], created, created)
            clusters.append(cluster)
        cluster.watches.append(watch)
        cluster.last = created
    return clusters


def is_told_by_session(watch: "Watch") -> bool:
    """Return whether only the run's session tells how it ended."""
    return watch.run is not None and standing(Run(watch.run.raw)) is Standing.ASK_SESSION


def window_of(first: datetime, last: datetime) -> dict[str, str]:
    """Return what asks a list for a time; whole seconds, as the current generation shows them."""
    return {"created_at[gte]": utc_text(first), "created_at[lte]": utc_text(last + _ROUNDED)}


def has_strays(rows: Iterable[dict[str, Any]], first: datetime, last: datetime) -> bool:
    """Return whether a list that was asked for a time has rows of other times."""
    moments = filter(None, map(moment_of, rows))
    return any(not first - _ROUNDED <= moment <= last + 2 * _ROUNDED for moment in moments)


def created_of(run: Run | None) -> datetime | None:
    """Return when a run was created; None also for a time at the edge of the calendar, which none can be added to."""
    return moment_of(run.raw) if run else None


def moment_of(row: dict[str, Any]) -> datetime | None:
    """Return what `created_of` does, for a row of a list."""
    moment = parse_timestamp(row.get("created_at") or row.get("triggered_at"))
    return moment if moment and 1 < moment.year < 9999 else None
