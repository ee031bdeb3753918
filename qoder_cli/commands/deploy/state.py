"""`qoder deploy pause`, `unpause` and `archive`, of one deployment or many."""

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.model import Deployment
from qoder_cli.cli.options import AllowEmpty, Deployments, Yes, confirmed, is_list, named
from qoder_cli.deployments.state_change import ARCHIVE, PAUSE, UNPAUSE, Change, StateChanges, Target
from qoder_cli.runs import names


def pause(ctx: typer.Context, deployments: Deployments, allow_empty: AllowEmpty = False) -> int:
    """Pause deployments. Schedules stop and new runs are refused.

    Exits 0 if it is (or already was) paused, 6 if it is archived. Runs in
    progress keep running; to stop one: qoder run cancel.

    Several deployments are paused one after another; a failure does not stop
    the rest. JSON is then an array in input order, and the exit code is the
    worst one.

    Examples:
      qoder deploy pause nightly-report
      echo dep_scheduled | qoder deploy pause - -o jsonl | jq -r .status
    """
    return _changes(ctx.obj, PAUSE, deployments, allow_empty=allow_empty).make()


def unpause(ctx: typer.Context, deployments: Deployments, allow_empty: AllowEmpty = False) -> int:
    """Resume paused deployments.

    Exits 0 if it is (or already was) active, 6 if it is archived. Scheduled
    runs missed while paused are probably not made up (the API does not say).

    Examples:
      qoder deploy unpause nightly-report
      qoder deploy unpause nightly-report --json | jq -r .status
    """
    return _changes(ctx.obj, UNPAUSE, deployments, allow_empty=allow_empty).make()


def archive(ctx: typer.Context, deployments: Deployments, yes: Yes = False, allow_empty: AllowEmpty = False) -> int:
    """Archive deployments. This cannot be undone.

    An archived deployment cannot be run or changed. Its schedule stops, it
    disappears from lists, and its name becomes free (it is renamed to
    NAME_archived_TIMESTAMP). Asks before each one; scripts need --yes. Exits
    0 if it is (or already was) archived.

    Examples:
      qoder deploy archive dep_archived --yes
    """
    app: App = ctx.obj
    if not yes and not app.may_ask:
        raise UsageError("archiving cannot be undone; nothing was archived", hint="confirm with --yes")
    changes = _changes(app, ARCHIVE, deployments, allow_empty=allow_empty)
    return changes.make(is_wanted=None if yes else lambda found: _is_wanted(app, found))


def _changes(app: App, change: Change, typed: list[str], *, allow_empty: bool) -> StateChanges:
    words = named(typed, app, what="deployments", allow_empty=allow_empty)
    targets = [Target(*each) for each in zip(words, names.deployments(words, app), strict=True)]
    return StateChanges(app, change, targets, as_list=is_list(typed))


def _is_wanted(app: App, found: Deployment) -> bool:
    """Ask whether a deployment is to be archived, having said what would become of it."""
    from qoder_cli.base.schedule import words_of

    name, words = found.name or "-", words_of(found.schedule)
    stops = f"Its schedule ({words}) stops. " if words else ""
    return confirmed(
        app,
        f"Archive '{name}' ({found.id})? {stops}It can never be run or changed again, "
        f"and is renamed to '{name}_archived_TIMESTAMP'. This cannot be undone.",
    )
