"""Apply the steps of a plan: write, settle, read back."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import (
    ApiError,
    InternalError,
    NotFound,
    OutcomeUnknown,
    QoderError,
    Rejected,
    Signalled,
)
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Deployment, mapping
from qoder_cli.base.pool import Pool
from qoder_cli.base.times import unix
from qoder_cli.deployments.changes import LATEST
from qoder_cli.deployments.lookup import alive, read_deployment
from qoder_cli.deployments.planning import archived
from qoder_cli.deployments.step import Applied, Step, result_of, without_writing
from qoder_cli.files.normal import settable
from qoder_cli.http.change import READ_WITHIN, ObjectWrite, ReadBack
from qoder_cli.http.pace import WRITES_PER_SECOND, Closed, Pace
from qoder_cli.http.write import LAST_WORDS

AT_A_TIME = 8  # steps that are applied
LAG = (0.5, 0.5, 1.0, 2.0)  # seconds between two looks at a replica that lags


def give_up(step: Step) -> Applied:
    """Return what is known of a stopped step, as its result."""
    write = step.write
    if not step.is_open:
        return without_writing(step)
    if write is None or not (write.result or write.may_have_acted):
        return result_of(step, "not_attempted")
    if write.result is None:
        return _failed(step, write.unknown("interrupted before it was confirmed"))
    return result_of(step, step.done, write.result.value)


def apply_all(app: App, steps: Sequence[Step], on_done: Callable[[int, Applied], None]) -> Signalled | None:
    """Apply steps, several at a time. Return the signal that ended this, if any.

    `on_done` gets each step's place and result, in this thread; an interrupted call is made again.
    """

    def work(number: int) -> Applied:
        try:
            return apply(app, steps[number], pace)
        except Closed:
            return give_up(steps[number])

    inbox = SimpleQueue[Any]()
    pace = Pace(app.clock, per_second=WRITES_PER_SECOND)
    pool = Pool(work, on_done, at_a_time=AT_A_TIME, inbox=inbox, clock=app.clock)
    try:
        pool.give(range(len(steps)))
        pool.hear(app.progress.beat)
    except Signalled as signalled:
        pace.close()
        pool.stop(LAST_WORDS, lambda number: give_up(steps[number]))
        return signalled
    return None


def apply(app: App, step: Step, pace: Pace) -> Applied:
    """Write a step's changes and read them back. Raises only Closed."""
    if not step.is_open:
        return without_writing(step)
    try:
        if step.current is not None:
            return _changed(app, step, step.current, pace)
        return _created(app, step, pace)
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


def _changed(app: App, step: Step, current: Deployment, pace: Pace) -> Applied:
    now = read_deployment(app, current.id)
    if now.archived_at:
        raise archived(now)
    if _is_as_wanted(step, now, current):
        app.progress.note(f"{step.name} ({now.id}) was already changed as requested, by someone else")
        return without_writing(replace(step, current=now, changes=()))
    if settable(now) != settable(current):
        raise Rejected(
            f"deployment {current.id} was changed by someone else in the meantime; nothing was sent",
            hint="check the new differences and try again",
        )

    def as_wanted() -> Deployment | None:
        found = read_deployment(app, current.id, within=READ_WITHIN, retry=False)
        if _is_as_wanted(step, found, current):
            return found
        if found.archived_at:
            raise archived(found)
        return None

    return _written(
        app,
        step,
        f"/deployments/{segment(current.id)}",
        what=f"changing {current.id}",
        shows=lambda found: found.id == current.id,
        settle=as_wanted,
        look=app.looking("deploy", "get", current.id),
        repeatable=True,
        pace=pace,
    )


def _written(app: App, step: Step, path: str, **how: Any) -> Applied:
    step.write = ObjectWrite(app.client, path, step.body, parse=Deployment.read, **how)
    return _verified(app, step, step.write.send().value)


def _created(app: App, step: Step, pace: Pace) -> Applied:
    asked = app.clock.monotonic()
    return _written(
        app,
        step,
        "/deployments",
        what=f"creating {step.name}",
        shows=lambda found: _is_ours(step, found),
        settle=lambda: _created_since(app, step, asked),
        look=app.looking("deploy", "list"),
        pace=pace,
    )


def _is_ours(step: Step, found: Deployment) -> bool:
    """Return whether a create's answer has the name, agent and environment we sent."""
    wanted, kept = (
        (mapping(fields.get("agent")).get("id", fields.get("agent")), fields.get("environment_id"))
        for fields in (step.declared.fields, settable(found))
    )
    return bool(alive([found], step.declared.name)) and wanted == kept


def _created_since(app: App, step: Step, asked: float) -> Deployment | None:
    """Return what a create made whose answer was lost; None if nothing is as wanted.

    `asked` is when it was sent (monotonic). Raises OutcomeUnknown if the list cannot tell.
    """

    def since() -> float | None:
        return app.client.on_server_clock(asked)

    reading = ReadBack(app.client, "/deployments")
    new = alive(filter(None, map(Deployment.read, reading.rows(since))), step.declared.name)
    if (from_then := since()) is not None:
        told = [(each, unix(each.raw.get("created_at"))) for each in new]
        new = [each for each, made in told if made is None or made >= math.floor(from_then)]
    if len(new) > 1:
        raise OutcomeUnknown(f"{len(new)} deployments of this name are new: {', '.join(each.id for each in new)}")
    if new:
        return None if step.differs(new[0]) else new[0]
    if not reading.is_whole:
        raise OutcomeUnknown("the list of deployments could not be read back to the attempt")
    return None


def _is_as_wanted(step: Step, found: Deployment, current: Deployment) -> bool:
    """Return whether all is as wanted; a new pin of an agent shows in its version."""
    repins = any(change.path == "agent.version" and change.after == LATEST for change in step.changes)
    if repins and settable(found).get("agent") == settable(current).get("agent"):
        return False
    return step.shows and not step.differs(found)


def _verified(app: App, step: Step, written: Deployment) -> Applied:
    try:
        found = _read_back(app, step, written)
    except ApiError as unread:
        app.progress.warn(f"{step.name} ({written.id}) was {step.done}, but could not be read back: {unread.message}")
        return result_of(step, step.done, written)
    kept = [change.path for change in step.differs(found)]
    if not kept:
        return result_of(step, step.done, found)
    what, hint = "reading it back still shows something else", "check again later"
    if step.differs(written):  # else it may be a replica that lags
        what, hint = "the server stored something else", "compare it with what you wanted"
    error = Rejected(
        f"{step.name} ({found.id}) was {step.done}, but {what}: {', '.join(kept[:5])}",
        hint=hint,
        next=app.looking("deploy", "get", found.id),
    )
    return result_of(step, step.done, found, error)


def _read_back(app: App, step: Step, written: Deployment) -> Deployment:
    for pause in LAG:
        with suppress(NotFound):
            found = read_deployment(app, written.id)
            if not step.differs(found) or step.differs(written):
                return found
        app.clock.sleep(pause)
    return read_deployment(app, written.id)
