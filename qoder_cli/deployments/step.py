"""One deployment of a plan: as wanted, as it is, and the result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.cron import next_fires, words_of
from qoder_cli.base.errors import Rejected, UsageError
from qoder_cli.base.model import Deployment
from qoder_cli.base.times import local_zone_name
from qoder_cli.deployments.load import Declared
from qoder_cli.deployments.lookup import alive, read_all
from qoder_cli.nouns.deployments import FORM, WRITE_ONLY, secrets_of
from qoder_cli.nouns.edits import step as edits
from qoder_cli.nouns.edits.difference import FieldChange, Form, Secrets
from qoder_cli.nouns.edits.thing import Raw
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import NOUNS
from qoder_cli.output.cells import Moment, cell
from qoder_cli.output.screen import inert

PAUSED = "paused"  # what a change of that is called


@dataclass(kw_only=True, eq=False)
class DeploymentStep(edits.Step):
    """One declared deployment, and what to do about it."""

    declared: Declared
    noun: Noun = NOUNS["deploy"]
    form: Form = FORM
    planned: Sequence[FieldChange] | None = None  # all its changes, while `changes` has only some
    more_follows: bool = False  # another write comes after the one that is under way
    has_written: bool = False  # one of several writes is done

    @property
    def place(self) -> str | None:
        if self.declared.source:
            return f"{self.declared.source}:{self.declared.line}"
        return None

    @property
    def name(self) -> str:
        return name_of(self.current or {}) or self.declared.name or self.declared.id or "?"

    @property
    def is_shown(self) -> bool:
        """Whether reading back can prove the write: secrets are never shown."""
        return any(change.path.rpartition(".")[2] not in WRITE_ONLY for change in self.changes)

    def refused(self, app: App, error: Rejected) -> Rejected:
        taken: list[Deployment] = []
        if error.http_status == 409 and self.current is None:
            taken = alive(read_all(app), self.declared.name)
        if not taken:
            return error
        ids = ", ".join(each.id for each in taken)
        return error.with_(message=f"{error.message.rstrip('.')}; the name is that of {ids}")

    @property
    def will_be_paused(self) -> bool:
        if self.declared.paused is not None:
            return self.declared.paused
        return self.current is not None and Deployment(self.current).state == "paused"

    def plan_pause(self) -> None:
        """Add that it is to be paused, or unpaused, where that differs."""
        is_paused = self.current is not None and Deployment(self.current).state == "paused"
        if self.declared.paused not in (None, is_paused):
            self.changes = [*self.changes, FieldChange(PAUSED, is_paused, self.declared.paused)]

    @property
    def unsent(self) -> list[str]:
        """The secrets not sent: the server shows none to compare with."""
        if self.current is None or self.error is not None or "resources" in self.body:
            return []
        return [change.path for change in secrets_of(self.wanted)]


def step_for(declared: Declared, current: Raw | None = None, **more: Any) -> DeploymentStep:
    """Return the step of a deployment that is not compared yet."""
    secrets = Secrets(declared.secret_places)
    return DeploymentStep(declared=declared, wanted=declared.fields, current=current, secrets=secrets, **more)


def show_changes(app: App, steps: Sequence[DeploymentStep]) -> None:
    """Show each deployment's changes on stderr, and when a new schedule fires."""
    for step in filter(lambda step: step.is_open, steps):
        id = str(step.current["id"]) if step.current else "new"
        app.err.print(f"{app.err.styled(inert(step.name), 'bold')} ({inert(id)})\n")
        for line in step.lines():
            style = {"+": "green", "-": "red"}.get(line[:5].removeprefix("    ")[:1], "")
            app.err.print(f"  {app.err.styled(line, style)}\n")
        schedule = _new(step, "schedule")
        if fires := _fires(app, schedule):
            when = ", once it is unpaused" if step.will_be_paused else ""
            heading = f"fires {words_of(schedule)}{when}; next, in local time ({local_zone_name()}):"
            shown = [f"  {cell(Moment(fire, zone=schedule['timezone'])).text}" for fire in fires]
            app.err.print("".join(f"  {line}\n" for line in (inert(heading), *shown)))


def warn_of_plan(app: App, steps: Sequence[DeploymentStep]) -> None:
    """Warn of new schedules that never fire, and of new names that nobody can type."""
    for step in steps:
        try:
            can_be_typed = not ids.deployment(_new(step, "name") or "any").startswith("dep_")
        except UsageError:
            can_be_typed = False
        if not can_be_typed:
            app.progress.warn(f"{step.label}: commands will not take this name; use its id")
        schedule = _new(step, "schedule")
        if schedule and not _fires(app, schedule):
            app.progress.warn(f"{step.label}: this schedule never fires (no such date)")


def _new(step: DeploymentStep, name: str) -> Any:
    if step.is_open:
        return step.body.get(name)
    return None


def _fires(app: App, schedule: Any) -> list[str]:
    if schedule:
        return next_fires(schedule, now=app.client.server_now())
    return []
