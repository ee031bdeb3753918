"""Runs of a list, with endings that only sessions know."""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NoResponse, NotFound
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run, says_whether_more, text
from qoder_cli.base.outcome import Standing, apply_asks, fill_status, is_going, standing, waits_for_answer
from qoder_cli.base.pool import in_order
from qoder_cli.base.times import unix
from qoder_cli.history.window import ALWAYS, Page, Window, runs_within
from qoder_cli.http.answers import no_response
from qoder_cli.http.client import Client
from qoder_cli.local.outcomes import KeptOutcomes
from qoder_cli.nouns.views import recent_fields
from qoder_cli.output.cells import Fields
from qoder_cli.runs.observe import Observer
from qoder_cli.sessions.asks import look
from qoder_cli.sessions.left import Looking

RECENT = 20  # runs
APART = 60.0  # seconds by which a list's order may differ from that of the times that it shows
_MOST_EMPTY = 8  # pages without a run, although more follow
GIVE_UP_AFTER = 8  # sessions that could not be read: the others would not be either


def pages_of_runs(
    client: Client,
    of: str | None,
    window: Window = ALWAYS,
    *,
    limit: int = 100,
    fresh: bool = False,
    must_say: bool = False,
) -> Iterator[list[Run]]:
    """Yield the runs of a window, and some others, of one deployment or of all, in pages. Raises ApiError.

    `must_say`: also for a page that is not full and does not say whether more follow.
    """
    for page in runs_within(client, of, window, limit=limit, fresh=fresh):
        if must_say and len(page["data"]) < limit and not says_whether_more(page):
            raise NoResponse("the list of runs does not say whether it is complete")
        runs = [run for item in page["data"] if (run := Run.read(item))]
        if of is not None and any(run.deployment_id not in (None, of) for run in runs):
            raise no_response(f"the response shows the runs of another deployment than {of}")
        yield runs


def runs_in(page: Page, of: str | None) -> list[Run]:
    """Return what on a page is a run of a deployment, or of any: fewer than its items if something else is there."""
    runs = filter(None, map(Run.read, page["data"]))
    return [run for run in runs if run.deployment_id is not None and of in (None, run.deployment_id)]


def read_run(client: Client, id: str) -> Run:
    """Return a run as the server shows it. Raises ApiError, NoResponse for another run."""
    run = Run.read(client.get(f"/deployment_runs/{segment(id)}"))
    if run is None or run.id != id:
        raise NoResponse(f"the response is not run {id}")
    return run


def newest_runs(client: Client, deployment_id: str, *, fresh: bool = False, must_say: bool = False) -> list[Run]:
    """Return a deployment's newest 20 runs, newest first: those of the first page that has any. Raises ApiError."""
    pages = pages_of_runs(client, deployment_id, limit=RECENT, fresh=fresh, must_say=must_say)
    return newest_first(next(filter(None, islice(pages, _MOST_EMPTY)), list[Run]()), pages)


def newest_first(runs: list[Run], more: Iterator[list[Run]]) -> list[Run]:
    """Return a page of runs, newest first, `more` of which may follow. Raises ApiError if the newest may follow."""
    created = [at for run in runs if (at := run.created) is not None]
    if runs and (not created or max(created) - created[0] <= APART):
        return runs
    if len(created) < len(runs) or next(more, None) is not None:
        raise no_response("the list of a deployment's runs does not begin with the newest")
    return sorted(runs, key=lambda run: run.created or 0.0, reverse=True)


