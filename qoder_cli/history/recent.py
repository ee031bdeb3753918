"""How the last runs of deployments ended: from lists, and from a session only where nobody knows yet."""

from collections.abc import Iterable, Sequence

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NoResponse
from qoder_cli.base.model import Run, next_cursor
from qoder_cli.base.outcome import is_going
from qoder_cli.base.pool import in_order
from qoder_cli.deployments.findings import RUNS_JUDGED, History
from qoder_cli.history.listed import AT_A_TIME, RECENT, Resolver, newest_runs
from qoder_cli.local.outcomes import KeptOutcomes

_MOST_SINGLY = 10  # deployments at most whose runs are listed by themselves
_MOST_PAGES = 8  # of the runs of all deployments
_MORE = 5  # deployments at most that are listed by themselves, because those pages show few of their runs
_MOST_LOOKED_AT = 5  # runs of a deployment, as some may be running

_Listed = dict[str, list[Run] | ApiError | None]


def histories_of(app: App, deployments: Sequence[str]) -> dict[str, History]:
    """Return the newest runs of each deployment that ended: three of them for certain, of others what is known."""
    if len(deployments) <= _MOST_SINGLY:
        listed = _one_by_one(app, deployments)
    else:
        listed = _of_all(app, deployments)
    runs = {id: each for id, each in listed.items() if isinstance(each, list)}
    resolved: dict[str, list[Run]] = {id: [] for id in runs}
    resolver = Resolver(app)
    for place in range(_MOST_LOOKED_AT):
        short = [id for id in runs if place < len(runs[id]) and len(resolved[id]) < RUNS_JUDGED]
        looked_at = resolver.runs([runs[id][place].raw for id in short])
        for id, run in zip(short, looked_at, strict=True):
            if run.status is None or not is_going(run):
                resolved[id].append(run)
    kept = KeptOutcomes(app.store, app.settings, app.client.server_now)
    histories = {id: History(unread=each) for id, each in listed.items() if isinstance(each, ApiError)}
    histories |= {id: History(is_seen=False) for id, each in listed.items() if each is None}
    for id, some in resolved.items():
        rest = [run for run in runs[id] if run.id not in {each.id for each in some}]
        outcomes = kept.outcomes_of(rest)
        older = [outcomes[run.id].of(run) if run.id in outcomes else run for run in rest]
        unread = None
        if any(run.status is None for run in some):
            unread = NoResponse("the session of a run could not be read")
        histories[id] = History((*some, *older), unread)
    return histories


def _one_by_one(app: App, deployments: Iterable[str]) -> _Listed:
    def newest(id: str) -> list[Run] | ApiError:
        try:
            return newest_runs(app.client, id, RECENT)
        except ApiError as error:
            return error

    ids = list(deployments)
    return dict(zip(ids, in_order(newest, ids, at_a_time=AT_A_TIME), strict=True))


def _of_all(app: App, deployments: Iterable[str]) -> _Listed:
    """Return what the newest pages of all runs show of each deployment; None for what would take more of them."""
    found: dict[str, list[Run]] = {id: [] for id in deployments}
    is_whole = True
    try:
        for number, page in enumerate(app.client.pages("/deployment_runs", {"limit": 100}), 1):
            for run in filter(None, map(Run.read, page["data"])):
                if run.deployment_id in found:
                    found[run.deployment_id].append(run)
            if all(len(runs) >= _MOST_LOOKED_AT for runs in found.values()):
                break
            if number == _MOST_PAGES:
                is_whole = next_cursor(page) is None
                break
    except ApiError as error:
        return dict.fromkeys(found, error)
    for runs in found.values():
        runs.sort(key=lambda run: run.created or 0.0, reverse=True)
    few = [] if is_whole else [id for id, runs in found.items() if len(runs) < RUNS_JUDGED]
    return {**found, **dict.fromkeys(few), **_one_by_one(app, few[:_MORE])}
