"""The log of one run: where its session's events are, how they are printed, and why there may be none."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from qoder_cli.base.errors import ApiError, NotFound, NotYet, QoderError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run, mapping
from qoder_cli.base.outcome import event_time, is_going
from qoder_cli.base.times import parse_timestamp
from qoder_cli.output.screen import terminal_width
from qoder_cli.runs.ending import going_on
from qoder_cli.runs.logs.follow import Selection, SessionLog
from qoder_cli.runs.observe import YOUNG
from qoder_cli.sessions.transcript import Entry, Transcript, entry

if TYPE_CHECKING:
    from qoder_cli.app import State

Event = dict[str, Any]

USAGE_WITHIN = 5.0  # seconds to be told what a session has cost, which is only the last line


class Printer:
    """Prints events in the format asked for, in a `with` block; `shown` says whether there were any.

    `data` is what JSON shows of an event: the event, if nothing else is given.
    """

    def __init__(
        self, state: "State", selection: Selection, *, data: Callable[[Event], Event] = lambda one: one
    ) -> None:
        self._output = state.output
        self._selection = selection
        self.shown = False
        self._rows = state.output.rows(fields=lambda event: {"id": event.get("id")}, data=data)
        self._transcript = Transcript(
            width=terminal_width() if state.out.is_terminal else None, styled=state.out.styled
        )

    def __enter__(self) -> "Printer":
        return self

    def __exit__(self, failure: type[BaseException] | None, *rest: object) -> None:
        self._rows.__exit__(failure, *rest)

    def show(self, events: Iterable[Event]) -> None:
        """Print those of the events that are wanted."""
        wanted = list(filter(self._selection.takes, events))
        self.shown = self.shown or bool(wanted)
        if self._output.format != "table":
            self._rows.show(wanted)
        elif written := "".join(map(self._written, wanted)):
            self._output.raw(written)

    def _written(self, event: Event) -> str:
        said = entry(event, everything=bool(self._selection.types))
        return self._transcript.write(said, at=event_time(event)) if said else ""

    def sum_up(self, credits: object) -> None:
        """Print what the session has cost, as `credits_of` told it."""
        if credits is not None:
            self._output.raw(self._transcript.write(Entry("credits", str(credits)), at=None))


def credits_of(state: "State", run: Run, selection: Selection) -> object:
    """Return what the run's session has cost, where people read all of it; None where it cannot be told at once."""
    if state.output.format != "table" or selection.types or not run.session_id:
        return None
    if run.credits is not None:
        return run.credits
    with suppress(ApiError):
        session = state.client.get(f"/sessions/{segment(run.session_id)}", within=USAGE_WITHIN, retry=False)
        return mapping(mapping(session).get("usage")).get("total_credits")
    return None


def log_of(state: "State", run: Run, selection: Selection) -> SessionLog:
    """Return the log of a run's session. Raises NotYet or NotFound when it has none."""
    if run.session_id is None:
        raise _without_session(state, run)
    created = parse_timestamp(run.raw.get("created_at"))
    young = created is not None and state.client.server_now() - created.timestamp() < YOUNG
    return SessionLog(state.client, run.session_id, selection, young=young)


def batches_of(log: SessionLog, tail: int | None) -> Iterator[list[Event]]:
    """Yield what has happened, oldest first: the newest `tail` events at once, or all of them (None) page by page."""
    if tail is None:
        yield from log.history()
    else:
        yield log.newest(tail)


@contextmanager
def explained(run: Run) -> Iterator[None]:
    """Explain a session that is not there."""
    try:
        yield
    except NotFound as error:
        message = f"session {run.session_id} of run {run.id} was deleted, along with its events"
        raise error.with_(message=message, run_id=run.id, session_id=run.session_id) from error


def nothing_shown(run_id: str, selection: Selection) -> str:
    """Return what is said of a log in which there was nothing to show."""
    return f"run {run_id} has no " + ("matching events" if selection != Selection() else "events yet")


def following(state: "State", run: Run, error: QoderError) -> QoderError:
    """Return the error of a run that is still running, with the command that follows it."""
    follow = state.command("run", "logs", run.id, "--follow", *state.known.wait_options)
    return going_on(error.with_(next=follow), run, state)


def _without_session(state: "State", run: Run) -> QoderError:
    if is_going(run):
        words = f"run {run.id} ({run.status}) has no session yet, so it has no events"
        return following(state, run, NotYet(words, hint="to wait for them"))
    why = ": ".join(filter(None, (run.error_type, run.error_message))) or run.status or "it never started"
    return NotFound(
        f"run {run.id} has no session, so it has no events: {why}",
        run_id=run.id,
        run_state="ended",
        api_type=run.error_type,
    )
