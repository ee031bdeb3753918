"""`qoder run retry`: start the deployments of runs once more, once for each run."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import typer

from qoder_cli.app import App
from qoder_cli.base.cron import upcoming
from qoder_cli.base.errors import QoderError, Rejected, UsageError, or_error
from qoder_cli.base.ids import retry_key
from qoder_cli.base.model import Deployment, Run, mapping, text
from qoder_cli.base.outcome import is_going, waits_for_answer, why_not_failed
from qoder_cli.base.pool import in_order
from qoder_cli.base.times import unix
from qoder_cli.base.words import counted
from qoder_cli.cli import options
from qoder_cli.cli.options import (
    Text,
    Texts,
    WaitOptions,
    argument,
    confirmed,
    flag,
    is_list,
    named,
    option,
    options_typed,
    wanted_of,
)
from qoder_cli.commands.deploy.run import DRY_RUN, FAIL_FAST, ON_LEAVE, PARALLEL
from qoder_cli.help.completion import values
from qoder_cli.history import names
from qoder_cli.history.failed import failed_runs
from qoder_cli.history.window import Window
from qoder_cli.nouns.lookup import ids_of_all, read_deployment
from qoder_cli.runs.observe import Observer, freshness
from qoder_cli.runs.trigger import Order
from qoder_cli.settings.values import OnLeave

_LISTED = 5  # differences that are said
_NOTHING = "; nothing was started"

_RUNS = "Runs, or with --all-failed deployments; - reads stdin."
_ALL_FAILED = "Retry each run of these deployments that failed since --since."
_SINCE = "With --all-failed: an age (7d), date or time."
_NOT_REPEATED = ("runs", "all_failed", "all", "since", "dry_run", "parallel", "fail_fast", "allow_empty")


def retry(
    ctx: typer.Context,
    runs: Texts = argument("RUN...", _RUNS, values.retried, default=None),
    *,
    waiting: WaitOptions,
    require_satisfied: bool = options.REQUIRE_SATISFIED,
    interval: Text = options.INTERVAL,
    all_failed: bool = flag("--all-failed", _ALL_FAILED),
    all: bool = flag("--all", "With --all-failed: the runs of all deployments."),
    since: Text = option("--since", "WHEN", _SINCE),
    again: bool = flag("--again", "Also retry runs that completed, or may not have failed."),
    on_leave: OnLeave = ON_LEAVE,
    parallel: int = PARALLEL,
    fail_fast: bool = FAIL_FAST,
    yes: bool = options.YES,
    allow_empty: bool = options.ALLOW_EMPTY,
    dry_run: bool = DRY_RUN,
    ci: bool = options.CI,
) -> Any:
    """Retry failed runs (each at most once).

    A retry has the key `retry-RUN`: repeated, by whoever, the command shows
    the run that was started (on several machines with a store of keys: qoder
    help many-machines). It runs as the deployment is now, and first shows what
    changed since. For the setup of then: qoder session new --like RUN.

    Exit codes are those of `deploy run`. A run that is running, waits for an
    answer, completed or may not have failed (without --again), or has an
    unknown outcome is refused (exit 6). Asks about several; scripts need
    --yes. --all-failed skips runs that were retried, failed retries, and runs
    that somebody cancelled: retry those by their id. What could not be read is
    an item with exit code 7.

    Examples:
      qoder run retry drun_019ec55694c07f2a9b402ffb4448ec18 --dry-run
      qoder run retry --all-failed --all --since 12h --yes --wait"""
    app: App = ctx.obj
    app.flags.on_leave = on_leave
    _check(runs, all_failed=all_failed, all=all, since=since)
    as_list = all_failed or is_list(runs or ())
    wanted = wanted_of(app, waiting, interval=interval, require_satisfied=require_satisfied, several=as_list)
    if app.settings.keys is not None:
        from qoder_cli.keys.opening import shared_store

        shared_store(app)
    like = Order("", options=tuple(options_typed(ctx, without=_NOT_REPEATED)))
    runs_or_errors: list[Run | QoderError] = []
    if all_failed:
        deployments = None if all else ids_of_all(named(runs or (), app, what="deployments"), app)
        judged = app.by_server_clock(lambda: failed_runs(app, deployments, Window.read(since, None, app=app))).judged()
        app.tracked.typed = words = list(judged)
        runs_or_errors = list(judged.values())
        if not words:
            app.output.records([], id="id")
            return None
    else:
        words = named(runs or (), app, allow_empty=allow_empty)
        runs_or_errors = _read(app, words, as_list=as_list)
    order_of = or_error(partial(_order_of, like=like, app=app, again=again))
    orders = [run if isinstance(run, QoderError) else order_of(run) for run in runs_or_errors]
    to_start = [order for order in orders if isinstance(order, Order)]
    if not as_list and isinstance(orders[0], QoderError):
        raise orders[0]
    asks = (len(to_start) > 1 or (bool(to_start) and all_failed)) and not yes and not dry_run
    judged_runs = zip(runs_or_errors, orders, strict=True)
    to_compare = [run for run, order in judged_runs if isinstance(run, Run) and isinstance(order, Order)]
    for line in _differences(app, to_compare):
        app.progress.note(line, always=asks and app.may_ask)
    if dry_run:
        from qoder_cli.commands.deploy.dry_run import show_requests

        return show_requests(app, words, orders, as_list=as_list)
    if asks:
        question = f"Start {counted(len(to_start), 'run')} once more?"
        if not confirmed(app, question, nothing="nothing was started"):
            raise UsageError("nothing was started")
    if all_failed and app.settings.keys is None:
        app.store.check_kept("so that nothing would tell what was retried before")
    from qoder_cli.fleet.runner import run_many, start_one
    from qoder_cli.fleet.starting import StartOptions

    plan = StartOptions(wanted is not None, parallel, fail_fast=fail_fast)
    if as_list:
        return run_many(app, words, orders, plan, wanted)
    return start_one(app, to_start[0], plan, wanted)


def _check(words: Sequence[str] | None, *, all_failed: bool, all: bool, since: str | None) -> None:
    """Raise UsageError for words that do not go together."""
    if not all_failed and not words:
        why = "give the runs, or --all-failed DEPLOYMENT --since WHEN"
        raise UsageError(why, hint="list them: qoder run list --status failed")
    if all_failed != (since is not None):
        raise UsageError("--all-failed and --since only work together", hint="for example --since 1d")
    if all and not all_failed:
        raise UsageError("--all only works with --all-failed", hint="add --all-failed --since 1d")
    if all_failed and all == bool(words):
        raise UsageError("--all-failed needs either deployments or --all", hint="list them: qoder deploy list")


def _read(app: App, words: Sequence[str], *, as_list: bool) -> list[Run | QoderError]:
    """Return each run as it is now, or why it cannot be read. Raises UsageError for one that is there twice."""
    ids = names.runs(words, app)
    seen: dict[str, str] = {}
    for word in words:
        id = ids[word]
        if isinstance(id, str) and id in seen:
            raise UsageError(f"run {id} is listed twice; nothing was started", hint="list it once")
        if isinstance(id, str):
            seen[id] = word
    if as_list:
        app.pace_reads()
    app.connect()
    is_fresh, adopted = freshness(app), app.store.adopted(app.settings.host)

    def read(word: str) -> Run | QoderError:
        id = ids[word]
        if isinstance(id, QoderError):
            return id
        return Observer(app.client, id, adopted=id in adopted, is_fresh=is_fresh).read_once()

    return list(in_order(or_error(read), words))


def _differences(app: App, runs: Sequence[Run]) -> list[str]:
    """Return what is different from when the runs were started, in words, each once."""
    ids = list(dict.fromkeys(run.deployment_id for run in runs if run.deployment_id))
    deployments = dict(zip(ids, in_order(or_error(partial(read_deployment, app)), ids), strict=True))

    def said(run: Run) -> str:
        deployment = deployments[run.deployment_id or ""]
        if isinstance(deployment, QoderError):
            return f"unknown what is different now: {deployment.message}"
        changes = ", ".join(differences(run, deployment))
        return changes and f"different from then ({run.deployment_id}): {changes}"

    lines = list(dict.fromkeys(filter(None, in_order(said, runs))))
    more = [f"and {len(lines) - _LISTED} more differences"] if len(lines) > _LISTED else []
    return lines[:_LISTED] + more


def _order_of(run: Run, like: Order, app: App, *, again: bool) -> Order:
    """Return the order that starts a run once more, like `like`. Raises Rejected for one that is not to be retried.

    `again`: one that completed may be, too.
    """
    if is_going(run) and waits_for_answer(run):
        hint, next = "to see what it waits for", app.command("run", "pending", run.id)
        raise Rejected(f"run {run.id} waits for an answer{_NOTHING}", hint=hint, next=next)
    if is_going(run):
        hint, next = "to wait for it", app.wait_again(run.id)
        raise Rejected(f"run {run.id} is still {run.status}{_NOTHING}", hint=hint, next=next)
    if run.status is None:
        hint, next = "check what it did before starting another", app.looking("run", "get", run.id)
        raise Rejected(f"the outcome of run {run.id} is unknown{_NOTHING}", hint=hint, next=next)
    so = "completed"
    if doubt := why_not_failed(run):
        so = f"may not have failed: {doubt}"
    if not again and (doubt or run.status == "completed"):
        hint, next = "to start it once more all the same", app.command("run", "retry", run.id, "--again")
        raise Rejected(f"run {run.id} {so}{_NOTHING}", hint=hint, next=next)
    if run.deployment_id is None:
        raise Rejected(f"run {run.id} does not name its deployment{_NOTHING}")
    return like._replace(deployment_id=run.deployment_id, key=retry_key(run.id), typed=run.id, retry_of=run.id)


def differences(run: Run, deployment: Deployment) -> list[str]:
    """Return what is different from when the run was started, in words: `agent 3 → 4`, `schedule changed`.

    A run says its agent and, if a schedule started it, when that fired; `run why` finds out the rest.
    """
    changes = []
    then, now = mapping(run.raw.get("agent")), mapping(deployment.raw.get("agent"))
    if text(then.get("id")) is not None and text(now.get("id")) is not None:
        if then["id"] != now["id"]:
            changes.append(f"agent {then['id']} → {now['id']}")
        elif then.get("version") != now.get("version"):
            changes.append(f"agent {then.get('version')} → {now.get('version')}")
    fired = unix(mapping(run.raw.get("trigger_context")).get("scheduled_at"))
    if fired is not None and not deployment.schedule:
        changes.append("schedule removed")
    elif fired is not None:
        with suppress(ValueError):  # what cannot be read cannot be compared
            fires = upcoming(deployment.schedule, after=fired - 60, count=1)
            if fires not in ((fired,), (fired - fired % 60,)):
                changes.append("schedule changed")
    triggered, updated = unix(run.triggered_at), unix(deployment.raw.get("updated_at"))
    if triggered is not None and updated is not None and updated > triggered:
        changes.append(f"deployment updated at {deployment.raw['updated_at']}")
    return changes
