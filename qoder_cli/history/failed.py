"""The runs of deployments that failed within a window and were not retried yet."""

import shlex
from collections.abc import Sequence
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NotFound, QoderError, Unavailable
from qoder_cli.base.ids import RETRY
from qoder_cli.base.model import Run, says_whether_more
from qoder_cli.base.outcome import why_not_failed
from qoder_cli.base.times import unix
from qoder_cli.base.words import counted, few
from qoder_cli.history.listed import Resolver, runs_in
from qoder_cli.history.records import outcome_of
from qoder_cli.history.window import Window, runs_within
from qoder_cli.nouns.lookup import explain_missing

_ALL = "all deployments"
_NOTHING = "; nothing was started"
_CANCELLED = ("cancelled", "canceled")  # by a person, or with --on-leave cancel (api.md#stop-reasons)
_NAMED = 5  # runs that are skipped


def failed_runs(app: App, deployments: Sequence[str] | None, window: Window) -> "FailedReader":
    """Return a reader that has read the runs of deployments, None for all. Raises QoderError where none could be."""
    reader = FailedReader(app, window)
    with app.progress.waiting(lambda: f"read {counted(reader.runs_read, 'run')}", leaving="nothing is started"):
        for id in [None] if deployments is None else deployments:
            try:
                reader.read(id)
            except ApiError as error:
                is_all_unread = reader.runs_read == 0 and (deployments is None or len(deployments) == 1)
                if error.is_logged_out or is_all_unread:
                    raise
                called = id or _ALL
                unread = f"not all runs of {called} could be read: {error.message}; what is missing was not started"
                reader.unjudged[called] = Unavailable(unread)
    return reader


class FailedReader:
    """The failed runs of deployments within a window."""

    def __init__(self, app: App, window: Window) -> None:
        assert window.since is not None  # nobody retries what failed ever
        self._app = app
        self._window = window
        self._since = window.since
        self._resolver = Resolver(app)
        self._failed: dict[str, Run] = {}
        self.runs_read = 0
        self.unjudged: dict[str, QoderError] = {}  # by the id of a run, or of a deployment

    def read(self, of: str | None) -> None:
        """Read a list of runs, of one deployment if it is given. Raises QoderError, also where it does not tell."""
        called = of or _ALL
        try:
            for page in runs_within(self._app.client, of, self._window):
                self._app.progress.beat()
                if not says_whether_more(page):
                    raise Unavailable(f"the list of runs of {called} does not say whether it is complete{_NOTHING}")
                runs = runs_in(page, of)
                if len(runs) < len(page["data"]):
                    raise Unavailable(f"the response is not the list of runs of {called}{_NOTHING}")
                self.runs_read += len(runs)
                for run in runs:
                    if unix(run.triggered_at) is None:
                        why = f"run {run.id} does not say when it was created{_NOTHING}"
                        self.unjudged[run.id] = Unavailable(why)
                self._judge([run.raw for run in runs if self._window.has(run.triggered_at)])
        except NotFound as error:
            raise (error if of is None else explain_missing(error, of, self._app)) from None

    def _judge(self, rows: Sequence[dict[str, Any]]) -> None:
        for run in self._resolver.runs(rows):
            match outcome_of(run):
                case "failed" if doubt := why_not_failed(run):
                    self.unjudged[run.id] = Unavailable(f"run {run.id} may not have failed: {doubt}{_NOTHING}")
                case "failed":
                    self._failed[run.id] = run
                case "unknown":
                    why = "its session was deleted" if run.derived else "its session could not be read"
                    self.unjudged[run.id] = Unavailable(f"how run {run.id} ended is unknown: {why}{_NOTHING}")

    def judged(self) -> dict[str, Run | QoderError]:
        """Return those neither cancelled nor retried yet by their ids, oldest first, and say what is left out.

        What could not be judged is an error, by the id of the run, or of the deployment.
        Raises QoderError.
        """
        from qoder_cli.keys.opening import shared_records

        # Those that are known here, or to the shared store, with the runs that they retry.
        retries = self._app.store.retries(self._app.settings.host)
        for record in shared_records(self._app):
            if record.key.startswith(RETRY):
                retries |= dict.fromkeys(filter(None, (*record.before, record.run)), record.key.removeprefix(RETRY))
        ignored = {*retries, *retries.values()} & self._failed.keys()
        failed = sorted(self._failed.values(), key=lambda run: run.created or 0.0)
        failed = [run for run in failed if run.id not in ignored]
        cancelled = [run.id for run in failed if run.error_type in _CANCELLED][::-1]
        message = f"{counted(len(self._failed), 'run')} failed since {self._since:%Y-%m-%dT%H:%M:%SZ}"
        if ignored:
            message += f"; ignored {len(ignored)} that were retried before, or are retries themselves"
        self._app.progress.note(message)
        if cancelled:
            skipped = f"skipped {counted(len(cancelled), 'run')} that somebody cancelled: {few(cancelled, _NAMED)}"
            retry = shlex.join(self._app.command("run", "retry", cancelled[0]))
            self._app.progress.note(f"{skipped}; to retry one: {retry}")
        return {run.id: run for run in failed if run.id not in cancelled} | self.unjudged
