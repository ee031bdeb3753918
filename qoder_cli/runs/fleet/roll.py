"""Looking at many runs at once through the lists, so that a check does not cost a request a run.

Where runs have a status, `GET /deployment_runs` shows it. Where they have none, `GET /sessions` shows which sessions do
not run any more, and only those are asked how they ended. Absence from a list says nothing: once a minute all sessions
are listed, not those at rest alone, and a run that a list does not show is asked for itself. So is each run from time
to time, because a list may hide what happened (a colleague chats on in a session that had ended).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from qoder_cli.base.ahead import in_order, unless_late
from qoder_cli.base.errors import ApiError, AuthError, NoAnswer, Unavailable
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.http.pace import READS_PER_SECOND
from qoder_cli.runs.fleet.clusters import (
    AT_REST,
    RUNS,
    SESSIONS,
    Cluster,
    Key,
    Source,
    clusters_of,
    has_strays,
    is_told_by_session,
    window_of,
)
from qoder_cli.runs.fleet.search import PAGE, Search
from qoder_cli.runs.observe import LAGGING

if TYPE_CHECKING:
    from qoder_cli.http.client import Client
    from qoder_cli.runs.watch import Watch

MOST = 20  # requests of one check, beside those for runs that have just ended: a list that is longer is read in parts
SPARE = 5  # more of them that are kept for runs to ask for themselves; of stale ones no more than one a second
BATCH = 40  # runs that have ended asked for between two looks around
CROWD = 200  # such runs, of which it takes a while to learn how they ended: lists could only tell of more
MOST_PAGES = 20  # of a list, to look at the runs of a cluster; more only where there are as many
AT_A_TIME = 8  # requests
FIRST_PAUSE = 0.5  # seconds between two looks at a run itself, doubling
UNSEEN = 5.0  # seconds after which a run that its list does not show is asked for itself
STALE = 60.0  # the same for any run, and for a list that was found not to be worth its pages
LONGEST_REST = 30.0  # seconds between two looks at a session that rests, unchanged, without having ended
_EARLY = 0.75  # of a pause after which it is over, for the checks come earlier by as much
# Sessions that have not come to rest; the last word is an older generation's (api/facts.md, 2.2).
_MOVING = frozenset({"running", "rescheduling", "canceling", "processing"})

Heard = tuple["Watch", ApiError | None]
Within = Callable[[], float]


@dataclass
class _Record:
    """What is remembered of a run: when it was asked for itself, when a list showed it, how its session rested."""

    asked: float
    shown: float
    pause: float = FIRST_PAUSE
    rested: tuple[Any, ...] | None = None


@dataclass
class _Reading:
    """A list that is being read for a cluster, over several checks if it is long."""

    rows: Iterator[list[dict[str, Any]]]
    began: float
    pages: int = 0
    seen: set[str] = field(default_factory=set)


class RollCall:
    """Checks on watched runs. `longest_pause` is how long, in seconds, a run that no list shows is left alone."""

    def __init__(self, client: "Client", *, longest_pause: float) -> None:
        self._client = client
        self._clock = client.clock
        self._longest_pause = longest_pause
        self._records: dict[str, _Record] = {}
        self._ended: dict[str, Watch] = {}  # by run: a list says that they have ended
        self._cost: dict[Key, float] = {}  # requests that a cluster's list took the last time
        self._read: dict[Key, float] = {}  # when that was
        self._refused: set[str] = set()  # lists that this server does not give
        self._unwindowed: set[str] = set()  # lists that cannot be asked for a time
        self._down: dict[str, ApiError] = {}  # lists that cannot be read in this check
        self._readings: dict[Key, _Reading] = {}  # lists that go on in the next check
        self._unread: dict[str, Watch] = {}  # runs of which only the id is known
        self._hurries = False
        self._spent = 0  # requests of this check
        self._looked_around = self._listed = self._spared = -math.inf
        self._began = 0.0  # when this check did
        self._within: Within = lambda: client.request_timeout
        self._is_late: Callable[[], bool] = lambda: False
        self._search = Search(
            rows=self._rows,
            take=self._take,
            ask=self._probe,
            has_room=lambda: self._has_room,
            unwindowed=self._unwindowed,
        )

    @property
    def is_behind(self) -> bool:
        """Whether there are runs to ask for at once."""
        return bool(self._ended) or self._hurries

    @property
    def is_halfway(self) -> bool:
        """Whether a list is read in part, and goes on in the next check."""
        return bool(self._readings) or self._is_searching

    def call(
        self, going: Sequence["Watch"], *, within: Within, is_late: Callable[[], bool] = lambda: False
    ) -> Iterator[Heard | None]:
        """Check on runs, and yield those that were heard of, with the error if asking for one failed.

        After a page that tells nothing it yields None: whoever has no more time can stop here. `within` tells the
        longest time for the next request in seconds; `is_late`, asked in this thread while one is under way, whether
        there is no time left at all. Raises ApiError when a list cannot be read now, Late.
        """
        due: list[Watch] = []
        hurried, self._hurries = self._hurries, False
        self._began, self._spent, self._down = self._clock.monotonic(), 0, {}
        self._within, self._is_late = within, is_late
        rest = self._longest_pause if len(self._ended) <= CROWD else LONGEST_REST
        if not self._ended or self._began - self._looked_around >= rest:
            self._looked_around = self._began
            self._unread = {watch.observer.run_id: watch for watch in going if watch.run is None and not watch.over}
            yield from self._look_for_unread()
            clusters = clusters_of(going, unwindowed=self._unwindowed)
            if not hurried or self._began - self._listed >= self._longest_pause:
                self._listed = self._began
                reads = [(cluster, self._part_of(cluster)) for cluster in clusters]
                stuck = clusters_of(self._stuck(going), SESSIONS, unwindowed=self._unwindowed)
                yield from self._read_lists([*reads, *((cluster, SESSIONS) for cluster in stuck)])
            due = self._due(going, clusters)
        ended = [self._ended.pop(id) for id in list(self._ended)[:BATCH]]
        yield from self._ask([watch for watch in ended if not watch.over])
        yield from self._ask_for(due)
        for error in self._down.values():
            raise error

    @property
    def _has_room(self) -> bool:
        return self._spent < MOST

    def _look_for_unread(self) -> Iterator[Heard | None]:
        """Find runs of which only the ids are known in the list of runs, if that is worth it."""
        try:
            yield from self._search.go_on(self._unread)
        except ApiError as error:
            self._mind(error, RUNS)
            if RUNS.path in self._refused:
                self._search.give_up()

    @property
    def _is_searching(self) -> bool:
        return self._search.is_open(self._unread) and RUNS.path not in self._down

    def _probe(self, watches: Sequence["Watch"]) -> Iterator[Heard]:
        """Ask for runs of which nothing is known yet: for each, and where it has no status for its session's events."""
        self._spent += 2 * len(watches)
        for watch, error in self._ask(watches):
            yield watch, error
            if isinstance(error, Unavailable):
                self._down[RUNS.path] = error

    def _read_lists(self, reads: Sequence[tuple[Cluster, Source]]) -> Iterator[Heard | None]:
        """Read the lists that pay, those first that were not read for longest, as many as one check may cost."""
        keys = {cluster.key(source) for cluster, source in reads}
        self._readings = {key: reading for key, reading in self._readings.items() if key in keys}
        for cluster, source in sorted(reads, key=lambda read: self._read.get(read[0].key(read[1]), -math.inf)):
            if self._has_room and self._pays(cluster) and source.path not in self._down:
                yield from self._look_through(cluster, source)

    def _part_of(self, cluster: Cluster) -> Source:
        """Return what to read of a cluster's list: all, or those at rest if all were seen in it lately."""
        if cluster.source is RUNS:
            return RUNS
        if begun := [source for source in (SESSIONS, AT_REST) if cluster.key(source) in self._readings]:
            return begun[0]
        all_seen = all(self._is_shown(watch, cluster) for watch in cluster.watches)
        unread = self._began - self._read.get(cluster.key(SESSIONS), -math.inf)
        return AT_REST if unread < (STALE if all_seen else UNSEEN * _EARLY) else SESSIONS

    def _pays(self, cluster: Cluster) -> bool:
        """Return whether the list costs fewer requests than to ask for each run of the cluster."""
        if cluster.source.path in self._refused or len(cluster.watches) == 1:
            return False
        keys = map(cluster.key, (RUNS,) if cluster.source is RUNS else (SESSIONS, AT_REST))
        return all(self._cost.get(key, 1) < len(cluster.watches) or self._is_long_ago(key) for key in keys)

    def _is_long_ago(self, key: Key) -> bool:
        return self._began - self._read.get(key, -math.inf) >= STALE

    def _look_through(self, cluster: Cluster, source: Source) -> Iterator[Heard | None]:
        """Read a list that shows the cluster, as far as it can show more of it, and as this check has room for."""
        key, windowed = cluster.key(source), source.path not in self._unwindowed
        reading = self._readings.pop(key, None)
        if reading is None:
            rows = self._rows(source, window_of(*cluster.span) if windowed else {})
            reading = _Reading(rows, self._clock.monotonic())
        most = min(len(cluster.watches), _most_pages(len(cluster.watches)))
        try:
            while (page := next(reading.rows, None)) is not None:
                if windowed and has_strays(page, *cluster.span):
                    self._unwindowed.add(source.path)
                yield from self._look_at(page, cluster, source, reading)
                is_whole = cluster.by_id.keys() <= reading.seen or cluster.is_passed(page)
                if is_whole or reading.pages >= most:
                    break
                if not self._has_room:
                    self._readings[key] = reading
                    return
            else:
                is_whole = True
        except ApiError as error:
            if windowed and error.http_status == 400:
                self._unwindowed.add(source.path)
            else:
                self._read[key] = reading.began
                self._mind(error, source)
            return
        self._read[key] = reading.began
        if source is AT_REST:
            self._cost[key] = reading.pages if is_whole else math.inf
            yield from ((watch, None) for watch in cluster.watches if is_whole and self._is_shown(watch, cluster))
        else:
            is_young = self._client.server_now() - cluster.last.timestamp() < LAGGING
            self._cost[key] = reading.pages if len(reading.seen) >= reading.pages or is_young else math.inf

    def _look_at(
        self, page: list[dict[str, Any]], cluster: Cluster, source: Source, reading: _Reading
    ) -> Iterator[Heard | None]:
        """Take in a page of a cluster's list, also what it shows of runs that nothing was known of yet."""
        reading.pages += 1
        wanted = {**self._unread, **cluster.by_id} if source is RUNS else cluster.by_id
        found = [(wanted[id], row) for row in page if (id := text(row.get("id"))) in wanted]
        for _, row in found:
            reading.seen.add(row["id"])
            self._unread.pop(row["id"], None)
        yield from [self._take(watch, row) for watch, row in found] or [None]

    def _take(self, watch: "Watch", row: dict[str, Any]) -> Heard | None:
        """Take in what a list shows of a run or of its session."""
        record = self._record(watch)
        record.shown = self._clock.monotonic()
        record.asked = self._began if record.asked == -math.inf else record.asked
        run = Run.read(row)
        if run is not None:
            watch.observer.take(run)
        elif text(row.get("status")) in _MOVING:
            if not is_told_by_session(watch):
                record.asked = self._began  # session and status agree, which was the question
        elif self._rests_anew(watch, row):
            watch.observer.session = row
            self._ended[watch.observer.run_id] = watch
            return None
        return watch, None

    def _rests_anew(self, watch: "Watch", row: dict[str, Any]) -> bool:
        """Return whether a resting session is to be asked how it ended: not at every check while it stays as it is."""
        record = self._record(watch)
        rests = (row.get("status"), row.get("updated_at"), str(row.get("stats")))
        if rests != record.rested:
            record.rested, record.pause = rests, FIRST_PAUSE
            return True
        return self._began - record.asked >= record.pause

    def _stuck(self, going: Sequence["Watch"]) -> Iterator["Watch"]:
        """Yield the runs whose status has not moved for long, though their session may have ended."""
        for watch in going:
            if watch.run and watch.run.session_id and not is_told_by_session(watch) and self._unasked(watch) >= STALE:
                yield watch

    def _due(self, going: Sequence["Watch"], clusters: Sequence[Cluster]) -> list["Watch"]:
        """Return the runs to ask for themselves though nothing says that they ended, the longest unasked first."""
        listed = {id(watch): cluster for cluster in clusters if self._pays(cluster) for watch in cluster.watches}
        searched = self._unread if self._is_searching else {}
        left = [w for w in going if not w.over and w.observer.run_id not in self._ended | searched]
        left.sort(key=self._unasked, reverse=True)
        alone = [watch for watch in left if not self._is_shown(watch, listed.get(id(watch)))]
        longest = max(self._longest_pause, len(alone) / READS_PER_SECOND)
        spare = math.ceil(min(self._began - self._spared, SPARE))
        stale = [watch for watch in left if self._unasked(watch) >= STALE][:spare]
        self._spared = self._began if stale else self._spared

        def pause(watch: "Watch") -> float:
            return max(min(self._record(watch).pause, longest), UNSEEN if id(watch) in listed else 0.0) * _EARLY

        lone = [watch for watch in alone if self._unasked(watch) >= pause(watch)]
        due = self._affordable(list(dict.fromkeys([*lone, *stale])))
        self._hurries = len(lone) > len(due)
        return due

    def _affordable(self, watches: Sequence["Watch"]) -> list["Watch"]:
        """Return as many of the first as this check may still ask for, some of them also for their session's events."""
        costs = accumulate(1 if is_told_by_session(watch) else 2 for watch in watches)
        return [watch for watch, cost in zip(watches, costs, strict=True) if self._spent + cost <= MOST + SPARE]

    def _is_shown(self, watch: "Watch", cluster: Cluster | None) -> bool:
        """Return whether the cluster's list showed the run when it was last read whole."""
        if cluster is None or cluster.source.path in self._down:
            return False
        return self._record(watch).shown >= self._read.get(cluster.key(cluster.source), -math.inf)

    def _ask_for(self, due: Sequence["Watch"]) -> Iterator[Heard]:
        """Ask for runs themselves; while a list cannot be read for a few first, lest nothing can be read at all."""
        if self._down:
            self._hurries = False
            few, due = due[:SPARE], due[SPARE:]
            for watch, error in self._ask(few):
                yield watch, error
                due = [] if isinstance(error, Unavailable) else due
        yield from self._ask(due)

    def _ask(self, watches: Sequence["Watch"]) -> Iterator[Heard]:
        """Ask for each run itself, several at a time; no further one once the server has asked for a pause."""
        pause: list[ApiError] = []

        def look(watch: "Watch") -> ApiError | None:
            if pause:
                return pause[0]
            try:
                watch.observer.look(within=self._within())
            except ApiError as error:
                pause.extend([error] if error.retry_after else [])
                return error
            return None

        for watch, error in zip(
            watches, in_order(look, watches, at_a_time=AT_A_TIME, is_late=self._is_late), strict=True
        ):
            record = self._record(watch)
            record.asked = self._began
            record.pause = min(record.pause * 2, LONGEST_REST)
            if not watch.over:
                watch.observer.session = None  # what it shows of a rest in between is not what the run used
            self._hurries = self._hurries and not isinstance(error, Unavailable)
            yield watch, error

    def _record(self, watch: "Watch") -> _Record:
        record = self._records.get(watch.observer.run_id)
        if record is None:
            record = _Record(-math.inf if watch.run is None else self._began, shown=self._began)
            self._records[watch.observer.run_id] = record
        return record

    def _unasked(self, watch: "Watch") -> float:
        """Return for how many seconds a run was not asked for itself."""
        return self._began - self._record(watch).asked

    def _rows(self, source: Source, window: dict[str, str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a list as objects."""
        query = {"limit": PAGE, **source.filters, **window}
        pages = self._client.pages(source.path, query, within=self._within(), retry=False)
        while (page := unless_late(partial(next, pages, None), self._is_late)) is not None:
            self._spent += 1
            rows = list(map(mapping, page["data"]))
            if not all(text(row.get("id")) for row in rows):
                raise NoAnswer("the server answered a list with something that is no page")
            yield rows

    def _mind(self, error: ApiError, source: Source) -> None:
        """Do without a list that the server does not give, or cannot give now; raise what concerns every request."""
        if error.retry_after or (isinstance(error, AuthError) and error.http_status != 403):
            raise error
        if isinstance(error, Unavailable) and error.http_status != 501:
            self._down[source.path] = error
        else:
            self._refused.add(source.path)


def _most_pages(watches: int) -> int:
    """Return how far a list is read for so many runs: strangers may stand between them."""
    return max(MOST_PAGES, watches // 10)
