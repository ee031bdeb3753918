"""Wait for a run to end: sleep or listen, poll, judge. Waiting for many is in `fleet`.

A wait ends when the run has ended, sight of it is lost (`Watch`), the deadline comes, or a signal arrives.
"""

import math
from functools import partial
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, QoderError
from qoder_cli.base.pool import Late, Task
from qoder_cli.base.times import SUSPENDED
from qoder_cli.http.pace import READS_PER_SECOND
from qoder_cli.runs.ending import Wanted, timed_out, unanswered
from qoder_cli.runs.listen import Listener
from qoder_cli.runs.watch import Watch
from qoder_cli.sessions.log import LONGEST_PAUSE

FIRST_PAUSE = 0.5  # seconds between polls at first, doubling
HEARING_PAUSE = 30.0  # the same while an event stream would tell of the end
LAST_LOOK = 5.0  # seconds that a request may take beyond the deadline
FEW = 8  # runs that are polled one by one


class Wait:
    """A wait for one run. Its timeout counts from the start of the last run; 0 polls once."""

    longest_sleep = 30.0  # seconds between two signs of life

    def __init__(self, app: App, wanted: Wanted, listener: Listener) -> None:
        self.app, self.wanted, self.listener = app, wanted, listener
        self.limits = limits = wanted.limits
        self.longest_pause = LONGEST_PAUSE if limits.interval is None else limits.interval
        self.first_pause = min(FIRST_PAUSE, self.longest_pause)
        self.said: dict[Watch, str] = {}  # what was last said of each run
        self.going: dict[Watch, None] = {}  # the runs that are still waited for
        self._deadline = math.inf
        self._awake_at = app.clock.monotonic()  # when this thread last looked at the clock

    def until_over(self, watch: Watch) -> None:
        self.begin(watch)
        self.set_deadline()
        with self.app.progress.waiting(lambda: self.said[watch] or "waiting"):  # its id is in the line above
            try:
                while self.going:
                    if self.sleep_until(watch.due):
                        self.poll(watch)
            finally:
                self.listener.stop()

    def begin(self, watch: Watch) -> None:
        watch.begin(self.app.clock.monotonic(), self.first_pause)
        self.said[watch] = (watch.run and watch.run.status) or ""
        self.going[watch] = None
        self.conclude(watch)

    def set_deadline(self) -> None:
        if self.limits.timeout is not None:
            self._deadline = self.app.clock.monotonic() + max(self.limits.timeout - self.limits.spent, 0.0)

    @property
    def left(self) -> float:
        """Seconds until the deadline, negative after it."""
        return self._deadline - self.app.clock.monotonic()

    @property
    def is_late(self) -> bool:
        """Whether another request would come too late; `--timeout 0` allows one."""
        return self.limits.timeout != 0 and self.left < -LAST_LOOK

    def patience(self) -> float:
        return min(self.app.client.request_timeout, max(self.left, LAST_LOOK))

    def poll(self, watch: Watch) -> None:
        """Read a run, judge it and plan the next poll."""
        if not (watch.looked and self.left < -LAST_LOOK):
            watch.begin_look()
            self._awake_at = self.app.clock.monotonic()
            look = Task(partial(watch.observer.look, within=self.patience())).start()
            try:
                look.result_unless(self.must_stop)  # it listens meanwhile
            except Late:
                pass
            except ApiError as error:
                self.take(watch, error)
                if not watch.over:
                    self._say(watch, error.message.rstrip(".") + ("; retrying" if self.left > 0 else ""))
                    self._put_off(watch, max(watch.pause, error.asked_pause))
            else:
                self.take(watch)
                self.listener.attend(watch)
                self._put_off(watch, watch.pause)
        if self.left <= 0:
            self.time_out(watch)

    def take(self, watch: Watch, error: ApiError | None = None) -> None:
        """Record the result of a read."""
        self._mind_sleep()
        is_first = watch.note_look(error, self.app.clock.monotonic())
        self.conclude(watch)
        if error is not None or watch.run is None:
            return
        if watch.over or not is_first or len(self.said) <= FEW:  # not a line for each of a thousand
            ended = watch.run.status or watch.run.error_type or ""
            self._say(watch, "waits for an answer" if watch.observer.asks_since else ended)
        if self.wanted.on_ask != "wait" and watch.observer.needs_answer:
            left = None if self.limits.timeout is None else lambda: self.left
            self.conclude(watch, unanswered(watch.observer, self.wanted, self.app, left=left))

    def conclude(self, watch: Watch, error: QoderError | None = None) -> None:
        """End the wait for a run if it has ended, or for an error."""
        if error is not None:
            watch.end(error)
        if watch.over and watch in self.going:
            del self.going[watch]
            self.on_over(watch)

    def time_out(self, watch: Watch) -> None:
        self.conclude(watch, timed_out(watch.observer.run_id, watch.run, self.limits.timeout))

    def on_over(self, watch: Watch) -> None:
        """Called once the wait for a run is over."""

    def _put_off(self, watch: Watch, pause: float) -> None:
        """Plan the next poll, rarely while the stream would tell of the end."""
        now = self.app.clock.monotonic()
        if not watch.is_alert(now):
            if self.listener.hears(watch):
                watch.put_off(now, HEARING_PAUSE, next_pause=self.first_pause)
                return
            if self.listener.is_open(watch):
                pause = max(pause, self.longest_pause)  # most likely the end is heard before
        doubled = min(watch.pause * 2, max(self.longest_pause, len(self.said) / READS_PER_SECOND))
        watch.put_off(now, pause * self.app.clock.jitter(), next_pause=doubled)

    def sleep_until(self, due: float) -> bool:
        """Sleep, at most until the deadline. Return False if something came in first."""
        clock, until = self.app.clock, min(due, self._deadline)
        while (seconds := min(until - clock.monotonic(), self.longest_sleep)) > 0:
            self._awake_at = clock.monotonic()
            news = clock.take(self.listener.inbox, seconds)
            if (news is not None and self.hear(news)) or self.is_enough():
                return False
            self._mind_sleep(seconds)
            self.app.progress.beat()
        return True

    def must_stop(self) -> bool:
        """Handle what came in during a request. Return whether to abandon it."""
        self._mind_sleep()
        inbox = self.listener.inbox
        while not inbox.empty() and (news := self.app.clock.take(inbox, 0.0)) is not None:
            self.hear(news)
        self.app.progress.beat()
        return self.is_late or self.is_enough()

    def _mind_sleep(self, meant: float = 0.0) -> None:
        """Note the time. A much longer gap than was meant: this machine, or the process, was stopped."""
        now = self.app.clock.monotonic()
        asleep, self._awake_at = now - self._awake_at - meant, now
        if asleep > SUSPENDED:
            for watch in self.going:
                watch.oversleep(asleep)

    def hear(self, news: Any) -> bool:
        session_id, has_ended = self.listener.take(news)
        called = [each for each in self.going if session_id and each.session_id == session_id]
        for each in called:
            each.call(self.app.clock.monotonic(), is_quick=has_ended)
        return bool(called)

    def _say(self, watch: Watch, words: str) -> None:
        if words != self.said[watch]:
            self.said[watch] = words
            self.app.progress.change(f"{watch.name} {words}")

    def is_enough(self) -> bool:
        """Whether to end the wait early."""
        return False
