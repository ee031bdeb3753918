"""Waiting for a run to end: sleep or hear, poll, judge. Many runs at once: `fleet`.

A wait for a run ends in one of four ways: the run ended, track of it was lost (`Watch`), the deadline
came, or a signal arrived.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qoder_cli.base.errors import ApiError, QoderError
from qoder_cli.base.pool import TICK, Late, Task
from qoder_cli.base.times import LONGEST_RETRY_AFTER, Clock
from qoder_cli.http.pace import READS_PER_SECOND
from qoder_cli.output.progress import Progress
from qoder_cli.runs.ending import needs_answer, timed_out
from qoder_cli.runs.observe import ASKS_FOR
from qoder_cli.runs.watch import Watch

if TYPE_CHECKING:
    from qoder_cli.runs.listen import Listener

FIRST_PAUSE = 0.5  # seconds between polls at first, doubling
LONGEST_PAUSE = 5.0
HEARING_PAUSE = 30.0  # the same while an event stream would tell of the end
LAST_LOOK = 5.0  # seconds that a request may take beyond the deadline
SLICE = 30.0  # seconds of sleep between two signs of life
GLANCE = 1.0  # the same where standard output is a pipe, whose reader may go away
FEW = 8  # runs that are polled one by one
ASLEEP = 30.0  # seconds a pause may overrun before this machine is held to have been suspended


@dataclass(frozen=True)
class Terms:
    """What a wait is bound to; all times are in seconds.

    `timeout` (None: no limit; 0: each run is read once) counts from when the last run was started, and so much of it is
    `spent` already. With `stops_when_asked` a run that needs an answer is not waited for any longer.
    """

    clock: Clock
    progress: Progress
    request_timeout: float
    timeout: float | None = None
    spent: float = 0.0
    longest_pause: float = LONGEST_PAUSE  # between two polls
    slice: float = SLICE
    stops_when_asked: bool = True


class Wait:
    """Waits for a run, and tells `on_over` when it is over; `answer` returns why an ask ends it, if it does."""

    def __init__(
        self,
        terms: Terms,
        listener: "Listener",
        *,
        on_over: Callable[[Watch], None] = lambda watch: None,
        answer: "Callable[[Watch], QoderError | None] | None" = None,
    ) -> None:
        self.terms = terms
        self._listener = listener
        self._on_over = on_over
        self._answer = answer
        self._said: dict[Watch, str] = {}  # what was last said of each run
        self._going: dict[Watch, None] = {}  # the runs that are still waited for
        self._deadline = math.inf
        self._awake_at = terms.clock.monotonic()  # when this thread last looked at the clock

    def until_over(self, watch: Watch) -> None:
        """Return when the wait for a run is over. Raises Signalled."""
        self._begin(watch)
        self._set_deadline()
        with self.terms.progress.waiting(lambda: self._said[watch] or "waiting"):  # its id is in the line above
            try:
                while self._going:
                    if self.sleep_until(watch.due):
                        self._poll(watch)
            finally:
                self._listener.stop()

    def _begin(self, watch: Watch) -> None:
        watch.begin(self.terms.clock.monotonic(), self.first_pause)
        self._said[watch] = (watch.run and watch.run.status) or ""
        self._going[watch] = None
        self.conclude(watch)

    def _set_deadline(self) -> None:
        if self.terms.timeout is not None:
            self._deadline = self.terms.clock.monotonic() + max(self.terms.timeout - self.terms.spent, 0.0)

    @property
    def first_pause(self) -> float:
        return min(FIRST_PAUSE, self.terms.longest_pause)

    @property
    def left(self) -> float:
        return self._deadline - self.terms.clock.monotonic()

    @property
    def is_late(self) -> bool:
        """Whether there is no time for another request; `--timeout 0` has time for one of each run."""
        return self.terms.timeout != 0 and self.left < -LAST_LOOK

    def patience(self) -> float:
        """Return the seconds that the next request may take."""
        return min(self.terms.request_timeout, max(self.left, LAST_LOOK))

    def _poll(self, watch: Watch) -> None:
        """Look at one run, judge what shows, and plan the next look."""
        if not (watch.looked and self.left < -LAST_LOOK):
            watch.begin_poll()
            self._awake_at = self.terms.clock.monotonic()
            look = Task(partial(watch.observer.look, within=self.patience())).start()
            try:
                while not look.wait(TICK) and not self.must_stop():
                    pass  # it listens meanwhile
                look.result(0.0)
            except Late:
                pass
            except ApiError as error:
                self.take(watch, error)
                if not watch.over:
                    self._say(watch, error.message.rstrip(".") + ("; retrying" if self.left > 0 else ""))
                    self._put_off(watch, max(watch.pause, asked_pause(error)))
            else:
                self.take(watch)
                self._listener.attend(watch)
                self._put_off(watch, watch.pause)
        if self.left <= 0:
            self.time_out(watch)

    def take(self, watch: Watch, error: ApiError | None = None) -> None:
        """Take in that a run was read, or why it could not be."""
        self._mind_sleep()
        is_first = watch.note_look(error, self.terms.clock.monotonic())
        self.conclude(watch)
        if error is not None or watch.run is None:
            return
        if watch.over or not is_first or len(self._said) <= FEW:  # not a line for each of a thousand
            self._say(watch, "waits for an answer" if watch.observer.asks_since else watch.run.status or "gone")
        if self.terms.stops_when_asked and watch.observer.needs_answer:
            why_over = self._answer(watch) if self._answer else needs_answer(watch.run)
            if why_over is not None:
                watch.end(why_over)
            self.conclude(watch)

    def conclude(self, watch: Watch) -> None:
        """Tell of a run for which the wait is over, once."""
        if watch.over and watch in self._going:
            del self._going[watch]
            self._on_over(watch)

    def time_out(self, watch: Watch) -> None:
        watch.end(timed_out(watch.observer.run_id, watch.run, self.terms.timeout))
        self.conclude(watch)

    def _put_off(self, watch: Watch, pause: float) -> None:
        """Plan the next poll of a run: rarely while its end would be heard."""
        now, longest = self.terms.clock.monotonic(), self.terms.longest_pause
        if self._listener.hears(watch) and not watch.is_alert(now):
            watch.put_off(now + HEARING_PAUSE, next_pause=self.first_pause)
        else:
            if self._listener.is_open(watch) and not watch.is_alert(now):
                pause = max(pause, longest)  # most likely the end is heard before
            doubled = min(watch.pause * 2, max(longest, len(self._said) / READS_PER_SECOND))
            watch.put_off(now + pause * self.terms.clock.jitter(), next_pause=doubled)
        asks_since = watch.observer.asks_since
        if asks_since is not None and now < asks_since + ASKS_FOR:
            watch.bring_forward(asks_since + ASKS_FOR)

    def sleep_until(self, due: float) -> bool:
        """Sleep, no longer than to the deadline; return False when it ended early, because something came in."""
        clock = self.terms.clock
        until = min(due, self._deadline)
        while (seconds := min(until - clock.monotonic(), self.terms.slice)) > 0:
            self._awake_at = clock.monotonic()
            news = clock.take(self._listener.inbox, seconds)
            if (news is not None and self._hear(news)) or self._is_enough():
                return False
            self._awake_at += seconds
            self._mind_sleep()
            self.terms.progress.beat()
        return True

    def must_stop(self) -> bool:
        """Hear what came in while a request is under way, and return whether there is no point in going on."""
        self._mind_sleep()
        inbox = self._listener.inbox
        while not inbox.empty() and (news := self.terms.clock.take(inbox, 0.0)) is not None:
            self._hear(news)
        self.terms.progress.beat()
        return self.is_late or self._is_enough()

    def _mind_sleep(self) -> None:
        """Note the time. When that was not done for long, this machine was suspended, or this process stopped."""
        now = self.terms.clock.monotonic()
        asleep, self._awake_at = now - self._awake_at, now
        if asleep > ASLEEP:
            for watch in self._going:
                watch.oversleep(asleep)

    def _hear(self, news: Any) -> bool:
        """Take in what came in, and return whether it changes what to do next."""
        session_id, has_ended = self._listener.take(news)
        called = [each for each in self._going if session_id and each.session_id == session_id]
        for each in called:
            each.call(self.terms.clock.monotonic(), is_quick=has_ended)
        return bool(called)

    def _say(self, watch: Watch, words: str) -> None:
        if words != self._said[watch]:
            self._said[watch] = words
            self.terms.progress.change(f"{watch.name} {words}")

    def _is_enough(self) -> bool:
        """Return whether the wait is to end early."""
        return False


def asked_pause(error: ApiError) -> float:
    """Return the seconds for which the server asks to be left alone, as far as that is heeded."""
    return min(error.retry_after or 0.0, LONGEST_RETRY_AFTER)
