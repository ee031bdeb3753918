"""`qoder run logs` of several runs: each log in the order in which the runs were named, read ahead of what is shown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from qoder_cli.app import State
from qoder_cli.base.errors import ApiError, AuthError, Exit, QoderError, Unavailable, UsageError, first_by_rank
from qoder_cli.base.model import Run
from qoder_cli.base.pool import in_order
from qoder_cli.base.tokens import without_tokens
from qoder_cli.output.data import Output
from qoder_cli.output.screen import inert
from qoder_cli.runs import names
from qoder_cli.runs.logs.follow import Selection
from qoder_cli.runs.logs.log import Event, Printer, batches_of, credits_of, explained, log_of, nothing_shown
from qoder_cli.runs.observe import Observer, freshness
from qoder_cli.sessions.story import Events

AT_A_TIME = 6  # runs that are read ahead of what is shown
MOST_AHEAD = 10_000  # events that are held for it
GIVE_UP_AFTER = 3  # logs in a row for which the server is not there: each is tried for 30 s


@dataclass
class Log:
    """The log of one of several runs, as far as it could be read: `batches` go on until `error`, if there is one."""

    typed: str
    run: Run | None = None
    credits: object = None
    batches: Iterator[Events] = field(default_factory=lambda: iter(()))
    error: QoderError | None = None

    @property
    def exit_code(self) -> int:
        """The exit code of this one, once its batches were taken."""
        return int(self.error.exit if self.error else Exit.OK)


def show_many(state: State, typed: Sequence[str], selection: Selection, tail: int | None) -> int:
    """Print the log of each run, and return 0 or raise the error that decides the exit code.

    One that cannot be read is a warning, and leaves the others shown. Raises UsageError, before anything is printed.
    """
    page: _Lines | _Array = _Lines(state, selection)
    if state.output.format == "json":
        page = _Array(state.output, selection)
    errors: list[QoderError] = []
    away = 0  # logs in a row for which the server was not there
    for log in _read(state, typed, selection, tail):
        had_any = page.show(log, _to_the_end(log))
        error = log.error
        away = away + 1 if isinstance(error, Unavailable) else 0
        if error is not None:
            errors.append(error)
            if log.typed not in error.message:
                error.message = f"{log.typed}: {error.message}"
            is_refused = isinstance(error, AuthError) and error.http_status == 401  # which holds for all of them
            if len(typed) > 1 and (is_refused or away == GIVE_UP_AFTER):
                error.message = f"gave up: {error.message}"
                raise error
            if len(typed) > 1:
                state.progress.warn(error.message)
        elif log.run and not had_any:
            state.progress.note(nothing_shown(log.run.id, selection))
    if isinstance(page, _Array):
        page.close()
    worst = first_by_rank(errors)
    if worst is None:
        return Exit.OK
    if len(typed) > 1:
        worst.message = f"{len(errors)} of {len(typed)} logs are incomplete: {worst.message}"
    raise worst


def _read(state: State, typed: Sequence[str], selection: Selection, tail: int | None) -> Iterator[Log]:
    """Yield the logs in order, read in threads, each with its first batch, so that it can be shown at once.

    Raises UsageError, before anything is yielded, for a name that several deployments have.
    """
    _ = state.client  # made here, so that a missing token is reported once
    is_fresh = freshness(state)
    ids = names.runs(typed, state)
    if mistake := next((found for found in ids.values() if isinstance(found, UsageError)), None):
        raise mistake

    def open_log(word: str) -> Log:
        log, id = Log(word), ids[word]
        try:
            if isinstance(id, QoderError):
                raise id
            log.run = _run(Observer(state.client, id, is_fresh=is_fresh))
            batches = batches_of(log_of(state, log.run, selection), tail)
            with explained(log.run):
                log.batches = chain([next(batches, [])], batches)
            log.credits = credits_of(state, log.run, selection)
        except QoderError as error:
            log.error = error
        return log

    size = max(1, min(AT_A_TIME, MOST_AHEAD // max(tail or 1, 1)))
    yield from in_order(open_log, typed, at_a_time=size)


def _run(observer: Observer) -> Run:
    """Return a run with its status, or without the one that only its session knows, if that cannot be read."""
    try:
        return observer.read_once()
    except ApiError:
        if observer.run is None:
            raise
        return observer.run


def _to_the_end(log: Log) -> Iterator[Events]:
    """Yield the batches of a log; what breaks it becomes its error."""
    if log.run is None:
        return
    try:
        with explained(log.run):
            yield from log.batches
    except ApiError as error:
        log.error = error


class _Lines:
    """Prints logs one below the other: ids, JSON lines, or transcripts, each headed by its run."""

    def __init__(self, state: State, selection: Selection) -> None:
        self._state = state
        self._selection = selection
        self._between = ""

    def show(self, log: Log, events: Iterator[Events]) -> bool:
        """Print one log, and return whether it had anything to show."""
        run_id = log.run.id if log.run else None
        with Printer(self._state, self._selection, data=lambda event: {**event, "run_id": run_id}) as printer:
            for number, batch in enumerate(events):
                if log.run and number == 0 and self._state.output.format == "table":
                    self._head(log.run)
                printer.show(batch)
            if log.error is None:
                printer.sum_up(log.credits)
        if log.error and self._state.output.format == "jsonl":
            self._state.output.record({}, data={**_missing(log), "run_id": run_id, **_of_input(log)})
        return printer.shown

    def _head(self, run: Run) -> None:
        about = f"{run.deployment_id or 'no deployment'}, {run.status or 'unknown'}"
        head = inert(f"==> {run.id} ({about}) <==")
        self._state.output.raw(f"{self._between}{self._state.out.styled(head, 'bold')}\n")
        self._between = "\n"


class _Array:
    """Prints logs as one JSON array, event by event: an item is the run with a key `events`."""

    def __init__(self, output: Output, selection: Selection) -> None:
        self._output = output
        self._selection = selection
        self._comma = "["

    def show(self, log: Log, events: Iterator[Events]) -> bool:
        """Print one log, and return whether it had anything to show."""
        found = log.run.as_json() if log.run else _missing(log)
        found.pop("events", None)  # a key of that name would not be the last one
        opening = self._nested({**found, "events": []}, depth=1)
        self._output.raw(self._comma + self._line(1) + opening[: opening.rindex("]")])
        comma = ""
        for batch in events:
            wanted = [self._line(3) + self._nested(event, depth=3) for event in batch if self._selection.takes(event)]
            if wanted:
                self._output.raw(comma + ",".join(wanted))
                comma = ","
        closing = self._nested(_of_input(log), depth=1).removeprefix("{")
        self._output.raw((self._line(2) if comma else "") + "]," + closing)
        self._comma = ","
        return bool(comma)

    def close(self) -> None:
        """Close the array."""
        self._output.raw(self._line(0) + "]\n")

    def _line(self, depth: int) -> str:
        indent = self._output.indent
        return "" if indent is None else "\n" + " " * indent * depth

    def _nested(self, value: Event, *, depth: int) -> str:
        return self._output.document(value).replace("\n", self._line(depth))


def _missing(log: Log) -> Event:
    """Return what stands in the place of a run that cannot be read."""
    return {"id": None, "error": log.error.as_json() if log.error else None}


def _of_input(log: Log) -> Event:
    return {"input": without_tokens(log.typed), "exit_code": log.exit_code}
