"""One step: a thing as it is, as it is wanted, the write that makes it so, and what that came to."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, InternalError, NotFound, OutcomeUnknown, QoderError, Rejected
from qoder_cli.base.ids import called
from qoder_cli.base.model import Resource, filled
from qoder_cli.base.polling import poll
from qoder_cli.base.times import unix
from qoder_cli.base.tokens import without_tokens
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.http.write import Write
from qoder_cli.nouns.edits.create import creating
from qoder_cli.nouns.edits.difference import FieldChange, Form, Secrets, difference, differing, lines_of, missing, same
from qoder_cli.nouns.edits.thing import Raw, Target, archived, read, target_of
from qoder_cli.nouns.edits.update import Overtaken, Update
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import operation, words_of
from qoder_cli.output.cells import Fields, Status
from qoder_cli.output.results import Result

FIRST = ("name", "action", "changes", "error", "id", "file")  # as there is room
_LAG = (0.5, 0.5, 1.0, 2.0)  # seconds between two looks at a replica that lags

Action = Literal[
    "created",
    "changed",
    "unchanged",
    "archived",
    "deleted",
    "would_create",
    "would_change",
    "would_archive",
    "would_delete",
    "failed",
    "unknown",
    "not_attempted",
]


@dataclass(kw_only=True, eq=False)
class Step:
    """One thing, and what to do about it."""

    noun: Noun
    form: Form
    wanted: Raw  # the fields that it is to have; metadata whole
    current: Raw | None = None  # as it was read; None to create it
    parents: tuple[str, ...] = ()
    changes: Sequence[FieldChange] = ()
    body: Raw = field(default_factory=dict)  # which makes them
    secrets: Secrets = field(default_factory=Secrets)
    again: list[str] | None = None  # the command that does it, to be typed once more
    error: QoderError | None = None  # why it cannot be done
    write: Write[Resource] | None = None  # once it is under way

    @property
    def target(self) -> Target:
        """What is there already."""
        assert self.current is not None  # asked only for what is there
        return target_of(self.noun, *self.parents, str(self.current["id"]))

    @property
    def before(self) -> Raw:
        """It as it was read; empty for a new one."""
        return self.current or {}

    @property
    def name(self) -> str:
        return name_of(self.before) or name_of(self.wanted) or f"the {self.noun.called}"

    @property
    def place(self) -> str | None:
        """The file and line that declare it; None if it was typed."""
        return None

    @property
    def label(self) -> str:
        """Its name, with its id if it has one."""
        if self.current is None:
            return self.name
        return called(name_of(self.current) or self.target.id, self.target.id)

    @property
    def done(self) -> Literal["created", "changed"]:
        return "changed" if self.current else "created"

    @property
    def is_open(self) -> bool:
        return self.error is None and bool(self.changes)

    @property
    def is_shown(self) -> bool:
        """Whether a thing shows the changes."""
        return True

    def refused(self, app: App, error: Rejected) -> Rejected:
        """Return the error of its write, with why it was refused where that can be found out. Raises ApiError."""
        return error

    def plan(self) -> None:
        """Find out what differs."""
        current = {} if self.current is None else self.form.settable(self.current)
        self.body, self.changes = difference(self.form, self.wanted, current)
        updated = operation(self.noun, "update")
        version = self.before.get("version")
        if self.changes and updated and "version" in updated.body and version is not None:
            self.body["version"] = version

    def differs(self, raw: Raw) -> list[FieldChange]:
        """Return what is not as wanted; a version left open never differs."""
        return list(differing(self.form, self.form.normal(self.wanted), self.form.settable(raw)))

    def lines(self) -> list[str]:
        """Return its changes, as people read them."""
        return [line for change in self.changes for line in lines_of(change, self.secrets)]


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
        return failed(step, write.unknown("interrupted before it was confirmed"))
    return result_of(step, step.done, write.result.value.raw)


def apply(app: App, step: Step, pace: Pace | None = None) -> Applied:
    """Write a step's changes, and look what became of them. Raises only Closed, Signalled."""
    if not step.is_open:
        return without_writing(step)
    try:
        if step.form.is_read_back and step.current is not None:
            look_again(app, step)
            if not step.is_open:
                return without_writing(step)
        if step.current is None:
            step.write = creating(app, step.noun, step.body, *step.parents, what=f"creating {step.name}", pace=pace)
        else:
            step.write = _update_of(app, step).write(what=f"changing {step.target.id}", pace=pace)
        written = step.write.send().value.raw
        if step.form.is_read_back:
            return _verified(app, step, written)
        _heed_others(app, step, written)
        others = dict.fromkeys(change.field for change in list(missing(step.form, step.body, written)))
        if other := ", ".join(name for name in others if name in written):
            app.progress.warn(f"{written['id']}: the server stored {other} differently from what was sent")
        return result_of(step, step.done, written)
    except Closed:
        raise
    except QoderError as error:
        return failed(step, _explained(app, step, error))
    except Exception as error:  # a bug must not leave its step open for ever
        why = f"a bug in qoder: {type(error).__name__}: {error}"
        if step.write is not None and step.write.may_have_acted:
            return failed(step, step.write.unknown(why))
        return failed(step, InternalError(why))


