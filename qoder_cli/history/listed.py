"""Runs of a list, with endings that only sessions know."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NotFound
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run, text
from qoder_cli.base.outcome import Standing, fill_status, is_going, standing, waits_for_answer
from qoder_cli.base.pool import in_order
from qoder_cli.http.answers import no_response
from qoder_cli.http.client import Client
from qoder_cli.local.outcomes import KeptOutcomes, Outcome
from qoder_cli.output.cells import Fields
from qoder_cli.output.views import recent_fields
from qoder_cli.runs.observe import Observer
from qoder_cli.sessions.asks import with_asks
from qoder_cli.sessions.left import Looking

RECENT = 20  # runs
AT_A_TIME = 8  # sessions
APART = 60.0  # seconds by which a list's order may differ from that of the times that it shows
_MOST_EMPTY = 8  # pages without a run, although more follow
GIVE_UP_AFTER = 8  # sessions that could not be read: the others would not be either


def pages_of_runs(client: Client, deployment_id: str, limit: int = 100, *, fresh: bool = False) -> Iterator[list[Run]]:
    """Yield a deployment's runs, newest first, in pages (at most 100). Raises ApiError."""
    for page in client.pages(f"/deployments/{segment(deployment_id)}/runs", {"limit": limit}, fresh=fresh):
        runs = [run for item in page["data"] if (run := Run.read(item))]
        if any(run.deployment_id not in (None, deployment_id) for run in runs):
            raise no_response(f"the response shows the runs of another deployment than {deployment_id}")
        yield runs


def newest_runs(client: Client, deployment_id: str, limit: int, *, fresh: bool = False) -> list[Run]:
    """Return a deployment's newest runs, newest first: those of the first page that has any. Raises ApiError."""
    pages = pages_of_runs(client, deployment_id, limit, fresh=fresh)
    runs = next(filter(None, islice(pages, _MOST_EMPTY)), list[Run]())
    created = [at for run in runs if (at := run.created) is not None]
    if runs and (not created or max(created) - created[0] <= APART):
        return runs
    if len(created) < len(runs) or next(pages, None) is not None:
        raise no_response(f"the list of the runs of {deployment_id} does not begin with the newest")
    return sorted(runs, key=lambda run: run.created or 0.0, reverse=True)


class Resolver:
    """Makes runs of a list's objects, with endings only sessions know, if it `asks`.

    What became of a run for certain is kept, and its session is not asked again. `unread` counts the runs left as
    sent, because their session was not read, `unasked` those of which it is unknown whether they wait for an answer.
    If it `looks`, it also tells of runs that completed whether they `left` anything, by their ids, and which are
    `idle`: no work was seen in their sessions.
    """

    def __init__(self, app: App, *, ask: bool = True, looks: bool = False) -> None:
        self._client = app.client
        self._kept = KeptOutcomes(app.store, app.settings, app.client.server_now)
        self._outcomes: dict[str, Outcome] = {}
        self.asks = ask
        self.looks = looks
        self.left: dict[str, bool] = {}
        self.idle: set[str] = set()
        self.unread = self.unasked = 0
        self._failures: list[ApiError] = []
        self._counting = threading.Lock()

    @property
    def failure(self) -> ApiError | None:
        """Why a session was not read, if it was not for being gone."""
        return next(reversed(self._failures), None)

    def runs(self, objects: Sequence[dict[str, Any]]) -> Iterable[Run]:
        """Return the runs in order, each as soon as it and those before it are resolved."""
        runs = [Run(raw) for raw in objects]
        if not self.asks:
            return map(self._resolved, runs)
        self._outcomes = outcomes = self._kept.outcomes_of(runs)
        return self._asked([outcomes[run.id].of(run) if text(run.raw.get("id")) in outcomes else run for run in runs])

    def _asked(self, runs: Sequence[Run]) -> Iterator[Run]:
        try:
            if any(standing(run) in (Standing.ASK_SESSION, Standing.GOING) for run in runs):
                yield from in_order(self._resolved, runs, at_a_time=AT_A_TIME)
            else:
                yield from map(self._resolved, runs)
        finally:
            self._kept.save()

    def _resolved(self, run: Run) -> Run:
        if standing(run) is not Standing.ASK_SESSION:
            if self.looks and self.asks and run.status == "completed":
                self._look_at(run)
            return self._with_asks(fill_status(run)) if self.asks else fill_status(run)
        if self.asks and len(self._failures) < GIVE_UP_AFTER:
            looking = Looking(self._client, run) if self.looks else None
            reader = Observer(self._client, str(run.raw.get("id")), run=run, state=looking.state if looking else None)
            reader.take_session({})  # no list shows what it used
            try:
                if reader.reread(run) and reader.run:
                    self._keep(reader.run, looking)
                elif looking and not looking.has_begun:
                    self.idle.add(run.id)
                return reader.run or run
            except ApiError as error:
                if not (isinstance(error, NotFound) and error.enveloped):  # that one alone
                    self._failures.append(error)
        with self._counting:
            self.unread += 1
        return run

    def _with_asks(self, run: Run) -> Run:
        """Return a run with what it waits for, if its session can be read."""
        if len(self._failures) < GIVE_UP_AFTER:
            try:
                return with_asks(self._client, run, threads=False)
            except ApiError as error:
                if isinstance(error, NotFound) and error.enveloped:
                    return run  # what is gone asks nothing
                self._failures.append(error)
        with self._counting:
            self.unasked += is_going(run)
        return run

    def _look_at(self, run: Run) -> None:
        """Look whether a run that completed left anything, if its session can be read."""
        outcome = self._outcomes.get(run.id)
        if outcome and outcome.worked is not None:
            self.left[run.id] = outcome.worked
        elif run.session_id and len(self._failures) < GIVE_UP_AFTER:
            looking = Looking(self._client, run)
            try:
                looking.read()
            except ApiError as error:
                self._failures.append(error)
            else:
                self._keep(run, looking)

    def _keep(self, run: Run, looking: Looking | None) -> None:
        """Keep what became of a run, but for an error that may hold a secret."""
        left = looking.left if looking and run.status == "completed" else None
        if left is not None:
            self.left[run.id] = left
        message = run.error_message or ""
        if self._client.veil(message) == message:
            self._kept.keep(run, worked=left)


def recent_runs(app: App, deployment_id: str) -> Fields:
    """Return a summary of the newest 20 runs; empty if they cannot be read."""
    resolver = Resolver(app)
    try:
        newest = newest_runs(app.client, deployment_id, RECENT)
    except ApiError as error:
        app.progress.warn(f"could not read its runs: {error.message}")
        return {}
    runs = list(resolver.runs([run.raw for run in newest]))
    if resolver.unread:
        app.progress.warn(f"ignored {resolver.unread} of its runs: could not read their sessions")
    if resolver.unasked:
        app.progress.warn(f"{resolver.unasked} of its runs may wait for an answer: could not read their sessions")
    waiting = [run.id for run in runs if waits_for_answer(run)]
    summary = recent_fields([run for run in runs if standing(run) is not Standing.ASK_SESSION])
    return summary | ({"waits_for_answer": waiting} if waiting else {})
