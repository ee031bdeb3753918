"""`qoder deploy list`, `pause`, `unpause` and `archive`."""

from collections.abc import Sequence

from qoder_cli.app import App
from qoder_cli.base.errors import QoderError
from qoder_cli.cli.options import ALLOW_EMPTY, DEPLOYMENTS, is_list
from qoder_cli.commands.generic import change_command, change_things, list_command, things_named
from qoder_cli.nouns.edits.verbs import PAUSE, UNPAUSE, Change
from qoder_cli.nouns.named import Names
from qoder_cli.nouns.table import NOUNS

_DEPLOY = NOUNS["deploy"]


def found(typed: Sequence[str], app: App) -> list[str | QoderError]:
    """Return the ids of deployments, or the error of each. Raises UsageError, ApiError."""
    return Names(app).ids_of(_DEPLOY, typed)


def pause(app: App, deployments: list[str] = DEPLOYMENTS, allow_empty: bool = ALLOW_EMPTY) -> None:
    """Pause deployments. Schedules stop and new runs are refused.

    Exits 0 if they are (or already were) paused, 6 if one is archived. Runs in
    progress keep running; to stop one: qoder run cancel.

    Several are paused one after another; a failure does not stop the rest.
    JSON is then an array in input order, and the exit code is the worst one.

    Examples:
      qoder deploy pause nightly-report
      echo dep_scheduled | qoder deploy pause - -o jsonl | jq -r .status"""
    _change(app, PAUSE, deployments, allow_empty)


def unpause(app: App, deployments: list[str] = DEPLOYMENTS, allow_empty: bool = ALLOW_EMPTY) -> None:
    """Resume paused deployments.

    Exits 0 if they are (or already were) active, 6 if one is archived. Scheduled
    runs missed while paused are probably not made up (the API does not say).

    Examples:
      qoder deploy unpause nightly-report
      qoder deploy unpause nightly-report --json | jq -r .status"""
    _change(app, UNPAUSE, deployments, allow_empty)


def _change(app: App, change: Change, typed: list[str], allow_empty: bool) -> None:
    targets = things_named(app, _DEPLOY, typed, allow_empty=allow_empty)
    change_things(app, _DEPLOY, change, targets, as_list=is_list(typed))


list_deployments = list_command(_DEPLOY)
archive = change_command(_DEPLOY, "archive")
