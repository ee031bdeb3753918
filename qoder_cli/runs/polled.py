"""A run that is polled until it has ended: when, what was heard of it, and why polling it ends before that.

`RunPoller` reads runs one by one, `fleet/page_poller.py` reads lists of them; the loop is `fleet/wait.py`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, LostSight, NotFound, QoderError, Unavailable
from qoder_cli.base.ids import noun
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import ASKS_FOR
from qoder_cli.base.pool import Late, Task
from qoder_cli.base.times import LAST_LOOK, Deadline
from qoder_cli.http.pace import READS_PER_SECOND
from qoder_cli.runs.observe import Observer
from qoder_cli.sessions.log import LAGGING, LONGEST_PAUSE, LONGEST_SILENCE
from qoder_cli.sessions.stream import Streams

FIRST_PAUSE = 0.5  # seconds between polls at first, doubling
STREAM_PAUSE = 30.0  # the same while an event stream would tell of the end
FEW = 8  # runs that are polled one by one
QUICK_PAUSE = 0.1  # seconds between polls at first once the end was heard but is not read yet, for lists lag
ALERT = 5.0  # seconds for which such polls are made
FIRST_SILENCE = 30.0  # seconds for which a server may be silent about a run that nothing was ever heard of

Test = Callable[[], bool]


class Pauses(NamedTuple):
    """The seconds between two polls: at first, and at most."""

    first: float
    longest: float

    @classmethod
    def of(cls, interval: float | None) -> "Pauses":
        """Return the pauses for the `interval` that was typed, if any."""
        if interval is None:
            return cls(FIRST_PAUSE, LONGEST_PAUSE)
        return cls(min(FIRST_PAUSE, interval), interval)


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
    # Where lists are polled, too: when it was read itself, the pause until the next time, the row by which its session
    # rests, and when a list showed it.
    read_at: float = field(default=-math.inf, init=False)
    read_pause: float = field(default=FIRST_PAUSE, init=False)
    rests_so: tuple[Any, ...] | None = field(default=None, init=False)
    listed_at: float = field(default=math.nan, init=False)
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

    @property
    def stands(self) -> str:
        """How it stands, in words that may change with the time."""
        if (left := self.observer.asks_in) > 0:
            return f"asks in {math.ceil(left)} s, unless it continues by itself"
        return self.printed

    def begin(self, now: float) -> None:
        self.began = self.contact.heard_at = now
        if self.run is not None:
            self.read_at = now
        self.printed = (self.run and self.run.status) or ""

    def is_news(self, text: str) -> bool:
        """Return whether a text is to be printed of it, for it was not the last."""
        is_new = text != self.printed
        self.printed = text
        return is_new

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

    def heard(self, error: ApiError | None, now: float) -> None:
        """Take in what a poll brought. Go on after an error, or end if another poll is pointless."""
        if error is None:
            self.contact.heard(now)
            return
        exists = self.run is not None or self.observer.may_lag
        if not self.contact.is_lost(error, now, exists=exists):
            return
        if not exists:
            self.end(error)
            return
        hint = "wait for it again; do not start another"
        if isinstance(error, AuthError):
            hint = f"log in again, then {hint}"
        id = self.observer.run_id
        message = f"lost track of {noun(id)} {id}; it may still be running: {error.message}"
        about: dict[str, Any] = {"run_id": id, "session_id": self.session_id, "run_state": "unknown"}
        self.end(LostSight(message, hint=hint, cause=error, **about))

    def end(self, error: QoderError) -> None:
        if not self.is_over:
            self.error = error


def in_words(trouble: str, deadline: Deadline) -> str:
    """Return what a poll did not get past, in words, and that there will be another."""
    if deadline.left() > 0:
        return f"{trouble.rstrip('.')}; retrying"
    return trouble.rstrip(".")


Runs = Sequence[PolledRun]


class WaitReading(NamedTuple):
    """What a poll brought of a run: a new state of its observer, or an error; `is_last`: its time is up."""

    polled: PolledRun
    error: ApiError | None = None
    is_of_list: bool = False  # the run itself was not read
    is_last: bool = False


class Starts:
    """What starts runs while others are waited for; this starts none.

    `ordered`: how many it was told to start. Of a queue what is left may come in hours, so each run has the time of the
    wait for itself. What is put into the `inbox` is for the thread that waits.
    """

    ordered = 0
    is_queue = False

    def __init__(self) -> None:
        self.inbox = SimpleQueue[Any]()

    @property
    def left(self) -> int:
        """How many orders are still to be reported; until then, no deadline counts."""
        return 0

    @property
    def line(self) -> str:
        """How a queue stands, in words."""
        return ""

    def start(self, add: Callable[[PolledRun], None]) -> None:
        """Begin, and return at once. Each run that is to be waited for is added."""

    def stop(self, within: float) -> None:
        """Send nothing more. Report every open order, after `within` seconds at most."""


@dataclass(frozen=True)
class RunPoller:
    """Reads runs one by one, each when it is due: rarely while a stream would bring its end."""

    app: App
    streams: Streams
    deadline: Deadline
    pauses: Pauses

    def due(self, going: Runs) -> float:
        """Return when to poll next, on the monotonic clock."""
        return min((polled.due for polled in going), default=math.inf)

    def poll(self, going: Runs, *, total: int, must_stop: Test) -> Iterator[WaitReading]:
        """Poll the runs that are due, out of a `total`, and yield each reading, which is judged at once.

        `must_stop` is to be called during requests: it takes in news, and returns whether to abandon them.
        """
        polled = min(going, key=lambda polled: polled.due)
        if not (polled.is_read and self.deadline.left() < -LAST_LOOK):
            polled.due = math.inf  # until it backs off; from now on news calls for another poll
            within = self.deadline.longest_request(self.app.client.request_timeout)
            look = Task(partial(polled.observer.look, within=within)).start()
            try:
                run = look.result_unless(must_stop)
            except Late:
                pass
            except ApiError as error:
                yield WaitReading(polled, error)
                if not polled.is_over:
                    trouble = in_words(error.message, self.deadline)
                    if polled.is_news(trouble):
                        self.app.progress.change(f"{polled.name} {trouble}")
                    self._back_off(polled, total, error.asked_pause)
            else:
                yield WaitReading(polled)
                if run.session_id:
                    name, state = polled.label or run.deployment_id, polled.observer.state
                    self.streams.follow(state.log, state.story, name=name, is_over=polled.is_over)
                self._back_off(polled, total)
        if self.deadline.left() <= 0:
            yield WaitReading(polled, is_last=True)

    def _back_off(self, polled: PolledRun, total: int, asked_pause: float = 0.0) -> None:
        """Plan the next poll, after the pause that the server asked for at least."""
        now = self.app.clock.monotonic()
        current = polled.pause or self.pauses.first
        pause = max(current, asked_pause)
        if not polled.is_alert(now):
            if self.streams.delivers(polled.session_id):
                polled.back_off(now, STREAM_PAUSE, next_pause=self.pauses.first)
                return
            if self.streams.is_open(polled.session_id):
                pause = max(pause, self.pauses.longest)  # most likely the end is heard before
        doubled = min(current * 2, max(self.pauses.longest, total / READS_PER_SECOND))
        polled.back_off(now, pause * self.app.clock.jitter(), next_pause=doubled)
