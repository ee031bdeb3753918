"""The live table of a wait for many runs: the worst if not all fit, and totals."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.base.times import span
from qoder_cli.output.cells import COLOURS
from qoder_cli.output.grid import columns, cut_inside
from qoder_cli.output.screen import commandless, inert

if TYPE_CHECKING:
    from rich.text import Text

LONGEST_LABEL = 40  # columns, beside which a run's id is shown
LONGEST_STATUS = 20  # columns
_GAP = 2  # columns
_UNCOLOURED = frozenset({"pending", "running", "to start", "not started"})
# The last are shown first, and before them any other word: it went wrong.
_WORST_LAST = ("completed", "not started", "to start", "pending", "running", "skipped")


class Line(NamedTuple):
    """One row: what was typed, its run, a word for its status, and its seconds."""

    label: str
    run_id: str | None
    status: str
    seconds: float | None


def board(lines: Sequence[Line], *, height: int, width: int) -> list["Text"]:
    """Return the table, `height` lines at most.

    Status and time are always shown. If narrow, the ids go first, then labels are cut.
    """
    from rich.text import Text

    rank = {word: -number for number, word in enumerate(_WORST_LAST)}
    shown = lines[:]
    if len(lines) > (room := max(height - 1, 1)):
        worst = sorted(lines, key=lambda line: (rank.get(line.status, -len(rank)), -(line.seconds or 0.0)))
        shown = worst[:room]
    counts = Counter(line.status for line in lines)
    totals = [Text(f"{count} {inert(word)}", style=_style(word)) for word, count in counts.most_common()]
    if hidden := len(lines) - len(shown):
        totals.append(Text(f"{hidden} not shown", style="dim"))
    return [*_rows(shown, width), Text(" · ", no_wrap=True, overflow="ellipsis").join(totals)]


def _rows(lines: Sequence[Line], width: int) -> Iterator["Text"]:
    from rich.text import Text

    # Made harmless here, not when written: a row must not outgrow the terminal.
    labels, statuses = [commandless(inert(line.label)) for line in lines], [inert(line.status) for line in lines]
    lasted = ["" if line.seconds is None else span(line.seconds) for line in lines]
    ids = ["" if line.run_id in (None, line.label) else inert(str(line.run_id)) for line in lines]
    of_status, of_time, of_id = min(_widest(statuses), LONGEST_STATUS), _widest(lasted), _widest(ids)
    left = max(width - of_status - of_time - 2 * _GAP, 1)  # for the label
    has_ids = of_id > 0 and min(_widest(labels), LONGEST_LABEL) + _GAP + of_id <= left
    of_label = min(_widest(labels), left - _GAP - of_id if has_ids else left)
    for line, label, status, time, id in zip(lines, labels, statuses, lasted, ids, strict=True):
        row = Text(no_wrap=True, overflow="crop").append(cut_inside(label, of_label)).append(" " * _GAP)
        row.append(cut_inside(status, of_status), _style(line.status)).append(" " * _GAP).append(time.rjust(of_time))
        yield row.append(" " * _GAP + id, "dim") if has_ids else row


def _widest(texts: Iterable[str]) -> int:
    return max(map(columns, texts), default=0)


def _style(status: str) -> str:
    return "" if status in _UNCOLOURED else COLOURS.get(status, "red")
