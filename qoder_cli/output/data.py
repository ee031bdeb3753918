"""Print data in the chosen format: drawn, in columns, as JSON, or as ids."""

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from qoder_cli.base import jsontext
from qoder_cli.base.times import local_zone_name
from qoder_cli.output.screen import Format, Screen, inert, inert_lines, terminal_width

if TYPE_CHECKING:
    from qoder_cli.output.cells import Fields
    from qoder_cli.output.grid import Grid

T = TypeVar("T")

WIDE_SHOWS_ALL = "-o wide shows all"
# Names of fields on a terminal, if not their keys.
_LABELS = {"usual_duration": "median duration", "schedule_words": "runs", "first_message": "prompt"}


class NewRows:
    """What was printed of the items of a list that is looked at again and again."""

    def __init__(self) -> None:
        self._printed: dict[str, tuple[int, int]] = {}  # by the items' ids

    def is_new(self, id: str, data: Any, line: str = "") -> bool:
        """Return whether an item, as data and as a line, was not printed so; from now on it was."""
        seen, now = self._printed.get(id), (hash(jsontext.dump(data)), hash(line))
        self._printed[id] = now
        # Ages change in a line that tells nothing new, and in data much that the line does not show.
        return seen is None or (seen[0] != now[0] and (seen[1] != now[1] or not line))


class Output:
    """Prints one object or a list; `is_wide` is a table of every column, `is_pretty` one that is drawn anywhere,
    `is_markdown` one for a comment.

    Of lists only these `columns` are shown, if any, and only the `news`, if they are looked at again. `on_shortened`
    hears of ids of which a table shows only a part.
    """

    def __init__(self, screen: Screen, format: Format) -> None:
        self.screen = screen
        self.is_wide = format == "wide"
        self.is_pretty = format == "pretty"
        self.is_markdown = format == "markdown"
        self.format = "table" if self.is_wide or self.is_pretty or self.is_markdown else format
        self.columns: Sequence[str] | None = None
        self.news: NewRows | None = None
        self.on_shortened: Callable[[Sequence[str]], None] = lambda ids: None

    @property
    def is_json(self) -> bool:
        """Whether it prints whole objects: as JSON, or as YAML with the same data."""
        return self.format in ("json", "jsonl", "yaml")

    @property
    def is_drawn(self) -> bool:
        return self.format == "table" and not self.is_markdown and (self.screen.is_terminal or self.is_pretty)

    @property
    def indent(self) -> int | None:
        return 2 if self.screen.is_terminal else None

    def record(self, fields: "Fields", *, data: dict[str, Any] | None = None, id: str = "") -> None:
        """Print one object: as JSON (`data` or the fields), a table, or its id.

        A field that is a list has a line for each value.
        """
        match self.format:
            case "json":
                text = self.document(fields if data is None else data) + "\n"
            case "jsonl":
                text = self.line(fields if data is None else data)
            case "yaml":
                from qoder_cli.output.yamltext import document

                text = document(fields if data is None else data)
            case "id":
                text = inert(id) + "\n"
            case _:
                text = self._sheet(present(fields))
        self.screen.write(text)

    def records(
        self,
        rows: "Sequence[Fields]",
        *,
        data: Sequence[dict[str, Any]] | None = None,
        id: str,
        first: Sequence[str] | None = None,
    ) -> None:
        """Print a list: as JSON (`data` or the rows), a table, or the `id`s."""
        with Rows(self, fields=itemgetter(0), data=itemgetter(1), id=id, first=first) as printed:
            printed.show(list(zip(rows, rows if data is None else data, strict=True)))

    def content(self, content: bytes) -> None:
        """Print a file's bytes as they are; on a terminal, made harmless."""
        if self.screen.is_terminal:
            shown = inert_lines(content.decode("utf-8", "replace"))
            self.screen.write_exactly(shown if shown.endswith("\n") else shown + "\n")
        else:
            self.screen.write_exactly(content)

    def document(self, value: Any) -> str:
        """Return a JSON document, indented on a terminal, without a last newline."""
        return jsontext.dump(value, indent=self.indent, ascii_only=self._ascii_only)

    def line(self, value: Any) -> str:
        return jsontext.dump(value, ascii_only=self._ascii_only) + "\n"

    def footer(self, values: Iterable[Any], *more: str) -> str:
        """Return the faint lines below a drawing: more, and its times' zone. They break between notes, or at words."""
        from qoder_cli.output.cells import has_time
        from qoder_cli.output.grid import columns, wrapped

        zone = [f"times are local ({local_zone_name()})"] if any(map(has_time, values)) else []
        lines: list[str] = []
        for note in [*zone, *more]:
            pieces = wrapped(note, terminal_width())
            if lines and columns(joined := f"{lines[-1]} · {note}") <= terminal_width():
                lines[-1], pieces = joined, []
            lines += pieces
        return "".join(self.screen.styled(line, "dim") + "\n" for line in lines)

    @property
    def _ascii_only(self) -> bool:
        return sys.platform == "win32" and not self.screen.is_terminal  # another code page

    def _sheet(self, fields: "Fields") -> str:
        from qoder_cli.output.cells import Beside, plain

        lines = [
            (key, value)
            for key, values in fields.items()
            for value in (values if isinstance(values, list) else [values])
        ]
        if self.is_markdown:
            from qoder_cli.output import markdown

            rows = [markdown.row([key.replace("_", " "), plain(value)]) for key, value in lines]
            return markdown.header(["field", "value"]) + "".join(rows)
        if not self.is_drawn:
            return "".join(f"{key}\t{plain(value)}\n" for key, value in lines)
        lines = [(key, value) for key, value in lines if not isinstance(value, Beside)]
        return self._drawn_sheet(lines) + self.footer(value for _, value in lines)

    def _drawn_sheet(self, lines: Sequence[tuple[str, Any]]) -> str:
        from qoder_cli.output.cells import cell
        from qoder_cli.output.grid import columns, cut, wrapped

        names = [_LABELS.get(key, key.replace("_", " ")) for key, _ in lines]
        width = max(map(columns, names), default=0) + 2  # of their column
        drawn, before = "", ""
        for name, (_, value) in zip(names, lines, strict=True):
            shown = cell(value)
            pieces = wrapped(shown.full, terminal_width() - width)
            if len(pieces) == 1 and not shown.more:
                pieces = ["".join(self.screen.styled(text, style) for text, style in shown.pieces)]
            for piece in pieces:
                label = "" if name == before else name
                drawn += f"{self.screen.styled(cut(label, width), 'dim')}{piece}".rstrip() + "\n"
                before = name
        return drawn


