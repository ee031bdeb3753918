"""`qoder agent`: agents, created and updated by their options."""

import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, Rejected, UsageError
from qoder_cli.base.ids import called
from qoder_cli.base.model import Deployment, Raw, mapping, next_cursor
from qoder_cli.base.words import few
from qoder_cli.cli.options import MODEL, Text, Texts, option, several
from qoder_cli.commands import editing, generic
from qoder_cli.help.completion import values
from qoder_cli.nouns import agent as agents
from qoder_cli.nouns.agent import TOOLSET, unusable, with_toolsets
from qoder_cli.nouns.table import NOUNS
from qoder_cli.output.listing import LARGEST_PAGE

_AGENT = NOUNS["agent"]
_SKILLS = several("--skill", "SKILL[@VERSION]", "Skill id or name.", values.things("skill"))
_REMOVE_SKILLS = several("--remove-skill", "SKILL", "Remove a skill (id or name).", values.things("skill"))
_NAMED = 5  # deployments of which a note tells
_PINS_WITHIN = 10.0  # seconds for the list of them
_TOOLS = "all, none, or names, e.g. Bash,Read."
_ASK = "Tools that need approval: names, all or none."


class AgentFields(NamedTuple):
    """An agent's fields as typed. These are the options, too."""

    name: Text = editing.NAME
    model: Text = MODEL
    description: Text = editing.DESCRIPTION
    system: Text = option("--system", "TEXT|@FILE|-", "Instructions; - reads stdin.")
    tools: Text = option("--tools", "TOOLS", _TOOLS)
    ask: Text = option("--ask", "TOOLS", _ASK)
    mcp: Texts = several("--mcp", "NAME=URL", "MCP server, with all its tools.")
    skills: Texts = _SKILLS
    metadata: Texts = editing.METADATA
    file: Text = editing.FILE


def create(app: App, options: AgentFields, making: editing.Making) -> None:
    """Create an agent.

    Requires --name and --model, as options or in a file. Without --tools it
    has all tools, and uses them without asking unless --ask says otherwise.
    ${VAR} in a file is expanded from the environment. Exits 6 if the name is
    taken (see --if-missing), 9 if the response was lost and it is not found.

    Examples:
      qoder agent create --name helper --model auto --tools Bash,Read --ask Bash"""
    making.check()
    body = _body(app, "create", options._asdict())
    if "tools" not in body:
        servers = map(mapping, body.get("mcp_servers", ()))
        body["tools"] = with_toolsets([{"type": TOOLSET}], [str(server.get("name")) for server in servers])
        if options.tools is None:
            app.progress.note("tools: all (--tools chooses them)")
    body |= _arrays(app, options._asdict(), body)
    if names := unusable(body.get("mcp_servers"), body["tools"]):
        app.progress.warn(f"tools has no mcp_toolset for {', '.join(names)}: the agent cannot use them")
    editing.create(app, _AGENT, body, making)


