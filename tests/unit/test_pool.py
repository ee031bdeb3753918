"""Threads that are waited for, though a signal may come at any time: `Task` for one call, `Pool` for many."""

import gc
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qoder_cli.base import pool, signals
from qoder_cli.base.errors import NoResponse, Signalled
from qoder_cli.base.pool import Pool, Task
from qoder_cli.base.times import Clock
from qoder_cli.http.answers import Answer, Pending, answer_to
from tests.support.processes import until
from tests.support.wire import FakeClock

OK = Answer(200, httpx.Headers(), b"{}", "{}", "")


def test_task_is_waited_for_as_long_as_it_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "TICK", 0.01)
    go_on, asked = threading.Event(), list[bool]()

    def is_late() -> bool:
        asked.append(len(asked) > 1)
        if asked[-1]:
            go_on.set()
        return False

    assert Task(go_on.wait).start().result_unless(is_late) is True
    assert asked == [False, False, True]
    late = Task(threading.Event().wait).start()
    for call in (lambda: late.result_unless(lambda: True), late.commit):
        with pytest.raises(pool.Late):
            call()


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
def test_task_ends_in_a_process_that_was_forked_from_one_with_idle_threads() -> None:
    script = """
import os
from qoder_cli.base import pool
pool.Task(int).start().result()
while not pool._idle:
    pass
if os.fork() == 0:
    pool.Task(int).start().result(20)
    os._exit(5)
raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 5


def test_task_leaves_memory_with_its_response_once_nobody_has_it() -> None:
    """It may be a page of thousands: they must not gather until garbage is looked for."""
    pending = Pending(lambda: Answer(200, httpx.Headers(), b"{}", "{}", "")).start()
    left = weakref.ref(pending.result())
    gc.disable()
    try:
        del pending
        until(lambda: left() is None, "the response is gone with its request")
    finally:
        gc.enable()


def test_signal_is_raised_where_nothing_can_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    passed, died = list[str](), list[int]()
    monkeypatch.setattr(signals, "die_by", died.append)
    monkeypatch.setattr(signals, "_last_words", [])  # of commands that ran in this process

    def arrives() -> None:
        monkeypatch.setattr(signals, "_seen", [])
        signals._on_signal(signal.SIGTERM, None)

    def at_the_end() -> None:
        with signals.deferred():
            with signals.deferred(lambda: passed.append("woken")):
                arrives()
            passed.append("the inner end")

    def at_a_wait() -> None:
        with signals.deferred(), signals.waiting():
            arrives()
            passed.append("no signal")

    def at_the_next_wait() -> None:
        with signals.deferred():
            arrives()
            Task(int).wait(30)
            passed.append("no signal")

    for way in (at_the_end, at_a_wait, at_the_next_wait, arrives):
        with pytest.raises(Signalled):
            way()
    assert passed == ["woken", "the inner end"]
    signals._on_signal(signal.SIGTERM, None)  # so soon, it is the same
    signals._seen[0] -= 1.0
    signals._on_signal(signal.SIGINT, None)
    assert died == [signal.SIGINT]


@pytest.mark.parametrize("is_ours", [True, False])
def test_task_raises_a_signal_that_breaks_the_lock_of_a_starting_thread(
    is_ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        try:
            raise Signalled(2) if is_ours else MemoryError
        finally:
            raise RuntimeError("release unlocked lock")

    monkeypatch.setattr(pool, "_idle", [])
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(Signalled if is_ours else RuntimeError):
        pool.begin(lambda: None)


class Looked(queue.SimpleQueue[str]):
    """An inbox that is empty, and knows whether that was found out before anybody waited."""

    def __init__(self) -> None:
        self.was_looked_into = False

    def get_nowait(self) -> str:
        self.was_looked_into = True
        return super().get_nowait()

    def get(self, block: bool = True, timeout: float | None = None) -> str:
        # What CPython does until 3.12 where the time is over at once: it waits for ever.
        assert self.was_looked_into, "this may wait for ever"
        return super().get(block, timeout)


@pytest.mark.parametrize("seconds", [0.0, 1e-6, 0.001])
def test_task_and_clock_end_a_wait_that_is_over_as_it_begins(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    assert Clock().receive(Looked(), seconds) is None
    inbox = Looked()
    inbox.put("something")
    assert Clock().receive(inbox, seconds) == "something"
    monkeypatch.setattr(pool, "SimpleQueue", {None: Looked, Callable[[], None]: queue.SimpleQueue})
    go_on = threading.Event()
    task = Task(go_on.wait).start()
    assert task.wait(seconds) is False
    go_on.set()
    assert task.result(10.0) is True


@pytest.mark.parametrize("is_early", [True, False])
def test_task_that_is_given_up_does_not_do_what_it_is_for(is_early: bool) -> None:
    """Who gives up before a request goes out says that nothing was sent: then nothing may be."""
    go_on, has_committed, done = threading.Event(), threading.Event(), list[str]()

    def call() -> Answer:
        if is_early:
            go_on.wait(30)
        task.commit()
        done.append("sent")
        has_committed.set()
        go_on.wait(30)
        return OK

    task = Pending(call)  # named before it starts: `call` uses it at once
    task.start()
    if not is_early:
        assert has_committed.wait(30)
    with pytest.raises(NoResponse) as late:
        answer_to(task, 0.01)
    go_on.set()
    assert task.wait(30)
    assert (late.value.sent, done) == ((False, []) if is_early else (True, ["sent"]))


class Shop:
    """Someone who gives work to a pool, and hears of it; a signal comes when the clock was asked `after` times."""

    def __init__(self, work: Callable[[int], str], *, after: float = float("inf")) -> None:
        self.clock, self.work, self.after = FakeClock(), work, after
        self.clock.patience = 20.0
        self.told: list[tuple[int, str]] = []
        self.beats: list[int] = []
        self.in_thread: set[int] = set()
        self.at_signal: Callable[[], object] = lambda: None
        receive = self.clock.receive

        def received(inbox: Any, seconds: float) -> Any:
            self.after -= 1
            if self.after == -1:
                self.at_signal()
                raise Signalled(signal.SIGINT)
            return receive(inbox, seconds)

        self.clock.receive = received  # type: ignore[method-assign]  # a signal may come at each wait
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.pool = Pool(work, self.tell, at_a_time=8, inbox=inbox, clock=self.clock)

    def tell(self, item: int, result: str) -> None:
        self.told.append((item, result))
        self.in_thread.add(threading.get_ident())

    def run(self, count: int, *, within: float = 2.0) -> None:
        for first in range(0, count, 8):
            self.pool.give(range(first, min(first + 8, count)))
        try:
            self.pool.hear(lambda: self.beats.append(len(self.told)))
        except Signalled:
            self.pool.stop(within, lambda item: f"gave up {item}")


def did(item: int) -> str:
    return f"did {item}"


@pytest.mark.parametrize("count", [0, 1, 30])
def test_pool_does_each_once_and_tells_of_it_in_the_thread_that_asked(count: int) -> None:
    shop = Shop(did)
    shop.run(count)
    assert sorted(shop.told) == [(n, f"did {n}") for n in range(count)]
    assert shop.in_thread <= {threading.get_ident()}
    assert shop.beats[-1:] == [count][:count]


def test_pool_gives_up_what_was_not_begun_when_a_signal_comes_and_lets_the_rest_end() -> None:
    stopped, worked = threading.Event(), set[int]()

    def work(item: int) -> str:
        if item:
            stopped.wait(20)
        worked.add(item)
        return did(item)

    shop = Shop(work, after=1)
    shop.at_signal = stopped.set
    shop.run(30)
    told = dict(shop.told)
    assert sorted(told) == list(range(30))
    begun = {item for item, result in told.items() if result == f"did {item}"}
    assert {0} <= begun == worked <= set(range(9))
    assert {told[item] for item in set(told) - begun} == {f"gave up {item}" for item in set(told) - begun}


def test_pool_ends_after_its_last_words_whatever_goes_on() -> None:
    begun, for_ever = threading.Event(), threading.Event()

    def work(item: int) -> str:
        begun.set()
        for_ever.wait(20)
        return "too late"

    shop = Shop(work, after=0)
    shop.at_signal = lambda: begun.wait(20) and vars(shop.clock).update(patience=0.0)
    began = shop.clock.time
    shop.run(1)
    for_ever.set()
    shop.pool._inbox.get(timeout=20)()
    assert shop.told == [(0, "gave up 0")]
    assert 2.0 <= shop.clock.time - began < 3.0


def test_pool_tells_again_of_one_during_which_a_signal_came() -> None:
    shop, heard = Shop(did), list[int]()

    def tell(item: int, result: str) -> None:
        heard.append(item)
        if len(heard) == 2:
            raise Signalled(signal.SIGTERM)
        shop.tell(item, result)

    shop.pool._on_result = tell
    shop.run(3)
    assert sorted(item for item, _ in shop.told) == [0, 1, 2]
