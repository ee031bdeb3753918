"""Steps of a plan carried out: the writes, each settled and read back, and what became of each."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from qoder_cli.deployfile.normal import READ_ONLY, settable
from qoder_cli.deployments.hiding import HIDDEN
from qoder_cli.deployments.planning import Book, Step, archived, created_meanwhile
from qoder_cli.deployments.writing import LOOKS, CannotBe, Write
from qoder_cli.errors import (
    ApiError,
    Exit,
    InternalError,
    NotFound,
    OutcomeUnknown,
    QoderError,
    Rejected,
)
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.ids import segment
from qoder_cli.lookup import read_deployment
from qoder_cli.model import Deployment
from qoder_cli.output.cells import Fields, Status
from qoder_cli.times import parse_timestamp

if TYPE_CHECKING:
    from qoder_cli.state import State

READ_WITHIN = 10.0  # seconds for one reading back
LAG = (0.5, 0.5, 1.0, 2.0)  # seconds between two looks at a replica that does not know yet what was answered
FIRST = ("name", "action", "changes", "error", "id", "file")  # on a terminal, as there is room

Action = Literal[
    "created", "changed", "unchanged", "would_create", "would_change", "failed", "unknown", "not_attempted"
]


@dataclass(frozen=True)
class Applied:
    """What became of a step: `deployment` is how it is now, where it was written."""

    step: Step
    action: Action
    deployment: Deployment | None = None
    error: QoderError | None = None

    @property
    def shown(self) -> Deployment | None:
        """The deployment as it is known last."""
        return self.deployment or self.step.current

    @property
    def known(self) -> str:
        """What it is called, with its id where it has one."""
        return f"{self.step.name} ({self.shown.id})" if self.shown else self.step.name

    @property
    def is_fine(self) -> bool:
        """Whether there is a deployment that was, or needs not be, written."""
        return self.shown is not None and self.action not in ("failed", "unknown", "not_attempted")

    @property
    def exit_code(self) -> int | None:
        """The exit code of this one; None when it was not attempted."""
        if self.action == "not_attempted":
            return None
        return int(self.error.exit) if self.error else int(Exit.OK)

    def as_json(self) -> dict[str, Any]:
        """Return the item of a JSON array: the deployment, or `{"id": null, "error"}`, and what was done."""
        hide = self.step.secrets.out_of
        changes = [change.hidden(hide) for change in self.step.changes]
        found = {"id": None, "name": self.step.name}
        if self.shown is not None:
            raw = self.shown.as_json()
            found = {name: value if name in ("id", *READ_ONLY) else hide(value) for name, value in raw.items()}
        if self.shown is self.step.current:  # as it was before
            found |= {_field(change.path): HIDDEN for change in changes if change.before == HIDDEN}
        return {
            **found,
            **({"error": self.error.as_json()} if self.error else {}),
            "action": self.action,
            "changes": [change.as_json() for change in changes],
            "input": self.step.place,
            "exit_code": self.exit_code,
        }

    def row(self) -> Fields:
        """Return the row of a table."""
        return {
            "name": self.step.name,
            "id": self.shown.id if self.shown else None,
            "action": Status(self.action),
            "changes": ", ".join(dict.fromkeys(_field(change.path) for change in self.step.changes)) or None,
            "file": self.step.place,
            "error": (self.error.kind or self.error.exit).name.lower() if self.error else None,
        }


def _field(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def would(step: Step) -> Applied:
    """Return what a step would come to."""
    if not step.is_open:
        return _as_it_is(step)
    return Applied(step, "would_create" if step.current is None else "would_change")


def _as_it_is(step: Step) -> Applied:
    """Return what becomes of a step that has nothing to write."""
    return Applied(step, "unchanged" if step.error is None else "failed", step.current, step.error)


def give_up(step: Step) -> Applied:
    """Return what is known of a step that was stopped."""
    write = step.write
    if not step.is_open:
        return _as_it_is(step)
    if write is None or not (write.result or write.may_have_acted):
        return Applied(step, "not_attempted")
    if write.result is None:
        return _failed(step, write.unknown("it was stopped before that was settled"))
    return Applied(step, _done(step), write.result.value)


def apply(state: "State", step: Step, pace: Pace) -> Applied:
    """Write what a step changes, and read it back; never raises but Closed."""
    if not step.is_open:
        return _as_it_is(step)
    try:
        step.write = _creation(state, step, pace) if step.current is None else _change(state, step, step.current, pace)
        return _verified(state, step, step.write.send().value)
    except Closed:
        raise
    except QoderError as error:
        return _failed(step, error)
    except Exception as error:  # a thread that dies of a bug must not leave its step open for ever
        why = f"a bug in qoder: {type(error).__name__}: {step.secrets.out_of(str(error))}"
        is_open = step.write is not None and step.write.may_have_acted
        return _failed(step, step.write.unknown(why) if step.write and is_open else InternalError(why))


def apply_or_find(state: "State", step: Step, pace: Pace) -> Applied:
    """As `apply`; but what cannot be created, for someone has just done so, may be there already as it is wanted."""
    applied = apply(state, step, pace)
    if step.current is not None or applied.error is None or applied.error.http_status != 409:
        return applied
    alive = _named_by_now(state, step)
    if not alive:
        return applied
    if len(alive) == 1 and not step.differs(alive[0]):
        state.progress.note(f"{step.name} ({alive[0].id}) was created by someone meanwhile, as it is wanted")
        return _as_it_is(replace(step, current=alive[0], changes=()))
    return Applied(step, "failed", error=created_meanwhile(step, alive))


def _named_by_now(state: "State", step: Step) -> list[Deployment]:
    """Return those of the name of a step, looking again while there are none: replicas lag."""
    began = state.clock.monotonic()
    for look in (0.0, *LOOKS):
        state.clock.sleep(max(began + look - state.clock.monotonic(), 0.0))
        with suppress(ApiError):
            if alive := Book.of(state).alive(step.declared.name):
                return alive
    return []


def without_twins(state: "State", items: Sequence[Applied]) -> list[Applied]:
    """Return what became of all, with an error for what someone else has created as well; one listing.

    No page of the API promises that names are unique (api/facts.md, 1.2).
    """
    created = [item for item in items if item.action == "created"]
    if not created:
        return list(items)
    try:
        book = Book.of(state)
    except ApiError as unread:
        state.progress.warn(f"whether someone else created one of the same name is not known: {unread.message}")
        return list(items)
    return [_with_twins(item, book) if item in created else item for item in items]


def _with_twins(item: Applied, book: Book) -> Applied:
    others = [found.id for found in book.alive(item.step.declared.name) if item.shown and found.id != item.shown.id]
    if not others or item.error is not None:
        return item
    error = Rejected(
        f"{item.known} was created, and someone else created one of this name: {', '.join(others)}",
        hint="archive the one that is not wanted: qoder deploy archive",
    )
    return replace(item, error=error)


def _done(step: Step) -> Action:
    return "created" if step.current is None else "changed"


def _failed(step: Step, error: QoderError) -> Applied:
    return Applied(step, "unknown" if isinstance(error, OutcomeUnknown) else "failed", error=error)


def _creation(state: "State", step: Step, pace: Pace) -> Write[Deployment]:
    asked = state.clock.now()
    return Write(
        state,
        "/deployments",
        step.body,
        what=f"creating {step.name}",
        read=Deployment.read,
        settle=lambda: _created_since(state, step, asked),
        look=state.looking("deploy", "list"),
        pace=pace,
    )


def _created_since(state: "State", step: Step, asked: float) -> Deployment | None:
    """Return the deployment that a create whose answer was lost has made: of this name, and as it was wanted."""
    since = state.client.on_server_clock(asked)
    named = [found for found in _newest(state, since) if found.name == step.declared.name and not found.archived_at]
    if len(named) > 1:
        raise OutcomeUnknown(f"{len(named)} deployments of this name are new: {', '.join(each.id for each in named)}")
    return named[0] if named and not step.differs(named[0]) else None


def _newest(state: "State", since: float | None) -> Iterator[Deployment]:
    """Yield those that were created in the second of `since` or later, on the server's clock; all where it is None."""
    for page in state.client.pages("/deployments", {"limit": 100}, within=READ_WITHIN, retry=False):
        for found in filter(None, map(Deployment.read, page["data"])):
            moment = parse_timestamp(found.raw.get("created_at"))
            if since is not None and moment is not None and moment.timestamp() < math.floor(since):
                return  # newest first (api/facts.md, 1.2): what follows is older still
            yield found


