"""`qoder run`: look at runs, and wait for their end."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer

from qoder_cli.ending import ending_error, stopped_waiting, watch_error
from qoder_cli.errors import Exit, QoderError, Signalled, UsageError, first_by_rank
from qoder_cli.ids import run_id
from qoder_cli.model import Run
from qoder_cli.observe import Observer
from qoder_cli.state import State
from qoder_cli.times import parse_duration
from qoder_cli.views import missing_row, run_fields, run_row
from qoder_cli.wait import Waiter, Watch

SHORTEST_INTERVAL = 0.1  # seconds


class Limits(NamedTuple):
    """How long to wait, and the longest pause between checks, both in seconds; None when not given."""

    timeout: float | None = None
    interval: float | None = None

    @classmethod
    def read(cls, *, wait: bool, timeout: str | None, interval: str | None) -> "Limits":
        """Return the limits that were typed. Raises UsageError, also when they are given without waiting."""
        if not wait and (timeout is not None or interval is not None):
            option = "--timeout" if timeout is not None else "--interval"
            raise UsageError(f"{option} is for waiting", hint="add --wait")
        limits = cls(
            timeout=None if timeout is None else parse_duration(timeout, option="--timeout"),
            interval=None if interval is None else parse_duration(interval, option="--interval"),
        )
        if limits.interval is not None and limits.interval < SHORTEST_INTERVAL:
            raise UsageError("--interval is shorter than 0.1s", hint="leave it out to check every 0.5s to 5s")
        return limits


class Item(NamedTuple):
    """One thing that was asked for, and what became of it: the run, as far as it is known, and the error."""

    typed: str
    run: Run | None
    error: QoderError | None

    @property
    def exit_code(self) -> int:
        """The exit code of this one."""
        return int(self.error.exit if self.error else Exit.OK)

    def as_json(self) -> dict[str, Any]:
        """Return the item of a JSON array: the run, or what went wrong, with what was typed and the exit code."""
        if self.run is not None:
            found = self.run.as_json()
        else:
            found = {"id": None, "error": self.error.as_json() if self.error else None}
        return {**found, "input": self.typed, "exit_code": self.exit_code}

    def row(self) -> dict[str, Any]:
        """Return the item as a row of a table."""
        if self.run is not None:
            return run_row(self.run)
        return missing_row(self.typed, self.error.exit.name.lower() if self.error else "pending")


def wait_for(state: State, watches: Sequence[Watch], limits: Limits) -> list[Item]:
    """Wait until each run has ended or its watch is over, and return what became of each.

    Interrupted by a signal, it returns too: the runs as last known, with the signal as the error of each that goes on.
    """
    waiter = Waiter(
        clock=state.clock,
        progress=state.progress,
        request_timeout=state.client.request_timeout,
        timeout=limits.timeout,
        interval=limits.interval,
    )
    signalled = None
    try:
        waiter.wait(watches)
    except Signalled as signal:
        signalled = signal
    return [_item(watch, signalled, state) for watch in watches]


def _item(watch: Watch, signalled: Signalled | None, state: State) -> Item:
    run, run_id = watch.run, watch.observer.run_id
    if watch.error is not None:
        error: QoderError | None = watch_error(watch.error, run_id, run, state)
    elif signalled is not None and not watch.over:
        error = stopped_waiting(signalled, [run_id], run, state)
    else:
        error = ending_error(run, state) if run else None
    return Item(run_id, run, error)


def finish(state: State, items: Sequence[Item], *, as_list: bool) -> int:
    """Print what became of what was asked for, and return 0 or raise the error that decides the exit code."""
    if as_list:
        state.output.records([item.row() for item in items], data=[item.as_json() for item in items], id="id")
    elif (run := items[0].run) is not None:
        show(state, run)
    error = first_by_rank(item.error for item in items if item.error)
    if error is None:
        return Exit.OK
    raise _for_many(error, items, state) if len(items) > 1 else error


def _for_many(error: QoderError, items: Sequence[Item], state: State) -> QoderError:
    """Say what became of all of them, and give one command that waits for those that go on."""
    going = [item.typed for item in items if item.error and item.error.next]
    ended_well = sum(item.error is None for item in items)
    error.message = f"{ended_well} of {len(items)} runs completed; {error.message}"
    error.next = state.command("run", "wait", *going) if going else None
    return error


def show(state: State, run: Run) -> None:
    """Print one run in the format asked for."""
    state.output.record(run_fields(run), data=run.as_json(), id=run.id)


def get(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, drun_…")],
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit with the run's outcome; 8 while it is going on.")
    ] = False,
) -> int:
    """Show a run: how it stands now, or how it ended.

    Exit 0 whatever the run's status, unless --exit-status is given: then
    0 completed, 1 failed, 3 skipped, 8 still going, 9 not knowable.

    Examples:
      qoder run get drun_019ec55694c07f2a9b402ffb4448ec18
      qoder run get drun_019ec55694c07f2a9b402ffb4448ec18 --json | jq .error

    All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    found = Observer(state.client, run_id(run), progress=state.progress).read_once()
    show(state, found)
    if exit_status and (error := ending_error(found, state)):
        raise error
    return Exit.OK


def wait(
    ctx: typer.Context,
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run ids, drun_…; - reads them from stdin.")],
    timeout: Annotated[
        str | None, typer.Option(metavar="D", help="Give up waiting after 90s, 10m, 1h30m; 0 checks once.")
    ] = None,
    interval: Annotated[
        str | None, typer.Option(metavar="D", help="Longest pause between checks; 5s if not given.")
    ] = None,
) -> int:
    """Wait until runs have ended; the exit code says how.

    0 it completed, 1 it failed or never started, 3 it was skipped, 10 lost
    sight of it, 124 --timeout came first (the run goes on). With several
    runs the worst counts.

    Examples:
      qoder run wait drun_019ec55694c07f2a9b402ffb4448ec18
      qoder deploy run dep_demo -q | qoder run wait - --timeout 10m -o jsonl

    All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    limits = Limits.read(wait=True, timeout=timeout, interval=interval)
    ids = [run_id(typed) for typed in named(runs, state)]
    watches = [Watch(Observer(state.client, each, progress=state.progress)) for each in dict.fromkeys(ids)]
    items = {item.typed: item for item in wait_for(state, watches, limits)}
    return finish(state, [items[each] for each in ids], as_list=len(ids) > 1 or "-" in runs)


def named(typed: Sequence[str], state: State) -> list[str]:
    """Return the words that were typed, with `-` replaced by the lines of standard input.

    Blank lines and lines that start with `#` are passed over. Raises UsageError when nothing is left.
    """
    words: list[str] = []
    for word in typed:
        words += _lines_of_stdin(state) if word == "-" else [word]
    if not words:
        raise UsageError("standard input named nothing", hint="pipe ids into it, one a line")
    return words


def _lines_of_stdin(state: State) -> list[str]:
    lines = state.stdin.read().splitlines() if state.stdin else []
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


COMMANDS = {"get": get, "wait": wait}
