"""Run one deployment: start it, wait if asked to, print the result."""

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, Exit, RunSkipped, Signalled
from qoder_cli.base.ids import called
from qoder_cli.deployments.lookup import explain_refusal
from qoder_cli.local.remembered import remember_runs
from qoder_cli.runs.ending import Ended, Wanted, ending_error
from qoder_cli.runs.observe import Observer, observer_of
from qoder_cli.runs.trigger import Order, Trigger
from qoder_cli.settings.values import OnSkip


def run_one(app: App, order: Order, wanted: Wanted | None, *, if_idle: bool, on_skip: OnSkip) -> Ended | None:
    """Start a run and wait for it if `wanted`. Return what came of it; None if one is going that is printed already."""
    if if_idle and _is_busy(app, order, on_skip):
        return None
    what = called(order.typed, order.deployment_id)
    app.progress.note(f"starting a run of {what} {app.client.settings.whereabouts}")
    trigger = Trigger(app, order)
    try:
        run = trigger.start()
    except Signalled as signalled:
        if trigger.run is not None or not trigger.may_have_acted:
            raise
        raise signalled.in_words(
            f"interrupted while starting {order.deployment_id}; it is unknown whether the run started",
            hint="before starting another, check",
            next=app.command("run", "wait", "last"),
            run_state="unknown",
            kind=Exit.OUTCOME_UNKNOWN,
        ) from None
    except ApiError as error:
        raise explain_refusal(error, order.deployment_id, app) from error
    app.progress.note(f"run {run.id} of {order.deployment_id}")
    app.tracked.begun(run.id, run.session_id)
    remember_runs(app.store, app.settings, [run])
    observer = observer_of(app, run.id, run=run, adopted=run.adopted)
    if wanted is None:
        return _accepted(app, observer, on_skip)
    from qoder_cli.runs.awaiting import waited

    ended = waited(app, observer, wanted)
    if on_skip == "ok" and isinstance(ended.error, RunSkipped):
        return ended._replace(error=None)
    return ended


def _is_busy(app: App, order: Order, on_skip: OnSkip) -> bool:
    """Check --if-idle: print a run that is going on, if there is one. Raises RunSkipped unless that is fine."""
    from qoder_cli.runs.idle import already_going, find_going

    try:
        if (going := find_going(app, order.deployment_id)) is None:
            return False
        app.tracked.ended(Ended(going.id, going, None))
        app.show_run(going)
        raise already_going(going, app)
    except RunSkipped:
        if on_skip == "ok":
            return True
        raise


def _accepted(app: App, observer: Observer, on_skip: OnSkip) -> Ended:
    """Return a run that is not waited for. It may have failed or been skipped already."""
    observer.read_if_unclear()
    run = observer.run
    assert run is not None  # it was just started
    error = ending_error(run, app)
    fine = [Exit.NOT_YET]
    if on_skip == "ok":
        fine.append(Exit.RUN_SKIPPED)
    if error and error.exit in fine:
        error = None
    return Ended(run.id, run, error)
