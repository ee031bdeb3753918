"""How the runs of a list ended, where only their sessions know: several are asked at a time."""

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from qoder_cli.base.ahead import in_order
from qoder_cli.base.errors import ApiError, NotFound
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import Ending, Standing, settle, standing
from qoder_cli.runs.observe import Observer

if TYPE_CHECKING:
    from qoder_cli.http.client import Client
    from qoder_cli.output.progress import Progress

AT_A_TIME = 8  # sessions
GIVE_UP_AFTER = 8  # sessions that could not be read: the others would not be either, and each is tried for 30 s


class Resolver:
    """Makes runs of a list's objects, with the ending that their session tells, if it may be asked (`asks`).

    `unread` counts the runs that only their session could have told of, and that are left as the server sent them.
    """

    def __init__(self, client: "Client", *, progress: "Progress", ask: bool = True) -> None:
        self._client = client
        self._progress = progress
        self.asks = ask
        self.unread = 0
        self._failed = 0
        self._counting = threading.Lock()

    def runs(self, objects: Sequence[dict[str, Any]]) -> Iterable[Run]:
        """Return the runs, in order, each as soon as it and all before it are known."""
        runs = [Run(each) for each in objects]
        if self.asks and any(standing(run) is Standing.ASK_SESSION for run in runs):
            return in_order(self._resolved, runs, at_a_time=AT_A_TIME)
        return map(self._resolved, runs)

    def _resolved(self, run: Run) -> Run:
        if standing(run) is not Standing.ASK_SESSION:
            return settle(run)
        has_failed = False
        if self.asks and self._failed < GIVE_UP_AFTER:
            reader = _EndingReader(self._client, str(run.raw.get("id")), run=run, progress=self._progress)
            try:
                reader.reread(run)
                return reader.run or run
            except ApiError as error:
                has_failed = not (isinstance(error, NotFound) and error.enveloped)  # which says nothing of others
        with self._counting:
            self.unread += 1
            self._failed += has_failed
        return run


class _EndingReader(Observer):
    """Asks a session for its ending only: its usage would be one more request for each row, and no list shows it."""

    def _usage(self, run: Run, ending: Ending) -> dict[str, Any]:
        return {}
