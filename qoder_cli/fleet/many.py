"""Start and await runs of several deployments, or await several runs."""

from collections.abc import Sequence
from functools import partial

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import QoderError
from qoder_cli.fleet.conductor import Conductor, FleetPlan
from qoder_cli.fleet.launches import Launches, Orders
from qoder_cli.fleet.wait import Fleet
from qoder_cli.history import names
from qoder_cli.nouns.lookup import several_deployment_ids
from qoder_cli.runs.ending import Ended, Wanted
from qoder_cli.runs.observe import Observer, freshness
from qoder_cli.runs.trigger import Order
from qoder_cli.runs.wait import PolledRun
from qoder_cli.settings.values import written

_LISTED = 5  # names that the first line has


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
    orders: Orders,
    plan: FleetPlan,
    wanted: Wanted | None,
    *,
    again: Sequence[str] | None = None,
) -> Conductor:
    """Start a run of each deployment, wait if `plan` says so, and print the results as they come. Return them.

    `orders` match `typed`, with an error for what cannot be ordered. `again` is the command that starts those that were
    not started, if it is not one of `deploy run` or `run retry`.
    """
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
    enough, queue = conductor.is_enough, plan.queue
    fleet = Fleet(app, wanted or Wanted(), conductor.report, is_enough=enough, labels=typed, queue=queue)
    launches = Launches(app, orders, plan, conductor, fleet.wait)
    with conductor.until_signalled():
        for number, order in enumerate(orders):
            if isinstance(order, QoderError):
                conductor.put(number, Ended("", None, order))
        if not conductor.is_enough():
            fleet.until_reported([], launches)
    if queue:
        queue.close()
    return conductor


def _said_back(app: App, typed: str, order: Order | QoderError) -> str:
    """Return what the first line calls a deployment: its name, with its id in a log."""
    if not isinstance(order, Order):
        return typed
    if not app.err.is_terminal:
        return ids.called(typed, order.deployment_id)
    return app.seen_names.standing_for(order.deployment_id) or typed


def _restart(app: App, all_orders: Orders, numbers: Sequence[int]) -> list[str]:
    """Return the command that repeats some orders under the same keys; empty if none of them is one."""
    orders = [order for number in numbers if isinstance(order := all_orders[number], Order)]
    if not orders:
        return []
    if orders[0].retry_of is not None:
        return app.command("run", "retry", *(order.retry_of or "" for order in orders), *orders[0].options)
    ids = [order.deployment_id for order in orders]
    key = orders[0].key
    if key is not None and len(orders) > 1:
        key = key.removesuffix(f":{ids[0]}")
    words = [*written({"--idempotency-key": key}), *orders[0].options]
    if len(set(ids)) < len(ids):
        words.append("--allow-duplicates")
    return app.command("deploy", "run", *ids, *words)


def wait_many(app: App, typed: Sequence[str], wanted: Wanted) -> Conductor:
    """Wait for the runs typed and print each. Return the results."""
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
        fleet = Fleet(app, wanted, conductor.report, is_enough=conductor.is_enough, labels=typed)
        fleet.until_reported(polled_runs)
    return conductor
