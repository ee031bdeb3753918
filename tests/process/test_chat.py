"""`qoder session chat` on a real terminal: what is typed, shown and sent, and how the terminal is left."""

import os
import re
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pyte
import pytest

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import Request, Step, WireResponse
from qoder_cli.sandbox.world import World
from tests.support.cells import ALL_CELLS, checkerboard
from tests.support.processes import HASTE, SLOWLY_READ, Shell, Terminal, sandbox, served, until

PAGE = (Path(__file__).parents[2] / "qoder_cli/help/pages/sessions.md").read_text("utf-8")
[RECIPE] = re.findall(r"<!-- typed: chat -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
WIDE = "Räume auf: 你好世界 und sag mir dann in einem langen Satz, was du getan hast 世界"
LONG = "x" * 300 + "\n" + "y" * 4000 + "\nend"
WORKS = "the agent is working; Esc interrupts it"
PATIENT = "from qoder_cli.input import editor\neditor.ESCAPE_WITHIN = 60.0"  # as if no ESC came late
SOON = "from qoder_cli.input import editor\neditor.AT_REST = 0.1\n"  # as if the person had not typed for a while
LOOKS = "from qoder_cli.sessions import chat\nchat.QUIET = 5.0\n"  # seconds of the hurried clock, then a look


class Chat(Terminal):
    """A chat on a terminal of 80 columns, whose screen is drawn as a terminal draws it."""

    def __init__(self, shell: Shell, *command: str, **settings: Any) -> None:
        super().__init__(shell, *command, **settings)
        self._display = pyte.Screen(80, 50)
        self._stream = pyte.ByteStream(self._display)
        self._fed = 0
        self._shown: list[str] = []

    @property
    def screen(self) -> list[str]:
        if news := bytes(self._raw[self._fed :]):
            self._stream.feed(news)
            self._fed += len(news)
            self._shown = [line.rstrip() for line in self._display.display if line.strip()]
        return self._shown

    def _has(self, word: str) -> bool:
        return any(word in line for line in self.screen)

    def type(self, keys: str) -> None:
        """Type, no more at once than a terminal takes."""
        for begin in range(0, len(keys), 1000):
            os.write(self._master, keys[begin : begin + 1000].encode("utf-8", "surrogateescape"))

    def ends_in(self, *lines: str) -> Self:
        """Wait until the screen ends so, and return itself."""
        until(lambda: tuple(self.screen[-len(lines) :]) == lines, str(lines))
        return self

    def at_prompt(self) -> Self:
        """Return itself once a message can be typed, and sent."""
        until(lambda: self._is_at_prompt() or self.process.poll() is not None, f"the prompt: {self.screen}")
        return self

    def _is_at_prompt(self) -> bool:
        lines = self.screen
        return lines[-1:] == [">"] and WORKS not in lines

    def enters(self, message: str) -> Self:
        """Type a message, and press Enter once it is shown, as what follows at once is part of a paste."""
        begin, end = len(self.at_prompt().raw), message.split()[-1]
        self.type(message)
        until(lambda: self.screen[-1].endswith(end) or self.process.poll() is not None, f"{message!r} typed")
        self.type_enter()
        until(lambda: f"{end}\r\n" in self.raw[begin:] or self.process.poll() is not None, f"{message!r} sent")
        return self

    def type_enter(self) -> None:
        time.sleep(0.1)
        self.type("\r")

    def ends(self) -> int:
        """Leave it at the prompt, and return its exit code."""
        self.at_prompt().type("\x04")
        return self.end()


@pytest.fixture
def server() -> Iterator[Server]:
    with sandbox("current") as made:
        yield made


@pytest.fixture
def slow() -> Iterator[Server]:
    """Return a sandbox whose agents work for minutes."""
    with sandbox("current", speed=0.5) as made:
        yield made


@pytest.fixture
def shell(tmp_path: Path, server: Server) -> Shell:
    made = Shell(tmp_path, server)
    made.env["NO_COLOR"] = "1"
    return made


def new(agent: str, *words: str) -> tuple[str, ...]:
    return ("qoder", "session", "new", "--agent", agent, "--env", "default", "--chat", *words)


def newest(server: Server) -> Any:
    return [*server.world.sessions.values()][-1]


def sent(server: Server, kind: str = "user.message") -> list[Any]:
    session = newest(server)
    return [moment.beat.fields for moment in session.past(server.world.now()) if moment.beat.type == kind]


def messages(server: Server) -> list[str]:
    return [fields["content"][0]["text"] for fields in sent(server)]


def test_session_chat_is_left_and_come_back_to_with_what_was_typed_before(
    shell: Shell, server: Server, tmp_path: Path
) -> None:
    def expanded(line: str) -> list[str]:
        """Return the words of a line, as a shell has them."""
        return shell.run("sh", "-c", f"printf '%s\\n' {line}").out.splitlines()

    first, save, back = RECIPE.replace("/tmp/june", str(tmp_path / "june")).strip().splitlines()
    with Chat(shell, *expanded(first)) as terminal:
        terminal.enters("Report on June.").shows("You said: Report on June.")
        assert terminal.ends() == 0
    assert shell.quick().bash(save).code == 0
    with Chat(shell, *expanded(back)) as terminal:
        terminal.shows("> Report on June.").shows("You said: Report on June.")
        terminal.at_prompt().type("\x1b[A")
        terminal.ends_in("> Report on June.").type("\x1b[B")
        terminal.enters("And July?").shows("You said: And July?")
        terminal.at_prompt().type("\x12une")
        until(lambda: terminal.screen[-1].endswith("une"), "the search")
        terminal.type_enter()
        terminal.ends_in("> Report on June.")
        assert len(messages(server)) == 2
        terminal.type_enter()
        until(lambda: messages(server) == ["Report on June.", "And July?", "Report on June."], "the message")
        assert terminal.ends() == 0
    assert [line for line in terminal.screen if "And July?" in line] == ["> And July?", "You said: And July?"]


TYPED = {  # what is shown at the end of the screen, and sent
    WIDE: (("  世界",), WIDE),
    "one\rtwo": (("> one", "  two"), "one\ntwo"),  # a paste
    "\x1b[200~one\n\ttwo\x1b[201~": (("> one", "      two"), "one\n\ttwo"),  # the same in brackets
    "one\x1b\rtwo": (("> one", "  two"), "one\ntwo"),  # Alt-Enter
    "Gr\udcfc\udcdfe": (("> Gr??e",), "Gr??e"),  # no UTF-8
    "tow\x1b[D\x1b[D\x7f\x1b[C\x1b[Ct": (("> owt",), "owt"),  # arrows
    f"\x1b[200~{LONG}\x1b[201~": (("  end",), LONG),
}
if ALL_CELLS:
    TYPED["x" * 5000 + "end"] = ("  xxxxxxxxend",), "x" * 5000 + "end"


def test_session_chat_sends_all_that_was_typed(shell: Shell, server: Server) -> None:
    sent: list[str] = []
    with Chat(shell, *new("demo-agent")) as terminal:
        terminal.at_prompt().type_enter()
        time.sleep(0.1)  # what follows at once would be part of a paste
        for typed, (shown, message) in TYPED.items():
            terminal.at_prompt().type(typed)
            terminal.ends_in(*shown)
            assert messages(server) == sent
            terminal.type_enter()
            sent.append(message)
            until(lambda: len(messages(server)) == len(sent), f"the message {message[:20]!r}")
            assert messages(server) == sent
        assert terminal.ends() == 0


def test_session_chat_shows_what_a_colleague_says_and_then_the_reply_to_me(shell: Shell, server: Server) -> None:
    with Chat(shell, *new("demo-agent")) as terminal:
        terminal.at_prompt().type("half a mes")
        session = newest(server).id
        assert shell.qoder("session", "send", session, "-m", "I am the colleague.").code == 0
        terminal.shows("You said: I am the colleague.").ends_in("> half a mes").type("sage")
        terminal.ends_in("> half a message").type_enter()
        terminal.shows("You said: half a message")
        assert terminal.ends() == 0
    assert messages(server) == ["I am the colleague.", "half a message"]
    dialogue = [line for line in terminal.screen if line.startswith((">", "You said:"))]
    assert dialogue == [
        "> I am the colleague.",
        "You said: I am the colleague.",
        "> half a message",
        "You said: half a message",
    ]


def test_session_chat_interrupts_with_esc(shell: Shell, slow: Server) -> None:
    with Chat(shell.enter(slow), *new("agent_minute", "-m", "Report.")) as terminal:
        terminal.shows(WORKS).type("\x1b")
        terminal.shows("interrupting").shows("idle: cancelled")
        assert terminal.ends() == 0
    assert len(sent(slow, "user.interrupt")) == 1


def test_session_chat_sends_nothing_while_the_agent_works_and_shows_what_is_left(shell: Shell, slow: Server) -> None:
    with Chat(shell.enter(slow).hurry(PATIENT), *new("agent_minute", "-m", "Report.", "--no-progress")) as terminal:
        terminal.shows(WORKS).type("And thn?\x1b")  # an arrow that arrives in two parts is no Esc
        terminal.ends_in(WORKS, "> And thn?")
        time.sleep(0.3)
        terminal.type("[D\x1b[De")
        terminal.ends_in(WORKS, "> And then?").type_enter()
        until(lambda: "\a" in terminal.raw, "the bell")
        terminal.ends_in(WORKS, "> And then?").type("\x03")
        assert terminal.end() == 0
    assert sent(slow, "user.interrupt") == []
    assert terminal.modes[0] == terminal.modes[1]
    unsent = terminal.screen.index("> And then?")
    assert terminal.screen[unsent + 1] == "this message was not sent"
    assert "the agent keeps working" in terminal.raw
    assert messages(slow) == ["Report."]
    assert newest(slow).status(slow.world.now()) == "running"
    with Chat(shell, "qoder", "session", "chat", newest(slow).id) as terminal:
        terminal.shows(WORKS).type("\x03")
        assert terminal.end() == 0


def test_session_chat_keeps_a_message_that_is_refused(shell: Shell) -> None:
    with sandbox("current", "send:400") as server, Chat(shell.enter(server), *new("demo-agent")) as terminal:
        terminal.enters("Report.").shows("warning: not sent").ends_in("> Report.").type_enter()
        terminal.shows("You said: Report.")
        assert terminal.ends() == 0
        assert messages(server) == ["Report."]


def test_session_chat_that_ends_over_a_message_says_that_it_was_not_sent(shell: Shell) -> None:
    with sandbox("current", "send:403") as server, Chat(shell.enter(server), *new("demo-agent")) as terminal:
        terminal.enters("Report.").shows("this message was not sent")
        assert terminal.end() == 10
        assert messages(server) == []


class Stutter(Faults):
    """Says each part of a message twice on event streams, and what has the `last` words only once that is `awaited`."""

    def __init__(self, last: bytes) -> None:
        super().__init__()
        self._last = last
        self.awaited = threading.Event()

    def answer(self, world: World, request: Request) -> WireResponse:
        answer = super().answer(world, request)
        if not request.path.endswith("/stream") or answer.stream is None:
            return answer
        return replace(answer, stream=self._twice(answer.stream))

    def _twice(self, steps: Iterator[Step]) -> Iterator[Step]:
        for step in steps:
            if not isinstance(step, bytes) or b"event_delta" not in step:
                yield step
                continue
            while self._last in step and not self.awaited.is_set():
                yield 0.005
            yield from (step, step)


def test_session_chat_shows_repeated_parts_once(shell: Shell) -> None:
    stutter = Stutter(b"nine ten")
    with (
        served(World(generation="current", speed=HASTE), stutter) as server,
        Chat(shell.enter(server), *new("demo-agent")) as terminal,
    ):
        terminal.enters("one two three four five six seven eight nine ten")
        terminal.ends_in("You said: one two three four five six", WORKS, ">")  # while it is being written
        stutter.awaited.set()
        terminal.shows("You said: one two three four five six seven eight nine ten")
        assert terminal.ends() == 0
    assert [line for line in terminal.screen if line.startswith("You said: ")] == [
        "You said: one two three four five six seven eight nine ten"
    ]
    streams = [seen for seen in server.world.requests if seen.path.endswith("/stream")]
    assert {request.query for request in streams} == {"event_deltas%5B%5D=agent.message"}


def printed_modes(terminal: Chat) -> list[str]:
    """Return what `stty -g` has printed, each time."""
    return re.findall(r"[0-9a-f]+(?::[0-9a-f]+){10,}", terminal.raw)


END = {"\x03": 0, "\x04": 0, "\x1c": 0, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 0, signal.SIGQUIT: 0}


@pytest.mark.parametrize(("is_working", "how"), checkerboard([False, True], END))
@pytest.mark.few(2)  # others end with the other keys
def test_session_chat_leaves_the_terminal_as_it_was(
    shell: Shell, slow: Server, is_working: bool, how: str | signal.Signals
) -> None:
    message, shown = (("-m", "x"), (WORKS, ">")) if is_working else ((), (">",))
    with Chat(shell.enter(slow), *new("agent_minute", *message)) as terminal:
        terminal.ends_in(*shown)
        if isinstance(how, str):
            terminal.type(how)
        else:
            os.kill(terminal.process.pid, how)
        assert terminal.end() == END[how]
    before, after = terminal.modes
    assert before == after


def test_session_chat_hears_that_its_terminal_is_gone(shell: Shell, slow: Server) -> None:
    with Chat(shell.enter(slow), *new("agent_minute", "-m", "Report.")) as terminal:
        terminal.shows(WORKS)
        terminal.hang_up()
        assert terminal.process.wait(60) == 129


def test_session_chat_is_stopped_and_goes_on(shell: Shell, server: Server) -> None:
    line = f"stty -g; {shlex.join(new('demo-agent'))}; stty -g; echo stopped; fg; stty -g; fg; echo code $?; stty -g"
    with Chat(shell, "bash", "-mc", line) as terminal:
        terminal.at_prompt().type("half a")
        terminal.ends_in("> half a").type("\x1a")
        terminal.shows("stopped").ends_in("> half a").type(" mes")
        terminal.ends_in("> half a mes")
        until(lambda: stopped_by_signal(terminal), "the job")
        until(lambda: len(printed_modes(terminal)) == 3, "the shell")
        terminal.ends_in("> half a mes").type("sage")
        terminal.ends_in("> half a message").type_enter()
        terminal.shows("You said: half a message")
        assert terminal.ends() == 0
    assert messages(server) == ["half a message"]
    assert "code 0" in terminal.raw
    assert len(printed_modes(terminal)) == 4
    assert len(set(printed_modes(terminal))) == 1


def stopped_by_signal(terminal: Chat) -> bool:
    """Send SIGTSTP to the job in the foreground of a terminal, if there is one. Return whether it was."""
    foreground = os.tcgetpgrp(terminal._master)
    os.killpg(foreground, signal.SIGTSTP)
    return foreground != terminal.process.pid


def test_session_chat_asks_what_the_agent_asks_and_keeps_what_is_typed(shell: Shell, server: Server) -> None:
    with Chat(shell.hurry(SOON), *new("agent_ask")) as terminal:
        terminal.at_prompt().type("half a mes")
        assert shell.qoder("session", "send", newest(server).id, "-m", "Push.").code == 0
        terminal.shows("allow? [y]es [n]o [w]hy not [a]ll equal").reply("y\n")
        terminal.shows("I ran 'git push origin main'.").ends_in("> half a mes").type("sage")
        terminal.ends_in("> half a message").type_enter()
        until(lambda: terminal.raw.count("allow?") == 2, "the second question")
        terminal.reply("\x04")
        assert terminal.end() == 0
    assert "the agent keeps working" in terminal.raw
    assert messages(server) == ["Push.", "half a message"]


def test_session_chat_takes_nothing_for_a_reply_that_is_typed_before_its_question_could_be_read(
    shell: Shell, server: Server
) -> None:
    with Chat(shell.hurry(SOON + SLOWLY_READ), *new("agent_ask")) as terminal:
        terminal.at_prompt().type("half a mes")
        assert shell.qoder("session", "send", newest(server).id, "-m", "Push.").code == 0
        terminal.shows("allow? [y]es [n]o [w]hy not [a]ll equal").type("y\r")
        terminal.has_read(shell.home).reply("n\n").ends_in("> half a mes")
        while terminal.process.poll() is None:  # a key that is typed while it prints what came is lost
            terminal.type("\x04")
            time.sleep(0.1)
        assert terminal.end() == 0
    assert [fields["result"] for fields in sent(server, "user.tool_confirmation")] == ["deny"]
    assert "this message was not sent" in terminal.screen


def test_session_chat_says_how_to_answer_a_custom_call_and_goes_on(shell: Shell, server: Server) -> None:
    def looks() -> int:
        return [request.query.count("custom_tool_use") for request in server.world.requests].count(1)

    with Chat(shell.hurry(SOON + LOOKS), *new("agent_custom")) as terminal:
        terminal.enters("Count.").shows("to give its result:").shows("qoder run answer sess_").shows(WORKS)
        session = newest(server).id
        call = shell.qoder("session", "pending", session, "-q").out.split()[-1]
        assert f"{call} --with TEXT" in "".join(terminal.screen), "only the terminal breaks it"
        before = looks()
        until(lambda: looks() > before, "a look whether it still waits")
        hints = terminal.raw.count("to give its result")  # twice, where a look came between two events
        until(lambda: looks() > before + 1, "another look")
        assert shell.qoder("session", "answer", session, call, "--with", "42").code == 0
        assert terminal.ends() == 0
    assert terminal.raw.count("to give its result") == hints
