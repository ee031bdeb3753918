"""`qoder deploy create` and `update`: a deployment from options."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.cron import next_fires
from qoder_cli.base.errors import UsageError
from qoder_cli.base.model import Deployment, array, mapping
from qoder_cli.cli.options import AGENT, ONE_DEPLOYMENT, Text, Texts, flag, option
from qoder_cli.commands import editing
from qoder_cli.commands.deploy.typed import (
    ANY_SCHEDULE,
    OPTIONS,
    changing,
    creating,
    declare_fields,
    metadata_of,
    read_fields,
    schedule_of,
    with_ids,
)
from qoder_cli.commands.editing import (
    DESCRIPTION,
    DRY_RUN,
    METADATA,
    NAME,
    NO_BUDGET,
    REMOVE_METADATA,
    Making,
    OutcomeOptions,
    taken,
)
from qoder_cli.help.completion import values
from qoder_cli.nouns.deployments import fires_in_words, settable
from qoder_cli.nouns.lookup import deployment_id_of, find_deployment
from qoder_cli.nouns.shown import show
from qoder_cli.sessions.answers import message

if TYPE_CHECKING:
    from qoder_cli.nouns.edits.step import Step

_ENV = option("--env", "ENV", "Environment id or name.", values.things("env"))
_ANY_MESSAGE = message("…")  # stands for those that it has
_VAULT = option("--vault", "VAULT", "Vault id or name. Repeatable.", values.things("vault"))


class DeploymentFields(NamedTuple):
    """A deployment's fields as typed. These are the options, too."""

    name: Text = NAME
    agent: Text = AGENT
    environment: Text = _ENV
    message: Text = option("--message -m", "TEXT", "Prompt for the agent; - reads stdin.")
    description: Text = DESCRIPTION
    schedule: Text = option("--schedule", "CRON", "Cron expression, e.g. '0 9 * * 1-5'.")
    timezone: Text = option("--timezone", "ZONE", "Time zone of the schedule, e.g. Europe/Berlin.")
    vaults: Texts = _VAULT
    metadata: Texts = METADATA
    budget: Text = option("--budget", "CREDITS", "Maximum credits per run.")

    def whole(self, removed: list[str] | None, schedule: Any, metadata: Any) -> dict[str, Any]:
        """Return schedule and metadata whole, with what is known already."""
        wanted = schedule_of(self.schedule, self.timezone, schedule)
        return wanted | metadata_of(self.metadata, removed, metadata)


def create(app: App, given: DeploymentFields, goal: OutcomeOptions, making: Making) -> None:
    """Create a deployment.

    Requires --name, --agent, --env and --message. With --schedule it fires from
    now on; without, you start it. `deploy run --require-satisfied` requires
    --outcome. For other settings use a file: qoder apply FILE.

    Exits 6 if the name is taken (see --if-missing), 9 if the response was lost
    and it is unclear whether it was created.

    Examples:
      qoder deploy create --name a --agent writer --env default -m Report
      echo Report | qoder deploy create --name b --agent writer@3 -m - \\
        --env default --schedule '0 2 * * *' --timezone UTC --budget 5"""
    from qoder_cli.nouns.deployments import REQUIRED
    from qoder_cli.stack.turns import machine_turn

    making.check()
    fields = _with_goal(read_fields(app, given._asdict()), goal.event(app), ())
    declared = declare_fields(fields | given.whole(None, {}, {}))
    if missing := [field for field in REQUIRED if field not in declared.fields]:
        options = [OPTIONS[field] for field in missing]
        plural = "s" if len(options) > 1 else ""
        raise UsageError(f"missing required option{plural}: {', '.join(options)}")
    fields = with_ids(app, declared)
    with nullcontext() if making.dry_run else machine_turn(app):
        step = creating(fields)
        if existing := taken(app, step.noun, declared.name, making, step):
            show(app, step.noun, existing)
            return
        _write(app, step, dry_run=making.dry_run, doing="creating")


