"""Check many runs through the lists, with less than one request a run.

`GET /deployment_runs` shows the status of runs. If it has none, `GET /sessions` shows
which sessions rest, and only those runs are read. A run missing from a list is read by
itself, and so is every run from time to time, because a list may hide what happened.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any

from qoder_cli.base.errors import ApiError, AuthError, NoAnswer, Unavailable
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.outcome import Standing, standing
from qoder_cli.base.pool import Late, Task, in_order
from qoder_cli.base.times import parse_timestamp, utc_text
from qoder_cli.http.pace import READS_PER_SECOND
from qoder_cli.runs.wait import Wait
from qoder_cli.runs.watch import Watch
from qoder_cli.sessions.log import LAGGING

PAGE = 100  # rows
BARREN = 3  # pages in a row without a wanted run, then stop; more before the first hit
BATCH = 40  # runs read by themselves in one call
AT_A_TIME = 8  # requests
FIRST_PAUSE = 0.5  # seconds between two reads of one run, doubling
UNSEEN = 5.0  # seconds at least until a run missing from its list is read itself
STALE = 60.0  # seconds, then any run is read itself, and a list that did not pay is tried again
APART = timedelta(minutes=10)  # runs created closer than this share a request
SPARE = 5  # stale runs read at most in a round
# Seconds between two reads of a session that rests unchanged, and of lists while runs are unread.
LONGEST_REST = 30.0
_EARLY = 0.75  # of a pause counts as all of it: checks come early
# Sessions not at rest; the last word is an older generation's (help/pages/api.md#sessions).
_MOVING = frozenset({"running", "rescheduling", "canceling", "processing"})

_Cluster = list[tuple[datetime, Watch]]  # runs that were created close together, by their times


class _List:
    """A list that shows many runs, and what this server gives of it."""

    def __init__(self, path: str, slack: timedelta, **filters: Any) -> None:
        self.path = path
        self.filters = filters
        self.slack = slack  # between a run's time and its row's
        self.is_refused = False
        self.has_window = True  # it takes a time window
        self.is_searched = False  # its newest rows were read for mere ids
        self.down: ApiError | None = None  # why it cannot be read now
        self.skipped: dict[Watch, float] = {}  # until when not to read it for a run

    def window(self, cluster: _Cluster) -> dict[str, str]:
        """Return the query for a cluster's time, in whole seconds."""
        if not self.has_window:
            return {}
        since, until = cluster[0][0] - self.slack, cluster[-1][0] + timedelta(seconds=1) + self.slack
        return {"created_at[gte]": utc_text(since), "created_at[lte]": utc_text(until)}

    def mind(self, error: ApiError, *, has_window: bool) -> None:
        """Stop using the list, or its window, if refused. Raise what hits any request."""
        if has_window and error.http_status == 400:
            self.has_window = False
        elif error.retry_after or (isinstance(error, AuthError) and error.http_status != 403):
            raise error
        elif isinstance(error, Unavailable) and error.http_status != 501:
            self.down = error
        else:
            self.is_refused = True


def _clusters_of(watches: Sequence[Watch]) -> list[_Cluster]:
    """Return the runs clustered by time; those without a time are left out."""
    clusters: list[_Cluster] = []
    dated = [(created, watch) for watch in watches if watch.run and (created := _created(watch.run))]
    for created, watch in sorted(dated, key=itemgetter(0)):
        if clusters and created - clusters[-1][-1][0] <= APART:
            clusters[-1].append((created, watch))
        else:
            clusters.append([(created, watch)])
    return clusters


def _created(run: Run) -> datetime | None:
    """Return when a run was created; None if unknown or out of range."""
    moment = parse_timestamp(run.raw.get("created_at") or run.raw.get("triggered_at"))
    return moment if moment and 1 < moment.year < 9999 else None


def _is_told_by_session(watch: Watch) -> bool:
    """Return whether only the run's session knows how it ended."""
    return watch.run is not None and standing(Run(watch.run.raw)) is Standing.ASK_SESSION


@dataclass
class _Record:
    """A run's last read, next pause and resting state, and when it was last listed."""

    read: float
    pause: float = FIRST_PAUSE
    rested: tuple[Any, ...] | None = None
    listed: float = math.nan