def present(fields: "Fields") -> "Fields":
    """Return the fields that have a value."""
    return {key: value for key, value in fields.items() if value is not None and value != []}


@dataclass(eq=False, repr=False)
class Rows(Generic[T]):
    """A list printed batch by batch, in constant memory, in a `with` block.

    JSON is one array, begun with the first batch, at the latest at the end, and closed if
    the block ends well; an error leaves it open. YAML is a list, an item for each. In a pipe a table is tab-separated,
    without header; an absent field is `-`. On a terminal the first batch fixes the columns.

    `fields` and `data` make an item's table row and JSON; `id` is the field for format id;
    `first` are the fields in the order they get room; `remedy` says what shows the rest. Those that `may_go` go
    for room where they are the same in every row, and are said below: where they are no longer, the table starts again.
    """

    output: Output
    _: KW_ONLY
    fields: "Callable[[T], Fields]"
    data: Callable[[T], dict[str, Any]]
    id: str = "id"
    first: Sequence[str] | None = None
    remedy: str = WIDE_SHOWS_ALL
    may_go: Collection[str] = ()
    _begun: bool = False
    _table: "_DrawnTable | None" = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *rest: object) -> None:
        if failure is not None:
            return
        end = ""
        if self.output.format == "json":
            before = "\n" if self._begun and self.output.indent else ""
            end = ("" if self._begun else "[") + before + "]\n"
        elif self.output.format == "yaml":
            end = "" if self._begun else "[]\n"
        elif self._table is not None:
            end = self._table.end(self.remedy)
        if end:
            self.output.screen.write(end)

    def show(self, batch: Sequence[T]) -> None:
        if batch and (text := self._text(batch)):
            self.output.screen.write(text)
            self._begun = True
            if self._table is not None and (shortened := self._table.take_shortened()):
                self.output.on_shortened(shortened)

    def _text(self, batch: Sequence[T]) -> str:
        from qoder_cli.output.cells import plain

        match self.output.format:
            case "json":
                array = self.output.document([self.data(item) for item in batch])
                return ("," if self._begun else "[") + array[1:].removesuffix("]").removesuffix("\n")
            case "yaml":
                from qoder_cli.output import yamltext

                return "".join([yamltext.item(self.data(item)) for item in batch])
            case "jsonl":
                lines = [self.output.line(self.data(item)) for item in batch]
            case "id":
                ids = (self.fields(item).get(self.id) for item in batch)
                lines = [plain(each) + "\n" if each else "" for each in ids]
            case _ if self.output.is_drawn:
                rows = [self._row(item) for item in batch if self._is_news(item)]
                if not rows:
                    return ""
                if self._table is None:
                    self._table = _DrawnTable(self.output, self.first, self.may_go)
                return self._table.drawn(rows)
            case _ if self.output.is_markdown:
                from qoder_cli.output import markdown

                lines = [markdown.row([*map(plain, self._row(item).values())]) for item in batch]
                if not self._begun:
                    lines[0] = markdown.header([*self._row(batch[0])]) + lines[0]
            case _:
                lines = ["\t".join(map(plain, self._row(item).values())) + "\n" for item in batch]
        if self.output.news is not None:
            lines = [line for item, line in zip(batch, lines, strict=True) if self._is_news(item, line)]
        return "".join(lines)

    def _row(self, item: T) -> "Fields":
        row = self.fields(item)
        if self.output.columns is None:
            return row
        return {name: row.get(name) for name in self.output.columns}

    def _is_news(self, item: T, line: str = "") -> bool:
        if self.output.news is None:
            return True
        return self.output.news.is_new(str(self.fields(item).get(self.id)), self.data(item), line)