def update(
    app: App,
    deployment: str = ONE_DEPLOYMENT,
    *,
    options: DeploymentFields,
    goal: OutcomeOptions,
    no_schedule: bool = flag("--no-schedule", "Remove the schedule."),
    no_vault: bool = flag("--no-vault", "Remove all vaults."),
    remove_metadata: Texts = REMOVE_METADATA,
    no_budget: bool = NO_BUDGET,
    dry_run: bool = DRY_RUN,
) -> None:
    """Update a deployment. Only the settings you pass are changed.

    --agent without a version pins the latest. --vault replaces all vaults,
    --message all initial messages; --metadata keeps other keys. Shows, sends
    and verifies the changes; exits 0 if there are none.

    Examples:
      qoder deploy update nightly-report --schedule '30 8 * * 1-5' --dry-run"""
    from qoder_cli.stack.turns import machine_turn

    cleared: dict[str, Any] = {}
    for is_cleared, given, name, nothing in (
        (no_schedule, options.schedule or options.timezone, "schedule", {"schedule": None}),
        (no_vault, options.vaults, "vault", {"vault_ids": []}),
        (no_budget, options.budget, "budget", {"budget": None}),
    ):
        if is_cleared and given:
            raise UsageError(f"--{name} and --no-{name} cannot be used together")
        if is_cleared:
            cleared |= nothing
    plain, outcome = read_fields(app, options._asdict()) | cleared, goal.event(app)
    values = (
        _with_goal(plain, outcome, _ANY_MESSAGE)
        | schedule_of(options.schedule, options.timezone, ANY_SCHEDULE)
        | metadata_of(options.metadata, remove_metadata, {})
    )
    if not values:
        raise UsageError("nothing to update", hint="pass at least one option; see qoder deploy update --help")
    declare_fields(values)  # errors first, before any request
    with nullcontext() if dry_run else machine_turn(app):
        current = find_deployment(app, deployment_id_of(deployment, app), fresh=True)
        current_fields = settable(current)
        fields = _with_goal(plain, outcome, array(current.raw.get("initial_events")))
        fields |= options.whole(remove_metadata, mapping(current_fields["schedule"]), current_fields["metadata"])
        step = changing(app, with_ids(app, declare_fields(fields)), current)
        _write(app, step, dry_run=dry_run, doing="changing")


def _with_goal(fields: dict[str, Any], outcome: list[dict[str, Any]], current: Sequence[Any]) -> dict[str, Any]:
    """Return fields whose first events have this outcome, beside the message typed, or those that are there."""
    if not outcome:
        return fields
    first = message(fields["message"]) if "message" in fields else current
    others = {name: value for name, value in fields.items() if name != "message"}
    return others | {"initial_events": editing.with_outcome(first, outcome)}


def _write(app: App, step: "Step", *, dry_run: bool, doing: str) -> None:
    from qoder_cli.nouns.edits.step import without_writing

    if step.error is not None:
        raise step.error
    if not step.changes:
        app.progress.note(f"{step.label} is already up to date")
    elif not dry_run:
        app.progress.note(f"{doing} {step.label}{app.client.settings.whereabouts}")
    if step.is_open:
        editing.note_changes(app, step)
    if step.is_open and (schedule := mapping(step.body.get("schedule"))):
        is_paused = step.current is not None and Deployment(step.current).state == "paused"
        app.progress.note(fires_in_words(app, schedule, is_paused=is_paused))
        if not next_fires(schedule, now=app.client.server_now()):
            app.progress.warn(f"{step.label}: this schedule never fires (no such date)")
    if dry_run:
        planned = without_writing(step)
        if planned.found or app.output.format != "id":  # what is not there has no id to print
            id = planned.found.id if planned.found else ""
            app.output.record(planned.row(), data=planned.as_json(), id=id)
        return
    editing.write(app, step)
