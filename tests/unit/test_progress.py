"""What a wait says on a terminal when it is over."""

import io
import re
from contextlib import suppress
from typing import Any

import pytest

from qoder_cli.app import App
from qoder_cli.output.screen import Screen
from qoder_cli.settings.values import Flags
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
    assert set(re.findall("[━┄]+", err.getvalue().decode())) == {"━" * done + "┄" * (20 - done)}
