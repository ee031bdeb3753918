"""Poll many runs through the lists, with less than one request a run.

`GET /deployment_runs` shows the status of runs. If it has none, `GET /sessions` shows
which sessions rest, and only those runs are read. A run missing from a list is read by
itself, and so is every run from time to time, because a list may hide what happened.
"""

import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NoResponse, Unavailable
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.outcome import Standing, standing
from qoder_cli.base.pool import Late, Task, in_order
from qoder_cli.base.times import Deadline, parse_timestamp, utc_text
from qoder_cli.http.pace import READS_PER_SECOND
from qoder_cli.runs.polled import (
    FEW,
    FIRST_PAUSE,
    Pauses,
    PolledRun,
    RunPoller,
    Runs,
    Starts,
    Test,
    WaitReading,
    in_words,
)
from qoder_cli.sessions.log import LAGGING

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

PAGE = 100  # rows
BARREN = 3  # pages in a row without a wanted run, then stop; more before the first hit
BATCH = 100  # runs whose sessions are read in one call: a page of the list then confirms their ends
UNSEEN = 5.0  # seconds at least until a run missing from its list is read itself
STALE = 60.0  # seconds, then any run is read itself, and a list that did not pay is tried again
SPARE = 5  # stale runs read at most in a round
# Seconds between two reads of a session that rests unchanged, and of lists while runs are unread.
LONGEST_REST = 30.0
_EARLY = 0.75  # of a pause counts as all of it: checks come early
# Sessions not at rest; the last word is an older generation's (api.md#sessions).
_MOVING = frozenset({"running", "rescheduling", "canceling", "processing"})


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
        self.skipped: dict[PolledRun, float] = {}  # until when not to read it for a run

    def window(self, runs: Runs) -> dict[str, str]:
        """Return the query for the time of these runs, which is known, in whole seconds."""
        if not self.has_window:
            return {}
        times = [created for polled in runs if (created := _created(polled))]
        since, until = min(times) - self.slack, max(times) + timedelta(seconds=1) + self.slack
        return {"created_at[gte]": utc_text(since), "created_at[lte]": utc_text(until)}

    def failed(self, error: ApiError, *, has_window: bool) -> None:
        """Stop using the list, or its window, if refused. Raise what hits any request."""
        if has_window and error.http_status == 400:
            self.has_window = False
        elif error.retry_after or error.is_logged_out:
            raise error
        elif isinstance(error, Unavailable) and error.http_status != 501:
            self.down = error
        else:
            self.is_refused = True


def _created(polled: PolledRun) -> datetime | None:
    """Return when a run was created; None if unknown or out of range."""
    raw = polled.run.raw if polled.run else {}
    moment = parse_timestamp(raw.get("created_at") or raw.get("triggered_at"))
    return moment if moment and 1 < moment.year < 9999 else None


def _needs_session(polled: PolledRun) -> bool:
    """Return whether only the run's session knows how it ended."""
    return polled.run is not None and standing(Run(polled.run.raw)) is Standing.ASK_SESSION


@dataclass(eq=False)
class PagePoller:
    """Polls all runs of a wait in rounds; once they are few, and no more are started soon, `singly`."""

    app: App
    singly: RunPoller
    deadline: Deadline
    pauses: Pauses
    starts: Starts
    _due: float = field(default=-math.inf, init=False)  # the next round
    _pause: float = field(default=0.0, init=False)  # before the round after that
    _printed: str = field(default="", init=False)  # the last trouble that was printed

    def __post_init__(self) -> None:
        self._reader = PageReader(self.app.client, self.deadline, self.pauses.longest)

    def due(self, going: Runs) -> float:
        if self._are_few(going):
            return self.singly.due(going)
        return self._due

    def poll(self, going: Runs, *, total: int, must_stop: Test) -> Iterator[WaitReading]:
        if self._are_few(going):
            yield from self.singly.poll(going, total=total, must_stop=must_stop)
            return
        is_last = self.deadline.left() <= 0
        if not self.deadline.is_past:
            with suppress(Late):
                yield from self._round(going, must_stop)
        is_through = all(polled.is_read for polled in going) or not self._reader.unread
        if is_last and (self.deadline.timeout or is_through):  # --timeout 0 polls each once
            for polled in going:
                yield WaitReading(polled, is_last=True)

    def _are_few(self, going: Runs) -> bool:
        if self._left and self.starts.ordered > FEW:
            return False
        return len(going) <= FEW

    @property
    def _left(self) -> int:
        """How many runs are added soon: of a queue they may come in hours."""
        return 0 if self.starts.is_queue else self.starts.left

    def _round(self, going: Runs, must_stop: Test) -> Iterator[WaitReading]:
        """Poll all and plan the next round: soon if a run ended, is unread or still to come. Raises Late."""
        clock = self.app.clock
        began = clock.monotonic()
        errors: list[ApiError] = []
        is_quick = False
        try:
            for reading in self._reader.read(going, must_stop):
                yield reading
                if reading.error is not None and not reading.polled.is_over:
                    errors.append(reading.error)
            is_quick = self._left > 0 or any(polled.is_over for polled in going)
        except ApiError as error:
            for polled in going:
                yield WaitReading(polled, error, is_of_list=True)
            errors.append(error)
        for message in [error.message for error in errors] or [""]:
            if message and message != self._printed:  # once, not for each run
                self.app.progress.change(in_words(message, self.deadline))
            self._printed = message
        first = self.pauses.first
        self._pause = min(max(self._pause, first) * 2, self.pauses.longest)
        if is_quick:
            self._pause = first
        now, jitter = clock.monotonic(), clock.jitter()
        due = max(now + first * jitter, began + self._pause * jitter)
        if self._reader.unread:
            due = now
        asked_pause = max((error.asked_pause for error in errors), default=0.0)
        self._due = max(due, now + asked_pause)


