"""`qoder session threads`: the agents at work in a session."""

import typer

from qoder_cli.app import App
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Resource, mapping
from qoder_cli.cli.options import OneRun


def threads(ctx: typer.Context, run: OneRun) -> None:
    """List the threads of a session: one for each agent at work in it.

    The primary thread has no parent. Piped: id, status, agent, parent,
    credits, created.

    Examples:
      qoder session threads last
      qoder session threads sess_demo --json | jq -r '.[].id'"""
    from qoder_cli.output.views import THREAD_FIRST, thread_row
    from qoder_cli.runs.answering import target_of

    app: App = ctx.obj
    path = f"/sessions/{segment(target_of(run, app).session_id)}/threads"
    with app.output.rows(fields=thread_row, data=Resource.as_json, first=THREAD_FIRST) as rows:
        for page in app.client.pages(path, {"limit": 100}):
            rows.show([Resource(mapping(each)) for each in page["data"]])
