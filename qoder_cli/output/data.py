"""Print data in the chosen format: drawn, in columns, as CSV, JSON or YAML, or as ids."""

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

from qoder_cli.base import jsontext
from qoder_cli.base.errors import UsageError
from qoder_cli.output.screen import Format, Screen, inert, inert_lines

if TYPE_CHECKING:
    from qoder_cli.output.cells import Fields
    from qoder_cli.output.tables import DrawnTable

T = TypeVar("T")

WIDE_SHOWS_ALL = "-o wide shows all"
_RUNS_IN_A_SHEET = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


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


class Sorting(NamedTuple):
    """By which column a list is sorted, and whether the largest come first. What is absent comes last."""

    column: str
    is_descending: bool


class Output:
    """Prints one object or a list; `is_wide` is a table of every column, `is_pretty` one that is drawn anywhere,
    `is_markdown` is a comment, `is_html` a page for a browser, of few commands.

    Lists have only these `columns`, if any are chosen, and may be `sorted`; `listed` are those that they have anyway.
    If they are looked at again, only the `news` are shown. `on_shortened` hears of ids of which a table shows a part.
    """

    def __init__(self, screen: Screen, format: Format) -> None:
        self.screen = screen
        self.is_wide = format == "wide"
        self.is_pretty = format == "pretty"
        self.is_markdown = format == "markdown"
        self.is_csv = format == "csv"
        self.is_html = format == "html"
        self.format = "table" if self.is_wide or self.is_pretty or self.is_markdown or self.is_csv else format
        self.columns: Sequence[str] | None = None
        self.listed: Sequence[str] = ()
        self.sorting: Sorting | None = None
        self.news: NewRows | None = None
        self.on_shortened: Callable[[Sequence[str]], None] = lambda ids: None

    @property
    def is_json(self) -> bool:
        """Whether it prints whole objects: as JSON, or as YAML with the same data."""
        return self.format in ("json", "jsonl", "yaml")

    @property
    def is_drawn(self) -> bool:
        return self.format == "table" and not self.is_csv and (self.screen.is_terminal or self.is_pretty)

    def refuse_csv(self, what: str) -> None:
        """Raise UsageError if CSV is wanted of `what`, which is no table."""
        if self.is_csv:
            raise UsageError(f"-o csv is for tables, and {what} is none", hint="use -o json or -o jsonl")

    @property
    def indent(self) -> int | None:
        return 2 if self.screen.is_terminal else None

    def record(self, fields: "Fields", *, data: Mapping[str, Any] | None = None, id: str = "") -> None:
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
            case _ if self.is_csv:
                text = csv_line(fields) + csv_line(map(_in_a_sheet, fields.values()))
            case _:
                from qoder_cli.output.cells import plain

                lists = {key: value if isinstance(value, list) else [value] for key, value in present(fields).items()}
                lines = [(key, value) for key, values in lists.items() for value in values]
                if self.is_drawn:
                    from qoder_cli.output.tables import record

                    text = record(self.screen, lines, is_wide=self.is_wide)
                else:
                    text = "".join(f"{key}\t{plain(value)}\n" for key, value in lines)
        self.screen.write(text)

    def records(
        self,
        rows: "Sequence[Fields]",
        *,
        data: Sequence[Mapping[str, Any]] | None = None,
        id: str,
        first: Sequence[str] = (),
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

    @property
    def _ascii_only(self) -> bool:
        return sys.platform == "win32" and not self.screen.is_terminal  # another code page


def present(fields: "Fields") -> "Fields":
    """Return the fields that have a value."""
    return {key: value for key, value in fields.items() if value is not None and value != []}


def in_order(items: Sequence[T], fields: "Callable[[T], Fields]", sorting: Sorting | None) -> list[T]:
    """Return the items of a list as they are sorted, if they are; `fields` are those of an item."""
    from qoder_cli.output.cells import sorting_key

    if sorting is None:
        return list(items)
    keyed = [(fields(item).get(sorting.column), item) for item in items]
    there = [(value, item) for value, item in keyed if value is not None]
    there.sort(key=lambda pair: sorting_key(pair[0]), reverse=sorting.is_descending)
    return [item for _, item in [*there, *(pair for pair in keyed if pair[0] is None)]]


def csv_line(values: Iterable[str]) -> str:
    """Return a line as RFC 4180 has it, but for its end, which is that of every other line here."""
    import csv
    import io

    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _in_a_sheet(value: Any) -> str:
    """Return a value for a spreadsheet, empty if it is absent. What a spreadsheet would run gets a `'` before it."""
    from qoder_cli.output.cells import plain, sorting_key

    if value is None:
        return ""
    text = plain(value)
    is_number = sorting_key(value)[0] == 0
    return f"'{text}" if text.startswith(_RUNS_IN_A_SHEET) and not is_number else text


@dataclass(eq=False, repr=False)
class Rows(Generic[T]):
    """A list printed batch by batch, in constant memory unless it is sorted, in a `with` block.

    JSON is one array, begun with the first batch, at the latest at the end, and closed if the block ends well; an
    error leaves it open. YAML is a list, an item for each. In a pipe a table is tab-separated, without header; an
    absent field is `-`. On a terminal the first batch fixes the columns.

    `fields` and `data` make an item's table row and JSON; `id` is the field for format id; `first` are the fields as a
    terminal shows them, what matters most first; `remedy` says what shows the rest, `note` is another line
    below. Those that `may_go` go for room where they are the same in every row, and are said below: where they are no
    longer, the table starts again.
    """

    output: Output
    _: KW_ONLY
    fields: "Callable[[T], Fields]"
    data: Callable[[T], Mapping[str, Any]]
    id: str = "id"
    first: Sequence[str] = ()
    remedy: str = WIDE_SHOWS_ALL
    note: str = ""
    may_go: Collection[str] = ()
    _begun: bool = False
    _table: "DrawnTable | None" = None
    _unsorted: list[T] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *rest: object) -> None:
        if failure is not None:
            return
        if self._unsorted:
            self._print(in_order(self._unsorted, self.fields, self.output.sorting))
        end = ""
        if self.output.format == "json":
            before = "\n" if self._begun and self.output.indent else ""
            end = ("" if self._begun else "[") + before + "]\n"
        elif self.output.format == "yaml":
            end = "" if self._begun else "[]\n"
        elif self.output.is_csv and not self._begun and (header := self.output.columns or self.output.listed):
            end = csv_line(header)
        elif self._table is not None:
            end = self._table.end(self.remedy, *filter(None, [self.note]))
        if end:
            self.output.screen.write(end)

    def show(self, batch: Sequence[T]) -> None:
        if self.output.sorting is not None:
            self._unsorted += batch
        else:
            self._print(batch)

    def _print(self, batch: Sequence[T]) -> None:
        if batch and (text := self._text(batch)):
            self.output.screen.write(text)
            self._begun = True
            if self._table is not None and self._table.shortened:
                self.output.on_shortened(list(self._table.shortened))
                self._table.shortened.clear()

    def _text(self, batch: Sequence[T]) -> str:
        from qoder_cli.output.cells import plain

        header = ""
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
                lines = [plain(id) + "\n" if id else "" for id in ids]
            case _ if self.output.is_drawn:
                rows = [self._row(item) for item in batch if self._is_news(item)]
                if not rows:
                    return ""
                if self._table is None:
                    from qoder_cli.output.tables import DrawnTable

                    output = self.output
                    # What was chosen is shown, even if it says the same in every row.
                    may_go = () if output.columns else self.may_go
                    order = output.columns or self.first
                    self._table = DrawnTable(output.screen, order, key=self.id, may_go=may_go, is_wide=output.is_wide)
                return self._table.rows(rows)
            case _ if self.output.is_csv:
                header = csv_line(self._row(batch[0]))
                lines = [csv_line(map(_in_a_sheet, self._row(item).values())) for item in batch]
            case _:
                lines = ["\t".join(map(plain, self._row(item).values())) + "\n" for item in batch]
        if self.output.news is not None:
            lines = [line for item, line in zip(batch, lines, strict=True) if self._is_news(item, line)]
        return (header if lines and not self._begun else "") + "".join(lines)

    def _row(self, item: T) -> "Fields":
        row = self.fields(item)
        if self.output.columns is None:
            return row
        return {name: row.get(name) for name in self.output.columns}

    def _is_news(self, item: T, line: str = "") -> bool:
        if self.output.news is None:
            return True
        return self.output.news.is_new(str(self.fields(item).get(self.id)), self.data(item), line)
