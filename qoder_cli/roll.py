"""Looking at many runs at once through the lists, so that a check does not cost a request a run.

Where runs have a status, `GET /deployment_runs` shows it. Where they have none, `GET /sessions` shows which sessions do
not run any more, and only those are asked how they ended. Absence from a list says nothing; such a run is asked for
itself, and so is each run from time to time, because a list may hide what happened (a colleague chats on in a session
that had ended, or deletes it).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.ahead import in_order
from qoder_cli.client import next_cursor
from qoder_cli.errors import ApiError, AuthError, Unavailable
from qoder_cli.model import Run, mapping
from qoder_cli.outcome import Standing, standing
from qoder_cli.times import parse_timestamp

if TYPE_CHECKING:
    from qoder_cli.client import Client
    from qoder_cli.pace import Pace
    from qoder_cli.wait import Watch

MOST_PAGES = 20  # of lists, in one check
MOST_REQUESTS = 25  # in one check, but for one more for each run that has just ended
SPARE = 5  # runs that are asked for themselves in one check though nothing says that they ended
BATCH = 40  # runs asked for between two looks around
AT_A_TIME = 8  # requests
UNSEEN = 5.0  # seconds after which a run that no list shows is asked for itself
STALE = 60.0  # the same, for any run
LONGEST_PAUSE = 30.0  # seconds between two looks at a session that rests without having ended
_APART = timedelta(minutes=10)  # runs created closer together are asked for in one list
_BARREN = 3  # pages without any of the runs looked for, after which a list is not read on
_GOING = frozenset({"running", "rescheduling", "canceling"})  # sessions that have not come to rest (api/facts.md, 2.2)

Heard = tuple["Watch", ApiError | None]


@dataclass
class _Record:
    """What is remembered of a run: when it was asked for itself, when a list covered it, how its session rested."""

    asked: float
    covered: float = -math.inf
    pause: float = 0.5
    rested: tuple[Any, ...] | None = None


class _List(NamedTuple):
    """One of the two lists: its path, its filters, and by how much its times may differ from those of the runs."""

    path: str
    filters: dict[str, Any]
    slack: timedelta


_RUNS = _List("/deployment_runs", {}, timedelta(seconds=1))
_SESSIONS = _List(
    "/sessions",
    {"statuses[]": ("idle", "terminated"), "include_archived": "true"},
    timedelta(minutes=1),
)


@dataclass
class _Cluster:
    """Watched runs that were created close together, and the list that shows them."""

    of: _List
    watches: list["Watch"]
    first: datetime
    last: datetime

    @property
    def key(self) -> tuple[str, int]:
        """What the cluster is remembered by, though runs leave it."""
        return self.of.path, int(self.first.timestamp() / _APART.total_seconds())

    @property
    def window(self) -> dict[str, str]:
        """The times between which the list is asked for; whole seconds, as the current generation shows them."""
        first, last = self.first - self.of.slack, self.last + self.of.slack + timedelta(seconds=1)
        return {"created_at[gte]": _stamp(first), "created_at[lte]": _stamp(last)}

    @cached_property
    def by_id(self) -> dict[str, "Watch"]:
        """The runs by the id that the list has: their own, or that of their session."""
        if self.of is _RUNS:
            return {watch.observer.run_id: watch for watch in self.watches}
        return {watch.run.session_id: watch for watch in self.watches if watch.run and watch.run.session_id}


class RollCall:
    """Checks on watched runs, with `pace` between its requests."""

    def __init__(self, client: "Client", *, pace: "Pace") -> None:
        self._client = client
        self._clock = client.clock
        self._pace = pace
        self._records: dict[str, _Record] = {}
        self._ended: dict[str, Watch] = {}  # by run: a list or a stream says that they have ended
        self._cost: dict[tuple[str, int], float] = {}  # requests that a cluster's list took the last time
        self._read: dict[tuple[str, int], float] = {}  # when that was
        self._refused: set[str] = set()  # lists that this server does not give
        self._unwindowed: set[str] = set()  # lists that cannot be asked for a time
        self._searched = False
        self._pages = 0  # of this check

    @property
    def is_behind(self) -> bool:
        """Whether there are runs to ask for at once."""
        return bool(self._ended)

    def heard_end(self, watch: "Watch") -> None:
        """Ask for this run next."""
        self._ended[watch.observer.run_id] = watch

    def call(self, going: Sequence["Watch"], *, within: float) -> Iterator[Heard]:
        """Check on runs, and yield those that were heard of, with the error if asking for one failed.

        `within` is the longest time for one request in seconds. Raises ApiError when a list cannot be read now.
        """
        due: list[Watch] = []
        if not self._ended:
            self._pages = 0
            unread = {watch.observer.run_id: watch for watch in going if watch.run is None}
            if unread and not self._searched:
                yield from self._search(unread, within)
            clusters = _clusters(going)
            yield from self._read_lists(clusters, within)
            due = self._due(going, clusters)
        ended, self._ended = list(self._ended.values()), {}
        self._ended = {watch.observer.run_id: watch for watch in ended[BATCH:]}
        yield from self._ask([watch for watch in ended[:BATCH] if not watch.over], within)
        yield from self._ask([watch for watch in due if not watch.over], within)

    def _search(self, unread: dict[str, "Watch"], within: float) -> Iterator[Heard]:
        """Find runs of which only the ids are known among the newest."""
        self._searched = True
        barren = 0
        try:
            for rows in self._rows(_RUNS, {}, within):
                found = [(unread.pop(id), row) for row in rows if (id := str(row.get("id"))) in unread]
                yield from (heard for watch, row in found if (heard := self._take(watch, row)))
                barren = 0 if found else barren + 1
                if len(unread) <= barren or barren == _BARREN or self._pages == MOST_PAGES:
                    return
        except ApiError as error:
            self._mind(error, _RUNS)

    def _read_lists(self, clusters: Sequence[_Cluster], within: float) -> Iterator[Heard]:
        """Read the lists that pay, those first that were not read for longest, as many as one check may cost."""
        for cluster in sorted(clusters, key=lambda each: self._read.get(each.key, -math.inf)):
            if self._pages >= MOST_PAGES:
                return
            if self._pays(cluster):
                self._read[cluster.key] = self._clock.monotonic()
                yield from self._look_through(cluster, within)

    def _pays(self, cluster: _Cluster) -> bool:
        """Return whether the list costs fewer requests than to ask for each run of the cluster."""
        return cluster.of.path not in self._refused and self._cost.get(cluster.key, 1) < len(cluster.watches)

    def _look_through(self, cluster: _Cluster, within: float) -> Iterator[Heard]:
        """Read the list that shows the cluster, as far as it can show more of it."""
        path, before, seen = cluster.of.path, self._pages, 0
        windowed = path not in self._unwindowed
        most = min(len(cluster.watches), MOST_PAGES)
        is_whole = True
        try:
            for rows in self._rows(cluster.of, cluster.window if windowed else {}, within):
                for watch, row in [(cluster.by_id[id], row) for row in rows if (id := row.get("id")) in cluster.by_id]:
                    seen += 1
                    if heard := self._take(watch, row):
                        yield heard
                if seen == len(cluster.watches) or _is_past(cluster, rows):
                    break
                if self._pages - before >= most:
                    is_whole = False
                    break
        except ApiError as error:
            if windowed and error.http_status == 400:
                self._unwindowed.add(path)
            else:
                self._mind(error, cluster.of)
            return
        pages = self._pages - before
        pays = is_whole if cluster.of is _SESSIONS else seen >= pages
        self._cost[cluster.key] = pages if pays else math.inf
        if cluster.of is _SESSIONS and is_whole:  # those that it does not show go on, as far as a list can tell
            yield from ((watch, None) for watch in cluster.watches if not watch.over)

    def _take(self, watch: "Watch", row: dict[str, Any]) -> Heard | None:
        """Take in what a list shows of a run or of its session."""
        record = self._record(watch)
        record.covered = self._clock.monotonic()
        record.asked = record.covered if record.asked == -math.inf else record.asked
        run = Run.read(row)
        if run is not None:
            watch.observer.take(run)
            return watch, None
        if row.get("status") not in _GOING and self._rests_anew(watch, row):
            watch.observer.session = row
            self.heard_end(watch)
        return None

    def _rests_anew(self, watch: "Watch", row: dict[str, Any]) -> bool:
        """Return whether a resting session is to be asked how it ended: not at every check while it stays as it is."""
        record = self._record(watch)
        rests = (row.get("status"), row.get("updated_at"), str(row.get("stats")))
        if rests != record.rested:
            record.rested, record.pause = rests, 0.5
            return True
        return self._clock.monotonic() - record.asked >= record.pause

    def _due(self, going: Sequence["Watch"], clusters: Sequence[_Cluster]) -> list["Watch"]:
        """Return the runs to ask for themselves though nothing says that they ended, the longest unasked first."""
        now = self._clock.monotonic()
        listed = {id(watch): cluster for cluster in clusters if self._pays(cluster) for watch in cluster.watches}
        lone: list[Watch] = []
        spare: list[Watch] = []
        for watch in going:
            record, cluster = self._record(watch), listed.get(id(watch))
            unasked = now - record.asked
            unseen = cluster is not None and cluster.of is _RUNS and now - max(record.asked, record.covered) >= UNSEEN
            if watch.over or watch.observer.run_id in self._ended:
                continue
            if cluster is None:
                lone += [watch] if unasked >= record.pause else []
            elif unseen or unasked >= STALE:
                spare.append(watch)
        for watches in (lone, spare):
            watches.sort(key=lambda watch: self._record(watch).asked)
        return lone[:BATCH] + spare[: max(SPARE, MOST_REQUESTS - self._pages)]

    def _ask(self, watches: Sequence["Watch"], within: float) -> Iterator[Heard]:
        """Ask for each run itself, several at a time."""

        def look(watch: "Watch") -> ApiError | None:
            self._pace.take()
            try:
                watch.observer.look(within=within)
            except ApiError as error:
                return error
            return None

        for watch, error in zip(watches, in_order(look, watches, at_a_time=AT_A_TIME), strict=True):
            record = self._record(watch)
            record.asked = self._clock.monotonic()
            record.pause = min(record.pause * 2, LONGEST_PAUSE)
            if not watch.over:
                watch.observer.session = None  # what it shows of a rest in between is not what the run used
            yield watch, error

    def _record(self, watch: "Watch") -> _Record:
        record = self._records.get(watch.observer.run_id)
        if record is None:
            record = _Record(-math.inf if watch.run is None else self._clock.monotonic())
            self._records[watch.observer.run_id] = record
        return record

    def _rows(self, of: _List, window: dict[str, str], within: float) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a list as objects, each in its turn."""
        pages = self._client.pages(of.path, {"limit": 100, **of.filters, **window}, within=within, retry=False)
        goes_on = True
        while goes_on:
            self._pace.take()
            if (page := next(pages, None)) is None:
                return
            self._pages += 1
            yield [row for row in map(mapping, page["data"]) if row]
            goes_on = next_cursor(page) is not None or page.get("has_more") is True

    def _mind(self, error: ApiError, of: _List) -> None:
        """Do without a list that the server does not give; raise what may be over the next time."""
        if isinstance(error, Unavailable | AuthError) and error.http_status not in (403, 501):
            raise error
        self._refused.add(of.path)


