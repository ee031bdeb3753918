"""One run of one deployment, from the order to what is printed of it."""

from contextlib import suppress
from typing import TYPE_CHECKING

from qoder_cli.base.errors import ApiError, Exit, QoderError, RunSkipped, Signalled
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import Standing, settle, standing
from qoder_cli.deployments.lookup import called, explain_refusal
from qoder_cli.runs.ending import ending_error, going_on, stopped_with
from qoder_cli.runs.idle import find_going
from qoder_cli.runs.observe import Observer, observer_of
from qoder_cli.runs.trigger import Order, Started, Trigger
from qoder_cli.settings.values import OnAsk, OnSkip

if TYPE_CHECKING:
    from qoder_cli.app import State
    from qoder_cli.base.times import Limits


def run_one(
    state: "State",
    order: Order,
    limits: "Limits | None",
    *,
    follow: bool,
    require_satisfied: bool,
    on_ask: OnAsk,
    if_idle: bool,
    on_skip: OnSkip,
    result: bool,
) -> int:
    """Start a run, wait for its end unless there are no `limits` to that, and print it.

    Returns 0, or raises the error that it ended with. The options are those of `deploy run`.
    """
    if if_idle:
        try:
            going = find_going(state, order.deployment_id)
        except RunSkipped:
            if on_skip == "ok":
                return Exit.OK
            raise
        if going is not None:
            return _busy(state, going, on_skip)
    started = launch(state, order)
    observer = observer_of(state, started.run.id, run=started.run, adopted=started.adopted)
    if limits is None:
        return _accepted(state, started, observer, on_skip)
    from qoder_cli.runs.awaiting import Wanted, finish, wait_for
    from qoder_cli.runs.watch import Watch

    watch = Watch(observer)
    item = wait_for(state, watch, limits, Wanted(follow, require_satisfied, on_ask=on_ask))
    if item.error and _is_fine(item.error, on_skip):
        item = item.with_(error=None)
    return finish(state, item, result=result)


def _accepted(state: "State", started: Started, observer: Observer, on_skip: OnSkip) -> int:
    """Print a run that is not waited for; one that never started or was skipped decides the exit code already."""
    if standing(started.run) is Standing.HALF_WRITTEN or started.adopted:
        with suppress(ApiError):
            observer.read_once()
    run = observer.run or settle(started.run)
    error = ending_error(run, state)
    if error and (error.exit is Exit.NOT_YET or _is_fine(error, on_skip)):
        error = None
    state.known.ci.ended_as(run, error)
    state.show_run(run)
    if error is not None:
        raise error
    return Exit.OK


def _busy(state: "State", going: Run, on_skip: OnSkip) -> int:
    """Answer --if-idle with the run that is going on."""
    state.known.ci.ended_as(going, None)
    state.show_run(going)
    if on_skip == "ok":
        return Exit.OK
    error = RunSkipped(f"nothing was started: run {going.id} is still running", hint="to wait for it")
    raise going_on(error, going, state)


def _is_fine(error: QoderError, on_skip: OnSkip) -> bool:
    return on_skip == "ok" and error.exit is Exit.RUN_SKIPPED


def launch(state: "State", order: Order) -> Started:
    """Trigger one run, say which, and return it.

    Raises QoderError that says what is known, with the run on stdout if one is, also when a signal arrived.
    """
    from qoder_cli.local.remembered import remember_runs

    what = called(order.typed, order.deployment_id)
    state.progress.note(f"starting a run of {what} {state.client.settings.whereabouts}")
    trigger = Trigger(state, order)
    try:
        started = trigger.start()
    except Signalled as signalled:
        if trigger.run is None and not trigger.may_have_acted:
            raise
        raise _stopped(state, trigger, signalled) from None
    except ApiError as error:
        raise explain_refusal(error, order.deployment_id, state) from error
    state.progress.note(f"run {started.run.id} of {order.deployment_id}")
    state.known.ci.started(started.run.id, started.run.session_id)
    remember_runs(state, [started.run])
    return started


def _stopped(state: "State", trigger: Trigger, signalled: Signalled) -> QoderError:
    """Return the last words when a signal came while the trigger was under way."""
    if trigger.run is not None:
        return stopped_with(signalled, trigger.run, state)
    return signalled.in_words(
        f"interrupted while starting {trigger.deployment_id}; it is unknown whether the run started",
        hint="before starting another, check",
        next=state.command("run", "wait", "last"),
        run_state="unknown",
    ).with_(kind=Exit.OUTCOME_UNKNOWN)
