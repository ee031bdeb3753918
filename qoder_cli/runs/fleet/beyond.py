"""What is asked of runs beyond themselves, once they have ended: it is read while others are still waited for."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.base.ahead import Workers
from qoder_cli.base.choices import OnAsk
from qoder_cli.base.errors import ApiError, LostSight, NoAnswer, QoderError, RunFailed, Signalled
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.outcome import evaluations, is_going
from qoder_cli.runs.fleet.items import Item

if TYPE_CHECKING:
    import queue

    from qoder_cli.app import State
    from qoder_cli.http.client import Client
    from qoder_cli.runs.watch import Watch

AT_A_TIME = 6  # runs that are read of
_TICK = 0.1  # seconds


class Wanted(NamedTuple):
    """What is asked of the ending beyond the run itself."""

    follow: bool = False  # show the session's events as they happen
    require_satisfied: bool = False  # anything but `satisfied` outcome evaluations fails
    result: bool = False  # the agent's final message goes with it into JSON
    on_ask: OnAsk = "stop"  # while the agent waits for an answer


NOTHING_MORE = Wanted()


class Beyond:
    """Reads what is wanted of runs that have ended, several at a time; a call of `tell` for each goes into `inbox`."""

    def __init__(
        self,
        state: "State",
        wanted: Wanted,
        *,
        inbox: "queue.SimpleQueue[Any]",
        tell: "Callable[[Watch, Item], None]",
    ) -> None:
        self._state = state
        self._wanted = wanted
        self._inbox = inbox
        self._tell = tell
        self._items: dict[Watch, Item] = {}  # as far as they are known
        self._open: set[Watch] = set()
        self._workers = Workers(self._work, at_a_time=AT_A_TIME)

    def has(self, watch: "Watch") -> bool:
        """Return whether more is, or was, read of this one."""
        return watch in self._items

    @property
    def is_open(self) -> bool:
        """Whether something is still to be read."""
        return bool(self._open)

    def is_wanted_of(self, item: Item) -> bool:
        """Return whether there is more to read of what has ended."""
        has_ended = item.run is not None and not is_going(item.run)
        return has_ended and (self._wanted.result or (self._wanted.require_satisfied and item.error is None))

    def begin(self, watch: "Watch", item: Item) -> None:
        """Begin to read, and return at once."""
        self._items[watch] = item
        self._open.add(watch)
        self._workers.give([watch])

    def _work(self, watch: "Watch") -> None:
        self._items[watch] = self.read(self._items[watch])
        self._open.discard(watch)
        self._inbox.put(partial(self._tell, watch, self._items[watch]))

    def read(self, item: Item) -> Item:
        """Return an item with what is wanted; where it cannot be read, that is how the item ended."""
        try:
            if self._wanted.require_satisfied:
                item = _judged_by_outcome(item, self._state.client)
            if self._wanted.result and item.run is not None:
                from qoder_cli.runs.result import final_message

                item = item._replace(more={"result": final_message(self._state.client, item.run)})
        except ApiError as error:
            return item._replace(error=item.error or unreadable(item, error, self._wanted, self._state))
        return item

    def rest(self, *, within: float | None, error_of: Callable[[Item], QoderError]) -> "Iterator[tuple[Watch, Item]]":
        """Yield all that was begun, after so many seconds at most (None: when all is read).

        What is not read by then ended with the error that `error_of` returns.
        """
        clock = self._state.clock
        until = math.inf if within is None else clock.monotonic() + within
        while self._open and clock.monotonic() < until:
            clock.take(self._inbox, _TICK)
        self._workers.stop(clock, self._inbox, 0.0)
        for watch, item in self._items.items():
            yield watch, item._replace(error=item.error or error_of(item)) if watch in self._open else item

    def too_late(self, item: Item) -> QoderError:
        """Return the error of a run of which nothing more could be read in time."""
        return unreadable(item, NoAnswer("there was no time left"), self._wanted, self._state)


def unread(run: Run, signalled: Signalled) -> QoderError:
    """Return the error of a run that has ended, of which more was to be read when a signal came."""
    why = f"run {run.id} has ended, and nothing more was read of it"
    return signalled.in_words(why, run_id=run.id, session_id=run.session_id, run_state="ended")


def unreadable(item: Item, error: ApiError, wanted: Wanted, state: "State") -> QoderError:
    """Return the error of a run that has ended, when what is wanted beyond that cannot be read."""
    if (run := item.run) is None:
        return error
    again = ("wait", run.id, "--require-satisfied") if wanted.require_satisfied else ("result", run.id)
    return LostSight(
        f"run {run.id} has ended, but what it came to cannot be read: {error.message}",
        hint="ask again, do not start it again",
        next=state.command("run", *again),
        run_id=run.id,
        session_id=run.session_id,
        run_state="ended",
        cause=error,
    )


def _judged_by_outcome(item: Item, client: "Client") -> Item:
    """Return a completed run as failed when its outcome evaluations are missing or not all satisfied."""
    if item.error is not None or item.run is None:
        return item
    session = client.get(f"/sessions/{segment(item.run.session_id)}") if item.run.session_id else {}
    results = [text(one.get("result")) or "unknown" for one in evaluations(mapping(session))]
    if results and set(results) == {"satisfied"}:
        return item
    error = RunFailed(
        f"run {item.typed} completed, but "
        + (f"its outcome is {', '.join(sorted(set(results)))}" if results else "no outcome was evaluated"),
        hint="the evaluations are in: qoder run get " + item.typed,
        run_id=item.typed,
        session_id=item.run.session_id,
        run_state="ended",
    )
    return item._replace(error=error)
