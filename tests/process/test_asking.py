"""The questions about a call, on a real terminal: what is shown, what counts as a yes, and what is sent."""

import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.conftest import TOKEN
from tests.support.asking import ASKED, Asking, call, on_real_time
from tests.support.cells import checkerboard
from tests.support.processes import (
    IMPATIENT,
    PATIENCE,
    SLOWLY_READ,
    Hooked,
    Shell,
    Terminal,
    asked_again,
    sandbox,
    served,
    until,
)

APPROVE = ("qoder", "session", "approve", "sess_1")
WAIT = ("qoder", "run", "wait", "drun_1", "--follow")
LOGS = ("qoder", "run", "logs", "drun_1", "--follow")
PROMPT = (*WAIT, "--on-ask", "prompt")


@pytest.fixture
def server() -> Asking:
    made = on_real_time("current")
    made.asks("sess_1", call(1))
    return made


@pytest.fixture
def shell(tmp_path: Path, server: Asking) -> Iterator[Shell]:
    made = Shell(tmp_path)
    with served(server.world, Hooked(server)) as at:
        made.env |= {"QODER_BASE_URL": at.base_url, "QODER_PAT": TOKEN}
        yield made


@pytest.fixture
def hasty(shell: Shell) -> Shell:
    """Return a shell whose commands wait for less long."""
    return shell.hurry()


def sent(server: Asking) -> list[str]:
    return [event["result"] for body in server.sent for event in body["events"]]


# What counts.


@pytest.mark.parametrize(
    ("words", "pasted"), [(WAIT, "maybe\ny\n"), (APPROVE, "y\nls\n"), (WAIT, "y\nls"), (WAIT, "w\nbecause\ny\n")]
)
@pytest.mark.few(2)
def test_question_is_not_answered_by_a_paste(hasty: Shell, server: Asking, words: tuple[str, ...], pasted: str) -> None:
    with Terminal(hasty, *words) as terminal:
        asked_again(terminal, ASKED, 1).reply(pasted)
        asked_again(terminal, ASKED, 2)
        assert server.sent == []
        terminal.reply("n\n")
        assert terminal.end() == 0
    assert sent(server) == ["deny"]
    assert "pasted text is not accepted" in terminal.raw


def test_session_approve_sends_nothing_that_was_typed_before_it_asked_nor_at_ctrl_c(
    shell: Shell, server: Asking
) -> None:
    with Terminal(shell, *APPROVE) as terminal:
        terminal.type("y\ny\ny\n")
        terminal.shows(ASKED).type("\x03")
        assert terminal.end() == -signal.SIGINT
    assert server.sent == []
    assert "error: interrupted; nothing was sent" in terminal.screen


def test_session_approve_asks_again_after_ctrl_z_and_takes_nothing_typed_meanwhile(
    shell: Shell, server: Asking
) -> None:
    line = f"{' '.join(APPROVE)}; echo stopped; until [ -e go ]; do sleep 0.05; done; fg"
    with Terminal(shell, "bash", "-mc", line) as terminal:
        terminal.shows(ASKED).reply("\x1a")
        terminal.shows("stopped").type("y\n")
        until(terminal._waiting, "what was typed for the shell")
        (shell.home / "go").touch()
        asked_again(terminal, ASKED, 2).reply("n\n")
        assert terminal.end() == 0
    assert sent(server) == ["deny"]


def test_session_approve_sends_nothing_when_the_terminal_vanishes(shell: Shell, server: Asking) -> None:
    with Terminal(shell, *APPROVE) as terminal:
        terminal.shows(ASKED).hang_up()
        until(lambda: terminal.process.poll() is not None, "its end")
        assert terminal.process.poll() in (2, 129, -signal.SIGHUP)
    assert server.sent == []


@pytest.mark.parametrize("how", ["ctrl-c", "hang up"])
@pytest.mark.few(1)
def test_session_approve_says_at_a_signal_that_what_it_sent_is_unknown(shell: Shell, server: Asking, how: str) -> None:
    has_ended = threading.Event()
    server.late.append(lambda: has_ended.wait(PATIENCE))
    with Terminal(shell.hurry(IMPATIENT), *APPROVE) as terminal:
        terminal.shows(ASKED).reply("y\n")
        until(lambda: server.taken, "the answer")
        if how == "ctrl-c":
            terminal.type("\x03")
            assert terminal.end() == -signal.SIGINT
            assert any("unknown whether" in line for line in terminal.screen), terminal.screen
        else:
            terminal.hang_up()
            until(lambda: terminal.process.poll() is not None, "its end")
            assert terminal.process.poll() in (129, -signal.SIGHUP)
    has_ended.set()
    assert server.taken == {"evt_1": 1}


# While a command waits.


