"""The result of a command, however it ended, as output and as the error that decides the exit code."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import (
    ApiError,
    InternalError,
    Interrupted,
    LostSight,
    NeedsAnswer,
    OutcomeUnknown,
    QoderError,
    ReaderGone,
    RunState,
    Signalled,
)
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import fill_status, is_going
from qoder_cli.runs.ending import Ended, Wanted, beside_record, leave_run, naming, stopped_waiting, unread, unreadable

if TYPE_CHECKING:
    from qoder_cli.fleet.conductor import Conductor
    from qoder_cli.runs.notify import Event


def conclude(app: App, ended: "Ended | Conductor") -> None:
    """Print the result of a command about runs. Raises its error."""
    if not isinstance(ended, Ended):
        from qoder_cli.cli.several import conclude_all

        return conclude_all(app, ended)
    app.tracked.ended(ended)
    run, error = ended.found, ended.error
    try:
        if run is not None:
            failure = _print(app, run, with_message=ended.with_message)
            error = error or failure
        elif ended.going is not None and app.output.is_json:
            app.output.record({}, data=ended.as_json())
    except Signalled as signalled:
        if run is None or is_going(run):
            raise
        error = unread(run, signalled)
    except (ReaderGone, InternalError):
        if not isinstance(error, Interrupted):  # the signal decides, whoever still listens
            raise
    if error is not ended.error:
        app.tracked.ended(ended.with_(error=error))
    if error is not None:
        raise error if ended.with_message else beside_record(error, run, app)


def _print(app: App, run: Run, *, with_message: bool) -> QoderError | None:
    """Print a run, or its final message. Return why that cannot be read."""
    error = None
    if with_message and not is_going(run):
        from qoder_cli.sessions.result import show_result

        try:
            show_result(app, run)
            return None
        except ApiError as failure:
            error = unreadable(run, failure, app, Wanted(result=True))
    if not with_message or app.output.is_json:
        _show(app, run)
    return error


def _show(app: App, run: Run) -> None:
    if app.output.format != "table":  # nothing more is imported for data
        return app.print_run(run)
    from qoder_cli.nouns.views import show_run

    show_run(app, run)


def stopped_with(signalled: Signalled, run: Run, app: App) -> QoderError:
    """Print a run, leave it as --on-leave says, and return the signal's error."""
    run = fill_status(run)
    if not app.out.has_written:
        with suppress(ReaderGone, InternalError):  # the signal decides, whoever still listens
            _show(app, run)
    if not is_going(run):
        return signalled.in_words(f"interrupted; {run.called} has ended: {run.status}", **naming(run, "ended"))
    return leave_run(stopped_waiting(signalled, run.id, run, app), run, app)


def complete(error: QoderError, run: Run, app: App) -> QoderError:
    """Return the error with its run named; with JSON, print that run."""
    run = fill_status(run)
    if error.run_id is None:
        run_state: RunState = "ended"
        if is_going(run):
            run_state = "going"
        if is_going(run) and isinstance(error, ApiError):
            run_state = "unknown"
        error = error.with_(**naming(run, run_state))
    if app.output.is_json and not app.out.has_written:
        with suppress(ReaderGone, InternalError):  # the error decides, whoever still listens
            app.print_run(run)
    return error


def notify_of_end(app: App, failure: Exception | None) -> None:
    """Report the outcome of the runs that were waited for. `failure` ends the command, if anything does."""
    from qoder_cli.runs.notify import notify

    tracked = app.tracked
    error = failure if isinstance(failure, QoderError) else None
    if isinstance(tracked.typed, str):
        item = tracked.items.get(0) or Ended(tracked.typed, tracked.run, error)
        data: Any = item.as_json() if item.found is None else app.named(item.found).as_json()
        notify(app, _event([item]), data)
    else:
        items = [
            tracked.items.get(number) or Ended(word, None, error, attempted=number in tracked.ids)
            for number, word in enumerate(tracked.typed)
        ]
        notify(app, _event(items), [item.named(app).as_json() for item in items])


def _event(items: Sequence[Ended]) -> "Event":
    if any(isinstance(item.error, NeedsAnswer) for item in items):
        return "asks"
    if any(item.goes_on or isinstance(item.error, OutcomeUnknown | LostSight) for item in items):
        return "lost"
    return "ended"
