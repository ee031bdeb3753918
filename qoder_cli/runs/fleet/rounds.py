"""Waiting for several runs: a few are polled one by one, each at its own pace; many at once, through the lists."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qoder_cli.base.errors import ApiError
from qoder_cli.base.pool import Late
from qoder_cli.runs.fleet.roll import RollCall
from qoder_cli.runs.wait import FEW, LONGEST_PAUSE, Terms, Wait, asked_pause
from qoder_cli.runs.watch import Watch

if TYPE_CHECKING:
    from qoder_cli.http.client import Client
    from qoder_cli.runs.fleet.launches import Launches
    from qoder_cli.runs.listen import Listener


class FleetWait(Wait):
    """Waits for several runs. More than a few are polled in `rounds`. `coming` starts more of them."""

    def __init__(
        self,
        terms: Terms,
        listener: "Listener",
        *,
        on_over: Callable[[Watch], None],
        is_enough: Callable[[], bool],
        rounds: "Rounds | None",
        coming: "Launches | None",
    ) -> None:
        super().__init__(terms, listener, on_over=on_over)
        self._enough = is_enough
        self._rounds = rounds
        self._coming = coming

    def until_all_over(self, watches: Sequence[Watch]) -> None:
        """Return when the wait for each run is over, also for those to come. Raises Signalled."""
        for watch in watches:
            self._begin(watch)
        self._set_deadline()
        with self.terms.progress.waiting(self._summary):
            try:
                while (self._going or not self.has_all) and not self._is_enough():
                    self._wait_for_next()
            finally:
                self._listener.stop()

    def _wait_for_next(self) -> None:
        """Wait until one run is to be polled, or all are, and do so."""
        expected = 0 if self.has_all or self._coming is None else self._coming.total
        if self._rounds and max(len(self._going), expected) > FEW:
            self._rounds.poll(self, list(self._going))
        elif not self._going:
            self.sleep_until(math.inf)
        else:
            nearest = min(self._going, key=lambda watch: watch.due)
            if self.sleep_until(nearest.due):
                self._poll(nearest)

    @property
    def has_all(self) -> bool:
        """Whether no more runs are to come."""
        return self._coming is None or self._coming.done

    def _set_deadline(self) -> None:
        if self.has_all and self._deadline == math.inf:
            super()._set_deadline()

    def _hear(self, news: Any) -> bool:
        if not callable(news):
            return super()._hear(news)
        if (watch := news()) is not None:
            self._begin(watch)
        self._set_deadline()
        return True

    def _is_enough(self) -> bool:
        return self._enough()

    def _summary(self) -> str:
        if len(self._said) == 1 and self.has_all:
            return next(iter(self._said.values())) or "waiting"  # its id is in the line above
        total = self._coming.total if self._coming else len(self._said)
        refused = self._coming.refused if self._coming else 0
        finished = f"{len(self._said) - len(self._going)} of {total} runs finished"
        return f"{finished}, {refused} not started" if refused else finished


class Rounds:
    """Polls all runs in rounds; `interval` is the longest pause between two, in seconds."""

    def __init__(self, client: "Client", interval: float | None) -> None:
        self._clock = client.clock
        self._roll = RollCall(client)
        self._longest_pause = LONGEST_PAUSE if interval is None else interval
        self._due = -math.inf
        self._pause = 0.0
        self._trouble = ""  # what was last said to go wrong
        self._is_in_trouble = False  # in this round
        self._asked_pause = 0.0  # seconds, in this round

    def poll(self, wait: FleetWait, watches: Sequence[Watch]) -> None:
        if not wait.sleep_until(self._due):
            return
        is_last = wait.left <= 0
        if not wait.is_late:
            self._poll(wait, watches)
        has_polled = all(watch.looked for watch in watches)
        is_through = has_polled or not self._roll.is_behind
        if is_last and (wait.terms.timeout or is_through):  # --timeout 0 polls each once
            for watch in watches:
                wait.time_out(watch)

    def _poll(self, wait: FleetWait, watches: Sequence[Watch]) -> None:
        began, has_failed = self._clock.monotonic(), False
        self._is_in_trouble, self._asked_pause = False, 0.0
        try:
            for heard in self._roll.call(
                watches, within=wait.patience, is_late=wait.must_stop, longest_pause=self._longest_pause
            ):
                if heard:
                    self._take(wait, *heard)
                if wait.must_stop():
                    break
        except Late:
            return
        except ApiError as error:
            has_failed = True
            for watch in watches:
                watch.bear(error, self._clock.monotonic())
                wait.conclude(watch)
            self._say(wait, error)
        if not self._is_in_trouble:
            self._trouble = ""
        is_quick = not has_failed and (any(watch.over for watch in watches) or not wait.has_all)
        self._put_off(wait, began, is_quick=is_quick)

    def _take(self, wait: FleetWait, watch: Watch, error: ApiError | None) -> None:
        wait.take(watch, error)
        if error is not None and not watch.over:
            self._say(wait, error)

    def _say(self, wait: FleetWait, error: ApiError) -> None:
        """Say once, of many runs, that polling goes wrong."""
        self._is_in_trouble, self._asked_pause = True, max(self._asked_pause, asked_pause(error))
        if error.message != self._trouble:
            self._trouble = error.message
            wait.terms.progress.change(f"{error.message.rstrip('.')}; retrying")

    def _put_off(self, wait: FleetWait, began: float, *, is_quick: bool) -> None:
        """Plan the next round: soon after one in which a run ended, at once where the last has not asked for all."""
        first = wait.first_pause
        self._pause = first if is_quick else min(max(self._pause, first) * 2, wait.terms.longest_pause)
        now, jitter = self._clock.monotonic(), self._clock.jitter()

        due = max(now + first * jitter, began + self._pause * jitter)
        self._due = max(now if self._roll.is_behind else due, now + self._asked_pause)
