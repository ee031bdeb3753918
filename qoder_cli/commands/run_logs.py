"""`qoder run logs`: what the agent said and did."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qoder_cli.ending import going_on
from qoder_cli.errors import ApiError, Exit, LostSight, NoAnswer, NotFound, NotYet, QoderError, Signalled, UsageError
from qoder_cli.ids import segment
from qoder_cli.model import Run, mapping
from qoder_cli.observe import YOUNG, Observer
from qoder_cli.outcome import SessionStory, is_going, settle
from qoder_cli.state import State
from qoder_cli.times import parse_timestamp

if TYPE_CHECKING:
    from qoder_cli.follow import Selection, SessionLog

MOST_OF_TAIL = 10_000  # events, which are held in memory to be turned around
CHECK_EVERY = 60.0  # seconds after which the run itself is asked whether it has ended
SESSION_PAUSE = 1.0  # seconds between two looks at a run that has no session yet
_ENDS = ("session.status_idle", "session.status_terminated", "session.deleted")


def logs(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, drun_…, or last.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    tail: Annotated[
        int | None, typer.Option(min=0, max=MOST_OF_TAIL, metavar="N", help="Only the newest N events.")
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only events of this type; repeatable.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Only later ones: 90m or 7d ago, a date, or a time.")
    ] = None,
) -> int:
    """Show what the agent said and did.

    In a pipe a line is time, who, and text, with tabs between; further lines
    of a text begin with two tabs. What a tool returned is cut at 2,000
    characters, and bookkeeping is left out unless its --type is given:
    -o jsonl shows all events, unchanged. Exit 0 whatever the run's outcome.

    Examples:
      qoder run logs last --follow
      qoder run logs last --type agent.message --since 90m
      qoder run logs drun_019ec55694c07f2a9b402ffb4448ec18 --tail 20 -o jsonl

    All exit codes: qoder help exit-codes"""
    from qoder_cli import names
    from qoder_cli.follow import Selection

    state: State = ctx.obj
    selection = Selection(_split(types or []), None if since is None else _moment(since, state))
    chosen = names.run(run, state)
    printer = _Printer(state, selection)
    if follow:
        _follow(state, chosen, selection, tail, printer)
    else:
        _show(state, chosen, selection, tail, printer)
    return Exit.OK


def _split(types: Iterable[str]) -> tuple[str, ...]:
    words = [word.strip() for each in types for word in each.split(",")]
    if not all(words):
        raise UsageError("--type takes the type of an event, not an empty one", hint="as in --type agent.message")
    return tuple(words)


def _moment(since: str, state: State) -> datetime:
    from qoder_cli.when import parse_when

    return parse_when(since, option="--since", now=datetime.fromtimestamp(state.clock.now(), UTC))


def _show(state: State, chosen: str, selection: "Selection", tail: int | None, printer: "_Printer") -> None:
    """Print what has happened so far."""
    run = Run.read(state.client.get(f"/deployment_runs/{segment(chosen)}"))
    if run is None:
        raise NoAnswer(f"the server answered for run {chosen} with something that is not that run")
    log = _log_of(state, settle(run), selection)
    with _explained(state, settle(run)), printer:
        for events in log.history() if tail is None else [log.newest(tail)]:
            printer.show(events)
        printer.sum_up(run)
    if not printer.shown:
        state.progress.note(f"run {chosen} has no events" + (" that were asked for" if selection.is_choosy else " yet"))


def _follow(state: State, chosen: str, selection: "Selection", tail: int | None, printer: "_Printer") -> None:
    """Print what has happened, and what happens until the run has ended."""
    observer = Observer(state.client, chosen, progress=state.progress)
    run = observer.read_once()
    try:
        run = _until_session(state, observer)
        log = _log_of(state, run, selection)
        if not observer.ended:
            state.progress.note("following; Ctrl-C leaves, and the run goes on")
        with _explained(state, run), printer:
            for events in log.history() if tail is None else [log.newest(tail)]:
                printer.show(events)
            if not (observer.ended or _has_ended(observer)):
                _follow_on(state, observer, log, printer)
            printer.sum_up(run)
    except Signalled as signalled:
        if observer.ended:
            raise
        words = f"stopped following; run {chosen} goes on"
        raise _going(state, run, signalled.in_words(words, hint="nothing was cancelled; follow it again")) from None


def _until_session(state: State, observer: Observer) -> Run:
    """Wait until a run that is going on has its session, and return it."""
    run = observer.run or observer.read_once()
    if is_going(run) and run.session_id is None:
        state.progress.note(f"run {run.id} has no session yet; waiting for it")
    while is_going(run) and run.session_id is None:
        state.clock.sleep(SESSION_PAUSE)
        run = observer.look(retry=True)
    return run


def _follow_on(state: State, observer: Observer, log: "SessionLog", printer: "_Printer") -> None:
    """Print what happens until the run's first ending: the one its events tell of, or the one that the run has."""
    story = SessionStory(worked=observer.worked)
    follower, checked = log.follower(note=state.progress.note), state.clock.monotonic()
    try:
        for events in follower.batches():
            printer.show(events)
            if story.tell(events).ending:
                return
            now = state.clock.monotonic()
            if any(event.get("type") in _ENDS for event in events) or now - checked >= CHECK_EVERY:
                checked = now
                if _has_ended(observer):
                    break
        for events in follower.read_on():
            printer.show(events)
    except NotFound:
        raise
    except ApiError as error:
        raise _lost(state, observer, error) from error


