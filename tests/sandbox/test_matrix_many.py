"""A sample of the fault matrix with fifty deployments at once; `python -m tests.matrix_many` runs all of it."""

from pathlib import Path

import pytest

from tests.matrix_many import Cell, HostileCell, play, play_hostile
from tests.support.hostile import Server

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


HOSTILE = (
    HostileCell(Server(answer="500", date=2.0), "resend"),
    HostileCell(Server("legacy", answer="500", created="null"), "adopt"),
    HostileCell(Server(answer="404 html", order="oldest"), "adopt"),
    HostileCell(Server(script="idle at first", telling="newest first"), "adopt"),
    HostileCell(Server(script="completes, chats on, fails", telling="shuffled"), "adopt"),
    HostileCell(Server(answer="kept", acts=None), "adopt"),
    HostileCell(Server("legacy", answer="404 html", created="1970"), "adopt"),
    HostileCell(Server("legacy", answer="500", foreign="instead"), "adopt"),
    HostileCell(Server(script="asks, and goes on", session="moves, failed"), "adopt"),
)


@pytest.mark.parametrize("cell", HOSTILE, ids=str)
def test_of_fifty_on_a_bad_server_none_is_started_twice_or_lost_or_lied_about(
    cell: HostileCell, tmp_path: Path
) -> None:
    outcome = play_hostile(cell, tmp_path)
    assert (outcome.twice, outcome.lost, outcome.lied) == ([], [], [])
    assert sum(outcome.codes.values()) == 50
