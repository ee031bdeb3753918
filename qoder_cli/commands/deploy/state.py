"""`qoder deploy pause`, `unpause` and `archive`, of one deployment or many."""

from collections.abc import Callable
from typing import Any

import typer

from qoder_cli.app import App
from qoder_cli.base.cron import words_of
from qoder_cli.base.model import Deployment
from qoder_cli.cli.options import AllowEmpty, Deployments, Yes, is_list
from qoder_cli.commands.made import change_things, need_a_yes, things_named
from qoder_cli.nouns.change import ARCHIVE, Change
from qoder_cli.nouns.table import NOUNS

Raw = dict[str, Any]

_DEPLOY = NOUNS["deploy"]


def _is(state: str) -> Callable[[Raw], bool]:
    return lambda raw: Deployment(raw).state == state


PAUSE = Change("pause", "pausing", "paused", "POST", "/pause", "paused", shows=_is("paused"))
UNPAUSE = Change("unpause", "unpausing", "unpaused", "POST", "/unpause", "active", shows=_is("active"))

Question = Callable[[Raw], str] | None


def pause(ctx: typer.Context, deployments: Deployments, allow_empty: AllowEmpty = False) -> int:
    """Pause deployments. Schedules stop and new runs are refused.

    Exits 0 if it is (or already was) paused, 6 if it is archived. Runs in
    progress keep running; to stop one: qoder run cancel.

    Several are paused one after another; a failure does not stop the rest.
    JSON is then an array in input order, and the exit code is the worst one.

    Examples:
      qoder deploy pause nightly-report
      echo dep_scheduled | qoder deploy pause - -o jsonl | jq -r .status"""
    return _change(ctx.obj, PAUSE, deployments, allow_empty)


def unpause(ctx: typer.Context, deployments: Deployments, allow_empty: AllowEmpty = False) -> int:
    """Resume paused deployments.

    Exits 0 if it is (or already was) active, 6 if it is archived. Scheduled
    runs missed while paused are probably not made up (the API does not say).

    Examples:
      qoder deploy unpause nightly-report
      qoder deploy unpause nightly-report --json | jq -r .status"""
    return _change(ctx.obj, UNPAUSE, deployments, allow_empty)


def archive(app: App, deployments: Deployments, yes: Yes = False, allow_empty: AllowEmpty = False) -> int:
    """Archive deployments. This cannot be undone.

    It cannot be run or changed any more, its schedule stops, and its name
    becomes free (it is renamed to NAME_archived_TIMESTAMP). Asks before each
    one; scripts need --yes. Exits 0 if it is (or already was) archived.

    Examples:
      qoder deploy archive dep_archived --yes"""
    need_a_yes(app, ARCHIVE, yes)

    def question(raw: Raw) -> str:
        found = Deployment(raw)
        name, words = found.name or "-", words_of(found.schedule)
        stops = f"Its schedule ({words}) stops. " if words else ""
        never = f"It can never be run or changed again, and is renamed to '{name}_archived_TIMESTAMP'."
        return f"'{name}' ({found.id})? {stops}{never} This cannot be undone."

    return _change(app, ARCHIVE, deployments, allow_empty, None if yes else question)


def _change(app: App, change: Change, typed: list[str], allow_empty: bool, question: Question = None) -> int:
    targets = things_named(app, _DEPLOY, typed, allow_empty=allow_empty)
    return change_things(app, _DEPLOY, change, targets, question, as_list=is_list(typed))
