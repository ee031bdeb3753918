"""Decisions at a terminal: by number, by letter, what is shown before, and when the question comes."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from tests.conftest import TOKEN
from tests.support.asking import ASKED, ENDED, RUNNING, Asking, again, call, on_real_time, says
from tests.support.cells import ALL_CELLS, checkerboard
from tests.support.processes import Hooked, Shell, Terminal, asked_again, sandbox, served
from tests.support.things import ok, refusal
from tests.support.wire import page

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


def test_run_wait_numbers_what_it_ends_with(shell: Shell, server: Asking) -> None:
    told = shown(shell, *FOLLOW, "--on-ask", "stop", code=11)
    assert "2  Bash  echo 2" in told
    with Terminal(shell, *SECOND) as terminal:
        terminal.shows("(tool, evt_2):").shows(ASKED).reply("y\n")
        assert terminal.end() == 0
    assert said(server) == ["evt_2 allow"]


@of_sessions
def test_session_answer_of_a_number_shows_the_call_and_asks(shell: Shell, server: Asking) -> None:
    server.asks("sess_1", call(1), call(2, kind="agent.custom_tool_use"))
    shown(shell, *PENDING)
    answer = ("qoder", "session", "answer", "sess_1", "2", "--with", "green\n")
    for reply, code in (("n\n", 2), ("\x04", 2), ("y\n", 0)) if ALL_CELLS else (("n\n", 2), ("y\n", 0)):
        assert server.sent == []
        with Terminal(shell, *answer) as terminal:
            terminal.shows("(custom, evt_2):").shows('answer it with "green\\n" (6 characters)? [y]es [n]o').reply(
                reply
            )
            assert terminal.end() == code
    assert server.taken == {"evt_2": 1}


def otherwise(server: Asking) -> None:
    other = {"input": {"command": "rm -rf /"}}
    server.tells(lambda events: [event | other if event["id"] == "evt_2" else event for event in events])


def unreadable(server: Asking) -> None:
    server.tells(lambda events: [event for event in events if event["id"] != "evt_2"])


def reused(server: Asking) -> None:
    """Let a session of the same id ask for something else under the same ids."""
    server.asks("sess_1", *(call(n, input={"command": f"rm {n}"}) for n in (1, 2, 3)))


REFUSED: dict[str, tuple[Callable[[Asking], object], tuple[str, ...], int, str]] = {
    "answered": (lambda server: server.colleague("evt_2", "deny"), SECOND, 6, "no longer waits: it was"),
    "another input": (otherwise, SECOND, 6, "is another call now than the one that was shown"),
    "reused ids": (reused, SECOND, 6, "is another call now than the one that was shown"),
    "unreadable": (unreadable, SECOND, 6, "can no longer be read"),
    "too large": (lambda server: None, (*SECOND[:-1], "4"), 2, "has 3 calls, and no number 4"),
    "another session": (
        lambda server: server.asks("sess_2", call(1)),
        ("qoder", "session", "approve", "sess_2", "1"),
        2,
        "no list of calls was shown here",
    ),
    "one of two": (lambda server: server.colleague("evt_2"), (*SECOND[:-1], "evt_1", "2"), 6, "no longer waits"),
}


@alternating("name", REFUSED)
@pytest.mark.few(3)
def test_run_approve_refuses_a_number_that_stands_for_no_call_as_it_was_shown(
    shell: Shell, server: Asking, name: str
) -> None:
    bend, words, code, why = REFUSED[name]
    shown(shell, *PENDING)
    bend(server)
    told = " ".join(shown(shell, *words, code=code).split())
    assert why in told
    assert "[y]es" not in told
    assert server.sent == []


def test_run_approve_knows_no_number_that_was_shown_to_another_profile_or_in_a_pipe(
    shell: Shell, server: Asking
) -> None:
    shell.qoder("run", "pending", "drun_1")
    shown(shell, *PENDING, env={"QODER_CONFIG": str(shell.home / "other.toml"), "QODER_PROFILE": "other"})
    assert "no list of calls was shown here" in " ".join(shown(shell, *SECOND, code=2).split())
    assert server.sent == []


def test_run_pending_shows_no_numbers_that_it_cannot_keep(shell: Shell, server: Asking) -> None:
    first = shown(shell, *PENDING)
    assert first.startswith("number")
    server.asks("sess_1", call(9), *THREE)
    with closing(sqlite3.connect(shell.home / "state/state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        told = shown(shell, *PENDING)
    assert "the numbers of calls cannot be kept on this machine" in told
    assert "to decide on one" not in told
    assert [line[:1] for line in told.splitlines() if "echo" in line] == ["-"] * 4
    with Terminal(shell, *SECOND) as terminal:  # of the list that showed numbers
        terminal.shows("(tool, evt_2):").shows(ASKED).reply("\x04")
        assert terminal.end() == 2


# By letter. The second call equals the first, the fourth on another thread.

FOUR = (call(1), call(2, input=call(1)["input"]), call(3), call(4, input=call(1)["input"], session_thread_id="sthr_2"))
LETTERS = {
    "y y n n": ["evt_1 allow", "evt_2 allow", "evt_3 deny", "evt_4 deny"],
    "a n n": ["evt_1 allow", "evt_2 allow", "evt_3 deny", "evt_4 deny"],
    "y a r": ["evt_1 allow", "evt_2 allow", "evt_3 deny", "evt_4 deny"],
    "n a a a": ["evt_1 deny", "evt_2 allow", "evt_3 allow", "evt_4 allow"],
    "? all YES rest": ["evt_1 allow", "evt_2 allow", "evt_3 allow", "evt_4 deny"],
    "r": ["evt_1 deny", "evt_2 deny", "evt_3 deny", "evt_4 deny"],
    "a n \x04": [],
}


@pytest.mark.parametrize(
    ("server", "words", "letters"),
    [
        *(("current", ("qoder", "session", "approve", "sess_1"), letters) for letters in LETTERS),
        *((generation, FOLLOW, letters) for generation, letters in checkerboard(GENERATIONS, LETTERS)),
    ],
    indirect=["server"],
)
@pytest.mark.few(3)
def test_question_means_the_same_wherever_it_is_asked(
    shell: Shell, server: Asking, words: tuple[str, ...], letters: str
) -> None:
    server.asks("sess_1", *FOUR)
    replies = letters.split(" ")
    with Terminal(shell, *words) as terminal:
        for number, letter in enumerate(replies, 1):
            asked_again(terminal, ASKED, number).reply(letter if letter == "\x04" else f"{letter}\n")
        assert terminal.end() == (0 if LETTERS[letters] else 11 if words is FOLLOW else 2), terminal.screen
    assert said(server) == LETTERS[letters]
    assert len(server.sent) <= 1


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

SAYS = "I clean up.\n  │ command\nthe agent asks to run ls (tool, evt_1):\x1b[2J\r\u202e\nallow? [y]es " + "z" * 900


@alternating("words", [FOLLOW, ("qoder", "run", "approve", "drun_1")])
@pytest.mark.few(1)
def test_question_shows_the_deployment_the_title_and_what_the_agent_said_last(
    shell: Shell, server: Asking, words: tuple[str, ...]
) -> None:
    session = server.asks("sess_1", call(1))
    session.fields["title"] = 'Night"ly\nallow? [y]es'
    server.tell(session, server.world.now() - 58.5, says("Before."), says(SAYS), apart=1)
    assert shell.qoder("deploy", "get", "dep_1").code == 0  # where this machine sees its name
    with Terminal(shell, *words) as terminal:
        terminal.shows(ASKED).reply("\x04")
        terminal.end()
    screen = terminal.screen
    first = screen.index('deployment "nightly" (dep_1)')
    assert screen[first + 1 : first + 4] == ["run drun_1", "session sess_1", 'title "Night\\"ly\\nallow? [y]es"']
    assert screen[first + 4].startswith("the agent said last, ")
    asks = screen.index("the agent asks to run Bash (tool, evt_1):")
    quoted = screen[first + 5 : asks]
    assert quoted[0] == "  > I clean up."
    assert all(line.startswith("  > ") for line in quoted)
    assert len(quoted) <= 9
    assert screen[asks + 1 : asks + 3] == ["  │ command", "  │   echo 1"]


WORK = [{"type": "agent.tool_result", "tool_use_id": f"evt_x{n}"} for n in range(300)]
AROUND: dict[str, Callable[[httpx.Request, Callable[..., httpx.Response]], httpx.Response]] = {
    "the agent has said nothing yet": lambda asked, answer: ok(page(*[{"data": 1}] * 3)),
    "the agent's last message cannot be read: ": lambda asked, answer: refusal(403, "permission_error", "No."),
    "the agent's last message is too far back to be shown": lambda asked, answer: answer(
        again(asked, url=asked.url.copy_remove_param("types[]"))
    ),
}


@of_sessions
@pytest.mark.parametrize("told", AROUND)
@pytest.mark.few(2)
def test_question_comes_though_nothing_around_the_call_can_be_read(shell: Shell, server: Asking, told: str) -> None:
    server.tell(server.asks("sess_1", call(1)), server.world.now() - 1, *WORK, apart=0.001)
    server.lie = lambda asked, answer: (
        AROUND[told](asked, answer) if asked.url.params.get_list("types[]") == ["agent.message"] else answer()
    )
    with Terminal(shell, "qoder", "session", "approve", "sess_1") as terminal:
        terminal.shows(told).shows(ASKED).reply("y\n")
        assert terminal.end() == 0
    assert said(server) == ["evt_1 allow"]


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


def test_run_wait_does_not_ask_where_the_session_continues_by_itself(tmp_path: Path) -> None:
    server = on_real_time("current")
    session = server.asks("sess_1", call(1))
    server.tell(session, server.world.now(), {**session.moments.pop().beat.fields})
    with served(server.world, Hooked(server)) as at:
        shell = Shell(tmp_path)
        shell.env |= {"QODER_BASE_URL": at.base_url, "QODER_PAT": TOKEN}
        with Terminal(shell, *FOLLOW, env={"TERM": "dumb"}) as terminal:
            terminal.shows("asks in 1")
            server.tell(session, server.world.now(), RUNNING, says("All done."), ENDED)
            assert terminal.end() == 0, terminal.screen
    assert "[y]es" not in terminal.raw
    assert server.sent == []
