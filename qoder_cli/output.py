"""Data on standard output, in the format asked for. Nothing else ever writes there."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli import jsontext
from qoder_cli.options import Format
from qoder_cli.screen import Screen, inert, terminal_width
from qoder_cli.times import local_time, local_zone_name, span

if TYPE_CHECKING:
    from rich.table import Table


class Moment(NamedTuple):
    """A timestamp as the server wrote it; on a terminal it is shown in local time."""

    text: str


class Milliseconds(NamedTuple):
    """A duration; on a terminal it is shown as people read it, in a pipe in seconds."""

    milliseconds: int


class Status(NamedTuple):
    """A status word; on a terminal it has a colour."""

    word: str


Fields = dict[str, Any]  # column or key -> str, number, Moment, Milliseconds, Status, or None when absent

_COLOURS = {"completed": "green", "active": "green", "failed": "red", "skipped": "yellow", "paused": "yellow"}


class Output:
    """Prints one object or many as a table, JSON, JSON lines or ids."""

    def __init__(self, screen: Screen, format: Format) -> None:
        self._screen = screen
        self._format = format

    @property
    def has_written(self) -> bool:
        """Whether anything was printed yet."""
        return self._screen.has_written

    @property
    def is_json(self) -> bool:
        """Whether JSON or JSON lines was asked for."""
        return self._format in ("json", "jsonl")

    def record(self, fields: Fields, *, data: dict[str, Any] | None = None, id: str = "") -> None:
        """Print one object: `data` (or the fields) as JSON, the fields as a table, or the id."""
        match self._format:
            case "json":
                self._screen.write(self._document(fields if data is None else data) + "\n")
            case "jsonl":
                self._screen.write(self._line(fields if data is None else data))
            case "id":
                self._screen.write(inert(id) + "\n")
            case _:
                self._screen.write(self._sheet(present(fields)))

    def records(self, rows: Sequence[Fields], *, data: Sequence[dict[str, Any]] | None = None, id: str) -> None:
        """Print a list: `data` (or the rows) as JSON, the rows as a table, or the column named `id`.

        In a pipe a table is tab-separated, without header; an absent field is `-`.
        """
        objects = rows if data is None else data
        match self._format:
            case "json":
                self._screen.write(self._document(list(objects)) + "\n")
            case "jsonl":
                self._screen.write("".join(map(self._line, objects)))
            case "id":
                self._screen.write("".join(inert(str(row[id])) + "\n" for row in rows if row.get(id)))
            case _ if self._screen.is_terminal:
                self._screen.write(self._grid(rows) if rows else "")
            case _:
                self._screen.write("".join("\t".join(map(_plain, row.values())) + "\n" for row in rows))

    def raw(self, text: str) -> None:
        """Print a text as it is, in every format."""
        self._screen.write(text)

    def _document(self, value: Any) -> str:
        return jsontext.dump(value, indent=2 if self._screen.is_terminal else None, ascii_only=self._ascii_only)

    def _line(self, value: Any) -> str:
        return jsontext.dump(value, ascii_only=self._ascii_only) + "\n"

    @property
    def _ascii_only(self) -> bool:
        import sys

        return sys.platform == "win32" and not self._screen.is_terminal  # pipes there are re-read in another code page

    def _sheet(self, fields: Fields) -> str:
        if not self._screen.is_terminal:
            return "".join(f"{key}\t{_plain(value)}\n" for key, value in fields.items())
        from rich.table import Table

        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for key, value in fields.items():
            table.add_row(key.replace("_", " "), _readable(value))
        return self._drawn(table, fields.values())

    def _grid(self, rows: Sequence[Fields]) -> str:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for name in rows[0]:
            table.add_column(name.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*map(_readable, row.values()))
        return self._drawn(table, [value for row in rows for value in row.values()])

    def _drawn(self, table: "Table", values: Any) -> str:
        import io

        from rich.console import Console

        console = Console(
            file=io.StringIO(),
            force_terminal=True,
            color_system="standard" if self._screen.color else None,
            width=terminal_width(),
            legacy_windows=False,
        )
        console.print(table)
        if any(isinstance(value, Moment) for value in values):
            console.print(f"times are local ({local_zone_name()})", style="dim", markup=False, highlight=False)
        drawn: str = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO, four lines up
        return drawn if self._screen.color else _without_styles(drawn)


def present(fields: Fields) -> Fields:
    """Return the fields that have a value."""
    return {key: value for key, value in fields.items() if value is not None}


def _plain(value: Any) -> str:
    match value:
        case None:
            return "-"
        case Moment(text):
            return inert(text)
        case Milliseconds(milliseconds):
            return f"{milliseconds / 1000:.3f}"
        case Status(word):
            return inert(word)
        case bool():
            return "yes" if value else "no"
        case _:
            return inert(str(value))


def _readable(value: Any) -> Any:
    from rich.text import Text

    match value:
        case Moment(text):
            return Text(inert(local_time(text)))
        case Milliseconds(milliseconds):
            return Text(span(milliseconds / 1000))
        case Status(word):
            return Text(inert(word), style=_COLOURS.get(word, ""))
        case _:
            return Text(_plain(value))


def _without_styles(drawn: str) -> str:
    """Drop bold and dim, which rich writes even without a colour system."""
    import re

    return re.sub("\x1b\\[[0-9;]*m", "", drawn)
