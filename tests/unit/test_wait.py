"""The wait for one run on its own: with a clock, a reader and a listener that the test owns."""

from collections.abc import Callable
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from qoder_cli.base.errors import LostSight, NeedsAnswer, NoAnswer, NotFound, RunFailed, WaitTimeout
from qoder_cli.base.model import Run
from qoder_cli.base.times import Limits
from qoder_cli.http.client import Client
from qoder_cli.output.progress import Progress
from qoder_cli.output.screen import Screen
from qoder_cli.runs.ending import Wanted
from qoder_cli.runs.observe import ASKS_FOR, LONGEST_SILENCE, Observer
from qoder_cli.runs.wait import Wait
from qoder_cli.runs.watch import QUICK_PAUSE, Watch
from qoder_cli.settings.config import Settings
from qoder_cli.settings.values import OnAsk
from tests.support.asking import Server, call
from tests.support.wire import FakeClock

RUNNING = Run({"id": "drun_1", "status": "running", "session_id": "sess_1"})


class Reader:
    """A run as `readings` show it, one a look; the last stays."""

    run_id = "drun_1"
    asks_since: float | None = None
    needs_answer = False
    may_lag = False

    def __init__(self, clock: FakeClock, *readings: Run | Exception | Callable[[], None]) -> None:
        self.clock = clock
        self.readings = list(readings)
        self.run: Run | None = RUNNING
        self.looks: list[float] = []
        self.patience: list[float] = []

    @property
    def ended(self) -> bool:
        return self.run is not None and self.run.status != "running"

    def look(self, *, within: float) -> None:
        self.looks.append(self.clock.time)
        self.patience.append(within)
        reading = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        if isinstance(reading, Exception):
            raise reading
        if isinstance(reading, Run):
            self.run = reading
        else:
            reading()


class Deaf:
    """A listener that hears nothing."""

    def __init__(self) -> None:
        self.inbox = SimpleQueue[Any]()
        self.is_stopped = False

    def attend(self, watch: Watch) -> None:
        pass

    def hears(self, watch: Watch) -> bool:
        return False

    is_open = hears

    def stop(self) -> None:
        self.is_stopped = True


class Quiet:
    """Says nothing."""

    def waiting(self, status: object) -> Any:
        from contextlib import nullcontext

        return nullcontext()

    def change(self, news: str) -> None:
        pass

    def beat(self) -> None:
        pass


