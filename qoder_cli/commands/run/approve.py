"""`qoder run approve`: allow calls that wait."""

import typer

from qoder_cli.app import App
from qoder_cli.cli.options import (
    Calls,
    EveryCall,
    FollowThen,
    InputSha256,
    OneRun,
    ResultThen,
    Timeout,
    WaitThen,
    WhenAsked,
    Yes,
    one_named,
    read_then,
)


def approve(
    ctx: typer.Context,
    run: OneRun,
    calls: Calls = None,
    all: EveryCall = False,
    yes: Yes = False,
    input_sha256: InputSha256 = None,
    wait: WaitThen = False,
    follow: FollowThen = False,
    result: ResultThen = False,
    timeout: Timeout = None,
    on_ask: WhenAsked = None,
) -> int:
    """Allow calls that the agent wants to make.

    Shows each call with its input and asks first; scripts name the calls (or
    --all) and pass --yes. What waits is read again right before: if it is not
    the same any more, nothing is sent (exit 6). With --input-sha256 it must
    also be what `pending` showed (sha256 of the input as JSON, keys sorted).

    Exit codes: 0 allowed, or with --all nothing waited; 6 it no longer waits;
    9 unknown whether it arrived: never sent twice. With --wait as a run's.

    Examples:
      qoder run approve last
      qoder run approve last --all --yes --wait --result
      qoder session approve sess_demo evt_1 --input-sha256 HEX --yes"""
    from qoder_cli.runs.answering import decide

    app: App = ctx.obj
    then = read_then(app, wait=wait, follow=follow, result=result, timeout=timeout, on_ask=on_ask)
    return decide(
        app,
        one_named(run, app),
        calls or [],
        verb="approve",
        every=all,
        yes=yes,
        hashes=input_sha256 or [],
        then=then,
    )
