"""Start one run, and wait for it if that is wanted."""

from collections.abc import Callable
from typing import Any

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import ApiError, Exit, Signalled
from qoder_cli.base.model import Run
from qoder_cli.base.times import Deadline, Limits
from qoder_cli.http.pace import Pace
from qoder_cli.local.remembered import remember_runs
from qoder_cli.nouns.lookup import explain_refusal
from qoder_cli.runs.ending import Ended, Wanted, accepted_error
from qoder_cli.runs.observe import observer_of
from qoder_cli.runs.trigger import Hold, Order, RunTrigger


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
        from qoder_cli.runs.covering import CoveredKeys

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


def start_one(app: App, order: Order, wanted: Wanted | None, *, hold: Hold | None = None) -> Ended:
    """Start a run and return what it came to: its outcome if it is `wanted`, else how it stands.

    `hold` is that of `trigger_for`; the limits of a wait count once it is taken. Raises QoderError, Signalled.
    """
    deployment, again = order.typed, ""
    if order.retry_of is not None:
        deployment, again = order.deployment_id, f" once more, for {order.retry_of}"
    what = ids.called(app.seen_names.standing_for(order.deployment_id) or deployment, order.deployment_id) + again
    app.tracked.awaits = wanted is not None
    known_at = app.clock.monotonic()

    def on_known(run: Run) -> None:
        nonlocal known_at
        known_at = app.clock.monotonic()
        app.progress.note(f"run {run.id}")
        app.tracked.said = not app.progress.is_quiet and app.err.is_terminal and not (wanted and wanted.follow)
        app.tracked.begun(run.id, run.session_id)
        remember_runs(app.store, app.settings, [run])

    def on_sending() -> None:
        app.progress.note(f"starting {what}{app.client.settings.whereabouts}")

    if order.key is not None and app.settings.keys is not None:  # which may take its time to respond
        app.progress.note(f"checking the key {order.key!r} in the store of keys{app.client.settings.whereabouts}")
    limits = wanted.limits if wanted and hold is None else None
    trigger = trigger_for(app, order, on_sending=on_sending, on_known=on_known, limits=limits, hold=hold)
    try:
        run = trigger.start()
    except Signalled as signalled:
        if trigger.run is not None or not trigger.write.may_have_acted:
            raise
        raise signalled.in_words(
            f"interrupted while starting {order.deployment_id}; it is unknown whether the run started{trigger.left}",
            hint="before starting another, check",
            next=app.command("run", "wait", "last"),
            run_state="unknown",
            kind=Exit.OUTCOME_UNKNOWN,
        ) from None
    except ApiError as error:
        raise explain_refusal(error, order.deployment_id, app) from error
    observer = observer_of(app, run.id, run=run, adopted=run.adopted)
    if wanted is None:  # it may have failed already
        run = observer.read_if_unclear(run)
        return Ended(run.id, run, accepted_error(run, app))
    from qoder_cli.runs.awaiting import wait_for

    return wait_for(app, observer, wanted.since(known_at, app.clock))
