"""Several things that were asked for: what became of each, printed as it becomes known, and the exit code of all."""

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.base.errors import Exit, InternalError, QoderError, ReaderGone, WaitTimeout, first_by_rank
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import is_going
from qoder_cli.base.tokens import without_tokens
from qoder_cli.output.cells import Fields, Words
from qoder_cli.output.views import missing_row, run_row

if TYPE_CHECKING:
    from qoder_cli.app import State


# The order in which columns get room on a terminal.
_FIRST = ("id", "status", "deployment", "duration", "error_type", "triggered", "trigger", "session")


class Item(NamedTuple):
    """One thing that was asked for, and what became of it: the run, as far as it is known, and the error.

    `attempted` is False for what was not begun, because something else ended the command first. `more` goes with the
    run into JSON.
    """

    typed: str
    run: Run | None
    error: QoderError | None
    attempted: bool = True
    more: dict[str, Any] = {}  # noqa: RUF012  (nobody changes it)

    @property
    def exit_code(self) -> int | None:
        """The exit code of this one; None when it was not attempted."""
        if not self.attempted:
            return None
        return int(self.error.exit if self.error else Exit.OK)

    @property
    def is_failure(self) -> bool:
        """Whether it was begun and did not go well."""
        return self.attempted and self.error is not None

    @property
    def run_id(self) -> str | None:
        """The run, as far as its id is known."""
        return self.run.id if self.run else self.error.run_id if self.error else None

    @property
    def goes_on(self) -> bool:
        """Whether there is a run that may not have ended."""
        if self.run is not None:
            return is_going(self.run)
        error = self.error
        return isinstance(error, WaitTimeout) or bool(error and error.run_id and error.run_state != "ended")

    @property
    def wait_for(self) -> str:
        """What to type to wait for it again."""
        return self.run_id or self.typed

    @property
    def is_unknown(self) -> bool:
        """Whether nobody knows if a run was started."""
        return self.run is None and self.exit_code == Exit.OUTCOME_UNKNOWN

    @property
    def said(self) -> str:
        """The error in words that name what was typed."""
        message = self.error.message if self.error else ""
        named = re.search(rf"(?<![\w-]){re.escape(self.typed)}(?![\w-])", message)
        return message if named else f"{self.typed}: {message}"

    def as_json(self) -> dict[str, Any]:
        """Return the item of a JSON array: the run, or what went wrong, with what was typed and the exit code."""
        if self.run is not None:
            found = self.run.as_json()
        else:
            found = {"id": None, "error": self.error.as_json() if self.error else None}
        return {**found, "input": without_tokens(self.typed), "exit_code": self.exit_code, **self.more}

    def row(self) -> Fields:
        """Return the item as a row of a table in a pipe."""
        return missing_row(without_tokens(self.typed), self.word) if self.run is None else run_row(self.run)

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
        return self.error.type_name if self.error else "pending"


class Printed:
    """Prints items: JSON lines as they come, everything else in the order of the input.

    JSON is one array, closed by `end`; cut short by an error it stays unclosed (contract, section 3). When the output
    cannot be written any more, `broken` says why, and nothing further is tried.
    """

    def __init__(self, state: "State", count: int) -> None:
        self.items: list[Item | None] = [None] * count
        self.broken: ReaderGone | InternalError | None = None
        self._state = state
        self._come: list[Item] = []  # in the order in which they came
        self._shown = 0  # how many are printed
        self._has_end = False
        self._rows = state.output.rows(
            fields=itemgetter(0), data=itemgetter(1), first=_FIRST, remedy="qoder run get shows all of a run"
        )

    def put(self, number: int, item: Item) -> None:
        """Take in what became of the thing with this number in the input, once, and print what can be printed now."""
        if self.items[number] is None:
            self.items[number] = item
            self._come.append(item)
        if not self._state.output.is_drawn:  # the first rows fix the columns of what is drawn: all come together
            self._unless_broken(self._show_ready)

    def end(self) -> None:
        """Print what is left, and the end of the array."""
        self._unless_broken(self._show_ready)
        if not self._has_end:
            self._unless_broken(lambda: self._rows.__exit__(None))
            self._has_end = True

    def _unless_broken(self, write: Callable[[], None]) -> None:
        if self.broken is None:
            try:
                write()
            except (ReaderGone, InternalError) as broken:
                self.broken = broken

    def _ready(self) -> list[Item]:
        """Return what can be printed now and is not yet."""
        if self._state.output.format == "jsonl":
            return self._come[self._shown :]
        places = range(self._shown, len(self.items))
        end = next((place for place in places if self.items[place] is None), len(self.items))
        return [item for item in self.items[self._shown : end] if item is not None]

    def _show_ready(self) -> None:
        if not (items := self._ready()):
            return
        row = Item.drawn_row if self._state.output.is_drawn else Item.row
        seen = [item for item in items if item.run is not None or self._state.output.format != "id"]
        with self._state.progress.aside() if self._state.out.is_terminal else nullcontext():
            self._rows.show([(row(item), item.as_json()) for item in seen])
            self._shown += len(items)  # after the printing: if a signal comes in between, the next time prints it


def deciding_error(items: Sequence[Item | None]) -> QoderError | None:
    """Return the error that decides the exit code of several things; None when all went well."""
    return first_by_rank(item.error for item in items if item and item.error and item.attempted)
