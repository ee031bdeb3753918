"""Wait for runs as a command does: signals handled, and the result put into words."""

from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue

from qoder_cli.app import App
from qoder_cli.base.errors import (
    ApiError,
    Exit,
    LostSight,
    NeedsAnswer,
    NotYet,
    QoderError,
    RunFailed,
    Signalled,
    WaitTimeout,
)
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.outcome import evaluations, is_going
from qoder_cli.base.tokens import without_tokens
from qoder_cli.output.cells import Fields, Words
from qoder_cli.output.data import Rows
from qoder_cli.output.results import Printed, Result
from qoder_cli.output.views import missing_row, run_row
from qoder_cli.runs.ending import (
    Ended,
    Wanted,
    ending_error,
    is_left,
    leave_run,
    naming,
    stopped_waiting,
    unanswered,
    unread,
    unreadable,
)
from qoder_cli.runs.observe import Observer
from qoder_cli.runs.polled import PolledRun
from qoder_cli.runs.streams import Streams
from qoder_cli.runs.wait import Deadline, Pauses, RunPoller, Wait

AT_A_TIME = 40  # cancellations: as many as are begun within the longest of them, however slow the server is
# The order in which columns get room on a terminal.
_FIRST = ("id", "status", "deployment", "duration", "error_type", "triggered", "trigger", "session")


class Item(Result[Run]):
    """The result for one run, or for one that was to be."""

    @property
    def run_id(self) -> str | None:
        if self.found is not None:
            return self.found.id
        return self.error.run_id if self.error else None

    @property
    def goes_on(self) -> bool:
        """Whether there is a run that may still be running."""
        if self.found is not None:
            return is_going(self.found)
        error = self.error
        return isinstance(error, WaitTimeout) or bool(error and error.run_id and error.run_state != "ended")

    @property
    def is_unknown(self) -> bool:
        """Whether nobody knows if a run was started."""
        return self.found is None and self.exit_code == Exit.OUTCOME_UNKNOWN

    @property
    def word(self) -> str:
        if self.found is not None:
            return self.found.status or "gone"
        if not self.attempted:
            return "not_started"
        return self.error.type_name if self.error else "pending"

    def row(self) -> Fields:
        if self.found is None:
            return missing_row(without_tokens(self.typed), self.word)
        return run_row(self.found)

    def drawn_row(self) -> Fields:
        """Return the row for a terminal, with the deployment as it was typed."""
        names_run = self.found is None or self.typed.startswith(("drun_", "sess_")) or self.typed.endswith("last")
        if names_run:
            return self.row()
        return {**self.row(), "deployment": Words(self.typed)}


def not_started(typed: str) -> Item:
    """Return the result for a run whose turn never came."""
    return Item(typed, None, NotYet("not started (interrupted first)"), attempted=False)


def printed(app: App, count: int) -> Printed[Item]:
    """Return a printer for `count` runs."""
    row = Item.drawn_row if app.output.is_drawn else Item.row
    remedy = "qoder run get shows all of a run"
    rows = Rows[Item](app.output, fields=row, data=Item.as_json, first=_FIRST, remedy=remedy)
    return Printed(rows, app.progress, count)


def asks_more(wanted: Wanted, item: Item) -> bool:
    """Whether more is to be read of a run that has ended."""
    if not wanted.result and (not wanted.require_satisfied or item.error is not None):
        return False
    return item.found is not None and not is_going(item.found)


