"""A list that is printed as it comes, in constant memory, in every format."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from qoder_cli.base import jsontext
from qoder_cli.output.cells import Fields, cell, has_time, plain
from qoder_cli.output.screen import Screen, inert, terminal_width

if TYPE_CHECKING:
    from qoder_cli.output.grid import Grid

T = TypeVar("T")


class Printer(Protocol):
    """Where batches are printed, and how: data.Output."""

    @property
    def screen(self) -> Screen:
        """Standard output."""

    @property
    def format(self) -> str:
        """One of the formats."""

    @property
    def is_drawn(self) -> bool:
        """Whether what is printed is drawn for a person at a terminal."""

    @property
    def indent(self) -> int | None:
        """The indentation of a JSON document."""

    @property
    def ascii_only(self) -> bool:
        """Whether JSON is written in ASCII."""

    def raw(self, text: str) -> None:
        """Print a text as it is."""

    def document(self, value: Any) -> str:
        """Return a JSON document."""

    def footer(self, values: Iterable[Any], *more: str) -> str:
        """Return what stands below a table."""


class Rows(Generic[T]):
    """Prints batch after batch, each at once, in a `with` block.

    JSON is one array, begun with the first batch (or at the end, when there was none) and closed when the block ends
    well: cut short by an error it stays unclosed, and before the first batch nothing at all is written. In a pipe a
    table is tab-separated, without header; an absent field is `-`. On a terminal the first batch fixes the columns.
    """

    def __init__(
        self,
        output: Printer,
        *,
        fields: Callable[[T], Fields],
        data: Callable[[T], dict[str, Any]],
        id: str,
        first: Sequence[str] | None,
    ) -> None:
        self._output = output
        self._fields = fields
        self._data = data
        self._id = id
        self._first = first
        self._begun = False
        self._grid: Grid | None = None
        self._times: list[Any] = []  # one of those shown, if there was any

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *rest: object) -> None:
        if failure is None and (end := self._end()):
            self._output.raw(end)

    def show(self, batch: Sequence[T]) -> None:
        """Print the next rows."""
        if batch:
            self._output.raw(self._text(batch))
            self._begun = True

    def _text(self, batch: Sequence[T]) -> str:
        match self._output.format:
            case "json":
                return ("," if self._begun else "[") + self._items(batch)
            case "jsonl":
                ascii_only = self._output.ascii_only
                return "".join([jsontext.dump(self._data(item), ascii_only=ascii_only) + "\n" for item in batch])
            case "id":
                ids = (self._fields(item).get(self._id) for item in batch)
                return "".join(inert(str(each)) + "\n" for each in ids if each)
            case _ if self._output.is_drawn:
                return self._drawn([self._fields(item) for item in batch])
            case _:
                return "".join("\t".join(map(plain, self._fields(item).values())) + "\n" for item in batch)

    def _items(self, batch: Sequence[T]) -> str:
        """Return the items of a JSON array, without its brackets."""
        array = self._output.document([self._data(item) for item in batch])
        return array[1:].removesuffix("]").removesuffix("\n")

    def _drawn(self, rows: Sequence[Fields]) -> str:
        from qoder_cli.output.grid import Grid

        cells = [[cell(value) for value in row.values()] for row in rows]
        header = ""
        if self._grid is None:
            names, styled = list(rows[0]), self._output.screen.styled
            self._grid = Grid(names, cells, width=terminal_width(), first=self._first, styled=styled)
            header = self._grid.header()
        self._times = self._times or [value for row in rows for value in row.values() if has_time(value)][:1]
        return header + "".join(map(self._grid.row, cells))

    def _end(self) -> str:
        if self._output.format == "json":
            return "[]\n" if not self._begun else ("]\n" if self._output.indent is None else "\n]\n")
        if self._grid is None:
            return ""
        return self._output.footer(self._times, *self._grid.no_room_for())