class Rounds:
    """Polls all runs of a wait in rounds."""

    def __init__(self, wait: Wait) -> None:
        self._wait = wait
        self._runs = _List("/deployment_runs", timedelta(seconds=1))
        self._sessions = _List("/sessions", timedelta(minutes=1), include_archived="true")
        self._records: dict[Watch, _Record] = {}
        self._unread: dict[Watch, bool] = {}  # to be read; True: first, for they rest
        self._now = 0.0  # when the round began
        self._listed = -math.inf  # when the lists were last read
        self._due, self._pause = -math.inf, 0.0  # of the next round
        self._trouble = ""  # the last trouble reported

    def poll(self, watches: Sequence[Watch], *, has_all: bool) -> None:
        """Check on the runs once that is due. Unless the wait `has_all`, do so soon again."""
        wait = self._wait
        if not wait.sleep_until(self._due):
            return
        is_last = wait.left <= 0
        if not wait.is_late:
            with suppress(Late):
                self._poll(watches, has_all=has_all)
        is_through = all(watch.looked for watch in watches) or not self._unread
        if is_last and (wait.limits.timeout or is_through):  # --timeout 0 polls each once
            for watch in watches:
                wait.time_out(watch)

    def _poll(self, watches: Sequence[Watch], *, has_all: bool) -> None:
        """Check on the runs and plan the next round: soon if one ended or is unread."""
        wait, clock = self._wait, self._wait.app.clock
        self._now = clock.monotonic()
        errors: list[ApiError] = []
        is_quick = False
        try:
            self._check(watches, errors)
            is_quick = not has_all or any(watch.over for watch in watches)
        except ApiError as error:
            for watch in watches:
                watch.bear(error, clock.monotonic())
                wait.conclude(watch)
            errors.append(error)
        for message in [error.message for error in errors] or [""]:
            if message and message != self._trouble:  # once, not for each run
                wait.app.progress.change(f"{message.rstrip('.')}; retrying")
            self._trouble = message
        first = wait.first_pause
        self._pause = first if is_quick else min(max(self._pause, first) * 2, wait.longest_pause)
        now, jitter = clock.monotonic(), clock.jitter()
        due = max(now + first * jitter, self._now + self._pause * jitter)
        asked_pause = max((error.asked_pause for error in errors), default=0.0)
        self._due = max(now if self._unread else due, now + asked_pause)

    def _check(self, going: Sequence[Watch], errors: list[ApiError]) -> None:
        """Check on the runs; those of single reads join the `errors`. Raises ApiError, Late."""
        self._runs.down = self._sessions.down = None  # it may work again
        if not self._unread or self._now - self._listed >= LONGEST_REST:
            self._listed = self._now
            self._add_unread(going, self._read_lists(going))
        batch = sorted(self._unread, key=lambda watch: not self._unread[watch])[:BATCH]
        for watch in batch:
            del self._unread[watch]
        self._read([watch for watch in batch if not watch.over], errors)
        for source in (self._runs, self._sessions):
            if source.down:
                raise source.down

    def _read_lists(self, going: Sequence[Watch]) -> set[Watch]:
        """Read the lists that are worth it. Return the runs read for."""
        if not self._runs.is_searched:
            self._try(self._runs, {}, [watch for watch in going if watch.run is None])
            self._runs.is_searched = self._runs.down is None
        listed: set[Watch] = set()
        for source, cluster in self._clusters(going):
            if source.down or source.is_refused:
                continue
            watches = [watch for _, watch in cluster]
            listed.update(watches)
            is_worth_it = self._try(source, source.window(cluster), watches)
            is_young = self._wait.app.client.server_now() - cluster[-1][0].timestamp() < LAGGING
            if not (is_worth_it or is_young):
                source.skipped |= dict.fromkeys(watches, self._now + STALE)
        return listed

    def _clusters(self, going: Sequence[Watch]) -> Iterator[tuple[_List, _Cluster]]:
        """Yield each list with its runs, at least two: a single one is as cheap alone."""
        known = [watch for watch in going if watch.run and not watch.over]
        by_status = [watch for watch in known if not _is_told_by_session(watch)]
        by_session = [watch for watch in known if _is_told_by_session(watch)]
        stuck = [watch for watch in by_status if self._unread_for(watch) >= STALE]
        for source, watches in ((self._runs, by_status), (self._sessions, by_session + stuck)):
            worth = [each for each in watches if source.skipped.get(each, -math.inf) <= self._now]
            for cluster in _clusters_of(worth):
                if len(cluster) > 1:
                    yield source, cluster

    def _try(self, source: _List, window: dict[str, str], watches: Sequence[Watch]) -> bool:
        """Read a list while that is cheaper than single reads. Return whether it was, or failed."""
        wanted = {watch.observer.run_id: watch for watch in watches}
        if source is self._sessions:  # its rows are no runs
            wanted = {each.session_id: each for each in watches if each.session_id}
        pages = shown = barren = 0
        most_barren = max(BARREN, len(watches) // 10)  # newer runs may come first
        if not wanted:
            return True
        try:
            for page in self._rows(source, window):
                pages, barren = pages + 1, barren + 1
                found = [(wanted.pop(id), row) for row in page if (id := text(row.get("id"))) in wanted]
                if found:
                    shown, barren, most_barren = shown + len(found), 0, BARREN
                for watch, row in found:
                    self._take(watch, row)
                if not wanted or barren >= most_barren or pages >= len(watches):
                    break
        except ApiError as error:
            source.mind(error, has_window=bool(window))
            return True
        return shown >= pages

    def _rows(self, source: _List, window: dict[str, str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a list as objects. Raises ApiError, Late."""
        query = {"limit": PAGE, **source.filters, **window}
        pages = self._wait.app.client.pages(source.path, query, within=self._wait.patience(), retry=False)
        while (page := Task(partial(next, pages, None)).start().result_unless(self._wait.must_stop)) is not None:
            rows = list(map(mapping, page["data"]))
            if not all(text(row.get("id")) for row in rows):
                raise NoAnswer("the response is not a page of a list")
            yield rows
            self._go_on()

    def _take(self, watch: Watch, row: dict[str, Any]) -> None:
        """Take a row of a list: a run, or its session."""
        record, run = self._record(watch), Run.read(row)
        if run is not None or _is_told_by_session(watch):
            record.listed = self._listed
        rests = (row.get("status"), row.get("updated_at"), str(row.get("stats")))
        if run is not None:
            if record.read == -math.inf:
                record.read = self._now
            watch.observer.take(run)
        elif text(row.get("status")) in _MOVING:
            record.rested = None
            if not _is_told_by_session(watch):
                record.read = self._now  # session and status agree
        elif rests != record.rested or self._unread_for(watch) >= record.pause:
            if rests != record.rested:
                record.rested, record.pause = rests, FIRST_PAUSE
            watch.observer.take_session(row)
            self._unread[watch] = True
            return
        self._wait.take(watch)
        self._go_on()

    def _add_unread(self, going: Sequence[Watch], listed: set[Watch]) -> None:
        """Add runs that no list showed, and stale ones, to be read themselves."""
        left = [watch for watch in going if not watch.over and not self._unread.get(watch)]
        left.sort(key=self._unread_for, reverse=True)
        alone = [watch for watch in left if self._record(watch).listed != self._listed]
        longest = max(self._wait.longest_pause, len(alone) / READS_PER_SECOND)
        for watch in alone:
            pause = min(self._record(watch).pause, longest)
            if watch in listed:
                pause = max(pause, UNSEEN)
            if self._unread_for(watch) >= pause * _EARLY:
                self._unread[watch] = False
        self._unread |= {watch: False for watch in left[:SPARE] if self._unread_for(watch) >= STALE}

    def _read(self, watches: Sequence[Watch], errors: list[ApiError]) -> None:
        """Read each run itself, until the server is down or asks for a pause."""
        enough: list[ApiError] = []

        def look(watch: Watch) -> ApiError | None:
            if enough:
                return enough[0]
            try:
                watch.observer.look(within=self._wait.patience())
            except ApiError as error:
                if error.retry_after or ((self._runs.down or self._sessions.down) and isinstance(error, Unavailable)):
                    enough.append(error)
                return error
            return None

        looks = in_order(look, watches, at_a_time=AT_A_TIME, is_late=self._wait.must_stop)
        for watch, error in zip(watches, looks, strict=True):
            record = self._record(watch)
            record.read = self._now
            record.pause = min(record.pause * 2, LONGEST_REST)
            if not watch.over:
                watch.observer.take_session(None)  # a rest in between is not what the run used
            if isinstance(error, Unavailable):  # the others are due again after a pause
                self._unread = {each: True for each, rests in self._unread.items() if rests}
            self._wait.take(watch, error)
            if error is not None and not watch.over:
                errors.append(error)
            self._go_on()

    def _go_on(self) -> None:
        """Raise Late if the wait is to stop."""
        if self._wait.must_stop():
            raise Late

    def _record(self, watch: Watch) -> _Record:
        first_read = -math.inf if watch.run is None else self._now
        return self._records.setdefault(watch, _Record(first_read))

    def _unread_for(self, watch: Watch) -> float:
        return self._now - self._record(watch).read
