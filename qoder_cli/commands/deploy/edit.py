"""`qoder deploy create` and `update`: a deployment from options, checked like a file."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from copy import deepcopy
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.cron import next_fires
from qoder_cli.base.errors import ApiError, Rejected, UsageError, exclude
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Deployment, Raw, array, filled, mapping
from qoder_cli.base.plainfile import text_of
from qoder_cli.cli.options import AGENT, ONE_DEPLOYMENT, Text, Texts, flag, option
from qoder_cli.commands import editing
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
from qoder_cli.nouns.bodies import declared_by_options, pairs, refuse_ours
from qoder_cli.nouns.declared import Declaration
from qoder_cli.nouns.deployments import FORM, REPINNING, REQUIRED, fires_in_words, plan, settable
from qoder_cli.nouns.edits.step import Step, planned, without_writing
from qoder_cli.nouns.edits.thing import archived
from qoder_cli.nouns.lists import ServerLists
from qoder_cli.nouns.lookup import deployment_id_of, find_deployment
from qoder_cli.nouns.named import Names
from qoder_cli.nouns.shown import show
from qoder_cli.nouns.table import NOUNS
from qoder_cli.sessions.answers import message

_DEPLOYMENT = NOUNS["deploy"]
_ENV = option("--env", "ENV", "Environment id or name.", values.things("env"))
_VAULT = option("--vault", "VAULT", "Vault id or name. Repeatable.", values.things("vault"))

# The option of each field, for error messages.
_OPTIONS = {
    "name": "--name",
    "agent": "--agent",
    "environment_id": "--env",
    "environment": "--env",
    "initial_events": "--message",
    "message": "--message",
    "description": "--description",
    "schedule.timezone": "--timezone",
    "schedule": "--schedule",
    "vault_ids": "--vault",
    "vaults": "--vault",
    "metadata": "--metadata",
    "budget": "--budget",
}
_MERGED = ("schedule", "timezone", "metadata")  # options that change a part of what is there
# Stands for what a deployment has, until it is read.
_ANY = {"schedule": {"expression": "* * * * *", "timezone": "UTC"}, "initial_events": message("…")}


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

    def read(self, app: App) -> Raw:
        """Return those fields that are plain, as a file has them. Raises UsageError."""
        fields = {name: value for name, value in self._asdict().items() if value not in (None, ())}
        fields = {name: value for name, value in fields.items() if name not in _MERGED}
        if fields.get("message") == "-":
            fields["message"] = text_of("-", stdin=app.stdin, option="--message")
        return fields

    def whole(self, plain: Raw, outcome: Sequence[Raw], current: Raw, removed: Texts = None) -> Raw:
        """Return the fields wanted; the rest of schedule, metadata and messages is `current`'s. Raises UsageError."""
        fields = dict(plain)
        if outcome:  # beside the message typed, or those that are there
            first = array(current.get("initial_events"))
            if "message" in fields:
                first = message(fields.pop("message"))
            fields["initial_events"] = editing.with_outcome(first, outcome)
        halves = {"expression": self.schedule, "timezone": self.timezone}
        if typed := {name: half for name, half in halves.items() if half is not None}:
            there = mapping(current.get("schedule"))
            schedule = fields["schedule"] = {**{name: there[name] for name in halves if name in there}, **typed}
            if "expression" not in schedule:
                raise UsageError("--timezone needs --schedule", hint="add --schedule, e.g. '0 9 * * *'")
            if "timezone" not in schedule:
                raise UsageError("--schedule needs --timezone", hint="add --timezone, e.g. UTC")
        refuse_ours("--remove-metadata", removed)
        if self.metadata or removed:
            kept = {key: value for key, value in mapping(current.get("metadata")).items() if key not in (removed or ())}
            fields["metadata"] = kept | pairs(self.metadata)
        return fields


