"""Threads that are waited for, though a signal may come at any time."""

import gc
import queue
import threading
import time
import weakref
from inspect import unwrap

import httpx
import pytest

from qoder_cli.base import pool, signals
from qoder_cli.base.errors import NoAnswer, Signalled
from qoder_cli.base.pool import Task
from qoder_cli.base.times import Clock
from qoder_cli.http.answers import Answer, Pending, answer_to
from tests.support.processes import until


def test_a_call_lets_everybody_through_once_it_has_ended() -> None:
    is_enough, through = threading.Event(), list[bool]()
    task = Task(is_enough.wait).start()
    threads = [threading.Thread(target=lambda: through.append(task.wait(30))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not task.wait(0.01)
    is_enough.set()
    for thread in threads:
        thread.join()
    assert (through, task.wait(30), task.wait(0)) == ([True] * 3, True, True)


def test_a_call_is_waited_for_no_longer_than_is_said() -> None:
    began = time.monotonic()
    assert not Task(int).wait(0.05)
    assert time.monotonic() - began >= 0.05
    assert not Task(int).wait(-1)


def test_a_response_leaves_memory_once_nobody_has_it() -> None:
    """It may be a page of thousands: they must not gather until garbage is looked for."""
    pending = Pending(lambda: Answer(200, httpx.Headers(), b"{}", "{}", "")).start()
    left = weakref.ref(pending.result())
    gc.disable()
    try:
        del pending
        until(lambda: left() is None, "the response is gone with its request")
    finally:
        gc.enable()


def test_waiting_begins_with_the_signal_that_could_not_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_swallowed", [15])
    with pytest.raises(Signalled) as caught:
        Task(int).wait(30)
    assert caught.value.signum == 15


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_signal_that_breaks_the_lock_of_a_starting_thread_is_raised_itself(
    is_ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        try:
            raise Signalled(2) if is_ours else MemoryError
        finally:
            raise RuntimeError("release unlocked lock")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(Signalled if is_ours else RuntimeError):
        unwrap(pool.begin)(lambda: None)


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
def test_a_wait_that_is_over_as_it_begins_is_over(seconds: float) -> None:
    assert Clock().take(Looked(), seconds) is None
    inbox = Looked()
    inbox.put("something")
    assert Clock().take(inbox, seconds) == "something"


def test_a_task_is_waited_for_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SimpleQueue", {None: Looked})
    go_on = threading.Event()
    task = Task(go_on.wait).start()
    assert task.wait(1e-6) is False
    go_on.set()
    assert task.result(10.0) is True


@pytest.mark.parametrize("is_early", [True, False])
def test_giving_up_on_a_call_and_what_it_is_for_exclude_each_other(is_early: bool) -> None:
    """Who gives up before a request goes out says that nothing was sent: then nothing may be."""
    go_on, has_committed, done = threading.Event(), threading.Event(), list[str]()

    def call() -> Answer:
        if is_early:
            go_on.wait(30)
        task.commit()
        done.append("sent")
        has_committed.set()
        go_on.wait(30)
        return Answer(200, httpx.Headers(), b"{}", "{}", "")

    task = Pending(call).start()
    if not is_early:
        assert has_committed.wait(30)
    with pytest.raises(NoAnswer) as late:
        answer_to(task, 0.01)
    go_on.set()
    assert task.wait(30)
    assert (late.value.sent, done) == ((False, []) if is_early else (True, ["sent"]))


def test_a_call_is_waited_for_as_long_as_it_is_not_late() -> None:
    go_on, asked = threading.Event(), list[bool]()

    def is_late() -> bool:
        asked.append(len(asked) > 1)
        if asked[-1]:
            go_on.set()
        return False

    assert Task(go_on.wait).start().result_unless(is_late) is True
    assert asked == [False, False, True]
    with pytest.raises(pool.Late):
        Task(threading.Event().wait).start().result_unless(lambda: True)
