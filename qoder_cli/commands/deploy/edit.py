"""`qoder deploy create` and `update`: a deployment from the options of a command line."""

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qoder_cli.app import State
from qoder_cli.base.errors import Exit, InternalError, QoderError, ReaderGone, Rejected, Signalled, UsageError
from qoder_cli.cli.options import OneDeployment
from qoder_cli.deployments.typed import ANY_SCHEDULE, OPTIONS, declare_fields, metadata_of, read_fields, schedule_of

if TYPE_CHECKING:
    from qoder_cli.deployments.applied import Applied
    from qoder_cli.deployments.step import Step

Name = Annotated[str | None, typer.Option(metavar="NAME", help="What it is called.")]
Agent = Annotated[str | None, typer.Option(metavar="AGENT", help="agent_…, or agent_…@3 to pin version 3.")]
Environment = Annotated[str | None, typer.Option(metavar="ENV", help="The environment, env_….")]
Message = Annotated[str | None, typer.Option("--message", "-m", metavar="TEXT", help="What to do; - is stdin.")]
Description = Annotated[str | None, typer.Option(metavar="TEXT", help="What it is for.")]
Schedule = Annotated[str | None, typer.Option(metavar="CRON", help="When it runs, as in '0 9 * * 1-5'.")]
Timezone = Annotated[str | None, typer.Option(metavar="ZONE", help="Whose clocks that means, as Europe/Berlin.")]
Vaults = Annotated[list[str] | None, typer.Option("--vault", metavar="ID", help="vault_…; repeatable.")]
Metadata = Annotated[list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="Repeatable.")]
Budget = Annotated[str | None, typer.Option(metavar="CREDITS", help="The most that one run may cost.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, also with --no-progress.")]


def create(
    ctx: typer.Context,
    name: Name = None,
    agent: Agent = None,
    environment: Environment = None,
    message: Message = None,
    description: Description = None,
    schedule: Schedule = None,
    timezone: Timezone = None,
    vaults: Vaults = None,
    metadata: Metadata = None,
    budget: Budget = None,
    dry_run: DryRun = False,
) -> int:
    """Create a deployment, once: it refuses a name that another one has.

    It needs --name, --agent, --environment and --message. With a schedule it
    is active and fires from now on; without, it runs by hand only. For all
    that a deployment can have, write a file: qoder deploy apply -f FILE.

    Examples:
      qoder deploy create --name a --agent agent_1 --environment env_1 -m Report
      echo Report | qoder deploy create --name b --agent agent_1@3 -m - \\
        --environment env_1 --schedule '0 2 * * *' --timezone UTC --budget 5

    Exit 6 when the name is taken; 9 when the answer was lost and reading
    back does not settle it.
    All exit codes: qoder help exit-codes"""
    from qoder_cli.deployments.planning import Book, creating
    from qoder_cli.files.load import missing_for_create

    state: State = ctx.obj
    fields = read_fields(state, name, agent, environment, message, description, vaults, budget)
    declared = declare_fields(fields | schedule_of(schedule, timezone, {}) | metadata_of(metadata, None, {}))
    if missing := missing_for_create(declared):
        raise UsageError(f"{', '.join(OPTIONS[field] for field in missing)} is needed to create a deployment")
    if taken := Book.of(state).alive(declared.name):
        raise Rejected(
            f"a deployment named {declared.name!r} exists already: {', '.join(found.id for found in taken)}",
            hint="choose another name, or change that one with "
            + shlex.join(state.command("deploy", "update", taken[0].id)),
        )
    return _write(state, creating(declared), dry_run=dry_run, doing="creating")


