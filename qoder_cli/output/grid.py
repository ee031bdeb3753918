"""A table on a terminal, drawn row by row: its first rows fix which columns there are and how wide."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from qoder_cli.output.cells import Cell

GAP = "  "
_SHORTEST_WORDS = 16  # what a text that may be cut gets at least, before it is given what is left over
_LONGEST_LIST = 40  # characters
_ELLIPSIS = "…"

Styled = Callable[[str, str], str]  # text and a style's name -> text that has the style, where there is colour


@dataclass
class _Column:
    """A column: its header, how wide its values are, and how wide it is; all in columns of the terminal."""

    header: str
    wanted: int
    width: int

    @classmethod
    def of(cls, name: str, cells: Sequence[Cell], *, shortest: int) -> "_Column":
        """Return a column for the cells, no wider than `shortest` where they may be cut."""
        from rich.cells import cell_len

        header = name.replace("_", " ")
        wanted = max(map(cell_len, [header, *(cell.text for cell in cells)]))
        return cls(header, wanted, min(wanted, shortest) if any(cell.may_be_cut for cell in cells) else wanted)


class Grid:
    """The columns of a table.

    `first` names them in the order in which they are given room; without it all are shown, however wide the terminal. A
    value is cut only if it says that it may be; a whole one that is wider than its column moves the rest of its line.
    """

    def __init__(
        self,
        names: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        *,
        width: int,
        first: Sequence[str] | None,
        styled: Styled,
    ) -> None:
        shortest = max(_SHORTEST_WORDS, width // 6) if first else width
        self._styled = styled
        self._columns = [_Column.of(name, cells, shortest=shortest) for name, *cells in zip(names, *rows, strict=True)]
        order = range(len(names)) if first is None else [names.index(name) for name in first]
        self._shown = sorted(order if first is None else self._fitting(order, width))
        self._widen(width)

    def header(self) -> str:
        """Return the line of the columns' names."""
        return self._line([Cell(((column.header, "bold"),)) for column in self._columns])

    def row(self, cells: Sequence[Cell]) -> str:
        """Return the line of one row."""
        return self._line(cells)

    def no_room_for(self) -> list[str]:
        """Return what to say of the columns that are not shown: their names, or how many if those are long."""
        hidden = [column.header for n, column in enumerate(self._columns) if n not in self._shown]
        names = ", ".join(hidden)
        short = names if len(names) <= _LONGEST_LIST else f"{len(hidden)} more columns"
        return [f"no room for {short}"] if hidden else []

    def _fitting(self, order: Iterable[int], width: int) -> list[int]:
        """Return the columns for which there is room; the first in the order always has it."""
        chosen: list[int] = []
        for n in order:
            if not chosen or self._width_of([*chosen, n]) <= width:
                chosen.append(n)
        return chosen

    def _widen(self, width: int) -> None:
        """Give the room that is left over to the columns that were to be cut."""
        room = width - self._width_of(self._shown)
        for column in (self._columns[n] for n in self._shown):
            more = max(0, min(room, column.wanted - column.width))
            column.width += more
            room -= more

    def _width_of(self, chosen: Sequence[int]) -> int:
        return sum(self._columns[n].width for n in chosen) + len(GAP) * (len(chosen) - 1)

    def _line(self, cells: Sequence[Cell]) -> str:
        return GAP.join(self._drawn(cells[n], self._columns[n].width) for n in self._shown).rstrip(" ") + "\n"

    def _drawn(self, cell: Cell, width: int) -> str:
        from rich.cells import cell_len, set_cell_size

        length = cell_len(cell.text)
        if length > width and cell.may_be_cut:
            return set_cell_size(cell.text, width - 1) + _ELLIPSIS
        return "".join(self._styled(text, style) if style else text for text, style in cell.pieces) + " " * (
            width - length
        )
