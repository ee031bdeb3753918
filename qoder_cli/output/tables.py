"""Tables and records on a terminal, drawn by rich. The door to it: imported only where something is drawn."""

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich.bar import Bar
from rich.console import Console, OverflowMethod, RenderableType
from rich.table import Table
from rich.text import Text

from qoder_cli.base.times import coarse, local_time, local_zone_name, parse_timestamp, span
from qoder_cli.base.words import shortened
from qoder_cli.output.cells import (
    ABSENT,
    WAITS,
    Beside,
    Durations,
    Fields,
    Id,
    Milliseconds,
    Moment,
    Name,
    NamedId,
    Outcomes,
    Share,
    Status,
    Words,
    plain,
)
from qoder_cli.output.layout import GAP, Cell, Column, fit, without_same
from qoder_cli.output.screen import Screen, commandless, inert, terminal_width

_COLOURS = {"completed": "green", "active": "green", "failed": "red", "skipped": "yellow", "paused": "yellow"}
_SIGNS = {"completed": "✓", "failed": "✗", "skipped": "–", "running": "…", "pending": "…"}
_BARS = "▁▂▃▄▅▆▇█"
_WIDEST_BAR = 20  # columns
# Names of fields on a terminal, if not their keys.
_LABELS = {"usual_duration": "median duration", "schedule_words": "runs", "first_message": "prompt"}


def drawn(screen: Screen, picture: RenderableType, width: int) -> str:
    """Return the lines of a picture, for which nothing is taken from the environment, and no text for markup."""
    lines_drawn = io.StringIO()
    console = Console(
        file=lines_drawn,
        width=width,
        force_terminal=screen.color,
        color_system="standard" if screen.color else None,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        _environ={},
    )
    console.print(picture)
    lines = lines_drawn.getvalue().split("\n")[:-1]
    return "".join(line.rstrip(" ") + "\n" for line in lines)


def cell(value: Any) -> Cell:
    """Return a value as a cell."""
    match value:
        case Id(text):
            return Cell(_text(text), "id")
        case Name(text):
            return Cell(_text(text), "name")
        case NamedId(text, name):
            return Cell(_text(name), "name", more=inert(text))
        case Words(text, least):
            return Cell(_text(text), "words", least)
        case Moment(text, None, zone):
            return Cell(_text(local_time(text)).append(_elsewhere(text, zone), "dim"), is_measured=True)
        case Moment(text, now) if now is not None:
            return Cell(_text(_ago(text, now)), is_measured=True)
        case Milliseconds(milliseconds):
            return Cell(_text(span(milliseconds / 1000)), is_measured=True)
        case Status(word):
            return Cell(_text(word, colour(word)), is_measured=word.startswith(WAITS))
        case Outcomes(words):
            signs = [("?", "") if word is None else (_SIGNS.get(word, "!"), colour(word)) for word in words]
            return Cell(Text.assemble(*signs, ("  (newest →)", "dim")))
        case Durations(milliseconds) if lasted := [duration for duration in milliseconds if duration is not None]:
            step = max(*lasted, 1) / len(_BARS)  # the longest is full
            bars = (
                " " if duration is None else _BARS[min(int(duration / step), len(_BARS) - 1)]
                for duration in milliseconds
            )
            return Cell(Text("".join(bars)).append(f"  up to {span(max(lasted) / 1000)}", "dim"))
        case Durations():
            return Cell(Text(ABSENT))
        case Share(share):
            return Cell(_bar(share))
        case _:
            return Cell(_text(plain(value)))


def _veiled(shown: Cell, screen: Screen) -> Cell:
    """Return a cell without secrets: once it is cut or broken, nobody would find one in it."""
    text = screen.veiled(shown.text.plain)
    return shown if text == shown.text.plain else shown._replace(text=Text(text))


def colour(status: str) -> str:
    """Return the style of a status word; empty if it has none."""
    return "yellow" if status.startswith(WAITS) else _COLOURS.get(status, "")


