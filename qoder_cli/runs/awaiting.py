"""Waiting for a run as a command does: with its limits, its signals, and words for what became of the run."""

from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import (
    ApiError,
    Exit,
    InternalError,
    Interrupted,
    LostSight,
    NeedsAnswer,
    NotYet,
    QoderError,
    ReaderGone,
    RunFailed,
    Signalled,
    UsageError,
    WaitTimeout,
)
from qoder_cli.base.ids import noun, segment
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.outcome import evaluations, is_going
from qoder_cli.base.times import Limits
from qoder_cli.runs.ending import (
    Wanted,
    beside_record,
    ending_error,
    naming,
    needs_answer,
    stopped_waiting,
    take_leave_of,
)
from qoder_cli.runs.item import Item
from qoder_cli.runs.listen import Listener
from qoder_cli.runs.wait import GLANCE, LONGEST_PAUSE, SLICE, Terms, Wait
from qoder_cli.runs.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qoder_cli.http.client import Client


def asks_more(wanted: Wanted, item: Item) -> bool:
    """Return whether there is more to read of a run: it has ended, and something is wanted of it."""
    if not wanted.result and (not wanted.require_satisfied or item.error is not None):
        return False
    return item.run is not None and not is_going(item.run)


def read_more(app: App, item: Item, wanted: Wanted) -> Item:
    """Return an item with what is wanted of it; where that cannot be read, it says why in its error."""
    if not asks_more(wanted, item):
        return item
    try:
        if wanted.require_satisfied:
            item = _judged_by_outcome(item, app.client)
        if wanted.result and item.run is not None:
            from qoder_cli.runs.result import final_message, story_of_turn

            message = final_message(app.client, item.run, story=story_of_turn(app, item.run))
            item = item.with_(more={"result": message})
    except ApiError as error:
        return item.with_(error=item.error or unreadable(item, error, wanted, app))
    return item


def unread(run: Run, signalled: Signalled) -> QoderError:
    """Return the error of a run that has ended, of which more was to be read when a signal came."""
    return signalled.in_words(f"{run.called} has ended, but nothing more was read of it", **naming(run, "ended"))


def unreadable(item: Item, error: ApiError, wanted: Wanted, app: App) -> QoderError:
    """Return the error of a run that has ended, when what is wanted of it cannot be read."""
    if (run := item.run) is None:
        return error
    again = ("wait", run.id, "--require-satisfied") if wanted.require_satisfied else ("result", run.id)
    return LostSight(
        f"{run.called} has ended, but its outcome cannot be read: {error.message}",
        hint="try again; do not start another",
        next=app.command(noun(run.id), *again),
        cause=error,
        **naming(run, "ended"),
    )


def _judged_by_outcome(item: Item, client: "Client") -> Item:
    """Return a completed run as failed when its outcome evaluations are missing or not all satisfied."""
    if item.error is not None or item.run is None:
        return item
    session = client.get(f"/sessions/{segment(item.run.session_id)}") if item.run.session_id else {}
    results = {text(one.get("result")) or "unknown" for one in evaluations(mapping(session))}
    if results == {"satisfied"}:
        return item
    why = f"its outcome is {', '.join(sorted(results))}" if results else "it has no outcome evaluation"
    error = RunFailed(
        f"run {item.run.id} completed, but {why}",
        hint=f"see: qoder run get {item.run.id}",
        **naming(item.run, "ended"),
    )
    return item.with_(error=error)


def asker(app: App) -> "Callable[[Watch], QoderError | None]":
    """Return what asks a person about the calls that a run waits for; it returns why the wait is over, if it is."""
    from qoder_cli.sessions.question import prompted

    def ask(watch: Watch) -> QoderError | None:
        run = watch.run
        if run is None:
            watch.observer.forget_asks()
            return None
        try:
            if run.session_id and prompted(app, run.session_id):
                watch.observer.forget_asks()
                return None
        except (UsageError, ApiError) as error:  # of the answer: the run was started, and waits
            asks, why = needs_answer(run), error.message.removesuffix("; nothing was sent")
            said = {"api_type": error.api_type, "http_status": error.http_status, "request_id": error.request_id}
            return asks.with_(message=f"{asks.message}: {why}", **said)
        except QoderError as error:
            return error.with_(run_id=watch.observer.run_id, run_state="going")
        return needs_answer(run)

    return ask


