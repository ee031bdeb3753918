"""`qoder run get`: the status of a run."""

from contextlib import suppress

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NotFound
from qoder_cli.base.ids import segment
from qoder_cli.base.model import mapping
from qoder_cli.base.outcome import is_going
from qoder_cli.cli.options import RUN_OR_LAST, Text, flag, option, or_last
from qoder_cli.help.completion import values
from qoder_cli.history import names
from qoder_cli.local.remembered import remember_runs
from qoder_cli.nouns.lookup import deployment_id_of
from qoder_cli.nouns.views import evaluation_fields, show_run
from qoder_cli.output.cells import Fields
from qoder_cli.runs.ending import ending_error
from qoder_cli.runs.observe import observer_of
from qoder_cli.sessions.asks import with_asks
from qoder_cli.sessions.state import read_session

_EXIT_STATUS = flag("--exit-status", "Exit with the run's outcome.")
_OF_THIS = "Exit 5 unless it is a run of this deployment."


def get(
    app: App,
    run: Text = RUN_OR_LAST,
    exit_status: bool = _EXIT_STATUS,
    deployment: Text = option("--deployment", "DEPLOYMENT", _OF_THIS, values.deployments),
) -> None:
    """Show a run's status and details.

    Exits 0 whatever the status. With --exit-status: 0 completed, 1 failed, 3
    skipped, 8 still running, 9 unknown.
    On a terminal RUN defaults to `last`.

    Examples:
      qoder run get drun_019ec55694c07f2a9b402ffb4448ec18
      qoder run get last --json | jq .error"""
    word = or_last(run, app)
    id = names.run(word, app)
    if deployment is not None:
        of = deployment_id_of(deployment, app)
        path = f"/deployments/{segment(of)}/runs/{segment(id)}"  # (api.md#runs)
        try:
            run_of = mapping(app.client.get(path))
        except NotFound as missing:
            raise missing.about(f"run {id} of deployment {of}") from None
        if (run_of.get("id"), run_of.get("deployment_id")) != (id, of):
            raise NotFound(f"run {id} is not one of deployment {of}")
    current = observer_of(app, id).read_once()
    try:
        current = with_asks(app.client, current)
    except ApiError as unread:
        app.progress.warn(f"whether it waits for an answer is unknown: {unread.message}")
    evaluated: Fields = {}
    if app.output.format == "table" and current.session_id and not is_going(current):
        with suppress(ApiError):
            session = read_session(app.client, current.session_id, retry=False)
            evaluated = evaluation_fields(session)
    show_run(app, current, **evaluated)
    remember_runs(app.store, app.settings, [current])
    if exit_status and (error := ending_error(current, app)):
        raise error
