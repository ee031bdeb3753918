"""Print the results of several runs as they come, with one exit code for all."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from qoder_cli.app import App
from qoder_cli.base.errors import Interrupted, NotYet, Signalled, WaitTimeout
from qoder_cli.fleet.starting import StartOptions
from qoder_cli.nouns.views import waiting_status
from qoder_cli.output.cells import WAITS, Fields, Id, Milliseconds, Name, Status
from qoder_cli.output.data import WIDE_SHOWS_ALL, Rows
from qoder_cli.output.results import Printed
from qoder_cli.runs.ending import Ended
from qoder_cli.runs.polled import PolledRun

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qoder_cli.base.model import Run

Restart = Callable[[Sequence[int]], list[str]]  # from places in the input to a command

_ALIKE = 10  # identical warnings
_AROUND = 8  # lines of a screen that the table of several results leaves free: for its header, notes and the error
# As a terminal shows them, what matters most first.
_FIRST = ("deployment", "status", "error_type", "duration", "triggered", "trigger", "session", "id")
# Where not all rows fit, the last are shown first, and before them any other word: it went wrong, or asks.
_WORST_LAST = ("completed", "not started", "to start", "pending", "running", "skipped")


class Conductor:
    """Collects and prints the result for each name, and sums up at the end.

    It is enough once the output is gone or, with `--fail-fast`, once one failed.
    """

    def __init__(
        self, app: App, typed: Sequence[str], plan: StartOptions | None = None, *, restart: Restart | None = None
    ) -> None:
        self._app = app
        self._typed = typed
        self.printed = printed(app, len(typed))
        self._places: dict[PolledRun, list[int]] = {}  # input places of runs waited for
        self.plan = plan or StartOptions()  # by default none is started
        self.restart = restart
        self._warned = Counter[tuple[str, str | None]]()
        self._failed = False
        self.signalled: Signalled | None = None
        self.began = app.clock.monotonic()
        app.progress.draw(self._board, moves=not app.out.is_piped)

    def expect(self, polled: PolledRun, *numbers: int) -> None:
        """Note the places in the input for which a run is waited for."""
        self._places[polled] = list(numbers)

    def report(self, polled: PolledRun, item: Ended) -> None:
        """Take the result of a run that is waited for."""
        if self.plan.queue:
            self.plan.queue.note_run(polled.observer.run)
        for number in self._places[polled]:
            self.put(number, item)

    def put(self, number: int, item: Ended) -> None:
        """Take the result for a place, once, and print what can be printed."""
        found_going = item.with_(typed=self._typed[number])
        item = self.plan.excused(found_going)
        if self.printed.of(number) is None:
            self._app.tracked.ended(item, number=number)
            if item.going is not None:
                self._app.progress.warn(found_going.message)
            if len(self._typed) > 1:
                warn_of(self._app, item, self._warned)
        self._failed = self._failed or self.is_fatal(item)
        self.printed.put(number, item)

    def is_fatal(self, item: Ended) -> bool:
        """Return whether nothing more is to be started, or waited for, after it."""
        return self.plan.fail_fast and item.attempted and self.plan.excused(item).error is not None

    def _board(self, width: int, height: int) -> "tuple[RenderableType, str]":
        """Return the table of the wait, the worst if not all fit, and how many there are of each status."""
        from qoder_cli.output.tables import board

        rows = list(self._rows())
        counts = Counter(_kind_of(row["status"].word) for row in rows)
        counted = [f"{count} {word}" for word, count in sorted(counts.items(), key=lambda kind: _gravity(kind[0]))]
        if len(rows) > height:
            rows = sorted(rows, key=lambda row: _gravity(_kind_of(row["status"].word)))[:height]
            counted.append(f"{sum(counts.values()) - height} not shown")
        return board(rows, width), ", ".join(counted)

    def _rows(self) -> Iterator[Fields]:
        """Yield a row for each name. Called from the thread that draws."""
        runs = {number: polled for polled, numbers in dict(self._places).items() for number in numbers}
        for number, typed in enumerate(self._typed):
            item, polled = self.printed.of(number), runs.get(number)
            run: Run | None = None
            took, status = None, Status("to start")
            if item is not None:
                run, status = item.found, Status(item.stands)
                took = run.duration_ms if run else None
            elif polled is not None:
                run, status = polled.run, Status((polled.run and polled.run.status) or "pending")
                took = round(1000 * (self._app.clock.monotonic() - polled.began))
            yield {
                "deployment": self._named(typed, run),
                "status": (run and waiting_status(run, self._app.server_now)) or status,
                "time": None if took is None else Milliseconds(took),
                "id": Id(polled.observer.run_id) if polled else (Id(run.id) if run else None),
            }

    def _named(self, typed: str, run: "Run | None") -> Name | Id:
        """Return what a row is called: its deployment's name as it was read, else what was typed."""
        id = run.deployment_id if run else typed
        name = self._app.seen_names.standing_for(id) or (run and run.deployment_name)
        if name is None and typed.startswith(("dep_", "drun_", "sess_")):
            return Id(typed)
        return Name(name or typed)

    def is_enough(self) -> bool:
        return self.printed.is_unread() or self._failed

    @contextmanager
    def until_signalled(self) -> Iterator[None]:
        """Catch a signal that ends this block. What has no result was not started."""
        try:
            yield
        except Signalled as signalled:
            self.signalled = signalled
        for number, typed in enumerate(self._typed):
            if self.printed.of(number) is None:
                self.put(number, not_started(typed))


