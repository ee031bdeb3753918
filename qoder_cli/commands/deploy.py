"""`qoder deploy`: start runs of deployments, and look at deployments."""

import uuid
from contextlib import suppress
from typing import Annotated

import typer

from qoder_cli.commands.run import Limits, finish, show, wait_for
from qoder_cli.ending import ending_error, stopped_waiting
from qoder_cli.errors import ApiError, Exit, NoAnswer, OutcomeUnknown, QoderError
from qoder_cli.ids import deployment_id, segment
from qoder_cli.model import Deployment, Run
from qoder_cli.observe import Observer
from qoder_cli.outcome import Standing, settle, standing
from qoder_cli.state import State
from qoder_cli.trigger import TriggerStopped, trigger
from qoder_cli.views import deployment_fields
from qoder_cli.wait import Watch


def run(
    ctx: typer.Context,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="The deployment's id, dep_…")],
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Stay until the run has ended; exit with its outcome.")
    ] = False,
    timeout: Annotated[
        str | None, typer.Option(metavar="D", help="Give up waiting after 90s, 10m, 1h30m; 0 checks once.")
    ] = None,
    interval: Annotated[
        str | None, typer.Option(metavar="D", help="Longest pause between checks; 5s if not given.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the request, and send nothing.")] = False,
) -> int:
    """Start a run of a deployment by hand.

    Without --wait it returns when the run is accepted. With --wait it stays
    until the run has ended, and the exit code says how: 0 it completed, 1 it
    failed or never started, 3 it was skipped, 124 --timeout came first (the
    run goes on). Completed means that the agent finished its turn, not that
    it did what you wanted.

    A run costs credits and is never started twice: when an answer is lost,
    the exit code is 9 and nothing is sent again.

    Examples:
      qoder deploy run dep_demo --wait
      qoder deploy run dep_demo --wait --timeout 30m --json | jq -r .status
      id=$(qoder deploy run dep_demo -q) && qoder run wait "$id"

    To try these without cost: qoder sandbox -- sh
    All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    target = deployment_id(deployment)
    limits = Limits.read(wait=wait, timeout=timeout, interval=interval)
    if dry_run:
        return _show_request(state, target)
    started = _start(state, target)
    watch = Watch(Observer(state.client, started.id, run=started, progress=state.progress), just_triggered=True)
    if wait:
        return finish(state, wait_for(state, [watch], limits), as_list=False)
    return _accepted(state, started, watch.observer)


def get(
    ctx: typer.Context,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="The deployment's id, dep_…")],
) -> None:
    """Show a deployment: its state, agent, environment and schedule.

    Exit 0 whatever its state; 5 when there is no such deployment.

    Examples:
      qoder deploy get dep_demo
      qoder deploy get dep_demo --json | jq -r .schedule.expression

    All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    found = read_deployment(state, deployment_id(deployment))
    state.output.record(deployment_fields(found), data=found.as_json(), id=found.id)


def read_deployment(state: State, id: str) -> Deployment:
    """Return a deployment by its id. Raises ApiError."""
    found = Deployment.read(state.client.get(f"/deployments/{segment(id)}"))
    if found is None:
        raise NoAnswer(f"the server answered for deployment {id} with something that is no deployment")
    return found


def _show_request(state: State, target: str) -> int:
    settings = state.client.settings  # by way of the client, so that a missing token is found here too
    request = {
        "dry_run": True,
        "method": "POST",
        "url": f"{settings.base_url}/deployments/{segment(target)}/run",
        "token_from": settings.token_source,
        "profile": settings.profile,
        "body": {},
    }
    state.output.record({**request, "body": "{}"}, data=request, id=target)
    return 0


def _start(state: State, target: str) -> Run:
    """Trigger one run, say which, and return it. Raises QoderError; a signal leaves with what is known."""
    settings = state.client.settings
    state.progress.note(f"starting a run of {target} (profile {settings.profile}, {settings.host})")
    try:
        started = trigger(
            state.client,
            target,
            key=str(uuid.uuid4()),
            progress=state.progress,
            on_started=state.started.append,
        )
    except TriggerStopped as stopped:
        raise _stopped(state, target, stopped) from None
    except (ApiError, OutcomeUnknown) as error:
        raise _explained(state, target, error) from error
    state.progress.note(f"run {started.id} of {target}")
    return started


def _accepted(state: State, started: Run, observer: Observer) -> int:
    """Print a run that is not waited for; one that never started or was skipped decides the exit code already."""
    if standing(started) is Standing.HALF_WRITTEN:
        with suppress(ApiError):
            observer.read_once()
    run = observer.run or settle(started)
    show(state, run)
    error = ending_error(run, state)
    if error is not None and error.exit is not Exit.NOT_YET:
        raise error
    return Exit.OK


def _stopped(state: State, target: str, stopped: TriggerStopped) -> QoderError:
    """Return the last words when a signal came while the trigger was under way."""
    if stopped.run is not None:
        run = settle(stopped.run)
        show(state, run)
        return stopped_waiting(stopped.signalled, [run.id], run, state)
    error = stopped.signalled.in_words(
        f"stopped while a run of {target} was being started; whether it was is not known",
        hint="look at the deployment's runs before starting another",
        run_state="unknown",
    )
    error.kind = Exit.OUTCOME_UNKNOWN
    return error


def _explained(state: State, target: str, error: QoderError) -> QoderError:
    """Explain a 409 by reading the deployment: its answer does not say why (api/facts.md, 3.4)."""
    if error.http_status != 409:
        return error
    with suppress(ApiError):
        found = read_deployment(state, target)
        if found.archived_at:
            error.message = f"deployment {target} is archived since {found.archived_at}; {error.message}"
            error.hint = "archiving cannot be undone: run another deployment"
        elif found.state == "paused":
            because = f" ({found.paused_because})" if found.paused_because else ""
            error.message = f"deployment {target} is paused{because}; {error.message}"
            error.hint = (
                f"unpause it first; its next scheduled run would be {found.next_fires[0]}"
                if found.next_fires
                else "unpause it first"
            )
    return error


COMMANDS = {"run": run, "get": get}
