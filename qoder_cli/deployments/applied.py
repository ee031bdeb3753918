"""What became of a step of a plan, or would: as an item of JSON, and as a row."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from qoder_cli.base.errors import QoderError
from qoder_cli.base.model import Deployment
from qoder_cli.base.tokens import without_tokens
from qoder_cli.deployments.step import Step
from qoder_cli.output.cells import Fields, Status
from qoder_cli.output.results import Result

FIRST = ("name", "action", "changes", "error", "id", "file")  # on a terminal, as there is room

Action = Literal[
    "created", "changed", "unchanged", "would_create", "would_change", "failed", "unknown", "not_attempted"
]


@dataclass(frozen=True, kw_only=True)
class Applied(Result[Deployment]):
    """What became of a step: what was found is the deployment as it is known last."""

    step: Step
    action: Action

    @property
    def known(self) -> str:
        """What it is called, with its id where it has one."""
        return f"{self.step.name} ({self.found.id})" if self.found else self.step.name

    @property
    def became(self) -> str:
        """What became of it, in words: "created", "not attempted"."""
        return self.action.replace("_", " ")

    @property
    def is_fine(self) -> bool:
        """Whether there is a deployment that was, or needs not be, written."""
        return self.found is not None and self.action not in ("failed", "unknown", "not_attempted")

    def as_json(self) -> dict[str, Any]:
        """Return the item of a JSON array: the deployment, or `{"id": null, "error"}`, and what was done."""
        secrets = self.step.secrets
        found: dict[str, Any] = {"id": None, "name": without_tokens(self.step.name)}
        if self.found is not None:
            found = secrets.out_of(self.found.as_json())
        return {
            **found,
            **({"error": self.error.as_json()} if self.error else {}),
            "action": self.action,
            "changes": [change.hidden(secrets).as_json() for change in self.step.changes],
            "input": self.step.place and without_tokens(self.step.place),
            "exit_code": self.exit_code,
        }

    def row(self) -> Fields:
        """Return the row of a table."""
        return {
            "name": self.step.name if self.found else without_tokens(self.step.name),
            "id": self.found.id if self.found else None,
            "action": Status(self.action),
            "changes": ", ".join(dict.fromkeys(re.split(r"[.[]", each.path)[0] for each in self.step.changes)) or None,
            "file": self.step.place and without_tokens(self.step.place),
            "error": self.error.type_name if self.error else None,
        }


def result_of(
    step: Step, action: Action, written: Deployment | None = None, error: QoderError | None = None
) -> Applied:
    """Return what a step came to."""
    is_attempted, found = action != "not_attempted", written or step.current
    return Applied(step.place or step.name, found, error, is_attempted, step=step, action=action)


def would(step: Step) -> Applied:
    """Return what a step would come to."""
    if not step.is_open:
        return as_it_is(step)
    return result_of(step, "would_create" if step.current is None else "would_change")


def as_it_is(step: Step) -> Applied:
    """Return what becomes of a step that has nothing to write."""
    return result_of(step, "unchanged" if step.error is None else "failed", error=step.error)
