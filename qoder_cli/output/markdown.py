"""Text for a comment or a message in GitHub's Markdown: nothing that comes from elsewhere can be markup in it."""

import re
from collections.abc import Sequence

from qoder_cli.output.screen import inert

# Words of letters and digits, in which no mark means anything. Whatever else it is stands in a code span, where GitHub
# makes no link, mention or HTML of it.
_HARMLESS = re.compile(r"[A-Za-z0-9]+(?:[ .:-][A-Za-z0-9]+)*")


def cell(text: str) -> str:
    """Return a text as it can stand in a row of a table."""
    shown = inert(text)
    if not shown or (_HARMLESS.fullmatch(shown) and "www." not in shown):
        return shown
    ticks = "`" * (_longest_ticks(shown) + 1)
    room = " " if {shown[0], shown[-1]} & {"`", " "} else ""
    return f"{ticks}{room}{shown}{room}{ticks}".replace("|", "\\|")  # the table comes before the code


def row(cells: Sequence[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(map(cell, cells))} |\n"


def header(names: Sequence[str]) -> str:
    """Return the first two lines of a table."""
    return row([name.replace("_", " ") for name in names]) + "|" + " --- |" * len(names) + "\n"


def block(text: str, language: str = "") -> str:
    """Return lines as a block of code, whatever is in them."""
    fence = "`" * max(3, _longest_ticks(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}\n"


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
