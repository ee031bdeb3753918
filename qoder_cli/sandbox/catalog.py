"""What is special about agents, environments, credentials and dreams (api/facts.md, 4 and 7.3)."""

from dataclasses import replace
from typing import Any

from qoder_cli.nouns.operations import Operation
from qoder_cli.sandbox import contents, work
from qoder_cli.sandbox.call import Call, Reply
from qoder_cli.sandbox.kept import FORMS
from qoder_cli.sandbox.records import ENVIRONMENT, PROMPT, Thing
from qoder_cli.sandbox.samples import WRITER
from qoder_cli.sandbox.shapes import Shape, stamp
from qoder_cli.sandbox.store import Act, Kind, array, only, require, retrieve, routes, visible, without_secrets
from qoder_cli.sandbox.wire import Refusal, invalid

_TOOLS = ("bash", "read", "write", "edit", "glob", "grep", "webfetch", "websearch")
_TOOLSETS = ("agent_toolset_20260401", "browser_toolset_20260714", "mcp_toolset", "custom")
_PACKAGES = ("apt", "cargo", "gem", "go", "npm", "pip")
_LIMITED = {"type": "limited", "allow_mcp_servers": False, "allow_package_managers": False, "allowed_hosts": []}
_AUTHS = {  # the fields of each type, `?` marks optional ones
    "static_bearer": ("token", "mcp_server_url"),
    "environment_variable": ("secret_name", "secret_value", "networking?", "injection_location?"),
    "mcp_oauth": ("access_token", "mcp_server_url", "expires_at?", "refresh?"),
}
_PROBED = {"status_code": 200, "content_type": "application/json", "body": "{}", "body_truncated": False}


def _agent(call: Call, said: Shape, old: Thing | None) -> None:
    if old is not None:
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
    if multiagent is not None and not 1 <= len(array(multiagent, "agents", "multiagent.")) <= 21:  # 20, and an adviser
        raise invalid("multiagent.agents has 1 to 20 agents.", "multiagent.agents")


def _model(model: Any) -> Shape:
    model = {"id": model} if isinstance(model, str) else model
    require(model, ("id",), "model.")
    return {**model}


def _check_tool(tool: Any, where: str) -> None:
    """Raise Refusal for what is no tool, or names one that there is not."""
    if not isinstance(tool, dict) or tool.get("type") not in _TOOLSETS:
        raise invalid(f"{where}.type must be one of {', '.join(_TOOLSETS)}.", f"{where}.type")
    needed = {"custom": ("name", "description", "input_schema"), "mcp_toolset": ("mcp_server_name",)}
    require(tool, needed.get(tool["type"], ()), f"{where}.")
    objects = [tool.get("input_schema") or {}, tool.get("default_config") or {}, *array(tool, "configs", f"{where}.")]
    objects += [each.get("permission_policy") or {} for each in objects if isinstance(each, dict)]
    if not all(isinstance(each, dict) for each in objects):
        raise invalid(f"{where} has something else where an object is.", where)
    names = [*array(tool, "enabled_tools", f"{where}."), *array(tool, "disallowed_tools", f"{where}.")]
    names += [each.get("name") for each in array(tool, "configs", f"{where}.")]
    for name in names if tool["type"] == _TOOLSETS[0] else ():
        if str(name).lower().replace("_", "") not in _TOOLS:
            raise invalid(f'Unknown tool "{name}".', where)


def _keep_version(call: Call, agent: Thing, how: str) -> None:
    call.world.keep("agents.versions", agent.fields["id"], at=call.now, **agent.fields)