def wait_for(app: App, watch: Watch, limits: Limits, wanted: Wanted) -> Item:
    """Wait until a run has ended or the wait for it is over, and return what became of it, also after a signal."""
    try:
        answer = asker(app) if wanted.on_ask == "prompt" else None
        Wait(terms_of(app, limits, wanted), listener_of(app, wanted), answer=answer).until_over(watch)
        return take_leave_of([read_more(app, item_of(watch, app), wanted)], app)[0]
    except Signalled as signalled:
        item = interrupted(watch, signalled, wanted, app)
    return take_leave_of([item], app)[0]


def terms_of(app: App, limits: Limits, wanted: Wanted) -> Terms:
    """Return the terms of a wait that a command makes."""
    return Terms(
        clock=app.clock,
        progress=app.progress,
        request_timeout=app.client.request_timeout,
        timeout=limits.timeout,
        spent=limits.spent,
        longest_pause=LONGEST_PAUSE if limits.interval is None else limits.interval,
        slice=glance(app),
        stops_when_asked=wanted.on_ask != "wait",
    )


def glance(app: App) -> float:
    """Return for how many seconds a wait may sleep before it looks around."""
    return GLANCE if app.out.is_piped else SLICE


def listener_of(
    app: App, wanted: Wanted, *, inbox: "SimpleQueue[Any] | None" = None, labels: "Sequence[str]" = ()
) -> Listener:
    """Return what listens to sessions, and with `--follow` shows what it hears; `labels` are those of several runs."""
    showing = None
    if wanted.follow:
        from qoder_cli.sessions.transcript import Showing

        showing = Showing(app, labels)
    return Listener(app.client, inbox=inbox or SimpleQueue(), showing=showing)


def item_of(watch: Watch, app: App) -> Item:
    """Return what became of a run for which the wait is over; one that may be going on, with how to wait again."""
    run_id, error = watch.observer.run_id, watch.error
    if isinstance(error, WaitTimeout | LostSight | NeedsAnswer):
        again = app.wait_again(run_id)
        if isinstance(error, NeedsAnswer):
            again = app.command(noun(run_id), "pending", run_id)
        error = error.with_(run_id=run_id, session_id=watch.session_id, next=again)
    elif error is None and watch.run:
        error = ending_error(watch.run, app)
    return Item(run_id, watch.run, error)


def interrupted(watch: Watch, signalled: Signalled, wanted: Wanted, app: App) -> Item:
    """Return what became of a run when a signal ended the command."""
    run, run_id = watch.run, watch.observer.run_id
    if not watch.over:
        return Item(run_id, run, stopped_waiting(signalled, [run_id], run, app))
    item = item_of(watch, app)
    if run is not None and item.error is None and asks_more(wanted, item):
        return item.with_(error=unread(run, signalled))
    return item


def left_behind(watch: Watch, app: App) -> Item:
    """Return what became of a run that is not waited for any longer because another one failed."""
    run, run_id = watch.run, watch.observer.run_id
    error = NotYet(
        f"run {run_id} keeps running (stopped waiting after another failed)",
        hint="to wait for it",
        next=app.wait_again(run_id),
        run_id=run_id,
        session_id=watch.session_id,
        run_state="going" if run else "unknown",
    )
    return Item(run_id, run, error)


def finish(app: App, item: Item, *, result: bool = False) -> int:
    """Print what became of the one thing, or its `result`; return 0, or raise the error that it ended with."""
    app.known.ci.ended(item)
    try:
        if item.run is not None:
            failure = _show(app, item, result)
            if failure and not item.error:
                item = item.with_(error=failure)
    except Signalled as signalled:
        if item.run is not None:
            item = item.with_(error=unread(item.run, signalled))
    except (ReaderGone, InternalError):
        if not isinstance(item.error, Interrupted):  # the signal decides, whoever still listens
            raise
    app.known.ci.ended(item)
    if item.error is not None:
        raise item.error if result else beside_record(item.error, item.run, app)
    return Exit.OK


def _show(app: App, item: Item, result: bool) -> QoderError | None:
    run, error = item.run, None
    assert run is not None  # whoever calls this has a run to show
    if result and not is_going(run):
        from qoder_cli.runs.result import show_result

        try:
            show_result(app, run)
            return None
        except ApiError as failure:
            error = unreadable(item, failure, Wanted(result=True), app)
    if not result or app.output.is_json:
        app.show_run(run)
    return error