class PageReader:
    """Reads the lists that are worth it, and single runs that no list shows."""

    def __init__(self, client: "Client", deadline: Deadline, longest_pause: float) -> None:
        self._client = client
        self._deadline = deadline
        self._longest_pause = longest_pause
        self._must_stop: Test = lambda: False
        self._runs = _List("/deployment_runs", timedelta(seconds=1))
        self._sessions = _List("/sessions", timedelta(minutes=1), include_archived="true")
        self._now = 0.0  # when the round began
        self._listed = -math.inf  # when the lists were last read
        self.unread: dict[PolledRun, bool] = {}  # to be read; True: first, for they rest

    def read(self, going: Runs, must_stop: Test) -> Iterator[WaitReading]:
        """Read what is due and yield each reading. Raises ApiError where a list cannot be read, Late."""
        self._now, self._must_stop = self._client.clock.monotonic(), must_stop
        self._runs.down = self._sessions.down = None  # it may work again
        if not self.unread or self._now - self._listed >= LONGEST_REST:
            self._listed = self._now
            yield from self._read_lists(going)
        batch = sorted(self.unread, key=lambda polled: not self.unread[polled])[:BATCH]
        for polled in batch:
            del self.unread[polled]
        yield from self._read_singly([polled for polled in batch if not polled.is_over])
        for source in (self._runs, self._sessions):
            if source.down:
                raise source.down

    def _read_lists(self, going: Runs) -> Iterator[WaitReading]:
        """Read the lists that are worth it. Runs that none showed, and stale ones, are to be read themselves."""
        if not self._runs.is_searched:
            yield from self._read_list(self._runs, {}, [polled for polled in going if polled.run is None])
            self._runs.is_searched = self._runs.down is None
        listed: set[PolledRun] = set()
        dated = [polled for polled in going if not polled.is_over and _created(polled)]
        by_status = [polled for polled in dated if not _needs_session(polled)]
        by_session = [polled for polled in dated if _needs_session(polled)]
        stuck = [polled for polled in by_status if self._unread_for(polled) >= STALE]
        for source, for_it in ((self._runs, by_status), (self._sessions, by_session + stuck)):
            runs = [polled for polled in for_it if source.skipped.get(polled, -math.inf) <= self._now]
            if len(runs) < 2 or source.is_refused:  # a single one is as cheap alone
                continue
            listed.update(runs)
            is_worth_it = yield from self._read_list(source, source.window(runs), runs)
            newest = max((polled.run and polled.run.created) or 0.0 for polled in runs)
            is_young = self._client.server_now() - newest < LAGGING
            if not (is_worth_it or is_young):
                source.skipped |= dict.fromkeys(runs, self._now + STALE)
        left = [polled for polled in going if not polled.is_over and not self.unread.get(polled)]
        left.sort(key=self._unread_for, reverse=True)
        alone = [polled for polled in left if polled.listed_at != self._listed]
        longest = max(self._longest_pause, len(alone) / READS_PER_SECOND)
        for polled in alone:
            pause = min(polled.read_pause, longest)
            if polled in listed:
                pause = max(pause, UNSEEN)
            if self._unread_for(polled) >= pause * _EARLY:
                self.unread[polled] = False
        self.unread |= {polled: False for polled in left[:SPARE] if self._unread_for(polled) >= STALE}

    def _read_list(self, source: _List, window: dict[str, str], runs: Runs) -> Generator[WaitReading, None, bool]:
        """Read a list while that is cheaper than single reads. Return whether it was, or failed."""
        wanted = {polled.observer.run_id: polled for polled in runs}
        if source is self._sessions:  # its rows are no runs
            wanted = {polled.session_id: polled for polled in runs if polled.session_id}
        pages = shown = barren = 0
        most_barren = max(BARREN, len(runs) // 10)  # newer runs may come first
        if not wanted:
            return True
        try:
            for page in self._pages(source, window):
                pages, barren = pages + 1, barren + 1
                found = [(wanted.pop(id), row) for row in page if (id := text(row.get("id"))) in wanted]
                if found:
                    shown, barren, most_barren = shown + len(found), 0, BARREN
                for polled, row in found:
                    if self._observe(polled, row):
                        yield WaitReading(polled)
                        self._go_on()
                if not wanted or barren >= most_barren or pages >= len(runs):
                    break
        except ApiError as error:
            source.failed(error, has_window=bool(window))
            return True
        return shown >= pages

    def _pages(self, source: _List, window: dict[str, str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a list as objects. Raises ApiError, Late."""
        query = {"limit": PAGE, **source.filters, **window}
        pages = self._client.pages(source.path, query, within=self._longest_request(), retry=False)
        while (page := Task(partial(next, pages, None)).start().result_unless(self._must_stop)) is not None:
            rows = list(map(mapping, page["data"]))
            if not all(text(row.get("id")) for row in rows):
                raise NoResponse("the response is not a page of a list")
            yield rows
            self._go_on()

    def _observe(self, polled: PolledRun, row: dict[str, Any]) -> bool:
        """Take in a row of a list: a run, or its session. Return whether the run need not be read itself."""
        run = Run.read(row)
        if run is not None or _needs_session(polled):
            polled.listed_at = self._listed
        rests = (row.get("status"), row.get("updated_at"), str(row.get("stats")))
        if run is not None:
            if polled.read_at == -math.inf:
                polled.read_at = self._now
            polled.observer.take(run)
        elif text(row.get("status")) in _MOVING:
            polled.rests_so = None
            if self._unread_for(polled) >= polled.observer.take_working(row):
                self.unread[polled] = False
                return False
            if not _needs_session(polled) and polled.observer.state.sub_agents.are_there is not None:
                polled.read_at = self._now  # session and status agree
        elif rests != polled.rests_so or self._unread_for(polled) >= polled.read_pause:
            if rests != polled.rests_so:
                polled.rests_so, polled.read_pause = rests, FIRST_PAUSE
            polled.observer.take_session(row)
            self.unread[polled] = True
            return False
        return True

    def _read_singly(self, runs: Runs) -> Iterator[WaitReading]:
        """Read each run itself, until the server is down or asks for a pause."""
        enough: list[ApiError] = []

        def look(polled: PolledRun) -> ApiError | None:
            if enough:
                return enough[0]
            try:
                polled.observer.look(within=self._longest_request(), confirms=False)
            except ApiError as error:
                if error.retry_after or ((self._runs.down or self._sessions.down) and isinstance(error, Unavailable)):
                    enough.append(error)
                return error
            return None

        looks = in_order(look, runs, is_late=self._must_stop)
        yield from self._judged(zip(runs, looks, strict=True))
        unconfirmed = [polled for polled in runs if polled.observer.unconfirmed is not None]
        rows = self._rows_of(unconfirmed)

        def confirm(polled: PolledRun) -> ApiError | None:
            try:
                polled.observer.confirm(rows.get(polled.observer.run_id), within=self._longest_request())
            except ApiError as error:
                return error
            return None

        confirmations = in_order(confirm, unconfirmed, is_late=self._must_stop)
        yield from self._judged(zip(unconfirmed, confirmations, strict=True))

    def _rows_of(self, runs: Runs) -> dict[str, Run]:
        """Return runs as their list shows them now, by id: of some that it does not show, and of one alone, nothing."""
        rows: dict[str, Run] = {}
        runs = [polled for polled in runs if _created(polled)]
        wanted = {polled.observer.run_id for polled in runs}
        if len(wanted) < 2 or self._runs.is_refused:
            return rows
        with suppress(ApiError):
            for page in islice(self._pages(self._runs, self._runs.window(runs)), len(runs) // 2):
                rows |= {run.id: run for row in page if (run := Run.read(row)) and run.id in wanted}
                if wanted <= rows.keys():
                    break
        return rows

    def _judged(self, looks: Iterable[tuple[PolledRun, ApiError | None]]) -> Iterator[WaitReading]:
        """Yield what looks brought, but of runs that are not confirmed yet."""
        for polled, error in looks:
            if polled.observer.unconfirmed is not None:
                continue
            polled.read_at = self._now
            polled.read_pause = min(polled.read_pause * 2, LONGEST_REST)
            if not polled.is_over:
                polled.observer.take_session(None)  # a rest in between is not what the run used
            if isinstance(error, Unavailable):  # the others are due again after a pause
                self.unread = {other: True for other, rests in self.unread.items() if rests}
            yield WaitReading(polled, error)
            self._go_on()

    def _longest_request(self) -> float:
        return self._deadline.longest_request(self._client.request_timeout)

    def _go_on(self) -> None:
        """Raise Late if the wait is to stop."""
        if self._must_stop():
            raise Late

    def _unread_for(self, polled: PolledRun) -> float:
        return self._now - polled.read_at
