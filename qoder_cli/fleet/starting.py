"""How runs are to be started, and what starts one."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.model import Run
from qoder_cli.base.times import Deadline, Limits
from qoder_cli.http.pace import Pace
from qoder_cli.runs.ending import Ended
from qoder_cli.runs.trigger import Hold, Order, RunTrigger
from qoder_cli.settings.values import OnSkip

if TYPE_CHECKING:
    from qoder_cli.fleet.queue import Queue


class StartOptions(NamedTuple):
    """How to start runs; the fields are options of `deploy run`."""

    wait: bool = True
    parallel: int = 1
    if_idle: bool = False
    on_skip: OnSkip = "fail"
    fail_fast: bool = False
    queue: "Queue | None" = None  # --at-most

    def excused(self, item: Ended) -> Ended:
        """Return a result as --on-skip has it."""
        if self.on_skip == "ok":
            return item.excused()
        return item


def trigger_for(
    app: App,
    order: Order,
    *,
    pace: Pace | None = None,
    on_sending: Callable[[], None] = lambda: None,
    on_known: Callable[[Run], None] = lambda run: None,
    limits: Limits | None = None,
    hold: Hold | None = None,
) -> RunTrigger:
    """Return what starts a run: with the shared store where there is one and a key. Raises UsageError, AuthError.

    `on_sending` is called before it is sent, `on_known` with the run as soon as it is known. A store is not waited for
    longer than the `limits` allow. `hold` is taken first: a slot of a queue.
    """
    holds = [hold] if hold is not None else []
    if order.covers:
        from qoder_cli.runs.shared import CoveredKeys

        holds.append(CoveredKeys(app, order))
    how: dict[str, Any] = {"pace": pace, "on_sending": on_sending, "on_known": on_known, "holds": holds}
    if order.key is None or app.settings.keys is None:
        return RunTrigger(app, order, **how)
    from qoder_cli.keys.opening import shared_store
    from qoder_cli.runs.shared import SharedTrigger

    keys = shared_store(app)
    if limits is not None:
        keys.patience.deadline = Deadline(app.clock, limits)
        keys.patience.deadline.start()
    return SharedTrigger(app, order, keys, **how)
