"""The live table of a wait for many runs: a row each, worst first when they do not all fit, and a line of totals."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.output.cells import COLOURS
from qoder_cli.output.screen import inert
from qoder_cli.times import span

if TYPE_CHECKING:
    from rich.console import RenderableType

LONGEST_LABEL = 32  # columns
_UNCOLOURED = frozenset({"pending", "running", "to start", "not started"})
# What a person has to see first; anything that is not named here went wrong.
_WORST_LAST = ("completed", "not started", "to start", "pending", "running", "skipped")


class Line(NamedTuple):
    """One row: what was typed, its run, how it stands in a word, for how long (seconds)."""

    label: str
    run_id: str | None
    word: str
    seconds: float | None


def board(lines: Sequence[Line], *, height: int) -> "RenderableType":
    """Return the table, in so many lines at most."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=LONGEST_LABEL)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", style="dim")
    room = max(height - 1, 1)
    for line in lines if len(lines) <= room else sorted(lines, key=_badness)[:room]:
        lasted = "" if line.seconds is None else span(line.seconds)
        table.add_row(inert(line.label), Text(inert(line.word), style=_style(line.word)), lasted, line.run_id or "")
    return Group(table, _totals(lines, hidden=max(len(lines) - room, 0)))


def _badness(line: Line) -> tuple[int, float]:
    rank = _WORST_LAST.index(line.word) if line.word in _WORST_LAST else len(_WORST_LAST)
    return -rank, -(line.seconds or 0.0)


def _totals(lines: Sequence[Line], *, hidden: int) -> "RenderableType":
    from rich.text import Text

    counts = Counter(line.word for line in lines)
    parts = [Text(f"{count} {inert(word)}", style=_style(word)) for word, count in counts.most_common()]
    parts += [Text(f"{hidden} not shown", style="dim")] if hidden else []
    return Text(" · ").join(parts)


def _style(word: str) -> str:
    return COLOURS.get(word, "" if word in _UNCOLOURED else "red")
