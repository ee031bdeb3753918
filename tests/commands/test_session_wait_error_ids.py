"""`session wait`, `approve` and others: an error names the session as one, and never as a run."""

import pytest

from tests.conftest import Qoder
from tests.support.asking import Server, call


@pytest.fixture
def server(qoder: Qoder) -> Server:
    qoder.transport = made = Server(qoder.clock)
    made.session("sess_1", call(1), run=False)
    return made


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("session", "wait", "sess_1"), 11),
        (("session", "wait", "sess_1", "--timeout", "1s"), 124),
        (("session", "result", "sess_1"), 8),
        (("session", "approve", "sess_1", "--all", "--yes", "--wait", "--timeout", "0"), 124),
        (("session", "approve", "sess_1", "evt_9", "--yes"), 5),
        (("session", "approve", "sess_2", "--all", "--yes"), 5),
        (("session", "deny", "sess_2", "--all", "--yes"), 5),
        (("session", "answer", "sess_2", "evt_1", "--result", "x"), 5),
        (("session", "send", "sess_2", "-m", "x"), 5),
        (("session", "send", "sess_1", "-m", "x"), 6),
    ],
)
def test_session_wait_names_the_session_of_an_error(
    qoder: Qoder, server: Server, words: tuple[str, ...], code: int
) -> None:
    ran = qoder(*words, "--json")
    assert ran.code == code, ran.err
    assert (ran.error["run_id"], ran.error["session_id"]) == (None, words[2])


@pytest.mark.parametrize("status", ["404", "409", "400", "500", "drop-after"])
@pytest.mark.parametrize("noun", ["session", "run"])
def test_session_approve_names_the_session_of_a_refusal(qoder: Qoder, server: Server, noun: str, status: str) -> None:
    server.session("sess_1", call(1))
    server.goes_wrong = [status] * 9
    server.reads_fail = 99 if status == "drop-after" else 0
    ran = qoder(noun, "approve", "drun_1" if noun == "run" else "sess_1", "evt_1", "--yes", "--json")
    assert ran.code in (5, 6, 9), ran.err
    assert ran.error["session_id"] == "sess_1"
    assert ran.error["run_id"] in (None, "drun_1" if noun == "run" else None)
