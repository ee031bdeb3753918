"""Waiting for runs to end: pace, deadline, and how much silence is borne. Clock and sleep are passed in.

A wait ends in one of four ways: the run ended, it was lost sight of, the deadline came, or a signal arrived.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qoder_cli.clock import Clock
from qoder_cli.errors import ApiError, AuthError, LostSight, NotFound, QoderError, Unavailable, WaitTimeout
from qoder_cli.model import Run
from qoder_cli.observe import Observer
from qoder_cli.progress import Progress
from qoder_cli.times import span

if TYPE_CHECKING:
    from qoder_cli.listen import Listener

FIRST_PAUSE = 0.5  # seconds between checks at first, doubling
LONGEST_PAUSE = 5.0  # seconds between checks in the end
HEARING_PAUSE = 30.0  # seconds between checks while an event stream would tell of the end
QUICK_PAUSE = 0.1  # seconds until the next check, doubling, once the end was heard but is not read yet
ALERT = 5.0  # seconds for which such checks are made
LONGEST_SILENCE = 300.0  # seconds without a word from the server until sight is lost
FIRST_WORD = 30.0  # the same, before anything was heard of the run at all
LAGGING = 30.0  # seconds for which a 404 may be a replica that has not heard of the run yet
LAST_LOOK = 5.0  # seconds one check may take beyond the deadline
ASLEEP = 30.0  # seconds a pause may overrun before this machine is held to have been suspended


@dataclass
class Watch:
    """One run being waited for, and how the wait for it ended: `error` is None while going, and when it just ended."""

    observer: Observer
    just_triggered: bool = False
    error: QoderError | None = None
    looked: bool = False
    _pause: float = FIRST_PAUSE
    _due: float = -math.inf
    _heard: float = field(default=math.nan)
    _missing_since: float | None = None
    _said: str = ""
    _alert_until: float = -math.inf

    @property
    def run(self) -> Run | None:
        """The newest reading of the run."""
        return self.observer.run

    @property
    def over(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.error is not None or self.observer.ended


class Waiter:
    """Waits for runs, asking each at its own pace.

    `timeout` and `interval` (the longest pause between checks) are in seconds; no timeout means no limit.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        progress: Progress,
        request_timeout: float,
        listener: "Listener | None" = None,
        timeout: float | None = None,
        interval: float | None = None,
    ) -> None:
        self._clock = clock
        self._progress = progress
        self._request_timeout = request_timeout
        self._listener = listener
        self._longest_pause = LONGEST_PAUSE if interval is None else interval
        self._timeout = timeout
        self._watches: Sequence[Watch] = ()
        self._deadline = math.inf if timeout is None else clock.monotonic() + timeout

    def wait(self, watches: Sequence[Watch]) -> None:
        """Return when every watch is over; what each ended with is in the watch. Raises Signalled."""
        for watch in watches:
            watch._heard = self._clock.monotonic()
            watch._said = (watch.run.status or "") if watch.run else ""
            watch._pause = min(FIRST_PAUSE, self._longest_pause)
        self._watches = watches
        with self._progress.waiting(self._summary()):
            try:
                while going := [watch for watch in watches if not watch.over]:
                    self._step(min(going, key=lambda watch: watch._due))
            finally:
                if self._listener:
                    self._listener.stop()

    def _step(self, watch: Watch) -> None:
        began = self._clock.monotonic()
        pause = max(min(watch._due, self._deadline) - began, 0.0)
        if pause and not self._sleep(pause):
            return  # something was heard, which may make another run the next to look at
        left = self._deadline - self._clock.monotonic()
        if left < -LAST_LOOK and watch.looked:
            watch.error = self._timed_out(watch)
            return
        self._look(watch, min(self._request_timeout, max(left, LAST_LOOK)))
        if self._clock.monotonic() >= self._deadline and not watch.over:
            watch.error = self._timed_out(watch)

    def _sleep(self, seconds: float) -> bool:
        """Sleep in slices, so that signs of life can be given; False when it ended early because a run was heard of."""
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            if self._listener is None:
                self._clock.sleep(min(left, 30.0))
            elif self._heard_of(*self._listener.wait(min(left, 30.0))):
                return False
            overslept = self._clock.monotonic() - until
            if overslept > ASLEEP:  # this machine was suspended; the server was not silent
                for watch in self._watches:
                    watch._heard += overslept
            self._progress.beat()
        return True

    def _heard_of(self, session_id: str | None, ended: bool) -> bool:
        """Make the run of a session the next to look at; in quick steps when its end was heard, for lists may lag."""
        for watch in self._watches:
            if session_id and not watch.over and watch.run and watch.run.session_id == session_id:
                watch._due = self._clock.monotonic()
                if ended:
                    watch._pause, watch._alert_until = QUICK_PAUSE, watch._due + ALERT
                return True
        return False

    def _look(self, watch: Watch, within: float) -> None:
        try:
            run = watch.observer.look(within=within)
        except ApiError as error:
            self._bear(watch, error)
        else:
            watch._heard, watch._missing_since = self._clock.monotonic(), None
            if self._listener:
                self._listener.attend(watch)
            self._say(watch, run.status or "gone")
            self._schedule(watch, watch._pause)
        watch.looked = True

    def _say(self, watch: Watch, news: str) -> None:
        if news != watch._said:
            watch._said = news
            alone = len(self._watches) == 1  # its id stands in the line above
            self._progress.change(f"{watch.observer.run_id} {news}", status=news if alone else self._summary())

    def _summary(self) -> str:
        if len(self._watches) != 1:
            return f"{sum(watch.over for watch in self._watches)} of {len(self._watches)} runs have ended"
        return self._watches[0]._said or "asking"

    def _schedule(self, watch: Watch, pause: float) -> None:
        now = self._clock.monotonic()
        if self._listener and self._listener.hears(watch) and now >= watch._alert_until:
            watch._due, watch._pause = now + HEARING_PAUSE, min(FIRST_PAUSE, self._longest_pause)
            return
        watch._due = now + pause * self._clock.jitter()
        watch._pause = min(watch._pause * 2, self._longest_pause)

    def _bear(self, watch: Watch, error: ApiError) -> None:
        """Go on after trouble, or end the watch when there is no point any more."""
        now = self._clock.monotonic()
        known = watch.run is not None or watch.just_triggered
        if isinstance(error, NotFound) and known:
            watch._missing_since = now if watch._missing_since is None else watch._missing_since
            hopeless = now - watch._missing_since > LAGGING
        elif isinstance(error, Unavailable):  # borne, whatever it is: a network's login page redirects and breaks TLS
            hopeless = now - watch._heard > (LONGEST_SILENCE if known else FIRST_WORD)
            hopeless = hopeless or not (known or error.retryable)
        else:
            hopeless = not error.retryable
        if hopeless:
            watch.error = _lost(watch, error) if known else error
            return
        self._say(watch, f"{error.message.rstrip('.')}; trying again")
        self._schedule(watch, max(watch._pause, min(error.retry_after or 0.0, 60.0)))

    def _timed_out(self, watch: Watch) -> WaitTimeout:
        status = watch.run.status if watch.run else None
        when = f"within {span(self._timeout)}" if self._timeout else "when it was checked"
        return WaitTimeout(
            f"run {watch.observer.run_id} had not ended {when}"
            + (f"; it is {status}" if status else "; nothing was heard of it"),
            hint="wait again" if status else None,
            run_state="going" if status else "unknown",
        )


def _lost(watch: Watch, error: ApiError) -> LostSight:
    return LostSight(
        f"lost sight of run {watch.observer.run_id}, which may be going on: {error.message}",
        hint="log in again and wait again, do not start again"
        if isinstance(error, AuthError)
        else "wait again, do not start again",
        run_state="unknown",
        api_type=error.api_type,
        http_status=error.http_status,
        request_id=error.request_id,
    )
