"""`qoder deploy get`: look at a deployment."""

import typer

from qoder_cli.app import State
from qoder_cli.cli.options import OneDeployment
from qoder_cli.deployments.lookup import find_deployment
from qoder_cli.output.views import deployment_fields


def get(
    ctx: typer.Context,
    deployment: OneDeployment,
) -> None:
    """Show a deployment: its state, schedule and setup, and its recent runs.

    The newest 20 runs are a sign each, the newest at the right, with a bar
    for how long it took; on a current server their sessions are asked how
    they ended. JSON is the deployment as the server has it, without its runs.

    Exit 0 whatever its state; 5 when there is no such deployment.

    Examples:
      qoder deploy get dep_demo
      qoder deploy get nightly-report --json | jq -r .schedule.expression

    All exit codes: qoder help exit-codes"""
    from qoder_cli.local.remembered import remember_deployments
    from qoder_cli.runs import names

    state: State = ctx.obj
    id = names.deployment(deployment, state)
    found = find_deployment(state, id)
    fields = deployment_fields(found, now=state.clock.now())
    if state.output.format == "table":
        from qoder_cli.runs.history import recent_runs

        words = {"schedule_words": fields.pop("schedule_words")}
        fields |= recent_runs(state, id)
        if state.output.is_drawn:  # in a pipe lines are only ever appended
            place = list(fields).index("schedule") + 1
            fields = dict([*list(fields.items())[:place], *words.items(), *list(fields.items())[place:]])
        fields |= words
    state.output.record(fields, data=found.as_json(), id=found.id)
    remember_deployments(state, [found])
