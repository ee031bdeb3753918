"""`qoder session chat` on a real terminal: what is typed, shown and sent, and how the terminal is left."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from qoder_cli.sandbox.server import Server
from tests.support.processes import Shell, Terminal, sandbox, until

PAGE = (Path(__file__).parents[2] / "qoder_cli/help/pages/sessions.md").read_text("utf-8")
[RECIPE] = re.findall(r"<!-- typed: chat -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
WIDE = "Räume auf: 你好世界 👩‍🔧 und sag mir dann in einem langen Satz, was du getan hast 世界"


@pytest.fixture
def server() -> Iterator[Server]:
    with sandbox("current") as made:
        yield made


@pytest.fixture
def shell(tmp_path: Path, server: Server) -> Shell:
    made = Shell(tmp_path, server)
    made.env["NO_COLOR"] = "1"
    return made


def new(agent: str, *words: str) -> tuple[str, ...]:
    return ("qoder", "session", "new", "--agent", agent, "--env", "env_demo", "--chat", *words)


def at_prompt(terminal: Terminal) -> Terminal:
    """Return the terminal once it waits for a line."""
    until(lambda: terminal.raw.endswith("> ") or terminal.process.poll() is not None, "the prompt")
    return terminal


def test_session_chat_sends_a_message_and_shows_the_reply_as_it_is_made(shell: Shell, server: Server) -> None:
    with Terminal(shell, *new("agent_demo")) as terminal:
        at_prompt(terminal).type("\n" + WIDE + "\n")
        terminal.shows("You said: ")
        terminal.type("\x04")  # while it works, or behind it: either way it is left
        assert terminal.end() == 0
    assert "to come back: qoder session chat sess_" in terminal.raw
    session = [*server.world.sessions.values()][-1]  # the newest
    said = [moment for moment in session.past(server.world.now()) if moment.beat.type == "user.message"]
    assert [moment.beat.fields["content"][0]["text"] for moment in said] == [WIDE]
    streams = [seen for seen in server.world.requests if seen.path.endswith("/stream")]
    assert {request.query for request in streams} == {"event_deltas%5B%5D=agent.message"}


def test_session_chat_is_left_and_come_back_to_as_in_its_recipe(shell: Shell, tmp_path: Path) -> None:
    first, save, back = RECIPE.replace("/tmp/june", str(tmp_path / "june")).strip().splitlines()
    with Terminal(shell, "sh", "-c", first) as terminal:
        at_prompt(terminal).type("Report on June.\n")
        terminal.shows("You said: Report on June.")
        at_prompt(terminal).type("\x04")
        assert terminal.end() == 0
    assert shell.run("sh", "-c", save).code == 0
    with Terminal(shell, "sh", "-c", back) as terminal:
        terminal.shows("> Report on June.").shows("You said: Report on June.")
        at_prompt(terminal).type("And July?\n")
        terminal.shows("You said: And July?")
        at_prompt(terminal).type("\x04")
        assert terminal.end() == 0
    assert terminal.raw.count("And July?") == 2  # as it was typed, and in the reply


def test_session_chat_is_interrupted_by_esc_and_leaves_the_terminal_as_it_was(shell: Shell) -> None:
    command = " ".join(f"'{word}'" for word in new("agent_minute", "-m", "Report."))
    with Terminal(shell, "sh", "-c", f"stty -g; {command}; stty -g") as terminal:
        terminal.shows("tool Bash").type("\x1b")
        terminal.shows("idle: cancelled")
        at_prompt(terminal).type("\x04")
        assert terminal.end() == 0
    before, *_, after = (line for line in terminal.raw.splitlines() if line.count(":") > 10)
    assert before.strip() == after.strip()


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_session_chat_is_left_while_the_agent_works(shell: Shell, server: Server, key: str) -> None:
    with Terminal(shell, *new("agent_minute", "-m", "Report.")) as terminal:
        terminal.shows("tool Bash").type(key)
        assert terminal.end() == 0
    assert "the agent keeps working" in terminal.raw
    session = [*server.world.sessions.values()][-1]  # the newest
    assert session.status(server.world.now()) == "running"


def test_session_chat_asks_what_the_agent_asks(shell: Shell) -> None:
    with Terminal(shell, *new("agent_ask", "-m", "Push.")) as terminal:
        terminal.shows("allow? [y]es [n]o [w]hy not [s]top").type("y\n")
        terminal.shows("I ran 'git push origin main'.")
        at_prompt(terminal).type("Again.\n")
        until(lambda: terminal.raw.count("allow?") == 2, "the second question")
        terminal.type("s\n")
        assert terminal.end() == 0
    assert "the agent keeps working" in terminal.raw


def test_session_chat_takes_pasted_lines_for_one_message(shell: Shell, server: Server) -> None:
    with Terminal(shell, *new("agent_demo")) as terminal:
        at_prompt(terminal).type("one\ntwo\n")
        terminal.shows("You said: one").shows("two")
        at_prompt(terminal).type("\x04")
        assert terminal.end() == 0
