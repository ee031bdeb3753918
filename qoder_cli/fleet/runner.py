"""Start runs, one or several, and await them: what the commands call.

What several need is imported where it is needed: one trigger is to be sent soon.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import ApiError, Exit, QoderError, RunSkipped, Signalled
from qoder_cli.base.model import Run
from qoder_cli.fleet.starting import StartOptions, trigger_for
from qoder_cli.local.remembered import remember_runs
from qoder_cli.nouns.lookup import explain_refusal, several_deployment_ids
from qoder_cli.runs.ending import Ended, Wanted, accepted_error
from qoder_cli.runs.observe import Observer, freshness, observer_of
from qoder_cli.runs.trigger import Order, repeating

if TYPE_CHECKING:
    from qoder_cli.fleet.conductor import Conductor
    from qoder_cli.fleet.launches import Orders
    from qoder_cli.fleet.queue import Queue

_LISTED = 5  # names that the first line has


def start_one(app: App, order: Order, plan: StartOptions, wanted: Wanted | None) -> Ended:
    """Start a run and return what it came to: its outcome if it is `wanted`, else how it stands.

    Raises QoderError, Signalled.
    """
    ended = None
    try:
        if plan.if_idle:
            from qoder_cli.runs.idle import already_going, find_going

            if (going := find_going(app, order.deployment_id)) is not None:
                ended = Ended(order.typed, going, already_going(going, app))
        if ended is None:
            ended = _started(app, order, wanted, plan.queue)
        if plan.queue:
            plan.queue.note_run(ended.found)
    except RunSkipped as skipped:
        ended = Ended(order.typed, None, skipped)
    finally:
        if plan.queue:
            plan.queue.close()
    excused = plan.excused(ended)
    if excused.going is not None:
        app.progress.warn(ended.message)
    return excused


def _started(app: App, order: Order, wanted: Wanted | None, queue: "Queue | None") -> Ended:
    """Start a run, once it has a slot where it is to have one; the limits of a wait count from then on."""
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
    limits = wanted.limits if wanted and queue is None else None
    hold = queue.slot_for(order) if queue else None
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
    observer = observer_of(app, run.id, run=run)
    if wanted is None:  # it may have failed already
        run = observer.read_if_unclear(run)
        return Ended(run.id, run, accepted_error(run, app))
    from qoder_cli.fleet.wait import wait_for

    return wait_for(app, observer, wanted.since(known_at, app.clock))


def orders_for(
    typed: Sequence[str], like: Order, app: App, *, keep_going: bool, allow_duplicates: bool
) -> list[Order | QoderError]:
    """Return an order for each deployment typed, like `like`. Raises QoderError.

    With `keep_going`, an unknown name is an error in its place.
    """
    may_repeat = allow_duplicates and like.key is None
    ids_or_errors = several_deployment_ids(typed, app, may_repeat=may_repeat, may_lack=keep_going)
    orders: list[Order | QoderError] = []
    for word, id in zip(typed, ids_or_errors, strict=True):
        if isinstance(id, QoderError):
            orders.append(id)
        else:
            key = like.key
            if key is not None:
                key = ids.check_key(f"{key}:{id}")
            orders.append(like._replace(deployment_id=id, key=key, typed=word))
    return orders


def run_many(
    app: App,
    typed: Sequence[str],
    orders: "Orders",
    plan: StartOptions,
    wanted: Wanted | None,
    *,
    again: Sequence[str] | None = None,
) -> "Conductor":
    """Start a run of each deployment, wait if `plan` says so, and print the results as they come. Return them.

    `orders` match `typed`, with an error for what cannot be ordered. `again` is the command that starts those that were
    not started, if it is not one of `deploy run` or `run retry`.
    """
    from qoder_cli.fleet.conductor import Conductor
    from qoder_cli.fleet.launches import Launches
    from qoder_cli.fleet.wait import Wait

    app.pace_reads()
    words = [_said_back(app, *each) for each in zip(typed, orders, strict=True)]
    if len(words) > _LISTED:
        words = [", ".join(words[: _LISTED - 1]) + f" and {len(words) - _LISTED + 1} more deployments"]
    if any(isinstance(order, Order) for order in orders):
        app.progress.note(f"starting runs of {', '.join(words)}{app.client.settings.whereabouts}")
    app.tracked.awaits = plan.wait
    if plan.queue:
        plan.queue.queued = sum(isinstance(order, Order) for order in orders)
    restart = partial(_restart, app, orders) if again is None else lambda numbers: list(again) if numbers else []
    conductor = Conductor(app, typed, plan, restart=restart)
    launches, enough = Launches(app, orders, plan, conductor), conductor.is_enough
    wait = Wait(app, wanted or Wanted(), conductor.report, starts=launches, is_enough=enough, labels=typed)
    with conductor.until_signalled():
        for number, order in enumerate(orders):
            if isinstance(order, QoderError):
                conductor.put(number, Ended("", None, order))
        if not conductor.is_enough():
            wait.until_reported([])
    if plan.queue:
        plan.queue.close()
    return conductor


def _said_back(app: App, typed: str, order: Order | QoderError) -> str:
    """Return what the first line calls a deployment: its name, with its id in a log."""
    if not isinstance(order, Order):
        return typed
    if not app.err.is_terminal:
        return ids.called(typed, order.deployment_id)
    return app.seen_names.standing_for(order.deployment_id) or typed


def _restart(app: App, orders: "Orders", numbers: Sequence[int]) -> list[str]:
    """Return the command that repeats some orders under the same keys; empty if none of them is one."""
    some = [order for number in numbers if isinstance(order := orders[number], Order)]
    return repeating(app, some) if some else []


def wait_many(app: App, typed: Sequence[str], wanted: Wanted) -> "Conductor":
    """Wait for the runs typed and print each. Return the results."""
    from qoder_cli.fleet.conductor import Conductor
    from qoder_cli.fleet.wait import Wait
    from qoder_cli.history import names
    from qoder_cli.runs.polled import PolledRun

    for word in typed:
        ids.run(word)
    app.pace_reads()
    app.tracked.awaits = True
    conductor = Conductor(app, typed)
    began = app.clock.monotonic()
    found = names.runs(typed, app, timeout=wanted.limits.timeout)
    wanted = wanted.since(began, app.clock)
    with conductor.until_signalled():
        places: dict[str, list[int]] = {}
        for number, word in enumerate(typed):
            id = found[word]
            if isinstance(id, QoderError):
                conductor.put(number, Ended("", None, id))
            else:
                places.setdefault(id, []).append(number)
                app.tracked.begun(id, number=number)
        is_fresh, adopted = freshness(app), app.store.adopted(app.settings.host)
        polled_runs = []
        for id, numbers in places.items():
            polled = PolledRun(Observer(app.client, id, adopted=id in adopted, is_fresh=is_fresh))
            conductor.expect(polled, *numbers)
            polled_runs.append(polled)
        wait = Wait(app, wanted, conductor.report, is_enough=conductor.is_enough, labels=typed)
        wait.until_reported(polled_runs)
    return conductor
