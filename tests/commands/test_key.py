"""A person ends the doubt whether a run was started: `qoder key free` and `run wait last --forget`."""

from typing import Any

import pytest

from tests.conftest import Qoder
from tests.support.one_run import TRIGGER
from tests.support.triggers import LOST, fresh, shows

NIGHT = ("deploy", "run", "dep_1", "--idempotency-key", "night-1")


@pytest.fixture
def in_doubt(qoder: Qoder) -> Qoder:
    """A start under a key whose answer was lost, and a run that came too late to be adopted."""
    qoder.wire.on(*TRIGGER, LOST["cut"])
    shows(qoder, fresh(7, created="2027-01-15T08:00:00.3Z"), {**fresh(8), "trigger_context": None})
    ran = qoder(*NIGHT, "--json")
    assert (ran.code, "qoder key free night-1" in ran.error["hint"]) == (9, True)
    qoder.clock.time += 120
    return qoder


def test_key_free_lets_the_key_start_a_run_again(in_doubt: Qoder) -> None:
    ran = in_doubt("key", "free", "night-1", "--yes", "--json")
    assert (ran.code, ran.json) == (
        0,
        {"key": "night-1", "deployment": "dep_1", "run": None, "freed": True},
    )
    assert "these runs may be of a start that is in doubt: drun_7, drun_8" in ran.err
    in_doubt.wire.on(*TRIGGER, fresh(9))
    assert in_doubt(*NIGHT, "-q").out == "drun_9\n"


def test_key_free_sends_nothing(in_doubt: Qoder) -> None:
    before = len(in_doubt.wire.requests)
    assert in_doubt("key", "free", "night-1", "--yes").code == 0
    assert len(in_doubt.wire.requests) == before


def test_key_free_frees_a_key_whose_run_is_known_and_says_which(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, fresh(6), fresh(7))
    assert qoder(*NIGHT).code == 0
    ran = qoder("key", "free", "night-1", "--yes")
    assert (ran.code, "it started run drun_6" in ran.err) == (0, True)
    assert qoder(*NIGHT, "-q").out == "drun_7\n"
    qoder.wire.on("GET", "/deployment_runs/drun_7", {**fresh(7), "status": "completed"})
    assert qoder("run", "wait", "last", "-q").out == "drun_7\n"


def test_key_free_keeps_the_run_of_a_freed_key_from_being_adopted(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, fresh(6), LOST["cut"])
    assert qoder(*NIGHT).code == 0
    assert qoder("key", "free", "night-1", "--yes").code == 0
    shows(qoder, fresh(6))
    assert qoder(*NIGHT).code == 9


REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "unknown key": (("key", "free", "night-2", "--yes"), 5, "was not used on this machine"),
    "nobody asks": (("key", "free", "night-1"), 2, "requires confirmation"),
    "a key with a blank": (("key", "free", " night-1", "--yes"), 2, "printable ASCII"),
    "forget another run": (("run", "wait", "drun_1", "--forget"), 2, "only works with the run `last`"),
    "forget a session": (("session", "wait", "last", "--forget"), 2, "only works with the run `last`"),
    "forget, and nobody asks": (("run", "wait", "last", "--forget"), 2, "requires confirmation"),
    "--yes alone": (("run", "wait", "last", "--yes"), 2, "--yes only works with --forget"),
}


@pytest.mark.parametrize(("words", "code", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_doubt_is_ended_by_nothing_but_a_persons_word(
    in_doubt: Qoder, words: tuple[str, ...], code: int, said: str
) -> None:
    before = len(in_doubt.wire.requests)
    ran = in_doubt(*words, "--json")
    assert (ran.code, said in ran.error["message"], ran.out) == (code, True, "")
    assert len(in_doubt.wire.requests) == before
    in_doubt.wire.expected[0].answers.append(None)  # never sent again
    in_doubt.wire.expected[0].asked += 1
    assert in_doubt(*NIGHT).code == 9


def test_run_wait_last_forget_makes_the_start_count_as_never_happened(in_doubt: Qoder) -> None:
    ran = in_doubt("run", "wait", "last", "--forget", "--yes")
    assert (ran.code, ran.out) == (0, "")
    assert "the attempt to start dep_1 2m 08s ago now counts as not started" in ran.err
    assert in_doubt("run", "wait", "last").code == 5
    in_doubt.wire.on(*TRIGGER, fresh(9))
    assert in_doubt(*NIGHT, "-q").out == "drun_9\n"


def test_run_wait_last_forget_does_not_forget_a_run_that_is_known(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, fresh(6))
    assert qoder("deploy", "run", "dep_1").code == 0
    ran = qoder("run", "wait", "last", "--forget", "--yes", "--json")
    assert (ran.code, "drun_6" in ran.error["message"]) == (2, True)


def test_run_wait_last_forget_says_that_nothing_was_started_here(qoder: Qoder) -> None:
    assert qoder("run", "wait", "last", "--forget", "--yes").code == 5


def test_key_free_waits_for_no_command_that_uses_the_key(qoder: Qoder) -> None:
    def meanwhile(request: Any) -> Any:
        freed.append(qoder("key", "free", "night-1", "--yes", "--json"))
        return fresh(6)

    freed: list[Any] = []
    qoder.wire.on(*TRIGGER, meanwhile)
    assert qoder(*NIGHT).code == 0
    assert (freed[0].code, "another command is using the key" in freed[0].error["message"]) == (6, True)
