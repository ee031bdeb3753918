"""`qoder run cancel`: end a run early."""

import shlex
from contextlib import suppress

import typer

from qoder_cli.app import State
from qoder_cli.base.errors import Exit, NoAnswer, NotYet, OutcomeUnknown, UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.outcome import is_going
from qoder_cli.cli.options import OneRun, Yes
from qoder_cli.runs.ending import going_on
from qoder_cli.runs.observe import Observer, observer_of

CANCEL_FOR = 60.0  # seconds to wait until a cancelled run is over


def cancel(
    ctx: typer.Context,
    run: OneRun,
    yes: Yes = False,
) -> int:
    """Cancel a run, and wait until that is true.

    The run's session is cancelled. Exit 0 when the run is over, also if it
    already was. What the agent has done until then stays done.

    Examples:
      qoder run cancel last --yes

    All exit codes: qoder help exit-codes"""
    from qoder_cli.runs import names

    state: State = ctx.obj
    if not yes and not state.may_ask:
        raise UsageError("cancelling a run needs a yes", hint="add --yes")
    observer = observer_of(state, names.run(run, state))
    found = observer.read_once()
    if found.adopted and not run.startswith(("drun_", "sess_")):
        raise UsageError(
            f"run {found.id} was adopted, so it may be someone else's",
            hint="to cancel it all the same, give its id: " + shlex.join(state.command("run", "cancel", found.id)),
        )
    if not is_going(found):
        state.progress.note(f"run {found.id} is over already: {found.status or 'its session was deleted'}")
        state.show_run(found)
        return Exit.OK
    if found.session_id is None:
        raise going_on(NotYet(f"run {found.id} has no session yet, so it cannot be cancelled"), found, state)
    if not yes and not typer.confirm(f"Cancel run {found.id} of {found.deployment_id}?", err=True):
        raise UsageError("nothing was cancelled")
    state.progress.note(f"cancelling run {found.id} {state.settings.whereabouts}")
    pending = state.client.prepare("POST", f"/sessions/{segment(found.session_id)}/cancel").start()
    with suppress(NoAnswer):  # whether it was heard shows in how the run goes on
        state.client.understand(pending.result(state.client.request_timeout))
    return _until_over(state, observer)


def _until_over(state: State, observer: Observer) -> int:
    from qoder_cli.runs.after import Wanted
    from qoder_cli.runs.awaiting import wait_for
    from qoder_cli.runs.fleet.limits import Limits
    from qoder_cli.runs.watch import Watch

    item = wait_for(state, Watch(observer), Limits(timeout=CANCEL_FOR), Wanted(on_ask="wait"))
    if item.run is not None:
        state.show_run(item.run)
    if item.run is None or is_going(item.run):
        raise OutcomeUnknown(
            f"run {item.typed} was asked to cancel and is not over yet",
            hint="see whether it ends",
            next=state.command("run", "wait", item.typed),
            run_id=item.typed,
            run_state="going",
        )
    return Exit.OK
