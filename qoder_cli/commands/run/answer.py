"""`qoder run answer`: give the result of a custom tool that the agent has called."""

from typing import Annotated

import typer

from qoder_cli.api.body import text_of
from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.cli.options import OneRun, Waiting, flag, one_named, wanted_of


def answer(
    app: App,
    run: OneRun,
    call: Annotated[str, typer.Argument(metavar="CALL", help="Id of the call (evt_…), as `pending` lists it.")],
    result: Annotated[str, typer.Option(metavar="TEXT|@FILE|-", help="What the tool returns; - reads stdin.")],
    error: Annotated[bool, flag("--error", "The tool failed, and this says why.")] = False,
    *,
    waiting: Waiting,
) -> int:
    """Give the result of a custom tool that the agent called.

    Exit codes: 0 given, 2 not a call of a custom tool, 6 it no longer waits,
    9 unknown whether it arrived. With --wait the outcome, as of a run.

    Examples:
      qoder run answer last evt_1 --result "build 512 is green"
      ./lookup.sh | qoder session answer sess_demo evt_1 --result - --wait"""
    from qoder_cli.runs.answering import answer_call

    wanted = wanted_of(app, waiting)
    said = text_of(result, stdin=app.stdin, option="--result")
    return answer_call(app, one_named(run, app), ids.call(call), said, is_error=error, wanted=wanted)