def failed(step: Step, error: QoderError) -> Applied:
    """Return the result of a step whose write failed, or is in doubt."""
    return result_of(step, "unknown" if isinstance(error, OutcomeUnknown) else "failed", error=error)


def _explained(app: App, step: Step, error: QoderError) -> QoderError:
    """Return the error of a write, after showing what somebody else changed where that is why."""
    if isinstance(error, Overtaken):
        _show_theirs(app, step, step.before, error.theirs)
    elif isinstance(error, Rejected):
        with suppress(ApiError):
            if error.http_status == 409 and "version" in step.body:
                return _stale(app, step, error)
            return step.refused(app, error)
    return error


def look_again(app: App, step: Step) -> None:
    """Read a thing once more, right before it is changed. If somebody else did that already, no changes are left.

    Raises Rejected, after showing it, if they changed something else; ApiError.
    """
    now = read(app.client, step.target, params=step.form.params, fresh=True)
    if error := archived(step.target, now):
        raise error
    is_so = step.is_open and _update_of(app, step).is_so(now) and not step.differs(now)
    settable, label = step.form.settable, step.label
    if not is_so and not same(step.form, settable(now), settable(step.before)):
        _show_theirs(app, step, step.before, now)
        raise Rejected(
            f"{step.target.called} was changed by someone else in the meantime; nothing was sent",
            hint="check the new differences and try again",
        )
    step.current = now
    if is_so:
        step.changes = ()
        app.progress.note(f"{label} was already changed as requested, by someone else")


def _update_of(app: App, step: Step) -> Update:
    return Update(app, step.target, step.before, step.body, step.form, is_shown=step.is_shown)


def _show_theirs(app: App, step: Step, before: Raw, theirs: Raw) -> None:
    """Show what somebody else changed of what can be set."""
    _note_theirs(app, step, list(differing(step.form, step.form.settable(theirs), step.form.settable(before))))


def _note_theirs(app: App, step: Step, changes: Sequence[FieldChange]) -> None:
    lines = [f"  {line}" for change in changes for line in lines_of(change, step.secrets)]
    app.progress.note(f"what someone else changed in {step.label}:", always=True)
    for line in lines or ["  nothing that shows"]:
        app.progress.note(line, always=True)


def _heed_others(app: App, step: Step, found: Raw) -> None:
    """Show what somebody else changed while a thing was changed here, where no version protects it."""
    if step.current is None or "version" in step.body:
        return
    update = _update_of(app, step)
    now, before = update.rest(found), update.rest(step.current)
    shown = {name: value for name, value in now.items() if name in found}  # an answer may be short
    if changes := list(differing(step.form, shown, before)):
        _note_theirs(app, step, changes)


def _stale(app: App, step: Step, error: Rejected) -> Rejected:
    """Show what somebody else changed, and return the error of a write that was refused for its version."""
    newer, was = read(app.client, step.target), step.body["version"]
    if newer.get("version") == was:
        return error
    _show_theirs(app, step, step.before, newer)
    message = f"{step.target.id} was changed by someone else in the meantime"
    return error.with_(
        message=f"{message} (version {was} was read, {newer.get('version')} is there); nothing was changed",
        hint="check that change, then run it again",
        next=step.again,
    )


def _verified(app: App, step: Step, written: Raw) -> Applied:
    assert step.write is not None  # it was sent
    try:
        found = _read_back(app, step, written)
    except ApiError as unread:
        why = f"could not be read back: {unread.message}"
        if step.current is not None and step.differs(written):
            raise step.write.unknown(f"the response does not show it, and it {why}") from unread
        app.progress.warn(f"{step.name} ({written['id']}) was {step.done}, but {why}")
        return result_of(step, step.done, written)
    kept = [change.path for change in step.differs(found)]
    if not kept:
        _heed_others(app, step, found)
        return result_of(step, step.done, found)
    what, hint = "reading it back still shows something else", "check again later"
    if _shows_otherwise(step, written):  # else it may be a replica that lags
        what, hint = "the server stored something else", "compare it with what you wanted"
    elif (unix(found.get("updated_at")) or 0.0) > (unix(written.get("updated_at")) or float("inf")):
        _show_theirs(app, step, written, found)
        what, hint = "someone else has changed it since", "compare, then run it again"
    error = Rejected(
        f"{step.name} ({found['id']}) was {step.done}, but {what}: {', '.join(kept[:5])}",
        hint=hint,
        next=app.looking(*words_of(step.noun, "get", *step.parents, str(found["id"]))),
    )
    return result_of(step, step.done, found, error)


def _read_back(app: App, step: Step, written: Raw) -> Raw:
    def is_enough(found: Raw) -> bool:
        return not step.differs(found) or _shows_otherwise(step, written)

    target = target_of(step.noun, *step.parents, str(written["id"]))
    return poll(
        partial(read, app.client, target),
        app.clock,
        pauses=_LAG,
        is_enough=is_enough,
        may_pass=lambda error: isinstance(error, NotFound),
    )


def _shows_otherwise(step: Step, written: Raw) -> bool:
    """Return whether the response to a write shows the thing, and not as wanted; it may show no more than the id."""
    return name_of(written) is not None and bool(step.differs(written))
