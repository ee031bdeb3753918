"""The numbers of calls that wait: where a person is shown them, what is kept of them, and how they are said back."""

from collections.abc import Callable

import pytest

from qoder_cli.app import App
from tests.conftest import TOKEN, Qoder
from tests.support.asking import Asking, call

BY_NUMBER = "to decide on one by its number: "


@pytest.fixture(autouse=True)
def terminal(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> None:
    qoder.terminal = True
    monkeypatch.setattr(App, "may_ask", property(lambda app: "CI" not in app.env))


@pytest.fixture
def server(qoder: Qoder) -> Asking:
    return Asking(qoder)


def noted(qoder: Qoder, *typed: str) -> str | None:
    """Return which command `pending` notes to decide by a number, if any."""
    ran = qoder("run", "pending", *typed)
    assert ran.code == 0, ran.err
    notes = [line for line in ran.err.splitlines() if line.startswith(BY_NUMBER)]
    assert len(notes) < 2
    return notes[0].removeprefix(BY_NUMBER) if notes else None


APPROVE = "qoder run approve drun_1 1"
# What is typed, and the command that is noted.
PENDING: dict[str, str | None] = {
    "drun_1": APPROVE,
    "sess_1": "qoder run approve sess_1 1",
    "-": APPROVE,  # of what stands on standard input
    "drun_1 drun_2": "qoder run approve RUN NUMBER",
    "drun_3": "qoder run answer drun_3 1 --with TEXT",
    "drun_4": None,
}


@pytest.mark.parametrize("typed", PENDING)
def test_run_pending_says_how_to_decide_by_a_number(qoder: Qoder, server: Asking, typed: str) -> None:
    for number in (1, 2):
        server.asks(f"sess_{number}", call(number))
    server.asks("sess_3", call(3, kind="agent.custom_tool_use", name="lookup"))
    server.asks("sess_4")
    qoder.stdin = "drun_1\n"
    assert noted(qoder, *typed.split()) == PENDING[typed]


def test_run_pending_numbers_the_calls_that_can_be_read(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1", call(1), call(2))
    server.asks("sess_3", call(3))
    unreadable(qoder, server)
    assert noted(qoder, "drun_1") == APPROVE
    server.colleague("evt_2")
    assert "evt_2 is not pending: it was approved" in qoder("run", "approve", "drun_1", "1").err
    assert noted(qoder, "drun_1", "drun_3") == "qoder run approve RUN NUMBER"


def test_run_pending_shows_no_numbers_that_it_does_not_keep(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1", call(1))
    qoder.env["QODER_STATE_DIR"] = "/dev/null/state"
    warned = qoder("run", "pending", "drun_1").err
    assert ("the numbers of calls cannot be kept" in warned, BY_NUMBER in warned) == (True, False)


@pytest.mark.parametrize(
    ("is_terminal", "format", "is_kept"),
    [(True, "table", True), (True, "json", False), (False, "pretty", False), (False, "table", False)],
)
def test_run_pending_keeps_numbers_only_for_who_sees_them(
    qoder: Qoder, server: Asking, is_terminal: bool, format: str, is_kept: bool
) -> None:
    server.asks("sess_1", call(1))
    qoder.terminal = is_terminal
    assert bool(noted(qoder, "drun_1", "-o", format)) == is_kept
    server.colleague("evt_1")
    ran = qoder("run", "approve", "drun_1", "1")
    assert (ran.code, "no list of calls was shown here" in ran.err) == ((6, False) if is_kept else (2, True))


def test_run_approve_knows_no_number_that_was_shown_to_another_profile(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1", call(1))
    qoder.configured(f'[profiles.other]\ntoken = "{TOKEN}"\n')
    assert noted(qoder, "drun_1", "--profile", "other") is not None
    ran = qoder("run", "approve", "drun_1", "1")
    assert (ran.code, server.writes, "no list of calls was shown here" in ran.err) == (2, [], True)


@pytest.mark.parametrize(
    ("may_ask", "words", "is_number_refused"),
    [
        *((True, ["1", "--yes"], True), (False, ["1"], True), (False, ["1", "--yes"], True)),
        *((False, ["evt_1"], False), (True, ["--yes"], False)),
    ],
)
def test_run_approve_takes_a_number_only_where_it_asks(
    qoder: Qoder, server: Asking, may_ask: bool, words: list[str], is_number_refused: bool
) -> None:
    server.asks("sess_1", call(1))
    qoder("run", "pending", "drun_1")
    if not may_ask:
        qoder.env["CI"] = "true"
    ran = qoder("run", "approve", "drun_1", *words)
    assert (ran.code, server.writes, "1 is the number of a call" in ran.err) == (2, [], is_number_refused)


def test_run_approve_decides_on_the_call_that_a_number_stands_for(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1", call(1), call(2))
    qoder("run", "pending", "drun_1")
    qoder.stdin = "y\n"
    assert qoder("run", "approve", "drun_1", "2", "-o", "id").out == "evt_2\n"
    assert server.taken == {"evt_2": 1}
    server.tells(lambda events: [event | {"name": "Other"} if event["id"] == "evt_1" else event for event in events])
    ran = qoder("run", "approve", "drun_1", "1", "--json")
    assert (ran.code, ran.error["next"][:4]) == (6, ["qoder", "run", "pending", "sess_1"])
    assert "is another call now than the one that was shown" in ran.error["message"]


@pytest.mark.parametrize(
    ("given", "typed", "code", "shown"),
    [
        ("echo 1", "y", 0, f'answer it with "{"x" * 60}…" (61 characters)? [y]es [n]o'),
        ("echo 1", "n", 2, "cancelled; nothing was sent"),
        ("x\n" * 30, "y", 0, f'answer a call of "{"x" * 40}…" with'),
        ("x\n" * 2000, "y", 2, "evt_1 has over 100,000 characters, or over 2,000 lines here"),
    ],
    ids=["yes", "no", "a long call", "one that is too long"],
)
def test_run_answer_asks_before_it_gives_a_result_to_a_number(
    qoder: Qoder, server: Asking, given: str, typed: str, code: int, shown: str
) -> None:
    server.asks("sess_1", call(1, kind="agent.custom_tool_use", name="x" * 41, input={"command": given}))
    qoder("run", "pending", "drun_1")
    qoder.stdin = f"{typed}\n"
    ran = qoder("run", "answer", "drun_1", "1", "--with", "x" * 61)
    assert ("\nrun drun_1\n" in ran.err) == ("over 2,000" not in shown)
    assert (ran.code, len(server.sent), shown in ran.err) == (code, 1 - code // 2, True), ran.err


def unreadable(qoder: Qoder, server: Asking) -> None:
    server.tells(lambda events: [event for event in events if event["id"] != "evt_1"])


REFUSED: dict[str, tuple[Callable[[Qoder, Asking], object], str, int, str]] = {
    "unreadable": (unreadable, "drun_1 1", 6, "what it would do cannot be read"),
    "too large": (lambda qoder, server: None, "drun_1 3", 2, "has 2 calls, and no number 3"),
    "another session": (lambda qoder, server: server.asks("sess_2", call(3)), "drun_2 1", 2, "no list of calls was"),
    "one of two": (lambda qoder, server: server.colleague("evt_1"), "drun_1 evt_2 1", 6, "evt_1 is not pending"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_run_approve_refuses_a_number_that_stands_for_no_call_as_it_was_shown(
    qoder: Qoder, server: Asking, name: str
) -> None:
    bend, typed, code, why = REFUSED[name]
    server.asks("sess_1", call(1), call(2))
    qoder("run", "pending", "drun_1")
    bend(qoder, server)
    ran = qoder("run", "approve", *typed.split())
    assert (ran.code, why in ran.err, "[y]es" in ran.err, server.sent) == (code, True, False, [])
