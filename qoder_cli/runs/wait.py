"""Wait for runs: sleep until a poll is due or news comes in, poll, judge what was read.

`Wait` is the only loop that waits for an ending. Handed in are who polls (`RunPoller` reads runs one by one,
`fleet/page_poller.py` reads lists of them), the streams that bring news, the deadline, and what to do where an agent
asks and where a run is over.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, QoderError
from qoder_cli.base.pool import Late, Task
from qoder_cli.base.times import SUSPENDED, Clock, Limits
from qoder_cli.http.pace import READS_PER_SECOND
from qoder_cli.runs.ending import timed_out
from qoder_cli.runs.observe import Observer
from qoder_cli.runs.polled import PolledRun
from qoder_cli.runs.streams import Streams
from qoder_cli.sessions.log import LONGEST_PAUSE

FIRST_PAUSE = 0.5  # seconds between polls at first, doubling
STREAM_PAUSE = 30.0  # the same while an event stream would tell of the end
LAST_LOOK = 5.0  # seconds that a request may take beyond the deadline
FEW = 8  # runs that are polled one by one
LONGEST_SLEEP = 30.0  # seconds between two signs of life
GLANCE = 1.0  # the same where standard output is a pipe, whose reader may go away


Runs = Sequence[PolledRun]
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


class Deadline:
    """When a wait gives up, counted from `start`. A timeout of 0 leaves time for one poll."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self.timeout = limits.timeout
        self.at = math.inf  # on the monotonic clock
        self._clock = clock
        self._spent = limits.spent

    def start(self) -> None:
        """Begin to count, once."""
        if self.timeout is not None and self.at == math.inf:
            self.at = self._clock.monotonic() + max(self.timeout - self._spent, 0.0)

    def left(self) -> float:
        """Seconds until the deadline, negative after it."""
        return self.at - self._clock.monotonic()

    @property
    def is_past(self) -> bool:
        """Whether another request would come too late."""
        return self.timeout != 0 and self.left() < -LAST_LOOK

    def longest_request(self, usual: float) -> float:
        """Return the seconds that a request may take."""
        return min(usual, max(self.left(), LAST_LOOK))


class Reading(NamedTuple):
    """What a poll brought of a run: a new state of its observer, or an error; `is_last`: its time is up."""

    polled: PolledRun
    error: ApiError | None = None
    is_of_list: bool = False  # the run itself was not read
    is_last: bool = False


class Poller(Protocol):
    """Polls the runs of a wait that are still going."""

    def due(self, going: Runs) -> float:
        """Return when to poll next, on the monotonic clock."""

    def poll(self, going: Runs, *, total: int, must_stop: Test) -> Iterator[Reading]:
        """Poll the runs that are due, out of a `total`, and yield each reading, which is judged at once.

        `must_stop` is to be called during requests: it takes in news, and returns whether to abandon them.
        """


@dataclass(frozen=True)
class RunPoller:
    """Reads runs one by one, each when it is due: rarely while a stream would bring its end."""

    app: App
    streams: Streams
    deadline: Deadline
    pauses: Pauses

    def due(self, going: Runs) -> float:
        return min((polled.due for polled in going), default=math.inf)

    def poll(self, going: Runs, *, total: int, must_stop: Test) -> Iterator[Reading]:
        polled = min(going, key=lambda each: each.due)
        if not (polled.is_read and self.deadline.left() < -LAST_LOOK):
            polled.begin_poll()
            within = self.deadline.longest_request(self.app.client.request_timeout)
            look = Task(partial(polled.observer.look, within=within)).start()
            try:
                look.result_unless(must_stop)
            except Late:
                pass
            except ApiError as error:
                yield Reading(polled, error)
                if not polled.is_over:
                    trouble = error.message.rstrip(".")
                    if self.deadline.left() > 0:
                        trouble += "; retrying"
                    print_change(self.app, polled, trouble)
                    self._back_off(polled, total, error.asked_pause)
            else:
                yield Reading(polled)
                self.streams.follow(polled)
                self._back_off(polled, total)
        if self.deadline.left() <= 0:
            yield Reading(polled, is_last=True)

    def _back_off(self, polled: PolledRun, total: int, asked_pause: float = 0.0) -> None:
        """Plan the next poll, after the pause that the server asked for at least."""
        now = self.app.clock.monotonic()
        current = polled.pause or self.pauses.first
        pause = max(current, asked_pause)
        if not polled.is_alert(now):
            if self.streams.delivers(polled):
                polled.back_off(now, STREAM_PAUSE, next_pause=self.pauses.first)
                return
            if self.streams.is_open(polled):
                pause = max(pause, self.pauses.longest)  # most likely the end is heard before
        doubled = min(current * 2, max(self.pauses.longest, total / READS_PER_SECOND))
        polled.back_off(now, pause * self.app.clock.jitter(), next_pause=doubled)


def print_change(app: App, polled: PolledRun, words: str) -> None:
    """Print how a run stands, once."""
    if words != polled.printed:
        polled.printed = words
        app.progress.change(f"{polled.name} {words}")


