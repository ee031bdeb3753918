"""From runs to an exit code: waiting for their end, and what is printed of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.ending import ending_error, stopped_waiting, watch_error
from qoder_cli.errors import (
    Exit,
    InternalError,
    Interrupted,
    QoderError,
    ReaderGone,
    RunFailed,
    Signalled,
    UsageError,
    first_by_rank,
)
from qoder_cli.ids import segment
from qoder_cli.leave import take_leave
from qoder_cli.model import Run, mapping, text
from qoder_cli.outcome import evaluations, is_going
from qoder_cli.state import State
from qoder_cli.times import parse_duration
from qoder_cli.views import RUN_FIRST, missing_row, run_row
from qoder_cli.wait import Waiter, Watch

if TYPE_CHECKING:
    from qoder_cli.listen import Listener

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


class Wanted(NamedTuple):
    """What is asked of the ending beyond the run itself."""

    follow: bool = False  # show the session's events as they happen
    require_outcome: bool = False  # anything but `satisfied` outcome evaluations fails


NOTHING_MORE = Wanted()


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


def wait_for(
    state: State,
    watches: Sequence[Watch],
    limits: Limits,
    wanted: Wanted = NOTHING_MORE,
) -> list[Item]:
    """Wait until each run has ended or its watch is over, and return what became of each.

    Interrupted by a signal, it returns too: the runs as last known, with the signal as the error of each that goes on.
    Runs that go on when the time is up or a signal came are cancelled first, if that is wanted.
    """
    waiter = Waiter(
        clock=state.clock,
        progress=state.progress,
        request_timeout=state.client.request_timeout,
        listener=_listener(state, wanted),
        timeout=limits.timeout,
        interval=limits.interval,
    )
    signalled = None
    try:
        waiter.wait(watches)
    except Signalled as signal:
        signalled = signal
    items = [_item(watch, signalled, state) for watch in watches]
    for item in items:
        take_leave(item.error, item.run, state)
    if wanted.require_outcome:
        items = [_judged_by_outcome(item, state) for item in items]
    return items


def _listener(state: State, wanted: Wanted) -> "Listener":
    from qoder_cli.listen import Listener

    if not wanted.follow:
        return Listener(state.client, clock=state.clock)
    from qoder_cli.showing import Showing

    return Listener(state.client, clock=state.clock, showing=Showing(state))


def _judged_by_outcome(item: Item, state: State) -> Item:
    """Return a completed run as failed when its outcome evaluations are missing or not all satisfied."""
    if item.error is not None or item.run is None:
        return item
    session = state.client.get(f"/sessions/{segment(item.run.session_id)}") if item.run.session_id else {}
    results = [text(one.get("result")) or "unknown" for one in evaluations(mapping(session))]
    if results and set(results) == {"satisfied"}:
        return item
    error = RunFailed(
        f"run {item.typed} completed, but "
        + (f"its outcome is {', '.join(sorted(set(results)))}" if results else "no outcome was evaluated"),
        hint="the evaluations are in: qoder run get " + item.typed,
        run_id=item.typed,
        session_id=item.run.session_id,
        run_state="ended",
    )
    return item._replace(error=error)


def _item(watch: Watch, signalled: Signalled | None, state: State) -> Item:
    run, run_id = watch.run, watch.observer.run_id
    if watch.error is not None:
        error: QoderError | None = watch_error(watch.error, run_id, run, state)
    elif signalled is not None and not watch.over:
        error = stopped_waiting(signalled, [run_id], run, state)
    else:
        error = ending_error(run, state) if run else None
    return Item(run_id, run, error)


def finish(state: State, items: Sequence[Item], *, as_list: bool, result: bool = False) -> int:
    """Print what became of what was asked for, and return 0 or raise the error that decides the exit code.

    With `result` the agent's final message is printed instead of the run, or goes with it into JSON.
    """
    error = first_by_rank(item.error for item in items if item.error)
    try:
        _show(state, items, as_list=as_list, result=result)
    except (ReaderGone, InternalError):
        if not isinstance(error, Interrupted):  # the signal decides, whoever still listens
            raise
    if error is None:
        return Exit.OK
    raise _for_many(error, items, state) if len(items) > 1 else error


def _show(state: State, items: Sequence[Item], *, as_list: bool, result: bool) -> None:
    if as_list:
        data = [{**item.as_json(), **_result_of(item, state, result)} for item in items]
        state.output.records([item.row() for item in items], data=data, id="id", first=RUN_FIRST)
    elif (run := items[0].run) is not None:
        _show_one(state, items[0], run, result)


def _show_one(state: State, item: Item, run: Run, result: bool) -> None:
    from qoder_cli.commands.run_end import show_result

    if result and _has_ended(item):
        show_result(state, run)
    elif not result or state.output.is_json:
        state.show_run(run)


def _result_of(item: Item, state: State, result: bool) -> dict[str, Any]:
    from qoder_cli.result import final_message

    if not result or item.run is None:
        return {}
    return {"result": final_message(state.client, item.run) if _has_ended(item) else None}


def _has_ended(item: Item) -> bool:
    return item.run is not None and not is_going(item.run)


def _for_many(error: QoderError, items: Sequence[Item], state: State) -> QoderError:
    """Say what became of all of them, and give one command that waits for those that go on."""
    going = [item.typed for item in items if item.error and item.error.next]
    ended_well = sum(item.error is None for item in items)
    if isinstance(error, Interrupted):
        error.message = f"stopped waiting; {len(going)} run{'s go' if len(going) != 1 else ' goes'} on"
    error.message = f"{ended_well} of {len(items)} runs completed; {error.message}"
    error.next = state.command("run", "wait", *going) if going else None
    error.hint = "wait for those that go on" if going else error.hint
    return error