@pytest.mark.parametrize(
    ("words", "keys", "result", "code"),
    [
        (WAIT, "y\n", ["allow"], 0),
        ((*WAIT[:4], "--on-ask", "prompt", "--no-progress"), "yes\n", ["allow"], 0),
        (WAIT, "\x04", [], 11),
        (WAIT, "y\x04", [], 11),
        (LOGS, "y\n", ["allow"], 0),
        (LOGS, "\x04", [], 11),
        (APPROVE, "\x04", [], 2),
    ],
)
@pytest.mark.few(2)
def test_run_wait_asks_and_goes_on(
    hasty: Shell, server: Asking, words: tuple[str, ...], keys: str, result: list[str], code: int
) -> None:
    with Terminal(hasty, *words) as terminal:
        terminal.shows(ASKED).reply(keys)
        assert terminal.end() == code, terminal.screen
    assert (sent(server), "asks in" in terminal.raw) == (result, False)  # the session has waited long enough
    assert ("type a reply, and press Enter" in terminal.raw) == (code == 2)
    assert sum("echo 1" in line and "│" in line for line in terminal.screen) == 1


def test_run_wait_sends_why_not_and_takes_no_reason_that_was_typed_before(hasty: Shell, server: Asking) -> None:
    server.asks("sess_1", call(1), call(2))
    with Terminal(hasty, *PROMPT, "--timeout", "1h") as terminal:
        terminal.shows(ASKED).reply("w\n")
        terminal.shows("why not?").reply("not on a Früday\ny\n")
        asked_again(terminal, ASKED, 2)
        assert server.sent == []
        terminal.reply("n\n")
        assert terminal.end() == 0
    assert sent(server) == ["deny", "deny"]
    assert server.sent[0]["events"][0]["deny_message"] == "not on a Früday"
    assert any("why not? not on a Fr" in line for line in terminal.screen)  # what is typed is seen


@pytest.mark.parametrize("words", [WAIT, LOGS])
def test_run_wait_leaves_the_run_at_ctrl_c_in_its_question(
    hasty: Shell, server: Asking, words: tuple[str, ...]
) -> None:
    with Terminal(hasty, *words) as terminal:
        terminal.shows(ASKED).type("\x03")
        assert terminal.end() == -signal.SIGINT
    assert server.sent == []
    said = " ".join(terminal.screen)
    assert "stopped waiting; run drun_1 keeps running" in said
    assert "hint: to answer what the agent asks: qoder run approve drun_1" in said


# A question ends with the time, and a reply to the last call is none to the next.


# The time stands still until a file is there, and then is two minutes later.
LATER = """
import os
Clock.monotonic = lambda self: 120.0 * os.path.exists("later")
"""


@pytest.mark.parametrize("typed", [[], ["y"], ["w\n", "it is late"], ["y\n"]])
@pytest.mark.few(2)
def test_run_wait_ends_at_its_timeout_while_it_asks(shell: Shell, server: Asking, typed: list[str]) -> None:
    server.asks("sess_1", call(1), call(2))
    with Terminal(shell.hurry(LATER), *PROMPT, "--timeout", "1m") as terminal:
        terminal.shows(ASKED)
        for number, keys in enumerate(typed):
            terminal.shows("why not?" if number else ASKED).reply(keys)
        (shell.home / "later").touch()
        assert terminal.end() == 124, terminal.screen
    assert server.sent == []
    assert "no reply came in time; nothing was sent" in terminal.screen
    assert re.search("timed out after 1m 00s; run drun_1 (is still|was) running", terminal.raw)


@pytest.mark.parametrize("words", [PROMPT, APPROVE])
@pytest.mark.few(1)
def test_question_takes_no_key_from_before_it_could_be_read(
    shell: Shell, server: Asking, words: tuple[str, ...]
) -> None:
    asks = ASKED if words is PROMPT else "[y]es [n]o"
    server.asks("sess_1", call(1), call(2))
    with Terminal(shell.hurry(SLOWLY_READ), *words) as terminal:
        for number, reply in enumerate(("y\n", "n\n"), 1):
            asked_again(terminal, asks, number).type("y\n")
            terminal.has_read(shell.home).reply(reply)
        terminal.end()
    assert [event["result"] for event in server.sent[0]["events"]] == ["allow", "deny"]


@pytest.mark.parametrize(
    ("generation", "term", "command"),
    checkerboard(
        GENERATIONS, ["dumb", "xterm-256color"], ["deploy run dep_ask --follow", "run logs dep_ask@last --follow"]
    ),
)
@pytest.mark.few(1)
def test_deploy_run_says_when_it_asks(tmp_path: Path, generation: Generation, term: str, command: str) -> None:
    with sandbox(generation) as at:
        shell = Shell(tmp_path, at).hurry()
        if command.startswith("run"):
            shell.qoder("deploy", "run", "dep_ask")
        with Terminal(shell, "qoder", *command.split(), env={"TERM": term}) as terminal:
            terminal.shows("asks in 1").shows("s, unless it continues by itself").shows(ASKED).reply("y\n")
            assert terminal.end() == 0
    if term == "dumb":
        assert terminal.raw.count("asks in") == 1