@dataclass(eq=False)
class Wait:
    """A wait until runs are over.

    What comes into the inbox of the streams is their news, or a function to be called in this thread.
    """

    app: App
    poller: Poller
    streams: Streams
    deadline: Deadline
    on_ask: Callable[[Observer], QoderError | None]  # returns the error that ends a wait for an answer
    on_over: Callable[[PolledRun], None] = lambda polled: None  # is called once for each run
    is_enough: Test | None = None  # ends the wait early
    to_come: Callable[[], int] = lambda: 0  # how many runs are still to be added; until then, no deadline counts
    runs: dict[PolledRun, bool] = field(default_factory=dict, init=False)  # each, and whether it is still waited for
    _awake_at: float = field(init=False)  # when this thread last looked at the clock

    def __post_init__(self) -> None:
        self._awake_at = self.app.clock.monotonic()

    @property
    def going(self) -> list[PolledRun]:
        """The runs that are still waited for."""
        return [polled for polled, is_going in self.runs.items() if is_going]

    def add(self, polled: PolledRun) -> None:
        """Wait for a run too."""
        polled.begin(self.app.clock.monotonic())
        self.runs[polled] = True
        self._end_if_over(polled)

    def until_over(self, runs: Iterable[PolledRun], status: Callable[[], str], *, leaving: str | None = None) -> None:
        """Wait for these, and those that are added meanwhile. `status` and `leaving` are what a person is shown."""
        try:
            for polled in runs:
                self.add(polled)
            self._start_deadline()
            with self.app.progress.waiting(status, leaving=leaving):
                while (going := self.going) or self.to_come():
                    if self._has_enough():
                        break
                    if (news := self._next_news(until=self.poller.due(going))) is not None:
                        self._receive(news)
                    elif not self._has_enough():
                        self._note_time()
                        for reading in self.poller.poll(going, total=len(self.runs), must_stop=self._must_stop):
                            self._judge(reading)
        finally:
            self.streams.close()

    def _judge(self, reading: Reading) -> None:
        """Take in a reading: end the wait for its run, or say how it stands."""
        polled, error = reading.polled, reading.error
        if reading.is_last:
            self._end(polled, timed_out(polled.observer.run_id, polled.run, self.deadline.timeout))
            return
        self._note_time()
        now = self.app.clock.monotonic()
        is_first = not polled.is_read
        polled.is_read = polled.is_read or not reading.is_of_list
        if error is None:
            polled.contact.heard(now)
        else:
            polled.failed(error, now)
        self._end_if_over(polled)
        if error is not None or polled.run is None:
            return
        if polled.is_over or not is_first or len(self.runs) <= FEW:  # not a line for each of a thousand
            stands = polled.run.status or polled.run.error_type or ""
            if polled.observer.asks_since:
                stands = "waits for an answer"
            print_change(self.app, polled, stands)
        if polled.observer.needs_answer and (unanswered := self.on_ask(polled.observer)):
            self._end(polled, unanswered)

    def _end(self, polled: PolledRun, error: QoderError) -> None:
        polled.end(error)
        self._end_if_over(polled)

    def _end_if_over(self, polled: PolledRun) -> None:
        if polled.is_over and self.runs[polled]:
            self.runs[polled] = False
            self.on_over(polled)

    def _next_news(self, *, until: float) -> Any:
        """Sleep until there is news, and return it; None at that time or the deadline, or if there is enough."""
        clock, until = self.app.clock, min(until, self.deadline.at)
        longest = LONGEST_SLEEP
        if self.is_enough and self.app.out.is_piped:
            longest = GLANCE
        news = None
        while news is None and (seconds := min(until - clock.monotonic(), longest)) > 0 and not self._has_enough():
            self._awake_at = clock.monotonic()
            news = clock.receive(self.streams.inbox, seconds)
            self._note_time(seconds)
            self.app.progress.beat()
        return news

    def _must_stop(self) -> bool:
        """Take in news during a request. Return whether to abandon it."""
        self._note_time()
        inbox = self.streams.inbox
        while not inbox.empty() and (news := self.app.clock.receive(inbox, 0.0)) is not None:
            self._receive(news)
        self.app.progress.beat()
        return self.deadline.is_past or self._has_enough()

    def _receive(self, news: Any) -> None:
        """Take in news, and wake the runs that it is about."""
        if callable(news):
            news()
            self._start_deadline()
            return
        session_id, is_quick = self.streams.receive(news)
        for polled in self.going:
            if session_id and polled.session_id == session_id:
                polled.wake(self.app.clock.monotonic(), is_quick=is_quick)

    def _note_time(self, meant: float = 0.0) -> None:
        """Note the time. A much longer gap than was meant: this machine, or the process, was suspended."""
        now = self.app.clock.monotonic()
        gap, self._awake_at = now - self._awake_at - meant, now
        if gap > SUSPENDED:
            for polled in self.going:
                polled.contact.suspended(gap)

    def _start_deadline(self) -> None:
        if not self.to_come():
            self.deadline.start()

    def _has_enough(self) -> bool:
        return self.is_enough is not None and self.is_enough()
