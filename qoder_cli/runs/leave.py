"""Leaving a run that keeps running: it is left alone, or with `--on-leave cancel` asked to stop first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qoder_cli.base.errors import Interrupted, QoderError, WaitTimeout
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import is_going

if TYPE_CHECKING:
    from qoder_cli.app import State
    from qoder_cli.runs.item import Item

CANCEL_WITHIN = 2.0  # seconds
AT_A_TIME = 40  # cancellations: as many as are begun within the longest of them, however slow the server is


def take_leave_of(items: "Sequence[Item]", state: "State") -> "list[Item]":
    """Do for each of several what `take_leave` does for one, several at a time and 20 a second; return all of them."""
    if state.known.on_leave != "cancel":
        return list(items)
    from qoder_cli.base.ahead import in_order
    from qoder_cli.http.pace import WRITES_PER_SECOND, Pace

    pace = Pace(state.clock, per_second=WRITES_PER_SECOND)

    def leave(item: "Item") -> "Item":
        if item.error is None or item.run is None or not _is_left(item.error, item.run):
            return item
        pace.take()
        return item.with_(error=take_leave(item.error, item.run, state))

    return list(in_order(leave, items, at_a_time=AT_A_TIME))


def _is_left(error: QoderError, run: Run) -> bool:
    """Return whether a timeout or a signal leaves a run running."""
    return isinstance(error, WaitTimeout | Interrupted) and is_going(run)


def take_leave(error: QoderError, run: Run, state: "State") -> QoderError:
    """Cancel a run that a timeout or a signal leaves running, if that was asked for; return the error, saying so.

    An adopted run may be someone else's and is never cancelled.
    """
    if state.known.on_leave != "cancel" or not _is_left(error, run):
        return error
    if run.adopted or run.session_id is None:
        why = "it was adopted" if run.adopted else "it has no session yet"
        state.progress.warn(f"run {run.id} was not cancelled: {why}")
        return error
    try:
        path = f"/sessions/{segment(run.session_id)}/cancel"
        pending = state.client.prepare("POST", path, timeout=CANCEL_WITHIN).start()
        state.client.understand(pending.result(CANCEL_WITHIN))
    except QoderError as failure:
        state.progress.warn(f"run {run.id} could not be cancelled and may still be running: {failure.message}")
        return error
    message = f"{error.message}; cancellation was requested"
    return error.with_(asked_to_cancel=True, message=message, hint="to check the outcome")
