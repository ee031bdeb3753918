"""Finding runs of which only the ids are known in the list of runs, where that costs less than to ask for each."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from qoder_cli.base.errors import ApiError
from qoder_cli.base.model import text
from qoder_cli.runs.fleet.clusters import APART, RUNS, Source, created_of, has_strays, moment_of, window_of

if TYPE_CHECKING:
    from qoder_cli.runs.watch import Watch

Row = dict[str, Any]
Heard = tuple["Watch", ApiError | None]

PAGE = 100  # rows
BARREN = 3  # pages without any of the runs looked for, after which a list is not read on; more where many are
PROBES = 3  # runs that are asked for themselves, to look for the others around their times
FEW = 10  # runs that are not worth that
MOST_MISSES = 3  # of such looks that found fewer runs than they cost
AROUND = timedelta(minutes=1)  # by how much the others may be older or younger than those


class Search:
    """Looks for runs among the newest, then around the times of a few of them that are asked for.

    Where the list cannot be asked for a time, the newest are read on as far as that time. `rows` gives the pages of a
    list between two times, `take` takes in what a row says of a run, `ask` asks for runs themselves, and `has_room`
    says whether this check may cost more: what is left is done in the next one.
    """

    def __init__(
        self,
        *,
        rows: Callable[[Source, dict[str, str]], Iterator[list[Row]]],
        take: Callable[["Watch", Row], Heard | None],
        ask: Callable[[Sequence["Watch"]], Iterator[Heard]],
        has_room: Callable[[], bool],
        unwindowed: set[str],
    ) -> None:
        self._rows = rows
        self._take = take
        self._ask = ask
        self._has_room = has_room
        self._unwindowed = unwindowed  # lists that cannot be asked for a time
        self._newest: Iterator[list[Row]] | None = None
        self._around: list[tuple[datetime, datetime]] = []  # times between which runs are to be looked for
        self._trail: Iterator[list[Row]] | None = None  # the list of the first of them, as far as it is read
        self._deep_to: datetime | None = None  # how far the newest are to be read on
        self._barren = self._found = self._read = self._misses = 0
        self._is_past_newest = False
        self._gave_up = False

    def is_open(self, unread: dict[str, "Watch"]) -> bool:
        """Return whether runs are still looked for in the list."""
        if self._gave_up or not unread:
            return False
        return not self._is_past_newest or self._deep_to is not None or bool(self._around) or len(unread) > FEW

    def go_on(self, unread: dict[str, "Watch"]) -> Iterator[Heard | None]:
        """Look on, as far as there is room, and take those that are found out of `unread`. Raises ApiError."""
        while self.is_open(unread) and self._has_room():
            if not self._is_past_newest or self._deep_to:
                yield from self._through_newest(unread)
            elif self._around:
                yield from self._through_window(unread)
            elif self._misses < MOST_MISSES and RUNS.path not in self._unwindowed:
                yield from self._probe(unread)
            else:
                self._gave_up = True

    def give_up(self) -> None:
        """Look no further: there is no such list."""
        self._gave_up = True

    def _through_newest(self, unread: dict[str, "Watch"]) -> Iterator[Heard | None]:
        self._newest = self._newest or self._rows(RUNS, {})
        try:
            rows = next(self._newest, None)
        except ApiError:
            self._newest = None
            raise
        if rows is None:
            self._is_past_newest, self._deep_to, self._gave_up = True, None, True
            return
        yield from self.match(rows, unread)
        if self._deep_to is not None:
            if _is_above(rows, self._deep_to):
                self._barren = 0
            self._gave_up = self._barren >= _most_barren(unread)
        elif self._barren >= min(_most_barren(unread), len(unread)):
            self._is_past_newest = True

    def _probe(self, unread: dict[str, "Watch"]) -> Iterator[Heard | None]:
        """Ask for some of the runs themselves, and plan to look around their times."""
        ids = list(unread)
        probes = [unread.pop(id) for id in {ids[0], ids[len(ids) // 2], ids[-1]}]
        yield from self._ask(probes)
        times = sorted(created for watch in probes if (created := created_of(watch.run)))
        for created in times:
            if self._around and created - self._around[-1][1] <= APART:
                self._around[-1] = (self._around[-1][0], created)
            else:
                self._around.append((created, created))
        self._misses += not times
        self._barren = self._found = self._read = 0

    def _through_window(self, unread: dict[str, "Watch"]) -> Iterator[Heard | None]:
        first, last = self._around[0][0] - AROUND, self._around[0][1] + AROUND
        self._trail = self._trail or self._rows(RUNS, window_of(first, last))
        try:
            rows = next(self._trail, None)
        except ApiError as error:
            self._trail = None
            if error.http_status != 400:
                raise
            self._unwindowed.add(RUNS.path)
            self._go_deep()
            return
        if rows is not None:
            yield from self.match(rows, unread)
            self._read += 1
            if has_strays(rows, first, last):
                self._unwindowed.add(RUNS.path)
                self._go_deep()
                return
        if rows is None or self._barren >= _most_barren(unread) or not unread:
            self._trail = None
            self._around.pop(0)
            self._misses = 0 if self._found > self._read else self._misses + 1
            self._barren = self._found = self._read = 0

    def _go_deep(self) -> None:
        """Read the newest on as far as the times around which runs stand, for the list hears of no times."""
        self._deep_to = self._around[0][0]
        self._around, self._trail, self._barren = [], None, 0

    def match(self, rows: Sequence[Row], unread: dict[str, "Watch"]) -> Iterator[Heard | None]:
        """Take in those rows that show one of the runs."""
        found = [(unread.pop(id), row) for row in rows if (id := text(row.get("id"))) in unread]
        self._barren = 0 if found else self._barren + 1
        self._found += len(found)
        yield from [self._take(watch, row) for watch, row in found] or [None]


def _most_barren(unread: dict[str, "Watch"]) -> int:
    """Return how many pages without any of the runs are borne: few beside the requests that ask for each."""
    return max(BARREN, len(unread) // 20)


def _is_above(rows: Sequence[Row], moment: datetime) -> bool:
    """Return whether a page, of a list that has the newest first, is newer than a moment."""
    newest, oldest = (moment_of(row) for row in (rows[0], rows[-1])) if rows else (None, None)
    return bool(newest and oldest and newest >= oldest > moment)
