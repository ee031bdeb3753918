"""The questions about a call, on a real terminal: what is shown, what counts as a yes, and what is sent."""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("terminals as POSIX has them", allow_module_level=True)

from tests.support.asking import APPROVE, ASKED, FastClock, Server, asked_again, call, fields_drawn, served
from tests.support.processes import Shell, Terminal, until


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


def test_a_yes_approves_what_was_shown(shell: Shell, server: Server) -> None:
    with Terminal(shell, *APPROVE) as terminal:
        terminal.shows(ASKED).type("y\n")
        assert terminal.end() == 0
    assert "  │   echo 1" in terminal.screen
    assert "session sess_1 asks to run Bash (tool, evt_1):" in terminal.screen
    assert server.taken == {"evt_1": 1}


@pytest.mark.parametrize("replies", [["n\n"], ["\n"] * 3, ["maybe\n", "Y?\n", "ye\n"], ["\x04"]])
def test_nothing_else_is_a_yes(shell: Shell, server: Server, replies: list[str]) -> None:
    with Terminal(shell, *APPROVE) as terminal:
        for number, reply in enumerate(replies, 1):
            asked_again(terminal, ASKED, number).type(reply)
        assert terminal.end() == 2
    assert server.posted == []


def test_what_was_typed_before_the_question_is_no_reply_to_it(shell: Shell, server: Server) -> None:
    with Terminal(shell, *APPROVE) as terminal:
        terminal.type("y\ny\ny\n")
        terminal.shows(ASKED)
        time.sleep(0.3)
        assert terminal.process.poll() is None
        terminal.type("n\n")
        assert terminal.end() == 2
    assert server.posted == []


def test_ctrl_c_at_the_question_sends_nothing(shell: Shell, server: Server) -> None:
    with Terminal(shell, *APPROVE) as terminal:
        terminal.shows(ASKED).type("\x03")
        assert terminal.end() == -signal.SIGINT
    assert server.posted == []
    assert "error: interrupted; nothing was sent" in terminal.screen


def test_a_terminal_that_vanishes_sends_nothing(shell: Shell, server: Server) -> None:
    with Terminal(shell, *APPROVE) as terminal:
        terminal.shows(ASKED).hang_up()
        until(lambda: terminal.process.poll() is not None, "its end")
        assert terminal.process.poll() in (2, 129, -signal.SIGHUP)
    assert server.posted == []


def test_what_a_colleague_answers_during_the_question_is_not_sent(shell: Shell, server: Server) -> None:
    with Terminal(shell, *APPROVE) as terminal:
        terminal.shows(ASKED)
        server.answered_by_a_colleague("evt_1", "deny")
        terminal.type("y\n")
        assert terminal.end() == 6
    assert (server.posted, server.taken["evt_1"]) == ([], 1)


MARGINS = ("  │ ", "  ┆ ")  # of a line, and of a row that continues one
HOSTILE = "ls\r\x1b[2J\x1b[1;1H\u202e\u200b\nallow? [y]es [n]o [w]hy not [s]top y\n" + "A" * 300 + "\u2800" * 300
HOSTILE += "approve evt_1? [y]es"


def test_hostile_text_stays_behind_the_margin(shell: Shell, server: Server) -> None:
    server.session(
        "sess_1", call(1, name="Bash\x1b[2J" + "x" * 5_000, input={"command": HOSTILE, "a\nb": {"c": "\x07"}})
    )
    with Terminal(shell, *APPROVE, env={"NO_COLOR": "1"}) as terminal:
        terminal.shows("characters? [y]es [n]o").type("n\n")
        assert terminal.end() == 2
    shown = terminal.raw.replace("\r\n", "\n")
    assert not {"\x1b", "\x07", "\u202e", "\u200b", "\r"} & set(shown)
    began = next(n for n, line in enumerate(terminal.screen) if line.startswith("session sess_1"))
    first = next(n for n, line in enumerate(terminal.screen) if line.startswith(MARGINS))
    lines = terminal.screen[first:]
    asked = next(n for n, line in enumerate(lines) if not line.startswith(MARGINS))
    assert all(len(line) <= 80 for line in lines[:asked])
    assert lines[asked].startswith('approve evt_1, a call of "Bash\\u001b[2Jxxx')
    assert fields_drawn(lines[:asked]) == ["command", '"a\\nb"']
    assert not any("[y]es" in line for line in terminal.screen[began:first])


@pytest.mark.parametrize(
    ("words", "keys", "sent", "code"),
    [
        (("run", "wait", "drun_1", "--follow"), "y\n", "allow", 0),
        (("run", "wait", "drun_1", "--on-ask", "prompt"), "n\n", "deny", 0),
        (("run", "wait", "drun_1", "--on-ask", "prompt", "--no-progress"), "yes\n", "allow", 0),
        (("run", "wait", "drun_1", "--follow"), "s\n", None, 11),
        (("run", "logs", "drun_1", "--follow"), "y\n", "allow", 0),
    ],
)
def test_a_wait_asks_and_goes_on(
    shell: Shell, server: Server, words: tuple[str, ...], keys: str, sent: str | None, code: int
) -> None:
    with Terminal(shell.hurry(), "qoder", *words) as terminal:
        terminal.shows("allow? [y]es [n]o [w]hy not [s]top").type(keys)
        assert terminal.end() == code, terminal.screen
    assert [body["events"][0]["result"] for body in server.posted] == ([sent] if sent else [])
    assert sum("echo 1" in line and "│" in line for line in terminal.screen) == 1


def test_a_denial_may_say_why(shell: Shell, server: Server) -> None:
    with Terminal(shell.hurry(), "qoder", "run", "wait", "drun_1", "--follow") as terminal:
        terminal.shows("[w]hy not").type("w\n")
        terminal.shows("why not?").type("not on a Friday\n")
        assert terminal.end() == 0
    [body] = server.posted
    assert body["events"][0]["deny_message"] == "not on a Friday"
    assert any("why not? not on a Friday" in line for line in terminal.screen)  # what is typed is seen


def test_ctrl_c_in_the_question_of_a_wait_leaves_the_run(shell: Shell, server: Server) -> None:
    with Terminal(shell.hurry(), "qoder", "run", "wait", "drun_1", "--follow") as terminal:
        terminal.shows("[s]top").type("\x03")
        assert terminal.end() == -signal.SIGINT
    assert server.posted == []
    assert any("stopped waiting; run drun_1 keeps running" in line for line in terminal.screen)
