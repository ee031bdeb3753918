"""The two lists that show many runs at once, and which runs one request to them covers."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.base.model import Run
from qoder_cli.base.outcome import Standing, standing
from qoder_cli.base.times import parse_timestamp, utc_text

if TYPE_CHECKING:
    from qoder_cli.runs.watch import Watch

APART = timedelta(minutes=10)  # runs created closer together than this share a request


class Source(NamedTuple):
    """A list: its path, its filters, and by how much its times may differ from those of the runs."""

    path: str
    filters: dict[str, Any]
    slack: timedelta


RUNS = Source("/deployment_runs", {}, timedelta(seconds=1))
SESSIONS = Source("/sessions", {"include_archived": "true"}, timedelta(minutes=1))


class Cluster(NamedTuple):
    """Runs that were created close together, from the first to the last."""

    watches: "list[Watch]"
    first: datetime
    last: datetime

    def window(self, source: Source) -> dict[str, str]:
        """Return the query for rows of this time; the current generation shows and compares whole seconds."""
        last = self.last + source.slack + timedelta(seconds=1)
        return {"created_at[gte]": utc_text(self.first - source.slack), "created_at[lte]": utc_text(last)}


def clusters_of(watches: "Sequence[Watch]") -> list[Cluster]:
    """Return the runs in groups that were created close together. Runs without a usable time are in none."""
    clusters: list[Cluster] = []
    dated = ((created, watch) for watch in watches if (created := _created(watch.run)))
    for created, watch in sorted(dated, key=itemgetter(0)):
        if clusters and created - clusters[-1].last <= APART:
            clusters[-1].watches.append(watch)
            clusters[-1] = clusters[-1]._replace(last=created)
        else:
            clusters.append(Cluster([watch], created, created))
    return clusters


def by_row_id(watches: "Iterable[Watch]", source: Source) -> "dict[str, Watch]":
    """Return the runs by the id that the list shows: their own, or that of their session."""
    if source is RUNS:
        return {watch.observer.run_id: watch for watch in watches}
    return {watch.run.session_id: watch for watch in watches if watch.run and watch.run.session_id}


def is_told_by_session(watch: "Watch") -> bool:
    """Return whether only the run's session tells how it ended."""
    return watch.run is not None and standing(Run(watch.run.raw)) is Standing.ASK_SESSION


def _created(run: Run | None) -> datetime | None:
    """Return when a run was created; None also at the edge of the calendar, where no slack can be added."""
    moment = parse_timestamp(run.raw.get("created_at") or run.raw.get("triggered_at")) if run else None
    return moment if moment and 1 < moment.year < 9999 else None
