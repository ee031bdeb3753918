"""What deployments refer to, each thing read once, however many refer to it."""

from collections.abc import Iterable
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NoResponse, NotFound
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Raw, array, mapping, text
from qoder_cli.base.pool import in_order
from qoder_cli.nouns.named import alive
from qoder_cli.nouns.table import NOUNS

Thing = Raw | ApiError | None  # what was read; why it could not be; None for what is not there


class Facts:
    """Reads things of the server, each once. What was not read by `prepare` is read when it is asked for."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._things: dict[str, Thing] = {}
        self._credentials: dict[str, list[Raw] | ApiError] = {}

    def prepare(self, deployments: Iterable[Raw]) -> None:
        """Read all that these deployments, and their agents, refer to, several at a time."""
        rows = list(deployments)
        first = dict.fromkeys(path for row in rows for path in _referred(row))
        self._read_all(first)
        vaults = dict.fromkeys(vault for row in rows for vault in map(str, array(row.get("vault_ids"))))
        there = [vault for vault in vaults if isinstance(self.thing("vaults", vault), dict)]
        new = [vault for vault in there if vault not in self._credentials]
        self._credentials |= zip(new, in_order(self._list_credentials, new), strict=True)
        agents = [agent for row in rows if isinstance(agent := self.agent(row, read=False), str)]
        self._read_all(dict.fromkeys(agents))
        more = dict.fromkeys(path for row in rows for path in self._further(row))
        self._read_all(more)

    def thing(self, kind: str, id: str, more: str = "") -> Thing:
        """Return a thing: its kind is the path of its list, `more` stands behind its own."""
        return self._read(f"/{kind}/{segment(id)}{more}")

    def agent(self, deployment: Raw, *, read: bool = True) -> Thing | str:
        """Return the version of an agent that a deployment pins; the path to it, if it is not to be `read`."""
        pinned = mapping(deployment.get("agent"))
        id = text(pinned.get("id")) or text(deployment.get("agent"))
        if id is None:
            return None
        latest = self.thing("agents", id)
        version = pinned.get("version")
        if not isinstance(latest, dict) or version is None or latest.get("version") == version:
            return latest
        return self.version(id, version) if read else _version_path(id, version)

    def version(self, agent: str, version: Any) -> Thing:
        return self._read(_version_path(agent, version))

    def environment(self, deployment: Raw) -> Thing:
        id = text(deployment.get("environment_id"))
        return None if id is None else self.thing("environments", id)

    def work(self, environment: str) -> Thing:
        """Return how much work waits in a self-hosted environment, and how many workers ask for it."""
        return self.thing("environments", environment, "/work/stats")

    def credentials(self, vault: str) -> list[Raw] | ApiError:
        return self._credentials.get(vault, [])

    def _list_credentials(self, vault: str) -> list[Raw] | ApiError:
        try:
            return list(alive(self._app.client, NOUNS["vault credential"], vault, archived=True))
        except ApiError as error:
            return error

    def _further(self, deployment: Raw) -> Iterable[str]:
        environment, agent = self.environment(deployment), self.agent(deployment)
        if isinstance(environment, dict) and is_self_hosted(environment):
            yield f"/environments/{segment(str(environment['id']))}/work/stats"
        if isinstance(agent, dict):
            for skill in custom_skills(agent):
                yield skill_path(skill)
            for member in roster_of(agent):
                yield f"/agents/{segment(str(member['id']))}"

    def skill(self, skill: Raw) -> Thing:
        return self._read(skill_path(skill))

    def _read_all(self, paths: Iterable[str]) -> None:
        new = [path for path in paths if path not in self._things]
        self._things |= zip(new, in_order(self._get, new), strict=True)

    def _read(self, path: str) -> Thing:
        if path not in self._things:
            self._things[path] = self._get(path)
        return self._things[path]

    def _get(self, path: str) -> Thing:
        bare, _, query = path.partition("?")
        params = dict([query.split("=", 1)]) if query else {}
        try:
            answer = mapping(self._app.client.get(bare, params))
        except NotFound as error:
            return None if error.enveloped else error
        except ApiError as error:
            return error
        if not answer:
            return NoResponse(f"the response to GET {bare} is not an object")
        if not _is_at(bare, answer) or params.get("version", str(answer.get("version"))) != str(answer.get("version")):
            return NoResponse(f"the response to GET {path} is another thing")
        return answer


def _version_path(agent: str, version: Any) -> str:
    return f"/agents/{segment(agent)}?version={version}"


def _is_at(path: str, answer: Raw) -> bool:
    """Return whether an object is the thing of a path. The id of a version is its number."""
    last = path.rpartition("/")[2]
    return last == "stats" or last in (segment(str(answer.get("id"))), str(answer.get("version")))


def is_self_hosted(environment: Raw) -> bool:
    """Return whether the sessions of an environment run on workers of one's own."""
    return mapping(environment.get("config")).get("type") == "self_hosted"


def custom_skills(agent: Raw) -> list[Raw]:
    """Return the skills of one's own that an agent uses; those of the service are its own affair."""
    return [skill for skill in map(mapping, array(agent.get("skills"))) if skill.get("type") == "custom"]


def roster_of(agent: Raw) -> list[Raw]:
    """Return the agents that may work for an agent, as it names them; it itself may be among them."""
    members = [
        {"id": agent_or_id} if isinstance(agent_or_id, str) else mapping(agent_or_id)
        for agent_or_id in array(mapping(agent.get("multiagent")).get("agents"))
    ]
    return [member for member in members if text(member.get("id")) not in (None, agent.get("id"))]


def skill_path(skill: Raw) -> str:
    """Return the path of a skill that an agent uses, or of its version if it pins one."""
    path = f"/skills/{segment(str(skill.get('skill_id')))}"
    version = text(skill.get("version"))
    return path if version in (None, "latest") else f"{path}/versions/{segment(str(version))}"


def _referred(deployment: Raw) -> Iterable[str]:
    agent = text(mapping(deployment.get("agent")).get("id")) or text(deployment.get("agent"))
    named = [("agents", agent), ("environments", text(deployment.get("environment_id")))]
    named += [("vaults", text(vault)) for vault in array(deployment.get("vault_ids"))]
    for resource in map(mapping, array(deployment.get("resources"))):
        named += [("files", text(resource.get("file_id"))), ("memory_stores", text(resource.get("memory_store_id")))]
    return [f"/{kind}/{segment(id)}" for kind, id in named if id]
