"""Start several runs in parallel, each as `trigger` does, and report each result."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, InternalError, QoderError
from qoder_cli.base.model import Run
from qoder_cli.base.pool import Pool
from qoder_cli.fleet.conductor import Conductor, not_started
from qoder_cli.fleet.starting import StartOptions, trigger_for
from qoder_cli.http.pace import WRITES_PER_SECOND, Closed, Pace
from qoder_cli.nouns.lookup import explain_refusal
from qoder_cli.runs.ending import Ended, accepted_error
from qoder_cli.runs.idle import already_going, find_going
from qoder_cli.runs.observe import Observer
from qoder_cli.runs.polled import PolledRun, Starts
from qoder_cli.runs.trigger import Order, RunTrigger

Orders = Sequence[Order | QoderError]
Launched = tuple[Ended, PolledRun | None]  # the result, and the run if it started


class Launches(Starts):
    """Starts the ordered runs and reports to the conductor, in the thread that waits.

    A run that is not to be waited for is read again if the response said too little.
    """

    def __init__(self, app: App, orders: Orders, plan: StartOptions, conductor: Conductor) -> None:
        super().__init__()
        self._app = app
        self.orders = {number: order for number, order in enumerate(orders) if isinstance(order, Order)}
        self._plan = plan
        self._conductor = conductor
        self.ordered, self.is_queue = len(self.orders), plan.queue is not None
        at_a_time = 1 if plan.queue else plan.parallel  # a queue keeps the order in which they were typed
        self._pool = Pool(self._launch, self._accept, at_a_time=at_a_time, inbox=self.inbox, clock=app.clock)
        self._pace = Pace(app.clock, per_second=WRITES_PER_SECOND)
        self._under_way: dict[int, RunTrigger] = {}
        self._results: dict[int, Launched] = {}
        self._said: set[int] = set()
        self._add: Callable[[PolledRun], None] = lambda polled: None

    @property
    def left(self) -> int:
        return len(self._pool.open)

    @property
    def line(self) -> str:
        return self._plan.queue.line if self._plan.queue else ""

    def start(self, add: Callable[[PolledRun], None]) -> None:
        self._add = add
        self._app.connect()
        self._pool.give(self.orders)

    def stop(self, within: float) -> None:
        self._pace.close()
        self._pool.stop(within, self._given_up)

    def _accept(self, number: int, launched: Launched) -> None:
        """Report the result of an order."""
        item, polled = launched
        if polled is not None and polled.run is not None:
            self._say(number, polled.run)
        if polled is not None and self._plan.wait:
            self._conductor.expect(polled, number)
            self._add(polled)
        else:
            self._conductor.put(number, item)
        if self.left == 1:  # it was the last
            self._app.tracked.announce()

    def _say(self, number: int, run: Run) -> None:
        """Say, once, which run was started: before waiting for it, and before a store of keys takes note of it."""
        if number in self._said:
            return
        self._said.add(number)
        order = self.orders[number]
        of = f"of {order.typed}" if order.retry_of is None else f"retries {order.retry_of}"
        self._app.progress.change(f"run {run.id} {of}")
        self._app.tracked.begun(run.id, run.session_id, number=number)

    def _given_up(self, number: int) -> Launched:
        trigger = self._under_way.get(number)  # read first: a trigger that left it has a result
        if number in self._results:
            return self._results[number]
        if trigger is not None and trigger.run is not None:  # it counts, though the store of keys has not noted it yet
            return self._started(number, trigger.run)
        if trigger is None or not trigger.write.may_have_acted:
            return not_started(self.orders[number].typed), None
        error = trigger.doubt("it was stopped before the response came", None, may_repeat=True)
        return Ended(self.orders[number].typed, None, error), None

    def _launch(self, number: int) -> Launched:
        order, typed, polled = self.orders[number], self.orders[number].typed, None

        def on_known(run: Run) -> None:
            self.inbox.put(partial(self._say, number, run))

        hold = self._plan.queue.slot_for(order, self._pace) if self._plan.queue else None
        trigger = trigger_for(self._app, order, pace=self._pace, on_known=on_known, hold=hold)
        self._under_way[number] = trigger
        try:
            if self._plan.if_idle and (going := find_going(self._app, order.deployment_id)):
                item = Ended(typed, going, already_going(going, self._app))
            else:
                run = trigger.start()
                item, polled = self._started(number, run)
        except Closed:
            item = not_started(typed)
        except QoderError as error:
            item = Ended(typed, None, error)
        except Exception as bug:  # else its order would be open for ever
            why = f"a bug in qoder: {type(bug).__name__}: {bug}"
            item = Ended(typed, None, InternalError(why))
            if trigger.write.may_have_acted:
                item = Ended(typed, None, trigger.doubt(why, None, may_repeat=True))
        self._results[number] = item, polled
        if self._conductor.is_fatal(item):
            self._pace.close()
        with suppress(Exception):  # the result stands, whatever is learnt of it
            # What the response did not say: why it was refused, or the state of a half-written run.
            if isinstance(item.error, ApiError):
                item = item.with_(error=explain_refusal(item.error, order.deployment_id, self._app))
            if polled and not self._plan.wait:
                polled.observer.read_if_unclear(run)
                item = self._item(polled)
        self._under_way.pop(number, None)
        return item, polled

    def _started(self, number: int, run: Run) -> tuple[Ended, PolledRun]:
        observer = Observer(self._app.client, run.id, run=run)
        polled = PolledRun(observer, label=self.orders[number].typed)
        return self._item(polled), polled

    def _item(self, polled: PolledRun) -> Ended:
        """Return the result for a run not waited for: an error if it ended badly."""
        error = None
        if polled.run is not None:
            error = accepted_error(polled.run, self._app)
        return Ended(polled.label or "", polled.run, error)
