"""`approve`, `deny` and the questions of a wait: a call is asked about only where all of it was shown."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("terminals as POSIX has them", allow_module_level=True)

from tests.support.asking import APPROVE, ASKED, FastClock, Server, call, served, sha256_of
from tests.support.processes import Shell, Terminal

WAIT = ("qoder", "run", "wait", "drun_1", "--follow")
DENY = ("qoder", "run", "deny", "drun_1")
LONG = [
    call(1, input={"command": "echo ok\n" * 2_000 + "rm -rf /"}),
    call(1, input={"command": "echo ok;" * 12_500 + "rm -rf /"}),
    call(1, input={"command": "echo hidden;" * 450_000}),
    call(1, name="x" * 100_001),
]


@pytest.fixture
def server() -> Server:
    return Server(FastClock())


@pytest.fixture
def shell(tmp_path: Path, server: Server) -> Iterator[Shell]:
    made = Shell(tmp_path)
    with served(server) as url:
        made.env |= {"QODER_BASE_URL": url, "QODER_PAT": "pt-planted-0123456789abcdef"}
        yield made.hurry()


@pytest.mark.parametrize("asks", LONG, ids=["lines", "characters", "megabytes", "name"])
@pytest.mark.parametrize(("words", "code"), [(APPROVE, 2), (DENY, 2), (WAIT, 11)])
def test_run_approve_does_not_ask_about_a_call_that_it_does_not_show_whole(
    shell: Shell, server: Server, words: tuple[str, ...], code: int, asks: dict[str, object]
) -> None:
    server.session("sess_1", asks)
    with Terminal(shell, *words, columns=200) as terminal:
        assert terminal.end() == code, terminal.screen[-5:]
    said = " ".join(terminal.screen)
    assert "[y]es" not in said
    assert "evt_1 has over 100,000 characters, or over 2,000 lines here" in said
    assert "answer with --input-sha256 HEX and --yes: qoder " in said
    assert len([line for line in terminal.screen if line.startswith(("  │ ", "  ┆ "))]) <= 20
    assert server.posted == []


def test_run_approve_shows_all_of_a_call_that_it_asks_about(shell: Shell, server: Server) -> None:
    name = "N" * 300 + "rm"
    server.session("sess_1", call(1, name=name, input={"command": "echo ok\n" * 1_900 + "rm -rf /"}))
    with Terminal(shell, *APPROVE) as terminal:
        terminal.shows("characters? [y]es [n]o").type("y\n")
        assert terminal.end() == 0
    assert "  │   rm -rf /" in terminal.screen
    assert name in "".join(terminal.screen).replace("  ┆     ", "")
    assert server.taken == {"evt_1": 1}


def test_run_approve_takes_the_hash_of_a_call_too_long_to_be_shown(shell: Shell, server: Server) -> None:
    server.session("sess_1", LONG[0])
    with Terminal(shell, *APPROVE, "evt_1", "--input-sha256", sha256_of(LONG[0]), "--yes") as terminal:
        assert terminal.end() == 0
    assert server.taken == {"evt_1": 1}


def test_run_approve_asks_about_no_call_beside_one_that_is_too_long(shell: Shell, server: Server) -> None:
    server.session("sess_1", call(2), LONG[0])
    with Terminal(shell, *APPROVE) as terminal:
        assert terminal.end() == 2
    assert ASKED not in terminal.raw
    assert server.posted == []
