"""`qoder deploy run`: start runs of deployments."""

from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import UsageError
from qoder_cli.cli import options
from qoder_cli.cli.options import Text, WaitOptions, flag, is_list, named, option, options_typed, wanted_of
from qoder_cli.settings.values import Keys, KeyUntil, OnLeave, OnLost, OnSkip

if TYPE_CHECKING:
    from qoder_cli.fleet.queue import Queue

MOST_SLOTS = 1000
STARTS = 8  # at a time

_KEY = option("--idempotency-key", "KEY", "Never start a second run under this key.", group=options.ONCE)
_KEYS = "required: refuse a key without a store that machines share (QODER_KEYS)."
_UNTIL = "With a shared store: one run (started), or one until it does not fail (completed)."
_LOST = "If the response is lost: look for the run and adopt it; look, then resend; or exit 9 (fail)."
_IF_IDLE = flag(
    "--if-idle", "Don't start while a run of this deployment is running (checked, not locked).", group=options.ONCE
)
_SKIP = "Exit code for a skipped run: 3 (fail) or 0 (ok)."
_LEAVES = "On timeout, Ctrl-C or SIGTERM: leave the run running (detach) or cancel it."
ON_LEAVE = option("--on-leave", None, _LEAVES, default="detach", group=options.WAITING)
_AT_ONCE = "Start up to N at once; 20 per second at most."
PARALLEL = option("--parallel", "N", _AT_ONCE, default=STARTS, group=options.MANY, min=1, max=100)
FAIL_FAST = flag("--fail-fast", "Stop after the first failure.", group=options.MANY)
_DUPLICATES = flag("--allow-duplicates", "Start a deployment as often as it is listed.", group=options.MANY)
DRY_RUN = flag("--dry-run", "Show the request, and whether it would be refused.")
_AT_MOST = "Let at most N run at once; the others wait in the order typed (qoder help queue)."
_IN = "With --at-most: count those of every command that names this group (needs QODER_KEYS)."
_QUEUE_TIMEOUT = "With --at-most: start none that has waited for D (exit 3)."
_NOT_REPEATED = ("idempotency_key", "dry_run", "parallel", "fail_fast", "keep_going", "allow_duplicates", "allow_empty")


class QueueOptions(NamedTuple):
    """How many runs may be going at once, as typed. These are the options, too."""

    at_most: int | None = option("--at-most", "N", _AT_MOST, group=options.MANY, min=1, max=MOST_SLOTS)
    group: Text = option("--in", "NAME", _IN, group=options.MANY)
    queue_timeout: Text = option("--queue-timeout", "D", _QUEUE_TIMEOUT, group=options.MANY)


