"""Several pieces of work at a time: each is told of once it is done, and a signal leaves none of them open."""

import io
import signal
import threading
from collections.abc import Callable, Iterator
from inspect import unwrap
from queue import SimpleQueue
from typing import Any

import pytest

from qoder_cli.app import App
from qoder_cli.base import pool
from qoder_cli.base.errors import Signalled
from qoder_cli.deployments import applying
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.http.write import LAST_WORDS
from qoder_cli.output.screen import Screen
from tests.support.wire import FakeClock

AT_A_TIME = 8


@pytest.fixture(autouse=True, scope="module")
def _work() -> Iterator[None]:
    """Let a step be a function and what it is called with; threads that are left behind still find it so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(applying, "apply", lambda app, step, pace: step[0](step[1], pace))
        patch.setattr(applying, "give_up", lambda step: f"gave up {step[1]}")
        yield


class Interruptible(FakeClock):
    """A clock by which a signal comes when so many things were taken out of an inbox."""

    def __init__(self, *, after: float = float("inf")) -> None:
        super().__init__()
        self.patience = 20.0
        self.left = after

    def take(self, inbox: "SimpleQueue[Any]", seconds: float) -> Any:
        if self.left == 0:
            self.left = float("inf")
            self.patience = 0.05
            raise Signalled(signal.SIGINT)
        self.left -= 1
        return super().take(inbox, seconds)


class Shop:
    """Someone who gives work to a batch, and hears of it."""

    def __init__(self, work: Callable[[int, Pace], str], *, clock: FakeClock | None = None) -> None:
        self.clock = clock or Interruptible()
        self.err = io.BytesIO()
        self.app = App(env={}, out=Screen(None), err=Screen(self.err), clock=self.clock)
        self.work = work
        self.told: list[tuple[int, str]] = []
        self.in_thread: set[int] = set()

    def run(self, items: int) -> Signalled | None:
        return self.give([10 * n for n in range(items)], self.on_done)

    def give(self, items: list[int], on_done: Callable[[int, Any], None]) -> Signalled | None:
        steps: list[Any] = [(self.work, item) for item in items]
        return applying.apply_all(self.app, steps, on_done)

    def on_done(self, number: int, result: str) -> None:
        self.told.append((number, result))
        self.in_thread.add(threading.get_ident())


def write(item: int, pace: Pace) -> str:
    pace.take()
    return f"did {item}"


def test_each_is_done_once_and_told_of_in_the_thread_that_asked() -> None:
    shop = Shop(write)
    assert shop.run(30) is None
    assert sorted(shop.told) == [(n, f"did {10 * n}") for n in range(30)]
    assert shop.in_thread == {threading.get_ident()}


def test_nothing_to_do_is_done_at_once() -> None:
    shop = Shop(write)
    assert shop.run(0) is None
    assert (shop.told, shop.clock.slept) == ([], [])


def test_so_many_at_a_time_and_no_more() -> None:
    lock, together = threading.Lock(), threading.Barrier(AT_A_TIME)
    going, most = [0], [0]

    def work(item: int, pace: Pace) -> str:
        with lock:
            going[0] += 1
            most[0] = max(most[0], going[0])
        together.wait(20)  # nobody goes on before all are there
        with lock:
            going[0] -= 1
        return "done"

    shop = Shop(work)
    assert shop.run(2 * AT_A_TIME) is None
    assert (len(shop.told), most[0]) == (2 * AT_A_TIME, AT_A_TIME)


def test_writes_are_spaced() -> None:
    shop = Shop(write)
    began = shop.clock.time
    shop.run(41)
    assert shop.clock.time - began >= 40 / 20


def test_it_gives_a_sign_of_life() -> None:
    is_enough = threading.Event()

    def work(item: int, pace: Pace) -> str:
        is_enough.wait(20)
        return "done"

    shop = Shop(work)
    began, shop.clock.patience = shop.clock.time, 0.0

    def after_a_while() -> None:
        if shop.clock.time - began > 61:
            shop.clock.patience = 20.0
            is_enough.set()

    shop.clock.at_sleep = after_a_while
    with shop.app.progress.waiting("working"):
        assert shop.run(1) is None
    assert shop.err.getvalue().decode().splitlines() == ["working after 30s", "working after 1m 00s"]


def test_a_signal_ends_it_and_what_was_not_begun_is_given_up() -> None:
    held = threading.Event()

    def work(item: int, pace: Pace) -> str:
        if item >= 30:
            held.wait(20)
        return write(item, pace)

    shop = Shop(work, clock=Interruptible(after=3))
    signalled = shop.run(30)
    held.set()
    assert isinstance(signalled, Signalled)
    assert sorted(shop.told)[:3] == [(0, "did 0"), (1, "did 10"), (2, "did 20")]
    assert sorted(number for number, _ in shop.told) == list(range(30))
    assert {result for _, result in shop.told[3:]} == {f"gave up {10 * n}" for n in range(3, 30)}


def test_nothing_is_written_after_a_signal() -> None:
    begun: list[int] = []
    written: list[int] = []
    stopped = threading.Event()

    def work(item: int, pace: Pace) -> str:
        begun.append(item)
        if item:
            stopped.wait(20)
        pace.take(lambda: written.append(item))
        return f"did {item}"

    class Stopping(Interruptible):
        def take(self, inbox: "SimpleQueue[Any]", seconds: float) -> Any:
            if self.left == float("inf"):  # the last words have begun
                stopped.set()
            return super().take(inbox, seconds)

    shop = Shop(work, clock=Stopping(after=1))
    assert shop.run(20) is not None
    assert (written, len(begun) <= 1 + AT_A_TIME) == ([0], True)
    assert dict(shop.told) == {0: "did 0", **{n: f"gave up {10 * n}" for n in range(1, 20)}}


def test_what_is_under_way_gets_its_last_words() -> None:
    signal_came = threading.Event()

    class Late(Interruptible):
        def take(self, inbox: "SimpleQueue[Any]", seconds: float) -> Any:
            if self.left == float("inf"):
                signal_came.set()
                self.patience = 20.0
            return super().take(inbox, seconds)

    def work(item: int, pace: Pace) -> str:
        answer = write(item, pace)
        if item:
            signal_came.wait(20)
        return answer

    shop = Shop(work, clock=Late(after=1))
    assert shop.run(2) is not None
    assert sorted(shop.told) == [(0, "did 0"), (1, "did 10")]


def test_last_words_end() -> None:
    begun, for_ever = threading.Event(), threading.Event()

    class Patient(Interruptible):
        def take(self, inbox: "SimpleQueue[Any]", seconds: float) -> Any:
            begun.wait(20)
            return super().take(inbox, seconds)

    def work(item: int, pace: Pace) -> str:
        begun.set()
        for_ever.wait(20)
        return "too late"

    shop = Shop(work, clock=Patient(after=0))
    began = shop.clock.time
    assert shop.run(1) is not None
    for_ever.set()
    assert shop.told == [(0, "gave up 0")]
    assert LAST_WORDS <= shop.clock.time - began < LAST_WORDS + 1


def test_a_signal_while_one_is_told_of_does_not_swallow_it() -> None:
    shop = Shop(write)
    heard: list[int] = []

    def on_done(number: int, result: str) -> None:
        heard.append(number)
        if len(heard) == 2:
            raise Signalled(signal.SIGTERM)
        shop.on_done(number, result)

    signalled = shop.give([0, 10, 20], on_done)
    assert signalled is not None
    assert signalled.signum == signal.SIGTERM
    assert sorted(number for number, _ in shop.told) == [0, 1, 2]


def test_work_that_is_refused_a_turn_is_given_up() -> None:
    def work(item: int, pace: Pace) -> str:
        raise Closed

    shop = Shop(work)
    shop.run(2)
    assert sorted(shop.told) == [(0, "gave up 0"), (1, "gave up 10")]


@pytest.mark.parametrize("items", [1, 7, 8, 9])
def test_no_more_threads_than_work(items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def counted(thread: threading.Thread) -> None:
        started.append(thread)
        start(thread)

    monkeypatch.setattr(pool, "begin", unwrap(pool.begin))
    monkeypatch.setattr(threading.Thread, "start", counted)
    Shop(write).run(items)
    assert len(started) == min(items, AT_A_TIME)
    assert all(thread.daemon for thread in started)


def test_a_bug_in_the_work_is_raised_where_one_waits_for_it() -> None:
    def work(item: int, pace: Pace) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Shop(work).run(3)
