"""What is special about agents, environments, vaults, credentials and dreams (api/facts.md, 4 and 7.3)."""

from typing import Any

from qoder_cli.nouns.operations import Operation
from qoder_cli.sandbox import contents, work
from qoder_cli.sandbox.call import Call, Reply
from qoder_cli.sandbox.records import ENVIRONMENT, Thing
from qoder_cli.sandbox.samples import WRITER
from qoder_cli.sandbox.shapes import Shape, stamp
from qoder_cli.sandbox.store import Act, Kind, archive, create, only, require, retrieve, routes, visible
from qoder_cli.sandbox.wire import Refusal, invalid

_TOOLS = ("bash", "read", "write", "edit", "glob", "grep", "webfetch", "websearch")
_TOOLSETS = ("agent_toolset_20260401", "browser_toolset_20260714", "mcp_toolset", "custom")
_PACKAGES = ("apt", "cargo", "gem", "go", "npm", "pip")
_LIMITED = {"type": "limited", "allow_mcp_servers": False, "allow_package_managers": False, "allowed_hosts": []}
_LARGEST_SETUP = 64 * 1024
_SECRETS = ("token", "secret_value", "access_token", "refresh_token", "client_secret")
_AUTHS = {  # the fields of each type, `?` marks optional ones
    "static_bearer": ("token", "mcp_server_url"),
    "environment_variable": ("secret_name", "secret_value", "networking?", "injection_location?"),
    "mcp_oauth": ("access_token", "mcp_server_url", "expires_at?", "refresh?"),
}
_PROBED = {"status_code": 200, "content_type": "application/json", "body": "{}", "body_truncated": False}


def _agent(call: Call, said: Shape, old: Thing | None) -> None:
    if old is None:
        said["version"] = 1
    else:
        given, now = said.get("version"), old.fields["version"]
        if given is None:
            raise invalid("Field 'version' is required.", "version")
        if given != now:
            raise Refusal(409, f"Version conflict. Expected version {now}, got {given}.")
        said["version"] = now + 1
    if "model" in said:
        said["model"] = _model(said["model"])
    for n, tool in enumerate(said.get("tools") or ()):
        _check_tool(tool, f"tools.{n}")
    multiagent = said.get("multiagent")
    if multiagent is not None and not 1 <= len(multiagent.get("agents") or ()) <= 21:  # 20, and an adviser
        raise invalid("multiagent.agents has 1 to 20 agents.", "multiagent.agents")


def _model(model: Any) -> Shape:
    model = {"id": model} if isinstance(model, str) else model
    if not isinstance(model.get("id"), str) or not model["id"]:
        raise invalid("Missing required field: model.id", "model.id")
    return dict(model)


def _check_tool(tool: Any, where: str) -> None:
    """Raise Refusal for what is no tool, or names one that there is not."""
    if not isinstance(tool, dict) or tool.get("type") not in _TOOLSETS:
        raise invalid(f"{where}.type must be one of {', '.join(_TOOLSETS)}.", f"{where}.type")
    if tool["type"] == "custom":
        require(tool, ("name", "description", "input_schema"), f"{where}.")
    if tool["type"] == "mcp_toolset":
        require(tool, ("mcp_server_name",), f"{where}.")
    if tool["type"] == _TOOLSETS[0]:
        configured = [each.get("name") for each in tool.get("configs") or ()]
        for name in (*(tool.get("enabled_tools") or ()), *(tool.get("disallowed_tools") or ()), *configured):
            if str(name).lower().replace("_", "") not in _TOOLS:
                raise invalid(f'Unknown tool "{name}".', where)


def _keep_version(call: Call, agent: Thing, how: str) -> None:
    version = Thing(dict(agent.fields), call.now)
    call.world.things.setdefault(f"agents/{agent.fields['id']}/versions", {})[str(agent.fields["version"])] = version


