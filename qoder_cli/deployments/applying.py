"""Apply the steps of a plan, several at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import repeat
from queue import SimpleQueue
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import OutcomeUnknown, QoderError, Rejected, Signalled
from qoder_cli.base.model import Deployment, mapping
from qoder_cli.base.polling import poll
from qoder_cli.base.pool import Pool
from qoder_cli.deployments.planning import changing
from qoder_cli.deployments.step import PAUSED, DeploymentStep
from qoder_cli.http.pace import WRITES_PER_SECOND, Closed, Pace
from qoder_cli.http.write import LAST_WORDS
from qoder_cli.nouns.deployments import PAUSE, UNPAUSE
from qoder_cli.nouns.edits.step import Applied, apply, failed, give_up, look_again, result_of
from qoder_cli.nouns.edits.thing import Raw, read, target_of
from qoder_cli.nouns.edits.verbs import Change, ending

AT_A_TIME = 8  # steps that are applied
TURN_PAUSE = 0.2  # seconds between two looks whether it is our turn
_TURN = "deployments"  # what is written in it


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


def apply_all(app: App, steps: Sequence[DeploymentStep], on_done: Callable[[int, Applied], None]) -> Signalled | None:
    """Apply steps, several at a time. Return the signal that ended this, if any.

    `on_done` gets each step's place and result, in this thread; an interrupted call is made again.
    """

    def work(number: int) -> Applied:
        try:
            return write(app, steps[number], pace)
        except Closed:
            return given_up(steps[number])

    inbox = SimpleQueue[Any]()
    pace = Pace(app.clock, per_second=WRITES_PER_SECOND)
    pool = Pool(work, on_done, at_a_time=AT_A_TIME, inbox=inbox, clock=app.clock)
    try:
        pool.give(range(len(steps)))
        pool.hear(app.progress.beat)
    except Signalled as signalled:
        pace.close()
        pool.stop(LAST_WORDS, lambda number: given_up(steps[number]))
        return signalled
    return None


def write(app: App, step: DeploymentStep, pace: Pace) -> Applied:
    """Write a deployment so that it never fires while it is to be paused. Raises only Closed, Signalled.

    A new one is created without its schedule, paused, and given the schedule then; one that is there is paused before
    it changes, and unpaused after it.
    """
    if not step.is_open or not any(change.path == PAUSED for change in step.changes):
        return apply(app, step, pace)
    if step.current is None:
        return _create_paused(app, step, pace)
    step.planned = step.changes
    step.changes = [change for change in step.planned if change.path != PAUSED]
    try:
        return _pause_around(app, step, pace)
    except QoderError as error:
        return failed(step, error)
    finally:
        step.changes, step.planned = step.planned, None


def _pause_around(app: App, step: DeploymentStep, pace: Pace) -> Applied:
    """Write the other changes between pausing and unpausing. Raises QoderError, Closed, Signalled."""
    look_again(app, step)
    if step.declared.paused:
        _end(app, step, PAUSE, pace, more_follows=step.is_open)
    if step.is_open:
        step.more_follows = not step.declared.paused
        applied = apply(app, step, pace)
        if applied.error is not None or applied.found is None:
            return applied
        step.current, step.has_written = applied.found.raw, True
    if not step.declared.paused:
        _end(app, step, UNPAUSE, pace)
    return result_of(step, "changed")


def given_up(step: DeploymentStep) -> Applied:
    """Return what is known of a deployment whose writing was stopped, maybe between two writes."""
    if (planned := step.planned) is not None:
        step.changes = planned
    applied = give_up(step)
    is_half_done = step.more_follows and applied.action in ("created", "changed")
    if not is_half_done and not (step.has_written and applied.action == "not_attempted"):
        return applied
    raw = mapping(applied.found and applied.found.raw)
    stopped = Rejected(f"{applied.label} was {step.done}, but is not yet as the file says", hint="apply again")
    return result_of(step, "failed", raw, stopped)


def _end(app: App, step: DeploymentStep, change: Change, pace: Pace, *, more_follows: bool = False) -> None:
    """Pause or unpause what is there. Raises QoderError, Closed."""
    write = ending(app, step.target, change)
    write.pace = pace
    step.write = write  # first: until then a signal has to find that more follows
    step.more_follows = more_follows
    step.current = {**(step.current or {}), **write.send().value.raw}
    step.has_written = True


def _create_paused(app: App, step: DeploymentStep, pace: Pace) -> Applied:
    """Create a deployment that is never awake: without its schedule, paused, then as it is wanted. Raises Closed."""
    schedule = step.wanted.get("schedule")
    wanted, body = step.wanted, step.body
    step.wanted, step.body = _without_schedule(wanted), _without_schedule(body)
    step.more_follows = True
    applied = apply(app, step, pace)
    step.wanted, step.body = wanted, body
    if applied.error is not None or applied.found is None:
        return applied
    found = applied.found.raw
    try:
        write = ending(app, target_of(step.noun, str(found["id"])), PAUSE)
        write.pace = pace
        found = {**found, **write.send().value.raw}
        if schedule:
            found = _scheduled(app, step, found, pace)
    except QoderError as error:  # it is there all the same
        action: Any = "unknown" if isinstance(error, OutcomeUnknown) else "failed"
        return result_of(step, action, found, error)
    return result_of(step, "created", found)


def _scheduled(app: App, step: DeploymentStep, found: Raw, pace: Pace) -> Raw:
    """Give a new deployment that is paused its schedule; return it. Raises QoderError, Closed."""
    now = Deployment(read(app.client, target_of(step.noun, str(found["id"])), fresh=True))
    declared = replace(step.declared, fields={"schedule": step.wanted["schedule"]}, paused=None)
    last = apply(app, changing(declared, now, [], repin=False), pace)
    if last.error is not None:
        raise last.error
    if last.found is None:
        return now.raw
    return last.found.raw


def _without_schedule(fields: Raw) -> Raw:
    return {name: value for name, value in fields.items() if name != "schedule"}