def _change(state: "State", step: Step, current: Deployment, pace: Pace) -> Write[Deployment]:
    """Return the write of a change. Raises Rejected when the deployment is not any more as it was looked at."""
    now = read_deployment(state, current.id)
    if now.archived_at:
        raise archived(now)
    if settable(now) != settable(current):
        raise Rejected(
            f"deployment {current.id} was changed by someone meanwhile; nothing was sent",
            hint="look at what differs now, and apply again",
        )
    return Write(
        state,
        f"/deployments/{segment(current.id)}",
        step.body,
        what=f"changing {current.id}",
        read=lambda answer: found if (found := Deployment.read(answer)) and found.id == current.id else None,
        settle=lambda: _as_wanted(state, step, current),
        look=state.looking("deploy", "get", current.id),
        repeatable=True,
        pace=pace,
    )


def _as_wanted(state: "State", step: Step, current: Deployment) -> Deployment | None:
    """Return the deployment if it is as it was to become; that an agent is pinned anew shows in another version."""
    found = read_deployment(state, current.id, within=READ_WITHIN, retry=False)
    if step.shows and not step.differs(found) and not (step.repins and _agent(found) == _agent(current)):
        return found
    if found.archived_at:
        raise CannotBe(archived(found).message, hint=archived(found).hint)
    return None


def _agent(deployment: Deployment) -> Any:
    return settable(deployment).get("agent")


def _verified(state: "State", step: Step, written: Deployment) -> Applied:
    """Read back what was written, and say so if the server kept something else."""
    done = _done(step)
    try:
        found = _read_back(state, step, written)
    except ApiError as unread:
        state.progress.warn(f"{step.name} ({written.id}) was {done}, but could not be read back: {unread.message}")
        return Applied(step, done, written)
    kept = [change.path for change in step.differs(found)]
    if not kept:
        return Applied(step, done, found)
    is_kept = bool(step.differs(written))  # the answer showed it too; else it may be a replica that lags
    what = "the server kept something else" if is_kept else "reading back still shows something else"
    error = Rejected(
        f"{step.name} ({found.id}) was {done}, but {what}: {', '.join(kept[:5])}",
        hint="compare it with the file" if is_kept else "look again a little later",
        next=state.looking("deploy", "get", found.id),
    )
    return Applied(step, done, found, error)


def _read_back(state: "State", step: Step, written: Deployment) -> Deployment:
    """Return the deployment as it is now; where that is not yet what was answered, replicas lag: look again."""
    for pause in LAG:
        with suppress(NotFound):
            found = read_deployment(state, written.id)
            if not step.differs(found) or step.differs(written):
                return found
        state.clock.sleep(pause)
    return read_deployment(state, written.id)
