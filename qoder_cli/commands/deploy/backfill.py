"""`qoder deploy backfill`: make up the fires of schedules of which no run came."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import NoResponse, QoderError, UsageError
from qoder_cli.base.model import Deployment, created_at
from qoder_cli.base.times import utc_text
from qoder_cli.base.words import counted, few
from qoder_cli.cli import options
from qoder_cli.cli.options import MOST, Text, confirmed, flag, named, option, options_typed
from qoder_cli.commands.deploy.run import STARTS, QueueOptions, queue_of

if TYPE_CHECKING:
    from qoder_cli.history.nights import Night
    from qoder_cli.runs.trigger import Order

OVERDUE = 3600.0  # seconds after which a fire is not waited for any more
_LISTED = 5  # times that are named of a deployment

_SINCE = option("--since", "WHEN", "Times that were due since an age (7d), date or time.", default=...)
_UNTIL = option("--until", "WHEN", "Times that were due until then (default: an hour ago).")
_ONCE = flag("--once", "Start one run for all that a deployment missed; needs a store of keys.")
_HERE = flag("--this-machine", "Do without a store of keys: others may make up the same.")


def backfill(
    ctx: typer.Context,
    deployments: list[str] = options.DEPLOYMENTS,
    since: str = _SINCE,
    until: Text = _UNTIL,
    once: bool = _ONCE,
    *,
    queueing: QueueOptions,
    this_machine: bool = _HERE,
    dry_run: bool = flag("--dry-run", "Show the requests, and whether they would be refused."),
    yes: bool = options.YES,
) -> Any:
    """Make up scheduled runs that never happened.

    Those that `qoder report` calls missed, and that were due over an hour ago:
    later ones are named, for they may still come. Each is started under the
    key `fire-DEPLOYMENT-TIME`, so with a store of keys (QODER_KEYS) two
    machines make up the same one once; `report` then names the run. A run is
    not told which time it stands for: the API takes no input. --this-machine
    starts nothing where this machine cannot remember it (exit 7).

    Shows what it would start, and asks; scripts need --yes. What cannot be
    told (a deployment was changed since, a list was cut) is an item with exit
    code 7; a paused or archived deployment one with 6. Nothing is waited for,
    but with --at-most for a free slot (qoder help queue).

    Examples:
      qoder deploy backfill dep_demo --since 2d --this-machine --dry-run
      qoder deploy backfill dep_demo --since 7d --this-machine --yes"""
    from qoder_cli.history.nights import ReportOptions, read_night
    from qoder_cli.nouns.lookup import ids_of_all
    from qoder_cli.stack.turns import machine_turn

    app: App = ctx.obj
    queue, has_store = queue_of(app, queueing), app.settings.keys is not None
    if not has_store and not this_machine:
        why = "deploy backfill needs a store of keys, so that no other machine makes up the same; nothing was started"
        raise UsageError(why, hint="to make one: qoder key init; or add --this-machine")
    if not has_store and once:  # where its start is in doubt, nothing here would tell which times it stood for
        why = "--once needs a store of keys, which notes all the times that one run makes up; nothing was started"
        raise UsageError(why, hint="to make one: qoder key init; or start one run with qoder deploy run")
    if has_store:
        from qoder_cli.keys.opening import shared_store

        shared_store(app)  # here, so that no thread is the first to find that it cannot be opened
    asked = ids_of_all(named(deployments, app, what="deployments"), app)
    with nullcontext() if has_store or dry_run else machine_turn(app, "backfill", does="makes up runs"):
        night = read_night(app, ReportOptions(asked, since, until, fires_only=True), None)
        orders = list(_orders(app, night, once=once))
        if len(orders) > MOST:
            why = f"{len(orders):,} runs are more than {MOST:,} at once; nothing was started"
            raise UsageError(why, hint="give a later --since, an --until, or --once")
        app.tracked.typed = words = [word for word, _ in orders]
        if not orders:
            app.progress.note("nothing to make up")
            app.output.records([], id="id")
            return None
        if dry_run:
            from qoder_cli.commands.deploy.dry_run import show_requests

            return show_requests(app, words, [order for _, order in orders], as_list=True, queue=queue)
        to_start = [order for _, order in orders if not isinstance(order, QoderError)]
        fires = sum(1 + len(order.covers) for order in to_start)
        question = f"Start {counted(len(to_start), 'run')} for {counted(fires, 'missed time')} on {app.settings.host}?"
        if to_start and not yes and not confirmed(app, question, nothing="nothing was started"):
            raise UsageError("nothing was started")
        if not has_store:
            app.store.check_kept("so that nothing would tell what was made up before")
        from qoder_cli.fleet.runner import run_many
        from qoder_cli.fleet.starting import StartOptions

        plan = StartOptions(wait=False, parallel=STARTS, queue=queue)
        again = app.command("deploy", "backfill", *asked, *options_typed(ctx, without=("dry_run",)))
        return run_many(app, words, [order for _, order in orders], plan, None, again=again)


def _missed(night: "Night", deployment: Deployment) -> tuple[list[float], list[str]]:
    """Return when the missed fires of a deployment were due, in unix seconds, and in words what cannot be told."""
    from qoder_cli.commands.report.telling import UNCLEAR

    fires = night.fires_of(deployment, until=night.now)
    unclear = [part for part in fires.unclear if part.matters_to > night.since]
    doubts = [UNCLEAR.get(part.why, "its runs could not all be listed") for part in unclear]
    missed = []
    for event in fires.events:
        if event.due is None or not night.since <= event.due <= night.until:
            continue
        if event.kind == "missed":
            missed.append(event.due)
        elif event.kind == "counted" and event.came < event.were_due:
            came = f"{counted(event.came, 'run')} came of {counted(event.were_due, 'fire')}"
            doubts.append(f"in the hour from {utc_text(event.due)} {came}")
    return missed, list(dict.fromkeys(doubts))


def _orders(app: App, night: "Night", *, once: bool) -> "Iterator[tuple[str, Order | QoderError]]":
    """Yield what is to be started for missed fires, and an error for what cannot be, or cannot be told; each named."""
    from qoder_cli.history.fires import fire_key
    from qoder_cli.history.nights import made_up
    from qoder_cli.nouns.lookup import refusal_of
    from qoder_cli.runs.trigger import Order

    missed = {id: _missed(night, deployment) for id, deployment in night.deployments.items()}
    made = made_up(app, [fire_key(id, due) for id, (times, _) in missed.items() for due in times])
    for id, (times, doubts) in missed.items():
        deployment, fires = night.deployments[id], {fire_key(id, due): due for due in times}
        called, created = deployment.name or id, created_at(deployment.raw)
        if created is not None and created > night.since:
            app.progress.note(f"{called} exists since {utc_text(created)}: nothing was due before")
        young = [key for key, due in fires.items() if due > night.now - OVERDUE]
        overdue = [key for key, due in fires.items() if due <= night.now - OVERDUE]
        before = [key for key in overdue if key in made]
        keys = [key for key in overdue if key not in made]
        for some, words in ((young, "may still come"), (before, "made up before"), (keys, "missed")):
            if some:
                due = few([utc_text(fires[key]) for key in some], _LISTED)
                app.progress.note(f"{called}: {counted(len(some), 'fire')} {words}: {due}")
        refused = refusal_of(deployment, app)
        if refused is not None and (keys or doubts):
            yield called, refused.with_(message=f"{refused.message}; none of its missed times is made up")
            continue
        if once and keys:
            yield keys[-1], Order(id, keys[-1], typed=keys[-1], covers=tuple(keys[:-1]))
        elif keys:
            yield from ((key, Order(id, key, typed=key)) for key in keys)
        for doubt in doubts:
            yield called, NoResponse(f"cannot tell what {called} missed: {doubt}", hint="see qoder report")
