"""A span of creation times, as typed with --since and --until and as sent to the API."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import OLDEST, mapping
from qoder_cli.base.times import descend, parse_timestamp, unix, utc_text

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

Page = dict[str, Any]

# The most by which triggered_at and created_at differ. The server filters by the one,
# so much wider; here the other decides.
APART = timedelta(hours=1)
ROUNDED = timedelta(seconds=1)  # the current generation shows whole seconds


class Window(NamedTuple):
    """The times between which things were created; None for no bound."""

    since: datetime | None
    until: datetime | None

    @classmethod
    def read(cls, since: str | None, until: str | None, *, app: App) -> "Window":
        """Return the typed window. Raises UsageError."""
        first = None if since is None else app.when(since, option="--since")
        last = None if until is None else app.when(until, option="--until")
        if first and last and first > last:
            raise UsageError("--since is later than --until", hint="swap them")
        return cls(first, last)

    def holds(self, moment: datetime) -> bool:
        """Return whether a moment lies within; `until` is the first that does not, so that spans meet."""
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)

    def has(self, moment: object) -> bool:
        """Return whether a server's timestamp lies within."""
        at = parse_timestamp(moment)
        return at is not None and self.holds(at)

    def query(self, after: str, before: str, *, slack: timedelta) -> dict[str, Any]:
        """Return two parameters of a request, widened by `slack`."""
        query = {}
        if self.since is not None:
            query[after] = utc_text(self.since - slack)
        if self.until is not None:
            query[before] = utc_text(self.until + slack)
        return query


ALWAYS = Window(None, None)


def runs_within(
    client: "Client", of: str | None, window: Window, *, limit: int = 100, fresh: bool = False, **filters: Any
) -> Iterator[Page]:
    """Yield the pages that have the runs of a window, of one deployment or of all, among others. Raises ApiError.

    The filters are those that both generations document. The order of all runs is not: they are read to the end.
    """
    if of is None:
        query = window.query("created_at[gte]", "created_at[lte]", slack=ROUNDED)
        yield from client.pages("/deployment_runs", {**query, **filters, "limit": limit}, fresh=fresh)
        return
    query = window.query("triggered_after", "triggered_before", slack=APART)
    for page in client.pages(f"/deployments/{segment(of)}/runs", {**query, "limit": limit}, fresh=fresh):
        yield page
        if window.since is not None and is_below(page["data"], window.since.timestamp()):
            return


def is_below(rows: Iterable[Any], floor: float) -> bool:
    """Return whether what follows in a list was created before a time: the newest come first, and these reach it."""
    filtered_by = (row.get("triggered_at") or row.get("created_at") for row in map(mapping, rows))
    times = [at for time in filtered_by if (at := unix(time)) is not None and at >= OLDEST]
    return descend(times) and times[-1] < floor - APART.total_seconds()
