"""Print the results of several runs as they come, with one exit code for all."""

import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from itertools import islice, takewhile
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import (
    ApiError,
    Exit,
    InternalError,
    Interrupted,
    QoderError,
    Signalled,
    WaitTimeout,
)
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.times import parse_timestamp, span, utc_text
from qoder_cli.local.remembered import remember_runs
from qoder_cli.local.store import keep
from qoder_cli.output import results
from qoder_cli.output.board import Line, board
from qoder_cli.output.results import deciding_error
from qoder_cli.runs.awaiting import Item, not_started, printed
from qoder_cli.runs.polled import PolledRun
from qoder_cli.settings.values import OnSkip

Restart = Callable[[Sequence[int]], list[str]]  # from places in the input to a command

_STARTS_NOTHING = (Exit.USAGE, Exit.AUTH, Exit.NOT_FOUND, Exit.REJECTED, Exit.UNAVAILABLE)
_WORTH_REPEATING = (None, Exit.AUTH, Exit.REJECTED, Exit.UNAVAILABLE)  # None: it was not attempted
LONGEST_HINT = 1000  # characters of a command in a hint
LONGEST_LINE = 3000  # characters; a terminal takes 4,096 in one line
IDS = "ids.txt"  # in the state folder
_ALIKE = 10  # identical warnings
MOST_PAGES = 5  # of sessions, to learn the costs of runs
_WITHIN = 2.0  # seconds, then no more pages are read


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
        self._printed = printed(app, len(typed))
        self._places: dict[PolledRun, list[int]] = {}  # input places of runs waited for
        self._plan = plan
        self._restart = restart
        self._warnings = Warnings(app)
        self._failed = False
        self._signalled: Signalled | None = None
        self._began = app.clock.monotonic()
        app.progress.draw(
            lambda width, height: board(list(self._lines()), width=width, height=height),
            moves=not app.out.is_piped,
        )

    def expect(self, polled: PolledRun, *numbers: int) -> None:
        """Note the places in the input for which a run is waited for."""
        self._places[polled] = list(numbers)

    def report(self, polled: PolledRun, item: Item) -> None:
        """Take the result of a run that is waited for."""
        for number in self._places[polled]:
            self.put(number, item)

    def put(self, number: int, item: Item) -> None:
        """Take the result for a place, once, and print what can be printed."""
        item = self._excused(item).with_(typed=self._typed[number])
        if self._printed.of(number) is None:
            self._app.tracked.ended(item, number=number)
            if len(self._typed) > 1:
                self._warnings.add(item)
        self._failed = self._failed or self.is_fatal(item)
        self._printed.put(number, item)

    def is_fatal(self, item: Item) -> bool:
        """Return whether nothing more is to be started, or waited for, after it."""
        return self._plan.fail_fast and item.attempted and self._excused(item).error is not None

    def _excused(self, item: Item) -> Item:
        is_skipped = item.error is not None and item.error.exit is Exit.RUN_SKIPPED
        if is_skipped and self._plan.on_skip == "ok":
            return item.with_(error=None)
        return item

    def _lines(self) -> Iterator[Line]:
        """Yield the rows of the board. Called from the thread that draws."""
        runs = {number: polled for polled, numbers in dict(self._places).items() for number in numbers}
        for number, typed in enumerate(self._typed):
            item, polled = self._printed.of(number), runs.get(number)
            if item is not None:
                id = seconds = None
                if item.found is not None:
                    id = item.found.id
                    if item.found.duration_ms is not None:
                        seconds = item.found.duration_ms / 1000
                yield Line(typed, id, item.word.replace("_", " "), seconds)
            elif polled is None:
                yield Line(typed, None, "to start", None)
            else:
                status = (polled.run and polled.run.status) or "pending"
                yield Line(typed, polled.observer.run_id, status, self._app.clock.monotonic() - polled.began)

    def is_enough(self) -> bool:
        return self._printed.is_unread() or self._failed

    @contextmanager
    def until_signalled(self) -> Iterator[None]:
        """Catch a signal that ends this block. What has no result was not started."""
        try:
            yield
        except Signalled as signalled:
            self._signalled = signalled
        for number, typed in enumerate(self._typed):
            if self._printed.of(number) is None:
                self.put(number, not_started(typed))

    def conclude(self) -> None:
        """Print the rest and a summary. Raises the deciding error."""
        items = self._printed.results
        remember_runs(self._app.store, self._app.settings, [item.found for item in items if item.found])
        try:
            self._printed.end()
            self._sum_up(items, ask=not self._signalled and self._printed.broken is None)
        except Signalled as signalled:
            self._signalled = signalled
            self._printed.end()
            self._sum_up(items, ask=False)
        error = deciding_error(items)
        if self._signalled:
            error = self._signalled.in_words("stopped")
        broken = self._printed.broken
        if broken is not None and not isinstance(error, Interrupted):  # a signal decides
            if not isinstance(broken, InternalError):
                raise broken
            error = broken
        if error is None:
            return
        verb = "started"
        if self._plan.wait:
            verb = "completed"
        raise last_words(self._app, error, items, verb=verb, restart=self._restart)

    def _sum_up(self, items: Sequence[Item], *, ask: bool) -> None:
        """Print counts, time and cost; costs are requested only if `ask`."""
        if self._app.progress.is_quiet or len(items) < 2:
            return
        counts = Counter(item.word.replace("_", " ") for item in items)
        went = ", ".join(f"{count} {word}" for word, count in counts.most_common())
        parts = [went, f"in {span(self._app.clock.monotonic() - self._began)}"]
        if self._plan.wait and (cost := _cost(self._app, items, ask=ask)):
            parts.append(cost)
        self._app.progress.note(f"{len(items)} runs: " + " · ".join(parts))


