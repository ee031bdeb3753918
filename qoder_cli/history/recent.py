"""How the last runs of deployments ended: from lists, and from a session only where nobody knows yet."""

from collections.abc import Sequence

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NoResponse, or_error
from qoder_cli.base.model import Deployment, Run, created_at
from qoder_cli.base.outcome import is_going
from qoder_cli.base.pool import in_order
from qoder_cli.base.times import descend
from qoder_cli.history.findings import RUNS_JUDGED, History
from qoder_cli.history.listed import RECENT, Resolver, newest_runs
from qoder_cli.sessions.log import is_last

_MOST_SINGLY = 10  # deployments at most whose runs are listed by themselves from the start
_MOST_PAGES = 8  # of the runs of all deployments
_MOST_LOOKED_AT = 5  # runs of a deployment, as some may be running

_Listed = dict[str, list[Run] | ApiError]


def histories_of(app: App, deployments: Sequence[Deployment]) -> dict[str, History]:
    """Return the newest runs of each deployment that ended: three of them for certain, of others what is known.

    The runs of many deployments are read from the newest of all; of those that have few there, from their own lists.
    """
    ids = [deployment.id for deployment in deployments]
    listed = _one_by_one(app, ids) if len(ids) <= _MOST_SINGLY else _of_all(app, deployments)
    runs = {id: runs_or_error for id, runs_or_error in listed.items() if isinstance(runs_or_error, list)}
    resolved: dict[str, list[Run]] = {id: [] for id in runs}
    resolver = Resolver(app)
    for place in range(_MOST_LOOKED_AT):
        short = [id for id in runs if place < len(runs[id]) and len(resolved[id]) < RUNS_JUDGED]
        looked_at = resolver.runs([runs[id][place].raw for id in short])
        for id, run in zip(short, looked_at, strict=True):
            app.progress.beat()
            if run.status is None or not is_going(run):
                resolved[id].append(run)
    histories = {
        id: History(unread=runs_or_error) for id, runs_or_error in listed.items() if isinstance(runs_or_error, ApiError)
    }
    for id, some in resolved.items():
        rest = [run for run in runs[id] if run.id not in {ended.id for ended in some}]
        unread = None
        if any(run.status is None for run in some):
            unread = resolver.failure or NoResponse("the session of a run could not be read")
        histories[id] = History((*some, *resolver.kept.filled(rest)), unread)
    return histories


def _one_by_one(app: App, ids: Sequence[str]) -> _Listed:
    newest = or_error(lambda id: newest_runs(app.client, id, RECENT))
    return dict(zip(ids, in_order(newest, ids), strict=True))


def _of_all(app: App, deployments: Sequence[Deployment]) -> _Listed:
    """Return what the newest pages of all runs show of each deployment; of those of which they show few, their own."""
    runs_of: dict[str, list[Run]] = {deployment.id: [] for deployment in deployments}
    created: list[float] = []
    is_whole = False
    try:
        for number, page in enumerate(app.client.pages("/deployment_runs", {"limit": 100}), 1):
            app.progress.beat()
            for run in map(Run.read, page["data"]):
                if run is None or run.deployment_id is None:
                    raise NoResponse("an item of the list is not a run of a deployment")
                created.append(run.created or 0.0)
                if run.deployment_id in runs_of:
                    runs_of[run.deployment_id].append(run)
            is_whole = is_last(page)
            if number == _MOST_PAGES or all(len(runs) >= _MOST_LOOKED_AT for runs in runs_of.values()):
                break
    except ApiError:  # their own lists may be readable
        runs_of, created = {id: [] for id in runs_of}, []
    for runs in runs_of.values():
        runs.sort(key=lambda run: run.created or 0.0, reverse=True)
    is_in_order = descend(created)  # else they may not be the newest
    few = [
        deployment.id
        for deployment in deployments
        if not is_in_order
        or (len(runs_of[deployment.id]) < RUNS_JUDGED and (created_at(deployment.raw) or 0.0) < created[-1])
    ]
    return runs_of | ({} if is_whole else _one_by_one(app, few))
