"""`qoder run logs` of several runs: each log in the order typed, read ahead."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, QoderError, Unavailable, UsageError
from qoder_cli.base.model import Raw
from qoder_cli.base.pool import in_order
from qoder_cli.commands.run.logs_of_one import explained, log_of, nothing_shown
from qoder_cli.history import names
from qoder_cli.output.data import Rows
from qoder_cli.output.results import NotFoundItem, deciding_error, last_words
from qoder_cli.output.screen import inert
from qoder_cli.runs.ending import Ended, RunItem
from qoder_cli.runs.observe import Observer, freshness
from qoder_cli.sessions.log import Events
from qoder_cli.sessions.showing import EventData, Printer, Selection, past_events

AT_A_TIME = 6  # runs read ahead of what is shown
MOST_AHEAD = 10_000  # events kept in memory until it is their turn
GIVE_UP_AFTER = 3  # logs in a row without a server: each is tried for 30 s


class NoRunWithEvents(NotFoundItem):
    """An item without a log."""

    events: Annotated[list[EventData], "none"]


class UnreadLog(NotFoundItem):
    """What stands for a log in JSON lines that could not be read, or not whole."""

    run_id: Annotated[str | None, "run id, or null"]


AnyLogged = EventData | RunItem | NoRunWithEvents | UnreadLog


@dataclass
class RunLog:
    """One run's log. `item` has the run and, once its batches are read, the error."""

    item: Ended
    batches: Iterator[Events] = field(default_factory=lambda: iter(()))


def show_many(app: App, words: Sequence[str], selection: Selection, tail: int | None) -> None:
    """Print the logs; in JSON and YAML each run with its events. Raises the deciding error, a UsageError at once."""
    items: list[Ended] = []
    away = 0  # logs in a row without a server
    with Rows[Raw](app.output, fields=lambda run: run, data=lambda run: run) as rows:
        for log in _read(app, words, selection, tail):
            if app.output.format in ("json", "yaml"):
                events = [event for batch in _to_the_end(log, selection) for event in filter(selection.takes, batch)]
                rows.show([{**log.item.named(app).as_json(), "events": events}])
                had_any = bool(events)
            else:
                had_any = _show(app, log, selection)
            item, error = log.item, log.item.error
            items.append(item)
            away = away + 1 if isinstance(error, Unavailable) else 0
            if error is None:
                if item.found and not had_any:
                    app.progress.note(nothing_shown(item.found.id, selection))
            elif len(words) > 1:
                is_refused = isinstance(error, AuthError) and error.http_status == 401
                if is_refused or away == GIVE_UP_AFTER:
                    raise error.with_(message=f"gave up: {item.message}")
                app.progress.warn(item.message)
    worst = deciding_error(items)
    if worst is None:
        return
    message = next(item.message for item in items if item.error is worst)
    if len(words) > 1:
        message = f"{sum(item.error is not None for item in items)} of {len(words)} logs are incomplete: {message}"
    raise last_words(worst, message)


def _read(app: App, words: Sequence[str], selection: Selection, tail: int | None) -> Iterator[RunLog]:
    """Yield the logs in order, read in threads, with a first batch. Raises UsageError."""
    app.connect()
    is_fresh = freshness(app)
    ids = names.runs(words, app)
    if mistake := next((id_or_error for id_or_error in ids.values() if isinstance(id_or_error, UsageError)), None):
        raise mistake

    def open_log(word: str) -> RunLog:
        log, id = RunLog(Ended(word)), ids[word]
        try:
            if isinstance(id, QoderError):
                raise id
            observer = Observer(app.client, id, is_fresh=is_fresh)
            try:
                run = observer.read_once()
            except ApiError:
                if observer.run is None:
                    raise
                run = observer.run  # without the status its session knows
            log.item = Ended(word, run)
            batches = past_events(log_of(app, run, selection), selection, tail)
            with explained(run, selection):
                log.batches = chain([next(batches, [])], batches)
        except QoderError as error:
            log.item = log.item.with_(error=error)
        return log

    size = max(1, min(AT_A_TIME, MOST_AHEAD // max(tail or 1, 1)))
    yield from in_order(open_log, words, at_a_time=size)


def _to_the_end(log: RunLog, selection: Selection) -> Iterator[Events]:
    """Yield a log's batches; an ApiError becomes its error."""
    if log.item.found is None:
        return
    try:
        with explained(log.item.found, selection):
            yield from log.batches
    except ApiError as error:
        log.item = log.item.with_(error=error)


def _show(app: App, log: RunLog, selection: Selection) -> bool:
    """Print the events of a log, as a transcript below a heading. Return whether it had any."""
    run, format = log.item.found, app.output.format
    run_id = run.id if run else None
    with Printer(app, selection, data=lambda event: {**event, "run_id": run_id}) as printer:
        for number, batch in enumerate(_to_the_end(log, selection)):
            if run and number == 0 and format == "table":
                head = inert(f"==> {run.id} ({run.deployment_id or 'no deployment'}, {run.status or 'unknown'}) <==")
                app.out.write(("\n" if app.out.has_written else "") + app.out.styled(head, "bold") + "\n")
            printer.show(batch)
    if log.item.error and format == "jsonl":
        error = log.item.error.as_json()
        unread: UnreadLog = {"id": None, "error": error, **log.item.item, "run_id": run_id}
        app.output.record({}, data=unread)
    return printer.shown
