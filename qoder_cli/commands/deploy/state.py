"""`qoder deploy pause`, `unpause` and `archive`: what becomes of deployments, be they one or many."""

from functools import partial

import typer

from qoder_cli.app import State
from qoder_cli.base.errors import UsageError
from qoder_cli.base.model import Deployment
from qoder_cli.cli.inputs import is_list, named
from qoder_cli.cli.options import Deployments, Yes
from qoder_cli.output.screen import inert


def pause(ctx: typer.Context, deployments: Deployments) -> int:
    """Pause deployments: their schedules stop, and they cannot be run.

    Exit 0 when it is paused, also if it already was; 6 when it is archived.
    Runs that go on are not said to stop: `qoder run cancel` ends one.

    Several are paused one after the other, each once, and one that fails
    does not stop the others. JSON is then an array in the order of the
    input, and the worst exit code counts.

    Examples:
      qoder deploy pause nightly-report
      echo dep_scheduled | qoder deploy pause - -o jsonl | jq -r .status

    All exit codes: qoder help exit-codes"""
    return _change(ctx.obj, "pause", deployments)


def unpause(ctx: typer.Context, deployments: Deployments) -> int:
    """Unpause deployments: their schedules go on from now.

    Exit 0 when it is active, also if it already was; 6 when it is archived.
    The API does not say that fires missed while it was paused are made up.

    Several are done one after the other, as by `qoder deploy pause`.

    Examples:
      qoder deploy unpause nightly-report
      qoder deploy unpause nightly-report --json | jq -r .status

    All exit codes: qoder help exit-codes"""
    return _change(ctx.obj, "unpause", deployments)


def archive(
    ctx: typer.Context,
    deployments: Deployments,
    yes: Yes = False,
) -> int:
    """Archive deployments, for good: there is no way back.

    An archived deployment cannot be run or changed any more. Its schedule
    stops, lists leave it out, and its name is freed: the server renames it
    to NAME_archived_ and the unix time. It asks before each; in a script it
    needs --yes. Exit 0 when it is archived, also if it already was.

    Several are archived one after the other, as by `qoder deploy pause`.

    Examples:
      qoder deploy archive dep_archived --yes

    All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    if not yes and not state.may_ask:
        raise UsageError("archiving cannot be undone, and needs a yes", hint="add --yes")
    return _change(state, "archive", deployments, ask=not yes)


def _change(state: State, verb: str, typed: list[str], *, ask: bool = False) -> int:
    from qoder_cli.deployments.state_change import CHANGES, StateChanges, Target
    from qoder_cli.runs import names

    words = named(typed, state, what="deployments")
    targets = [Target(*each) for each in zip(words, names.deployments(words, state), strict=True)]
    changes = StateChanges(state, CHANGES[verb], targets, as_list=is_list(typed))
    return changes.make(is_wanted=partial(_is_wanted, state) if ask else None)


def _is_wanted(state: State, found: Deployment) -> bool:
    """Ask whether a deployment is to be archived, having said what becomes of it."""
    from qoder_cli.base.schedule import words_of

    id, name, words = inert(found.id), inert(found.name or ""), words_of(found.schedule)
    stops = f"its schedule ({inert(words)}) stops" if words else "it has no schedule"
    state.err.tell(
        f"{id} '{name}' is renamed to '{name}_archived_<unix seconds>', {stops},\n"
        "and it cannot be run or changed any more. There is no way back.\n"
    )
    return typer.confirm(f"Archive {id}?", err=True)
