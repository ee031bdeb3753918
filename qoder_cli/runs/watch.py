"""One run that is waited for: what is known of it, and when there is no point in waiting on."""

import math
from dataclasses import dataclass, field

from qoder_cli.base.errors import ApiError, AuthError, LostSight, NotFound, QoderError, Unavailable
from qoder_cli.base.ids import noun
from qoder_cli.base.model import Run
from qoder_cli.runs.observe import LAGGING, LONGEST_SILENCE, Observer

FIRST_WORD = 30.0  # seconds for which a server may be silent about a run that nothing was ever heard of


@dataclass(eq=False)
class Watch:
    """One run that is waited for; all times are the monotonic clock's.

    `error` is why the wait for it ended before the run did. `label` says what the run is among several: its deployment
    as it was typed.
    """

    observer: Observer
    label: str | None = None
    error: QoderError | None = field(default=None, init=False)
    looked: bool = field(default=False, init=False)  # whether it was asked for, with or without success
    began: float = field(default=math.nan, init=False)
    _heard: float = field(default=math.nan, init=False)
    _missing_since: float | None = field(default=None, init=False)
    _said: str = field(default="", init=False)

    @property
    def run(self) -> Run | None:
        """The newest reading of the run."""
        return self.observer.run

    @property
    def name(self) -> str:
        """What the run is called in a line about it."""
        return f"{self.label} {self.observer.run_id}" if self.label else self.observer.run_id

    @property
    def over(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.error is not None or self.observer.ended

    @property
    def is_known(self) -> bool:
        """Whether there certainly is such a run."""
        return self.run is not None or self.observer.may_lag

    @property
    def status(self) -> str:
        """What was last said of the run, in a few words."""
        return self._said

    def is_news(self, words: str) -> bool:
        """Note what is said of the run, and return whether it differs from what was said before."""
        is_new = words != self._said
        self._said = words
        return is_new

    def begin(self, now: float) -> None:
        """Begin to wait."""
        self.began = self._heard = now
        self._said = (self.run.status or "") if self.run else ""

    def oversleep(self, seconds: float) -> None:
        """Leave out the time for which this machine was suspended: the server was not silent."""
        self._heard += seconds
        if self._missing_since is not None:
            self._missing_since += seconds

    def note_look(self, error: ApiError | None, now: float) -> bool:
        """Take in that the run was asked for, and return whether this was the first time.

        An `error` ends the wait when there is no point in trying again.
        """
        is_first, self.looked = not self.looked, True
        if error is None:
            self._heard, self._missing_since = now, None
        else:
            self.bear(error, now)
        return is_first

    def bear(self, error: ApiError, now: float) -> None:
        """Go on after trouble, or end the wait when there is no point in trying again."""
        if self.over or not self._is_hopeless(error, now):
            return
        self.end(_lost(self.observer.run_id, error) if self.is_known else error)

    def end(self, error: QoderError) -> None:
        """End the wait before the run has ended."""
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


def _lost(run_id: str, error: ApiError) -> LostSight:
    hint = "wait for it again; do not start another"
    if isinstance(error, AuthError):
        hint = f"log in again, then {hint}"
    return LostSight(
        f"lost track of {noun(run_id)} {run_id}; it may still be running: {error.message}",
        hint=hint,
        run_state="unknown",
        cause=error,
    )
