"""Applying a step: written, settled, read back; and what it came to."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, InternalError, NotFound, OutcomeUnknown, QoderError, Rejected
from qoder_cli.base.model import Resource, filled
from qoder_cli.base.polling import poll
from qoder_cli.base.tokens import without_tokens
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.nouns.edits.difference import missing
from qoder_cli.nouns.edits.step import Step, look_again, perform
from qoder_cli.nouns.edits.thing import Raw, read, target_of
from qoder_cli.nouns.table import words_of
from qoder_cli.output.cells import Fields, Status
from qoder_cli.output.results import Result

FIRST = ("name", "action", "changes", "error", "id", "file")  # as there is room
_LAG = (0.5, 0.5, 1.0, 2.0)  # seconds between two looks at a replica that lags

Action = Literal[
    "created", "changed", "unchanged", "would_create", "would_change", "failed", "unknown", "not_attempted"
]


@dataclass(frozen=True, kw_only=True)
class Applied(Result[Resource]):
    """The result of a step; `found` is the thing as last known."""

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
        """Whether a thing is known and no write of it went wrong."""
        return self.found is not None and self.action not in ("failed", "unknown", "not_attempted")

    def as_json(self) -> dict[str, Any]:
        """Return its JSON: the thing, if any, and what was done."""
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
            "changes": ", ".join(dict.fromkeys(each.field for each in self.step.changes)) or None,
            "file": self.step.place and without_tokens(self.step.place),
            "error": self.error and self.error.type_name,
        }


def result_of(step: Step, action: Action, written: Raw | None = None, error: QoderError | None = None) -> Applied:
    """Return a step's result."""
    found = None
    if raw := written or step.current:
        found = Resource(raw)
    return Applied(step.place or step.name, found, error, action != "not_attempted", step=step, action=action)


def without_writing(step: Step) -> Applied:
    """Return the result without a write: unchanged, failed, or what it would do."""
    if step.error is not None:
        return result_of(step, "failed", error=step.error)
    if not step.is_open:
        return result_of(step, "unchanged")
    if step.current is None:
        return result_of(step, "would_create")
    return result_of(step, "would_change")


def give_up(step: Step) -> Applied:
    """Return what is known of a stopped step, as its result."""
    write = step.write
    if not step.is_open:
        return without_writing(step)
    if write is None or not write.is_open_or_done:
        return result_of(step, "not_attempted")
    if write.result is None:
        return _failed(step, write.unknown("interrupted before it was confirmed"))
    return result_of(step, step.done, write.result.value.raw)


def apply(app: App, step: Step, pace: Pace | None = None) -> Applied:
    """Write a step's changes and read them back. Raises only Closed."""
    if not step.is_open:
        return without_writing(step)
    try:
        return _written(app, step, pace)
    except Closed:
        raise
    except QoderError as error:
        return _failed(step, error)
    except Exception as error:  # a bug must not leave its step open for ever
        why = f"a bug in qoder: {type(error).__name__}: {error}"
        is_open = step.write is not None and step.write.may_have_acted
        return _failed(step, step.write.unknown(why) if step.write and is_open else InternalError(why))


def _failed(step: Step, error: QoderError) -> Applied:
    return result_of(step, "unknown" if isinstance(error, OutcomeUnknown) else "failed", error=error)


def _written(app: App, step: Step, pace: Pace | None) -> Applied:
    """Do a step's write, and look what became of it. Raises QoderError, Signalled, Closed."""
    if step.form.is_read_back and step.current is not None:
        look_again(app, step)
        if not step.is_open:
            return without_writing(step)
    written = perform(app, step, pace)
    if step.form.is_read_back:
        return _verified(app, step, written)
    others = dict.fromkeys(change.field for change in missing(step.form, step.body, written))
    if other := ", ".join(name for name in others if name in written):
        app.progress.warn(f"{written['id']}: the server stored {other} differently from what was sent")
    return result_of(step, step.done, written)


def _verified(app: App, step: Step, written: Raw) -> Applied:
    try:
        found = _read_back(app, step, written)
    except ApiError as unread:
        app.progress.warn(
            f"{step.name} ({written['id']}) was {step.done}, but could not be read back: {unread.message}"
        )
        return result_of(step, step.done, written)
    kept = [change.path for change in step.differs(found)]
    if not kept:
        return result_of(step, step.done, found)
    what, hint = "reading it back still shows something else", "check again later"
    if step.differs(written):  # else it may be a replica that lags
        what, hint = "the server stored something else", "compare it with what you wanted"
    error = Rejected(
        f"{step.name} ({found['id']}) was {step.done}, but {what}: {', '.join(kept[:5])}",
        hint=hint,
        next=app.looking(*words_of(step.noun, "get", *step.parents, str(found["id"]))),
    )
    return result_of(step, step.done, found, error)


def _read_back(app: App, step: Step, written: Raw) -> Raw:
    def is_enough(found: Raw) -> bool:
        return not step.differs(found) or bool(step.differs(written))

    target = target_of(step.noun, *step.parents, str(written["id"]))
    return poll(
        partial(read, app, target),
        app.clock,
        pauses=_LAG,
        is_enough=is_enough,
        may_pass=lambda error: isinstance(error, NotFound),
    )
