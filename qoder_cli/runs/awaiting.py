"""Waiting for runs as a command does: with its limits, its signals, and words for what became of each."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qoder_cli.app import State
from qoder_cli.base.errors import (
    ApiError,
    Exit,
    InternalError,
    Interrupted,
    NotYet,
    QoderError,
    ReaderGone,
    Signalled,
    WaitTimeout,
)
from qoder_cli.base.outcome import is_going
from qoder_cli.http.write import LAST_WORDS
from qoder_cli.runs.ending import ending_error, going_on, stopped_waiting, watch_error
from qoder_cli.runs.fleet.beyond import NOTHING_MORE, Beyond, Wanted, unread, unreadable
from qoder_cli.runs.fleet.items import Item
from qoder_cli.runs.fleet.limits import Limits
from qoder_cli.runs.leave import take_leave_of
from qoder_cli.runs.wait import GLANCE, LAST_LOOK, LONGEST_PAUSE, SLICE, Waiter
from qoder_cli.runs.watch import Watch

if TYPE_CHECKING:
    import queue

    from qoder_cli.http.client import Client
    from qoder_cli.runs.fleet.launches import Launches
    from qoder_cli.runs.fleet.roll import RollCall
    from qoder_cli.runs.listen import Listener


def wait_for(state: State, watches: Sequence[Watch], limits: Limits, wanted: Wanted = NOTHING_MORE) -> list[Item]:
    """Wait until each run has ended or its watch is over, and return what became of each.

    Interrupted by a signal, it returns too: the runs as last known, with the signal as the error of each that goes on.
    Runs that go on when the time is up or a signal came are cancelled first, if that is wanted.
    """
    items: dict[str, Item] = {}
    awaiting = Awaiting(state, limits, wanted, lambda watch, item: items.update({watch.observer.run_id: item}))
    with suppress(Signalled):  # it is the error of the items
        awaiting.wait(watches)
    return [items[watch.observer.run_id] for watch in watches]


class Awaiting:
    """A wait for runs that tells of each, in `on_item`, when it is known what became of it.

    It ends early when `is_enough` says so. `labels` has what the runs are called among several.
    """

    def __init__(
        self,
        state: State,
        limits: Limits,
        wanted: Wanted,
        on_item: Callable[[Watch, Item], None],
        *,
        inbox: "queue.SimpleQueue[Any] | None" = None,
        is_enough: Callable[[], bool] = lambda: False,
        labels: Sequence[str] = (),
    ) -> None:
        from queue import SimpleQueue

        self._state = state
        client = state.client
        self._wanted = wanted
        self._on_item = on_item
        self._is_enough = is_enough
        self._left: dict[Watch, Item] = {}  # of which leave is to be taken
        self._told: set[Watch] = set()
        self._reads_beside = bool(labels)
        self._patience = None if not limits.timeout else LAST_LOOK
        inbox = SimpleQueue() if inbox is None else inbox
        self._beyond = Beyond(state, wanted, inbox=inbox, tell=self._tell)
        self._waiter = Waiter(
            clock=state.clock,
            progress=state.progress,
            request_timeout=client.request_timeout,
            inbox=inbox,
            listener=_listener(state, wanted, inbox, labels),
            roll=None if wanted.follow else _roll_call(client, limits.interval),
            timeout=limits.timeout,
            spent=limits.spent,
            interval=limits.interval,
            slice=glance(state),
            stops_when_asked=wanted.on_ask == "stop",
            on_over=self._over,
            has_more=lambda: self._beyond.is_open,
        )

    def wait(self, watches: Sequence[Watch], launches: "Launches | None" = None) -> None:
        """Return when all is told, also of `launches`, which are begun here. Raises Signalled, when all is told too."""
        try:
            if launches:
                launches.start()
            self._waiter.wait(watches, launches, is_enough=self._is_enough)
            self._tell_rest(watches, launches, None)
        except Signalled as signalled:
            self._tell_rest(watches, launches, signalled)
            raise

    def _tell_rest(self, watches: Sequence[Watch], launches: "Launches | None", signalled: Signalled | None) -> None:
        """Tell of all that was not told of. A signal may come at any time, and this is called again then."""
        if launches:
            launches.stop(LAST_WORDS if signalled else None)
        for watch in [*watches, *(launches.watches if launches else ())]:
            if not (watch in self._told or watch in self._left or self._beyond.has(watch)):
                self._end(watch, signalled)
        take_leave_of(list(self._left.values()), self._state)
        for watch, item in self._left.items():
            self._on_item(watch, item)
        is_cut_short = bool(signalled) or self._is_enough()
        for watch, item in self._beyond.rest(
            within=0.0 if is_cut_short else self._patience, error_of=lambda item: self._unread(item, signalled)
        ):
            self._tell(watch, item)

    def _end(self, watch: Watch, signalled: Signalled | None) -> None:
        if not watch.over:
            self._left[watch] = _left_behind(watch, signalled, self._state)
        elif signalled and self._beyond.is_wanted_of(item := _item(watch, self._state)):
            self._tell(watch, item._replace(error=item.error or self._unread(item, signalled)))
        else:
            self._over(watch)

    def _unread(self, item: Item, signalled: Signalled | None) -> QoderError:
        """Return the error of a run that has ended, of which more was to be read when the wait ended."""
        if item.run is None or not (signalled or self._is_enough()):
            return self._beyond.too_late(item)
        if signalled:
            return unread(item.run, signalled)
        return NotYet(f"run {item.run.id} has ended, but nothing more was read of it when another failed")

    def _over(self, watch: Watch) -> None:
        item = _item(watch, self._state)
        if isinstance(item.error, WaitTimeout) and self._state.on_leave == "cancel":
            self._left[watch] = item
        elif not self._beyond.is_wanted_of(item):
            self._tell(watch, item)
        elif self._reads_beside:
            self._beyond.begin(watch, item)
        else:
            self._tell(watch, self._beyond.read(item))

    def _tell(self, watch: Watch, item: Item) -> None:
        if watch not in self._told:
            self._on_item(watch, item)
            self._told.add(watch)


def glance(state: State) -> float:
    """Return for how many seconds a wait may sleep before it looks around."""
    return GLANCE if state.out.is_piped else SLICE


def _left_behind(watch: Watch, signalled: Signalled | None, state: State) -> Item:
    """Return what is said of a run that goes on when the wait is ended by a signal, or by another that failed."""
    run, run_id = watch.run, watch.observer.run_id
    if signalled is not None:
        return Item(run_id, run, stopped_waiting(signalled, [run_id], run, state))
    error = NotYet(f"run {run_id} was left going on when another failed", hint="wait for its end")
    if run is None:
        error.run_id, error.run_state, error.next = run_id, "unknown", state.wait_again(run_id)
        return Item(run_id, None, error)
    return Item(run_id, run, going_on(error, run, state))


def _roll_call(client: "Client", interval: float | None) -> "RollCall":
    from qoder_cli.runs.fleet.roll import RollCall

    return RollCall(client, longest_pause=LONGEST_PAUSE if interval is None else interval)


def _listener(state: State, wanted: Wanted, inbox: "queue.SimpleQueue[Any]", labels: Sequence[str]) -> "Listener":
    from qoder_cli.runs.listen import Listener

    if not wanted.follow:
        return Listener(state.client, clock=state.clock, inbox=inbox)
    from qoder_cli.sessions.showing import Showing

    return Listener(state.client, clock=state.clock, inbox=inbox, showing=Showing(state, labels))


def _item(watch: Watch, state: State) -> Item:
    run, run_id = watch.run, watch.observer.run_id
    if watch.error is not None:
        return Item(run_id, run, watch_error(watch.error, run_id, run, state))
    return Item(run_id, run, ending_error(run, state) if run else None)


def finish(state: State, item: Item, *, result: bool = False) -> int:
    """Print what became of the one thing that was asked for, and return 0 or raise the error that it ended with.

    With `result` the agent's final message is printed instead of the run, or goes with it into JSON.
    """
    if state.ci:
        state.ci.ended(item)
    try:
        if item.run is not None:
            error = _show(state, item, result)
            item = item._replace(error=item.error or error)
    except Signalled as signalled:
        item = item._replace(error=unread(item.run, signalled) if item.run else None)
    except (ReaderGone, InternalError):
        if not isinstance(item.error, Interrupted):  # the signal decides, whoever still listens
            raise
    if state.ci:
        state.ci.ended(item)
    if item.error is not None:
        raise item.error
    return Exit.OK


def _show(state: State, item: Item, result: bool) -> QoderError | None:
    """Print the run or its result, and return the error if that could not be read."""
    from qoder_cli.runs.result import show_result

    run, error = item.run, None
    assert run is not None  # whoever calls this has a run to show
    if result and not is_going(run):
        try:
            show_result(state, run)
            return None
        except ApiError as failure:
            error = unreadable(item, failure, Wanted(result=True), state)
    if not result or state.output.is_json:
        state.show_run(run)
    return error
