"""The trigger protocol as real processes over real sockets: a sample of the fault matrix, and many at once."""

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("processes are forked", allow_module_level=True)

from tests.support.processes import Shell, sandbox
from tests.support.stored import entries_in
from tests.tools.matrix import Cell, first_cells, judged
from tests.tools.playing import Played
from tests.tools.typed import Said

# Without those that take more than a few seconds: three of the same in a row, and what no real server can do.
QUICK = [cell for cell in first_cells() if "refused" not in str(cell) and not cell.faults[0].endswith("*3")]
SAMPLE = random.Random(7).sample(QUICK, 20)
MANY = 16  # processes


def test_deploy_run_keeps_its_promises_as_a_real_process(tmp_path: Path) -> None:
    with ThreadPoolExecutor(len(SAMPLE)) as pool:
        played = dict(
            zip(map(str, SAMPLE), pool.map(play_for_real, SAMPLE, _folders(tmp_path, len(SAMPLE))), strict=True)
        )
    assert {cell: one.wrong for cell, one in played.items() if one.wrong} == {}
    assert {code for one in played.values() for code in one.codes} <= {0, 4, 5, 6, 7, 9, 10, 124}


def _folders(parent: Path, count: int) -> list[Path]:
    folders = [parent / str(number) for number in range(count)]
    for folder in folders:
        folder.mkdir()
    return folders


def play_for_real(cell: Cell, home: Path) -> Played:
    """Run a cell as a real process over a real socket, with less patience than users have."""
    faults = [fault.replace("=31536000", "=1").replace("=20", "=1") for fault in cell.faults]
    words = ("deploy", "run", "dep_demo", "--wait", "--json", "--timeout", "300", "--request-timeout", "2")
    with sandbox(cell.generation, *faults, speed=5, honour_key=cell.honours_key) as server:
        ended = Shell(home, server).hurry().qoder(*words)
        return judged(cell, server.world, Said(words, ended.code, ended.out, ended.err))


def test_deploy_run_in_many_processes_at_once_leaves_one_store_whole(tmp_path: Path) -> None:
    with sandbox("current", speed=20) as server:
        shell = Shell(tmp_path, server)
        going = [shell.begin("deploy", "run", "dep_demo", "-q") for _ in range(MANY)]
        answers = [each.end() for each in going]
        last = shell.qoder("run", "get", "last", "-q").out.strip()
        started = {run.id for run in server.world.started()}
    assert {answer.code for answer in answers} == {0}
    assert len(started) == MANY
    assert {answer.out.strip() for answer in answers} == started
    assert last in started
    entries = entries_in(tmp_path / "state")
    assert len(entries) == MANY
    assert {entry.run for entry in entries} == started
