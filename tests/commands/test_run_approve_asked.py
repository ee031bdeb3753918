"""Questions about calls: who is asked about what, what is shown before, and what is sent for each letter."""

import io
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import pytest

from qoder_cli.app import App
from tests.conftest import TOKEN, Qoder
from tests.support.asking import Asking, Event, Events, call, says

APPROVE, DENY = ("session", "approve", "sess_1"), ("session", "deny", "sess_1")
WAIT = ("session", "wait", "sess_1", "--on-ask", "prompt", "--timeout", "5m")
ASKED = re.compile(
    r"allow.*? \[\?\]|call \d+ of .*|(?:allowing|denying) \d+ calls: .*|evt_\d+ (?:holds|has over|was) \w+"
)
CUSTOM = call(2, kind="agent.custom_tool_use")
SECRET = call(1, input={"command": f"curl -d {TOKEN}"})


class Typing(io.StringIO):
    """What a person types, who takes so many seconds over each line."""

    def __init__(self, qoder: Qoder, typed: str, seconds: float = 0.0) -> None:
        super().__init__("".join(f"{line}\n" for line in typed.split()))
        self.clock, self.seconds = qoder.clock, seconds

    def readline(self, *size: Any) -> str:
        self.clock.time += self.seconds
        return super().readline(*size)