def _cost(app: App, items: Sequence[Item], *, ask: bool) -> str | None:
    """Return the credits that the runs used, in words; None if no session says."""
    runs = {item.found.session_id: item.found for item in items if item.found is not None and item.found.session_id}
    credits_of: dict[str, object] = {id: run.credits for id, run in runs.items() if run.credits is not None}
    silent = runs.keys() - credits_of.keys()
    if silent and ask:
        credits_of |= _asked(app, silent, [run.raw.get("created_at") for run in runs.values()])
    amounts: list[Decimal] = []
    for credits in credits_of.values():
        with suppress(InvalidOperation, ValueError):
            amounts += filter(Decimal.is_finite, [Decimal(str(credits))])
    if not amounts:
        return None
    total = f"{sum(amounts, Decimal(0)).normalize():f} credits"
    if len(amounts) < len(runs):
        return f"at least {total}"
    return total


def _asked(app: App, sessions: set[str], created: Sequence[object]) -> dict[str, object]:
    """Return credits by session id, as far as the list of sessions shows them."""
    credits_of: dict[str, object] = {}
    until = app.clock.monotonic() + _WITHIN
    query: dict[str, Any] = {"limit": 100, "include_archived": "true"}
    with suppress(ApiError, OverflowError):  # Overflow: the calendar's edge
        if moments := [moment for each in created if (moment := parse_timestamp(each))]:
            query["created_at[gte]"] = utc_text(min(moments) - timedelta(minutes=1))
            query["created_at[lte]"] = utc_text(max(moments) + timedelta(minutes=1))
        pages = app.client.pages("/sessions", query, within=_WITHIN, retry=False)
        for page in islice(pages, MOST_PAGES):
            for row in map(mapping, page["data"]):
                if (id := text(row.get("id"))) in sessions:
                    credits_of[str(id)] = Run(row).credits
            if len(credits_of) == len(sessions) or app.clock.monotonic() > until:
                break
    return credits_of


