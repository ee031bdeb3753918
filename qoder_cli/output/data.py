"""Data on standard output, in the format asked for: objects and lists, drawn, in columns, as JSON, or as ids."""

import sys
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from qoder_cli.base import jsontext
from qoder_cli.base.times import local_zone_name
from qoder_cli.output.cells import Cell, Fields, cell, has_time, plain
from qoder_cli.output.report import Format
from qoder_cli.output.rows import Rows
from qoder_cli.output.screen import Screen, inert, terminal_width

if TYPE_CHECKING:
    from rich.text import Text

T = TypeVar("T")


class Output:
    """Prints one object or many as a table, JSON, JSON lines or ids."""

    def __init__(self, screen: Screen, format: Format) -> None:
        self.screen = screen
        self.format = format

    @property
    def has_written(self) -> bool:
        """Whether anything was printed yet."""
        return self.screen.has_written

    @property
    def is_json(self) -> bool:
        """Whether JSON or JSON lines was asked for."""
        return self.format in ("json", "jsonl")

    @property
    def is_drawn(self) -> bool:
        """Whether what is printed is drawn for a person at a terminal."""
        return self.format == "table" and self.screen.is_terminal

    def record(self, fields: Fields, *, data: dict[str, Any] | None = None, id: str = "") -> None:
        """Print one object: `data` (or the fields) as JSON, the fields as a table, or the id.

        A field that is a list gets a line for each of its values.
        """
        match self.format:
            case "json":
                self.screen.write(self.document(fields if data is None else data) + "\n")
            case "jsonl":
                self.screen.write(self._line(fields if data is None else data))
            case "id":
                self.screen.write(inert(id) + "\n")
            case _:
                self.screen.write(self._sheet(present(fields)))

    def rows(
        self,
        *,
        fields: Callable[[T], Fields],
        data: Callable[[T], dict[str, Any]],
        id: str = "id",
        first: Sequence[str] | None = None,
    ) -> Rows[T]:
        """Return a list to be printed as it comes, in a `with` block; what an item's `fields` and `data` are is told
        here, `id` is the field that the format id prints, and `first` the fields in the order in which they are given
        room on a terminal.
        """
        return Rows(self, fields=fields, data=data, id=id, first=first)

    def records(
        self,
        rows: Sequence[Fields],
        *,
        data: Sequence[dict[str, Any]] | None = None,
        id: str,
        first: Sequence[str] | None = None,
    ) -> None:
        """Print a whole list: `data` (or the rows) as JSON, the rows as a table, or the field named `id`."""
        with self.rows(fields=itemgetter(0), data=itemgetter(1), id=id, first=first) as printed:
            printed.show(list(zip(rows, rows if data is None else data, strict=True)))

    def raw(self, text: str) -> None:
        """Print lines that are composed already, in every format; they are no commands to a CI system."""
        self.screen.write(text)

    def exactly(self, text: str) -> None:
        """Print a text as it is, in every format: what is data, or a file."""
        self.screen.write_exactly(text)

    def document(self, value: Any) -> str:
        """Return a JSON document, indented on a terminal, without a newline at its end."""
        return jsontext.dump(value, indent=self.indent, ascii_only=self.ascii_only)

    def _line(self, value: Any) -> str:
        return jsontext.dump(value, ascii_only=self.ascii_only) + "\n"

    @property
    def indent(self) -> int | None:
        """The indentation of a JSON document."""
        return 2 if self.screen.is_terminal else None

    @property
    def ascii_only(self) -> bool:
        """Whether JSON is written in ASCII."""
        return sys.platform == "win32" and not self.screen.is_terminal  # pipes there are re-read in another code page

    def _sheet(self, fields: Fields) -> str:
        lines = [(key, value) for key, values in fields.items() for value in _listed(values)]
        if not self.screen.is_terminal:
            return "".join(f"{key}\t{plain(value)}\n" for key, value in lines)
        return self._drawn_sheet(lines) + self.footer(value for _, value in lines)

    def _drawn_sheet(self, lines: Sequence[tuple[str, Any]]) -> str:
        import io

        from rich.console import Console
        from rich.table import Table

        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        before = None
        for key, value in lines:
            table.add_row("" if key == before else key.replace("_", " "), _rich_text(cell(value)))
            before = key
        drawn = io.StringIO()
        Console(
            file=drawn,
            force_terminal=True,
            color_system="standard" if self.screen.color else None,
            width=terminal_width(),
            legacy_windows=False,
        ).print(table)
        return drawn.getvalue() if self.screen.color else _without_styles(drawn.getvalue())

    def footer(self, values: Iterable[Any], *more: str) -> str:
        """Return the faint line below what is drawn: the zone of the times among the values, and what else to say."""
        said = [f"times are local ({local_zone_name()})"] if any(map(has_time, values)) else []
        return self.screen.styled(" · ".join([*said, *more]), "dim") + "\n" if said or more else ""


def present(fields: Fields) -> Fields:
    """Return the fields that have a value."""
    return {key: value for key, value in fields.items() if value is not None and value != []}


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _rich_text(cell: Cell) -> "Text":
    from rich.text import Text

    return Text.assemble(*cell.pieces)


def _without_styles(drawn: str) -> str:
    """Drop bold and dim, which rich writes even without a colour system."""
    import re

    return re.sub("\x1b\\[[0-9;]*m", "", drawn)