def not_started(word: str) -> Ended:
    """Return the result for a run whose turn never came."""
    return Ended(word, None, NotYet("not started (interrupted first)"), attempted=False)


def printed(app: App, count: int) -> Printed[Ended]:
    """Return a printer for `count` runs."""

    def worst_first(items: Sequence[Ended]) -> Sequence[Ended]:
        """Return what failed or asks, then the rest: as many as fit a screen."""
        ordered, most = sorted(items, key=_place), len(items)
        if app.out.is_terminal and not app.output.is_wide:
            most = max(get_terminal_size((80, 24)).lines - _AROUND, sum(_place(item) == 0 for item in items))
        left_out = Counter(item.stands for item in ordered[most:])
        if left_out:
            more = ", ".join(f"{count} {stands}" for stands, count in left_out.most_common())
            rows.note, rows.remedy = f"{more} not shown", WIDE_SHOWS_ALL
        return ordered[:most]

    remedy = "qoder run get shows all of a run"
    rows = Rows[Ended](
        app.output,
        fields=lambda item: item.row(app),
        data=lambda item: item.named(app).as_json(),
        first=_FIRST,
        remedy=remedy,
        may_go=_FIRST,
    )
    return Printed(rows, app.progress, count, arranged=worst_first)


def _place(item: Ended) -> int:
    """Return the place of an item among several: 0 if it failed or asks, 1 if it still runs, 2 if it succeeded."""
    if item.error is None:
        return 2
    goes_on = isinstance(item.error, WaitTimeout | Interrupted | NotYet) and item.stands != WAITS
    return 1 if goes_on else 0


def _kind_of(status: str) -> str:
    """Return a status without how long it has been so."""
    return WAITS if status.startswith(WAITS) else status


def _gravity(status: str) -> int:
    """Return the place of a status among others: what needs a person comes first."""
    return -_WORST_LAST.index(status) if status in _WORST_LAST else -len(_WORST_LAST)


def warn_of(app: App, item: Ended, counts: Counter[tuple[str, str | None]]) -> None:
    """Warn of a result that is only an error, without a run: at most ten times in the same words, by their `counts`."""
    error = item.error
    has_run = item.run_id is not None and not item.is_unknown
    if error is None or not item.attempted or has_run or isinstance(error, WaitTimeout):
        return  # those timed out are in the next command
    words = error.message, error.hint
    counts[words] += 1
    if counts[words] <= _ALIKE:
        warning = item.message
        if error.advice:
            warning += f" (hint: {error.advice})"
        app.progress.warn(warning)
    elif counts[words] == _ALIKE + 1:
        app.progress.warn("(further identical warnings suppressed)")
