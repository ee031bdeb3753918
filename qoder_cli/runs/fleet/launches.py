"""Several runs started at a time, each by the protocol of one (`trigger`), and told of as each is settled."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qoder_cli.base.ahead import Workers
from qoder_cli.base.errors import ApiError, InternalError, NotYet, OutcomeUnknown, QoderError
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import Standing, standing
from qoder_cli.deployments.lookup import explain_refusal
from qoder_cli.http.pace import WRITES_PER_SECOND, Closed, Pace
from qoder_cli.http.write import LAST_WORDS
from qoder_cli.runs.idle import find_going
from qoder_cli.runs.launch import Order, trigger_of
from qoder_cli.runs.observe import Observer
from qoder_cli.runs.trigger import Started, Trigger
from qoder_cli.runs.watch import Watch

if TYPE_CHECKING:
    import queue

    from qoder_cli.app import State


@dataclass
class Launched:
    """What became of one order: its run, or the one found `going`, or an error.

    `number` is the order's place in the input; not `attempted` means that nothing was sent, because it was stopped.
    """

    number: int
    observer: Observer | None = None
    known: bool = False  # its key had started it before
    going: Run | None = None
    error: QoderError | None = None
    attempted: bool = True


class Launches:
    """Starts the runs that were ordered, `parallel` at a time; `orders` are by their place in the input.

    With `if_idle` nothing is started while a run of the deployment is going. A run of which the answer says nothing yet
    is read again, if it is not `awaited`. Nothing more is sent after an order of which `is_last`, asked in the thread
    that learns what became of it, says so. `on_launched` is told of each order, in the caller's thread, and returns the
    run to wait for, if it is to be waited for; `on_done` is called after the last.
    """

    def __init__(
        self,
        state: "State",
        orders: dict[int, Order],
        *,
        parallel: int,
        if_idle: bool,
        awaited: bool,
        inbox: "queue.SimpleQueue[Any]",
        is_last: Callable[[Launched], bool],
        on_launched: Callable[[Launched], Watch | None],
        on_done: Callable[[], None],
    ) -> None:
        self._state = state
        self._orders = orders
        self._if_idle = if_idle
        self._awaited = awaited
        self._inbox = inbox
        self._is_last = is_last
        self._on_launched = on_launched
        self._on_done = on_done
        self._workers = Workers(self._launch, at_a_time=parallel)
        self._under_way: dict[int, Trigger] = {}
        self._open = set(orders)
        self._settled: dict[int, Launched] = {}
        self.watches: list[Watch] = []  # the runs to wait for, as far as orders were told of
        self._pace = Pace(state.clock, per_second=WRITES_PER_SECOND)

    @property
    def total(self) -> int:
        """How many runs were ordered."""
        return len(self._orders)

    @property
    def done(self) -> bool:
        """Whether every order was told of."""
        return not self._open

    @property
    def refused(self) -> int:
        """Of how many it was told that there is no run to wait for."""
        return self.total - len(self._open) - len(self.watches)

    def start(self) -> None:
        """Begin, and return at once."""
        _ = self._state.client, self._state.store  # made here: two threads would each make their own
        self._workers.give(self._orders)

    def accept(self, launched: Launched) -> Watch | None:
        """Take in what became of one order, and return the run to wait for, if there is one."""
        if launched.number not in self._open:
            return None
        watch = self._on_launched(launched)
        self.watches += [watch] if watch else []
        self._open.remove(launched.number)  # only now: a signal may come before, and it is told of again then
        if self.done:
            self._on_done()
        return watch

    def stop(self, within: float | None = LAST_WORDS) -> None:
        """Send nothing more, and tell of every order that is open, within so many seconds (None: when all are settled).

        It is told of as not attempted where nothing was sent, as unknown where the answer did not come in time.
        """
        self._pace.close()
        self._workers.stop(self._state.clock, self._inbox, within)  # what is in the inbox was settled
        for number in sorted(self._open):
            self.accept(self._given_up(number))

    def _given_up(self, number: int) -> Launched:
        trigger = self._under_way.get(number)  # asked first: whoever leaves it has settled before
        if settled := self._settled.get(number):
            return settled
        if trigger is None or not trigger.may_have_started:
            return _not_attempted(number)
        return Launched(number, error=_unknown(trigger, "it was stopped before the answer came"))

    def _launch(self, number: int) -> None:
        launched = self._settled[number] = self._launched(number)
        if self._is_last(launched):
            self._pace.close()
        with suppress(Exception):  # known already: whatever keeps more from being learnt, it is told of
            self._ask_more(launched)
        self._under_way.pop(number, None)
        self._inbox.put(partial(self.accept, launched))

    def _launched(self, number: int) -> Launched:
        order = self._orders[number]
        trigger = self._under_way[number] = trigger_of(self._state, order, pace=self._pace)
        try:
            if self._if_idle and (going := find_going(self._state, order.deployment_id)):
                return Launched(number, going=going)
            return self._started(number, trigger.start())
        except Closed:
            return _not_attempted(number)
        except OutcomeUnknown as error:
            return Launched(number, error=_repeatable(error, trigger))
        except QoderError as error:
            return Launched(number, error=error)
        except Exception as error:  # a thread that dies of a bug must not leave its order open for ever
            why = f"a bug in qoder: {type(error).__name__}: {error}"
            return Launched(number, error=_unknown(trigger, why) if trigger.may_have_started else InternalError(why))

    def _started(self, number: int, started: Started) -> Launched:
        run, progress = started.run, self._state.progress
        observer = Observer(self._state.client, run.id, run=run, adopted=started.adopted, progress=progress)
        return Launched(number, observer, known=not started.sent)

    def _ask_more(self, launched: Launched) -> None:
        """Ask what the answer did not say: why it was refused, or how a half-written run stands."""
        if isinstance(launched.error, ApiError):
            id = self._orders[launched.number].deployment_id
            launched.error = explain_refusal(launched.error, id, self._state)
        run = launched.observer.run if launched.observer else None
        is_unclear = run and (run.adopted or standing(Run(run.raw)) is Standing.HALF_WRITTEN)
        if launched.observer and is_unclear and not self._awaited:
            with suppress(ApiError):
                launched.observer.read_once()


def _unknown(trigger: Trigger, why: str) -> OutcomeUnknown:
    error = OutcomeUnknown(
        f"whether a run of {trigger.deployment_id} was started is not known: {why}", run_state="unknown"
    )
    return _repeatable(error, trigger)


def _repeatable(error: OutcomeUnknown, trigger: Trigger) -> OutcomeUnknown:
    """Return the error with the command that repeats the trigger under its key, unless it has a better one."""
    if error.next is None and error.run_id is None:
        error.hint = "look at its runs first; this looks for its run, and repeats it under the same key"
        error.next = trigger.repeat
    return error


def _not_attempted(number: int) -> Launched:
    error = NotYet("not started: the command was stopped before its turn")
    return Launched(number, error=error, attempted=False)