def create(app: App, given: DeploymentFields, goal: OutcomeOptions, making: Making) -> None:
    """Create a deployment.

    Requires --name, --agent, --env and --message. With --schedule it runs from
    now on; without, you start it. `deploy run --require-satisfied` requires
    --outcome. For other settings use a file: qoder apply FILE.

    Exits 6 if the name is taken (see --if-missing), 9 if the response was lost
    and it is unclear whether it was created.

    Examples:
      qoder deploy create --name a --agent writer --env default -m Report
      echo Report | qoder deploy create --name b --agent writer@3 -m - \\
        --env default --schedule '0 2 * * *' --timezone UTC --budget 5"""
    from qoder_cli.stack.turns import machine_turn

    making.check()
    declared = _declared(given.whole(given.read(app), goal.event(app), {}))
    if missing := [_OPTIONS[field] for field in REQUIRED if field not in declared.fields]:
        plural = "s" if len(missing) > 1 else ""
        raise UsageError(f"missing required option{plural}: {', '.join(missing)}")
    fields = _with_ids(app, declared)
    with nullcontext() if making.dry_run else machine_turn(app):
        step = plan(None, None, planned(Step(noun=_DEPLOYMENT, form=FORM, wanted=fields)))
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
        exclude({f"--{name}": given, f"--no-{name}": is_cleared})
        if is_cleared:
            cleared |= nothing
    plain, outcome = options.read(app) | cleared, goal.event(app)
    if not (typed := options.whole(plain, outcome, _ANY, remove_metadata)):
        raise UsageError("nothing to update", hint="pass at least one option; see qoder deploy update --help")
    _declared(typed)  # errors first, before any request
    with nullcontext() if dry_run else machine_turn(app):
        current = find_deployment(app, deployment_id_of(deployment, app, is_whole=True), fresh=True)
        if outcome and "message" not in plain:
            editing.refuse_unseen(filled(current.raw), ["initial_events"])
        declared = _declared(options.whole(plain, outcome, settable(current), remove_metadata))
        step = _changing(app, _with_ids(app, declared), current)
        _write(app, step, dry_run=dry_run, doing="changing")


def _declared(fields: Raw) -> Declaration:
    return declared_by_options(_DEPLOYMENT, fields, _OPTIONS)


def _with_ids(app: App, declared: Declaration) -> Raw:
    """Return the fields of a deployment with ids for names. Raises UsageError, NotFound, ApiError."""
    from qoder_cli.nouns.declaring import put

    names, fields = Names(app), deepcopy(declared.fields)
    for ref in declared.refs:
        id: Any = names.id_of(ref.noun, ref.name or ref.path)
        if ref.version is not None:
            id = {"type": ref.pins, ref.key: id, "version": ref.version}
        put(fields, ref.at, id)
    return fields


def _changing(app: App, fields: Raw, current: Deployment) -> Step:
    """Return the step that changes a deployment, with an error if it cannot. Raises ApiError.

    An agent that is named without a version is to have the latest that there is, so that nothing is sent if that is
    pinned already. Where it cannot be read, or is older than the pin (a replica lags), the bare id is sent, which pins
    the latest.
    """
    pinned = mapping(current.raw.get("agent"))
    id = pinned.get("id")
    if isinstance(id, str) and fields.get("agent") == id:
        with suppress(ApiError):
            agent = mapping(app.client.get(f"/agents/{segment(id)}", fresh=True))
            now, then = agent.get("version"), pinned.get("version")
            if agent.get("id") == id and isinstance(now, int) and isinstance(then, int) and now >= then:
                fields = {**fields, "agent": {"type": "agent", "id": id, "version": now}}
    name = fields.get("name")
    step = Step(noun=_DEPLOYMENT, form=REPINNING, wanted=fields, current=current.raw)
    if error := archived(step.target, current.raw):
        return step.with_(error=error)
    if name is not None and name != current.name:
        [rows] = ServerLists(app).holders(_DEPLOYMENT, name, renamed=[current.id])
        if others := [str(row["id"]) for row in rows if row["id"] != current.id]:
            return step.with_(error=Rejected(f"the name {name!r} is taken by {others[0]}", hint="choose another name"))
    return plan(None, None, planned(step).with_(form=FORM))


def _write(app: App, step: Step, *, dry_run: bool, doing: str) -> None:
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
