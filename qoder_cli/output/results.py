"""Results for several things, printed as they come, with one exit code."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, Any, Generic, Self, TypedDict, TypeVar

from qoder_cli.base.errors import ErrorData, Exit, InternalError, Interrupted, QoderError, ReaderGone, first_by_rank
from qoder_cli.base.model import ApiObject, FilledIn, Resource, open_shape
from qoder_cli.base.tokens import without_tokens
from qoder_cli.output.data import Rows

if TYPE_CHECKING:
    from qoder_cli.output.progress import Progress

T = TypeVar("T", bound=Resource)


class Item(TypedDict):
    """What every item has."""

    input: Annotated[str, "the word that was typed, or read from stdin"]
    exit_code: Annotated[int | None, "exit code of this item; null if it was not attempted"]


class NotFoundItem(Item):
    """An item that was not found, or not attempted."""

    id: Annotated[None, "null"]
    error: Annotated[ErrorData | None, "why; null if it was not attempted"]


@open_shape
class ApiItem(ApiObject, Item):
    """An item that is an object of the API."""


AnyObject = ApiItem | NotFoundItem | ApiObject


@dataclass(frozen=True, eq=False, repr=False)
class Result(Generic[T]):
    """The result for one thing typed: what was found, the error, whether it was attempted.

    It was not if something else ended the command first. `more` goes into its JSON.
    """

    typed: str
    found: T | None = None
    error: QoderError | None = None
    attempted: bool = True
    more: FilledIn = field(default_factory=FilledIn)

    def with_(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None if it was not attempted."""
        if not self.attempted:
            return None
        if self.error is None:
            return 0
        return int(self.error.exit)

    @property
    def message(self) -> str:
        """The error's message, naming what was typed."""
        message = self.error.message if self.error else ""
        named = re.search(rf"(?<![\w-]){re.escape(self.typed)}(?![\w-])", message)
        if named:
            return message
        return f"{self.typed}: {message}"

    @property
    def item(self) -> Item:
        """What each of several has in JSON."""
        return {"input": without_tokens(self.typed), "exit_code": self.exit_code}

    def as_json(self) -> dict[str, Any]:
        """Return its JSON: what was found or the error, and the input."""
        if self.found is not None:
            return {**self.found.as_json(), **self.item, **self.more}
        missing: NotFoundItem = {"id": None, "error": None if self.error is None else self.error.as_json(), **self.item}
        return {**missing, **self.more}


R = TypeVar("R", bound=Result[Any])


def deciding_error(results: Iterable[Result[Any]]) -> QoderError | None:
    """Return the error that decides the exit code; None if all went well."""
    return first_by_rank(result.error for result in results if result.error and result.attempted)


def last_words(error: QoderError, *parts: str | None, is_unknown: bool = False, **changes: Any) -> QoderError:
    """Return the error that ends a command for several things, summed up in `parts`.

    With `is_unknown`, nobody knows what some did: an Interrupted error gets that exit code.
    """
    if is_unknown and isinstance(error, Interrupted):
        changes["kind"] = Exit.OUTCOME_UNKNOWN
    return error.with_(message="; ".join(filter(None, parts)), **changes)


class Printed(Generic[R]):
    """Prints results: JSON lines as they come, everything else in input order.

    JSON is one array, closed by `end`; an error leaves it open, so that a reader of JSON fails, too. As ids, only
    results with one are printed. A drawn table has all at once, `arranged` for a person. Once the output cannot be
    written, `broken` says why, and no more is tried.
    """

    def __init__(
        self,
        rows: Rows[R],
        progress: "Progress",
        count: int,
        *,
        arranged: Callable[[Sequence[R]], Sequence[R]] = lambda results: results,
    ) -> None:
        self.broken: ReaderGone | InternalError | None = None
        self._results: list[R | None] = [None] * count
        self._rows = rows
        self._arranged = arranged
        self._output = rows.output
        self._progress = progress
        self._come: list[R] = []  # in the order in which they came
        self._shown = 0  # how many are printed
        self._has_end = False

    @property
    def results(self) -> list[R]:
        return [result for result in self._results if result is not None]

    def of(self, number: int) -> R | None:
        return self._results[number]

    def is_unread(self) -> bool:
        """Return whether nothing more can be printed, or nobody reads it."""
        if self.broken is None and self._output.screen.reader_is_gone:
            self.broken = ReaderGone()
        return self.broken is not None

    def put(self, number: int, result: R) -> None:
        """Take the result with this number, once, and print what can be printed."""
        if self._results[number] is None:
            self._results[number] = result
            self._come.append(result)
        if not self._output.is_drawn:  # the first rows fix the columns
            self._unless_broken(self._show_ready)

    def end(self) -> None:
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

    def _show_ready(self) -> None:
        ready = self._come[self._shown :]
        if self._output.format != "jsonl":  # in the order of the input
            ready = [result for result in takewhile(bool, self._results[self._shown :]) if result]
        if not ready:
            return
        shown: Sequence[R] = [result for result in ready if result.found is not None or self._output.format != "id"]
        if self._output.is_drawn:
            shown = self._arranged(shown)
        with self._progress.aside() if self._output.screen.is_terminal else nullcontext():
            self._rows.show(shown)
            self._shown += len(ready)  # afterwards: a signal in between repeats the print
