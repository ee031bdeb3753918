"""Print the results of several runs as they come, with one exit code for all."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import Signalled, WaitTimeout
from qoder_cli.output.board import Line, board
from qoder_cli.runs.awaiting import not_started, printed
from qoder_cli.runs.ending import Ended
from qoder_cli.runs.wait import PolledRun
from qoder_cli.settings.values import OnSkip

Restart = Callable[[Sequence[int]], list[str]]  # from places in the input to a command

_ALIKE = 10  # identical warnings


class Plan(NamedTuple):
    """How to start several runs; the fields are options of `deploy run`."""

    wait: bool = True
    parallel: int = 1
    if_idle: bool = False
    on_skip: OnSkip = "fail"
    fail_fast: bool = False


WAIT = Plan()  # start none, only wait


class Conductor:
    """Collects and prints the result for each name, and sums up at the end.

    It is enough once the output is gone or, with `--fail-fast`, once one failed.
    """

    def __init__(self, app: App, typed: Sequence[str], plan: Plan = WAIT, *, restart: Restart | None = None) -> None:
        self._app = app
        self._typed = typed
        self.printed = printed(app, len(typed))
        self._places: dict[PolledRun, list[int]] = {}  # input places of runs waited for
        self.plan = plan
        self.restart = restart
        self._warnings = Warnings(app)
        self._failed = False
        self.signalled: Signalled | None = None
        self.began = app.clock.monotonic()
        app.progress.draw(
            lambda width, height: board(list(self._lines()), width=width, height=height),
            moves=not app.out.is_piped,
        )

    def expect(self, polled: PolledRun, *numbers: int) -> None:
        """Note the places in the input for which a run is waited for."""
        self._places[polled] = list(numbers)

    def report(self, polled: PolledRun, item: Ended) -> None:
        """Take the result of a run that is waited for."""
        for number in self._places[polled]:
            self.put(number, item)

    def put(self, number: int, item: Ended) -> None:
        """Take the result for a place, once, and print what can be printed."""
        found_going = item.with_(typed=self._typed[number])
        item = self._excused(found_going)
        if self.printed.of(number) is None:
            self._app.tracked.ended(item, number=number)
            if item.going is not None:
                self._app.progress.warn(found_going.message)
            if len(self._typed) > 1:
                self._warnings.add(item)
        self._failed = self._failed or self.is_fatal(item)
        self.printed.put(number, item)

    def is_fatal(self, item: Ended) -> bool:
        """Return whether nothing more is to be started, or waited for, after it."""
        return self.plan.fail_fast and item.attempted and self._excused(item).error is not None

    def _excused(self, item: Ended) -> Ended:
        if self.plan.on_skip == "ok":
            return item.excused()
        return item

    def _lines(self) -> Iterator[Line]:
        """Yield the rows of the board. Called from the thread that draws."""
        runs = {number: polled for polled, numbers in dict(self._places).items() for number in numbers}
        for number, typed in enumerate(self._typed):
            item, polled = self.printed.of(number), runs.get(number)
            if item is not None:
                id = seconds = None
                if item.found is not None:
                    id = item.found.id
                    if item.found.duration_ms is not None:
                        seconds = item.found.duration_ms / 1000
                yield Line(typed, id, item.status.replace("_", " "), seconds)
            elif polled is None:
                yield Line(typed, None, "to start", None)
            else:
                status = (polled.run and polled.run.status) or "pending"
                yield Line(typed, polled.observer.run_id, status, self._app.clock.monotonic() - polled.began)

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


class Warnings:
    """Warns of each result that is only an error, as it comes."""

    def __init__(self, app: App) -> None:
        self._progress = app.progress
        self._counts = Counter[tuple[str, str | None]]()

    def add(self, item: Ended) -> None:
        """Warn of a result without a run, at most ten times in the same words."""
        error = item.error
        has_run = item.run_id is not None and not item.is_unknown
        if error is None or not item.attempted or has_run or isinstance(error, WaitTimeout):
            return  # those timed out are in the next command
        words = error.message, error.hint
        self._counts[words] += 1
        alike = self._counts[words]
        if alike <= _ALIKE:
            warning = item.message
            if error.advice:
                warning += f" (hint: {error.advice})"
            self._progress.warn(warning)
        elif alike == _ALIKE + 1:
            self._progress.warn("(further identical warnings suppressed)")
