"""`qoder run logs` of several runs: each log in the order typed, read ahead."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, Exit, QoderError, Unavailable, UsageError
from qoder_cli.base.model import Run
from qoder_cli.base.pool import in_order
from qoder_cli.output.data import Output
from qoder_cli.output.results import deciding_error, last_words
from qoder_cli.output.screen import inert
from qoder_cli.runs import names
from qoder_cli.runs.awaiting import Item
from qoder_cli.runs.logs.log import Event, Printer, Selection, credits_of, explained, log_of, nothing_shown
from qoder_cli.runs.observe import Observer, freshness
from qoder_cli.sessions.story import Events

_BEHIND = ("input", "exit_code")  # keys of an item after its events
AT_A_TIME = 6  # runs read ahead of what is shown
MOST_AHEAD = 10_000  # events held for that
GIVE_UP_AFTER = 3  # logs in a row without a server: each is tried for 30 s


@dataclass
class Log:
    """One run's log. `item` has the run and, once its batches are read, the error."""

    item: Item
    credits: object = None
    batches: Iterator[Events] = field(default_factory=lambda: iter(()))


def show_many(app: App, typed: Sequence[str], selection: Selection, tail: int | None) -> int:
    """Print the logs. Return 0 or raise the deciding error, a UsageError at once."""
    page: _Lines | _Array = _Lines(app, selection)
    if app.output.format == "json":
        page = _Array(app.output, selection)
    items: list[Item] = []
    away = 0  # logs in a row without a server
    for log in _read(app, typed, selection, tail):
        had_any = page.show(log, _to_the_end(log))
        item, error = log.item, log.item.error
        items.append(item)
        away = away + 1 if isinstance(error, Unavailable) else 0
        if error is None:
            if item.found and not had_any:
                app.progress.note(nothing_shown(item.found.id, selection))
        elif len(typed) > 1:
            is_refused = isinstance(error, AuthError) and error.http_status == 401  # as all would be
            if is_refused or away == GIVE_UP_AFTER:
                raise error.with_(message=f"gave up: {item.said}")
            app.progress.warn(item.said)
    if isinstance(page, _Array):
        page.close()
    worst = deciding_error(items)
    if worst is None:
        return Exit.OK
    said = next(item.said for item in items if item.error is worst)
    if len(typed) > 1:
        said = f"{sum(item.error is not None for item in items)} of {len(typed)} logs are incomplete: {said}"
    raise last_words(worst, said)


def _read(app: App, typed: Sequence[str], selection: Selection, tail: int | None) -> Iterator[Log]:
    """Yield the logs in order, read in threads, with a first batch. Raises UsageError."""
    app.connect()
    is_fresh = freshness(app)
    ids = names.runs(typed, app)
    if mistake := next((found for found in ids.values() if isinstance(found, UsageError)), None):
        raise mistake

    def open_log(word: str) -> Log:
        log, id = Log(Item(word)), ids[word]
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
            log.item = Item(word, run)
            batches = log_of(app, run, selection).batches(tail)
            with explained(run):
                log.batches = chain([next(batches, [])], batches)
            log.credits = credits_of(app, run, selection)
        except QoderError as error:
            log.item = log.item.with_(error=error)
        return log

    size = max(1, min(AT_A_TIME, MOST_AHEAD // max(tail or 1, 1)))
    yield from in_order(open_log, typed, at_a_time=size)


def _to_the_end(log: Log) -> Iterator[Events]:
    """Yield a log's batches; an ApiError becomes its error."""
    if log.item.found is None:
        return
    try:
        with explained(log.item.found):
            yield from log.batches
    except ApiError as error:
        log.item = log.item.with_(error=error)


class _Lines:
    """Prints logs one by one: ids, JSON lines, or transcripts with headings."""

    def __init__(self, app: App, selection: Selection) -> None:
        self._app = app
        self._selection = selection
        self._between = ""

    def show(self, log: Log, events: Iterator[Events]) -> bool:
        run = log.item.found
        run_id = run.id if run else None
        with Printer(self._app, self._selection, data=lambda event: {**event, "run_id": run_id}) as printer:
            for number, batch in enumerate(events):
                if run and number == 0 and self._app.output.format == "table":
                    self._head(run)
                printer.show(batch)
            if log.item.error is None:
                printer.sum_up(log.credits)
        if log.item.error and self._app.output.format == "jsonl":
            self._app.output.record({}, data={**log.item.with_(found=None).as_json(), "run_id": run_id})
        return printer.shown

    def _head(self, run: Run) -> None:
        about = f"{run.deployment_id or 'no deployment'}, {run.status or 'unknown'}"
        head = inert(f"==> {run.id} ({about}) <==")
        self._app.out.write(f"{self._between}{self._app.out.styled(head, 'bold')}\n")
        self._between = "\n"


class _Array:
    """Prints logs as one JSON array, by event; each item is a run with `events`."""

    def __init__(self, output: Output, selection: Selection) -> None:
        self._output = output
        self._selection = selection
        self._comma = "["

    def show(self, log: Log, events: Iterator[Events]) -> bool:
        found = log.item.as_json()
        for name in ("events", *_BEHIND):
            found.pop(name, None)
        opening = self._nested({**found, "events": []}, depth=1)
        self._output.screen.write(self._comma + self._line(1) + opening[: opening.rindex("]")])
        comma = ""
        for batch in events:
            wanted = [self._line(3) + self._nested(event, depth=3) for event in batch if self._selection.takes(event)]
            if wanted:
                self._output.screen.write(comma + ",".join(wanted))
                comma = ","
        told = log.item.as_json()  # now it is known whether all could be read
        closing = self._nested({name: told[name] for name in _BEHIND}, depth=1).removeprefix("{")
        self._output.screen.write((self._line(2) if comma else "") + "]," + closing)
        self._comma = ","
        return bool(comma)

    def close(self) -> None:
        self._output.screen.write(self._line(0) + "]\n")

    def _line(self, depth: int) -> str:
        indent = self._output.indent
        return "" if indent is None else "\n" + " " * indent * depth

    def _nested(self, value: Event, *, depth: int) -> str:
        return self._output.document(value).replace("\n", self._line(depth))