class _DrawnTable:
    """A list as a terminal shows it: a grid, and another where the rows to come do not fit into it."""

    def __init__(self, output: Output, first: Sequence[str] | None, may_go: Collection[str]) -> None:
        self._output = output
        self._first = output.columns or first
        if output.is_wide:
            self._first = None
        # What was chosen is shown, even if it says the same in every row.
        self._may_go = () if output.columns else may_go
        self._grid: Grid | None = None
        self._all_rows = "every row"
        self._times: list[Any] = []  # one of those shown, if any

    def drawn(self, rows: "Sequence[Fields]") -> str:
        """Return more rows, with a header where a grid begins."""
        from qoder_cli.output.cells import cell, has_time
        from qoder_cli.output.grid import Grid

        cells = [[cell(value) for value in row.values()] for row in rows]
        header = ""
        if self._grid is not None and not self._grid.goes_on(cells):
            self._all_rows = "these rows"
            header = self._output.footer((), *self._grid.same(self._all_rows))
            self._grid = None
        if self._grid is None:
            width, styled = terminal_width(), self._output.screen.styled
            self._grid = Grid(list(rows[0]), cells, width=width, first=self._first, styled=styled, may_go=self._may_go)
            header += self._grid.header()
        visible = [value for row in rows for value in self._grid.visible(list(row.values()))]
        self._times = self._times or list(filter(has_time, visible))[:1]
        return header + "".join(map(self._grid.row, cells))

    def take_shortened(self) -> list[str]:
        """Return the ids of which only a part was shown since this was asked."""
        assert self._grid is not None  # asked only once rows are drawn
        shortened = list(dict.fromkeys(self._grid.shortened))
        self._grid.shortened.clear()
        return shortened

    def end(self, remedy: str) -> str:
        """Return what stands below the rows."""
        assert self._grid is not None
        return self._output.footer(self._times, *self._grid.same(self._all_rows), *self._grid.left_out(remedy))