def run(
    ctx: typer.Context,
    deployments: list[str] = options.DEPLOYMENTS,
    *,
    waiting: WaitOptions,
    require_satisfied: bool = options.REQUIRE_SATISFIED,
    interval: Text = options.INTERVAL,
    idempotency_key: Text = _KEY,
    keys: Keys | None = option("--keys", None, _KEYS, group=options.ADVANCED),
    key_until: KeyUntil = option("--key-until", None, _UNTIL, default="started", group=options.ADVANCED),
    on_lost: OnLost = option("--on-lost", None, _LOST, default="adopt", group=options.ONCE),
    if_idle: bool = _IF_IDLE,
    on_skip: OnSkip = option("--on-skip", None, _SKIP, default="fail", group=options.WAITING),
    on_leave: OnLeave = ON_LEAVE,
    parallel: int = PARALLEL,
    queueing: QueueOptions,
    fail_fast: bool = FAIL_FAST,
    keep_going: bool = flag("--keep-going", "Start the others even if some names are unknown.", group=options.MANY),
    allow_duplicates: bool = _DUPLICATES,
    allow_empty: bool = options.ALLOW_EMPTY,
    dry_run: bool = DRY_RUN,
    ci: bool = options.CI,
) -> Any:
    """Start a run of one or more deployments.

    Returns once the run is accepted. With --wait the exit code is the outcome:
    0 completed, 1 failed or never started, 3 skipped, 11 needs an answer, 124
    timed out (after 11 and 124 it keeps running). Completed means that the
    agent finished its turn, not that it did what you wanted.

    No run is started twice by accident. If the response is lost, exactly one
    matching run in the run list is adopted; otherwise it exits 9 and sends
    nothing more (qoder help guarantees).

    Several are started in parallel, once each; a duplicate or unknown name
    stops the command before anything is sent. -o json prints an array in input
    order, -o jsonl a line as each ends. The exit code is the worst one.
    --timeout counts once all are started.

    Examples:
      qoder deploy run dep_demo --wait
      qoder deploy run dep_demo --wait --timeout 30m --json | jq -r .status
      qoder deploy run dep_demo --idempotency-key "nightly-$(date +%F)"
      qoder deploy list --status active -q | qoder deploy run - --dry-run

    Try these for free: qoder sandbox -- sh"""
    from qoder_cli.nouns.lookup import deployment_id_of
    from qoder_cli.runs.trigger import Order

    app: App = ctx.obj
    app.flags.on_leave = on_leave
    as_list = is_list(deployments)
    wanted = wanted_of(app, waiting, interval=interval, require_satisfied=require_satisfied, several=as_list)
    key = idempotency_key
    if key is not None:
        from qoder_cli.keys.record import is_slot

        key = ids.check_key(key, app.keep_secrets(app.settings.token))
        if is_slot(key):
            why = f"--idempotency-key {key!r} is what a slot of a queue is called"
            raise UsageError(why, hint="use another key, for example nightly-2026-06-14")
    if key is not None and (keys == "required" or app.settings.keys is not None):
        from qoder_cli.keys.opening import shared_store

        if on_lost == "resend":
            why = "--on-lost resend cannot be used with a shared store of keys: nothing is sent twice under its keys"
            raise UsageError(why, hint="remove it")
        if app.settings.keys is None:
            why = "--keys required: neither QODER_KEYS nor the profile names a store of keys; nothing was sent"
            raise UsageError(why, hint="to make one: qoder key init; more: qoder help many-machines")
        shared_store(app)  # here, so that no thread is the first to find that it cannot be opened
    elif keys is not None:
        raise UsageError("--keys only works with --idempotency-key", hint="add --idempotency-key KEY")
    if key_until == "completed" and (key is None or app.settings.keys is None):
        why = "--key-until completed needs --idempotency-key, and a store of keys that machines share"
        raise UsageError(why, hint="to make one: qoder key init; more: qoder help many-machines")
    queue = queue_of(app, queueing, parallel=parallel, if_idle=if_idle)
    words = tuple(options_typed(ctx, without=_NOT_REPEATED))
    order = Order("", key, on_lost, words, until_completed=key_until == "completed")
    typed = named(deployments, app, what="deployments", allow_empty=allow_empty)
    if as_list:
        from qoder_cli.fleet.runner import orders_for

        orders = orders_for(typed, order, app, keep_going=keep_going, allow_duplicates=allow_duplicates)
    else:
        order = order._replace(deployment_id=deployment_id_of(typed[0], app, is_whole=True), typed=typed[0])
        orders = [order]
    if dry_run:
        from qoder_cli.commands.deploy.dry_run import show_requests

        return show_requests(app, typed, orders, as_list=as_list, queue=queue)
    from qoder_cli.fleet.runner import run_many, start_one
    from qoder_cli.fleet.starting import StartOptions

    plan = StartOptions(wanted is not None, parallel, if_idle, on_skip, fail_fast, queue)
    if as_list:
        return run_many(app, typed, orders, plan, wanted)
    return start_one(app, order, plan, wanted)


def queue_of(app: App, typed: QueueOptions, *, parallel: int = STARTS, if_idle: bool = False) -> "Queue | None":
    """Return the queue that was typed; None if none was. Raises UsageError, AuthError."""
    from qoder_cli.base.times import parse_duration
    from qoder_cli.keys.slots import GROUP_NAME

    at_most, group, timeout = typed
    for name, value in {"--in": group, "--queue-timeout": timeout}.items():
        if value is not None and at_most is None:
            raise UsageError(f"{name} only works with --at-most", hint="add --at-most N")
    if at_most is None:
        return None
    if if_idle:
        raise UsageError("--if-idle and --at-most cannot be used together", hint="use only --at-most 1, which waits")
    if parallel != STARTS:
        raise UsageError("--parallel and --at-most cannot be used together", hint="leave out --parallel")
    if group is not None and not GROUP_NAME.fullmatch(group):
        why = f"--in {group[:80]!a} is not the name of a group: letters, digits, . _ - and at most 63 of them"
        raise UsageError(why, hint="use for example repo-frontend")
    if group is not None and app.settings.keys is None:
        why = f"--in {group} needs a store of keys that machines share; nothing was sent"
        raise UsageError(why, hint="to make one: qoder key init; more: qoder help queue")
    from qoder_cli.fleet.queue import Queue

    return Queue(app, at_most, group, None if timeout is None else parse_duration(timeout, option="--queue-timeout"))
