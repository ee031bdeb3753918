"""Checking many runs at once through the lists, so that a check does not cost a request a run.

Where runs have a status, `GET /deployment_runs` shows it. Where they have none, `GET /sessions` shows which sessions
are at rest, and only those are asked how they ended. Absence from a list says nothing: a run that its list does not
show is read by itself. So is every run from time to time, because a list may hide what happened (a session that had
ended is running again because a colleague chats on).
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from qoder_cli.base.errors import ApiError, AuthError, NoAnswer, Unavailable
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.pool import in_order, unless_late
from qoder_cli.http.pace import READS_PER_SECOND
from qoder_cli.runs.fleet.clusters import RUNS, SESSIONS, Cluster, Source, by_row_id, clusters_of, is_told_by_session
from qoder_cli.runs.observe import LAGGING

if TYPE_CHECKING:
    from qoder_cli.http.client import Client
    from qoder_cli.runs.watch import Watch

PAGE = 100  # rows
BARREN = 3  # pages in a row that show none of the runs, after which a list is not read on; more before the first
BATCH = 40  # runs read by themselves in one call
CROWD = 200  # runs waiting to be read by themselves; the lists could only add to them
AT_A_TIME = 8  # requests
FIRST_PAUSE = 0.5  # seconds between two reads of a run itself, doubling
UNSEEN = 5.0  # the least seconds before a run is read itself that its list was read for and does not show
STALE = 60.0  # seconds after which any run is read itself, and after which a list that was not worth it is read again
SPARE = 5  # runs at most that are read for that reason, in as many seconds
LONGEST_REST = 30.0  # seconds between two reads of a session that rests, unchanged, without having ended
_EARLY = 0.75  # of a pause after which it is over, because checks come earlier by as much
# Sessions that have not come to rest; the last word is an older generation's (api/facts.md, 2.2).
_MOVING = frozenset({"running", "rescheduling", "canceling", "processing"})

Heard = tuple["Watch", ApiError | None]


@dataclass
class _Record:
    """What is remembered of a run: when it was last read itself, the pause until the next time, how it rested."""

    read: float
    pause: float = FIRST_PAUSE
    rested: tuple[Any, ...] | None = None


class RollCall:
    """Checks on watched runs. `longest_pause` is how long, in seconds, a run that no list shows is left alone."""

    def __init__(self, client: "Client", *, longest_pause: float) -> None:
        self._client = client
        self._longest_pause = longest_pause
        self._records: dict[str, _Record] = {}
        self._ended: dict[str, Watch] = {}  # runs to read themselves, because a list shows their session at rest
        self._due: dict[str, Watch] = {}  # runs to read themselves, because no list tells enough
        self._shown: set[str] = set()  # runs that a list showed when the lists were last read
        self._skipped: dict[tuple[str, str], float] = {}  # by list and run: until when that list is not worth reading
        self._refused: set[str] = set()  # lists that this server does not give
        self._unwindowed: set[str] = set()  # lists that this server gives only without a window of time
        self._down: dict[str, ApiError] = {}  # lists that cannot be read now
        self._searched = False  # whether the newest runs were read for runs of which only the id is known
        self._listed = self._spared = -math.inf  # when the lists, and when stale runs, were last read
        self._now = 0.0  # when this call began
        self._within: Callable[[], float] = lambda: client.request_timeout
        self._is_late: Callable[[], bool] = lambda: False

    @property
    def is_behind(self) -> bool:
        """Whether there are runs to read at once."""
        return bool(self._ended or self._due)

    def call(
        self, going: Sequence["Watch"], *, within: Callable[[], float], is_late: Callable[[], bool] = lambda: False
    ) -> Iterator[Heard | None]:
        """Check on runs, and yield those that were heard of, with the error if reading one failed.

        After a page that tells nothing it yields None: whoever has no more time can stop here. `within` returns the
        longest time for the next request in seconds; `is_late`, asked in this thread while one is under way, whether
        there is no time left at all. Raises ApiError when a list cannot be read now, Late.
        """
        self._now, self._within, self._is_late = self._client.clock.monotonic(), within, is_late
        rest = self._longest_pause if len(self._ended) + len(self._due) <= CROWD else LONGEST_REST
        self._down = {}
        if not self.is_behind or self._now - self._listed >= rest:
            self._listed = self._now
            listed = yield from self._read_lists(going)
            self._add_due(going, listed)
        batch = dict(islice(chain(self._ended.items(), self._due.items()), BATCH))
        for id in batch:
            self._ended.pop(id, None)
            self._due.pop(id, None)
        yield from self._ask([watch for watch in batch.values() if not watch.over])
        for error in self._down.values():
            raise error

    def _read_lists(self, going: Sequence["Watch"]) -> Generator[Heard | None, None, set[str]]:
        """Read the lists that cost less than the runs they show; return the runs that they were read for."""
        self._shown = set()
        if not self._searched:
            unread = [watch for watch in going if watch.run is None and not watch.over]
            yield from self._try(RUNS, {}, unread)
            self._searched = RUNS.path not in self._down
        listed: set[str] = set()
        for source, cluster in self._clusters(going):
            if source.path in self._refused or source.path in self._down:
                continue
            listed |= {watch.observer.run_id for watch in cluster.watches}
            window = {} if source.path in self._unwindowed else cluster.window(source)
            is_worth_it = yield from self._try(source, window, cluster.watches)
            is_young = self._client.server_now() - cluster.last.timestamp() < LAGGING
            if not (is_worth_it or is_young):
                until = self._now + STALE
                self._skipped |= {(source.path, watch.observer.run_id): until for watch in cluster.watches}
        return listed

    def _clusters(self, going: Sequence["Watch"]) -> Iterator[tuple[Source, Cluster]]:
        """Yield each list with the runs to read it for: two or more, for one costs no less by itself.

        The sessions are read also for runs whose status has not moved for long, though their session may have ended.
        """
        known = [watch for watch in going if watch.run and not watch.over]
        by_status = [watch for watch in known if not is_told_by_session(watch)]
        stuck = [watch for watch in by_status if self._unread_for(watch) >= STALE]
        by_session = [watch for watch in known if is_told_by_session(watch)]
        for source, watches in ((RUNS, by_status), (SESSIONS, by_session + stuck)):
            worth = [w for w in watches if self._skipped.get((source.path, w.observer.run_id), -math.inf) <= self._now]
            for cluster in clusters_of(worth):
                if len(cluster.watches) > 1:
                    yield source, cluster

    def _try(
        self, source: Source, window: dict[str, str], watches: "Sequence[Watch]"
    ) -> Generator[Heard | None, None, bool]:
        """Read a list for these runs, and return whether that was worth its requests, as far as is known."""
        try:
            return (yield from self._read_list(source, window, watches))
        except ApiError as error:
            if window and error.http_status == 400:
                self._unwindowed.add(source.path)
            else:
                self._mind(error, source)
            return True

    def _read_list(
        self, source: Source, window: dict[str, str], watches: "Sequence[Watch]"
    ) -> Generator[Heard | None, None, bool]:
        """Read a list until all are shown, or it would cost more than to read each by itself."""
        wanted = by_row_id(watches, source)
        pages = shown = barren = 0
        most_barren = max(BARREN, len(watches) // 10)  # newer runs come first where a server ignores the window
        rows = self._rows(source, window)
        while wanted and barren < most_barren and pages < len(watches) and (page := next(rows, None)) is not None:
            pages += 1
            found = [(wanted.pop(id), row) for row in page if (id := text(row.get("id"))) in wanted]
            if found:
                shown, barren, most_barren = shown + len(found), 0, BARREN
            else:
                barren += 1
            yield from [self._take(watch, row) for watch, row in found] or [None]
        return shown >= pages

    def _take(self, watch: "Watch", row: dict[str, Any]) -> Heard | None:
        """Take in what a list shows of a run or of its session."""
        record, run = self._record(watch), Run.read(row)
        if run is not None:
            if record.read == -math.inf:
                record.read = self._now
            watch.observer.take(run)
            self._shown.add(watch.observer.run_id)
            return watch, None
        if is_told_by_session(watch):
            self._shown.add(watch.observer.run_id)
        if text(row.get("status")) in _MOVING:
            record.rested = None
            if not is_told_by_session(watch):
                record.read = self._now  # session and status agree, which was the question
            return watch, None
        rests = (row.get("status"), row.get("updated_at"), str(row.get("stats")))
        if rests != record.rested:
            record.rested, record.pause = rests, FIRST_PAUSE
        elif self._unread_for(watch) < record.pause:
            return watch, None
        watch.observer.session = row
        self._ended[watch.observer.run_id] = watch
        self._due.pop(watch.observer.run_id, None)
        return None

    def _add_due(self, going: Sequence["Watch"], listed: set[str]) -> None:
        """Add the runs to read themselves though nothing says that they ended, the longest unread first."""
        left = [watch for watch in going if not watch.over and watch.observer.run_id not in self._ended]
        left.sort(key=self._unread_for, reverse=True)
        alone = [watch for watch in left if watch.observer.run_id not in self._shown]
        longest = max(self._longest_pause, len(alone) / READS_PER_SECOND)
        for watch in alone:
            pause = min(self._record(watch).pause, longest)
            if watch.observer.run_id in listed:
                pause = max(pause, UNSEEN)
            if self._unread_for(watch) >= pause * _EARLY:
                self._due[watch.observer.run_id] = watch
        stale = [watch for watch in left[:SPARE] if self._unread_for(watch) >= STALE]
        if stale and self._now - self._spared >= SPARE * _EARLY:
            self._spared = self._now
            self._due |= {watch.observer.run_id: watch for watch in stale}

    def _ask(self, watches: Sequence["Watch"]) -> Iterator[Heard]:
        """Read each run itself, several at a time.

        No further one is read once the server has asked for a pause, or is not there for the lists either.
        """
        enough: list[ApiError] = []

        def look(watch: "Watch") -> ApiError | None:
            if enough:
                return enough[0]
            try:
                watch.observer.look(within=self._within())
            except ApiError as error:
                if error.retry_after or (self._down and isinstance(error, Unavailable)):
                    enough.append(error)
                return error
            return None

        errors = in_order(look, watches, at_a_time=AT_A_TIME, is_late=self._is_late)
        for watch, error in zip(watches, errors, strict=True):
            record = self._record(watch)
            record.read = self._now
            record.pause = min(record.pause * 2, LONGEST_REST)
            if not watch.over:
                watch.observer.session = None  # what it shows of a rest in between is not what the run used
            if isinstance(error, Unavailable):
                self._due.clear()  # they are due again at the next check, after a pause
            yield watch, error

    def _record(self, watch: "Watch") -> _Record:
        first_read = -math.inf if watch.run is None else self._now
        return self._records.setdefault(watch.observer.run_id, _Record(first_read))

    def _unread_for(self, watch: "Watch") -> float:
        """Return for how many seconds a run was not read itself."""
        return self._now - self._record(watch).read

    def _rows(self, source: Source, window: dict[str, str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a list as objects. Raises ApiError, Late."""
        query = {"limit": PAGE, **source.filters, **window}
        pages = self._client.pages(source.path, query, within=self._within(), retry=False)
        while (page := unless_late(partial(next, pages, None), self._is_late)) is not None:
            rows = list(map(mapping, page["data"]))
            if not all(text(row.get("id")) for row in rows):
                raise NoAnswer("the response is not a page of a list")
            yield rows

    def _mind(self, error: ApiError, source: Source) -> None:
        """Do without a list that the server does not give, or cannot give now; raise what concerns every request."""
        if error.retry_after or (isinstance(error, AuthError) and error.http_status != 403):
            raise error
        if isinstance(error, Unavailable) and error.http_status != 501:
            self._down[source.path] = error
        else:
            self._refused.add(source.path)
