"""What a wait says on a terminal when it is over, and a question that is interrupted."""

import io
import re
import signal
from contextlib import suppress
from typing import Any

import pytest

from qoder_cli.app import App
from qoder_cli.base import signals
from qoder_cli.base.errors import Signalled
from qoder_cli.input.prompt import line_of
from qoder_cli.output.live import Moving, Picture
from qoder_cli.output.screen import Screen
from qoder_cli.settings.values import Flags
from tests.support.processes import Screenful
from tests.support.wire import FakeClock

BELLS: list[tuple[float, dict[str, Any], bool]] = [
    (10.5, {"bell": True}, True),
    (10.5, {"QODER_BELL": "1"}, True),
    (10.5, {}, False),
    (9.5, {"bell": True}, False),
    (10.5, {"bell": True, "terminal": False}, False),
    (10.5, {"QODER_BELL": "0"}, False),
    (11.0, {"QODER_BELL": "1", "interrupted": True}, False),
]


@pytest.mark.parametrize(("seconds", "settings", "rings"), BELLS)
def test_bell_rings_after_a_long_wait_on_a_terminal_where_it_is_asked_for(
    seconds: float, settings: dict[str, Any], rings: bool
) -> None:
    screen = Screen(err := io.BytesIO(), is_terminal=settings.get("terminal", True), moves=False)
    flags = Flags(bell=settings.get("bell", False), no_progress=True)
    env = {name: value for name, value in settings.items() if name == "QODER_BELL"}
    app = App(env=env, out=Screen(None), err=screen, clock=FakeClock(), flags=flags)
    with suppress(KeyboardInterrupt), app.progress.waiting("running"):
        app.clock.sleep(seconds)
        if "interrupted" in settings:
            raise KeyboardInterrupt
    assert err.getvalue() == (b"\a" if rings else b"")


@pytest.mark.parametrize("share", [0.0, 0.55, 1.0])
def test_wait_draws_how_much_is_done_as_a_bar(share: float) -> None:
    screen = Screen(err := io.BytesIO(), is_terminal=True)
    app = App(env={}, out=Screen(None), err=screen, clock=FakeClock(), flags=Flags())
    with app.progress.waiting("applying", share=lambda: share):
        pass  # it is drawn when it begins
    done = int(share * 20)
    assert max(map(len, re.findall("━+", err.getvalue().decode())), default=0) == done


class InterruptedOnce(io.BytesIO):
    """A terminal that a signal interrupts when the word is written."""

    def __init__(self, word: bytes) -> None:
        super().__init__()
        self._word = word

    def write(self, data: Any) -> int:
        if self._word in data and self._word not in self.getvalue():
            super().write(data)
            signals._on_signal(signal.SIGINT, None)
            return len(data)
        return super().write(data)


def test_signal_while_a_picture_is_drawn_leaves_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_seen", "_last_words", "_swallowed"):
        monkeypatch.setattr(signals, name, [])
    lines = ["one"]
    moving = Moving(
        Screen(written := InterruptedOnce(b"two"), is_terminal=True),
        lambda width, height: Picture("\n".join(lines), "foot"),
        stays=True,
    )
    moving.start()
    lines.append("two")
    with pytest.raises(Signalled):
        moving.draw()
    moving.stop()
    assert Screenful().take(written.getvalue().decode()).shown == ["one", "two", "foot"]


def test_command_above_a_picture_is_broken_by_the_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    app = App(env={}, out=Screen(None), err=Screen(err := io.BytesIO(), is_terminal=True), clock=FakeClock())
    command = f"qoder run wait {' '.join(f'drun_{number:032x}' for number in range(5))}"
    with app.progress.waiting("running"):
        app.progress.note(f"later: {command}")
    assert command in err.getvalue().decode()


class Interrupting(io.BytesIO):
    """A terminal at which Ctrl-C is pressed as a question comes up."""

    def write(self, data: Any) -> int:
        written = super().write(data)
        if b"?" in data:
            raise Signalled(signal.SIGINT)
        return written


def test_question_that_is_interrupted_as_it_is_shown_ends_its_line() -> None:
    with pytest.raises(Signalled):
        line_of(None, Screen(err := Interrupting()), "Cancel it? ", nothing="nothing was cancelled")
    assert err.getvalue() == b"Cancel it? \n"
