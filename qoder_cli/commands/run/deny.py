"""`qoder run deny`: refuse calls that wait."""

from typing import Annotated

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


def deny(
    ctx: typer.Context,
    run: OneRun,
    calls: Calls = None,
    because: Annotated[str | None, typer.Option(metavar="TEXT", help="Tell the agent why.")] = None,
    all: EveryCall = False,
    yes: Yes = False,
    input_sha256: InputSha256 = None,
    wait: WaitThen = False,
    follow: FollowThen = False,
    result: ResultThen = False,
    timeout: Timeout = None,
    on_ask: WhenAsked = None,
) -> int:
    """Refuse calls that the agent wants to make.

    The agent hears of it and continues without. Everything else is as with
    `approve`: what waits is shown, asked about, and read again right before.

    Examples:
      qoder run deny last --all --because "not on a Friday" --yes
      qoder session deny sess_demo evt_1 --yes --wait"""
    from qoder_cli.runs.answering import decide

    app: App = ctx.obj
    then = read_then(app, wait=wait, follow=follow, result=result, timeout=timeout, on_ask=on_ask)
    chosen, hashes = calls or [], input_sha256 or []
    return decide(
        app, one_named(run, app), chosen, verb="deny", every=all, yes=yes, hashes=hashes, because=because, then=then
    )
