"""`qoder deploy run`: start runs of deployments."""

from typing import Annotated

import typer

from qoder_cli.app import State
from qoder_cli.base.choices import OnLeave, OnLost, OnSkip
from qoder_cli.base.errors import UsageError
from qoder_cli.ci.option import ReportToCi
from qoder_cli.cli.inputs import is_list, named
from qoder_cli.cli.options import Deployments, Interval, RequireOutcome, Timeout, WhenAsked, words_to_wait
from qoder_cli.settings.flags import written

PARALLEL = 8  # runs that are started at a time


def run(
    ctx: typer.Context,
    deployments: Deployments,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Stay until the run has ended; exit with its outcome.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="--wait, and show on stderr what happens meanwhile.")
    ] = False,
    result: Annotated[
        bool, typer.Option("--result", help="--wait, and print the agent's final message as it is.")
    ] = False,
    require_outcome: RequireOutcome = False,
    timeout: Timeout = None,
    interval: Interval = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Start at most one run under this key.")
    ] = None,
    on_lost: Annotated[
        OnLost, typer.Option(help="When the answer is lost: adopt the run if it is found, resend, or fail.")
    ] = "adopt",
    if_idle: Annotated[
        bool,
        typer.Option("--if-idle", help="Start nothing while one is going or waits for an answer. Not a lock."),
    ] = False,
    on_skip: Annotated[OnSkip, typer.Option(help="What a skipped run returns: fail is exit 3, ok is exit 0.")] = "fail",
    on_leave: Annotated[
        OnLeave, typer.Option(help="On --timeout, Ctrl-C or SIGTERM: detach from the run, or cancel it.")
    ] = "detach",
    on_ask: WhenAsked = "stop",
    parallel: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="Of several, start N at a time; 20 a second at most.")
    ] = PARALLEL,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Of several, start and await no more after the first that fails.")
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Of several, start the others though some names are not known.")
    ] = False,
    allow_duplicates: Annotated[
        bool, typer.Option("--allow-duplicates", help="Start a deployment as often as it is named.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the request, and send no write.")] = False,
    ci: ReportToCi = False,
) -> int:
    """Start runs of deployments by hand.

    Without --wait it returns when the run is accepted. With --wait it stays
    until the run has ended, and the exit code says how: 0 it completed, 1 it
    failed or never started, 3 it was skipped, 11 it waits for an answer, 124
    --timeout came first (with both the run goes on). Completed means that the agent finished its turn, not that
    it did what you wanted.

    A run costs credits and is never started twice by accident: when an answer
    is lost, the run list is read for 8 seconds. If it shows exactly one run
    that can be it, that one is adopted; otherwise the exit code is 9.

    Several deployments are started together, each once: nothing is sent while
    one is named twice or a name is not known; that there is no deployment of
    an id is known when it is to be started. JSON is then an array in the
    order of the input, jsonl a line as each ends; the worst exit code counts.
    --timeout begins when the last of them has been started.

    Examples:
      qoder deploy run dep_demo --wait
      qoder deploy run dep_demo --wait --timeout 30m --json | jq -r .status
      qoder deploy run dep_demo --idempotency-key "nightly-$(date +%F)"
      id=$(qoder deploy run dep_demo -q) && qoder run wait "$id"
      qoder deploy run dep_demo dep_slow --wait -o jsonl | jq -r .status
      qoder deploy list --status active -q | qoder deploy run - --dry-run

    To try these without cost: qoder sandbox -- sh
    All exit codes: qoder help exit-codes"""
    from dataclasses import replace

    from qoder_cli.runs import names
    from qoder_cli.runs.fleet.limits import Limits
    from qoder_cli.runs.launch import Order
    from qoder_cli.runs.single import run_one
    from qoder_cli.runs.trigger import check_key

    state: State = ctx.obj
    state.on_leave = on_leave
    wait = wait or result or follow
    if require_outcome and not wait:
        raise UsageError("--require-outcome is for waiting", hint="add --wait")
    if on_ask != "stop" and not wait:
        raise UsageError("--on-ask is for waiting", hint="add --wait")
    state.wait_options = words_to_wait(result=result, require_outcome=require_outcome, on_ask=on_ask)
    limits = Limits.read(wait=wait, timeout=timeout, interval=interval)
    key = None if idempotency_key is None else check_key(idempotency_key, state.known_secrets)
    order = Order("", key, on_lost, _words_to_repeat(ctx))
    if is_list(deployments):
        from qoder_cli.runs.after import Wanted
        from qoder_cli.runs.fleet.many import Plan, orders_for, run_many

        if result and not state.output.is_json:
            raise UsageError("--result of several runs needs -o json or -o jsonl", hint="or run one deployment")
        typed = named(deployments, state, what="deployments")
        if state.ci:
            state.ci.expect(typed)
        orders = orders_for(typed, order, state, keep_going=keep_going, allow_duplicates=allow_duplicates)
        if dry_run:
            from qoder_cli.runs.fleet.rehearsal import show_requests

            return show_requests(state, typed, orders)
        wanted = Wanted(follow, require_outcome, on_ask=on_ask)
        plan = Plan(wait, limits, wanted, parallel, if_idle, on_skip, fail_fast, result)
        return run_many(state, typed, orders, plan)
    if state.ci:
        state.ci.expect_one(deployments[0])
    order = replace(order, deployment_id=names.deployment(deployments[0], state))
    if dry_run:
        from qoder_cli.runs.fleet.rehearsal import show_request

        return show_request(state, order)
    return run_one(
        state,
        order,
        limits if wait else None,
        follow=follow,
        require_outcome=require_outcome,
        on_ask=on_ask,
        if_idle=if_idle,
        on_skip=on_skip,
        result=result,
    )


def _words_to_repeat(ctx: typer.Context) -> tuple[str, ...]:
    """Return the options that were given, as words, that a repetition under the same key needs too."""
    words: list[str] = []
    for param in ctx.command.params:
        value = ctx.params.get(str(param.name))
        if param.param_type_name == "option" and param.name not in _NOT_REPEATED and value not in (None, param.default):
            words += [param.opts[0]] if value is True else written(param.opts[0], str(value))
    return tuple(words)


_NOT_REPEATED = ("idempotency_key", "dry_run", "parallel", "fail_fast", "keep_going", "allow_duplicates")
