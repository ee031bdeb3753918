"""`qoder run`: look at runs, and wait for their end."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import typer

from qoder_cli.ending import ending_error, stopped_waiting, watch_error
from qoder_cli.errors import Exit, Interrupted, QoderError, Signalled, UsageError, WaitTimeout, first_by_rank
from qoder_cli.ids import LAST, run_id, segment
from qoder_cli.model import Run
from qoder_cli.observe import Observer
from qoder_cli.state import State
from qoder_cli.times import parse_duration
from qoder_cli.views import missing_row, run_row
from qoder_cli.wait import Waiter, Watch

OnLeave = Literal["detach", "cancel"]

SHORTEST_INTERVAL = 0.1  # seconds
CANCEL_WITHIN = 2.0  # seconds


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


def wait_for(state: State, watches: Sequence[Watch], limits: Limits, *, on_leave: OnLeave = "detach") -> list[Item]:
    """Wait until each run has ended or its watch is over, and return what became of each.

    Interrupted by a signal, it returns too: the runs as last known, with the signal as the error of each that goes on.
    With `on_leave` cancel, the runs that go on when the time is up or a signal came are cancelled first.
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
    items = [_item(watch, signalled, state) for watch in watches]
    if on_leave == "cancel":
        for watch, item in zip(watches, items, strict=True):
            _cancel_on_leave(watch, item, state)
    return items


def _cancel_on_leave(watch: Watch, item: Item, state: State) -> None:
    """Ask to cancel a run that is left going, in 2 s at most; one that was adopted may be someone else's."""
    if not isinstance(item.error, WaitTimeout | Interrupted):
        return
    session_id = item.run.session_id if item.run else None
    if watch.observer.adopted or session_id is None:
        why = "it was adopted" if watch.observer.adopted else "it has no session yet"
        state.progress.warn(f"run {item.typed} was not cancelled: {why}")
        return
    try:
        pending = state.client.begin("POST", f"/sessions/{segment(session_id)}/cancel", timeout=CANCEL_WITHIN)
        state.client.understand(pending.result(CANCEL_WITHIN))
    except QoderError as error:
        state.progress.warn(f"run {item.typed} could not be cancelled, and may be going on: {error.message}")
    else:
        item.error.message += "; it was asked to cancel"
        item.error.hint = "see how it ended"


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
        state.show_run(run)
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


def get(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, drun_…, or last.")],
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
    found = Observer(state.client, resolve(run_id(run), state), progress=state.progress).read_once()
    state.show_run(found)
    if exit_status and (error := ending_error(found, state)):
        raise error
    return Exit.OK


def wait(
    ctx: typer.Context,
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run ids, drun_…, or last; - reads stdin.")],
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
    ids = [resolve(run_id(typed), state) for typed in named(runs, state)]
    watches = [Watch(Observer(state.client, each, progress=state.progress)) for each in dict.fromkeys(ids)]
    items = {item.typed: item for item in wait_for(state, watches, limits)}
    return finish(state, [items[each] for each in ids], as_list=len(ids) > 1 or "-" in runs)


def resolve(typed: str, state: State) -> str:
    """Return the id of the run that was typed, looking up `last`. Raises QoderError."""
    from qoder_cli.last import last_run

    return last_run(state) if typed in LAST else typed


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