def _text(text: str, style: str = "") -> Text:
    # A command of a CI system is broken before it is measured, not only when it is written.
    return Text(commandless(inert(text)), style)


def _bar(share: float) -> Text:
    """Return a bar: all of it is 20 columns, and what is anything has one."""
    made = Console(file=io.StringIO(), width=_WIDEST_BAR, color_system=None, legacy_windows=False, _environ={})
    made.print(Bar(1, 0, max(share, 1 / _WIDEST_BAR if share else 0), width=_WIDEST_BAR))
    return Text(made.file.getvalue().rstrip())  # type: ignore[attr-defined]  # a StringIO


def _ago(text: str, now: float) -> str:
    moment = parse_timestamp(text)
    if moment is None:
        return text
    seconds = now - moment.timestamp()
    if seconds < -60:  # further ahead than clocks differ
        return local_time(text)
    if seconds >= 1:
        return f"{coarse(seconds)} ago"
    return "now"


def _elsewhere(text: str, zone: str | None) -> str:
    """Return the time in a zone; empty if it is local time, or no known zone."""
    if not zone:
        return ""
    from zoneinfo import ZoneInfo

    moment = parse_timestamp(text)
    try:
        there = local_time(text, zone=ZoneInfo(zone))
    except (ValueError, OSError, LookupError):  # no such zone, or no database of them
        return ""
    if moment and there != local_time(text):
        return f"  {there} {zone}"
    return ""


def has_time(values: Iterable[Any]) -> bool:
    """Return whether one of these is shown in local time."""
    return any(isinstance(value, Moment) and value.now is None for value in values)


def zone_note() -> str:
    """Return what says in which zone times are."""
    return f"times are local ({local_zone_name()})"


def footer(screen: Screen, notes: Sequence[str]) -> str:
    """Return faint lines below a drawing; they break between notes, or at words."""
    lines: list[Text] = []
    for note in map(_text, notes):
        if lines and lines[-1].cell_len + 3 + note.cell_len <= terminal_width():
            lines[-1].append(" · ").append(note)
        else:
            lines.append(note)
    return "".join(drawn(screen, Text(line.plain, "dim"), terminal_width()) for line in lines)


