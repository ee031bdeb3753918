"""`qoder run approve` and `deny`: allow calls that wait, or refuse them."""

from typing import Annotated

import typer

from qoder_cli.app import App
from qoder_cli.cli.options import OneRun, Waiting, Yes, argument, flag, one_named, wanted_of

_SAME = "Refuse (exit 6) unless the input is the one with this hash. Once for each call."
_Calls = Annotated[list[str] | None, argument("CALL...", "Ids of calls (evt_…), as `pending` lists them.")]
_Every = Annotated[bool, flag("--all", "All calls that wait in this session.")]
_Hashes = Annotated[list[str] | None, typer.Option(metavar="HEX", help=_SAME)]


def approve(
    app: App,
    run: OneRun,
    calls: _Calls = None,
    all: _Every = False,
    yes: Yes = False,
    input_sha256: _Hashes = None,
    *,
    waiting: Waiting,
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

    wanted, hashes = wanted_of(app, waiting), input_sha256 or []
    run = one_named(run, app)
    return decide(app, run, calls or [], verb="approve", every=all, yes=yes, hashes=hashes, wanted=wanted)


def deny(
    app: App,
    run: OneRun,
    calls: _Calls = None,
    because: Annotated[str | None, typer.Option(metavar="TEXT", help="Tell the agent why.")] = None,
    all: _Every = False,
    yes: Yes = False,
    input_sha256: _Hashes = None,
    *,
    waiting: Waiting,
) -> int:
    """Refuse calls that the agent wants to make.

    The agent hears of it and continues without. Everything else is as with
    `approve`: what waits is shown, asked about, and read again right before.

    Examples:
      qoder run deny last --all --because "not on a Friday" --yes
      qoder session deny sess_demo evt_1 --yes --wait"""
    from qoder_cli.runs.answering import decide

    wanted, hashes = wanted_of(app, waiting), input_sha256 or []
    run = one_named(run, app)
    return decide(app, run, calls or [], verb="deny", every=all, yes=yes, hashes=hashes, because=because, wanted=wanted)
