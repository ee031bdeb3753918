"""Attacks on the questions about a call, on a real terminal."""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

if sys.platform == "win32":
    pytest.skip("terminals as POSIX has them", allow_module_level=True)

from tests.support.asking import APPROVE, ASKED, FastClock, Server, call, served
from tests.support.processes import IMPATIENT, Shell, Terminal, until

WAIT = ("run", "wait", "drun_1", "--follow")
STOP = "allow? [y]es [n]o [w]hy not [s]top"


@pytest.fixture
def server() -> Server:
    made = Server(FastClock())
    made.session("sess_1", call(1))
    return made


@pytest.fixture
def shell(tmp_path: Path, server: Server) -> Iterator[Shell]:
    made = Shell(tmp_path)
    with served(server) as url:
        made.env |= {"QODER_BASE_URL": url, "QODER_PAT": "pt-planted-0123456789abcdef"}
        yield made


def test_a_replica_that_lags_does_not_have_a_call_answered_twice(shell: Shell, server: Server) -> None:
    server.lag, server.lenient = 2.0, True
    with Terminal(shell.hurry(), "qoder", *WAIT) as terminal:
        terminal.shows(STOP).type("y\n")
        assert terminal.end() == 0
    assert (server.ours, terminal.raw.count(STOP)) == ({"evt_1": 1}, 1)


@pytest.mark.parametrize("status", ["403", "404", "500"])
def test_an_answer_that_is_refused_does_not_end_a_wait_as_if_nothing_was_started(
    shell: Shell, server: Server, status: str
) -> None:
    server.goes_wrong = [status]
    with Terminal(shell.hurry(), "qoder", *WAIT) as terminal:
        terminal.shows(STOP).type("y\n")
        assert terminal.end() == (9 if status == "500" else 11), terminal.screen
    assert any("drun_1 waits for an answer" in line for line in terminal.screen) or status == "500"


@pytest.mark.parametrize("keys", ["\x04", "\n\n\n"])
def test_no_reply_does_not_end_a_wait_as_if_nothing_was_started(shell: Shell, server: Server, keys: str) -> None:
    with Terminal(shell.hurry(), "qoder", *WAIT) as terminal:
        terminal.shows(STOP).type(keys)
        assert terminal.end() == 11, terminal.screen
    assert server.posted == []


def test_a_yes_is_not_dropped_because_a_call_of_a_custom_tool_follows(shell: Shell, server: Server) -> None:
    server.session("sess_1", call(1), call(2, kind="agent.custom_tool_use"))
    with Terminal(shell.hurry(), "qoder", *WAIT) as terminal:
        terminal.shows(STOP).type("y\n")
        assert terminal.end() == 11
    assert server.taken == {"evt_1": 1}


def test_a_name_cannot_draw_a_question_of_ours(shell: Shell, server: Server) -> None:
    name = "x" * (80 - len("session sess_1 asks to run ")) + "approve evt_9? [y]es [n]o y"
    server.session("sess_1", call(1, name=name, session_thread_id="sthr_1" + " " * 60 + "allow? [y]es"))
    with Terminal(shell, *APPROVE) as terminal:
        terminal.shows(ASKED).type("n\n")
        assert terminal.end() == 2
    assert [line for line in terminal.screen if "[y]es" in line and not line.startswith(("  │ ", ASKED))] == []
    assert all(len(line) <= 80 for line in terminal.screen if "  │ " in line)


def test_what_changes_between_the_question_and_the_reply_is_not_sent(shell: Shell, server: Server) -> None:
    with Terminal(shell, *APPROVE) as terminal:
        terminal.shows(ASKED)
        server.told = lambda events: [
            {**event, "input": {"command": "rm -rf /"}} if event["id"] == "evt_1" else event for event in events
        ]
        terminal.type("y\n")
        assert terminal.end() == 6
    assert server.posted == []


class Slow(Server):
    """Does what is written, and is in no hurry to say so."""

    def _take(self, session: Any, events: list[dict[str, Any]]) -> httpx.Response:
        answer = super()._take(session, events)
        time.sleep(5)
        return answer


@pytest.mark.parametrize("how", ["ctrl-c", "hang up"])
def test_a_signal_while_the_reply_is_sent(tmp_path: Path, how: str) -> None:
    server = Slow(FastClock())
    server.session("sess_1", call(1))
    shell = Shell(tmp_path)
    with served(server) as url:
        shell.env |= {"QODER_BASE_URL": url, "QODER_PAT": "pt-planted-0123456789abcdef"}
        with Terminal(shell.hurry(IMPATIENT), *APPROVE) as terminal:
            terminal.shows(ASKED).type("y\n")
            until(lambda: server.posted, "the answer")
            if how == "ctrl-c":
                terminal.type("\x03")
                assert terminal.end() == -signal.SIGINT
                assert any("unknown whether" in line for line in terminal.screen), terminal.screen
            else:
                terminal.hang_up()
                until(lambda: terminal.process.poll() is not None, "its end")
                assert terminal.process.poll() in (129, -signal.SIGHUP)
    assert server.taken == {"evt_1": 1}
