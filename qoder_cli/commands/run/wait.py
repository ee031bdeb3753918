"""`qoder run wait`: stay until runs have ended."""

from typing import Annotated

import typer

from qoder_cli.app import State
from qoder_cli.base.errors import UsageError
from qoder_cli.ci.option import ReportToCi
from qoder_cli.cli.inputs import is_list, named
from qoder_cli.cli.options import Interval, RequireOutcome, Runs, Timeout, WhenAsked, words_to_wait
from qoder_cli.runs.after import Wanted
from qoder_cli.runs.awaiting import finish, wait_for
from qoder_cli.runs.fleet.limits import Limits
from qoder_cli.runs.observe import observer_of
from qoder_cli.runs.watch import Watch


def wait(
    ctx: typer.Context,
    runs: Runs,
    timeout: Timeout = None,
    interval: Interval = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show on stderr what happens meanwhile.")] = False,
    result: Annotated[
        bool, typer.Option("--result", help="Print the agent's final message as it is, not the run.")
    ] = False,
    require_outcome: RequireOutcome = False,
    on_ask: WhenAsked = "stop",
    ci: ReportToCi = False,
) -> int:
    """Wait until runs have ended; the exit code says how.

    0 it completed, 1 it failed or never started, 3 it was skipped, 10 lost
    sight of it, 11 it waits for an answer, 124 --timeout came first (with the
    last three the run goes on). With several runs the worst counts.

    Examples:
      qoder run wait drun_019ec55694c07f2a9b402ffb4448ec18
      qoder deploy run dep_demo -q | qoder run wait - --timeout 10m -o jsonl

    All exit codes: qoder help exit-codes"""
    from qoder_cli.runs import names

    state: State = ctx.obj
    limits = Limits.read(wait=True, timeout=timeout, interval=interval)
    typed = named(runs, state)
    as_list = is_list(runs)
    if state.ci and as_list:
        state.ci.expect(typed)
    elif state.ci:
        state.ci.expect_one(typed[0])
    if result and as_list and not state.output.is_json:
        raise UsageError("--result of several runs needs -o json or -o jsonl", hint="or wait for one run")
    wanted = Wanted(follow, require_outcome, on_ask=on_ask)
    state.wait_options = words_to_wait(result=result, require_outcome=require_outcome, on_ask=on_ask)
    if as_list:
        from qoder_cli.runs.fleet.many import wait_many

        return wait_many(state, typed, limits, wanted, result=result)
    began = state.clock.monotonic()
    run_id = names.run(typed[0], state, timeout=limits.timeout)
    if state.ci:
        state.ci.started(run_id)
    watch = Watch(observer_of(state, run_id))
    item = wait_for(state, watch, limits.since(began, state.clock), wanted)
    return finish(state, item, result=result)
