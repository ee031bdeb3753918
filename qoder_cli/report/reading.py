"""Read what a report tells of: deployments, runs and how they ended, what they cost. What cannot be read is said."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.credits import amount
from qoder_cli.base.errors import ApiError, AuthError, Exit
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Deployment, Run, created_at, mapping, text
from qoder_cli.base.outcome import Standing, standing, verdict, waits_for_answer
from qoder_cli.base.times import descend, utc_text
from qoder_cli.base.words import counted
from qoder_cli.deployments.lookup import find_deployment, read_pages
from qoder_cli.history.listed import Resolver
from qoder_cli.local.remembered import remember_runs
from qoder_cli.report.fires import LATE, OLDEST, came_at, due_at
from qoder_cli.sessions.asks import Call, look

IN_A_ROW = 3  # runs
_APART = 3600.0  # seconds by which what the server filters by, and what decides here, may differ
_MOST_CALLS = 20  # waiting runs of which the call is read
_MOST_AT_ONCE = 100  # runs that are asked about at a time


@dataclass
class Unread:
    """A kind of thing that could not be read, or not whole: in words, and its error if there is one."""

    what: str
    message: str
    error: ApiError | None = None


@dataclass
class Night:
    """What was read, all times in unix seconds on the server's clock.

    `deployments` are those asked about, by id. `runs` of theirs were created since `since`, `before` in as long a time
    before that. `whole` says that no run of theirs may be missing. `credits` are those of sessions, by id.
    """

    since: float
    now: float
    deployments: dict[str, Deployment] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    before: list[Run] = field(default_factory=list)
    whole: bool = True
    credits: dict[str, Decimal] = field(default_factory=dict)
    left: dict[str, bool] = field(default_factory=dict)  # whether a run that completed left anything
    idle: set[str] = field(default_factory=set)  # runs in whose sessions no work was seen
    calls: dict[str, list[Call]] = field(default_factory=dict)  # what a run waits for
    problems: list[Unread] = field(default_factory=list)
    unread: int = 0  # runs of which nobody could tell how they ended

    def of(self, runs: Iterable[Run]) -> dict[str, list[Run]]:
        """Return runs by their deployments."""
        found: dict[str, list[Run]] = defaultdict(list)
        for run in runs:
            found[run.deployment_id or ""].append(run)
        return found


def read_night(app: App, ids: Sequence[str], since: str) -> Night:
    """Return what was read of these deployments, or of all, since a time as typed.

    Raises UsageError, and ApiError where nothing could be read, or nothing of a deployment that was named.
    """
    app.when(since, option="--since")  # before anything is asked
    app.pace_reads()
    night, count = Night(0.0, 0.0), 0

    def progress() -> str:
        return f"read {counted(count, 'run')}"

    with app.progress.waiting(progress, leaving="nothing is changed"):
        failures = _read_deployments(app, ids, night)
        night.now = app.server_now
        night.since = max(app.when(since, option="--since").timestamp(), OLDEST)
        earliest = max(2 * night.since - night.now, OLDEST)
        seen: dict[str, Run] = {}
        for run in _rows(app, ids, earliest, night, failures):
            count += 1
            app.progress.beat()
            seen.setdefault(run.id, run)
        if len(failures) == 2:
            raise failures[0]
        runs = [run for run in seen.values() if not ids or run.deployment_id in night.deployments]
        night.before = [run for run in runs if earliest <= _at(run, night) < night.since]
        _resolve(app, [run for run in runs if _at(run, night) >= night.since], night)
        unlisted = night.of(night.runs).keys() - night.deployments.keys() - {""}
        if unlisted and not failures:
            night.problems.append(Unread("deployments", f"the list lacks {len(unlisted)} of which there are runs"))
        if night.runs:
            _read_credits(app, ids, night)
    return night


def _at(run: Run, night: Night) -> float:
    """Return when a run was created; one that does not say may be of now."""
    came = came_at(run)
    if came is None:
        came = due_at(run)
    return night.now if came is None else came


def _read_deployments(app: App, ids: Sequence[str], night: Night) -> list[ApiError]:
    """Read the deployments. Return the error where they cannot be listed."""
    for id in ids:
        night.deployments[id] = find_deployment(app, id)
    if ids:
        return []
    try:
        for page in read_pages(app, archived=True):
            deployments = list(filter(None, map(Deployment.read, page["data"])))
            if len(deployments) < len(page["data"]):
                night.problems.append(Unread("deployments", "some items of the list are no deployments"))
            night.deployments |= {each.id: each for each in deployments}
    except ApiError as error:
        return [_noted(error, "deployments", night)]
    return []


def _noted(error: ApiError, what: str, night: Night) -> ApiError:
    """Note that something could not be read. Raises the error if nobody is logged in."""
    if isinstance(error, AuthError) and error.http_status != 403:
        raise error
    night.problems.append(Unread(what, error.message, error))
    return error


def _rows(app: App, ids: Sequence[str], earliest: float, night: Night, failures: list[ApiError]) -> Iterator[Run]:
    """Yield the runs created since, as they are listed, and perhaps others; note where the list is not whole."""
    places: list[tuple[str, dict[str, Any]]] = [("/deployment_runs", {"created_at[gte]": _typed(earliest)})]
    if ids:
        after = {"triggered_after": _typed(earliest - _APART)}
        places = [(f"/deployments/{segment(id)}/runs", after) for id in ids]
    for path, query in places:
        try:
            for page in app.client.pages(path, {**query, "limit": 100}, fresh=True):
                runs = list(filter(None, map(Run.read, page["data"])))
                nowhere = len(page["data"]) - sum(run.deployment_id is not None for run in runs)
                if nowhere:
                    night.whole = False
                    night.problems.append(Unread("runs", f"{nowhere} items of the list are no runs of a deployment"))
                yield from runs
                times = [_at(run, night) for run in runs]
                if ids and descend(times) and times[-1] < earliest - _APART:
                    break
        except ApiError as error:
            night.whole = False
            failures.append(_noted(error, "runs", night))
            return


def _typed(at: float) -> str:
    return utc_text(datetime.fromtimestamp(at, UTC))


def _resolve(app: App, runs: Sequence[Run], night: Night) -> None:
    """Fill in how the runs ended, and what those wait for that wait."""
    resolver = Resolver(app, looks=True)
    for first in range(0, len(runs), _MOST_AT_ONCE):
        for run in resolver.runs([run.raw for run in runs[first : first + _MOST_AT_ONCE]]):
            app.progress.beat()
            night.runs.append(app.named(run))
    _resolve_earlier(resolver, night)
    night.left, night.idle, night.unread = resolver.left, resolver.idle, resolver.unread
    if resolver.unread:
        what = f"{counted(resolver.unread, 'session')} could not be read: the outcome of the runs is unknown"
        night.problems.append(Unread("sessions", what, resolver.failure))
    elif resolver.unasked:
        what = f"{counted(resolver.unasked, 'session')} could not be read: whether the runs wait for you is unknown"
        night.problems.append(Unread("sessions", what, resolver.failure))
    elif resolver.failure:  # of runs that completed
        night.problems.append(Unread("sessions", resolver.failure.message, resolver.failure))
    remember_runs(app.store, app.settings, newest_first(night.runs))
    for run in [run for run in night.runs if waits_for_answer(run)][:_MOST_CALLS]:
        try:
            night.calls[run.id] = list(look(app.client, run.session_id or "", retry=False).calls)
        except ApiError:
            continue  # that it waits is known


def _resolve_earlier(resolver: Resolver, night: Night) -> None:
    """Fill in how earlier runs ended where those of the night have failed, to tell whether it happens each time."""
    resolver.looks = False
    earlier, wanted = night.of(night.before), list[Run]()
    for id, runs in night.of(night.runs).items():
        ended = [run for run in newest_first(runs) if standing(run) is Standing.ENDED and run.status != "skipped"]
        if ended and len(ended) < IN_A_ROW and all(verdict(run) is Exit.RUN_FAILED for run in ended):
            wanted += newest_first(earlier[id])[: IN_A_ROW - len(ended)]
    runs_by_id = {run.id: run for run in resolver.runs([run.raw for run in wanted])}
    night.before = [runs_by_id.get(run.id, run) for run in night.before]


def newest_first(runs: Iterable[Run]) -> list[Run]:
    """Return runs by when they were created."""
    return sorted(runs, key=lambda run: came_at(run) or due_at(run) or 0.0, reverse=True)


def _read_credits(app: App, ids: Sequence[str], night: Night) -> None:
    """Read what the sessions of the span cost: a page has a hundred of them."""
    query: dict[str, Any] = {"created_at[gte]": _typed(night.since - LATE), "include_archived": "true", "limit": 100}
    if len(ids) == 1:
        query["deployment_id"] = ids[0]
    wanted = {run.session_id for run in night.runs if run.session_id}
    if not wanted:
        return
    try:
        for page in app.client.pages("/sessions", query):
            for session in map(mapping, page["data"]):
                id, spent = text(session.get("id")), amount(mapping(session.get("usage")).get("total_credits"))
                if id in wanted and spent is not None:
                    night.credits[id] = spent
            created = [at for at in map(created_at, map(mapping, page["data"])) if at is not None]
            if descend(created) and created[-1] < night.since - _APART:
                return  # the server ignores the time that was asked for
    except ApiError as error:
        _noted(error, "credits", night)
