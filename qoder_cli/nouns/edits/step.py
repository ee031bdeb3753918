"""One step: a thing as it is, as it is wanted, and the write that makes it so."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from qoder_cli.app import App
from qoder_cli.base.errors import QoderError, Rejected
from qoder_cli.base.ids import called
from qoder_cli.base.model import Resource
from qoder_cli.http.pace import Pace
from qoder_cli.http.write import Write
from qoder_cli.nouns.edits.create import creating
from qoder_cli.nouns.edits.difference import FieldChange, Form, Secrets, difference, differing, lines_of, same
from qoder_cli.nouns.edits.thing import Raw, Target, archived, read, target_of
from qoder_cli.nouns.edits.update import Overtaken, Update
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import Noun, operation


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
    def name(self) -> str:
        return name_of(self.current or {}) or name_of(self.wanted) or f"the {self.noun.called}"

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
    def is_told(self) -> bool:
        """Whether a thing shows the changes."""
        return True

    def refused(self, app: App, error: Rejected) -> Rejected:
        """Return the error of its write, with why it was refused where that can be found out."""
        return error

    def plan(self) -> None:
        """Find out what differs."""
        current = {} if self.current is None else self.form.settable(self.current)
        self.body, self.changes = difference(self.form, self.wanted, current)
        updated = operation(self.noun, "update")
        version = (self.current or {}).get("version")
        if self.changes and updated and "version" in updated.body and version is not None:
            self.body["version"] = version

    def differs(self, raw: Raw) -> list[FieldChange]:
        """Return what is not as wanted; a version left open never differs."""
        return list(differing(self.form, self.form.normal(self.wanted), self.form.settable(raw)))

    def lines(self) -> list[str]:
        """Return its changes, as people read them."""
        return [line for change in self.changes for line in lines_of(change, self.secrets)]


def perform(app: App, step: Step, pace: Pace | None = None) -> Raw:
    """Do a step's write, and return the thing as it is then. Raises QoderError, after showing what somebody else
    changed meanwhile; Signalled, Closed.
    """
    if step.current is None:
        what = f"creating {step.name}"
        step.write = creating(app, step.noun, step.body, *step.parents, what=what, pace=pace)
    else:
        step.write = _update_of(app, step).write(what=f"changing {step.target.id}", pace=pace)
    try:
        return step.write.send().value.raw
    except Overtaken as error:
        _show_theirs(app, step, error.theirs)
        raise
    except Rejected as error:
        if error.http_status == 409 and "version" in step.body:
            raise _stale(app, step, error) from None
        raise step.refused(app, error) from None


def look_again(app: App, step: Step) -> None:
    """Read a thing once more, right before it is changed. If somebody else did that already, no changes are left.

    Raises Rejected, after showing it, if they changed something else; ApiError.
    """
    now = read(app, step.target, params=step.form.params, fresh=True)
    if error := archived(step.target, now):
        raise error
    is_so = step.is_told and _update_of(app, step).is_so(now) and not step.differs(now)
    settable, label = step.form.settable, step.label
    if not is_so and not same(step.form, settable(now), settable(step.current or {})):
        _show_theirs(app, step, now)
        raise Rejected(
            f"{step.target.called} was changed by someone else in the meantime; nothing was sent",
            hint="check the new differences and try again",
        )
    step.current = now
    if is_so:
        step.changes = ()
        app.progress.note(f"{label} was already changed as requested, by someone else")


def _update_of(app: App, step: Step) -> Update:
    return Update(app, step.target, step.current or {}, step.body, step.form, is_told=step.is_told)


def _show_theirs(app: App, step: Step, theirs: Raw) -> None:
    """Show what somebody else changed of what can be set."""
    settable = step.form.settable
    changes = differing(step.form, settable(theirs), settable(step.current or {}))
    lines = [f"  {line}" for change in changes for line in lines_of(change, step.secrets)]
    app.progress.note(f"what someone else changed in {step.label}:", always=True)
    for line in lines or ["  nothing that shows"]:
        app.progress.note(line, always=True)


def _stale(app: App, step: Step, error: Rejected) -> Rejected:
    """Show what somebody else changed, and return the error of a write that was refused for its version."""
    newer, was = read(app, step.target), step.body["version"]
    if newer.get("version") == was:
        return error
    _show_theirs(app, step, newer)
    message = f"{step.target.id} was changed by someone else in the meantime"
    return error.with_(
        message=f"{message} (version {was} was read, {newer.get('version')} is there); nothing was changed",
        hint="check that change, then run it again",
        next=step.again,
    )
