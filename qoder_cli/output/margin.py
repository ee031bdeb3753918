"""What stands before each line where several things speak: who it is that says it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qoder_cli.output.screen import inert, terminal_width

if TYPE_CHECKING:
    from qoder_cli.output.screen import Screen

WIDEST = 24  # columns of a label on a terminal, and no more than a quarter of it
_BAR = " | "
_ELLIPSIS = "…"


class Margin:
    """Puts `label | ` before lines; nothing when there are no `labels`, which are all that will ever be used.

    On a terminal labels have equal room, and long ones are cut in the middle, for names and ids differ at their ends;
    elsewhere they are whole, so that they can be searched for. `room` is the width left for the lines, None: any.
    """

    def __init__(self, screen: "Screen", labels: Iterable[str]) -> None:
        self._screen = screen
        self._labels = {label: inert(label) for label in labels}
        self._width = 0
        self.room: int | None = None
        if screen.is_terminal:
            self.room = terminal_width()
            if self._labels:
                widest = max(1, min(WIDEST, self.room // 4))
                self._width = min(widest, max(map(columns, self._labels.values())))
                self.room -= self._width + len(_BAR)

    def beside(self, lines: str, label: str) -> str:
        """Return lines, each ended by a newline, with the label before each."""
        if not self._labels:
            return lines
        before = self._screen.styled(self._shown(self._labels.get(label) or inert(label)) + _BAR, "dim")
        return "".join(f"{before}{line}\n" for line in lines.removesuffix("\n").split("\n"))

    def _shown(self, label: str) -> str:
        return fitted(label, self._width) if self._screen.is_terminal else label


def fitted(label: str, width: int) -> str:
    """Return a label that takes `width` columns: with spaces behind it, or with a piece of its middle left out."""
    left_out = columns(label) - width
    if left_out <= 0:
        return label + " " * -left_out
    head = _sized(label, width // 2)
    tail = _sized(label[::-1], width - width // 2 - len(_ELLIPSIS))[::-1]
    return head + _ELLIPSIS + tail


def columns(label: str) -> int:
    """Return how many columns of a terminal a text takes."""
    from rich.cells import cell_len

    return cell_len(label)


def _sized(label: str, width: int) -> str:
    from rich.cells import set_cell_size

    return set_cell_size(label, width)
