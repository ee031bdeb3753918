"""Leaving a run that goes on: it is left alone, or with `--on-leave cancel` asked to stop first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qoder_cli.base.errors import Interrupted, QoderError, WaitTimeout
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run

if TYPE_CHECKING:
    from qoder_cli.app import State
    from qoder_cli.runs.fleet.items import Item


CANCEL_WITHIN = 2.0  # seconds
AT_A_TIME = 40  # cancellations: as many as are begun within the longest of them, however slow the server is


def take_leave_of(items: "Sequence[Item]", state: "State") -> None:
    """Do for each of several what `take_leave` does for one, several at a time and 20 a second."""
    if state.on_leave != "cancel" or not items:
        return
    from qoder_cli.base.ahead import in_order
    from qoder_cli.http.pace import WRITES_PER_SECOND, Pace

    pace = Pace(state.clock, per_second=WRITES_PER_SECOND)

    def leave(item: "Item") -> None:
        pace.take()
        take_leave(item.error, item.run, state)

    for _ in in_order(leave, items, at_a_time=AT_A_TIME):
        pass


def take_leave(error: QoderError | None, run: Run | None, state: "State") -> None:
    """Do what was asked for when a timeout or a signal leaves a run going, and say in the error what came of it.

    An adopted run may be someone else's and is never cancelled.
    """
    if state.on_leave != "cancel" or not isinstance(error, WaitTimeout | Interrupted) or run is None:
        return
    if run.adopted or run.session_id is None:
        why = "it was adopted" if run.adopted else "it has no session yet"
        state.progress.warn(f"run {run.id} was not cancelled: {why}")
        return
    try:
        path = f"/sessions/{segment(run.session_id)}/cancel"
        pending = state.client.prepare("POST", path, timeout=CANCEL_WITHIN).start()
        state.client.understand(pending.result(CANCEL_WITHIN))
    except QoderError as failure:
        state.progress.warn(f"run {run.id} could not be cancelled, and may be going on: {failure.message}")
    else:
        error.asked_to_cancel = True
        error.message += "; it was asked to cancel"
        error.hint = "see how it ended"
