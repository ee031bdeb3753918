"""Apply the steps of a plan: write, settle, read back."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import repeat
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
from qoder_cli.base.model import Deployment, Resource
from qoder_cli.base.polling import poll
from qoder_cli.base.pool import Pool
from qoder_cli.deployments.changes import LATEST, difference, lines_of
from qoder_cli.deployments.lookup import alive, read_all, read_deployment
from qoder_cli.deployments.planning import archived
from qoder_cli.deployments.step import Applied, Step, result_of, without_writing
from qoder_cli.files.normal import settable
from qoder_cli.http.pace import WRITES_PER_SECOND, Closed, Pace
from qoder_cli.http.readback import READ_WITHIN
from qoder_cli.http.write import LAST_WORDS, Write
from qoder_cli.nouns.table import NOUNS
from qoder_cli.nouns.update import Overtaken, updating
from qoder_cli.nouns.write import creating, target_of

AT_A_TIME = 8  # steps that are applied
TURN_PAUSE = 0.2  # seconds between two looks whether it is our turn
_TURN = "deployments"  # what is written in it
LAG = (0.5, 0.5, 1.0, 2.0)  # seconds between two looks at a replica that lags


@contextmanager
def turn(app: App) -> Iterator[None]:
    """Let one process of this machine write deployments at a time. Raises Signalled while it waits."""
    store, host = app.store, app.settings.host

    def has_turn() -> bool:
        app.progress.beat()
        return store.take_turn(_TURN, host=host)

    if not store.take_turn(_TURN, host=host):
        status = "another command of this machine writes deployments; waiting for it"
        app.progress.note(status)
        with app.progress.waiting(status, leaving="nothing is written"):
            poll(has_turn, app.clock, pauses=repeat(TURN_PAUSE), is_enough=bool)
    try:
        yield
    finally:
        store.end_turn(_TURN, host=host)


def give_up(step: Step) -> Applied:
    """Return what is known of a stopped step, as its result."""
    write = step.write
    if not step.is_open:
        return without_writing(step)
    if write is None or not write.is_open_or_done:
        return result_of(step, "not_attempted")
    if write.result is None:
        return _failed(step, write.unknown("interrupted before it was confirmed"))
    return result_of(step, step.done, Deployment(write.result.value.raw))


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
    now = read_deployment(app, current.id, fresh=True)
    if now.archived_at:
        raise archived(now)
    if _is_as_wanted(step, now, current):
        app.progress.note(f"{step.name} ({now.id}) was already changed as requested, by someone else")
        return without_writing(replace(step, current=now, changes=()))
    if settable(now) != settable(current):
        _show_theirs(app, step, current, now)
        raise Rejected(
            f"deployment {current.id} was changed by someone else in the meantime; nothing was sent",
            hint="check the new differences and try again",
        )

    def again() -> dict[str, Any]:
        found = read_deployment(app, current.id, within=READ_WITHIN, retry=False, fresh=True)
        if found.archived_at:
            raise archived(found)
        return found.raw

    write = updating(
        app,
        target_of(NOUNS["deploy"], current.id),
        dict(step.body or {}),
        before=now.raw,
        again=again,
        shows=lambda raw: raw.get("id") == current.id,
        is_so=(lambda raw: _is_as_wanted(step, Deployment(raw), current)) if step.shows else None,
        settable=lambda raw: settable(Deployment(raw)),
        what=f"changing {current.id}",
        pace=pace,
    )
    try:
        return _written(app, step, write)
    except Overtaken as error:
        _show_theirs(app, step, now, Deployment(error.theirs))
        raise


def _show_theirs(app: App, step: Step, before: Deployment, theirs: Deployment) -> None:
    """Show what somebody else changed."""
    changes = difference(settable(theirs), settable(before)).changes
    lines = [f"  {line}" for change in changes for line in lines_of(change, step.secrets)]
    app.progress.note(f"what someone else changed in {step.name} ({before.id}):", always=True)
    for line in lines or ["  nothing that shows"]:
        app.progress.note(line, always=True)


def _written(app: App, step: Step, write: Write[Resource]) -> Applied:
    step.write = write
    return _verified(app, step, Deployment(write.send().value.raw))


def _created(app: App, step: Step, pace: Pace) -> Applied:
    write = creating(
        app,
        NOUNS["deploy"],
        dict(step.body or {}),
        is_it=lambda raw: bool(alive([Deployment(raw)], step.declared.name)),
        what=f"creating {step.name}",
        pace=pace,
    )
    try:
        return _written(app, step, write)
    except Rejected as error:
        taken: list[Deployment] = []
        if error.http_status == 409:
            with suppress(ApiError):
                taken = alive(read_all(app), step.declared.name)
        if not taken:
            raise
        ids = ", ".join(each.id for each in taken)
        raise error.with_(message=f"{error.message.rstrip('.')}; the name is that of {ids}") from None


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
    def is_enough(found: Deployment) -> bool:
        return not step.differs(found) or bool(step.differs(written))

    read = partial(read_deployment, app, written.id)
    return poll(read, app.clock, pauses=LAG, is_enough=is_enough, may_pass=lambda error: isinstance(error, NotFound))
