"""What a reader of a plan should know of a thing besides what changes."""

from collections.abc import Iterator, Sequence
from typing import Any

from qoder_cli.base.model import Deployment, array, mapping
from qoder_cli.nouns.shown import found_at
from qoder_cli.stack.items import Item
from qoder_cli.stack.things import CREDENTIAL

Raw = dict[str, Any]


class FolderCredentials:
    """The agents of a folder, and the MCP servers for which each of its vaults has a credential."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.agents = {each.thing.name: each for each in items if each.thing.noun.words == "agent"}
        self.servers = {each.thing.name: set[Any]() for each in items if each.thing.noun.words == "vault"}
        for item in items:
            if item.thing.noun.words == CREDENTIAL and item.thing.parent:
                self.servers[item.thing.parent.name].add(found_at(item.thing.fields, "auth.mcp_server_url"))


def remarks_of(item: Item, credentials: FolderCredentials) -> Iterator[str]:
    """Yield what a reader of the plan should know of a thing that is created or changed."""
    if item.thing.noun.words == "deploy" and item.thing.paused is None and item.current is not None:
        reason = mapping(item.current.get("paused_reason"))
        if Deployment(item.current).state == "paused" and reason.get("type") == "error":
            yield f"it was paused by an error ({mapping(reason.get('error')).get('type')}); paused: false unpauses it"
    if not item.step.is_open:
        return
    wanted, words = item.step.wanted, item.thing.noun.words
    if words == "agent":
        tools = [mapping(each) for each in array(wanted.get("tools"))]
        if not tools and item.current is None:
            yield "it has no tools: without a `tools` field an agent can use none"
        asks = [name for tool in tools for name in _asking(tool)]
        if named := ", ".join(asks):
            yield f"it will ask for approval before it uses {named}"
    elif words == "env":
        config = mapping(wanted.get("config"))
        if config.get("type", "cloud") == "cloud" and "networking" not in config and item.current is None:
            yield "its network is limited: without `networking` nothing outside can be reached"
    elif words == "deploy":
        yield from _without_credentials(item, credentials)


def _asking(tool: Raw) -> Iterator[str]:
    """Yield what of a toolset asks before each use."""
    default = mapping(tool.get("default_config"))
    every = f"every tool of {tool['mcp_server_name']}" if tool.get("mcp_server_name") else "every tool"
    for config in ({"name": every, **default}, *map(mapping, array(tool.get("configs")))):
        if mapping(config.get("permission_policy")).get("type") == "always_ask":
            yield str(config.get("name"))


def _without_credentials(item: Item, credentials: FolderCredentials) -> Iterator[str]:
    """Yield the MCP servers of a deployment's agent for which none of its vaults has a credential."""
    named = [ref.name for ref in item.thing.refs if ref.noun == "agent" and ref.at == ("agent",)]
    agent = credentials.agents.get(named[0]) if named else None
    vaults = [ref.name for ref in item.thing.refs if ref.noun == "vault"]
    if agent is None or not credentials.servers.keys() >= {*vaults}:
        return  # what is in a vault elsewhere is not known here
    if len(vaults) < len(array(item.thing.fields.get("vault_ids"))):
        return
    urls = {url for name in vaults for url in credentials.servers[name]}
    for server in map(mapping, array(agent.thing.fields.get("mcp_servers"))):
        if server.get("url") not in urls:
            yield f"no vault of it has a credential for the MCP server {server.get('name')} ({server.get('url')})"
