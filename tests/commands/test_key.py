"""A person ends the doubt whether a run was started: `qoder key free` and `run wait last --forget`."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from qoder_cli.base.times import span
from qoder_cli.local import store
from qoder_cli.runs.lost import RUN_LIST_LOOKS
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder
from tests.support.inprocess import WorldTransport
from tests.support.lies import Lies
from tests.support.one_run import TRIGGER
from tests.support.triggers import CUT, NIGHT, at, fresh, lost_twice, shows


@pytest.fixture
def in_doubt(qoder: Qoder) -> Qoder:
    """A start under a key whose answer was lost, and a run that came too late to be adopted."""
    qoder.wire.on(*TRIGGER, CUT)
    shows(qoder, fresh(7, created="2027-01-15T08:00:00.3Z"), {**fresh(8), "trigger_context": None})
    ran = qoder(*NIGHT, "--json")
    assert ran.code == 9
    assert "qoder key free night-1" in ran.error["hint"]
    qoder.clock.time += 120
    return qoder


def test_key_free_sends_nothing_and_lets_the_key_start_a_run_again(in_doubt: Qoder) -> None:
    before = len(in_doubt.wire.requests)
    ran = in_doubt("key", "free", "night-1", "--yes", "--json")
    assert (ran.code, ran.json) == (0, {"key": "night-1", "deployment": "dep_1", "run": None, "freed": True})
    assert "these runs may have been started by an unconfirmed attempt: drun_7, drun_8" in ran.err
    assert len(in_doubt.wire.requests) == before
    in_doubt.wire.on(*TRIGGER, fresh(9))
    assert in_doubt(*NIGHT, "-q").out == "drun_9\n"


def test_key_list_and_get_show_what_became_of_each_key(in_doubt: Qoder) -> None:
    in_doubt.wire.on(*TRIGGER, fresh(9))
    assert in_doubt(*NIGHT[:-1], "night-2").code == 0
    newest = f"night-2\tstarted\tdep_1\tdrun_9\tno\t{at(120 + RUN_LIST_LOOKS[-1])}\t-\n"
    assert in_doubt("key", "list").out == f"{newest}night-1\tsending\tdep_1\t-\tno\t{at(0)}\t-\n"
    assert [in_doubt("key", "get", f"night-{n}", "--json").json["run"] for n in (1, 2)] == [None, "drun_9"]


def test_key_free_frees_a_key_whose_run_is_known_and_says_which(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, fresh(6), fresh(7))
    assert qoder(*NIGHT).code == 0
    ran = qoder("key", "free", "night-1", "--yes", "--json")
    assert (ran.code, ran.json["run"]) == (0, "drun_6")
    assert "it started run drun_6" in ran.err
    assert qoder(*NIGHT, "-q").out == "drun_7\n"
    qoder.wire.on("GET", "/deployment_runs/drun_7", {**fresh(7), "status": "completed"})
    assert qoder("run", "wait", "last", "-q").out == "drun_7\n"


HONOURED: dict[str, tuple[tuple[str, ...], int]] = {
    # What became of the start under the key that is freed: faults, and its exit code.
    "known": ((), 0),
    "adopted": (("trigger:drop-after",), 0),
    "in doubt": (("trigger:drop-after", "list:503*99"), 9),
}


@pytest.mark.parametrize("what", HONOURED)
def test_key_free_lets_the_key_start_a_run_again_where_the_server_honours_it(
    qoder: Qoder, world: World, what: str
) -> None:
    """Such a server answers a key that it knows with the run that it has."""
    faults, code = HONOURED[what]
    world.honour_key, line = True, (*NIGHT[:2], "dep_demo", *NIGHT[3:], "-q")
    qoder.transport = WorldTransport(world, faults=Lies(*faults), sleep=qoder.clock.sleep)
    assert qoder(*line).code == code
    qoder.transport = WorldTransport(world, sleep=qoder.clock.sleep)
    for count in (2, 3):
        assert qoder("key", "free", "night-1", "--yes").code == 0
        assert [qoder(*line).out for _ in range(2)] == [f"{world.started()[-1].id}\n"] * 2
        assert len(world.started()) == count


def test_key_free_keeps_the_run_of_a_freed_key_from_being_adopted(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, fresh(6), CUT)
    assert qoder(*NIGHT).code == 0
    assert qoder("key", "free", "night-1", "--yes").code == 0
    shows(qoder, fresh(6))
    assert qoder(*NIGHT).code == 9


REFUSED = {
    "key free night-2 --yes": (5, "was not used on this machine"),
    "key free night-1": (2, "requires confirmation"),
    "key free \N{NO-BREAK SPACE}night-1 --yes": (2, "printable ASCII"),
    "run wait drun_1 --forget": (2, "only works with the run `last`"),
    "session wait last --forget": (2, "has no option --forget"),
    "run wait last --forget": (2, "requires confirmation"),
    "run wait last --yes": (2, "--yes only works with --forget"),
}


@pytest.mark.parametrize("line", REFUSED)
@pytest.mark.few(3)
def test_key_free_and_forget_end_no_doubt_without_a_persons_word(in_doubt: Qoder, line: str) -> None:
    code, said = REFUSED[line]
    before = len(in_doubt.wire.requests)
    ran = in_doubt(*(word.replace("\N{NO-BREAK SPACE}", " ") for word in line.split(" ")), "--json")
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.error["message"]
    assert len(in_doubt.wire.requests) == before
    assert in_doubt(*NIGHT).code == 9  # and is not sent again


def test_run_wait_last_forget_makes_the_start_count_as_never_happened(in_doubt: Qoder) -> None:
    ran = in_doubt("run", "wait", "last", "--forget", "--yes")
    assert (ran.code, ran.out) == (0, "")
    assert f"the attempt to start dep_1 {span(120 + RUN_LIST_LOOKS[-1])} ago now counts as not started" in ran.err
    assert [in_doubt(*line.split()).code for line in ("run wait last", "key get night-1")] == [5, 5]
    assert in_doubt("key", "list").out == ""
    in_doubt.wire.on(*TRIGGER, fresh(9))
    assert in_doubt(*NIGHT, "-q").out == "drun_9\n"


def test_run_wait_last_forget_ends_the_doubt_about_all_starts_under_a_key(qoder: Qoder) -> None:
    lost_twice(qoder)
    ran = qoder("run", "wait", "last", "--forget", "--yes")
    assert "(and 1 before it under its key) now counts as not started" in ran.err
    assert "no run was started from this machine" in qoder("run", "wait", "last").err
    qoder.wire.on(*TRIGGER, fresh(9))
    assert qoder(*NIGHT, "-q").out == "drun_9\n"


def test_key_free_and_forget_do_nothing_after_a_no(in_doubt: Qoder, questions: Callable[..., list[str]]) -> None:
    asked = questions(False, False, True)
    for words in (("key", "free", "night-1"), ("run", "wait", "last", "--forget")):
        assert in_doubt(*words).code == 2
        assert in_doubt(*NIGHT).code == 9
    assert in_doubt("key", "free", "night-1").code == 0
    assert asked[2] == "Free the key night-1? `deploy run` can start another run under it."


def test_run_wait_last_forget_forgets_no_run_that_is_known(qoder: Qoder) -> None:
    assert qoder("run", "wait", "last", "--forget", "--yes").code == 5
    qoder.wire.on(*TRIGGER, fresh(6))
    assert qoder("deploy", "run", "dep_1").code == 0
    ran = qoder("run", "wait", "last", "--forget", "--yes", "--json")
    assert ran.code == 2
    assert "drun_6" in ran.error["message"]


@pytest.mark.parametrize("words", ["key free night-1 --yes", "run wait last --forget --yes"])
def test_key_free_and_forget_do_not_claim_what_could_not_be_written(
    in_doubt: Qoder, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    monkeypatch.setattr(store, "LAST_PATIENCE", 0.05)
    path = f"{in_doubt.env['QODER_STATE_DIR']}/state.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ran = in_doubt(*words.split(), "--json")
    assert (ran.code, ran.out) == (2, "")
    assert "cannot be written" in ran.error["message"]
    assert "now counts as not started" not in ran.err
    assert "key free night-1" in in_doubt(*NIGHT, "--on-lost", "fail", "--json").error["hint"]  # still in doubt


@pytest.mark.parametrize("words", ["key free night-1 --yes", "run wait last --forget --yes"])
def test_key_free_and_forget_wait_for_no_command_that_uses_the_key(qoder: Qoder, words: str) -> None:
    def meanwhile(request: Any) -> Any:
        freed.append(qoder(*words.split(), "--json"))
        return fresh(6)

    freed: list[Any] = []
    qoder.wire.on(*TRIGGER, meanwhile)
    assert qoder(*NIGHT).code == 0
    assert (freed[0].code, "another command is using the key" in freed[0].error["message"]) == (6, True)
