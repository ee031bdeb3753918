"""A part of what the programs of `tests.tools` play; each of them plays all of it.

What is about the programs themselves, or starts many processes, is played with QODER_TEST_CELLS=all.
"""

import ast
import os
import subprocess
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from tests.support import swarm
from tests.support.cells import ALL_CELLS, MORE
from tests.support.machines import lacks_postgres
from tests.support.nursery import ENVIRONMENT, nursery
from tests.tools import keys, mutations, nights, servers, stack
from tests.tools.playing import alone, wrong

CHUNKS = 4 if ALL_CELLS else 1
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_deploy_run_breaks_no_promise_whatever_a_server_tells(chunk: int) -> None:
    every = list(servers.cells(Namespace(random=0, seed=1)))
    cells = every[:: 110 if ALL_CELLS else 1009][chunk::CHUNKS]
    played = {str(cell): alone(servers.play, cell) for cell in cells}
    assert {cell: one.wrong for cell, one in played.items() if one.wrong} == {}
    assert {0, 9} <= {code for one in played.values() for code in one.codes}


Tools = Callable[..., tuple[int, str]]
TOOL = "import sys; from tests.tools.__main__ import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def tools() -> Tools:
    """Return what runs a tool in a process of its own, because it forks: one of the suite has threads."""

    def play(*words: str) -> tuple[int, str]:
        with tempfile.TemporaryFile() as file:
            streams: Any = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file}
            process = nursery().start(
                list(words), env={**os.environ, **ENVIRONMENT}, cwd=ROOT, prologue=TOOL, **streams
            )
            code = process.wait(600)
            file.seek(0)
            return code, file.read().decode()

    return play


LOST = (
    stack.Cell("current", "reset", 7, 0, 3),
    stack.Cell("legacy", "killed after, again and again", 9, 0, 8),
    *(stack.Cell("current", kill, at, 0, 3) for kill, at in product(stack.KILLS, range(2, 66, 7))),
    stack.Cell("current", "502", 41, 25, 3),
    stack.Cell("legacy", "cut", 60, None, 8),
    stack.Cell("legacy", "503", 20, 6, 0),
)


@pytest.mark.parametrize("cell", LOST if ALL_CELLS else LOST[:3], ids=str)
def test_apply_that_is_killed_or_loses_an_answer_makes_each_thing_once(cell: stack.Cell) -> None:
    assert alone(stack.play, cell).wrong == {}


@pytest.mark.parametrize("store", swarm.STORES)
def test_deploy_run_under_a_shared_key_breaks_no_promise_whatever_becomes_of_its_machines(store: str) -> None:
    found_late = (21000375, 21000770)  # a list of the store that lags hid the claim of the run's own key
    seeds = range(150) if ALL_CELLS else (1, 2, 4, 6, 8, 9)
    played = [alone(keys.play, swarm.Cell(store, seed)) for seed in (*seeds, *found_late)]
    assert [one.wrong for one in played if one.wrong] == []
    assert {0, 7, "killed"} <= {code for one in played for code in one.codes}


@pytest.mark.parametrize("store", swarm.STORES)
def test_apply_of_a_stack_has_its_turn_to_itself_whatever_becomes_of_its_machines(store: str) -> None:
    played = [
        alone(keys.play, swarm.Cell(store, seed, applies=True)) for seed in (range(50) if ALL_CELLS else (5, 6, 8))
    ]
    assert [one.wrong for one in played if one.wrong] == []
    assert {0, 7, "killed"} <= {code for one in played for code in one.codes}


BROKEN = {
    "creates": "found by the self-test",
    "updates": "found by the self-test",
    "halves": "not seen by the self-test",
}


@pytest.mark.parametrize("store", swarm.STORES)
def test_key_init_refuses_a_store_that_breaks_its_promise_or_else_runs_that_start_twice_are_counted(store: str) -> None:
    played = {
        how: [alone(keys.play, swarm.Cell(store, n, how)) for n in range(8 if ALL_CELLS else 1)] for how in BROKEN
    }
    for how, ended in played.items():
        assert {code for one in ended for code in one.codes} == {f"{how} broken: {BROKEN[how]}"}
    assert "twice" in {broken.promise for one in played["halves"] for broken in one.broken}


@MORE
def test_deploy_run_under_shared_keys_starts_one_run_a_key_from_many_processes(tools: Tools) -> None:
    if missing := lacks_postgres():
        pytest.skip(f"{missing} is not installed")
    hosts, each = ("10", "20") if ALL_CELLS else ("3", "6")
    code, told = tools("keys", "--postgres", "--hosts", hosts, "--keys", each, "--workers", "1", "restarted")
    assert (code, f"{hosts} hosts" in told) == (0, True), told


IN_A_CHUNK = 125 if ALL_CELLS else 5  # nights


@pytest.mark.parametrize("chunk", range(8))
def test_report_tells_each_thing_once_and_nothing_well_over_one(chunk: int) -> None:
    """Nights on both generations by turns."""
    seeds = range(chunk * IN_A_CHUNK, (chunk + 1) * IN_A_CHUNK)
    cells = [nights.Cell(GENERATIONS[seed % 2], seed, deployments=1) for seed in seeds]
    assert wrong(nights.play, cells) == []


@pytest.fixture(scope="module")
def mutants() -> Iterator[mutations.Nursery]:
    nursery = mutations.Nursery("tests/unit/test_cron.py", "tests/commands/test_store.py")
    yield nursery
    nursery.end()


@MORE
def test_mutations_are_killed_by_tests_that_notice_them_and_survive_others(mutants: mutations.Nursery) -> None:
    file, base = "base/cron.py", ast.unparse(mutations.tree("base/cron.py"))
    tests = [name for name in mutants.tests if "knows_whether_it_ever_fires" in name]
    fires = "islice(takewhile(lambda at: at <= until, walk), count)"
    changes = {
        ("_walked", fires, "()"): "killed",
        ("_walked", f"tuple({fires})", f"(*{fires},)"): "survived",
        ("_checked", "low <= end <= high", "False"): "killed",  # in an expression with code of its own
    }
    places = {ast.unparse(node): node for node in ast.walk(mutations.tree(file))}

    def fate(name: str, old: str, new: str) -> str:
        source = mutations.changed(file, places[old], ast.parse(new, mode="eval").body)
        return str(mutants.ask(tests, (file, name, source, base))[0])

    fates = {change: fate(*change) for change in changes}
    same = mutants.ask(tests, (file, "upcoming", base, base))[0]
    assert fates == changes
    assert same == "unviable"
