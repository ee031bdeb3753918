"""One run being waited for: when to poll it next, and when to give up."""

import math
from dataclasses import dataclass, field

from qoder_cli.base.errors import ApiError, AuthError, LostSight, NotFound, QoderError, Unavailable
from qoder_cli.base.ids import noun
from qoder_cli.base.model import Run
from qoder_cli.runs.observe import ASKS_FOR, Observer
from qoder_cli.sessions.log import LAGGING, LONGEST_SILENCE

QUICK_PAUSE = 0.1  # seconds between polls at first once the end was heard but is not read yet, for lists lag
ALERT = 5.0  # seconds for which such polls are made
FIRST_WORD = 30.0  # seconds for which a server may be silent about a run that nothing was ever heard of


@dataclass(eq=False)
class Watch:
    """One run being waited for. Times are the monotonic clock's.

    `error` says why the wait ended before the run did; `label` is the deployment as it was typed, among several.
    """

    observer: Observer
    label: str | None = None
    error: QoderError | None = field(default=None, init=False)
    looked: bool = field(default=False, init=False)
    began: float = field(default=math.nan, init=False)
    due: float = field(default=-math.inf, init=False)
    pause: float = field(default=0.0, init=False)
    _alert_until: float = field(default=-math.inf, init=False)
    _heard: float = field(default=math.nan, init=False)
    _missing_since: float | None = field(default=None, init=False)

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
    def over(self) -> bool:
        return self.error is not None or self.observer.ended

    @property
    def is_known(self) -> bool:
        return self.run is not None or self.observer.may_lag

    def begin(self, now: float, pause: float) -> None:
        self.began = self._heard = now
        self.pause = pause

    def begin_look(self) -> None:
        """Poll no more, until put off; from now on what is heard calls for another look."""
        self.due = math.inf

    def call(self, now: float, *, is_quick: bool) -> None:
        """Poll now, because something was heard; if `is_quick`, often until it can be read too.

        What is heard again meanwhile, as of a stream that repeats itself, is no reason to poll more often.
        """
        if not self.is_alert(now):
            self.due = now
            if is_quick:
                self.pause, self._alert_until = QUICK_PAUSE, now + ALERT
        elif self.due == math.inf:
            self.due, self.pause = now + self.pause, self.pause * 2

    def is_alert(self, now: float) -> bool:
        return now < self._alert_until

    def put_off(self, now: float, pause: float, *, next_pause: float) -> None:
        """Poll again after a pause, unless something was heard meanwhile or an ask comes of age first."""
        if self.due == math.inf:
            self.due, self.pause = now + pause, next_pause
        asks_since = self.observer.asks_since
        if asks_since is not None and now < asks_since + ASKS_FOR:
            self.due = min(self.due, asks_since + ASKS_FOR)

    def oversleep(self, seconds: float) -> None:
        """Do not count the time for which this machine was suspended as silence."""
        self._heard += seconds
        if self._missing_since is not None:
            self._missing_since += seconds

    def note_look(self, error: ApiError | None, now: float) -> bool:
        is_first, self.looked = not self.looked, True
        if error is None:
            self._heard, self._missing_since = now, None
        else:
            self.bear(error, now)
        return is_first

    def bear(self, error: ApiError, now: float) -> None:
        """Keep waiting after an error, or end the wait if retrying is pointless."""
        if self.over or not self._is_hopeless(error, now):
            return
        if not self.is_known:
            self.end(error)
            return
        hint = "wait for it again; do not start another"
        if isinstance(error, AuthError):
            hint = f"log in again, then {hint}"
        self.end(self.lost(error, hint))

    def lost(self, error: ApiError, hint: str) -> LostSight:
        """Return the error for losing sight of the run."""
        id = self.observer.run_id
        said = f"lost track of {noun(id)} {id}; it may still be running: {error.message}"
        return LostSight(said, hint=hint, run_id=id, session_id=self.session_id, run_state="unknown", cause=error)

    def end(self, error: QoderError) -> None:
        if not self.over:
            self.error = error

    def _is_hopeless(self, error: ApiError, now: float) -> bool:
        if isinstance(error, NotFound) and self.is_known and error.enveloped and not error.retryable:
            if self._missing_since is None:
                self._missing_since = now
            return now - self._missing_since > LAGGING
        # A refusal that is not the API's own says nothing of the run: a network's login page, a proxy.
        is_foreign = error.http_status is not None and not error.enveloped
        if isinstance(error, Unavailable) or error.retryable or is_foreign:
            is_silent = now - self._heard > (LONGEST_SILENCE if self.is_known else FIRST_WORD)
            return is_silent or not (self.is_known or error.retryable)
        return True
