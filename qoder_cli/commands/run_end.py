"""`qoder run result` and `qoder run cancel`: what a run left behind, and ending it early."""

from contextlib import suppress
from typing import Annotated

import typer

from qoder_cli.errors import Exit, NoAnswer, NotYet, OutcomeUnknown, UsageError
from qoder_cli.ids import segment
from qoder_cli.model import Run
from qoder_cli.outcome import is_going
from qoder_cli.output.screen import inert_lines
from qoder_cli.runs.ending import ending_error, going_on
from qoder_cli.runs.observe import Observer
from qoder_cli.state import State

CANCEL_FOR = 60.0  # seconds to wait until a cancelled run is over


def result(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="drun_…, sess_…, last or DEPLOYMENT@last.")],
    output_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Also download the files it delivered into this folder.")
    ] = None,
) -> int:
    """Print the agent's final message, and fetch what it delivered.

    Standard output is the message as plain text, or empty if there is none;
    in JSON it is the run with a key `result` (and `files`). The exit code is
    the run's outcome: 0 it completed, 1 it failed; 8 while it is going on.

    Examples:
      qoder run result last
      qoder run result last --output-dir /tmp/delivered
      qoder run result last --json | jq -r .result

    All exit codes: qoder help exit-codes"""
    from qoder_cli import names
    from qoder_cli.runs import result as results

    state: State = ctx.obj
    folder = None if output_dir is None else results.prepare_folder(output_dir)
    found = Observer(state.client, names.run(run, state), progress=state.progress).read_once()
    if is_going(found):
        raise going_on(
            NotYet(f"run {found.id} has not ended yet; it is {found.status}", hint="wait for it"), found, state
        )
    files = []
    if folder is not None:
        for file in results.delivered_files(state.client, found):
            target = results.download(state.client, file, folder)
            files.append(str(target))
            state.progress.note(f"{file.file_id} is in {target}")
    show_result(state, found, files=files if folder is not None else None)
    if error := ending_error(found, state):
        raise error
    return Exit.OK


def show_result(state: State, run: Run, *, files: list[str] | None = None) -> None:
    """Print the agent's final message: as plain text, or with JSON the run with a key `result`."""
    from qoder_cli.runs.result import final_message

    message = final_message(state.client, run)
    if state.output.is_json:
        delivered = {} if files is None else {"files": files}
        state.output.record({}, data={**run.as_json(), "result": message, **delivered})
    elif state.flags.output == "id":
        state.show_run(run)
    elif message:
        state.output.raw(inert_lines(message).rstrip("\n") + "\n")


def cancel(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="drun_…, sess_…, last or DEPLOYMENT@last.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Cancel a run, and wait until that is true.

    The run's session is cancelled. Exit 0 when the run is over, also if it
    already was. What the agent has done until then stays done.

    Examples:
      qoder run cancel last --yes

    All exit codes: qoder help exit-codes"""
    from qoder_cli import names

    state: State = ctx.obj
    observer = Observer(state.client, names.run(run, state), progress=state.progress)
    found = observer.read_once()
    if not is_going(found):
        state.progress.note(f"run {found.id} is over already: {found.status or 'its session was deleted'}")
        state.show_run(found)
        return Exit.OK
    if found.session_id is None:
        raise going_on(NotYet(f"run {found.id} has no session yet, so it cannot be cancelled"), found, state)
    if not yes:
        _ask(state, found)
    state.progress.note(f"cancelling run {found.id} (profile {state.settings.profile}, {state.settings.host})")
    pending = state.client.prepare("POST", f"/sessions/{segment(found.session_id)}/cancel").start()
    with suppress(NoAnswer):  # whether it was heard shows in how the run goes on
        state.client.understand(pending.result(state.client.request_timeout))
    return _until_over(state, observer)


def _ask(state: State, run: Run) -> None:
    if not state.may_ask:
        raise UsageError(f"cancelling run {run.id} needs a yes", hint="add --yes")
    if not typer.confirm(f"Cancel run {run.id} of {run.deployment_id}?", err=True):
        raise UsageError("nothing was cancelled")


def _until_over(state: State, observer: Observer) -> int:
    from qoder_cli.waiting.awaiting import wait_for
    from qoder_cli.waiting.limits import Limits
    from qoder_cli.waiting.wait import Watch

    [item] = wait_for(state, [Watch(observer)], Limits(timeout=CANCEL_FOR))
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
