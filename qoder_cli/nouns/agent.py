"""Agents: what they may hold, and their tools, MCP servers and skills from options (api.md#agents).

An agent without `tools` has none, and an MCP server needs an entry among them. An update
replaces each of these arrays whole: here they are changed, and the rest kept.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import with_version
from qoder_cli.base.model import array, filled, mapping, text
from qoder_cli.nouns.edits.thing import read, target_of
from qoder_cli.nouns.how import How
from qoder_cli.nouns.named import id_of
from qoder_cli.nouns.noun import Kind, Refers
from qoder_cli.nouns.parts import Description, Metadata, Name, Names, Text, Url
from qoder_cli.nouns.schema import UNSET, ByType, Fields, Range, Rule, ServerWords, Short, Shown, Size, must
from qoder_cli.nouns.shown import asking
from qoder_cli.nouns.table import NOUNS, noun


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
        how="agent:HOW",
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
    names: list[str] = []
    for tool in tools:
        server = tool.get("mcp_server_name")
        names += asking(tool, f"every tool of {server}" if server else "every tool")
    if names:
        yield f"it will ask for approval before it uses {', '.join(names)}"


HOW = How(remarks=_remarks)


# Arrays of an agent, from options.

Entry = dict[str, Any]

TOOLSET = "agent_toolset_20260401"
_ASKS = {"type": "always_ask"}
_TOOL = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


def tool_names(option: str, option_text: str | None) -> tuple[str, ...]:
    """Return the typed tools. Raises UsageError."""
    if option_text is None:
        return ()
    names = tuple(dict.fromkeys(word.strip() for word in option_text.split(",")))
    hint = f"for example {option} Bash,Read, {option} all or {option} none"
    if wrong := [name for name in names if not _TOOL.fullmatch(name)]:
        raise UsageError(f"{option}: {wrong[0][:60]!r} is not the name of a tool", hint=hint)
    if len(names) > 1 and {"all", "none"} & set(names):
        raise UsageError(f"{option}: all and none cannot be combined with others", hint=hint)
    return names


def with_tools(tools: Any, names: Sequence[str], asks: Sequence[str]) -> list[Entry]:
    """Return tools with `names` in the toolset, of which `asks` ask. Raises UsageError."""
    entries = _entries(tools)
    at = next((at for at, entry in enumerate(entries) if _is_toolset(entry)), None)
    others = [entry for entry in entries if not _is_toolset(entry)]
    entry = {} if at is None else entries[at]
    if names:
        entry = {} if names == ("none",) else _enabled(entry, names)
    if asks and not entry and asks != ("none",):
        raise UsageError("--ask: the agent has no tools that could ask", hint="add --tools all")
    if asks:
        entry = _asking(entry, asks)
    place = at or 0
    return [*others[:place], *([entry] if entry else []), *others[place:]]


def with_servers(servers: Any, tools: Any, urls: dict[str, str]) -> tuple[list[Entry], list[Entry]]:
    """Return MCP servers and tools with more; a known name gets the new URL."""
    entries = _entries(servers)
    names = [entry.get("name") for entry in entries]
    for entry in entries:
        if entry.get("name") in urls:
            entry["url"] = urls[entry["name"]]
    entries += [{"name": name, "type": "url", "url": url} for name, url in urls.items() if name not in names]
    return entries, with_toolsets(tools, urls)


def without_servers(servers: Any, tools: Any, names: Sequence[str]) -> tuple[list[Entry], list[Entry]]:
    """Return MCP servers and tools without those of these names."""
    left = [entry for entry in _entries(servers) if entry.get("name") not in names]
    return left, [entry for entry in _entries(tools) if entry.get("mcp_server_name") not in names]


def with_toolsets(tools: Any, servers: Iterable[str]) -> list[Entry]:
    """Return tools with an entry for each of these MCP servers."""
    entries = _entries(tools)
    there = [entry.get("mcp_server_name") for entry in entries]
    return entries + [{"type": "mcp_toolset", "mcp_server_name": name} for name in servers if name not in there]


def unusable(servers: Any, tools: Any) -> list[str]:
    """Return the names of servers whose tools the agent cannot use."""
    there = [entry.get("mcp_server_name") for entry in _entries(tools)]
    return [str(entry.get("name")) for entry in _entries(servers) if entry.get("name") not in there]


def missing_servers(servers: Any, tools: Any) -> list[str]:
    """Return the names of servers that tools are of, and that are not there: the API refuses such tools."""
    there = [entry.get("name") for entry in _entries(servers)]
    named = [entry.get("mcp_server_name") for entry in _entries(tools) if entry.get("type") == "mcp_toolset"]
    return [str(name) for name in named if name not in there]


def servers_typed(words: Sequence[str] | None) -> dict[str, str]:
    """Return MCP servers' URLs by name. Raises UsageError."""
    from qoder_cli.http.redact import by_shape

    servers: dict[str, str] = {}
    for word in words or ():
        name, _, url = word.partition("=")
        parts = server_url(url)
        if parts is None or not name.strip():
            hint = "for example --mcp docs=https://mcp.example.com/mcp"
            raise UsageError(f"--mcp takes NAME=URL, not {name[:60]!r}", hint=hint)
        if parts.username is not None or by_shape(url) != url:
            raise UsageError(
                f"--mcp {name[:60]}: a URL must not hold a password or a token", hint="put it into a vault"
            )
        if name in servers:
            raise UsageError(f"--mcp: {name[:60]!r} is there twice", hint="give each its own name")
        servers[name] = url
    return servers