def read_more(app: App, item: Item, wanted: Wanted) -> Item:
    """Return an item with what is wanted of it; its error says what could not be read."""
    if not asks_more(wanted, item):
        return item
    try:
        if wanted.require_satisfied and item.error is None and item.found is not None:
            id = item.found.session_id
            session = mapping(app.client.get(f"/sessions/{segment(id)}")) if id else {}
            results = {text(one.get("result")) or "unknown" for one in evaluations(session)}
            if results != {"satisfied"}:
                why = f"its outcome is {', '.join(sorted(results))}" if results else "it has no outcome evaluation"
                said, hint = f"run {item.found.id} completed, but {why}", f"see: qoder run get {item.found.id}"
                item = item.with_(error=RunFailed(said, hint=hint, **naming(item.found, "ended")))
        if wanted.result and item.found is not None:
            from qoder_cli.sessions.result import final_message

            item = item.with_(more={"result": final_message(app, item.found)})
    except ApiError as error:
        return item.with_(error=item.error or unreadable(item.found, error, app, wanted))
    return item


def wait_for(app: App, observer: Observer, wanted: Wanted) -> Item:
    """Wait until a run has ended or the wait is over. Return the result; `finish` reads the final message."""
    polled, wanted = PolledRun(observer), wanted._replace(result=False)
    try:
        deadline, streams = Deadline(app.clock, wanted.limits), streams_of(app, wanted)
        poller = RunPoller(app, streams, deadline, Pauses.of(wanted.limits.interval))
        wait = Wait(app, poller, streams, deadline, on_ask=at_ask(app, wanted, deadline))
        wait.until_over([polled], lambda: polled.printed or "waiting")  # its id is in the line above
        return leave_runs([read_more(app, item_of(polled, app), wanted)], app)[0]
    except Signalled as signalled:
        item = interrupted(polled, signalled, wanted, app)
    return leave_runs([item], app)[0]


def at_ask(app: App, wanted: Wanted, deadline: Deadline) -> Callable[[Observer], QoderError | None]:
    """Return what a wait does where an agent asks."""
    left = None
    if deadline.timeout is not None:
        left = deadline.left
    return partial(unanswered, wanted=wanted, app=app, left=left)


def streams_of(app: App, wanted: Wanted, *, labels: Sequence[str] = ()) -> Streams:
    """Return the streams of a wait, which show events if --follow is given."""
    showing = None
    if wanted.follow:
        from qoder_cli.sessions.showing import Showing

        showing = Showing(app, labels)
    return Streams(app.client, inbox=SimpleQueue(), showing=showing)


def item_of(polled: PolledRun, app: App) -> Item:
    """Return the result for a run, with how to wait again."""
    run_id, error = polled.observer.run_id, polled.error
    if isinstance(error, WaitTimeout | LostSight | NeedsAnswer | NotYet):
        next = error.next or app.wait_again(run_id)
        error = error.with_(run_id=run_id, session_id=polled.session_id, next=next)
    elif error is None and polled.run:
        error = ending_error(polled.run, app)
    return Item(run_id, polled.run, error)


def interrupted(polled: PolledRun, signalled: Signalled, wanted: Wanted, app: App) -> Item:
    """Return the result for a run when a signal ended the command."""
    run, run_id = polled.run, polled.observer.run_id
    if not polled.is_over:
        return Item(run_id, run, stopped_waiting(signalled, run_id, run, app))
    item = item_of(polled, app)
    if run is not None and item.error is None and asks_more(wanted, item):
        return item.with_(error=unread(run, signalled))
    return item


def leave_runs(items: Sequence[Item], app: App) -> list[Item]:
    """Take leave of several runs, 20 a second at most."""
    if app.flags.on_leave != "cancel":
        return list(items)
    from qoder_cli.base.pool import in_order
    from qoder_cli.http.pace import WRITES_PER_SECOND, Pace

    pace = Pace(app.clock, per_second=WRITES_PER_SECOND)

    def leave(item: Item) -> Item:
        if item.error is None or item.found is None or not is_left(item.error, item.found):
            return item
        pace.wait_turn()
        return item.with_(error=leave_run(item.error, item.found, app))

    return list(in_order(leave, items, at_a_time=AT_A_TIME))


def waited(app: App, observer: Observer, wanted: Wanted) -> Ended:
    """Wait for a run and return what came of it."""
    item = wait_for(app, observer, wanted)
    return Ended(item.typed, item.found, item.error, wanted.result)