def last_words(
    app: App, error: QoderError, items: Sequence[Item], *, verb: str, restart: Restart | None = None
) -> QoderError:
    """Return the deciding error, with a summary and the next command.

    `verb` is what successful runs did; `restart` returns the command that starts some.
    """
    decided = next((item for item in items if item.error is error), None)
    is_stopped, several = isinstance(error, Interrupted), len(items) > 1
    running = [item.run_id or item.typed for item in items if item.goes_on]
    unknown = [item for item in items if item.is_unknown]
    fine = [item for item in items if item.attempted and item.error is None]
    completed = sum(item.found is not None and item.found.status == "completed" for item in items)
    went, why = verb, error.message
    if verb == "completed" and completed != len(fine):
        went = "succeeded"
    if decided and several:
        why = decided.said
    parts = [f"{len(fine)} of {len(items)} runs {went}", why]
    if is_stopped:
        parts.append(_counted(len(running), "run keeps running", "runs keep running"))
    cancelled = sum(item.error is not None and item.error.asked_to_cancel for item in items)
    if cancelled and several:
        parts.append(f"cancellation was requested for {_counted(cancelled, 'run', 'runs')}")
    if is_stopped and unknown:
        parts.append(f"{len(unknown)} unknown (may have started)")
    fields: dict[str, Any] = {"next": error.next, "hint": error.hint}
    hints: list[str] = []
    if error.hint and error.next is None:
        hints.append(error.hint)
    if len(unknown) == 1:
        hints = [f"check the runs of {unknown[0].typed} before starting it again (see its warning)"]
    elif unknown:
        hints = [f"check the runs of those {len(unknown)} before starting them again (see their warnings)"]
    left: list[int] = []  # places to start, if any run was started
    if restart and any(item.run_id for item in items):
        left = [n for n, item in enumerate(items) if item.run_id is None and item.exit_code in _WORTH_REPEATING]
    if running and (verb == "completed" or isinstance(error, Interrupted | InternalError)):
        if restart and left:
            said = f"{_counted(len(left), 'was', 'were')} not started"
            command = shlex.join(restart(left))
            if len(command) <= LONGEST_HINT:
                said = f"{said}; to start them: {command}"
            hints.append(said)
        fields = {"next": app.wait_again(*running), "hint": "; ".join([*hints, "to wait for the rest"])}
    elif restart and left and error.exit in _STARTS_NOTHING:
        fields = {"next": restart(left), "hint": "; ".join([*hints, "to start the ones not started"])}
    elif len(unknown) == 1 and unknown[0].error:
        fields = {"next": unknown[0].error.next, "hint": unknown[0].error.hint or hints[0]}
    elif unknown:
        fields = {"next": app.looking("run", "list"), "hint": hints[0]}
    if fields["next"] and not app.output.is_json:
        fields["shell"] = _shortened(fields["next"], app)
    if several:
        fields |= {"run_id": None, "session_id": None}
    if unknown:
        fields["run_state"] = "unknown"
    elif running:
        fields["run_state"] = "going"
    elif any(item.run_id for item in items):
        fields["run_state"] = "ended"
    return results.last_words(error, *parts, is_unknown=bool(unknown), **fields)


def _counted(count: int, one: str, several: str) -> str:
    if count == 1:
        return f"1 {one}"
    return f"{count} {several}"


def _shortened(command: Sequence[str], app: App) -> str | None:
    """Return a command with its ids in a file, if too long for a line; else None."""
    if len(shlex.join(command)) <= LONGEST_LINE:
        return None
    ids = list(takewhile(lambda word: not word.startswith("-"), command[3:]))
    short = shlex.join([*command[:3], "-", *command[3 + len(ids) :]])
    try:
        path = shlex.quote(str(keep(app.env, IDS, "".join(f"{id}\n" for id in ids))))
    except (OSError, RuntimeError):
        return None
    if sys.platform == "win32":
        return f"type {path} | {short}"
    return f"{short} < {path}"


class Warnings:
    """Warns of each result that is only an error, as it comes."""

    def __init__(self, app: App) -> None:
        self._progress = app.progress
        self._counts = Counter[tuple[str, str | None]]()

    def add(self, item: Item) -> None:
        """Warn of a result without a run, at most ten times in the same words."""
        error = item.error
        has_run = item.run_id is not None and not item.is_unknown
        if error is None or not item.attempted or has_run or isinstance(error, WaitTimeout):
            return  # those timed out are in the next command
        said = error.message, error.hint
        self._counts[said] += 1
        alike = self._counts[said]
        if alike <= _ALIKE:
            warning = item.said
            if error.advice:
                warning += f" (hint: {error.advice})"
            self._progress.warn(warning)
        elif alike == _ALIKE + 1:
            self._progress.warn("(further identical warnings suppressed)")
