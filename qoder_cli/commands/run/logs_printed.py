"""What `qoder run logs` prints: the events of one run, as they come or as a trace, and those of several runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Annotated, Any

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import (
    ApiError,
    AuthError,
    InternalError,
    NeedsAnswer,
    NoResponse,
    NotFound,
    NotYet,
    QoderError,
    Unavailable,
    UsageError,
)
from qoder_cli.base.ids import noun, segment
from qoder_cli.base.model import Raw, Run
from qoder_cli.base.outcome import ENDING_EVENTS, ENDS, RUNNING, event_at, event_key, fill_status, is_going
from qoder_cli.base.times import unix
from qoder_cli.base.words import counted
from qoder_cli.fleet.wait import wait_for
from qoder_cli.history import names
from qoder_cli.local.remembered import remember_runs
from qoder_cli.output.data import Rows
from qoder_cli.output.results import NotFoundItem, deciding_error, last_words
from qoder_cli.output.screen import inert
from qoder_cli.runs.ending import Ended, RunItem, Wanted, going_on
from qoder_cli.runs.observe import YOUNG, Observer, any_observer, freshness
from qoder_cli.sessions.log import APART, LAG_PAUSE, LAGGING, Events, Log
from qoder_cli.sessions.showing import EventData, Printer, Selection, Showing
from qoder_cli.sessions.state import read_session, session_of

GIVE_UP_AFTER = 3  # logs in a row without a server: each is tried for 30 s


class NoRunWithEvents(NotFoundItem):
    """An item without a log."""

    events: Annotated[list[EventData], "none"]


class UnreadLog(NotFoundItem):
    """What stands for a log in JSON lines that could not be read, or not whole."""

    run_id: Annotated[str | None, "run id, or null"]


Select = Callable[[], Selection]  # asked once the server's time is known, from which an age counts
AnyLogged = EventData | RunItem | NoRunWithEvents | UnreadLog


def show_run(app: App, chosen: str, select: Select, tail: int | None) -> None:
    """Print what has happened so far in a run, or a session. Raises QoderError."""
    if chosen.startswith("sess_"):
        run: Run | None = Run(session_of(app, chosen))
    else:
        run = Run.read(app.client.get(f"/deployment_runs/{segment(chosen)}"))
    if run is None or run.id != chosen:
        raise NoResponse(f"unexpected response: not run {chosen}")
    selection = select()
    log = _log_of(app, fill_status(run), selection)
    printer = Printer(app, selection)
    with _explained(run, selection), printer.rows:
        for events in selection.past(log, tail):
            printer.show(events)
    if not printer.shown:
        app.progress.note(_nothing_shown(chosen, selection))
    if not run.is_session:
        remember_runs(app.store, app.settings, [run])


def trace_run(app: App, chosen: str, url: str | None, *, with_content: bool) -> None:
    """Print a run as a trace, or send it. Raises QoderError."""
    from qoder_cli.sessions import traces

    address = None if url is None else traces.checked(url)
    run = any_observer(app, chosen).read_once()
    log = _log_of(app, run, Selection())
    with _explained(run, Selection()):
        events = [event for page in log.on(retry=True) for event in page]
    session = read_session(app.client, run.session_id or "")
    service = app.seen_names.standing_for(run.deployment_id) or run.deployment_id or run.id
    trace = traces.as_trace(run, session, events, service=service, with_content=with_content)
    if address is None:
        app.output.screen.write(jsontext.dump(trace) + "\n")
        return
    traces.send(app, address, trace)
    what = "with prompts, calls and results" if with_content else "names, times and ids"
    app.progress.note(
        f"sent {counted(traces.count_of(trace), 'span')} of {run.called} ({what}) to {address}", always=True
    )


def follow_run(app: App, chosen: str, select: Select, tail: int | None, wanted: Wanted) -> None:
    """Print events until the wait for the run is over. Raises its error, unless the run has ended; ApiError."""
    observer = any_observer(app, chosen)
    app.tracked.observer = None  # events are printed, and never the run
    run = observer.read_once()
    selection = select()
    if is_going(run) and run.session_id is None:
        app.progress.note(f"run {run.id} has no session yet; waiting for it")
    printer = Printer(app, selection)

    def write(events: Events, name: str) -> None:
        with app.progress.aside():
            printer.show(events)

    def note_move(session_id: str) -> None:
        app.progress.note(f"the run now has session {session_id}; following that one")

    met = _Met()
    showing = Showing(app.client, write, selection, tail=tail, at_move=note_move, on_event=met.note)
    with printer.rows:
        if is_going(run):
            app.progress.note(f"following (Ctrl-C to stop; the {noun(chosen)} keeps running)")
        ended = wait_for(app, observer, wanted, showing=showing)
        run, error = ended.found or run, ended.error
        if ended.found is not None and not ended.goes_on:
            error = None
        if error is not None and not isinstance(error, NeedsAnswer):
            raise error
        log = _log_of(app, run, selection, also=ENDING_EVENTS, on_event=met.note)
        with _explained(run, selection):
            showing.finish(log)
            ended_at, key = unix(run.completed_at) or -inf, observer.state.story.ending_key
            if selection.thread or (selection.since and ended_at < selection.since.timestamp()):
                ended_at = -inf  # its end was not asked for
            while met.lacks(ended_at, key) and abs(app.client.server_now() - ended_at) < LAGGING:
                app.clock.sleep(LAG_PAUSE)
                showing.finish(log)
        if met.lacks(ended_at, key):
            app.progress.warn(f"the log of session {run.session_id} does not show its end, so more may be missing")
    if error is not None:
        raise error


class _Met:
    """How far a log was read: the starts and ends of work in it, and the time of its newest event."""

    def __init__(self) -> None:
        self._ends: Events = []
        self._starts: list[float] = []
        self._newest = -inf

    def note(self, event: Raw) -> None:
        at = event_at(event) or -inf
        self._newest = max(self._newest, at)
        if event.get("type") in ENDS:
            self._ends.append(event)
        elif event.get("type") == RUNNING:
            self._starts.append(at)

    def lacks(self, ended_at: float, key: str | None) -> bool:
        """Return whether it was not read to what ended a run then, if anything: the event of this key, if known."""
        if key:
            is_there = any(event_key(event) == key for event in self._ends)
        else:  # a run's own end may come later than its session's
            since = min(max(self._starts, default=inf), ended_at - APART)
            is_there = any((event_at(event) or ended_at) >= since for event in self._ends)
        return ended_at > -inf and not is_there and self._newest <= ended_at + APART


def _log_of(app: App, run: Run, selection: Selection, **how: Any) -> Log:
    """Return the log of a run's session; `how` as of `Selection.log`. Raises NotYet or NotFound without one."""
    if run.session_id is None and is_going(run):
        words = f"run {run.id} ({run.status}) has no session yet, so it has no events"
        again = app.command(noun(run.id), "logs", run.id, "--follow")
        raise going_on(NotYet(words, hint="to wait for them", next=again), run, app)
    if run.session_id is None:
        why = ": ".join(filter(None, (run.error_type, run.error_message))) or run.status or "it never started"
        raise NotFound(
            f"run {run.id} has no session, so it has no events: {why}",
            hint="to see what changed since it last worked",
            next=app.looking("run", "why", run.id),
            run_id=run.id,
            run_state="ended",
            api_type=run.error_type,
        )
    young = run.created is not None and app.client.server_now() - run.created < YOUNG
    return selection.log(app.client, run.session_id, patience=LAGGING if young else 0.0, **how)