def _get_agent(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Return an agent. Those that deployments and sessions were given without further ado exist too."""
    [id], world, version = call.ids, call.world, call.query.one("version")
    if world.thing(kind.path, id) is None:
        users = [each.agent["id"] for each in world.deployments.values()]
        users += [each.agent["id"] for each in world.sessions.values()]
        if id in world.agent_versions or id in users:
            known = {"name": id, "version": world.latest_version(id), "archived_at": None}
            return {"id": id, "type": kind.type, **kind.empty, **known}
    if version is None:
        return retrieve(kind, operation, call)
    kind.known(call)
    return KINDS["agents.versions"].known(call, version).fields


def _environment(call: Call, said: Shape, old: Thing | None) -> None:
    config = said.setdefault("config", {"type": "cloud"}) if old is None else said.get("config")
    if "config" not in said:
        return
    if not config:
        raise invalid("config must name a type.", "config")
    if config.get("type") not in ("cloud", "self_hosted"):
        raise invalid("config.type must be cloud or self_hosted.", "config.type")
    if config["type"] == "self_hosted":
        only(config, ("type",), "config")
        return
    only(config, ("type", "networking", "packages", "setup_script"), "config")
    network = only(config.get("networking") or {}, _LIMITED, "config.networking")
    if network.get("type", "limited") not in ("limited", "unrestricted"):
        raise invalid("config.networking.type must be limited or unrestricted.", "config.networking.type")
    if len(config.get("setup_script") or "") > _LARGEST_SETUP:
        raise invalid("config.setup_script has at most 64 KB.", "config.setup_script")
    only(config.get("packages") or {}, (*_PACKAGES, "type"), "config.packages")
    limited = network.get("type", "limited") == "limited"
    said["config"] = {**config, "networking": _LIMITED | network if limited else network}  # absent: limited


def _refuse_used(call: Call, environment: Thing) -> None:
    id = environment.fields["id"]
    if any(session.environment_id == id for session in call.world.sessions.values()):
        raise Refusal(409, "A session refers to this environment.")


def _create_vault(kind: Kind, operation: Operation, call: Call) -> Reply:
    made = create(kind, operation, call)
    assert isinstance(made, dict)
    return {**made, "credentials": []}


def _credential(call: Call, said: Shape, old: Thing | None) -> None:
    """Check `auth`, and forget its secrets. In an update, it changes what it gives."""
    if "auth" not in said:
        return
    auth, home = said["auth"], KINDS["vaults.credentials"].home(call)
    if auth.get("type") not in _AUTHS or (old is not None and auth["type"] != old.fields["auth"]["type"]):
        raise invalid("auth.type is not one that this can be.", "auth.type")
    fields = _AUTHS[auth["type"]]
    only(auth, ("type", *(name.rstrip("?") for name in fields)), "auth")
    if old is None:
        require(auth, [name for name in fields if not name.endswith("?")], "auth.")
    shown = {**(old.fields["auth"] if old else {}), **_without_secrets(auth)}
    for other in call.world.things.get(home, {}).values():
        names = [(each.get("mcp_server_url"), each.get("secret_name")) for each in (other.fields["auth"], shown)]
        if other is not old and other.deleted is None and not other.fields["archived_at"] and names[0] == names[1]:
            raise Refusal(409, "The vault has a credential for this already.")
    said["auth"] = shown
    if old is None:
        said["vault_id"] = call.ids[0]


def _without_secrets(auth: Shape) -> Shape:
    kept = {name: value for name, value in auth.items() if name not in _SECRETS}
    return {name: _without_secrets(value) if isinstance(value, dict) else value for name, value in kept.items()}


def _validate(kind: Kind, operation: Operation, call: Call) -> Reply:
    credential = kind.unarchived(call)
    call.expect_no_fields()
    auth = credential.fields["auth"]
    if auth["type"] != "mcp_oauth":
        raise invalid("Only credentials of the type mcp_oauth can be validated.")
    refresh = {"status": "refreshed" if "refresh" in auth else "no_refresh_token", "http_response": None}
    return {
        "type": "vault_credential_validation",
        "credential_id": credential.fields["id"],
        "vault_id": call.ids[0],
        "status": "valid",
        "has_refresh_token": "refresh" in auth,
        "validated_at": stamp(call.now),
        "refresh": refresh,
        "mcp_probe": {"method": "initialize", "http_response": _PROBED},
    }


def _dream(call: Call, said: Shape, old: Thing | None) -> None:
    said["model"] = _model(said["model"])
    behaviour = said.setdefault("output_behavior", {"type": "create_new"})
    stores = [each for each in said["inputs"] if isinstance(each, dict) and each.get("type") == "memory_store"]
    for n, each in enumerate(said["inputs"]):
        if each not in stores and not (isinstance(each, dict) and each.get("type") == "sessions"):
            raise invalid("An input is a memory_store or sessions.", f"inputs.{n}.type")
    if behaviour.get("type") not in ("create_new", "update_existing"):
        raise invalid("output_behavior.type must be create_new or update_existing.", "output_behavior.type")
    for each in (*stores, *([behaviour] if behaviour["type"] == "update_existing" else [])):
        if call.world.thing("memory_stores", str(each.get("memory_store_id"))) is None:
            raise Refusal(404, "Memory store not found.")
    dreams = call.world.things.get("dreams", {}).values()
    if any(dream.fields["status"] in ("pending", "running") for dream in dreams):
        raise Refusal(409, "Another dream is under way.")  # one at a time (api/facts.md, 7.3)


def _begin_dream(call: Call, dream: Thing, how: str) -> None:
    """Let a dream go on by the clock: it runs after 1 s, and is completed 3 s later."""
    world, fields = call.world, dream.fields

    def run(at: float) -> None:
        if fields["status"] == "pending":
            agent = {"id": WRITER, "type": "agent", "version": world.latest_version(WRITER)}
            prompt = [
                {"type": "user.message", "content": [{"type": "text", "text": fields["instructions"] or "Dream."}]}
            ]
            session = world.add_session(at=at, agent=agent, environment_id=ENVIRONMENT, initial_events=prompt)
            fields.update(status="running", session_id=session.id)

    def complete(at: float) -> None:
        if fields["status"] == "running":
            output = contents.dreamt(world, fields, at=at)
            usage = {"input_tokens": 1200, "output_tokens": 300}
            fields.update(status="completed", outputs=[output], usage=usage, ended_at=stamp(at))

    if how == "created":
        world.postpone(1 / world.speed, run)
        world.postpone(4 / world.speed, complete)


def _cancel_dream(kind: Kind, operation: Operation, call: Call) -> Reply:
    dream = kind.known(call)
    call.expect_no_fields()
    if dream.fields["status"] not in ("pending", "running"):
        raise Refusal(409, "The dream has ended.")
    dream.fields.update(status="canceled", ended_at=stamp(call.now))
    return visible(dream)


def _archive_dream(kind: Kind, operation: Operation, call: Call) -> Reply:
    if kind.known(call).fields["status"] in ("pending", "running"):
        raise Refusal(409, "The dream has not ended.")
    return archive(kind, operation, call)


_AGENT: Shape = {
    **{"name": "", "description": "", "model": {}, "system": "", "tools": [], "skills": [], "mcp_servers": []},
    **{"multiagent": None, "metadata": {}, "version": 1},
}
_ENVIRONMENT: Shape = {"name": "", "description": "", "config": {}, "scope": "organization", "metadata": {}}
_CREDENTIAL: Shape = {"vault_id": "", "display_name": None, "auth": {}, "metadata": {}}
_DREAM: Shape = {
    **{"status": "pending", "inputs": [], "model": {}, "instructions": None, "output_behavior": {}, "outputs": []},
    **{"session_id": None, "usage": None, "error": None, "ended_at": None},
}

KINDS = {
    "agents": Kind("agents", "agent", "agent", _AGENT, _agent, _keep_version),
    "agents.versions": Kind("agents/{}/versions", "agent", "agent", _AGENT, key="version"),
    "environments": Kind("environments", "environment", "env", _ENVIRONMENT, _environment, leaves=_refuse_used),
    "vaults": Kind("vaults", "vault", "vault", {"display_name": "", "metadata": {}}, name="display_name"),
    "vaults.credentials": Kind(
        "vaults/{}/credentials", "vault_credential", "vcred", _CREDENTIAL, _credential, name="display_name"
    ),
    "dreams": Kind("dreams", "dream", "drm", _DREAM, _dream, _begin_dream, dated=("created_at", "archived_at")),
    **contents.KINDS,
    **work.KINDS,
}
_OWN: dict[str, Act] = {
    "agents.retrieve": _get_agent,
    "vaults.create": _create_vault,
    "vaults.credentials.mcp_oauth_validate": _validate,
    "dreams.cancel": _cancel_dream,
    "dreams.archive": _archive_dream,
    **contents.OWN,
    **work.OWN,
}

ROUTES = tuple(routes(KINDS, _OWN))
