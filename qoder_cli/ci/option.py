"""The option `--ci`, for the commands that have runs to tell of."""

from typing import Annotated

import typer


def _report_to_ci(ctx: typer.Context, value: bool) -> None:
    if value:
        from qoder_cli.ci.reporting import reporting

        ctx.obj.ci = ctx.with_resource(reporting(ctx.obj))  # around all that the command does


ReportToCi = Annotated[
    bool,
    typer.Option(
        "--ci",
        help="Report run ids and status to GitHub Actions or GitLab.",
        callback=_report_to_ci,
        expose_value=False,
    ),
]
