"""`qoder run wait`: wait for runs to finish."""

from typing import Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError, exclude
from qoder_cli.base.words import counted
from qoder_cli.cli import options
from qoder_cli.cli.options import (
    MOST,
    Text,
    Texts,
    WaitOptions,
    flag,
    is_list,
    is_of_sessions,
    named,
    option,
    or_last,
    wanted_of,
)
from qoder_cli.fleet.wait import wait_for
from qoder_cli.history import names
from qoder_cli.runs.observe import any_observer, observer_of


def wait(
    ctx: typer.Context,
    runs: Texts = options.RUNS_OR_LAST,
    last: int | None = option("--last", "N", "The last N runs started on this machine.", min=1, max=MOST),
    timeout: Text = options.TIMEOUT,
    interval: Text = options.INTERVAL,
    follow: bool = flag("--follow -f", "Stream the session's events to stderr."),
    result: bool = flag("--result", "Print the agent's final message."),
    require_satisfied: bool = options.REQUIRE_SATISFIED,
    on_ask: Text = options.ON_ASK,
    policy: Text = options.POLICY,
    notify: Text = options.NOTIFY,
    forget: bool = flag("--forget", "With `last`: count a doubtful start as never made."),
    yes: bool = options.YES,
    allow_empty: bool = options.ALLOW_EMPTY,
    ci: bool = options.CI,
) -> Any:
    """Wait for runs to finish; exit with their outcome.

    Exit codes: 0 completed, 1 failed or never started, 3 skipped, 10 lost
    track of the run, 11 needs an answer, 124 timed out (after the last three
    the run keeps running). With several runs, the worst one.
    On a terminal RUN defaults to `last`.

    If `last` exits 9, check the deployment's runs. If none is yours, --forget
    counts the start, and others under its key, as never made: then repeat it.
    Asks first; scripts need --yes.

    Examples:
      qoder run wait drun_019ec55694c07f2a9b402ffb4448ec18
      qoder deploy run dep_demo -q | qoder run wait - --timeout 10m -o jsonl"""
    app: App = ctx.obj
    if last is not None:
        exclude({"--last N": last, "RUN": runs})
        runs = app.store.newest_runs(last, profile=app.settings.profile, host=app.settings.host)
        if len(runs) < last:
            known = f"{counted(len(runs), 'run is', 'runs are')} known to be started here with this profile"
            raise UsageError(f"{known}, not {last}", hint="to find runs: qoder run list")
    runs = runs or [or_last(None, app, of_sessions=is_of_sessions(ctx))]
    if forget:
        from qoder_cli.commands.key import forget_newest
        from qoder_cli.runs.lost import to_forget

        if runs not in (["last"], ["@last"]):
            raise UsageError("--forget only works with the run `last`", hint=f"to end the doubt: {to_forget(app)}")
        return forget_newest(app, yes=yes)
    if yes:
        raise UsageError("--yes only works with --forget", hint="drop it: waiting asks nothing")
    as_list = is_list(runs) or last is not None
    waiting = WaitOptions(True, follow, result, timeout, on_ask, policy, notify)
    wanted = wanted_of(app, waiting, interval=interval, require_satisfied=require_satisfied, several=as_list)
    assert wanted is not None  # it was asked for
    if as_list and is_of_sessions(ctx):
        raise UsageError("session wait takes one session", hint="for several runs: qoder run wait")
    words = named(runs, app, allow_empty=allow_empty)
    if is_of_sessions(ctx):
        from qoder_cli.commands.target import target_of

        return wait_for(app, any_observer(app, target_of(words[0], app).session_id), wanted)
    if as_list:
        from qoder_cli.fleet.runner import wait_many

        return wait_many(app, words, wanted)
    began = app.clock.monotonic()
    run_id = names.run(words[0], app, timeout=wanted.limits.timeout)
    app.tracked.begun(run_id)
    return wait_for(app, observer_of(app, run_id), wanted.since(began, app.clock))
