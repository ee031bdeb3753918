"""Leaving a run that goes on: it is left alone, or with `--on-leave cancel` asked to stop first."""

from typing import TYPE_CHECKING, Literal

from qoder_cli.errors import Interrupted, QoderError, WaitTimeout
from qoder_cli.ids import segment
from qoder_cli.model import Run

if TYPE_CHECKING:
    from qoder_cli.state import State

OnLeave = Literal["detach", "cancel"]

CANCEL_WITHIN = 2.0  # seconds


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
        error.message += "; it was asked to cancel"
        error.hint = "see how it ended"
