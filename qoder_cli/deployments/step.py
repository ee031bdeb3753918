"""One deployment of a plan: as wanted, as it is, and the result."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.cron import next_fires, words_of
from qoder_cli.base.errors import QoderError, UsageError
from qoder_cli.base.model import Deployment, filled, text
from qoder_cli.base.times import local_zone_name
from qoder_cli.base.tokens import without_tokens
from qoder_cli.deployments.form import FORM, secrets_of
from qoder_cli.files.load import Declared
from qoder_cli.files.normal import WRITE_ONLY
from qoder_cli.nouns.edits import step as edits
from qoder_cli.nouns.edits.difference import Form, Secrets
from qoder_cli.nouns.edits.thing import Raw
from qoder_cli.nouns.table import NOUNS, Noun
from qoder_cli.output.cells import Fields, Moment, Status, cell
from qoder_cli.output.results import Result
from qoder_cli.output.screen import inert

FIRST = ("name", "action", "changes", "error", "id", "file")  # as there is room

Action = Literal[
    "created", "changed", "unchanged", "would_create", "would_change", "failed", "unknown", "not_attempted"
]


@dataclass(kw_only=True, eq=False)
class Step(edits.Step):
    """One declared deployment, and what to do about it."""

    declared: Declared
    noun: Noun = NOUNS["deploy"]
    form: Form = FORM

    @property
    def place(self) -> str | None:
        """Its file and line; None if it was typed."""
        if self.declared.source:
            return f"{self.declared.source}:{self.declared.line}"
        return None

    @property
    def name(self) -> str:
        return text((self.current or {}).get("name")) or self.declared.name or self.declared.id or "?"

    @property
    def label(self) -> str:
        """Its name, with its id if it has one."""
        if self.current:
            return f"{self.name} ({self.current['id']})"
        return self.name

    @property
    def is_told(self) -> bool:
        """Whether reading back can prove the write: secrets are never shown."""
        return any(change.path.rpartition(".")[2] not in WRITE_ONLY for change in self.changes)

    @property
    def unsent(self) -> list[str]:
        """The secrets not sent: the server shows none to compare with."""
        if self.current is None or self.error is not None or "resources" in self.body:
            return []
        return [change.path for change in secrets_of(self.wanted)]


def step_for(declared: Declared, current: Raw | None = None, **more: Any) -> Step:
    """Return the step of a deployment that is not compared yet."""
    secrets = Secrets(declared.secret_places)
    return Step(declared=declared, wanted=declared.fields, current=current, secrets=secrets, **more)


@dataclass(frozen=True, kw_only=True)
class Applied(Result[Deployment]):
    """The result of a step; `found` is the deployment as last known."""

    step: Step
    action: Action

    @property
    def label(self) -> str:
        """Its name, with its id if it has one."""
        if self.found:
            return f"{self.step.name} ({self.found.id})"
        return self.step.name

    @property
    def became(self) -> str:
        return self.action.replace("_", " ")

    @property
    def is_fine(self) -> bool:
        """Whether a deployment is known and no write of it went wrong."""
        return self.found is not None and self.action not in ("failed", "unknown", "not_attempted")

    def as_json(self) -> dict[str, Any]:
        """Return its JSON: the deployment, if any, and what was done."""
        secrets = self.step.secrets
        found: dict[str, Any] = {"id": None, "name": without_tokens(self.step.name)}
        if self.found is not None:
            found = secrets.out_of(self.found.as_json())
        return {
            **found,
            **filled({"error": self.error and self.error.as_json()}),
            "action": self.action,
            "changes": [change.hidden(secrets).as_json() for change in self.step.changes],
            "input": self.step.place and without_tokens(self.step.place),
            "exit_code": self.exit_code,
        }

    def row(self) -> Fields:
        return {
            "name": self.step.name if self.found else without_tokens(self.step.name),
            "id": self.found and self.found.id,
            "action": Status(self.action),
            "changes": ", ".join(dict.fromkeys(re.split(r"[.[]", each.path)[0] for each in self.step.changes)) or None,
            "file": self.step.place and without_tokens(self.step.place),
            "error": self.error and self.error.type_name,
        }


def result_of(
    step: Step, action: Action, written: Deployment | None = None, error: QoderError | None = None
) -> Applied:
    """Return a step's result."""
    is_attempted, found = action != "not_attempted", written or (step.current and Deployment(step.current)) or None
    return Applied(step.place or step.name, found, error, is_attempted, step=step, action=action)


def without_writing(step: Step) -> Applied:
    """Return the result without a write: unchanged, failed, or what it would do."""
    if step.error is not None:
        return result_of(step, "failed", error=step.error)
    if not step.is_open:
        return result_of(step, "unchanged")
    if step.current is None:
        return result_of(step, "would_create")
    return result_of(step, "would_change")


def show_changes(app: App, steps: Sequence[Step]) -> None:
    """Show each deployment's changes on stderr, and when a new schedule fires."""
    for step in filter(lambda step: step.is_open, steps):
        id = str(step.current["id"]) if step.current else "new"
        app.err.tell(f"{app.err.styled(inert(step.name), 'bold')} ({inert(id)})\n")
        for line in step.lines():
            style = {"+": "green", "-": "red"}.get(line[:5].removeprefix("    ")[:1], "")
            app.err.tell(f"  {app.err.styled(line, style)}\n")
        schedule = _new(step, "schedule")
        if fires := _fires(app, schedule):
            paused = ", once it is unpaused" if step.current and Deployment(step.current).state == "paused" else ""
            heading = f"fires {words_of(schedule)}{paused}; next, in local time ({local_zone_name()}):"
            shown = [f"  {cell(Moment(fire, zone=schedule['timezone'])).text}" for fire in fires]
            app.err.tell("".join(f"  {line}\n" for line in (inert(heading), *shown)))


def warn_of_plan(app: App, steps: Sequence[Step]) -> None:
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


def _new(step: Step, name: str) -> Any:
    if step.is_open:
        return step.body.get(name)
    return None


def _fires(app: App, schedule: Any) -> list[str]:
    if schedule:
        return next_fires(schedule, now=app.client.server_now())
    return []
