"""A sample of the fault matrix with fifty deployments at once; `python -m tests.matrix_many` runs all of it."""

from pathlib import Path

import pytest

from tests.matrix_many import Cell, play

SAMPLE = (
    Cell(("trigger:drop-after",), "current", False, "all", "adopt"),
    Cell(("trigger:late=3",), "legacy", False, "third", "adopt"),
    Cell(("trigger:503*2",), "current", False, "third", "resend"),
    Cell(("trigger:act-503-bare",), "legacy", False, "all", "resend"),
    Cell(("trigger:429=2",), "current", True, "third", "adopt"),
    Cell(("trigger:hang-after", "any:half-written=3"), "legacy", False, "third", "adopt"),
    Cell(("trigger:drop-before",), "current", True, "third", "adopt"),
    Cell(("trigger:drop-after", "trigger:stranger"), "legacy", False, "third", "adopt"),
    Cell(("session:garbage*5",), "current", True, "all", "adopt"),
)
UNKNOWN = {"trigger:drop-before": 17, "trigger:drop-after + trigger:stranger": 17}


@pytest.mark.parametrize("cell", SAMPLE, ids=str)
def test_of_fifty_at_once_none_is_started_twice_or_lost_or_lied_about(cell: Cell, tmp_path: Path) -> None:
    outcome = play(cell, tmp_path)
    assert (outcome.twice, outcome.lost, outcome.lied) == ([], [], [])
    assert outcome.unknown == UNKNOWN.get(" + ".join(cell.faults), 0)
    assert sum(outcome.codes.values()) == 50