def update(
    ctx: typer.Context,
    agent: str = generic.one_argument(_AGENT),
    *,
    options: AgentFields,
    dry_run: bool = editing.DRY_RUN,
    remove_metadata: Texts = editing.REMOVE_METADATA,
    remove_mcp: Texts = several("--remove-mcp", "NAME", "Remove an MCP server and its tools."),
    remove_skills: Texts = _REMOVE_SKILLS,
) -> None:
    """Update an agent. Only what you pass is changed.

    --mcp, --skill, --ask and --metadata keep the existing ones; --tools
    replaces only the built-in tools; fields in a file replace those of the
    agent. Exits 0 if nothing had to change, 6 if it is archived or someone
    else has changed it (shown).

    Deployments stay at the version that they pin; it names these, and the
    command that moves them.

    Examples:
      qoder agent update writer --tools Bash,Read --ask Bash --dry-run"""
    app: App = ctx.obj
    body = _body(app, "update", ctx.params)
    if both := set(agents.servers_typed(options.mcp)) & set(remove_mcp or ()):
        raise UsageError(f"--mcp and --remove-mcp both name {min(both)[:60]!r}", hint="give only one of them")
    has_change = any((body, options.tools, options.ask, options.mcp, options.skills, remove_mcp, remove_skills))
    current = editing.read_current(app, _AGENT, agent, has_change=has_change)
    meant, there = body.pop("version", None), current.get("version")
    if meant not in (None, there):
        raise Rejected(
            f"the file has version {meant} of {current['id']}, which is at version {there}; nothing was changed",
            hint="compare, then remove the version from the file",
            next=app.looking("agent", "get", str(current["id"])),
        )
    if "model" in body and mapping(current.get("model")).get("id") == body["model"]:
        del body["model"]  # its effort and the like stay
    arrays = _arrays(app, ctx.params, {**current, **body})
    editing.refuse_unseen(current, arrays.keys() - body.keys())
    wanted = body | arrays
    changed = editing.update(ctx, _AGENT, current, wanted, dry_run=dry_run)
    if changed.get("version") != current.get("version"):
        _note_pins(app, changed)


def _note_pins(app: App, agent: Raw) -> None:
    """Say which deployments stay at another version of an agent. Reads one page of them."""
    if app.progress.is_quiet or not agent:
        return
    id, version = str(agent["id"]), agent.get("version")
    try:
        page = next(
            app.client.pages("/deployments", {"agent_id": id, "limit": LARGEST_PAGE}, within=_PINS_WITHIN, retry=False)
        )
    except ApiError as error:
        app.progress.note(f"could not tell which deployments stay at an older version: {error.message}")
        return
    pinned = []
    for deployment in filter(None, map(Deployment.read, page["data"])):
        pin = mapping(deployment.raw.get("agent"))
        if not deployment.archived_at and pin.get("id") == id and pin.get("version") != version:
            pinned.append(deployment)
    if pinned:
        names = few([called(deployment.name or deployment.id, deployment.id) for deployment in pinned], _NAMED)
        app.progress.note(f"not at version {version} yet, because they pin another: {names}")
        moves = [app.command("deploy", "update", deployment.id, "--agent", id) for deployment in pinned[:_NAMED]]
        app.progress.note(f"to move them: {'; '.join(map(shlex.join, moves))}")
    if next_cursor(page):
        app.progress.note(f"only {len(page['data'])} of its deployments were looked at; qoder deploy list --agent {id}")


def _body(app: App, verb: str, options: Mapping[str, Any]) -> Raw:
    for name in ("tools", "ask"):
        agents.tool_names(f"--{name}", options[name])
    system = editing.text_typed(app, "--system", options["system"], options["file"])
    return editing.body_of(app, _AGENT, verb, options, "name", "model", "description", system=system)


def _arrays(app: App, options: Mapping[str, Any], current: Mapping[str, Any]) -> Raw:
    arrays: Raw = {}
    tools = current.get("tools")
    enabled, asks = (agents.tool_names(f"--{name}", options[name]) for name in ("tools", "ask"))
    if enabled or asks:
        arrays["tools"] = tools = agents.with_tools(tools, enabled, asks)
    if added := agents.servers_typed(options["mcp"]):
        arrays["mcp_servers"], arrays["tools"] = agents.with_servers(current.get("mcp_servers"), tools, added)
    if options["skills"]:
        arrays["skills"] = agents.with_skills(app, current.get("skills"), options["skills"])
    if names := options.get("remove_mcp"):
        servers, tools = arrays.get("mcp_servers", current.get("mcp_servers")), arrays.get("tools", tools)
        arrays["mcp_servers"], arrays["tools"] = agents.without_servers(servers, tools, names)
    if names := options.get("remove_skills"):
        arrays["skills"] = agents.without_skills(app, arrays.get("skills", current.get("skills")), names)
    return arrays


COMMANDS = generic.commands("agent", create=create, update=update)
