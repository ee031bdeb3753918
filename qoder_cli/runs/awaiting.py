"""Wait for runs as a command does: signals handled, and the result put into words."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import (
    ApiError,
    Interrupted,
    LostSight,
    NeedsAnswer,
    NotYet,
    QoderError,
    RunFailed,
    Signalled,
    WaitTimeout,
)
from qoder_cli.base.model import text
from qoder_cli.base.outcome import evaluations, is_going
from qoder_cli.base.times import Deadline
from qoder_cli.local.remembered import remember_runs
from qoder_cli.output.cells import WAITS, Fields
from qoder_cli.output.data import WIDE_SHOWS_ALL, Rows
from qoder_cli.output.results import Printed
from qoder_cli.runs.ending import (
    Ended,
    Wanted,
    ending_error,
    leave_run,
    naming,
    stopped_waiting,
    unanswered,
    unread,
    unreadable,
)
from qoder_cli.runs.observe import Observer
from qoder_cli.runs.wait import Pauses, PolledRun, RunPoller, Wait
from qoder_cli.sessions.state import read_session
from qoder_cli.sessions.stream import Streams

if TYPE_CHECKING:
    from qoder_cli.sessions.showing import Showing

_AROUND = 8  # lines of a screen that the table of several results leaves free: for its header, notes and the error
AT_A_TIME = 40  # cancellations: as many as are begun within the longest of them, however slow the server is
# As a terminal shows them, what matters most first.
_FIRST = ("deployment", "status", "error_type", "duration", "triggered", "trigger", "session", "id")


def not_started(word: str) -> Ended:
    """Return the result for a run whose turn never came."""
    return Ended(word, None, NotYet("not started (interrupted first)"), attempted=False)


def printed(app: App, count: int) -> Printed[Ended]:
    """Return a printer for `count` runs."""

    def row(item: Ended) -> Fields:
        if app.output.is_drawn:
            return item.drawn_row(app)
        return item.named(app).row()

    def data(item: Ended) -> dict[str, Any]:
        return item.named(app).as_json()

    def worst_first(items: Sequence[Ended]) -> Sequence[Ended]:
        """Return what failed or asks, then the rest: as many as fit a screen."""
        ordered, most = sorted(items, key=_place), len(items)
        if app.out.is_terminal and not app.output.is_wide:
            most = max(get_terminal_size((80, 24)).lines - _AROUND, sum(_place(item) == 0 for item in items))
        left_out = Counter(item.stands for item in ordered[most:])
        if left_out:
            more = ", ".join(f"{count} {stands}" for stands, count in left_out.most_common())
            rows.note, rows.remedy = f"{more} not shown", WIDE_SHOWS_ALL
        return ordered[:most]

    remedy = "qoder run get shows all of a run"
    rows = Rows[Ended](app.output, fields=row, data=data, first=_FIRST, remedy=remedy, may_go=_FIRST)
    return Printed(rows, app.progress, count, arranged=worst_first)


def _place(item: Ended) -> int:
    """Return where an item stands among several: what failed or asks is 0, what goes on 1, and what went well 2."""
    if item.error is None:
        return 2
    goes_on = isinstance(item.error, WaitTimeout | Interrupted | NotYet) and item.stands != WAITS
    return 1 if goes_on else 0


def asks_more(wanted: Wanted, item: Ended) -> bool:
    """Whether more is to be read of a run that has ended."""
    if not wanted.result and (not wanted.require_satisfied or item.error is not None):
        return False
    return item.found is not None and not is_going(item.found)


def read_more(app: App, item: Ended, wanted: Wanted) -> Ended:
    """Return an item with what is wanted of it; its error says what could not be read."""
    run = item.found
    if run is None or not asks_more(wanted, item):
        return item
    try:
        if wanted.require_satisfied and item.error is None:
            id = run.session_id
            session = read_session(app.client, id) if id else {}
            results = {text(one.get("result")) or "unknown" for one in evaluations(session)}
            if results != {"satisfied"}:
                why = "it has no outcome evaluation"
                if results:
                    why = f"its outcome is {', '.join(sorted(results))}"
                message, hint = f"run {run.id} completed, but {why}", f"see: qoder run get {run.id}"
                item = item.with_(error=RunFailed(message, hint=hint, **naming(run, "ended")))
        if wanted.result:
            from qoder_cli.sessions.result import final_message

            item = item.with_(more={"result": final_message(app, run)})
    except ApiError as error:
        return item.with_(error=item.error or unreadable(run, error, app, wanted))
    return item


def wait_for(app: App, observer: Observer, wanted: Wanted, *, showing: "Showing | None" = None) -> Ended:
    """Wait until a run has ended or the wait is over. Return its outcome; its final message is read later.

    `showing` shows the session's events, if not --follow does.
    """
    app.tracked.awaits = True
    polled, now = PolledRun(observer), wanted._replace(result=False)
    observer.asks_a_person = wanted.on_ask == "prompt" or wanted.policy is not None
    try:
        deadline, streams = Deadline(app.clock, wanted.limits), streams_of(app, wanted, showing=showing)
        poller = RunPoller(app, streams, deadline, Pauses.of(wanted.limits.interval))
        wait = Wait(app, poller, streams, deadline, on_ask=at_ask(app, wanted, deadline))
        wait.until_over([polled], partial(_status, polled))  # its id is in the line above
        [ended] = leave_runs([read_more(app, item_of(polled, app), now)], app)
        if ended.found is not None and not ended.found.is_session:
            remember_runs(app.store, app.settings, [ended.found])  # its session may not have been known before
    except Signalled as signalled:
        [ended] = leave_runs([interrupted(polled, signalled, now, app)], app)
    if wanted.result:
        return ended.with_(with_message=True)
    return ended


def _status(polled: PolledRun) -> str:
    """Return what the line of a wait says, in front of the time so far."""
    if polled.observer.asks_in > 0:
        return f"{polled.stands};"
    return polled.stands or "waiting"


def at_ask(app: App, wanted: Wanted, deadline: Deadline) -> Callable[[Observer], QoderError | None]:
    """Return what a wait does where an agent asks."""
    left = None
    if deadline.timeout is not None:
        left = deadline.left
    return partial(unanswered, wanted=wanted, app=app, left=left)


def streams_of(app: App, wanted: Wanted, *, labels: Sequence[str] = (), showing: "Showing | None" = None) -> Streams:
    """Return the streams of a wait, with what shows their events: beside the wait, if --follow is given."""
    if wanted.follow:
        from qoder_cli.sessions.showing import showing_beside

        showing = showing_beside(app, labels)
    return Streams(app.client, inbox=SimpleQueue(), showing=showing)


def item_of(polled: PolledRun, app: App) -> Ended:
    """Return the result for a run, with how to wait again."""
    run_id, error = polled.observer.run_id, polled.error
    if isinstance(error, WaitTimeout | LostSight | NeedsAnswer | NotYet):
        next = error.next or app.wait_again(run_id)
        error = error.with_(run_id=run_id, session_id=polled.session_id, next=next)
    elif error is None and polled.run:
        error = ending_error(polled.run, app)
    return Ended(run_id, polled.run, error)


def interrupted(polled: PolledRun, signalled: Signalled, wanted: Wanted, app: App) -> Ended:
    """Return the result for a run when a signal ended the command."""
    run, run_id = polled.run, polled.observer.run_id
    if not polled.is_over:
        return Ended(run_id, run, stopped_waiting(signalled, run_id, run, app))
    item = item_of(polled, app)
    if run is not None and item.error is None and asks_more(wanted, item):
        return item.with_(error=unread(run, signalled))
    return item


def leave_runs(items: Sequence[Ended], app: App) -> list[Ended]:
    """Take leave of several runs, 20 a second at most."""
    if app.flags.on_leave != "cancel":
        return list(items)
    from qoder_cli.base.pool import in_order
    from qoder_cli.http.pace import WRITES_PER_SECOND, Pace

    pace = Pace(app.clock, per_second=WRITES_PER_SECOND)

    def leave(item: Ended) -> Ended:
        error, run = item.error, item.found
        if isinstance(error, WaitTimeout | Interrupted) and run is not None and is_going(run):
            pace.wait_turn()
            return item.with_(error=leave_run(error, run, app))
        return item

    return list(in_order(leave, items, at_a_time=AT_A_TIME))
