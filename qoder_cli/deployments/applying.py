"""Steps of a plan carried out: the writes, each settled and read back."""

import math
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qoder_cli.base.errors import ApiError, InternalError, NotFound, OutcomeUnknown, QoderError, Rejected
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Deployment, mapping
from qoder_cli.base.times import parse_timestamp
from qoder_cli.deployments.applied import Action, Applied, as_it_is
from qoder_cli.deployments.lookup import read_deployment
from qoder_cli.deployments.namesakes import there_already
from qoder_cli.deployments.planning import archived
from qoder_cli.deployments.step import Step
from qoder_cli.deployments.writing import READ_WITHIN, CannotBe, change
from qoder_cli.files.normal import settable
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.http.readback import ReadBack
from qoder_cli.http.write import Write

if TYPE_CHECKING:
    from qoder_cli.app import State

LAG = (0.5, 0.5, 1.0, 2.0)  # seconds between two looks at a replica that does not know yet what was answered


def give_up(step: Step) -> Applied:
    """Return what is known of a step that was stopped."""
    write = step.write
    if not step.is_open:
        return as_it_is(step)
    if write is None or not (write.result or write.may_have_acted):
        return Applied(step, "not_attempted")
    if write.result is None:
        return _failed(step, write.unknown("it was stopped before that was settled"))
    return Applied(step, _done(step), write.result.value)


def apply(state: "State", step: Step, pace: Pace, *, or_find: bool = False) -> Applied:
    """Write what a step changes, and read it back; never raises but Closed.

    With `or_find` what cannot be created, for someone has just done so, may be there already as it is wanted.
    """
    if not step.is_open:
        return as_it_is(step)
    try:
        return _applied(state, step, pace, or_find=or_find)
    except Closed:
        raise
    except QoderError as error:
        return _failed(step, error)
    except Exception as error:  # a thread that dies of a bug must not leave its step open for ever
        why = f"a bug in qoder: {type(error).__name__}: {error}"
        is_open = step.write is not None and step.write.may_have_acted
        return _failed(step, step.write.unknown(why) if step.write and is_open else InternalError(why))


def _applied(state: "State", step: Step, pace: Pace, *, or_find: bool) -> Applied:
    if step.current is not None:
        now = _looked_at_again(state, step.current)
        if _is_as_wanted(step, now, step.current):
            state.progress.note(f"{step.name} ({now.id}) was changed by someone meanwhile, as it is wanted")
            return as_it_is(replace(step, current=now, changes=()))
        _refuse_stale(now, step.current)
        step.write = _change(state, step, step.current, pace)
        return _verified(state, step, step.write.send().value)
    step.write = _creation(state, step, pace)
    try:
        return _verified(state, step, step.write.send().value)
    except Rejected as refused:
        there = there_already(state, step) if or_find and refused.http_status == 409 else None
        if there is None:
            raise
        return there


def _done(step: Step) -> Action:
    return "created" if step.current is None else "changed"


def _failed(step: Step, error: QoderError) -> Applied:
    return Applied(step, "unknown" if isinstance(error, OutcomeUnknown) else "failed", error=error)


def _creation(state: "State", step: Step, pace: Pace) -> Write[Deployment]:
    asked = state.clock.monotonic()
    return change(
        state,
        "/deployments",
        step.body,
        what=f"creating {step.name}",
        read=lambda answer: found if (found := Deployment.read(answer)) and _is_ours(step, found) else None,
        settle=lambda: _created_since(state, step, asked),
        look=state.looking("deploy", "list"),
        pace=pace,
    )


def _is_ours(step: Step, found: Deployment) -> bool:
    """Return whether an answer to a create is about what was sent: of another name or agent, it is another deployment.

    What else the server kept differently is told once it was read back.
    """
    wanted, kept = step.declared.fields, settable(found)
    if found.name != step.declared.name or found.archived_at:
        return False
    agents = [mapping(agent).get("id", agent) for agent in (wanted.get("agent"), kept.get("agent"))]
    return agents[0] == agents[1] and kept.get("environment_id") == wanted.get("environment_id")


def _created_since(state: "State", step: Step, asked: float) -> Deployment | None:
    """Return the deployment that a create whose answer was lost has made: of this name, and as it was wanted.

    `asked` is when it was sent, by the monotonic clock. Raises OutcomeUnknown where the list cannot tell.
    """

    def since() -> float | None:
        return state.client.on_server_clock(asked)

    reading = ReadBack(state.client, "/deployments")
    found = [each for each in map(Deployment.read, reading.rows(since)) if each and _is_of(each, step)]
    named = [each for each in found if not _is_older(each, since())]
    if len(named) > 1:
        raise OutcomeUnknown(f"{len(named)} deployments of this name are new: {', '.join(each.id for each in named)}")
    if named:
        return None if step.differs(named[0]) else named[0]
    if not reading.is_whole:
        raise OutcomeUnknown("the list of deployments could not be read back to the attempt")
    return None


def _is_of(found: Deployment, step: Step) -> bool:
    return found.name == step.declared.name and not found.archived_at


def _is_older(found: Deployment, since: float | None) -> bool:
    """Return whether a deployment was there before a time, in whole seconds of the server's clock."""
    moment = parse_timestamp(found.raw.get("created_at"))
    return since is not None and moment is not None and moment.timestamp() < math.floor(since)


def _looked_at_again(state: "State", current: Deployment) -> Deployment:
    now = read_deployment(state, current.id)
    if now.archived_at:
        raise archived(now)
    return now


def _refuse_stale(now: Deployment, current: Deployment) -> None:
    if settable(now) != settable(current):
        raise Rejected(
            f"deployment {current.id} was changed by someone meanwhile; nothing was sent",
            hint="look at what differs now, and apply again",
        )


def _change(state: "State", step: Step, current: Deployment, pace: Pace) -> Write[Deployment]:
    return change(
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
    """Return the deployment if it is as it was to become. Raises CannotBe when it never will be."""
    found = read_deployment(state, current.id, within=READ_WITHIN, retry=False)
    if _is_as_wanted(step, found, current):
        return found
    if found.archived_at:
        raise CannotBe(archived(found).message, hint=archived(found).hint)
    return None


def _is_as_wanted(step: Step, found: Deployment, current: Deployment) -> bool:
    """Return whether it shows that all is as wanted; that an agent is pinned anew shows in another version."""
    return step.shows and not step.differs(found) and not (step.repins and _agent(found) == _agent(current))


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
