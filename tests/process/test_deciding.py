"""Decisions at a terminal: by number, by letter, what is shown before, and when the question comes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from tests.conftest import TOKEN
from tests.support.asking import ASKED, Asking, call, on_real_time
from tests.support.cells import checkerboard
from tests.support.processes import Hooked, Shell, Terminal, asked_again, sandbox, served
from tests.support.things import ok

FOLLOW = ("qoder", "run", "wait", "drun_1", "--follow")
PENDING = ("qoder", "run", "pending", "drun_1")
SECOND = ("qoder", "run", "approve", "drun_1", "2")
THREE = (call(1), call(2), call(3))


@pytest.fixture(params=GENERATIONS)
def server(request: pytest.FixtureRequest) -> Asking:
    made = on_real_time(request.param)
    made.asks("sess_1", *THREE)
    return made


@pytest.fixture
def shell(tmp_path: Path, server: Asking) -> Iterator[Shell]:
    made = Shell(tmp_path).hurry()
    (tmp_path / "other.toml").write_text('[profiles.other]\nregion = "cn"\n')
    with served(server.world, Hooked(server)) as at:
        made.env |= {"QODER_BASE_URL": at.base_url, "QODER_PAT": TOKEN, "NO_COLOR": "1"}
        yield made


def alternating(name: str, values: Iterable[Any]) -> pytest.MarkDecorator:
    """Play these values, on the one and the other generation of server by turns."""
    return pytest.mark.parametrize(("server", name), checkerboard(GENERATIONS, values), indirect=["server"])


of_sessions = pytest.mark.parametrize("server", ["current"], indirect=True)  # no run is looked at


def shown(shell: Shell, *words: str, code: int = 0, **settings: Any) -> str:
    """Return what a command shows on a terminal where nobody types."""
    with Terminal(shell, *words, **settings) as terminal:
        assert terminal.end() == code, terminal.screen
    return "\n".join(terminal.screen)


def said(server: Asking) -> list[str]:
    events = [event for body in server.sent for event in body["events"]]
    return [f"{each['tool_use_id']} {each['result']}" for each in events]


# By number.


@alternating("verb", ["approve", "deny"])
@pytest.mark.few(1)
def test_run_approve_takes_the_number_of_a_call_that_pending_showed(shell: Shell, server: Asking, verb: str) -> None:
    assert "to decide on one by its number: qoder run approve drun_1 1" in shown(shell, *PENDING)
    server.colleague("evt_1")
    with Terminal(shell, "qoder", "run", verb, "drun_1", "3", "2") as terminal:
        terminal.shows("(tool, evt_2):").shows("allow?").reply("w\n")
        terminal.shows("why not?").reply("no\n")
        terminal.shows("(tool, evt_3):")
        asked_again(terminal, "allow?", 2).reply("n\n")
        assert terminal.end() == 0
    assert said(server) == ["evt_2 deny", "evt_3 deny"]


def otherwise(server: Asking) -> None:
    other = {"input": {"command": "rm -rf /"}}
    server.tells(lambda events: [event | other if event["id"] == "evt_2" else event for event in events])


def test_run_approve_knows_no_number_that_was_shown_to_another_profile_or_in_a_pipe(
    shell: Shell, server: Asking
) -> None:
    shell.qoder("run", "pending", "drun_1")
    shown(shell, *PENDING, env={"QODER_CONFIG": str(shell.home / "other.toml"), "QODER_PROFILE": "other"})
    assert "no list of calls was shown here" in " ".join(shown(shell, *SECOND, code=2).split())
    assert server.sent == []


# By letter. The second call equals the first, the fourth on another thread.

FOUR = (call(1), call(2, input=call(1)["input"]), call(3), call(4, input=call(1)["input"], session_thread_id="sthr_2"))


@of_sessions
@pytest.mark.parametrize("what", ["changes", "is answered"])
@pytest.mark.few(1)
def test_question_allows_no_equal_call_that_no_longer_waits_as_shown(shell: Shell, server: Asking, what: str) -> None:
    server.asks("sess_1", *FOUR[:2])
    with Terminal(shell, "qoder", "session", "approve", "sess_1") as terminal:
        terminal.shows("call 1 of 2; 1 more equal it").shows(ASKED)
        if what == "changes":
            otherwise(server)
        else:
            server.colleague("evt_2", "deny")
        terminal.reply("a\n")
        assert terminal.end() == 6
    assert said(server) == {"changes": [], "is answered": ["evt_1 allow"]}[what]


# What is shown before.


@of_sessions
@pytest.mark.parametrize("columns", [80, 100, 120])
@pytest.mark.few(1)
def test_question_breaks_no_id_in_two(shell: Shell, server: Asking, columns: int) -> None:
    ids = {kind: f"{kind}_019ec55694c07f2a9b402ffb4448ec18" for kind in ("evt", "sess", "dep")}
    asks = {"id": ids["evt"], "name": "create_pull_request", "mcp_server_name": "github-enterprise"}
    session = server.asks(ids["sess"], call(1, kind="agent.mcp_tool_use", **asks))
    session.fields["deployment_id"] = ids["dep"]
    server.instead[f"GET /deployments/{ids['dep']}"] = [ok({"id": ids["dep"], "name": "nightly-report-" * 4})]
    assert shell.qoder("deploy", "get", ids["dep"]).code == 0
    with Terminal(shell, "qoder", "session", "approve", ids["sess"], columns=columns) as terminal:
        terminal.shows(ASKED).reply("\x04")
        assert terminal.end() == 2
    screen = terminal.screen[: terminal.screen.index("  │ command")]
    assert [id for id in ids.values() if not any(id in line for line in screen)] == []
    assert all(len(line) <= columns for line in screen)


# When it comes.


def test_run_wait_asks_at_once_where_the_session_has_waited_long_enough(shell: Shell, server: Asking) -> None:
    with Terminal(shell, *FOLLOW) as terminal:
        terminal.shows(ASKED).reply("\x04")
        assert terminal.end() == 11
    assert "asks in" not in terminal.raw


@pytest.mark.parametrize(
    ("generation", "term", "command"),
    checkerboard(
        GENERATIONS, ["dumb", "xterm-256color"], ["deploy run dep_ask --follow", "run logs dep_ask@last --follow"]
    ),
)
@pytest.mark.few(1)
def test_deploy_run_says_when_it_asks(tmp_path: Path, generation: Any, term: str, command: str) -> None:
    with sandbox(generation) as at:
        shell = Shell(tmp_path, at).hurry()
        if command.startswith("run"):
            shell.qoder("deploy", "run", "dep_ask")
        with Terminal(shell, "qoder", *command.split(), env={"TERM": term}) as terminal:
            terminal.shows("asks in 1").shows("s, unless it continues by itself").shows(ASKED).reply("y\n")
            assert terminal.end() == 0
    if term == "dumb":
        assert terminal.raw.count("asks in") == 1
