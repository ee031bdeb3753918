"""Which columns of a table are shown, and how wide: rich draws them, but cannot know what is a name and what an id.

A name is cut last, and never to less than 24 columns while another column has more than it needs. Ids are what shrinks:
to what tells them apart.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from rich.text import Text

Kind = Literal["whole", "words", "name", "id"]
_KINDS: Sequence[Kind] = ("name", "id", "words")  # of a column with cells of several kinds: the first

ELLIPSIS = "…"
GAP = 2  # columns between two columns
LEAST_NAME = 24  # columns
_LEGIBLE_NAME = 32  # columns that a name gets before columns that matter less are shown
_LEGIBLE_WORDS = 18  # the same of words: the type of an error stands in them
_SHORTEST = 8  # columns of a name where even the least has no room
_SHORTEST_ID = 13  # columns: the kind, seven characters and the ellipsis
_WORDS = re.compile(r"\s*\S+|\s+$")


class Cell(NamedTuple):
    """What a terminal shows of a value. Words may be cut to `least` columns; `more` is shown where there is room.

    What is measured, a time, tells rows apart, also where some happen to show the same.
    """

    text: "Text"
    kind: Kind = "whole"
    least: int = 0
    more: str = ""
    is_measured: bool = False


def columns(text: str) -> int:
    """Return how many columns a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """Return a text in exactly `width` columns: padded, or cut at the end."""
    if (missing := width - columns(text)) >= 0:
        return text + " " * missing
    from rich.cells import set_cell_size

    return set_cell_size(text, width - 1) + ELLIPSIS


def wrapped(line: str, width: int, *, words: re.Pattern[str] = _WORDS, breaks_words: bool = False) -> list[str]:
    """Return a line in pieces of the width, broken at spaces; within a word only if it `breaks_words`.

    `words` finds each word with the spaces before it.
    """
    pieces, room = [""], width
    for word in words.findall(line):
        if columns(word) > room and pieces[-1]:
            word, room = word.lstrip(), width
            pieces.append("")
        while breaks_words and columns(word) > room:
            fitting = next((n for n in range(room, 0, -1) if columns(word[:n]) <= room), 1)
            pieces[-1] += word[:fitting]
            word, room = word[fitting:], width
            pieces.append("")
        pieces[-1] += word
        room -= columns(word)
    return pieces


@dataclass(eq=False)
class Column:
    """A column: the width that its values want, those of its kind in `full`; what is `enough` for them, the `least`
    they need, and what they get.
    """

    name: str
    kind: Kind
    wanted: int
    full: int
    enough: int
    least: int
    width: int = 0

    @property
    def label(self) -> str:
        return self.name.replace("_", " ")

    @classmethod
    def of(cls, name: str, cells: Sequence[Cell], *, header: str | None = None) -> "Column":
        """Return a column of these cells, below its name or this header."""
        kinds = {cell.kind for cell in cells}
        kind: Kind = next((kind for kind in _KINDS if kind in kinds), "whole")
        above = columns(name if header is None else header)
        ids = sorted({cell.text.plain for cell in cells if cell.kind == "id"})
        pairs = (zip(one, other, strict=False) for one, other in pairwise(ids))
        same = (sum(1 for _ in takewhile(lambda both: both[0] == both[1], pair)) for pair in pairs)
        apart = max(same, default=0) + 1 + len(ELLIPSIS)  # characters that tell the ids apart
        sizes = [_sizes(cell, apart) for cell in cells]
        wanted, enough, least = (max([above, *size]) for size in zip(*sizes, strict=True))
        full = max([above, *(cell.text.cell_len for cell in cells if cell.kind == kind)])
        return cls(name, kind, wanted, full, enough, least)

    def grow(self, to: int, room: int) -> int:
        """Grow to a width, as far as it is wanted and there is room. Return how much it grew."""
        more = max(min(room, min(to, self.wanted) - self.width), 0)
        self.width += more
        return more

    def cuts(self, cell: Cell) -> bool:
        """Return whether a cell is cut here; one that is whole goes on below."""
        return cell.kind != "whole" and cell.text.cell_len > self.width

    def fitted(self, cell: Cell) -> "Text":
        """Return what is drawn of a cell: of an agent's id that is cut, the version, too."""
        version = _version(cell.text.plain) if cell.kind == "id" and self.cuts(cell) else ""
        if not version:
            return cell.text
        from rich.text import Text

        return Text(cut(cell.text.plain.removesuffix(version), self.width - len(version)) + version)


def _sizes(cell: Cell, apart: int) -> tuple[int, int, int]:
    """Return the columns that a cell wants, those that are enough, and those that it needs."""
    wanted = cell.text.cell_len
    match cell.kind:
        case "name":
            enough, least = _LEGIBLE_NAME, LEAST_NAME
        case "words":
            enough, least = _LEGIBLE_WORDS, cell.least
        case "id":
            enough = least = max(apart, _SHORTEST_ID) + len(_version(cell.text.plain))
        case _:
            enough = least = wanted
    return wanted, min(wanted, enough), min(wanted, least)


def _version(id: str) -> str:
    """Return the version behind an agent's id, `@3`: nothing else says which of them a row has."""
    return "".join(id.partition("@")[1:])


def without_same(
    table: Sequence[Column], rows: Sequence[Mapping[str, Cell]], width: int, *, may_go: Collection[str]
) -> dict[Column, Cell]:
    """Return the columns that tell no row from another, the least important first, until all the rest fits whole.

    Each comes with what it says in every row.
    """
    wanted, same = sum(column.wanted + GAP for column in table) - GAP, dict[Column, Cell]()
    for column in reversed(table):
        if wanted <= width or len(rows) < 2 or len(same) == len(table) - 1:
            break
        said = rows[0][column.name]
        if column.name in may_go and not said.is_measured and all(row[column.name].text == said.text for row in rows):
            same[column] = said
            wanted -= column.wanted + GAP
    return same


def fit(table: Sequence[Column], width: int, *, key: str | None = None) -> list[Column]:
    """Return the columns that fit, with their widths, in the order given: that in which they matter.

    The first two and the id that is the `key` of a row come before the rest.
    """
    first = [*table[:2], *(column for column in table[2:] if column.name == key and column.kind == "id")]
    while not _fits(first, width):
        first.pop()
    room = width + GAP - sum(column.width + GAP for column in first)
    for column in first:  # what is to be read first gets half of the room
        room -= column.grow(width // 2 if column.kind == "words" else column.enough, room)
    shown = [*first]
    for column in table:
        if column not in first:
            column.width = next((size for size in (column.enough, column.least) if size + GAP <= room), 0)
            if not column.width:
                break
            shown.append(column)
            room -= column.width + GAP
    for kind in ("name", "words"):
        for column in shown:
            room -= column.grow(column.full if column.kind == kind else 0, room)
    for column in shown:
        if column.wanted - column.width <= room:  # half an id is no better than a short one
            room -= column.grow(column.wanted, room)
    return [column for column in table if column in shown]


def _fits(first: Sequence[Column], width: int) -> bool:
    """Give columns the least they need; if there is no other way, a name less. Return whether they fit now."""
    for column in first:
        column.width = column.least
    lacking = sum(column.width + GAP for column in first) - GAP - width
    for kind in ("name", "whole") if len(first) < 3 else ("name",):  # what is whole goes on below
        for column in first:
            less = max(min(lacking, column.width - _SHORTEST), 0) if column.kind == kind else 0
            column.width -= less
            lacking -= less
    if len(first) == 1:
        first[0].width = min(first[0].width, width)  # its values go on below
        return True
    return lacking <= 0