class Resolver:
    """Makes runs of a list's objects, with endings only sessions know, if it `asks`.

    What became of a run for certain is kept, and its session is not asked again. `unread` counts the runs left as
    sent, because their session was not read, `unasked` those of which it is unknown whether they wait for an answer.
    `most` sessions are asked; `left_out` counts the runs beyond that.
    If it looks, it also tells of runs that completed `looks_since` a time whether they `left` anything, by their ids,
    which are `idle`: no work was seen in their sessions; and what sub-agents wait for.
    """

    def __init__(self, app: App, *, ask: bool = True, most: int | None = None) -> None:
        self._client = app.client
        self.kept = KeptOutcomes(app.store, app.settings, app.client.server_now)
        self.asks = ask
        self.looks_since: float | None = None
        self._most = most
        self.left: dict[str, bool] = {}
        self.idle: set[str] = set()
        self.asked = self.unread = self.unasked = self.left_out = 0
        self._failures: list[ApiError] = []
        self._counting = threading.Lock()

    @property
    def failure(self) -> ApiError | None:
        """Why a session was not read, if it was not for being gone."""
        return next(reversed(self._failures), None)

    def runs(self, objects: Sequence[dict[str, Any]]) -> Iterator[Run]:
        """Yield the runs in order, each as soon as it and those before it are resolved."""
        runs = [Run(raw) for raw in objects]
        outcomes = self.kept.outcomes_of(runs)
        self.left |= {id: outcome.worked for id, outcome in outcomes.items() if outcome.worked is not None}
        runs = [outcomes[run.id].of(run) if text(run.raw.get("id")) in outcomes else run for run in runs]
        if not self.asks:
            self.unread += sum(standing(run) is Standing.ASK_SESSION for run in runs)
            yield from (run if standing(run) is Standing.ASK_SESSION else fill_status(run) for run in runs)
            return
        places: list[tuple[Run, bool]] = []  # with whether its session is asked
        for run in runs:  # in their order, whichever is faster
            is_open = standing(run) is not Standing.ENDED or self._is_looked_at(run)
            is_wanted = bool(run.session_id) and is_open
            is_left_out = is_wanted and self._most is not None and self.asked >= self._most
            self.left_out += is_left_out
            self.asked += is_wanted and not is_left_out
            places.append((run, is_wanted and not is_left_out))
        try:
            if any(standing(run) in (Standing.ASK_SESSION, Standing.GOING) for run in runs):
                yield from in_order(self._resolved, places)
            else:
                yield from map(self._resolved, places)
        finally:
            self.kept.save()

    def _resolved(self, place: tuple[Run, bool]) -> Run:
        run, has_turn = place
        if standing(run) is Standing.ASK_SESSION:
            return self._ask(partial(self._ended, run), run, decides=True) if has_turn else run
        if has_turn and self._is_looked_at(run) and len(self._failures) < GIVE_UP_AFTER:
            looking = Looking(self._client, run)
            try:
                looking.read()
            except ApiError as error:
                self._failures.append(error)
            else:
                self._keep(run, looking)
        run = fill_status(run)
        return self._ask(partial(self._with_asks, run), run, decides=False) if has_turn and is_going(run) else run

    def _ask(self, ask: Callable[[], Run], run: Run, *, decides: bool) -> Run:
        """Return what `ask` returns; the run as it is where its session cannot be asked.

        `decides`: whether that tells how it ended, and not only whether it waits.
        """
        if len(self._failures) < GIVE_UP_AFTER:
            try:
                return ask()
            except ApiError as error:
                is_gone = isinstance(error, NotFound) and error.enveloped
                if is_gone and not decides:
                    return run  # what is gone asks nothing
                if not is_gone:  # that one alone
                    self._failures.append(error)
        with self._counting:
            self.unread += decides
            self.unasked += not decides
        return run

    def _ended(self, run: Run) -> Run:
        """Return a run as its session tells. Raises ApiError."""
        looking = None if self.looks_since is None else Looking(self._client, run)
        reader = Observer(self._client, str(run.raw.get("id")), run=run, state=looking.state if looking else None)
        reader.take_session({})  # no list shows what it used
        now = reader.reread(run)
        if reader.ended:
            self._keep(now, looking)
        elif looking and not looking.has_begun:
            self.idle.add(run.id)
        elif looking and not waits_for_answer(now):
            return self._with_asks(now)
        return now

    def _with_asks(self, run: Run) -> Run:
        """Return a run with what it waits for; where it looks, also as threads alone tell. Raises ApiError."""
        asks = look(self._client, run.session_id or "", retry=False, threads=self.looks_since is not None).open
        return run if asks is None else apply_asks(run, asks)

    def _is_looked_at(self, run: Run) -> bool:
        """Return whether it is of interest, and unknown, if a run that completed left anything."""
        if self.looks_since is None or run.status != "completed" or run.id in self.left:
            return False
        ended = unix(run.completed_at)
        return ended is None or ended >= self.looks_since

    def _keep(self, run: Run, looking: Looking | None) -> None:
        """Keep what became of a run, but for an error that may hold a secret."""
        left = looking.left if looking and run.status == "completed" else None
        if left is not None:
            self.left[run.id] = left
        message = run.error_message or ""
        if self._client.veil(message) == message:
            self.kept.keep(run, worked=left)


def recent_runs(app: App, deployment_id: str) -> Fields:
    """Return a summary of the newest 20 runs; empty if they cannot be read."""
    resolver = Resolver(app)
    try:
        newest = newest_runs(app.client, deployment_id)
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
