"""One run that is polled: when to poll it next, and when to give up."""

import math
from dataclasses import dataclass, field

from qoder_cli.base.errors import ApiError, AuthError, LostSight, NotFound, QoderError, Unavailable
from qoder_cli.base.ids import noun
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import ASKS_FOR
from qoder_cli.runs.observe import Observer
from qoder_cli.sessions.log import LAGGING, LONGEST_SILENCE

QUICK_PAUSE = 0.1  # seconds between polls at first once the end was heard but is not read yet, for lists lag
ALERT = 5.0  # seconds for which such polls are made
FIRST_SILENCE = 30.0  # seconds for which a server may be silent about a run that nothing was ever heard of


@dataclass
class Contact:
    """How long nothing was heard of a run, and for how long it was not found. Times are the monotonic clock's."""

    heard_at: float = math.nan
    missing_since: float | None = None

    def heard(self, now: float) -> None:
        self.heard_at, self.missing_since = now, None

    def suspended(self, seconds: float) -> None:
        """Do not count the time for which this machine was suspended as silence."""
        self.heard_at += seconds
        if self.missing_since is not None:
            self.missing_since += seconds

    def is_lost(self, error: ApiError, now: float, *, exists: bool) -> bool:
        """Return whether another poll is pointless after this error. `exists`: there is such a run for certain."""
        if isinstance(error, NotFound) and exists and error.enveloped and not error.retryable:
            if self.missing_since is None:
                self.missing_since = now
            return now - self.missing_since > LAGGING
        # A refusal that is not the API's own says nothing of the run: a network's login page, a proxy.
        is_foreign = error.http_status is not None and not error.enveloped
        if isinstance(error, Unavailable) or error.retryable or is_foreign:
            longest = FIRST_SILENCE
            if exists:
                longest = LONGEST_SILENCE
            return now - self.heard_at > longest or not (exists or error.retryable)
        return True


@dataclass(eq=False)
class PolledRun:
    """A run, or a session's turn, that is polled until it has ended. Times are the monotonic clock's.

    `error` says why its polling ended before the run did; `label` is the deployment as it was typed, among several.
    """

    observer: Observer
    label: str | None = None
    error: QoderError | None = field(default=None, init=False)
    is_read: bool = field(default=False, init=False)  # whether a poll was made
    printed: str = field(default="", init=False)  # what was last printed of it
    began: float = field(default=math.nan, init=False)
    due: float = field(default=-math.inf, init=False)  # when to poll next
    pause: float = field(default=0.0, init=False)  # before the poll after that; 0 before the first
    contact: Contact = field(default_factory=Contact, init=False)
    _alert_until: float = field(default=-math.inf, init=False)

    @property
    def run(self) -> Run | None:
        return self.observer.run

    @property
    def session_id(self) -> str | None:
        return self.run.session_id if self.run else None

    @property
    def name(self) -> str:
        return f"{self.label} {self.observer.run_id}" if self.label else self.observer.run_id

    @property
    def is_over(self) -> bool:
        return self.error is not None or self.observer.ended

    def begin(self, now: float) -> None:
        self.began = self.contact.heard_at = now
        self.printed = (self.run and self.run.status) or ""

    def begin_poll(self) -> None:
        """Poll no more until `back_off`; from now on news calls for another poll."""
        self.due = math.inf

    def wake(self, now: float, *, is_quick: bool) -> None:
        """Poll now, because of news; if `is_quick`, often until it can be read too.

        The same news again meanwhile, as of a stream that repeats itself, is no reason to poll more often.
        """
        if not self.is_alert(now):
            self.due = now
            if is_quick:
                self.pause, self._alert_until = QUICK_PAUSE, now + ALERT
        elif self.due == math.inf:
            self.due, self.pause = now + self.pause, self.pause * 2

    def is_alert(self, now: float) -> bool:
        return now < self._alert_until

    def back_off(self, now: float, pause: float, *, next_pause: float) -> None:
        """Poll again after a pause, unless there was news meanwhile or an ask comes of age first."""
        if self.due == math.inf:
            self.due, self.pause = now + pause, next_pause
        asks_since = self.observer.asks_since
        if asks_since is not None and now < asks_since + ASKS_FOR:
            self.due = min(self.due, asks_since + ASKS_FOR)

    def failed(self, error: ApiError, now: float) -> None:
        """Go on after an error, or end if another poll is pointless."""
        exists = self.run is not None or self.observer.may_lag
        if self.is_over or not self.contact.is_lost(error, now, exists=exists):
            return
        if not exists:
            self.end(error)
            return
        hint = "wait for it again; do not start another"
        if isinstance(error, AuthError):
            hint = f"log in again, then {hint}"
        self.end(self.lost(error, hint))

    def lost(self, error: ApiError, hint: str) -> LostSight:
        """Return the error for losing sight of the run."""
        id = self.observer.run_id
        message = f"lost track of {noun(id)} {id}; it may still be running: {error.message}"
        return LostSight(message, hint=hint, run_id=id, session_id=self.session_id, run_state="unknown", cause=error)

    def end(self, error: QoderError) -> None:
        if not self.is_over:
            self.error = error
