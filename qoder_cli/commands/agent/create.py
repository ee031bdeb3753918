"""`qoder agent create`, and the options that an update has too."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.cli.options import ModelTyped, option, several
from qoder_cli.commands import edited
from qoder_cli.commands.edited import Description, DryRun, File, Metadata
from qoder_cli.help.completion import values
from qoder_cli.nouns.table import NOUNS

_TOOLS = option("--tools", "TOOLS", "all, none, or names, e.g. Bash,Read. A new agent has all.")
_ASK = option("--ask", "TOOLS", "Tools that need approval before each use: names, all or none.")
_SYSTEM = option("--system", "TEXT|@FILE|-", "Instructions; - reads stdin.")
_SKILLS = several("--skill", "SKILL[@VERSION]", "Skill id or name.", values.things("skill"))


class Said(NamedTuple):
    """What is said of an agent. These are the options of create and update, too."""

    name: Annotated[str | None, option("--name", "NAME", "Name.")] = None
    model: ModelTyped = None
    description: Description = None
    system: Annotated[str | None, _SYSTEM] = None
    tools: Annotated[str | None, _TOOLS] = None
    ask: Annotated[str | None, _ASK] = None
    mcp: Annotated[list[str] | None, several("--mcp", "NAME=URL", "MCP server, with all its tools.")] = None
    skills: Annotated[list[str] | None, _SKILLS] = None
    metadata: Metadata = None
    file: File = None


def create(app: App, said: Said, dry_run: DryRun = False) -> int:
    """Create an agent.

    Requires --name and --model, as options or in a file. Without --tools it
    has all tools, and uses them without asking unless --ask says otherwise.
    A file takes the fields of the API, such as `multiagent`; ${VAR} in it is
    expanded from the environment.

    Exits 9 if the response was lost and no agent of ours is found: it is
    never created twice.

    Examples:
      qoder agent create --name helper --model auto --tools Bash,Read --ask Bash
      qoder agent create --name reader --model auto --tools none --dry-run"""
    from qoder_cli.nouns.agents import TOOLSET, unusable, with_toolsets

    body = fields(app, "create", said._asdict())
    has_tools = "tools" in body
    if not has_tools:
        names = [str(each.get("name")) for each in body.get("mcp_servers", ())]
        body["tools"] = with_toolsets([{"type": TOOLSET}], names)
        if said.tools is None:
            app.progress.note("tools: all (--tools chooses them)")
    body |= changed(app, said._asdict(), body)
    if names := unusable(body.get("mcp_servers"), body["tools"]):
        app.progress.warn(f"tools has no mcp_toolset for {', '.join(names)}: the agent cannot use them")
    return edited.create(app, NOUNS["agent"], body, dry_run=dry_run)


def fields(app: App, verb: str, typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file and the plain options say; all that can be wrong by itself is told. Raises UsageError."""
    from qoder_cli.nouns import agents
    from qoder_cli.nouns.body import body_of, metadata_change

    agents.servers_typed(typed["mcp"])
    for name in ("tools", "ask"):
        if typed[name] is not None:
            agents.tool_names(f"--{name}", typed[name])
    options = {name: typed[name] for name in ("name", "model", "description")}
    options["system"] = edited.text_typed(app, "--system", typed["system"], typed["file"])
    options["metadata"] = metadata_change(typed["metadata"], typed.get("remove_metadata"))
    return body_of(app, NOUNS["agent"], verb, options, file=typed["file"])


def changed(app: App, typed: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays of an agent that options change, whole. Raises UsageError, ApiError."""
    from qoder_cli.nouns import agents

    found: dict[str, Any] = {}
    tools, servers = known.get("tools"), known.get("mcp_servers")
    names = agents.tool_names("--tools", typed["tools"]) if typed["tools"] is not None else ()
    asks = agents.tool_names("--ask", typed["ask"]) if typed["ask"] is not None else ()
    if names or asks:
        found["tools"] = tools = agents.with_tools(tools, names, asks)
    if removed := typed.get("remove_mcp"):
        servers, tools = agents.without_servers(servers, tools, removed)
    if added := agents.servers_typed(typed["mcp"]):
        servers, tools = agents.with_servers(servers, tools, added)
    if removed or added:
        found |= {"mcp_servers": servers, "tools": tools}
    skills = known.get("skills")
    if without := typed.get("remove_skill"):
        found["skills"] = skills = agents.without_skills(app, skills, without)
    if more := typed["skills"]:
        found["skills"] = agents.with_skills(app, skills, more)
    return found
