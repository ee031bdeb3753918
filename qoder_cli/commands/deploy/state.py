"""`qoder deploy list`, `pause`, `unpause` and `archive`."""

from qoder_cli.app import App
from qoder_cli.cli.options import ALLOW_EMPTY, DEPLOYMENTS, is_list
from qoder_cli.commands.generic import change_command, change_things, list_command, things_named
from qoder_cli.nouns.edits.verbs import PAUSE, UNPAUSE, Change
from qoder_cli.nouns.table import NOUNS

_DEPLOY = NOUNS["deploy"]


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
