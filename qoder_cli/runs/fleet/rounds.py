"""Polling many runs at once, through the lists: the strategy of a `Wait` for more than a few."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qoder_cli.base.errors import ApiError
from qoder_cli.base.pool import Late
from qoder_cli.runs.fleet.roll import RollCall
from qoder_cli.runs.wait import LONGEST_PAUSE, Wait, asked_pause
from qoder_cli.runs.watch import Watch

if TYPE_CHECKING:
    from qoder_cli.http.client import Client


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

    def poll(self, wait: Wait, watches: Sequence[Watch]) -> None:
        """Sleep until the next round, and poll once."""
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

    def _poll(self, wait: Wait, watches: Sequence[Watch]) -> None:
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

    def _take(self, wait: Wait, watch: Watch, error: ApiError | None) -> None:
        wait.take(watch, error)
        if error is not None and not watch.over:
            self._say(wait, error)

    def _say(self, wait: Wait, error: ApiError) -> None:
        """Say once, of many runs, that polling goes wrong."""
        self._is_in_trouble, self._asked_pause = True, max(self._asked_pause, asked_pause(error))
        if error.message != self._trouble:
            self._trouble = error.message
            wait.terms.progress.change(f"{error.message.rstrip('.')}; retrying")

    def _put_off(self, wait: Wait, began: float, *, is_quick: bool) -> None:
        """Plan the next round: soon after one in which a run ended, at once where the last has not asked for all."""
        first = wait.first_pause
        self._pause = first if is_quick else min(max(self._pause, first) * 2, wait.terms.longest_pause)
        now, jitter = self._clock.monotonic(), self._clock.jitter()

        due = max(now + first * jitter, began + self._pause * jitter)
        self._due = max(now if self._roll.is_behind else due, now + self._asked_pause)
