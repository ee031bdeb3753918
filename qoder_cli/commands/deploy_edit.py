"""`qoder deploy create` and `update`: a deployment from the options of a command line."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qoder_cli.errors import Exit, Rejected, Signalled, UsageError
from qoder_cli.state import State

if TYPE_CHECKING:
    from qoder_cli.applying import Step
    from qoder_cli.deployfile.load import Declared

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
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and send no write.")]

# Which option a field comes from, for what is wrong with it.
_OPTIONS = {
    "name": "--name",
    "agent": "--agent",
    "environment_id": "--environment",
    "initial_events": "--message",
    "message": "--message",
    "description": "--description",
    "schedule.timezone": "--timezone",
    "schedule": "--schedule",
    "vault_ids": "--vault",
    "metadata": "--metadata",
    "budget": "--budget",
}


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
    from qoder_cli.applying import plan
    from qoder_cli.deployfile.load import missing_for_create

    state: State = ctx.obj
    fields = _fields(state, name, agent, environment, message, description, vaults, budget)
    fields |= {} if schedule is None and timezone is None else {"schedule": _schedule(schedule, timezone, {})}
    fields |= {} if metadata is None else {"metadata": _pairs(metadata)}
    declared = _declared(fields)
    if missing := missing_for_create(declared):
        raise UsageError(f"{', '.join(_OPTIONS[field] for field in missing)} is needed to create a deployment")
    [step] = plan(state, [declared], repin=False)
    if step.current is not None:
        raise Rejected(
            f"a deployment named {declared.name!r} exists already: {step.current.id}",
            hint="change it, or choose another name",
            next=state.command("deploy", "update", step.current.id),
        )
    return _write(state, step, dry_run=dry_run, doing="creating")


def update(
    ctx: typer.Context,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="The deployment, dep_… or its name.")],
    name: Name = None,
    agent: Agent = None,
    environment: Environment = None,
    message: Message = None,
    description: Description = None,
    schedule: Schedule = None,
    timezone: Timezone = None,
    no_schedule: Annotated[bool, typer.Option("--no-schedule", help="Run it by hand only.")] = False,
    vaults: Vaults = None,
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
    from qoder_cli import names
    from qoder_cli.applying import Step, archived
    from qoder_cli.changes import difference
    from qoder_cli.deployfile.normal import settable
    from qoder_cli.launch import read_deployment

    state: State = ctx.obj
    for given, other in ((no_schedule and (schedule or timezone), "--schedule"), (no_budget and budget, "--budget")):
        if given:
            raise UsageError(f"{other} and --no{other[1:]} contradict each other", hint="give one of them")
    fields = _fields(state, name, agent, environment, message, description, vaults, budget)
    current = read_deployment(state, names.deployment(deployment, state))
    known = settable(current)
    if schedule is not None or timezone is not None:
        fields["schedule"] = _schedule(schedule, timezone, known["schedule"] or {})
    if metadata or remove_metadata:
        kept = {key: value for key, value in known["metadata"].items() if key not in (remove_metadata or ())}
        fields["metadata"] = kept | _pairs(metadata or [])
    fields |= {"schedule": None} if no_schedule else {}
    fields |= {"budget": None} if no_budget else {}
    if not fields:
        raise UsageError("nothing to change was named", hint="qoder deploy update --help shows what can be")
    declared = _declared(fields)
    if current.archived_at:
        raise archived(current)
    differs = difference(declared.fields, known, repin=agent is not None)
    step = Step(declared, current, differs.changes, differs.body)
    if not differs.changes:
        state.progress.note(f"{current.id} is so already: nothing was sent")
    return _write(state, step, dry_run=dry_run, doing="changing")


def _fields(
    state: State,
    name: str | None,
    agent: str | None,
    environment: str | None,
    message: str | None,
    description: str | None,
    vaults: list[str] | None,
    budget: str | None,
) -> dict[str, Any]:
    """Return the fields that the options name, as a file would have them."""
    fields = {
        "name": name,
        "agent": None if agent is None else _agent(agent),
        "environment_id": environment,
        "message": _message(message, state),
        "description": description,
        "vault_ids": vaults,
        "budget": budget,
    }
    return {field: value for field, value in fields.items() if value is not None}


def _agent(typed: str) -> Any:
    id, at, version = typed.partition("@")
    if not at:
        return id
    if not version.isdecimal():
        raise UsageError(f"--agent {typed}: what follows @ is no version", hint="as in agent_1@3")
    return {"id": id, "version": int(version)}


def _message(typed: str | None, state: State) -> str | None:
    if typed != "-":
        return typed
    try:
        return state.stdin.read() if state.stdin else ""
    except (UnicodeDecodeError, OSError) as error:
        raise UsageError(f"standard input cannot be read: {error}", hint="pipe the message into it") from None


def _schedule(expression: str | None, timezone: str | None, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole schedule, as the API wants it, with what is there already where only half was typed."""
    said = {"expression": expression or known.get("expression"), "timezone": timezone or known.get("timezone")}
    for half, option in (("expression", "--schedule"), ("timezone", "--timezone")):
        if said[half] is None:
            raise UsageError(f"a schedule needs {option} too", hint="--schedule '0 9 * * *' --timezone UTC")
    return said


def _pairs(typed: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in typed]
    if wrong := next((key for key, equals, _ in pairs if not equals), None):
        raise UsageError(f"--metadata {wrong!r} is no KEY=VALUE", hint="as in --metadata team=core")
    return {key: value for key, _, value in pairs}


def _declared(fields: Mapping[str, Any]) -> "Declared":
    """Return the fields, checked as those of a file are. Raises UsageError, naming the options."""
    from qoder_cli.deployfile.load import declare

    declared, problems = declare(fields)
    if problems:
        told = [f"{_option(problem.path)}: {problem.text}" for problem in problems]
        raise UsageError("; ".join(dict.fromkeys(told)), hint="nothing was sent")
    return declared


def _option(path: str) -> str:
    return next((option for field, option in _OPTIONS.items() if path.startswith(field)), path)


def _write(state: State, step: "Step", *, dry_run: bool, doing: str) -> int:
    """Show what differs, write it, and print the deployment as it is then."""
    from qoder_cli.applying import apply, give_up, would
    from qoder_cli.commands.deploy_apply import print_applied, show_changes
    from qoder_cli.pace import WRITES_PER_SECOND, Pace
    from qoder_cli.views import deployment_fields

    settings = state.client.settings
    if step.changes and not dry_run:
        known = f" ({step.current.id})" if step.current else ""
        state.progress.note(f"{doing} {step.name}{known} (profile {settings.profile}, {settings.host})")
    if dry_run or not state.progress.is_quiet:
        show_changes(state, [step])
    if dry_run:
        print_applied(state, [would(step)])
        return Exit.OK
    signalled = None
    try:
        applied = apply(state, step, Pace(state.clock, per_second=WRITES_PER_SECOND))
    except Signalled as signal:
        signalled, applied = signal, give_up(step)
    if (found := applied.deployment) is not None:
        state.output.record(deployment_fields(found), data=found.as_json(), id=found.id)
    if signalled is not None:
        what = applied.error.message if applied.error else f"{step.name} was {applied.action.replace('_', ' ')}"
        error = signalled.in_words(f"stopped by a signal; {what}", next=applied.error.next if applied.error else None)
        error.kind = Exit.OUTCOME_UNKNOWN if applied.error else None
        raise error
    if applied.error is not None:
        raise applied.error
    return Exit.OK
