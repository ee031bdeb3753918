"""What deployments refer to, each thing read once, however many refer to it."""

from collections.abc import Callable
from threading import Lock
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NoResponse, NotFound, or_error
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Raw, array, mapping, text
from qoder_cli.nouns.named import alive
from qoder_cli.nouns.table import NOUNS

Thing = Raw | ApiError | None  # what was read; why it could not be; None for what is not there


class Facts:
    """Reads things of the server, each once; threads may share it."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._known: dict[str, Any] = {}
        self._locks: dict[str, Lock] = {}

    def thing(self, kind: str, id: str, more: str = "") -> Thing:
        """Return a thing: its kind is the path of its list, `more` stands behind its own."""
        shown: Thing = self._once(f"/{kind}/{segment(id)}{more}", self._get)
        return shown

    def agent(self, deployment: Raw) -> Thing:
        """Return the version of an agent that a deployment pins."""
        pinned = mapping(deployment.get("agent"))
        id = text(pinned.get("id")) or text(deployment.get("agent"))
        if id is None:
            return None
        latest = self.thing("agents", id)
        version = pinned.get("version")
        if not isinstance(latest, dict) or version is None or latest.get("version") == version:
            return latest
        return self.version(id, version)

    def version(self, agent: str, version: Any) -> Thing:
        """Return a version of an agent."""
        return self.thing("agents", agent, f"?version={version}")

    def environment(self, deployment: Raw) -> Thing:
        """Return the environment of a deployment."""
        id = text(deployment.get("environment_id"))
        return None if id is None else self.thing("environments", id)

    def skill(self, skill: Raw) -> Thing:
        """Return a skill that an agent uses, or its version if the agent pins one."""
        version = text(skill.get("version"))
        more = "" if version in (None, "latest") else f"/versions/{segment(str(version))}"
        return self.thing("skills", str(skill.get("skill_id")), more)

    def credentials(self, vault: str) -> list[Raw] | ApiError:
        """Return the credentials of a vault; none of one that is not there."""
        shown = self.thing("vaults", vault)
        if not isinstance(shown, dict):
            return shown or []
        listed: list[Raw] | ApiError = self._once(vault, or_error(self._list_credentials))
        return listed

    def _list_credentials(self, vault: str) -> list[Raw]:
        return list(alive(self._app.client, NOUNS["vault credential"], vault, archived=True))

    def _once(self, key: str, read: Callable[[str], Any]) -> Any:
        with self._locks.setdefault(key, Lock()):
            if key not in self._known:
                self._known[key] = read(key)
            return self._known[key]

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
        last, version = bare.rpartition("/")[2], str(answer.get("version"))  # the id of a version is its number
        is_it = last == "stats" or last in (segment(str(answer.get("id"))), version)
        if not is_it or params.get("version", version) != version:
            return NoResponse(f"the response to GET {path} is another thing")
        return answer


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
