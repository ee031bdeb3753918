"""What a wait says on a terminal when it is over."""

import io

import pytest

from qoder_cli.app import App
from qoder_cli.output.screen import Screen
from qoder_cli.settings.values import Flags
from tests.support.wire import FakeClock


def rung(seconds: float, *, terminal: bool = True, bell: bool = False, **env: str) -> bool:
    """Return whether the bell rings after a wait of so many seconds."""
    err = io.BytesIO()
    screen = Screen(err, is_terminal=terminal, moves=False)
    flags = Flags(bell=bell, no_progress=True)
    app = App(env=env, out=Screen(None), err=screen, clock=FakeClock(), flags=flags)
    with app.progress.waiting("running"):
        app.clock.sleep(seconds)
    assert err.getvalue().replace(b"\a", b"") == b""
    return b"\a" in err.getvalue()


def test_the_bell_rings_after_a_long_wait_on_a_terminal_where_it_is_asked_for() -> None:
    assert rung(10.5, bell=True)
    assert rung(10.5, QODER_BELL="1")
    assert not rung(10.5)
    assert not rung(9.5, bell=True)
    assert not rung(10.5, bell=True, terminal=False)
    assert not rung(10.5, QODER_BELL="0")


def interrupted(app: App) -> None:
    with app.progress.waiting("running"):
        app.clock.sleep(11)
        raise KeyboardInterrupt


def test_the_bell_does_not_ring_for_who_interrupts_the_wait() -> None:
    err = io.BytesIO()
    app = App(env={"QODER_BELL": "1"}, out=Screen(None), err=Screen(err, is_terminal=True), clock=FakeClock())
    with pytest.raises(KeyboardInterrupt):
        interrupted(app)
    assert b"\a" not in err.getvalue()
