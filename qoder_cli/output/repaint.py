"""Text that a terminal shows in place of what it showed before."""

import re
from collections.abc import Sequence
from shutil import get_terminal_size

from qoder_cli.output.grid import columns
from qoder_cli.output.screen import Screen, commandless, terminal_width

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Repaint:
    """Paints lines over those that were painted before.

    It moves the cursor up and leaves it below, and changes nothing else: whatever ends the program leaves the terminal
    as it should be.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._widths: list[int] = []  # of the lines that are shown

    def paint(self, text: str, below: Sequence[str]) -> None:
        """Show a text, of which the end is left out if it is too long, and lines `below` it."""
        width, height = terminal_width(), get_terminal_size((80, 24)).lines
        # A terminal that was narrowed has wrapped what it shows.
        up = sum(_rows(each, width) for each in self._widths)
        room = height - 1 - sum(_rows(_width(line), width) for line in below)
        shown = [*map(commandless, (*_cut(text.splitlines(), room, width), *below))]
        self._widths = list(map(_width, shown))
        before = f"\x1b[{up}A" if up else ""
        self._screen.write_exactly(f"{before}\r" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")


def _cut(lines: list[str], room: int, width: int) -> list[str]:
    """Return the lines that fit, and how many do not."""
    rows = [_rows(_width(line), width) for line in lines]
    if sum(rows) <= room:
        return lines
    fitting = sum(sum(rows[: n + 1]) < room for n in range(len(lines)))
    return [*lines[:fitting], f"… {len(lines) - fitting} more lines"]


def _width(line: str) -> int:
    return columns(_STYLE.sub("", line))


def _rows(line_width: int, width: int) -> int:
    return max(1, -(-line_width // width))
