"""`qoder run wait`: wait for runs to finish."""

from typing import Annotated

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.times import read_limits
from qoder_cli.cli.options import (
    AllowEmpty,
    Interval,
    ReportToCi,
    RequireSatisfied,
    Result,
    RunsOrLast,
    Timeout,
    WhenAsked,
    is_list,
    named,
    or_last,
    when_asked,
    words_to_wait,
)
from qoder_cli.runs.awaiting import finish, wait_for
from qoder_cli.runs.ending import Wanted
from qoder_cli.runs.observe import observer_of
from qoder_cli.runs.turn import any_observer, is_of_sessions


def wait(
    ctx: typer.Context,
    runs: RunsOrLast = None,
    timeout: Timeout = None,
    interval: Interval = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stream the session's events to stderr.")] = False,
    result: Result = False,
    require_satisfied: RequireSatisfied = False,
    on_ask: WhenAsked = None,
    allow_empty: AllowEmpty = False,
    ci: ReportToCi = False,
) -> int:
    """Wait for runs to finish; exit with their outcome.

    Exit codes: 0 completed, 1 failed or never started, 3 skipped, 10 lost
    track of the run, 11 needs an answer, 124 timed out (after the last three
    the run keeps running). With several runs, the worst one.
    On a terminal RUN defaults to `last`.

    Examples:
      qoder run wait drun_019ec55694c07f2a9b402ffb4448ec18
      qoder deploy run dep_demo -q | qoder run wait - --timeout 10m -o jsonl"""
    from qoder_cli.runs import names

    app: App = ctx.obj
    limits = read_limits(wait=True, timeout=timeout, interval=interval)
    runs = runs or [or_last(None, app)]
    typed = named(runs, app, allow_empty=allow_empty)
    as_list = is_list(runs)
    app.known.ci.expect(typed if as_list else typed[0])
    if result and as_list and not app.output.is_json:
        why = "--result with several runs needs -o json or -o jsonl"
        raise UsageError(why, hint="add --json, or wait for one run")
    asked = when_asked(app, on_ask, follow=follow, several=as_list)
    wanted = Wanted(follow, require_satisfied, on_ask=asked)
    app.known.wait_options = words_to_wait(result=result, require_satisfied=require_satisfied, on_ask=on_ask)
    if is_of_sessions(ctx):
        if as_list:
            raise UsageError("session wait takes one session", hint="for several runs: qoder run wait")
        from qoder_cli.runs.answering import sessions_of

        [session_id] = sessions_of(typed, app)
        return finish(app, wait_for(app, any_observer(app, session_id), limits, wanted), result=result)
    if as_list:
        from qoder_cli.runs.fleet.many import wait_many

        return wait_many(app, typed, limits, wanted._replace(result=result))
    began = app.clock.monotonic()
    run_id = names.run(typed[0], app, timeout=limits.timeout)
    app.known.ci.started(run_id)
    item = wait_for(app, observer_of(app, run_id), limits.since(began, app.clock), wanted)
    return finish(app, item, result=result)