@pytest.fixture
def server(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> Asking:
    """Return a server, whose user sits at a terminal."""
    monkeypatch.setattr(App, "may_ask", True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    return Asking(qoder)


def replies(server: Asking) -> list[str]:
    events = [event for body in server.sent for event in body["events"]]
    return [f"{each['tool_use_id'][4:]} {each['result']}" for each in events]


def equal(number: int) -> Event:
    return call(number, input=call(1)["input"])


class Case(NamedTuple):
    """The calls, a command, what is typed, the exit code, what was sent, and how often what was asked and shown."""

    calls: Events
    words: tuple[str, ...]
    typed: str
    code: int
    sent: list[str]
    shown: list[str]


YN = "allow? [y]es [n]o [w]hy not [a]ll equal [r]est: deny [?]"
HIDDEN = "evt_1 holds a"
N = "allow? [n]o [w]hy not [r]est: deny [?]"
OF_3 = [each for number in (1, 2, 3) for each in (f"call {number} of 3", YN)]
CASES = {
    "one": Case([call(1)], APPROVE, "y", 0, ["1 allow"], [YN]),
    "all of one": Case([call(1)], APPROVE, "a", 0, ["1 allow"], [YN]),
    "the rest of one": Case([call(1)], DENY, "r", 0, ["1 deny"], [N]),
    "all equal": Case(
        [call(1), call(2), equal(3)],
        APPROVE,
        "a n",
        0,
        ["1 allow", "2 deny", "3 allow"],
        ["call 1 of 3; 1 more equal it", YN, "allowing 2 calls: evt_1, evt_3", "call 2 of 3", YN],
    ),
    "none equal any more": Case(
        [call(1), equal(2), call(3)],
        APPROVE,
        "n a y",
        0,
        ["1 deny", "2 allow", "3 allow"],
        ["call 1 of 3; 1 more equal it", *OF_3[1:]],
    ),
    "the rest of three": Case(
        [call(1), call(2), call(3)],
        APPROVE,
        "y r",
        0,
        ["1 allow", "2 deny", "3 deny"],
        [*OF_3[:4], "denying 2 calls: evt_2, evt_3"],
    ),
    "the rest, but no custom one": Case(
        [call(1), CUSTOM, call(3)],
        WAIT,
        "r",
        11,
        ["1 deny", "3 deny"],
        [*OF_3[:2], "denying 2 calls: evt_1, evt_3"],
    ),
    "a custom one alone": Case([CUSTOM], WAIT, "", 11, [], []),
    "a secret": Case([SECRET, call(2)], WAIT, "y", 11, ["2 allow"], [HIDDEN, "call 2 of 2", YN, HIDDEN]),
    "a secret alone": Case([SECRET], WAIT, "", 11, [], [HIDDEN]),
    "what cannot be read": Case([call(1, name=None)], WAIT, "", 11, [], []),
    "what can be read": Case([call(1, name=None), call(2)], WAIT, "y", 11, ["2 allow"], [YN]),
    "denying a secret": Case([SECRET], DENY, "n", 0, ["1 deny"], [N]),
}


@pytest.mark.parametrize("name", CASES)
def test_question_is_asked_about_each_call_that_may_be_allowed(qoder: Qoder, server: Asking, name: str) -> None:
    calls, words, typed, code, sent, shown = CASES[name]
    server.asks("sess_1", *calls)
    qoder.stdin = Typing(qoder, typed)
    ran = qoder(*words)
    assert (ran.code, replies(server), ASKED.findall(ran.err)) == (code, sent, shown), ran.err


def test_question_leads_to_what_was_typed_for_each_call(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1", call(1), call(2), call(3))
    qoder.stdin = Typing(qoder, "y n y")
    ran = qoder(*APPROVE)
    assert re.findall(r"(\w+ing Bash .*) in session", ran.err) == [
        "approving Bash (evt_1), Bash (evt_3)",
        "denying Bash (evt_2)",
    ]
    assert ran.out.splitlines()[1:] == ["approved\tevt_1", "approved\tevt_3", "denied\tevt_2"]


def test_question_is_not_asked_where_nothing_waits(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1")
    ran = qoder(*APPROVE, "--all")
    assert (ran.code, ran.err) == (0, "nothing waits in session sess_1\n")


# What is shown before.

RUN = ("run", "approve", "drun_1")
ABOUT: dict[str, tuple[tuple[str, ...], str | None, list[str]]] = {
    "a session's": (APPROVE, "dep_1", ['deployment "nightly" (dep_1)', "session sess_1"]),
    "one that was not seen": (APPROVE, "dep_9", ["deployment dep_9", "session sess_1"]),
    "a run's": (RUN, None, ['deployment "nightly" (dep_1)', "run drun_1", "session sess_1"]),
    "none": (APPROVE, None, ["session sess_1"]),
    "a session that is waited for": (WAIT[:-2], None, ["session sess_1"]),
}


@pytest.mark.parametrize("name", ABOUT)
def test_question_names_the_deployment_where_there_is_one(qoder: Qoder, server: Asking, name: str) -> None:
    words, deployment, shown = ABOUT[name]
    server.world.add_deployment(id="dep_0", at=qoder.clock.time, name="other", agent={"id": "agent_1"})
    assert qoder("deploy", "list").code == 0  # where this machine sees their names
    server.asks("sess_1", call(1)).fields["deployment_id"] = deployment
    qoder.stdin = Typing(qoder, "n")
    before = qoder(*words).err.partition('title "Nightly"')[0].splitlines()
    assert before == ["sess_1 waits for an answer"] * (words not in (APPROVE, RUN)) + shown


MESSAGES: dict[str, tuple[Events, list[str]]] = {
    "8 rows": ([says("\n".join("12345678"))], [f"  > {row}" for row in "12345678"]),
    "9 rows": ([says("\n".join("123456789"))], [*(f"  > {row}" for row in "12345678"), "  > …"]),
    "others since": ([says("Before."), says(" \n"), says("Hi!", "user.message")], ["  > Before."]),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_question_shows_the_last_words_of_the_agent_and_nobody_elses(qoder: Qoder, server: Asking, name: str) -> None:
    events, shown = MESSAGES[name]
    server.tell(server.asks("sess_1", call(1)), qoder.clock.time - 59.5, *events, apart=0.001)
    server.ignores = ("types[]",)
    qoder.stdin = Typing(qoder, "n")
    assert re.findall("^  > .*", qoder(*APPROVE).err, re.MULTILINE) == shown


INPUTS: dict[str, tuple[Any, list[str]]] = {
    "nothing": ({}, ["{}"]),
    "no object": (["ls"], ["[", '  "ls"', "]"]),
    "a row": ({"command": "x" * 72}, ["command", "  " + "x" * 72]),
    "a row and a letter": ({"command": "x" * 73}, ["command", "  " + "x" * 72, "    x"]),
    "another type": ({"timeout": 5}, ["timeout", "  5"]),
}


@pytest.mark.parametrize("name", INPUTS)
def test_question_shows_the_whole_input_in_rows_of_the_terminal(qoder: Qoder, server: Asking, name: str) -> None:
    input, rows = INPUTS[name]
    server.asks("sess_1", call(1, input=input))
    qoder.stdin = Typing(qoder, "n")
    assert re.findall("^  [│┆] (.*)", qoder(*APPROVE).err, re.MULTILINE) == rows


HEADING = "the agent asks to run Bash (tool, evt_1):\ncommand\n  "


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("x" * (9001 - len(HEADING)), "allow a call of"),
        ("x" * (9002 - len(HEADING)), ""),
        ("x\n" * 1997 + "x", "allow a call of"),
        ("x\n" * 1998 + "x", ""),
        ("x\n" * 20 + "x", "allow?"),
        ("x\n" * 21 + "x", 'allow a call of "Bash" with'),
    ],
    ids=["as many characters", "one more", "2,000 rows", "2,001 rows", "23 rows", "24 rows"],
)
def test_question_is_about_what_a_person_could_have_read(
    qoder: Qoder, server: Asking, monkeypatch: pytest.MonkeyPatch, text: str, question: str
) -> None:
    monkeypatch.setattr("qoder_cli.sessions.question.MOST_SHOWN", 9000)  # so many take time
    server.asks("sess_1", call(1, input={"command": text}))
    qoder.stdin = Typing(qoder, "y")
    ran = qoder(*APPROVE)
    assert (ran.code, replies(server)) == ((0, ["1 allow"]) if question else (2, [])), ran.err[-300:]
    assert (question or "evt_1 has over 100,000 characters, or over 2,000 lines here") in ran.err


# When it is asked, and when no more.


@pytest.mark.parametrize("read", range(1, 5))
def test_question_is_not_asked_where_somebody_else_answers_meanwhile(qoder: Qoder, server: Asking, read: int) -> None:
    server.asks("sess_1", call(1))
    reads: list[int] = []

    def answered(request: httpx.Request, answer: Callable[..., httpx.Response]) -> httpx.Response:
        reads.append(1)
        if len(reads) == read:
            server.colleague("evt_1")
        return answer()

    server.bends("GET", answered)
    qoder.stdin = Typing(qoder, "y")
    ran = qoder(*WAIT)
    assert (ran.code, dict(server.taken)) == (0, {"evt_1": 1}), ran.err


@pytest.mark.parametrize(("spent", "is_asked"), [(299.9, True), (300.0, False)])
def test_question_is_asked_until_the_timeout(qoder: Qoder, server: Asking, spent: float, is_asked: bool) -> None:
    server.asks("sess_1", call(1))
    began = qoder.clock.time

    def late(request: httpx.Request, answer: Callable[..., httpx.Response]) -> httpx.Response:
        answered = answer()
        qoder.clock.time = max(qoder.clock.time, began + spent)
        return answered

    server.bends("GET", late)
    qoder.stdin = Typing(qoder, "y")
    assert (YN in qoder(*WAIT).err) == is_asked
