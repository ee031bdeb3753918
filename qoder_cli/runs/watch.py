"""One run that is waited for."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qoder_cli.base.errors import QoderError
from qoder_cli.base.model import Run
from qoder_cli.runs.observe import Observer

if TYPE_CHECKING:
    pass


FIRST_PAUSE = 0.5  # seconds between checks at first, doubling


@dataclass(eq=False)
class Watch:
    """One run being waited for, and how the wait for it ended: `error` is None while going, and when it just ended.

    `label` says what it is, among several: its deployment as it was typed.
    """

    observer: Observer
    just_triggered: bool = False
    label: str | None = None
    error: QoderError | None = None
    looked: bool = False
    began: float = math.nan  # when it began to be waited for, by the monotonic clock
    _pause: float = FIRST_PAUSE
    _due: float = -math.inf
    _heard: float = field(default=math.nan)
    _missing_since: float | None = None
    _said: str = ""
    _alert_until: float = -math.inf
    _told: bool = False
    _called: bool = False  # it was to be looked at, while a look was under way that may not have seen why

    @property
    def run(self) -> Run | None:
        """The newest reading of the run."""
        return self.observer.run

    @property
    def name(self) -> str:
        """What it is called in a line that tells of it."""
        return f"{self.label} {self.observer.run_id}" if self.label else self.observer.run_id

    @property
    def over(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.error is not None or self.observer.ended

    @property
    def is_known(self) -> bool:
        """Whether there is such a run, for certain."""
        return self.run is not None or self.just_triggered or self.observer.may_lag
