"""The label before each line where several things speak."""

from collections.abc import Iterable

from qoder_cli.output.fit import columns, cut_inside
from qoder_cli.output.screen import Screen, inert, terminal_width

WIDEST = 24  # columns of a label on a terminal, and no more than a quarter of it
_BAR = " | "


class Margin:
    """Puts `label | ` before lines; nothing when there are no `labels`, which are all that will ever be used.

    On a terminal labels have equal room, and long ones are cut in the middle, for names and ids differ at their ends;
    elsewhere they are whole, so that they can be searched for. `room` is the width left for the lines, None: any.
    """

    def __init__(self, screen: Screen, labels: Iterable[str]) -> None:
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
        shown = self._labels.get(label) or inert(label)
        if self._screen.is_terminal:
            shown = cut_inside(shown, self._width)
        before = self._screen.styled(shown + _BAR, "dim")
        return "".join(f"{before}{line}\n" for line in lines.removesuffix("\n").split("\n"))
