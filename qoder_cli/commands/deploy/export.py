"""`qoder deploy export`: deployments as files."""

from collections import Counter

from qoder_cli.app import App
from qoder_cli.base.errors import QoderError, first_by_rank
from qoder_cli.base.places import spelled
from qoder_cli.base.pool import in_order
from qoder_cli.base.tokens import REDACTED
from qoder_cli.base.words import few
from qoder_cli.cli.options import ALLOW_EMPTY, DEPLOYMENTS, is_list, named
from qoder_cli.deployments.lookup import deployment_ids_of, find_deployment
from qoder_cli.nouns.checking import hidden_in
from qoder_cli.nouns.deployments import settable

_NAMED = 5  # places that a warning names


def export(app: App, deployments: list[str] = DEPLOYMENTS, allow_empty: bool = ALLOW_EMPTY) -> None:
    """Export deployments as files for `deploy apply`.

    Writes one commented YAML document for each, or JSON with --json (then
    ${...} is not expanded when you apply it). Repository tokens are missing,
    because the server never returns them. Environment variables are included
    in clear text: check before you commit.

    Examples:
      qoder deploy export nightly-report > /tmp/nightly-report.yaml
      qoder deploy list --all -q | qoder deploy export - > /tmp/all.yaml"""
    from qoder_cli.deployments.commented import export as as_file

    found = deployment_ids_of(named(deployments, app, what="deployments", allow_empty=allow_empty), app)
    if unknown := first_by_rank(each for each in found if isinstance(each, QoderError)):
        raise unknown
    ids = [each for each in found if isinstance(each, str)]
    once = list(dict.fromkeys(ids))
    deployments_by_id = dict(zip(once, in_order(lambda id: find_deployment(app, id), once, at_a_time=8), strict=True))
    for id, deployment in deployments_by_id.items():
        if deployment.archived_at:
            app.progress.warn(f"{id} was archived on {deployment.archived_at}; `deploy apply` will refuse this file")
        if hidden := [spelled(path) for path in hidden_in(settable(deployment))]:
            where = few(hidden, _NAMED)
            app.progress.warn(f"{id}: {REDACTED} stands for a secret in {where}; `deploy apply` will refuse this file")
    if app.output.is_json or app.output.format == "id":
        files = [{"id": id, "type": "deployment", **settable(deployments_by_id[id])} for id in ids]
        if is_list(deployments):
            app.output.records(files, id="id")
        else:
            app.output.record(files[0], id=ids[0])
        return
    having = Counter(deployment.name for deployment in deployments_by_id.values())
    for number, deployment in enumerate(deployments_by_id.values()):
        written = as_file(deployment, by_id=having[deployment.name] > 1)
        app.out.write_exactly(("---\n" if number else "") + written)