def _get_agent(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Return an agent; those that deployments and sessions merely name exist too."""
    [id], world, version = call.ids, call.world, call.query.one("version")
    if world.thing(kind.form.path, id) is None:
        users = [each.agent["id"] for each in world.deployments.values()]
        users += [each.agent["id"] for each in world.sessions.values()]
        if id in world.agent_versions or id in users:
            known = {"name": id, "version": world.latest_version(id), "archived_at": None}
            return {"id": id, "type": kind.form.type, **kind.form.empty, **known}
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
    if len(str(config.get("setup_script") or "")) > 64 * 1024:
        raise invalid("config.setup_script has at most 64 KB.", "config.setup_script")
    only(config.get("packages") or {}, (*_PACKAGES, "type"), "config.packages")
    if network.get("type") != "unrestricted":  # nor where nothing is said of it
        network = _LIMITED | network
    said["config"] = {**config, "networking": network}


def _refuse_used(call: Call, environment: Thing) -> None:
    if any(session.environment_id == environment.key for session in call.world.sessions.values()):
        raise Refusal(409, "A session refers to this environment.")


def _show_vault(call: Call, vault: Thing, verb: str) -> Shape:
    return {**vault.fields, "credentials": []} if verb == "create" else vault.fields


def _credential(call: Call, said: Shape, old: Thing | None) -> None:
    """Check `auth`, and forget its secrets. In an update, it changes what it gives."""
    if "auth" not in said:
        return
    auth = said["auth"]
    if auth.get("type") not in [*_AUTHS] or (old is not None and auth["type"] != old.fields["auth"]["type"]):
        raise invalid("auth.type is not one that this can be.", "auth.type")
    fields = _AUTHS[auth["type"]]
    only(auth, ("type", *(name.rstrip("?") for name in fields)), "auth")
    if old is None:
        require(auth, [name for name in fields if not name.endswith("?")], "auth.")
        said["vault_id"] = call.ids[0]
    said["auth"] = {**(old.fields["auth"] if old else {}), **without_secrets(auth)}


def _validate(kind: Kind, operation: Operation, call: Call) -> Reply:
    credential = kind.unarchived(call)
    call.expect_no_fields()
    auth = credential.fields["auth"]
    if auth["type"] != "mcp_oauth":
        raise invalid("Only credentials of the type mcp_oauth can be validated.")
    has_token = "refresh" in auth
    valid = {"type": "vault_credential_validation", "status": "valid", "validated_at": stamp(call.now)}
    ids = {"credential_id": credential.fields["id"], "vault_id": call.ids[0], "has_refresh_token": has_token}
    refresh = {"status": "refreshed" if has_token else "no_refresh_token", "http_response": None}
    return {**valid, **ids, "refresh": refresh, "mcp_probe": {"method": "initialize", "http_response": _PROBED}}


def _dream(call: Call, said: Shape, old: Thing | None) -> None:
    said["model"] = _model(said["model"])
    behaviour = said["output_behavior"] = said.get("output_behavior") or {"type": "create_new"}
    stores = [each for each in said["inputs"] if isinstance(each, dict) and each.get("type") == "memory_store"]
    for n, each in enumerate(said["inputs"]):
        if each not in stores and not (isinstance(each, dict) and each.get("type") == "sessions"):
            raise invalid("An input is a memory_store or sessions.", f"inputs.{n}.type")
    if behaviour.get("type") not in ("create_new", "update_existing"):
        raise invalid("output_behavior.type must be create_new or update_existing.", "output_behavior.type")
    for each in (*stores, *([behaviour] if behaviour["type"] == "update_existing" else [])):
        if call.world.thing("memory_stores", str(each.get("memory_store_id"))) is None:
            raise Refusal(404, "Memory store not found.")
    if any(dream.fields["status"] in ("pending", "running") for dream in call.world.alive("dreams")):
        raise Refusal(409, "Another dream is under way.")  # one at a time (api/facts.md, 7.3)


def _begin_dream(call: Call, dream: Thing, how: str) -> None:
    """Let a dream go on by the clock: it runs after 1 s, and is completed 3 s later."""
    world, fields = call.world, dream.fields

    def run(at: float) -> None:
        if fields["status"] == "pending":
            agent = {"id": WRITER, "type": "agent", "version": world.latest_version(WRITER)}
            session = world.add_session(at=at, agent=agent, environment_id=ENVIRONMENT, initial_events=PROMPT)
            fields.update(status="running", session_id=session.id)

    def complete(at: float) -> None:
        if fields["status"] == "running":
            output = contents.dreamt(replace(call, now=at), fields)
            usage = {"input_tokens": 1200, "output_tokens": 300}
            fields.update(status="completed", outputs=[output], usage=usage, ended_at=stamp(at))

    world.postpone(1 / world.speed, run)
    world.postpone(4 / world.speed, complete)


def _cancel_dream(kind: Kind, operation: Operation, call: Call) -> Reply:
    dream = kind.known(call)
    call.expect_no_fields()
    if dream.fields["status"] not in ("pending", "running"):
        raise Refusal(409, "The dream has ended.")
    dream.fields.update(status="canceled", ended_at=stamp(call.now))
    return visible(dream)


KINDS = {
    **{name: Kind(form) for name, form in FORMS.items()},
    "agents": Kind(FORMS["agents"], _agent, _keep_version),
    "environments": Kind(FORMS["environments"], _environment, leaves=_refuse_used),
    "vaults": Kind(FORMS["vaults"], show=_show_vault),
    "vaults.credentials": Kind(FORMS["vaults.credentials"], _credential),
    "dreams": Kind(FORMS["dreams"], _dream, _begin_dream),
    **contents.KINDS,
    **work.KINDS,
}
_OWN: dict[str, Act] = {
    "agents.retrieve": _get_agent,
    "vaults.credentials.mcp_oauth_validate": _validate,
    "dreams.cancel": _cancel_dream,
    **contents.OWN,
    **work.OWN,
}

ROUTES = tuple(routes(KINDS, _OWN))
