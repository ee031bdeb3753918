"""Which trigger starts a run: one with the store of keys that machines share, or one of this machine alone."""

from qoder_cli.app import App
from qoder_cli.http.pace import Pace
from qoder_cli.runs.trigger import Order, Trigger


def trigger_for(app: App, order: Order, *, pace: Pace | None = None) -> Trigger:
    """Return what starts a run: with the shared store where there is one and a key. Raises UsageError, AuthError."""
    if order.key is None or app.settings.keys is None:
        return Trigger(app, order, pace=pace)
    from qoder_cli.keys.opening import shared_store
    from qoder_cli.runs.shared import SharedTrigger

    return SharedTrigger(app, order, shared_store(app), pace=pace)