def _has_ended(observer: Observer) -> bool:
    with suppress(ApiError):
        observer.look()
    return observer.ended


class _Printer:
    """Prints events in the format asked for, in a `with` block; `shown` says whether there were any."""

    def __init__(self, state: State, selection: "Selection") -> None:
        from qoder_cli.screen import terminal_width
        from qoder_cli.transcript import Transcript

        self._state = state
        self._selection = selection
        self.shown = False
        self._rows = state.output.rows(fields=lambda event: {"id": event.get("id")}, data=lambda event: event)
        self._transcript = Transcript(
            width=terminal_width() if state.out.is_terminal else None, styled=state.out.styled
        )

    def __enter__(self) -> "_Printer":
        return self

    def __exit__(self, failure: type[BaseException] | None, *rest: object) -> None:
        self._rows.__exit__(failure, *rest)

    @property
    def _is_transcript(self) -> bool:
        return self._state.output.format == "table"

    def show(self, events: Iterable[dict[str, Any]]) -> None:
        """Print those of the events that are wanted."""
        wanted = list(filter(self._selection.takes, events))
        self.shown = self.shown or bool(wanted)
        if self._is_transcript:
            written = "".join(map(self._written, wanted))
            if written:
                self._state.output.raw(written)
        else:
            self._rows.show(wanted)

    def _written(self, event: dict[str, Any]) -> str:
        from qoder_cli.transcript import entry, event_time

        said = entry(event, everything=bool(self._selection.types))
        return self._transcript.write(said, at=event_time(event)) if said else ""

    def sum_up(self, run: Run) -> None:
        """Print what the session has cost, where all of it is read by people and it can be told at once."""
        from qoder_cli.transcript import Entry

        if not self._is_transcript or self._selection.types or not run.session_id:
            return
        with suppress(ApiError):
            session = self._state.client.get(f"/sessions/{segment(run.session_id)}", within=5.0, retry=False)
            if (credits := mapping(mapping(session).get("usage")).get("total_credits")) is not None:
                self._state.output.raw(self._transcript.write(Entry("credits", str(credits)), at=None))


def _log_of(state: State, run: Run, selection: "Selection") -> "SessionLog":
    """Return the log of a run's session. Raises NotYet or NotFound when it has none."""
    from qoder_cli.follow import SessionLog

    if run.session_id is None:
        raise _without_session(state, run)
    created = parse_timestamp(run.raw.get("created_at"))
    young = created is not None and state.client.server_now() - created.timestamp() < YOUNG
    return SessionLog(state.client, run.session_id, selection, young=young)


def _without_session(state: State, run: Run) -> QoderError:
    if is_going(run):
        words = f"run {run.id} has no session yet, so there are no events; it is {run.status}"
        return _going(state, run, NotYet(words, hint="wait for them"))
    why = ": ".join(filter(None, (run.error_type, run.error_message))) or run.status or "it did not start"
    return NotFound(
        f"run {run.id} has no session, so there are no events: {why}",
        run_id=run.id,
        run_state="ended",
        api_type=run.error_type,
    )


def _going(state: State, run: Run, error: QoderError) -> QoderError:
    """Return the error, with the command that follows the run."""
    error.next = state.command("run", "logs", run.id, "--follow")
    return going_on(error, run, state)


def _lost(state: State, observer: Observer, error: ApiError) -> QoderError:
    run_id = observer.run_id
    return LostSight(
        f"lost sight of run {run_id}, which may be going on: {error.message}",
        hint="follow it again",
        next=state.command("run", "logs", run_id, "--follow"),
        run_id=run_id,
        session_id=observer.run.session_id if observer.run else None,
        run_state="unknown",
        api_type=error.api_type,
        http_status=error.http_status,
        request_id=error.request_id,
    )


@contextmanager
def _explained(state: State, run: Run) -> Iterator[None]:
    """Explain a session that is not there."""
    try:
        yield
    except NotFound as error:
        error.message = f"session {run.session_id} of run {run.id} is not there: it was deleted, and its events with it"
        error.run_id, error.session_id = run.id, run.session_id
        raise