def update(
    ctx: typer.Context,
    deployment: OneDeployment,
    name: Name = None,
    agent: Agent = None,
    environment: Environment = None,
    message: Message = None,
    description: Description = None,
    schedule: Schedule = None,
    timezone: Timezone = None,
    no_schedule: Annotated[bool, typer.Option("--no-schedule", help="Run it by hand only.")] = False,
    vaults: Vaults = None,
    no_vault: Annotated[bool, typer.Option("--no-vault", help="Take all vaults away.")] = False,
    metadata: Metadata = None,
    remove_metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Take a key out of the metadata; repeatable.")
    ] = None,
    budget: Budget = None,
    no_budget: Annotated[bool, typer.Option("--no-budget", help="Let a run cost what it costs.")] = False,
    dry_run: DryRun = False,
) -> int:
    """Change a deployment: only what the options name, and only what differs.

    --agent without a version pins the agent's latest one. --vault replaces
    all vaults, --message the first messages. --metadata sets keys and leaves
    the others. It shows what differs, sends it and reads it back.

    Examples:
      qoder deploy update nightly-report --schedule '30 8 * * 1-5' --dry-run
      qoder deploy update dep_demo --description 'A demo' --metadata team=core

    Exit 0 also when there was nothing to change.
    All exit codes: qoder help exit-codes"""
    from qoder_cli.base.model import mapping
    from qoder_cli.deployments.lookup import find_deployment
    from qoder_cli.deployments.pinning import at_latest
    from qoder_cli.deployments.planning import Book, changing
    from qoder_cli.files.normal import settable
    from qoder_cli.runs import names

    state: State = ctx.obj
    cleared: dict[str, Any] = {}
    for is_cleared, given, option, nothing in (
        (no_schedule, schedule or timezone, "schedule", {"schedule": None}),
        (no_vault, vaults, "vault", {"vault_ids": []}),
        (no_budget, budget, "budget", {"budget": None}),
    ):
        if is_cleared and given:
            raise UsageError(f"--{option} and --no-{option} contradict each other", hint="give one of them")
        cleared |= nothing if is_cleared else {}
    fields = read_fields(state, name, agent, environment, message, description, vaults, budget) | cleared
    typed = fields | schedule_of(schedule, timezone, ANY_SCHEDULE) | metadata_of(metadata, remove_metadata, {})
    if not typed:
        raise UsageError("nothing to change was named", hint="qoder deploy update --help shows what can be")
    declare_fields(typed)  # what is wrong is told before anything is asked
    current = find_deployment(state, names.deployment(deployment, state))
    known = settable(current)
    fields |= schedule_of(schedule, timezone, mapping(known["schedule"]))
    fields |= metadata_of(metadata, remove_metadata, known["metadata"])
    book = Book.of(state) if name not in (None, current.name) else Book()
    declared = declare_fields(fields)
    [pinned] = [declared] if agent is None else at_latest(state, [declared], [current])
    step = changing(pinned, current, book, repin=agent is not None)
    return _write(state, step, dry_run=dry_run, doing="changing")


def _write(state: State, step: "Step", *, dry_run: bool, doing: str) -> int:
    """Show what differs, write it, and print the deployment as it is then."""
    from qoder_cli.deployments.applied import would
    from qoder_cli.deployments.applying import apply, give_up
    from qoder_cli.http.pace import WRITES_PER_SECOND, Pace

    if step.error is not None:
        raise step.error
    _announce(state, step, dry_run=dry_run, doing=doing)
    if dry_run:
        _print_plan(state, would(step))
        return Exit.OK
    applied = None
    try:
        applied = apply(state, step, Pace(state.clock, per_second=WRITES_PER_SECOND))
        _print(state, applied)
    except Signalled as signalled:
        raise _stopped(state, applied or give_up(step), signalled) from None
    except InternalError as unwritten:
        raise _untold(state, applied or give_up(step), unwritten) from None
    if applied.error is not None:
        raise applied.error
    return Exit.OK


def _announce(state: State, step: "Step", *, dry_run: bool, doing: str) -> None:
    from qoder_cli.deployments.show import show_changes, warn_of_plan

    if not step.changes:
        state.progress.note(f"{step.known} is so already: nothing is sent")
    elif not dry_run:
        state.progress.note(f"{doing} {step.known} {state.client.settings.whereabouts}")
    if dry_run or not state.progress.is_quiet:
        show_changes(state, [step])
    warn_of_plan(state, [step])


def _print_plan(state: State, planned: "Applied") -> None:
    if planned.shown or state.output.format != "id":  # what is not there has no id to print
        id = planned.shown.id if planned.shown else ""
        state.output.record(planned.row(), data=planned.as_json(), id=id)


def _print(state: State, applied: "Applied") -> None:
    from qoder_cli.output.views import deployment_fields

    if (found := applied.deployment) is not None:
        fields = deployment_fields(found, now=state.client.server_now())
        state.output.record(fields, data=found.as_json(), id=found.id)


def _untold(state: State, applied: "Applied", unwritten: InternalError) -> QoderError:
    """Return the error that standard output takes nothing, with what was to be printed."""
    unwritten.message = f"{applied.known} was {applied.action.replace('_', ' ')}, but {unwritten.message}"
    unwritten.next = state.looking("deploy", "get", applied.shown.id) if applied.shown else None
    return unwritten


def _stopped(state: State, applied: "Applied", signalled: Signalled) -> QoderError:
    """Return the last words when a signal came, having printed what is known of the deployment."""
    if not state.output.has_written:
        with suppress(ReaderGone, InternalError):  # the signal decides, whoever still listens
            _print(state, applied)
    did = f"{applied.step.name} was {applied.action.replace('_', ' ')}"
    stopped = signalled.in_words(f"stopped by a signal; {applied.error.message if applied.error else did}")
    if applied.error is not None:
        stopped.next = applied.error.next
        stopped.kind = Exit.OUTCOME_UNKNOWN if applied.action == "unknown" else None
    return stopped
