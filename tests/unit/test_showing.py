"""`--follow` of several runs: whose each line is, on a terminal and elsewhere."""

import io

import pytest

from qoder_cli.app import App
from qoder_cli.output.grid import cut_inside
from qoder_cli.output.screen import Screen
from qoder_cli.runs.logs.log import Showing
from qoder_cli.sessions import transcript
from qoder_cli.sessions.transcript import Margin
from tests.conftest import TOKEN
from tests.support.logs import says
from tests.support.wire import FakeClock, Wire, api_error, page


class Eye:
    """A terminal, or a pipe, on which a Showing shows; and the wire it reads from."""

    def __init__(self, *, terminal: bool = False, color: bool = False) -> None:
        self.wire = Wire()
        self._err = io.BytesIO()
        self.app = App(
            env={"QODER_PAT": TOKEN, "QODER_CONFIG": "/nonexistent/config.toml"},
            out=Screen(io.BytesIO()),
            err=Screen(self._err, is_terminal=terminal, color=color),
            clock=FakeClock(),
            transport=self.wire,
        )

    @property
    def lines(self) -> list[str]:
        """What is shown so far."""
        return self._err.getvalue().decode().splitlines()


@pytest.fixture(autouse=True)
def _sixty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript, "terminal_width", lambda: 60)


def two_runs(eye: Eye, first: str = "nightly-report", second: str = "tidy") -> Showing:
    shown = Showing(eye.app, [first, second])
    shown.name("sess_1", first)
    shown.name("sess_2", second)
    return shown


def test_of_one_run_no_line_has_a_label() -> None:
    eye = Eye()
    Showing(eye.app).hear(says("Hello."), session_id="sess_1")
    assert eye.lines == ["2026-06-14T08:54:01Z\tagent\tHello."]


def test_each_line_begins_with_its_deployment() -> None:
    eye = Eye()
    shown = two_runs(eye)
    shown.hear(says("One.\nTwo.", 1), session_id="sess_1")
    shown.hear(says("Three.", 2), session_id="sess_2")
    assert eye.lines == [
        "nightly-report | 2026-06-14T08:54:01Z\tagent\tOne.",
        "nightly-report | \t\tTwo.",
        "tidy | 2026-06-14T08:54:02Z\tagent\tThree.",
    ]


def test_on_a_terminal_labels_take_equal_room_and_lines_fit_beside_them() -> None:
    eye = Eye(terminal=True)
    shown = two_runs(eye)
    shown.hear({"type": "odd"}, session_id="sess_1")
    shown.hear({"type": "agent.message", "content": "word " * 12}, session_id="sess_2")
    assert eye.lines[0] == "nightly-report |           event     odd"
    assert eye.lines[1:] == [
        "tidy           |           agent     word word word word",
        "tidy           |                     word word word word",
        "tidy           |                     word word word word",
    ]
    assert max(map(len, eye.lines)) <= 60


def test_labels_have_a_style_where_there_is_colour() -> None:
    eye = Eye(terminal=True, color=True)
    two_runs(eye).hear({"type": "odd"}, session_id="sess_2")
    assert eye.lines[0].startswith("\x1b[2mtidy           | \x1b[0m")


def test_a_day_is_named_beside_a_label_too() -> None:
    eye = Eye(terminal=True)
    two_runs(eye).hear(says("Hello."), session_id="sess_1")
    assert len(eye.lines) == 2
    assert all(line.startswith("nightly-report | ") for line in eye.lines)


def test_a_session_that_has_no_name_yet_shows_its_id() -> None:
    eye = Eye()
    two_runs(eye).hear(says("Hello."), session_id="sess_3")
    assert eye.lines[0].startswith("sess_3 | ")


def test_a_name_of_the_server_only_shows() -> None:
    eye = Eye()
    two_runs(eye, "evil\x1b[2J\nname").hear(says("Hello."), session_id="sess_1")
    assert eye.lines == ["evil\\u001b[2J\\nname | 2026-06-14T08:54:01Z\tagent\tHello."]


def test_what_no_stream_told_has_its_label_too_and_comes_once() -> None:
    eye = Eye()
    shown = two_runs(eye)
    events = ("GET", "/sessions/sess_2/events")
    eye.wire.on(*events, page(says("a", 1), says("b", 2)), api_error(500, "api_error", "Not now."), page(says("c", 3)))
    shown.hear(says("a", 1), session_id="sess_2")
    for _ in range(3):
        shown.catch_up("sess_2")
    assert [line.rpartition("\t")[2] for line in eye.lines] == ["a", "b", "c"]
    assert all(line.startswith("tidy | ") for line in eye.lines)
    assert [request.url.params.get("after_id") for request in eye.wire.requests] == [None, "evt_2", "evt_2"]
    eye.wire.check()


@pytest.mark.parametrize(
    ("label", "width", "shown"),
    [
        ("tidy", 6, "tidy  "),
        ("tidy", 4, "tidy"),
        ("quarterly-report-emea", 11, "quart…-emea"),
        ("日报日报日报", 7, "日 … 报"),
        ("日报", 4, "日报"),
        ("abc", 1, "…"),
        ("", 2, "  "),
    ],
)
def test_how_a_label_fits(label: str, width: int, shown: str) -> None:
    assert cut_inside(label, width) == shown


@pytest.mark.parametrize(("columns", "room"), [(60, 42), (200, 173), (20, 12), (3, -1)])
def test_labels_leave_room(monkeypatch: pytest.MonkeyPatch, columns: int, room: int) -> None:
    monkeypatch.setattr(transcript, "terminal_width", lambda: columns)
    screen = Screen(None, is_terminal=True)
    assert Margin(screen, ["x" * 50]).room == room
    assert Margin(screen, []).room == columns


def test_a_message_ends_its_lines_between_words_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qoder_cli.output.screen.terminal_width", lambda: 40)
    text = "run drun_019ec55694c07f2a9b402ffb4448ec18 failed (retries_exhausted): it-did-not-answer at all"
    assert Screen(None, is_terminal=True).worded(text).split("\n") == [
        "run",
        "drun_019ec55694c07f2a9b402ffb4448ec18",
        "failed (retries_exhausted):",
        "it-did-not-answer at all",
    ]
    assert Screen(None).worded(text) == text