@contextmanager
def _explained(run: Run, selection: Selection) -> Iterator[None]:
    """Say of a NotFound of the API's own in this block that the session was deleted, or may not have that thread."""
    try:
        yield
    except NotFound as error:
        message = error.message
        if error.enveloped:
            became = "was deleted, along with its events"
            if selection.thread is not None:
                became = f"was deleted, or has no thread {selection.thread}"
            message = f"session {run.session_id}{'' if run.is_session else f' of run {run.id}'} {became}"
        raise error.with_(message=message, run_id=run.id, session_id=run.session_id) from error


def _nothing_shown(run_id: str, selection: Selection) -> str:
    """Return the message for an empty log."""
    return f"{noun(run_id)} {run_id} has no " + ("matching events" if selection != Selection() else "events yet")


def show_many(app: App, words: Sequence[str], select: Select, tail: int | None) -> None:
    """Print the logs; in JSON and YAML each run with its events. Raises the deciding error, a UsageError at once."""
    ids_or_errors = names.runs(words, app)
    if mistake := next((error for error in ids_or_errors.values() if isinstance(error, UsageError)), None):
        raise mistake
    is_fresh = freshness(app)
    items: list[Ended] = []
    away = 0  # logs in a row without a server
    with Rows[Raw](app.output, fields=lambda run: run, data=lambda run: run) as rows:
        for word in words:
            item, events = _show_one(app, word, ids_or_errors[word], select, tail, is_fresh)
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
        failed = sum(item.error is not None for item in items)
        message = f"{failed} of {len(words)} logs are incomplete or missing: {message}"
    raise last_words(worst, message)


def _show_one(
    app: App,
    word: str,
    id: str | QoderError,
    select: Select,
    tail: int | None,
    is_fresh: Callable[[str], bool],
) -> tuple[Ended, Events]:
    """Print the log of a run as it is read, as a transcript below a heading. In JSON and YAML, return its events."""
    item, held = Ended(word), Events()
    is_held = app.output.format in ("json", "yaml")
    try:
        if isinstance(id, QoderError):
            raise id
        run = _run_of(app, id, is_fresh)
        item, selection = Ended(word, run), select()
        printer = Printer(app, selection, data=lambda event: {**event, "run_id": item.run_id})
        log = _log_of(app, run, selection)
        with _explained(run, selection):
            for number, batch in enumerate(selection.past(log, tail)):
                if number == 0 and app.output.format == "table":
                    about = f"{run.deployment_id or 'no deployment'}, {run.status or 'unknown'}"
                    between = "\n" if app.out.has_written else ""
                    app.out.write(between + app.out.styled(inert(f"==> {run.id} ({about}) <=="), "bold") + "\n")
                if is_held:
                    held += filter(selection.takes, batch)
                else:
                    printer.show(batch)
        if not (held or printer.shown):
            app.progress.note(_nothing_shown(run.id, selection))
    except InternalError:
        raise
    except QoderError as error:
        item = item.with_(error=error)
    if item.error is not None and app.output.format == "jsonl":
        run_id = None if item.found is None else item.found.id
        unread: UnreadLog = {"id": None, "error": item.error.as_json(), **item.item, "run_id": run_id}
        app.output.record({}, data=unread)
    return item, held


def _run_of(app: App, id: str, is_fresh: Callable[[str], bool]) -> Run:
    """Return a run; without the status that its session knows, where that cannot be read. Raises ApiError."""
    observer = Observer(app.client, id, is_fresh=is_fresh)
    try:
        return observer.read_once()
    except ApiError:
        if observer.run is None:
            raise
        return observer.run
