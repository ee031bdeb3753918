"""Fit text into a terminal's columns (a character may take two); draw tables."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import pairwise, takewhile
from typing import TypeVar

from qoder_cli.base.words import shortened
from qoder_cli.output.cells import ABSENT, Cell

T = TypeVar("T")

ELLIPSIS = "…"
GAP = "  "
_SHORTEST_ID = 13  # columns: the kind, seven characters and the ellipsis
_LONGEST_SHORT_ID = 20  # columns
_LEGIBLE_WORDS = 28  # columns, in which the type of an error stands
_SHORTEST_WORDS = 8  # columns, if even the least has no room
_LONGEST_SAME = 200  # characters of what is said once for all rows

Styled = Callable[[str, str], str]  # text, style name or "" -> styled text


def columns(text: str) -> int:
    """Return how many columns a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """Return a text in exactly `width` columns: padded, or cut at the end."""
    missing = width - columns(text)
    if missing >= 0:
        return text + " " * missing
    return _sized(text, width - 1) + ELLIPSIS


def cut_inside(text: str, width: int) -> str:
    """Return a text in exactly `width` columns: padded, or cut in the middle."""
    if columns(text) <= width:
        return cut(text, width)
    head = _sized(text, width // 2)
    tail = _sized(text[::-1], width - width // 2 - len(ELLIPSIS))[::-1]
    return head + ELLIPSIS + tail


def wrapped(line: str, width: int) -> list[str]:
    """Return a line in pieces of the width, broken only at spaces."""
    pieces, room = [""], width
    for word in re.findall(r"\s*\S+|\s+$", line):
        length = columns(word)
        if length > room and pieces[-1]:
            word = word.lstrip()
            pieces.append("")
            length, room = columns(word), width
        pieces[-1] += word
        room -= length
    return pieces


def _sized(text: str, width: int) -> str:
    from rich.cells import set_cell_size

    return set_cell_size(text, width)


class _Column:
    """A column: the width its values want, need, and get."""

    def __init__(self, name: str, cells: Sequence[Cell]) -> None:
        self.header = name.replace("_", " ")
        self.has_words = any(cell.kind == "words" for cell in cells)
        self.wanted = max(columns(text) for text in (self.header, *(cell.text for cell in cells)))
        # An id is cut after what tells it apart, or if that is long, in the middle.
        self._apart = _apart(cell.text for cell in cells if cell.kind == "id") + len(ELLIPSIS)
        self.width = max(columns(self.header), *map(self._least, cells))

    def _least(self, cell: Cell) -> int:
        least = {"words": cell.least, "id": max(self._apart, _SHORTEST_ID), "whole": self.wanted}[cell.kind]
        if cell.kind == "id" and self._apart > _LONGEST_SHORT_ID:
            least = _SHORTEST_ID
        if cell.kind == "id":
            least += len(_version(cell.text))
        return min(columns(cell.text), least)

    def grow(self, room: int) -> int:
        more = max(min(room, self.wanted - self.width), 0)
        self.width += more
        return more

    def cut(self, cell: Cell) -> str:
        version = _version(cell.text) if cell.kind == "id" else ""
        head, width = cell.text.removesuffix(version), self.width - len(version)
        if cell.kind == "id" and self._apart > _LONGEST_SHORT_ID:
            return cut_inside(head, width) + version
        return cut(head, width) + version


def _version(id: str) -> str:
    """Return the version behind an agent's id, `@3`: nothing else says which of them a row has."""
    return "".join(id.partition("@")[1:])


def _apart(ids: Iterable[str]) -> int:
    pairs = (zip(one, other, strict=False) for one, other in pairwise(sorted(set(ids))))
    return 1 + max((sum(1 for _ in takewhile(lambda both: both[0] == both[1], pair)) for pair in pairs), default=0)


class Grid:
    """The columns of a table.

    `first` is the order in which they get room; without it all are shown whole.
    For room, of the columns `may_go` those go first that say the same in every row;
    then ids are shortened and words cut, before a column that tells rows apart goes.
    Nothing else is cut: a value wider than its column moves the rest of its line.
    """

    def __init__(
        self,
        names: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        *,
        width: int,
        first: Sequence[str] | None,
        styled: Styled,
        may_go: Collection[str] = (),
    ) -> None:
        self._styled = styled
        self._same: dict[int, Cell] = {}  # columns that went, and what they say in every row
        self._columns = [_Column(name, cells) for name, *cells in zip(names, *rows, strict=True)]
        self._shown = list(range(len(names)))
        self._has_cut = False
        self.shortened: list[str] = []  # ids
        if first is not None:
            order = [names.index(name) for name in first]
            if len(rows) > 1:
                self._drop_same(order, {names.index(name) for name in may_go}, rows, width)
            self._fit([n for n in order if n not in self._same], width)
        else:
            for column in self._columns:
                column.width = column.wanted

    def header(self) -> str:
        return self.row([Cell(((column.header, "bold"),)) for column in self._columns])

    def row(self, cells: Sequence[Cell]) -> str:
        drawn = []
        for column, cell in ((self._columns[n], cells[n]) for n in self._shown):
            length = columns(cell.text)
            may_be_cut = cell.kind == "words" or (cell.kind == "id" and column.width < column.wanted)
            if length > column.width and may_be_cut:
                self._has_cut = True
                if cell.kind == "id":
                    self.shortened.append(cell.text)
                drawn.append(column.cut(cell))
            else:
                styled = "".join(self._styled(text, style) for text, style in cell.pieces)
                drawn.append(styled + " " * (column.width - length))
        return GAP.join(drawn).rstrip(" ") + "\n"

    def left_out(self, remedy: str) -> list[str]:
        """Return the notes on hidden columns and on what was cut."""
        hidden = [
            column.header for n, column in enumerate(self._columns) if n not in self._shown and n not in self._same
        ]
        notes = [f"hidden: {', '.join(hidden)}"] if hidden else []
        if hidden or self._has_cut:
            return [*notes, remedy]
        return []

    def visible(self, cells: Sequence[T]) -> list[T]:
        """Return those of a row's cells that are shown, or said below for all rows."""
        return [cell for n, cell in enumerate(cells) if n in self._shown or n in self._same]

    def goes_on(self, rows: Sequence[Sequence[Cell]]) -> bool:
        """Return whether columns that went say in more rows what they said."""
        return all(cells[n] == cell for cells in rows for n, cell in self._same.items())

    def same(self, rows: str) -> list[str]:
        """Return what was left out because it says the same in all `rows`; empty if it said nothing."""
        texts = [
            f"{self._columns[n].header} {shortened(cell.full, _LONGEST_SAME)}"
            for n, cell in sorted(self._same.items())
            if cell.text != ABSENT
        ]
        if texts:
            return [f"{', '.join(texts)} in {rows}"]
        return []

    def _drop_same(
        self, order: Sequence[int], may_go: Collection[int], rows: Sequence[Sequence[Cell]], width: int
    ) -> None:
        """Leave out what tells no row from another, the least important first, until all the rest fits whole."""
        wanted = sum(self._columns[n].wanted + len(GAP) for n in order) - len(GAP)
        for n in reversed(order[1:]):
            if wanted <= width:
                return
            first = rows[0][n]
            if n in may_go and not first.measured and all(cells[n] == first for cells in rows):
                self._same[n] = first
                wanted -= self._columns[n].wanted + len(GAP)

    def _fit(self, order: Sequence[int], width: int) -> None:
        """Choose the columns that fit; the first always does. Words get what is left.

        The last column of words, which says why, shows its beginning before others are whole.
        """
        chosen, room = [order[0]], width - self._columns[order[0]].width
        for n in order[1:]:
            column, left = self._columns[n], room - len(GAP)
            if column.has_words and left >= max(_SHORTEST_WORDS, columns(column.header)):
                column.width = min(column.width, left)
            if column.width > left:
                break
            chosen.append(n)
            room = left - column.width
        self._shown = sorted(chosen)
        columns_shown = [self._columns[n] for n in self._shown]
        words = [column for column in columns_shown if column.has_words]
        for column in words[-1:]:
            room -= column.grow(min(room, _LEGIBLE_WORDS - column.width))
        for column in words:
            room -= column.grow(room)
        for column in columns_shown:
            if column.wanted - column.width <= room:  # half an id is no better than a short one
                room -= column.grow(room)
