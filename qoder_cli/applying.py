"""Deployment files applied: what each would change, and the writes that make it so, each settled and read back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from qoder_cli.ahead import in_order
from qoder_cli.cells import Fields, Status
from qoder_cli.changes import Change, creation, difference
from qoder_cli.deployfile.load import Declared, missing_for_create
from qoder_cli.deployfile.normal import EMPTY, settable
from qoder_cli.errors import (
    ApiError,
    Exit,
    InternalError,
    NoAnswer,
    NotFound,
    OutcomeUnknown,
    QoderError,
    Rejected,
    UsageError,
)
from qoder_cli.ids import segment
from qoder_cli.launch import read_deployment
from qoder_cli.model import Deployment
from qoder_cli.names import explain_missing
from qoder_cli.pace import Pace
from qoder_cli.times import parse_timestamp
from qoder_cli.writing import Write

if TYPE_CHECKING:
    from qoder_cli.state import State

AT_A_TIME = 8  # deployments that are read
READ_WITHIN = 10.0  # seconds for one reading back
COLUMNS = ("name", "id", "action", "changes", "file", "error")

Action = Literal["created", "changed", "unchanged", "would_create", "would_change", "failed", "not_attempted"]


@dataclass
class Step:
    """One declared deployment, and what is to become of it.

    `current` is the deployment as it is, None when it is to be created; `changes` are what differs; `error` says why it
    cannot be applied.
    """

    declared: Declared
    current: Deployment | None = None
    changes: Sequence[Change] = ()
    body: Mapping[str, Any] | None = None
    error: QoderError | None = None
    write: Write[Deployment] | None = None  # once it is under way

    @property
    def place(self) -> str:
        """Where it is declared."""
        return f"{self.declared.source}:{self.declared.line}" if self.declared.line else self.declared.source

    @property
    def name(self) -> str:
        """What it is called."""
        return (self.current and self.current.name) or self.declared.name or self.declared.id or "?"

    @property
    def is_open(self) -> bool:
        """Whether there is something to write."""
        return self.error is None and bool(self.changes)

    def hide(self, value: Any) -> Any:
        """Return a JSON value without what the file took from variables, and without tokens."""
        if isinstance(value, str):
            for secret in sorted(self.declared.secrets, key=len, reverse=True):
                value = value.replace(secret, "[hidden]")
            return value
        if isinstance(value, list):
            return [self.hide(item) for item in value]
        return {key: self.hide(item) for key, item in value.items()} if isinstance(value, dict) else value


@dataclass(frozen=True)
class Applied:
    """What became of a step."""

    step: Step
    action: Action
    deployment: Deployment | None = None
    error: QoderError | None = None

    @property
    def exit_code(self) -> int | None:
        """The exit code of this one; None when it was not attempted."""
        if self.action == "not_attempted":
            return None
        return int(self.error.exit) if self.error else int(Exit.OK)

    def as_json(self) -> dict[str, Any]:
        """Return the item of a JSON array: the deployment, or `{"id": null, "error"}`, and what was done."""
        shown = self.deployment or self.step.current
        found = self.step.hide(shown.as_json()) if shown else {"id": None, "name": self.step.name}
        if self.error is not None:
            found = {**found, "error": self.step.hide(self.error.as_json())}
        changes = [self.step.hide(change.as_json()) for change in self.step.changes]
        return {
            **found,
            "action": self.action,
            "changes": changes,
            "input": self.step.place,
            "exit_code": self.exit_code,
        }

    def row(self) -> Fields:
        """Return the row of a table."""
        deployment = self.deployment or self.step.current
        return {
            "name": self.step.name,
            "id": deployment.id if deployment else None,
            "action": Status(self.action),
            "changes": ", ".join(dict.fromkeys(_field(change.path) for change in self.step.changes)) or None,
            "file": self.step.place,
            "error": (self.error.kind or self.error.exit).name.lower() if self.error else None,
        }


def _field(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def plan(state: "State", declared: Sequence[Declared], *, repin: bool) -> list[Step]:
    """Return what is to become of each: all names are resolved from one listing.

    Raises UsageError when a file lacks what a create needs, or a name is that of several; ApiError.
    """
    listed = _listed(state) if any(one.id is None for one in declared) else []
    known = {found.id: found for found in listed}
    by_id = [one for one in declared if one.id is not None and one.id not in known]
    answers = in_order(lambda one: _read(state, one), by_id, at_a_time=AT_A_TIME)
    read = {one.id: answer for one, answer in zip(by_id, answers, strict=True)}
    names: dict[str, list[Deployment]] = {}
    for found in listed:
        names.setdefault(found.name or "", []).append(found)
    return [_step(one, known.get(one.id or "") or read.get(one.id), names, repin=repin) for one in declared]


def _listed(state: "State") -> list[Deployment]:
    pages = state.client.pages("/deployments", {"limit": 100, "include_archived": "true"})
    return [found for page in pages for found in map(Deployment.read, page["data"]) if found]


def _read(state: "State", declared: Declared) -> Deployment | QoderError:
    try:
        return read_deployment(state, str(declared.id))
    except NotFound as error:
        return explain_missing(error, str(declared.id), state)
    except ApiError as error:
        return error


def _step(
    declared: Declared,
    found: Deployment | QoderError | None,
    names: Mapping[str, Sequence[Deployment]],
    *,
    repin: bool,
) -> Step:
    if isinstance(found, QoderError):
        return Step(declared, error=found)
    if declared.id is None:
        found = _of_name(declared, names)
    if found is None:
        return _creation(declared)
    if found.archived_at:
        return Step(declared, found, error=archived(found))
    differs = difference(declared.fields, settable(found), repin=repin)
    return Step(declared, found, differs.changes, differs.body)


def _of_name(declared: Declared, names: Mapping[str, Sequence[Deployment]]) -> Deployment | None:
    """Return the one that has the name, rather one that is not archived. Raises UsageError when several have it."""
    having = names.get(declared.name or "", ())
    alive = [found for found in having if not found.archived_at]
    if len(alive) > 1:
        raise UsageError(
            f"{declared.source}:{declared.line}: {len(alive)} deployments are named {declared.name!r}: "
            + ", ".join(found.id for found in alive[:10]),
            hint="give the file the id of the one that is meant: id: dep_…",
        )
    return alive[0] if alive else next(iter(having), None)


def _creation(declared: Declared) -> Step:
    if missing := missing_for_create(declared):
        raise UsageError(
            f"{declared.source}:{declared.line}: no deployment is named {declared.name!r}, and to create it the file "
            f"lacks {', '.join(missing)}",
            hint="qoder deploy list shows the names there are",
        )
    said = {name: value for name, value in declared.fields.items() if name not in EMPTY or value != EMPTY[name]}
    return Step(declared, None, creation(said), said)  # an older server may not know what is left empty


def archived(found: Deployment) -> Rejected:
    """Return the error that this deployment cannot be changed any more."""
    return Rejected(
        f"deployment {found.id} is archived since {found.archived_at}; it cannot be changed",
        hint="archiving cannot be undone; take the id out of the file and name it anew to create another",
    )


def apply(state: "State", step: Step, pace: Pace) -> Applied:
    """Write what a step changes, and read it back; never raises but Closed."""
    try:
        if step.error is not None:
            return Applied(step, "failed", error=step.error)
        if not step.changes:
            return Applied(step, "unchanged", step.current)
        return _created(state, step, pace) if step.current is None else _changed(state, step, step.current, pace)
    except QoderError as error:
        return Applied(step, "failed", error=error)
    except Exception as error:  # a thread that dies of a bug must not leave its step open for ever
        unknown = step.write is not None and step.write.may_have_acted
        why = f"a bug in qoder: {type(error).__name__}: {error}"
        return Applied(step, "failed", error=step.write.unknown(why) if step.write and unknown else InternalError(why))


def give_up(step: Step) -> Applied:
    """Return what is known of a step that was stopped."""
    write = step.write
    if write is not None and write.result is not None:
        return Applied(step, "created" if step.current is None else "changed", write.result.value)
    if write is not None and write.may_have_acted:
        return Applied(step, "failed", error=write.unknown("it was stopped before that was settled"))
    return Applied(step, "not_attempted")


def _created(state: "State", step: Step, pace: Pace) -> Applied:
    asked = state.clock.now()
    step.write = Write(
        state,
        "/deployments",
        step.body,
        what=f"creating {step.name}",
        read=Deployment.read,
        settle=lambda: _created_since(state, step, asked),
        look=state.command("deploy", "list"),
        pace=pace,
    )
    made = step.write.send().value
    return _verified(state, step, "created", made)


def _created_since(state: "State", step: Step, asked: float) -> Deployment | None:
    """Return the deployment that a create whose answer was lost has made: of this name, and as it was wanted."""
    since = state.client.on_server_clock(asked)
    page = state.client.get("/deployments", {"limit": 100}, within=READ_WITHIN, retry=False)
    data = page.get("data") if isinstance(page, dict) else None
    if not isinstance(data, list):
        raise NoAnswer("the server answered a list with something that is no page")
    found = [each for each in map(Deployment.read, data) if each and each.name == step.name and not each.archived_at]
    new = [each for each in found if since is None or _created_at(each) >= math.floor(since)]
    if len(new) > 1:
        raise OutcomeUnknown(f"{len(new)} deployments of this name are new: {', '.join(each.id for each in new)}")
    return new[0] if new and not difference(step.declared.fields, settable(new[0])).changes else None


def _created_at(deployment: Deployment) -> float:
    moment = parse_timestamp(deployment.raw.get("created_at"))
    return math.inf if moment is None else moment.timestamp()


def _changed(state: "State", step: Step, current: Deployment, pace: Pace) -> Applied:
    now = read_deployment(state, current.id)
    if now.archived_at:
        raise archived(now)
    if settable(now) != settable(current):
        raise Rejected(
            f"deployment {current.id} was changed by someone meanwhile; nothing was sent",
            hint="look at what differs now, and apply again",
        )
    step.write = Write(
        state,
        f"/deployments/{segment(current.id)}",
        step.body,
        what=f"changing {current.id}",
        read=lambda answer: found if (found := Deployment.read(answer)) and found.id == current.id else None,
        settle=lambda: _as_wanted(state, step, current.id),
        look=state.command("deploy", "get", current.id),
        repeatable=True,
        pace=pace,
    )
    return _verified(state, step, "changed", step.write.send().value)


def _as_wanted(state: "State", step: Step, id: str) -> Deployment | None:
    found = Deployment.read(state.client.get(f"/deployments/{segment(id)}", within=READ_WITHIN, retry=False))
    if found is None:
        raise NoAnswer(f"the server answered for {id} with something that is no deployment")
    return None if difference(step.declared.fields, settable(found)).changes else found


def _verified(state: "State", step: Step, action: Action, written: Deployment) -> Applied:
    """Read back what was written, and say so if the server kept something else."""
    try:
        found = read_deployment(state, written.id)
    except ApiError as unread:
        state.progress.warn(f"{step.name} ({written.id}) was {action}, but could not be read back: {unread.message}")
        return Applied(step, action, written)
    kept = [change.path for change in difference(step.declared.fields, settable(found)).changes]
    if not kept:
        return Applied(step, action, found)
    error = Rejected(
        f"{step.name} ({found.id}) was {action}, but the server kept something else: {', '.join(kept[:5])}",
        hint="compare it with the file",
        next=state.command("deploy", "get", found.id),
    )
    return Applied(step, action, found, error)


def would(step: Step) -> Applied:
    """Return what a step would come to."""
    if step.error is not None:
        return Applied(step, "failed", error=step.error)
    if not step.changes:
        return Applied(step, "unchanged", step.current)
    return Applied(step, "would_create" if step.current is None else "would_change", step.current)
