"""Several things that were asked for: what became of each, printed as it becomes known, and the exit code of all."""

from collections.abc import Sequence
from operator import itemgetter
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from qoder_cli.cells import Fields, Words
from qoder_cli.errors import Exit, QoderError, first_by_rank
from qoder_cli.model import Run
from qoder_cli.outcome import is_going
from qoder_cli.views import missing_row, run_row

if TYPE_CHECKING:
    from qoder_cli.state import State


# The order in which columns get room on a terminal.
_FIRST = ("id", "status", "deployment", "duration", "error_type", "triggered", "trigger", "session")


class Item(NamedTuple):
    """One thing that was asked for, and what became of it: the run, as far as it is known, and the error.

    `attempted` is False for what was not begun, because something else ended the command first.
    """

    typed: str
    run: Run | None
    error: QoderError | None
    attempted: bool = True

    @property
    def exit_code(self) -> int | None:
        """The exit code of this one; None when it was not attempted."""
        if not self.attempted:
            return None
        return int(self.error.exit if self.error else Exit.OK)

    @property
    def goes_on(self) -> bool:
        """Whether there is a run that may not have ended."""
        if self.run is None:
            return bool(self.error and self.error.run_id and self.error.run_state != "ended")
        return is_going(self.run)

    def as_json(self) -> dict[str, Any]:
        """Return the item of a JSON array: the run, or what went wrong, with what was typed and the exit code."""
        if self.run is not None:
            found = self.run.as_json()
        else:
            found = {"id": None, "error": self.error.as_json() if self.error else None}
        return {**found, "input": self.typed, "exit_code": self.exit_code}

    def row(self) -> Fields:
        """Return the item as a row of a table in a pipe."""
        return missing_row(self.typed, self.word) if self.run is None else run_row(self.run)

    def drawn_row(self) -> Fields:
        """Return the item as a row for people, who know a deployment by what they called it."""
        names_run = self.run is None or self.typed.startswith(("drun_", "sess_")) or self.typed.endswith("last")
        return self.row() if names_run else {**self.row(), "deployment": Words(self.typed)}

    @property
    def word(self) -> str:
        """What became of it, in one word."""
        if self.run is not None:
            return self.run.status or "gone"
        if not self.attempted:
            return "not_started"
        return (self.error.kind or self.error.exit).name.lower() if self.error else "pending"


class Printed:
    """Prints items in a `with` block: JSON lines as they come, everything else in the order of the input.

    JSON is one array; cut short by an error it stays unclosed (contract, section 3).
    """

    def __init__(self, state: "State", count: int, *, result: bool = False) -> None:
        self.items: list[Item | None] = [None] * count
        self._state = state
        self._result = result
        self._next = 0  # the first that is not printed yet, where the order counts
        self._rows = state.output.rows(fields=itemgetter(0), data=itemgetter(1), id="id", first=_FIRST)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        if failure is None:
            self._flush(len(self.items))
        self._rows.__exit__(kind, failure, trace)

    def put(self, number: int, item: Item) -> None:
        """Take in what became of the thing with this number in the input, and print what can be printed now.

        Once only: a signal may come between the printing and the noting of it, and it is put again then. Raises
        ReaderGone and InternalError when it cannot be printed.
        """
        if self.items[number] is not None:
            return
        self.items[number] = item
        if self._state.output.format == "jsonl":
            self._show([item])
        elif not self._state.output.is_drawn:  # the first rows fix the columns of what is drawn: all come together
            self._flush(next((n for n in range(self._next, len(self.items)) if self.items[n] is None), len(self.items)))

    def _flush(self, until: int) -> None:
        """Print up to an item, each once."""
        ready = [item for item in self.items[self._next : until] if item is not None]
        self._next = max(self._next, until)
        if self._state.output.format != "jsonl":
            self._show(ready)

    def _show(self, items: Sequence[Item]) -> None:
        if self._state.output.format == "id":  # what has no run has no id to print
            items = [item for item in items if item.run is not None]
        with self._state.progress.aside():
            row = Item.drawn_row if self._state.output.is_drawn else Item.row
            self._rows.show([(row(item), {**item.as_json(), **self._result_of(item)}) for item in items])

    def _result_of(self, item: Item) -> dict[str, Any]:
        from qoder_cli.result import final_message

        if not self._result or item.run is None:
            return {}
        return {"result": None if is_going(item.run) else final_message(self._state.client, item.run)}


def deciding_error(items: Sequence[Item | None]) -> QoderError | None:
    """Return the error that decides the exit code of several things; None when all went well."""
    return first_by_rank(item.error for item in items if item and item.error and item.attempted)