def record(screen: Screen, fields: Iterable[tuple[str, Any]], *, is_wide: bool) -> str:
    """Return one thing: a line for each field; where a key is there again, it is not repeated."""
    table = Table.grid(padding=(0, GAP, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    lines = [(key, value) for key, value in fields if not isinstance(value, Beside)]
    before, widest_id, widest_label = "", 0, 0
    for key, value in lines:
        shown, label = _veiled(cell(value), screen), _LABELS.get(key, key.replace("_", " "))
        text = shown.text
        if shown.more:
            text = text.append(f" ({shown.more})")
        table.add_row(Text(label if label != before else "", overflow="ellipsis"), text)
        before, widest_label = label, max(widest_label, Text(label).cell_len)
        if shown.kind == "id":
            widest_id = max(widest_id, text.cell_len)
    # An id that is broken over two lines cannot be copied: rather the terminal breaks it.
    width = max(terminal_width(), widest_label + GAP + widest_id)
    notes = [zone_note()] if is_wide and has_time(value for _, value in lines) else []
    return drawn(screen, table, width) + footer(screen, notes)


def table_of(
    shown: Sequence[Column], rows: Iterable[Mapping[str, Cell]], *, has_header: bool, is_whole: bool = False
) -> Table:
    """Return the rows as a table of these columns, which are as wide as they say; nothing is cut if it `is_whole`."""
    table = Table(box=None, show_header=has_header, header_style="bold", padding=(0, GAP, 0, 0), pad_edge=False)
    for column in shown:
        may_be_cut = column.kind != "whole" and not is_whole
        overflow: OverflowMethod = "ellipsis" if may_be_cut else "fold"
        table.add_column(Text(column.label), width=column.width, no_wrap=may_be_cut, overflow=overflow)
    for row in rows:
        table.add_row(*(row[column.name].text if is_whole else column.fitted(row[column.name]) for column in shown))
    return table


def board(rows: Sequence[Fields], width: int) -> Table:
    """Return rows without a header in so many columns; all have the same fields, what matters most first."""
    cells = [{name: cell(value) for name, value in row.items()} for row in rows]
    columns = [Column.of(name, [row[name] for row in cells], header="") for name in (rows[0] if rows else ())]
    return table_of(fit(columns, width), cells, has_header=False)


class DrawnTable:
    """A list: the first rows fix the columns. It starts again when a new row differs in a column that was left out.

    `order` has the names of the columns in the order in which they matter; if it is empty all of them are shown, whole.
    """

    def __init__(
        self, screen: Screen, order: Sequence[str], *, key: str, may_go: Collection[str], is_wide: bool = False
    ) -> None:
        self._screen = screen
        self._order = order
        self._key = key
        self._may_go = frozenset(may_go)
        self._is_wide = is_wide
        self._names: list[str] = []  # of all columns
        self._shown: list[Column] = []
        self._same: dict[Column, Cell] = {}  # columns that went, and what they say in every row
        self._all_rows = "every row"
        self._has_time = self._has_cut = False
        self.shortened: dict[str, None] = {}  # ids of which a part was shown

    def rows(self, rows: Sequence[Fields]) -> str:
        """Return more rows, below a header where it begins."""
        cells = [{name: _veiled(cell(value), self._screen) for name, value in row.items()} for row in rows]
        before, has_header = "", not self._names
        if any(row[column.name].text != said.text for row in cells for column, said in self._same.items()):
            self._all_rows, has_header = "these rows", True
            before = footer(self._screen, self._same_notes())
        if has_header:
            self._begin(cells)
        self._has_time = self._has_time or has_time(value for row in rows for value in row.values())
        if not self._is_wide:
            cut = [row[column.name] for row in cells for column in self._shown if column.cuts(row[column.name])]
            self._has_cut = self._has_cut or bool(cut)
            self.shortened |= {shown.text.plain: None for shown in cut if shown.kind == "id"}
        table = table_of(self._shown, cells, has_header=has_header, is_whole=self._is_wide)
        return before + drawn(self._screen, table, sum(column.width + GAP for column in self._shown))

    def _begin(self, rows: Sequence[dict[str, Cell]]) -> None:
        self._names = [*self._order, *(name for name in rows[0] if name not in self._order)]
        if self._is_wide and self._key in self._order:
            self._names.append(self._names.pop(self._names.index(self._key)))
        table = [Column.of(name, [row[name] for row in rows]) for name in self._names]
        self._same, self._shown = {}, table
        if self._is_wide or not self._order:
            for column in table:
                column.width = column.wanted
            return
        table = table[: len(self._order)]
        self._same = without_same(table, rows, terminal_width(), may_go=self._may_go - {self._key})
        self._shown = fit([column for column in table if column not in self._same], terminal_width(), key=self._key)

    def _same_notes(self) -> list[str]:
        """Return what was left out because it says the same in all rows, if that is more than nothing or 0."""
        said = [(self._names.index(column.name), column, cell) for column, cell in self._same.items()]
        texts = []
        for _, column, cell in sorted(said, key=lambda note: note[0]):
            full = f"{cell.text.plain} ({cell.more})" if cell.more else cell.text.plain
            if full not in (ABSENT, "0"):
                texts.append(f"{column.label} {shortened(full, 200)}")
        return [f"{', '.join(texts)} in {self._all_rows}"] if texts else []

    def end(self, remedy: str, *more: str) -> str:
        """Return what stands below the rows; `remedy` says what shows the rest."""
        seen = {column.name for column in (*self._shown, *self._same)}
        hidden = [name.replace("_", " ") for name in self._names if name and name not in seen]
        notes = [zone_note()] if self._is_wide and self._has_time else []
        notes += [*more, *self._same_notes()]
        notes += [f"hidden: {', '.join(hidden)}"] if hidden else []
        notes += [remedy] if hidden or self._has_cut else []
        return footer(self._screen, notes)
