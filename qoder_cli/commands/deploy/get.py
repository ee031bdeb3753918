"""`qoder deploy get`: a deployment and its recent runs."""

from qoder_cli.app import App
from qoder_cli.cli.options import ONE_DEPLOYMENT
from qoder_cli.local.remembered import remember
from qoder_cli.nouns.lookup import deployment_id_of, find_deployment
from qoder_cli.nouns.views import deployment_fields


def get(app: App, deployment: str = ONE_DEPLOYMENT) -> None:
    """Show a deployment and its recent runs.

    Draws the last 20 runs as a symbol each (newest on the right) above a bar
    for their duration. JSON is without them. Exits 0 in any state.

    Examples:
      qoder deploy get dep_demo
      qoder deploy get nightly-report --json | jq -r .schedule.expression"""
    id = deployment_id_of(deployment, app)
    current = find_deployment(app, id)
    fields = deployment_fields(current, now=app.client.server_now())
    if app.output.format == "table":
        from qoder_cli.history.listed import recent_runs

        words = fields.pop("schedule_words")
        fields |= recent_runs(app, id)
        if app.output.is_drawn:
            before = list(fields).index("schedule") + 1
            lines = list(fields.items())
            fields = dict([*lines[:before], ("runs", words), *lines[before:]])
        else:
            fields["schedule_words"] = words  # in a pipe, lines are only ever appended
    app.output.record(fields, data=current.as_json(), id=current.id)
    remember(app.store, app.settings, "deploy", [(current.raw, current.name)])
