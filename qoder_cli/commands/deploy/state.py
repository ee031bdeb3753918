"""`qoder deploy list`, `get`, `pause`, `unpause` and `archive`."""

from qoder_cli.app import App
from qoder_cli.cli.options import ALLOW_EMPTY, DEPLOYMENTS, ONE_DEPLOYMENT, is_list
from qoder_cli.commands.generic import change_command, change_things, list_command, things_named
from qoder_cli.local.remembered import remember
from qoder_cli.nouns.edits.verbs import PAUSE, UNPAUSE, Change
from qoder_cli.nouns.lookup import deployment_id_of, find_deployment
from qoder_cli.nouns.table import NOUNS
from qoder_cli.nouns.views import deployment_fields

_DEPLOY = NOUNS["deploy"]


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


def pause(app: App, deployments: list[str] = DEPLOYMENTS, allow_empty: bool = ALLOW_EMPTY) -> None:
    """Pause deployments. Schedules stop and new runs are refused.

    Runs in progress keep running (see run cancel). Exits 0 if they already
    were paused, 6 if one is archived.

    A failure does not stop the rest; the exit code is the worst one.

    Examples:
      qoder deploy pause nightly-report"""
    _change(app, PAUSE, deployments, allow_empty)


def unpause(app: App, deployments: list[str] = DEPLOYMENTS, allow_empty: bool = ALLOW_EMPTY) -> None:
    """Resume paused deployments.

    Exits 0 if they already were active, 6 if one is archived. Runs missed
    while paused are probably not made up (the API does not say).

    Examples:
      qoder deploy unpause nightly-report"""
    _change(app, UNPAUSE, deployments, allow_empty)


def _change(app: App, change: Change, words: list[str], allow_empty: bool) -> None:
    targets = things_named(app, _DEPLOY, words, allow_empty=allow_empty)
    change_things(app, _DEPLOY, change, targets, as_list=is_list(words))


list_deployments = list_command(_DEPLOY)
archive = change_command(_DEPLOY, "archive")