def server_url(url: str) -> SplitResult | None:
    """Return the parts of a URL of a server; None if it is none."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no address
        return None
    if parts.scheme in ("http", "https") and parts.hostname and url.isprintable() and " " not in url:
        return parts
    return None


def with_skills(app: App, skills: Any, words: Sequence[str]) -> list[Entry]:
    """Return skills with those typed as NAME[@VERSION]. Raises UsageError, ApiError."""
    entries = _entries(skills)
    for word in words:
        name, version = with_version(word)
        id = id_of(app, NOUNS["skill"], name)
        same = [entry for entry in entries if entry.get("skill_id") == id]
        if same and not version:
            continue
        source = read(app.client, target_of(NOUNS["skill"], id)).get("source")
        kind = "qoder" if (text(source) or mapping(source).get("type")) == "qoder" else "custom"
        entry = {"type": kind, "skill_id": id, **filled({"version": version and str(version)})}
        if not same:
            entries.append(entry)
        entries = [entry if each in same else each for each in entries]
    return entries


def without_skills(app: App, skills: Any, words: Sequence[str]) -> list[Entry]:
    """Return skills without those typed. Raises UsageError, ApiError."""
    entries = _entries(skills)
    there = [entry.get("skill_id") for entry in entries]
    ids = [word if word in there else id_of(app, NOUNS["skill"], word, archived=True) for word in words]
    return [entry for entry in entries if entry.get("skill_id") not in ids]


def _entries(value: Any) -> list[Entry]:
    return [dict(each) for each in map(mapping, array(value)) if each]


def _is_toolset(entry: Entry) -> bool:
    return str(entry.get("type")).startswith("agent_toolset")


def _enabled(entry: Entry, names: Sequence[str]) -> Entry:
    """Return a toolset with these tools; permissions stay."""
    policy = mapping(entry.get("default_config")).get("permission_policy")
    is_all = names == ("all",)
    configs = [config for config in _entries(entry.get("configs")) if config.get("permission_policy")]
    configs = [config for config in configs if is_all or _is_in(config.get("name"), names)]
    kept = [{key: config.get(key) for key in ("name", "permission_policy")} for config in configs]
    changed: Entry = {"type": entry.get("type") or TOOLSET}
    if not is_all:
        changed["enabled_tools"] = list(names)
    return changed | filled({"configs": kept, "default_config": policy and {"permission_policy": policy}})


def _asking(entry: Entry, asks: Sequence[str]) -> Entry:
    configs, default = _entries(entry.get("configs")), dict(mapping(entry.get("default_config")))
    if gone := {"none": "always_ask", "all": "always_allow"}.get(asks[0]):  # all: also what never asked
        for policies in (*configs, default):
            if mapping(policies.get("permission_policy")).get("type") == gone:
                del policies["permission_policy"]
        if asks[0] == "all":
            default["permission_policy"] = _ASKS
    else:
        enabled = array(entry.get("enabled_tools"))
        if enabled and (missing := [name for name in asks if not _is_in(name, enabled)]):
            has = ", ".join(map(str, enabled))
            message = f"--ask: {missing[0]} is not among the agent's tools ({has})"
            raise UsageError(message, hint="add it with --tools")
        policy = {"permission_policy": _ASKS}
        configs = [config | (policy if _is_in(config.get("name"), asks) else {}) for config in configs]
        names = [config.get("name") for config in configs]
        configs += [{"name": name, **policy} for name in asks if not _is_in(name, names)]
    configs = [config for config in configs if set(config) != {"name"}]
    changed = {**entry, "configs": configs, "default_config": default}
    return {key: value for key, value in changed.items() if value or key not in ("configs", "default_config")}


def _is_in(name: Any, names: Iterable[Any]) -> bool:
    """Return whether a tool is among some; `web_fetch` is `WebFetch`."""
    name, *plain = (str(word).lower().replace("_", "") for word in (name, *names))
    return name in plain
