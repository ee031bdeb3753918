"""Agents (api.md#agents)."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from qoder_cli.base.model import array, mapping
from qoder_cli.nouns.how import How
from qoder_cli.nouns.noun import Kind, Refers
from qoder_cli.nouns.parts import Description, Metadata, Name, Names, Text, Url
from qoder_cli.nouns.schema import UNSET, ByType, Fields, Range, Rule, ServerWords, Short, Shown, Size, must
from qoder_cli.nouns.table import noun


class _Model(Fields, unknown="open"):
    """A model, and how it is used."""

    id: Text
    effort: Annotated[str, ServerWords(("low", "medium", "high", "xhigh", "max"))] = UNSET
    context_window: Annotated[int, Range(1)] = UNSET
    speed: Annotated[str, ServerWords(("standard", "fast"))] = UNSET


Model = Annotated[_Model, Short("id", "the id of a model, or a mapping of fields"), "Id of a model, or more of it."]


class _PermissionPolicy(Fields):
    type: Literal["always_allow", "always_ask", "always_deny"]


class _Default(Fields, unknown="open"):
    permission_policy: _PermissionPolicy = UNSET


class _Config(_Default, unknown="open"):
    name: str
    enabled: bool = UNSET


class _ToolSelection(Fields):
    enabled_tools: Names = UNSET
    disallowed_tools: Names = UNSET
    configs: list[_Config] = UNSET
    default_config: _Default = UNSET


class _Toolset(_ToolSelection):
    """Tools that come with the service; which of them, and which ask first."""

    type: Literal["agent_toolset_20260401", "browser_toolset_20260714"]


class _McpToolset(_ToolSelection):
    """The tools of an MCP server."""

    type: Literal["mcp_toolset"]
    mcp_server_name: Text


class _CustomTool(Fields):
    """A tool of your own: whoever talks with the session does what it asks for."""

    type: Literal["custom"]
    name: Text
    description: Text
    input_schema: Annotated[dict[str, Any], must(bool, "must be given"), Shown({"examples": [{"type": "object"}]})]


class _McpServer(Fields):
    """An MCP server."""

    name: Text
    type: Literal["url"]
    url: Url


def _named_once(servers: list[dict[str, Any]]) -> None:
    names = [server.get("name") for server in servers]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError("has two of one name", f"has two of the name {twice[0]}")


class _UsedSkill(Fields):
    """A skill, of the service or of your own."""

    type: Literal["qoder", "custom"]
    skill_id: Text
    version: str = UNSET


Tools = Annotated[
    list[Annotated[_Toolset | _McpToolset | _CustomTool, ByType(newer=True)]],
    "What the agent can use; none if left out.",
]
Servers = Annotated[list[_McpServer], Rule(_named_once), "MCP servers; each needs an mcp_toolset among the tools."]
Skills = Annotated[list[_UsedSkill], "Skills."]


class _Roster(Fields, unknown="open"):
    """Agents that this one may have work for it, and an adviser."""

    type: Literal["coordinator"]
    agents: Annotated[list[Any], Size(1, 21)]


class Agent(Fields):
    """An agent."""

    name: Name
    model: Model
    description: Description
    system: Annotated[str, "Instructions."]
    tools: Tools
    mcp_servers: Servers
    skills: Skills
    multiagent: Annotated[_Roster, "Agents that work for it."]
    metadata: Metadata
    version: Annotated[int, "The version that an update changes."]


noun(
    *("agent", "agents"),
    columns="id name model version tools skills mcp updated archived",
    more="description asks system metadata created",
    numbered="version name model tools skills mcp updated",
    sample="writer",
    archived="An archived agent can no longer be used.",
    body=Agent,
    kind=Kind(
        rank=6,
        text="system",
        refers=(
            Refers(("skills", "*"), "skill", pins="custom", key="skill_id"),
            Refers(("multiagent", "agents", "*"), "agent", pins="agent"),
        ),
        how="agent",
    ),
    absent={"tools": []},
    kept={"name": "", "description": "", "model": {}, "system": "", "tools": [], "skills": []}
    | {"mcp_servers": [], "multiagent": None, "metadata": {}, "version": 1},
)


def _remarks(lists: Any, step: Any, *declared: Any) -> Iterator[str]:
    if not step.is_open:
        return
    tools = [mapping(tool) for tool in array(step.wanted.get("tools"))]
    if not tools and step.current is None:
        yield "it has no tools: without a `tools` field an agent can use none"
    if names := ", ".join(name for tool in tools for name in _asking(tool)):
        yield f"it will ask for approval before it uses {names}"


def _asking(tool: dict[str, Any]) -> Iterator[str]:
    default = mapping(tool.get("default_config"))
    every = f"every tool of {tool['mcp_server_name']}" if tool.get("mcp_server_name") else "every tool"
    for config in ({"name": every, **default}, *map(mapping, array(tool.get("configs")))):
        if mapping(config.get("permission_policy")).get("type") == "always_ask":
            yield str(config.get("name"))


HOW = How(remarks=_remarks)
