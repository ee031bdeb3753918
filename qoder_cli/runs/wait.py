"""Waiting for runs to end: pace, deadline, and how much silence is borne. Clock and sleep are passed in.

A wait ends in one of four ways: the run ended, it was lost sight of, the deadline came, or a signal arrived.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qoder_cli.base.ahead import Late, unless_late
from qoder_cli.base.clock import LONGEST_RETRY_AFTER, Clock
from qoder_cli.base.errors import ApiError, AuthError, LostSight, NotFound, QoderError, Unavailable, WaitTimeout
from qoder_cli.base.times import span
from qoder_cli.http.pace import READS_PER_SECOND
from qoder_cli.output.progress import Progress
from qoder_cli.runs.ending import needs_answer
from qoder_cli.runs.observe import ASKS_FOR, LAGGING, LONGEST_SILENCE
from qoder_cli.runs.watch import FIRST_PAUSE, Watch

if TYPE_CHECKING:
    import queue

    from qoder_cli.runs.fleet.launches import Launches
    from qoder_cli.runs.fleet.roll import RollCall
    from qoder_cli.runs.listen import Listener

LONGEST_PAUSE = 5.0  # seconds between checks in the end
HEARING_PAUSE = 30.0  # seconds between checks while an event stream would tell of the end
QUICK_PAUSE = 0.1  # seconds until the next check, doubling, once the end was heard but is not read yet
ALERT = 5.0  # seconds for which such checks are made
FIRST_WORD = 30.0  # the same, before anything was heard of the run at all
LAST_LOOK = 5.0  # seconds one check may take beyond the deadline
SLICE = 30.0  # seconds of sleep between two signs of life
GLANCE = 1.0  # the same where standard output is a pipe, whose reader may go away
FEW = 8  # runs up to which each is asked for by itself, with an event stream
ASLEEP = 30.0  # seconds a pause may overrun before this machine is held to have been suspended


class Waiter:
    """Waits for runs: a few each at its own pace, many by a roll call through the lists.

    What is heard of them comes in through `inbox`, and so do functions that are to be called in this thread; each may
    return another run to wait for. `has_more` says whether some are still to come though all runs are over. `timeout`
    and `interval` (the longest pause between checks) are in seconds; no timeout means no limit, and it counts from when
    the last run was launched; so much of it is `spent` already. With `stops_when_asked` a run that waits for an answer
    is not waited for any longer. `on_over` is told of each run when it is over.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        progress: Progress,
        request_timeout: float,
        inbox: "queue.SimpleQueue[Any]",
        listener: "Listener | None" = None,
        roll: "RollCall | None" = None,
        timeout: float | None = None,
        spent: float = 0.0,
        interval: float | None = None,
        slice: float = SLICE,
        stops_when_asked: bool = True,
        on_over: Callable[[Watch], None] = lambda watch: None,
        has_more: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock = clock
        self._progress = progress
        self._request_timeout = request_timeout
        self._inbox = inbox
        self._listener = listener
        self._roll = roll
        self._longest_pause = LONGEST_PAUSE if interval is None else interval
        self._timeout = timeout
        self._spent = spent
        self._slice = slice
        self._stops_when_asked = stops_when_asked
        self._awake_at = clock.monotonic()  # when this thread last looked at the clock
        self._on_over = on_over
        self._has_more = has_more
        self._launches: Launches | None = None
        self.watches: list[Watch] = []  # in the order in which they came
        self._over = 0
        self._by_session: dict[str, Watch] = {}
        self._deadline = math.inf
        self._is_enough: Callable[[], bool] = lambda: False
        self._roll_due = clock.monotonic()
        self._roll_pause = self._first_pause
        self._trouble = ""  # what was last said to go wrong with many
        self._in_trouble = False  # in this check
        self._asked_to_wait = 0.0  # seconds, by the server in this check

    @property
    def _first_pause(self) -> float:
        return min(FIRST_PAUSE, self._longest_pause)

    def wait(
        self,
        watches: Sequence[Watch],
        launches: "Launches | None" = None,
        *,
        is_enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """Return when every watch is over, also of `launches`, or `is_enough` says so.

        What each ended with is in the watch. Raises Signalled.
        """
        self._launches, self._is_enough = launches, is_enough
        for watch in watches:
            self._begin(watch)
        with self._progress.waiting(self._summary):
            try:
                while self._is_busy and not is_enough():
                    self._step()
            finally:
                if self._listener:
                    self._listener.stop()

    def _begin(self, watch: Watch) -> None:
        watch.began = watch._heard = self._clock.monotonic()
        watch._said = (watch.run.status or "") if watch.run else ""
        watch._pause = self._first_pause
        self.watches.append(watch)
        self._conclude(watch)

    @property
    def _going(self) -> list[Watch]:
        return [watch for watch in self.watches if not watch.over]

    @property
    def _has_all(self) -> bool:
        return self._launches is None or self._launches.done

    @property
    def _is_busy(self) -> bool:
        waits = self._going or not self._has_all
        return bool(waits) or (self._has_more() and self._clock.monotonic() < self._deadline)

    def _is_many(self, going: Sequence[Watch]) -> bool:
        """Return whether there are, or will be, too many runs to ask for each."""
        coming = 0 if self._has_all or self._launches is None else self._launches.total
        return max(len(going), coming) > FEW

    def _step(self) -> None:
        self._set_deadline()
        going = self._going
        if self._roll and self._is_many(going):
            self._step_many(going, self._roll)
        elif going:
            self._step_one(min(going, key=lambda watch: watch._due))
        else:
            self._sleep_until(self._clock.monotonic() + SLICE)

    def _set_deadline(self) -> None:
        if self._has_all and self._deadline == math.inf and self._timeout is not None:
            self._deadline = self._clock.monotonic() + max(self._timeout - self._spent, 0.0)

    def _step_one(self, watch: Watch) -> None:
        if not self._sleep_until(watch._due):
            return  # something was heard, which may make another run the next to look at
        left = self._deadline - self._clock.monotonic()
        if left < -LAST_LOOK and watch.looked:
            self._end(watch, self._timed_out(watch))
            return
        self._look(watch, min(self._request_timeout, max(left, LAST_LOOK)))
        if self._clock.monotonic() >= self._deadline and not watch.over:
            self._end(watch, self._timed_out(watch))

    def _step_many(self, going: Sequence[Watch], roll: "RollCall") -> None:
        if not self._sleep_until(self._roll_due):
            return
        is_last = self._clock.monotonic() >= self._deadline
        if not self._is_late:
            self._call_roll(going, roll)
        checked = all(watch.looked for watch in going) or not (roll.is_behind or roll.is_halfway)
        if is_last and (self._timeout or checked):  # --timeout 0 means that each is checked once
            for watch in going:
                if not watch.over:
                    self._end(watch, self._timed_out(watch))

    @property
    def _is_late(self) -> bool:
        """Whether there is no time for any further request; --timeout 0 has time for one check."""
        return self._timeout != 0 and self._clock.monotonic() > self._deadline + LAST_LOOK

    def _must_stop(self) -> bool:
        """Hear what came in while something is being read, and return whether there is no point in reading on."""
        self._mind_sleep()
        self._hear_what_came()
        self._set_deadline()
        return self._is_late or self._is_enough()

    def _mind_sleep(self) -> None:
        """Take note of the time, which is done five times a second while something is read.

        When it was not done for long, this machine was suspended or this process stopped; the server was not silent.
        """
        now = self._clock.monotonic()
        asleep, self._awake_at = now - self._awake_at, now
        if asleep > ASLEEP:
            for watch in self.watches:
                watch._heard += asleep
                if watch._missing_since is not None:
                    watch._missing_since += asleep

    def _patience(self) -> float:
        """Return the seconds that the next request may take."""
        return min(self._request_timeout, max(self._deadline - self._clock.monotonic(), LAST_LOOK))

    def _call_roll(self, going: Sequence[Watch], roll: "RollCall") -> None:
        over, began, failed = self._over, self._clock.monotonic(), False
        self._in_trouble, self._asked_to_wait = False, 0.0
        try:
            for heard in roll.call(going, within=self._patience, is_late=self._must_stop):
                if heard:
                    self._take(*heard)
                if self._must_stop():
                    break
        except Late:
            return
        except ApiError as error:
            failed = True
            self._bear_all(going, error)
        self._trouble = self._trouble if self._in_trouble else ""
        quick = not failed and (over != self._over or not self._has_all)
        self._roll_pause = self._first_pause if quick else min(self._roll_pause * 2, self._longest_pause)
        now, jitter = self._clock.monotonic(), self._clock.jitter()
        pause = self._first_pause if roll.is_halfway else self._roll_pause
        due = now if roll.is_behind else max(now + self._first_pause * jitter, began + pause * jitter)
        self._roll_due = max(due, now + self._asked_to_wait)

    def _bear_all(self, going: Sequence[Watch], error: ApiError) -> None:
        """Go on after a list could not be read, or end the wait for those that were not heard of for too long."""
        for watch in going:
            if not watch.over and self._is_hopeless(watch, error):
                self._give_up(watch, error)
        self._say_trouble(error)

    def _sleep_until(self, due: float) -> bool:
        pause = min(due, self._deadline) - self._clock.monotonic()
        return pause <= 0 or self._sleep(pause)

    def _hear_what_came(self) -> None:
        while not self._inbox.empty() and (news := self._clock.take(self._inbox, 0.0)) is not None:
            self._hear(news)
        self._progress.beat()

    def _sleep(self, seconds: float) -> bool:
        """Sleep in slices, so that signs of life can be given; False when it ended early, for something came in."""
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            self._awake_at = self._clock.monotonic()
            news = self._clock.take(self._inbox, min(left, self._slice))
            if (news is not None and self._hear(news)) or self._is_enough():
                return False
            self._awake_at += min(left, self._slice)
            self._mind_sleep()
            self._progress.beat()
        return True

    def _hear(self, news: Any) -> bool:
        """Take in what came in, and return whether it changes what is to be done next."""
        if callable(news):
            if (watch := news()) is not None:
                self._begin(watch)
            return True
        session_id, ended = self._listener.take(news) if self._listener else (None, False)
        watch = self._by_session.get(session_id or "")
        if watch is None or watch.over:
            return False
        watch._due, watch._called = self._clock.monotonic(), True
        if ended:  # quick steps, for lists may lag
            watch._pause, watch._alert_until = QUICK_PAUSE, watch._due + ALERT
        return True

    def _look(self, watch: Watch, within: float) -> None:
        watch._called = False
        self._awake_at = self._clock.monotonic()
        try:
            unless_late(partial(watch.observer.look, within=within), self._must_stop)
        except Late:
            return
        except ApiError as error:
            self._mind_sleep()
            self._take(watch, error)
        else:
            self._take(watch, None)
            if self._listener and watch.run and watch.run.session_id:
                self._by_session[watch.run.session_id] = watch
                self._listener.attend(watch)
            self._schedule(watch, watch._pause)

    def _take(self, watch: Watch, error: ApiError | None) -> None:
        """Take in that a run was looked at, or why it could not be."""
        first, watch.looked = not watch.looked, True
        if error is not None:
            self._bear(watch, error)
            return
        watch._heard, watch._missing_since = self._clock.monotonic(), None
        many = len(self.watches) > FEW
        self._conclude(watch)
        if watch.run and not (many and first and not watch.over):  # not a line for each of a thousand that go on
            self._say(watch, "waits for an answer" if watch.observer.asks_since else watch.run.status or "gone")
        if self._stops_when_asked and watch.run and watch.observer.needs_answer and not watch.over:
            self._end(watch, needs_answer(watch.run))

    def _end(self, watch: Watch, error: QoderError) -> None:
        watch.error = error
        self._conclude(watch)

    def _conclude(self, watch: Watch) -> None:
        """Tell of a run that is over, once."""
        if watch.over and not watch._told:
            watch._told = True
            self._over += 1
            self._on_over(watch)

    def _say(self, watch: Watch, news: str) -> None:
        if news != watch._said:
            watch._said = news
            self._progress.change(f"{watch.name} {news}")

    def _summary(self) -> str:
        if len(self.watches) == 1 and self._has_all:
            return self.watches[0]._said or "asking"  # its id stands in the line above
        total = self._launches.total if self._launches else len(self.watches)
        refused = self._launches.refused if self._launches else 0
        return f"{self._over} of {total} runs have ended" + (f", {refused} not started" if refused else "")

    def _schedule(self, watch: Watch, pause: float) -> None:
        now = self._clock.monotonic()
        if watch._called:
            watch._due = now
            return
        if self._listener and self._listener.hears(watch) and now >= watch._alert_until:
            watch._due, watch._pause = now + HEARING_PAUSE, min(FIRST_PAUSE, self._longest_pause)
        else:
            if self._listener and self._listener.is_open(watch) and now >= watch._alert_until:
                pause = max(pause, self._longest_pause)  # most likely the end is heard before
            watch._due = now + pause * self._clock.jitter()
            longest = max(self._longest_pause, len(self.watches) / READS_PER_SECOND)
            watch._pause = min(watch._pause * 2, longest)
        asks_since = watch.observer.asks_since
        if asks_since is not None and now < asks_since + ASKS_FOR:
            watch._due = min(watch._due, asks_since + ASKS_FOR)

    def _bear(self, watch: Watch, error: ApiError) -> None:
        """Go on after trouble, or end the watch when there is no point any more."""
        if self._is_hopeless(watch, error):
            self._give_up(watch, error)
        elif self._roll and self._is_many(self._going):
            self._say_trouble(error)
        else:
            again = "; trying again" if self._clock.monotonic() < self._deadline else ""
            self._say(watch, f"{error.message.rstrip('.')}{again}")
            self._schedule(watch, max(watch._pause, _asked_to_wait(error)))

    def _is_hopeless(self, watch: Watch, error: ApiError) -> bool:
        now = self._clock.monotonic()
        if isinstance(error, NotFound) and watch.is_known and error.enveloped and not error.retryable:
            watch._missing_since = now if watch._missing_since is None else watch._missing_since
            return now - watch._missing_since > LAGGING
        is_foreign = error.http_status is not None and not error.enveloped
        if isinstance(error, Unavailable) or error.retryable or is_foreign:
            # Borne, whatever it is: a network's login page redirects and breaks TLS, a proxy's refuses.
            silent = now - watch._heard > (LONGEST_SILENCE if watch.is_known else FIRST_WORD)
            return silent or not (watch.is_known or error.retryable)
        return True

    def _give_up(self, watch: Watch, error: ApiError) -> None:
        self._end(watch, _lost(watch, error) if watch.is_known else error)

    def _say_trouble(self, error: ApiError) -> None:
        """Say once, of many runs, that asking goes wrong."""
        self._in_trouble, self._asked_to_wait = True, max(self._asked_to_wait, _asked_to_wait(error))
        if error.message != self._trouble:
            self._trouble = error.message
            self._progress.change(f"{error.message.rstrip('.')}; trying again")

    def _timed_out(self, watch: Watch) -> WaitTimeout:
        status = watch.run.status if watch.run else None
        when = f"within {span(self._timeout)}" if self._timeout else "when it was checked"
        return WaitTimeout(
            f"run {watch.observer.run_id} had not ended {when}"
            + (f"; it is {status}" if status else "; nothing was heard of it"),
            hint="wait again" if status else None,
            run_state="going" if status else "unknown",
        )


def _asked_to_wait(error: ApiError) -> float:
    """Return for how many seconds the server wants to be left alone, as far as that is heeded."""
    return min(error.retry_after or 0.0, LONGEST_RETRY_AFTER)


def _lost(watch: Watch, error: ApiError) -> LostSight:
    return LostSight(
        f"lost sight of run {watch.observer.run_id}, which may be going on: {error.message}",
        hint="log in again and wait again, do not start again"
        if isinstance(error, AuthError)
        else "wait again, do not start again",
        run_state="unknown",
        cause=error,
    )