class Told(Wait):
    """A wait that keeps what it tells of."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.over: list[Watch] = []

    def on_over(self, watch: Watch) -> None:
        self.over.append(watch)


def waited(reader: Reader, *, on_ask: OnAsk = "stop", **limits: float) -> Watch:
    """Return what a wait for the run came to."""
    watch, listener = Watch(reader), Deaf()  # type: ignore[arg-type]  # as much as is used
    client, out = SimpleNamespace(request_timeout=30.0), Screen(None)
    app = SimpleNamespace(clock=reader.clock, progress=Quiet(), client=client, out=out, command=lambda *words: [*words])
    wait = Told(app, Wanted(Limits(**limits), on_ask=on_ask), listener)
    wait.until_over(watch)
    assert wait.over == [watch]  # told of once
    assert listener.is_stopped
    return watch


def test_the_pause_doubles_up_to_the_longest() -> None:
    clock = FakeClock()
    reader = Reader(clock, *[RUNNING] * 6, Run({**RUNNING.raw, "status": "completed"}))
    assert waited(reader).error is None
    assert [round(b - a, 1) for a, b in zip(reader.looks, reader.looks[1:], strict=False)] == [0.5, 1, 2, 4, 5, 5]


@pytest.mark.parametrize(("timeout", "looks"), [(0.0, 1), (10.0, 6)])
def test_the_deadline_ends_a_wait_after_one_last_look(timeout: float, looks: int) -> None:
    clock = FakeClock()
    reader, began = Reader(clock, RUNNING), clock.time
    assert isinstance(waited(reader, timeout=timeout).error, WaitTimeout)
    assert len(reader.looks) == looks
    assert clock.time - began == pytest.approx(timeout)


def test_no_look_takes_longer_than_is_left_but_always_some_seconds() -> None:
    clock = FakeClock()
    reader = Reader(clock, RUNNING)
    assert isinstance(waited(reader, timeout=12.0).error, WaitTimeout)
    assert reader.patience == pytest.approx([12.0, 11.5, 10.5, 8.5, 5.0, 5.0])


def test_silence_is_borne_for_five_minutes_but_not_for_ever() -> None:
    clock = FakeClock()
    reader, began = Reader(clock, NoAnswer("reset")), clock.time
    assert isinstance(waited(reader).error, LostSight)
    assert LONGEST_SILENCE < clock.time - began < LONGEST_SILENCE + 10


def test_a_suspended_machine_is_not_a_silent_server() -> None:
    clock = FakeClock()

    def suspend() -> None:
        clock.time += 2 * LONGEST_SILENCE
        raise NoAnswer("reset")

    reader = Reader(clock, suspend, Run({**RUNNING.raw, "status": "completed"}))
    assert waited(reader).error is None


def test_a_refusal_of_the_api_ends_a_wait_and_a_404_only_after_a_while() -> None:
    clock = FakeClock()
    reader, began = Reader(clock, NotFound("gone").with_(enveloped=True)), clock.time
    assert isinstance(waited(reader).error, LostSight)
    assert 30 < clock.time - began < 40


@pytest.mark.parametrize("stops", [True, False])
def test_a_run_that_needs_an_answer_ends_the_wait_if_it_is_to(stops: bool) -> None:
    clock = FakeClock()
    reader = Reader(clock, RUNNING, Run({**RUNNING.raw, "status": "completed"}))
    reader.needs_answer = True
    error = waited(reader, on_ask="stop" if stops else "wait").error
    assert isinstance(error, NeedsAnswer) if stops else error is None


def test_an_error_is_copied_and_not_changed() -> None:
    cause = NoAnswer("reset")
    error = RunFailed("it failed", hint="look", cause=cause)
    error.__cause__ = cause
    other = error.with_(hint="look again", run_id="drun_1")
    assert (error.hint, error.run_id) == ("look", None)
    assert (other.hint, other.run_id, other.message) == ("look again", "drun_1", "it failed")
    assert (type(other), other.exit, other.__cause__, other.args) == (RunFailed, error.exit, cause, error.args)


def test_what_is_asked_still_after_an_answer_is_asked_anew() -> None:
    clock = FakeClock()
    server = Server(clock)
    server.session("sess_1", call(1))
    settings = Settings("https://api.example", "here", token="pt-0123456789")
    progress = Progress(Screen(None), clock=clock, quiet=True)
    observer = Observer(Client(settings, clock=clock, progress=progress, transport=server), "drun_1")
    observer.look()
    clock.time += ASKS_FOR
    observer.look()
    assert observer.needs_answer
    observer.forget_asks()  # the list lags, and shows it for a while longer
    observer.look()
    assert (observer.asks_since, observer.needs_answer) == (clock.monotonic(), False)


def test_what_is_heard_again_puts_no_poll_off_and_calls_for_none_at_once() -> None:
    """As on a stream that repeats the end many times a second."""
    clock = FakeClock()
    settings = Settings("https://api.example", "here", token="pt-0123456789")
    progress = Progress(Screen(None), clock=clock, quiet=True)
    watch = Watch(Observer(Client(settings, clock=clock, progress=progress), "drun_1"))
    watch.begin(0.0, 0.5)
    watch.call(1.0, is_quick=True)
    watch.call(1.05, is_quick=True)
    assert watch.due == 1.0
    watch.begin_look()
    for moment in (1.1, 1.15):
        watch.call(moment, is_quick=True)
        assert watch.due == 1.1 + QUICK_PAUSE
