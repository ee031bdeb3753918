"""`qoder deploy list`, `get` and `export`: they show deployments."""

from collections import Counter

from qoder_cli.app import App
from qoder_cli.base.errors import Exit, QoderError, first_by_rank
from qoder_cli.base.pool import in_order
from qoder_cli.cli.options import AllowEmpty, Deployments, OneDeployment, is_list, named
from qoder_cli.commands.made import list_command
from qoder_cli.deployments.lookup import find_deployment
from qoder_cli.files.normal import settable
from qoder_cli.local.remembered import remember
from qoder_cli.nouns.table import NOUNS
from qoder_cli.output.views import deployment_fields
from qoder_cli.runs import names

list_deployments = list_command(NOUNS["deploy"])


def get(app: App, deployment: OneDeployment) -> None:
    """Show a deployment and its recent runs.

    The last 20 runs are drawn as one symbol each (newest on the right) above
    a bar for their duration. JSON is the server's object, without runs. Exits
    0 in any state, 5 if it does not exist.

    Examples:
      qoder deploy get dep_demo
      qoder deploy get nightly-report --json | jq -r .schedule.expression"""
    id = names.deployment(deployment, app)
    found = find_deployment(app, id)
    fields = deployment_fields(found, now=app.clock.now())
    if app.output.format == "table":
        from qoder_cli.runs.listed import recent_runs

        words = fields.pop("schedule_words")
        fields |= recent_runs(app, id)
        if app.output.is_drawn:
            before = list(fields).index("schedule") + 1
            lines = list(fields.items())
            fields = dict([*lines[:before], ("runs", words), *lines[before:]])
        else:
            fields["schedule_words"] = words  # in a pipe, lines are only ever appended
    app.output.record(fields, data=found.as_json(), id=found.id)
    remember(app.store, app.settings, "deploy", [(found.raw, found.name)])


def export(app: App, deployments: Deployments, allow_empty: AllowEmpty = False) -> int:
    """Export deployments as files for `deploy apply`.

    Writes one commented YAML document for each, or JSON with --json (then
    ${...} is not expanded when you apply it). Repository tokens are missing,
    because the server never returns them. Environment variables are included
    in clear text: check before you commit.

    Examples:
      qoder deploy export nightly-report > /tmp/nightly-report.yaml
      qoder deploy list --all -q | qoder deploy export - > /tmp/all.yaml"""
    from qoder_cli.files.export import export as as_file

    found = names.deployments(named(deployments, app, what="deployments", allow_empty=allow_empty), app)
    if unknown := first_by_rank(each for each in found if isinstance(each, QoderError)):
        raise unknown
    ids = [each for each in found if isinstance(each, str)]
    once = list(dict.fromkeys(ids))
    known = dict(zip(once, in_order(lambda id: find_deployment(app, id), once, at_a_time=8), strict=True))
    for id, deployment in known.items():
        if deployment.archived_at:
            app.progress.warn(f"{id} was archived on {deployment.archived_at}; `deploy apply` will refuse this file")
    if app.output.is_json or app.output.format == "id":
        files = [{"id": id, "type": "deployment", **settable(known[id])} for id in ids]
        if is_list(deployments):
            app.output.records(files, id="id")
        else:
            app.output.record(files[0], id=ids[0])
        return Exit.OK
    having = Counter(deployment.name for deployment in known.values())
    for number, deployment in enumerate(known.values()):
        written = as_file(deployment, by_id=having[deployment.name] > 1)
        app.out.write_exactly(("---\n" if number else "") + written)
    return Exit.OK
