"""What a deployment's next run can be judged by: the things that it refers to, and how its last runs ended.

Each thing is read once, however many refer to it. Endings come from lists; from sessions only where nobody knows yet.
"""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NoResponse, NotFound, Unavailable, or_error
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Deployment, Raw, Run, array, created_at, mapping, says_whether_more, text
from qoder_cli.base.outcome import is_going
from qoder_cli.base.pool import in_order
from qoder_cli.base.times import descend
from qoder_cli.history.listed import Resolver, newest_runs, runs_in
from qoder_cli.nouns.named import alive
from qoder_cli.nouns.table import NOUNS
from qoder_cli.nouns.vault import validated
from qoder_cli.sessions.log import is_last

Thing = Raw | ApiError | None  # what was read; why it could not be; None for what is not there

TOO_MANY = Unavailable("not looked at: that would take too many requests")
_GIVE_UP_AFTER = 2  # failures
RUNS_JUDGED = 3  # the newest runs of a deployment; if all of them failed, so may the next
_MOST_SINGLY = 10  # deployments at most whose runs are listed by themselves from the start
_MOST_PAGES = 8  # of the runs of all deployments
_MOST_LOOKED_AT = 5  # runs of a deployment, as some may be running


class Facts:
    """Reads things of the server, each once; threads may share it.

    With a limit it asks `most` times, and stops at two failures, each of which was tried several times.
    """

    def __init__(self, app: App, *, most: int | None = None) -> None:
        self._app = app
        self._most = most
        self._asked = self._failures = 0
        self._known: dict[str, Any] = {}
        self._locks: dict[str, Lock] = {}

    def thing(self, kind: str, id: str, more: str = "") -> Thing:
        """Return a thing: its kind is the path of its list, `more` stands behind its own."""
        shown: Thing = self._once(f"/{kind}/{segment(id)}{more}", self._get)
        return shown

    def agent(self, deployment: Raw) -> Thing:
        """Return the version of an agent that a deployment pins."""
        id = agent_id(deployment)
        if id is None:
            return None
        latest = self.thing("agents", id)
        version = mapping(deployment.get("agent")).get("version")
        if not isinstance(latest, dict) or version is None or latest.get("version") == version:
            return latest
        return self.thing("agents", id, f"?version={version}")

    def environment(self, deployment: Raw) -> Thing:
        """Return the environment of a deployment."""
        id = text(deployment.get("environment_id"))
        return None if id is None else self.thing("environments", id)

    def credentials(self, vault: str) -> list[Raw] | ApiError:
        """Return the credentials of a vault; none of one that is not there."""
        shown = self.thing("vaults", vault)
        if not isinstance(shown, dict):
            return shown or []
        listed: list[Raw] | ApiError = self._once(vault, or_error(self._list_credentials))
        return listed

    def validated(self, vault: str, credential: str) -> Raw | ApiError:
        """Return what the API finds on trying an OAuth credential, which renews it."""
        validation: Raw | ApiError = self._once(credential, or_error(lambda id: validated(self._app, vault, id)))
        return validation

    def page(self, path: str, query: Mapping[str, Any]) -> tuple[list[Raw], bool]:
        """Return the first page of a list, and whether that is certainly all. Raises ApiError."""
        if self._is_over():
            raise TOO_MANY
        try:
            page: Raw = next(self._app.client.pages(path, {"limit": 100, **query}), {"data": []})
        except Unavailable:
            self._failures += 1
            raise
        return list(map(mapping, page["data"])), is_last(page) and says_whether_more(page)

    def _list_credentials(self, vault: str) -> list[Raw]:
        if self._most is None:
            return list(alive(self._app.client, NOUNS["vault credential"], vault, archived=True, is_whole=True))
        rows, is_all = self.page(f"/vaults/{segment(vault)}/credentials", {"include_archived": "true"})
        if not is_all:
            raise Unavailable("there may be more than one page shows")
        return rows

    def _is_over(self) -> bool:
        """Return whether no more is to be asked; else it is asked now."""
        self._asked += 1
        return self._most is not None and (self._failures >= _GIVE_UP_AFTER or self._asked > self._most)

    def _once(self, key: str, read: Callable[[str], Any]) -> Any:
        with self._locks.setdefault(key, Lock()):
            if key not in self._known:
                self._known[key] = read(key)
            return self._known[key]

    def _get(self, path: str) -> Thing:
        if self._is_over():
            return TOO_MANY
        bare, _, query = path.partition("?")
        params = dict([query.split("=", 1)]) if query else {}
        try:
            answer = mapping(self._app.client.get(bare, params))
        except NotFound as error:
            return None if error.enveloped else error
        except ApiError as error:
            self._failures += isinstance(error, Unavailable)
            return error
        if not answer:
            return NoResponse(f"the response to GET {bare} is not an object")
        last, version = bare.rpartition("/")[2], str(answer.get("version"))  # the id of a version is its number
        is_it = last == "stats" or last in (segment(str(answer.get("id"))), version)
        if not is_it or params.get("version", version) != version:
            return NoResponse(f"the response to GET {path} is another thing")
        return answer


def agent_id(deployment: Raw) -> str | None:
    """Return the id of a deployment's agent, if it names one."""
    agent = deployment.get("agent")
    return text(mapping(agent).get("id")) or text(agent)


def is_self_hosted(environment: Raw) -> bool:
    """Return whether the sessions of an environment run on workers of one's own."""
    return mapping(environment.get("config")).get("type") == "self_hosted"


def custom_skills(agent: Raw) -> list[Raw]:
    """Return the skills of one's own that an agent uses; those of the service are its own affair."""
    return [skill for skill in map(mapping, array(agent.get("skills"))) if skill.get("type") == "custom"]


class History(NamedTuple):
    """A deployment's newest runs that ended, newest first, and why they were not all read, if so."""

    runs: Sequence[Run] = ()
    unread: ApiError | None = None


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


def _one_by_one(app: App, ids: Sequence[str]) -> dict[str, list[Run] | ApiError]:
    newest = or_error(lambda id: newest_runs(app.client, id, must_say=True))
    return dict(zip(ids, in_order(newest, ids), strict=True))


def _of_all(app: App, deployments: Sequence[Deployment]) -> dict[str, list[Run] | ApiError]:
    """Return what the newest pages of all runs show of each deployment; of those of which they show few, their own."""
    runs_of: dict[str, list[Run]] = {deployment.id: [] for deployment in deployments}
    created: list[float] = []
    is_whole = False
    try:
        for number, page in enumerate(app.client.pages("/deployment_runs", {"limit": 100}), 1):
            app.progress.beat()
            runs = runs_in(page, None)
            times = [run.created for run in runs if run.created is not None]
            if len(times) < len(page["data"]):
                raise NoResponse("an item of the list is not a run of a deployment, with its time")
            created += times
            for run in runs:
                if run.deployment_id in runs_of:
                    runs_of[run.deployment_id].append(run)
            is_whole = says_whether_more(page) and is_last(page)
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
