"""Apply the steps of a plan, several at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from queue import SimpleQueue
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import Signalled
from qoder_cli.base.polling import poll
from qoder_cli.base.pool import Pool
from qoder_cli.deployments.step import DeploymentStep
from qoder_cli.http.pace import WRITES_PER_SECOND, Closed, Pace
from qoder_cli.http.write import LAST_WORDS
from qoder_cli.nouns.edits.step import Applied, apply, give_up

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
