"""`qoder run logs` of several runs: each log in the order typed."""

from collections.abc import Callable, Sequence
from typing import Annotated

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, InternalError, QoderError, Unavailable, UsageError
from qoder_cli.base.model import Raw, Run
from qoder_cli.commands.run.logs_of_one import explained, log_of, nothing_shown
from qoder_cli.history import names
from qoder_cli.output.data import Rows
from qoder_cli.output.results import NotFoundItem, deciding_error, last_words
from qoder_cli.output.screen import inert
from qoder_cli.runs.ending import Ended, RunItem
from qoder_cli.runs.observe import Observer, freshness
from qoder_cli.sessions.log import Events
from qoder_cli.sessions.showing import EventData, Printer, Selection, past_events

GIVE_UP_AFTER = 3  # logs in a row without a server: each is tried for 30 s


class NoRunWithEvents(NotFoundItem):
    """An item without a log."""

    events: Annotated[list[EventData], "none"]


class UnreadLog(NotFoundItem):
    """What stands for a log in JSON lines that could not be read, or not whole."""

    run_id: Annotated[str | None, "run id, or null"]


AnyLogged = EventData | RunItem | NoRunWithEvents | UnreadLog


def show_many(app: App, words: Sequence[str], selection: Selection, tail: int | None) -> None:
    """Print the logs; in JSON and YAML each run with its events. Raises the deciding error, a UsageError at once."""
    ids_or_errors = names.runs(words, app)
    if mistake := next((error for error in ids_or_errors.values() if isinstance(error, UsageError)), None):
        raise mistake
    is_fresh = freshness(app)
    items: list[Ended] = []
    away = 0  # logs in a row without a server
    with Rows[Raw](app.output, fields=lambda run: run, data=lambda run: run) as rows:
        for word in words:
            item, events = _show(app, word, ids_or_errors[word], selection, tail, is_fresh)
            if app.output.format in ("json", "yaml"):
                rows.show([{**item.named(app).as_json(), "events": events}])
            items.append(item)
            away = away + 1 if isinstance(item.error, Unavailable) else 0
            if item.error is not None and len(words) > 1:
                is_refused = isinstance(item.error, AuthError) and item.error.http_status == 401
                if is_refused or away == GIVE_UP_AFTER:
                    raise item.error.with_(message=f"gave up: {item.message}")
                app.progress.warn(item.message)
    worst = deciding_error(items)
    if worst is None:
        return
    message = next(item.message for item in items if item.error is worst)
    if len(words) > 1:
        message = f"{sum(item.error is not None for item in items)} of {len(words)} logs are incomplete: {message}"
    raise last_words(worst, message)


def _show(
    app: App,
    word: str,
    id: str | QoderError,
    selection: Selection,
    tail: int | None,
    is_fresh: Callable[[str], bool],
) -> tuple[Ended, Events]:
    """Print the log of a run as it is read, as a transcript below a heading. In JSON and YAML, return its events."""
    item, held = Ended(word), Events()
    is_held = app.output.format in ("json", "yaml")
    printer = Printer(app, selection, data=lambda event: {**event, "run_id": item.run_id})
    try:
        if isinstance(id, QoderError):
            raise id
        run = _read(app, id, is_fresh)
        item = Ended(word, run)
        log = log_of(app, run, selection)
        with explained(run, selection):
            for number, batch in enumerate(past_events(log, selection, tail)):
                if number == 0 and app.output.format == "table":
                    about = f"{run.deployment_id or 'no deployment'}, {run.status or 'unknown'}"
                    between = "\n" if app.out.has_written else ""
                    app.out.write(between + app.out.styled(inert(f"==> {run.id} ({about}) <=="), "bold") + "\n")
                if is_held:
                    held += filter(selection.takes, batch)
                else:
                    printer.show(batch)
        if not (held or printer.shown):
            app.progress.note(nothing_shown(run.id, selection))
    except InternalError:
        raise
    except QoderError as error:
        item = item.with_(error=error)
    if item.error is not None and app.output.format == "jsonl":
        run_id = None if item.found is None else item.found.id
        unread: UnreadLog = {"id": None, "error": item.error.as_json(), **item.item, "run_id": run_id}
        app.output.record({}, data=unread)
    return item, held


def _read(app: App, id: str, is_fresh: Callable[[str], bool]) -> Run:
    """Return a run; without the status that its session knows, where that cannot be read. Raises ApiError."""
    observer = Observer(app.client, id, is_fresh=is_fresh)
    try:
        return observer.read_once()
    except ApiError:
        if observer.run is None:
            raise
        return observer.run