def _clusters(watches: Iterable["Watch"]) -> list[_Cluster]:
    """Return the runs that go on in groups that were created close together and that one list shows."""
    clusters: list[_Cluster] = []
    newest: dict[str, _Cluster] = {}
    dated = [(created, watch) for watch in watches if not watch.over and (created := _created(watch.run))]
    for created, watch in sorted(dated, key=itemgetter(0)):
        of = _list_of(watch)
        cluster = newest.get(of.path)
        if cluster is None or created - cluster.last > _APART:
            cluster = newest[of.path] = _Cluster(of, [], created, created)
            clusters.append(cluster)
        cluster.watches.append(watch)
        cluster.last = created
    return clusters


def _list_of(watch: "Watch") -> _List:
    asks_session = watch.run is not None and standing(Run(watch.run.raw)) is Standing.ASK_SESSION
    return _SESSIONS if asks_session else _RUNS


def _is_past(cluster: _Cluster, rows: Sequence[dict[str, Any]]) -> bool:
    """Return whether the pages that follow are older than the cluster. Only of sessions the order is documented."""
    created = parse_timestamp(rows[-1].get("created_at")) if rows and cluster.of is _SESSIONS else None
    return created is not None and created < cluster.first - cluster.of.slack


def _created(run: Run | None) -> datetime | None:
    return parse_timestamp(run.raw.get("created_at") or run.raw.get("triggered_at")) if run else None


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
