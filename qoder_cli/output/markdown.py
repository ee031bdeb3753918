"""Markdown as GitHub shows it, in which nothing that others wrote is more than a text."""

import re
from collections.abc import Iterable

from qoder_cli.output.cells import ABSENT
from qoder_cli.output.screen import inert

_PLAIN = re.compile(r"[A-Za-z0-9 .,%-]*", re.ASCII)


def harmless(text: str) -> str:
    """Return a text that names nobody, links nowhere and draws nothing."""
    return text if _PLAIN.fullmatch(text) else f"`{code(text)}`"


def code(text: str) -> str:
    """Return a text for a span of code, which ends at a backtick and does not begin or end with a space."""
    return inert(text).replace("`", "'").strip() or "-"


def header(*names: str) -> str:
    """Return the first two lines of a table."""
    return row(name.replace("_", " ") for name in names) + "|" + " --- |" * len(names) + "\n"


def row(cells: Iterable[str]) -> str:
    """Return a row of a table."""
    shown = ("" if cell == ABSENT else harmless(cell).replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(shown) + " |\n"
