"""`run wait --on-ask prompt`: a question ends with the time, and a reply to the last call is none to the next."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("terminals as POSIX has them", allow_module_level=True)

from tests.support.asking import APPROVE, FastClock, Server, asked_again, call, served
from tests.support.processes import Shell, Terminal

WAIT = ("qoder", "run", "wait", "drun_1", "--follow", "--on-ask", "prompt")
STOP = "allow? [y]es [n]o [w]hy not [s]top"


@pytest.fixture
def server() -> Server:
    return Server(FastClock())


@pytest.fixture
def shell(tmp_path: Path, server: Server) -> Iterator[Shell]:
    made = Shell(tmp_path)
    with served(server) as url:
        made.env |= {"QODER_BASE_URL": url, "QODER_PAT": "pt-planted-0123456789abcdef"}
        yield made.hurry()


@pytest.mark.parametrize("typed", [[], ["y"], ["y\x04"], ["w\n", "it is late"], ["y\n"]])
def test_run_wait_ends_at_its_timeout_while_it_asks(shell: Shell, server: Server, typed: list[str]) -> None:
    server.session("sess_1", call(1), call(2))
    with Terminal(shell, *WAIT, "--timeout", "60s") as terminal:  # 3 s: time goes twenty times as fast
        terminal.shows(STOP)
        for number, keys in enumerate(typed):
            terminal.shows("why not?" if number else STOP).type(keys)
        assert terminal.end() == 124, terminal.screen
    assert server.posted == []
    assert "no reply came in time; nothing was sent" in terminal.screen
    assert "timed out after 1m 00s; run drun_1 is still running" in terminal.raw


def test_run_wait_sends_a_reply_that_comes_in_time(shell: Shell, server: Server) -> None:
    server.session("sess_1", call(1))
    with Terminal(shell, *WAIT, "--timeout", "1h") as terminal:
        terminal.shows(STOP).type("w\n")
        terminal.shows("why not?").type("not on a Früday\n")
        assert terminal.end() == 0, terminal.screen
    assert server.posted[0]["events"][0]["deny_message"] == "not on a Früday"


def test_run_wait_asks_nothing_when_the_time_is_over(shell: Shell, server: Server) -> None:
    server.session("sess_1", call(1))
    with Terminal(shell, *WAIT, "--timeout", "0") as terminal:
        assert terminal.end() == 124
    assert STOP not in terminal.raw


@pytest.mark.parametrize("words", [WAIT, APPROVE])
def test_run_approve_takes_what_is_typed_right_after_a_reply_for_none(
    shell: Shell, server: Server, words: tuple[str, ...]
) -> None:
    asks = STOP if words is WAIT else "[y]es [n]o"
    server.session("sess_1", call(1), call(2))
    with Terminal(shell, *words) as terminal:
        terminal.shows(asks).type("y\n")
        time.sleep(0.15)  # a person who holds the key, or types for the next question before it is there
        assert "(tool, evt_2)" not in terminal.raw
        terminal.type("y\n")
        asked_again(terminal, asks, 2)
        time.sleep(0.3)
        assert terminal.process.poll() is None
        assert server.posted == []
        terminal.type("n\n")
        terminal.end()
    sent = [event["tool_use_id"] for event in server.posted[0]["events"] if event["result"] == "allow"]
    assert sent == ["evt_1"]


def test_run_approve_says_what_to_type_where_nothing_was_typed_in_a_terminal(shell: Shell, server: Server) -> None:
    server.session("sess_1", call(1))
    with Terminal(shell, *APPROVE) as terminal:
        terminal.shows("[y]es [n]o").type("\x04")
        assert terminal.end() == 2
    assert "type one of the letters in brackets" in terminal.raw
    assert "run it in a terminal" not in terminal.raw
