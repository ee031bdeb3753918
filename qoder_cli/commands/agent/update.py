"""`qoder agent update`."""

from typing import Annotated

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import Rejected, UsageError
from qoder_cli.cli.options import several
from qoder_cli.commands import edited
from qoder_cli.commands.agent.create import Said, changed, fields
from qoder_cli.commands.edited import DryRun, RemoveMetadata
from qoder_cli.commands.made import one_argument
from qoder_cli.nouns.table import NOUNS

Agent = one_argument(NOUNS["agent"])
_REMOVE_MCP = several("--remove-mcp", "NAME", "Remove an MCP server and its tools.")
_ARRAYS = ("tools", "ask", "mcp", "remove_mcp", "skills", "remove_skill")  # parameters that change one


def update(
    ctx: typer.Context,
    agent: Agent,  # type: ignore[valid-type]  # made from the table
    said: Said,
    remove_mcp: Annotated[list[str] | None, _REMOVE_MCP] = None,
    remove_skill: Annotated[list[str] | None, several("--remove-skill", "SKILL", "Remove a skill.")] = None,
    remove_metadata: RemoveMetadata = None,
    dry_run: DryRun = False,
) -> int:
    """Update an agent. Only what you pass is changed.

    --mcp, --skill, --ask and --metadata keep what is there; --tools replaces
    the built-in tools alone. Fields in a file replace those of the agent.
    Shows the changes, and never overwrites someone else's: if the agent was
    changed in the meantime, it exits 6 and shows how.

    Exits 0 even if there was nothing to change, 6 if it is archived.

    Examples:
      qoder agent update writer --tools Bash,Read --ask Bash --dry-run
      qoder agent update writer --description 'Writes notes' --metadata team=core"""
    from qoder_cli.nouns.write import covers

    app: App = ctx.obj
    body = fields(app, "update", ctx.params)
    if not body and not any(ctx.params[each] for each in _ARRAYS):
        raise UsageError("nothing to update", hint="pass at least one option; see qoder agent update --help")
    current = edited.read_current(app, NOUNS["agent"], str(agent))
    meant, there = body.pop("version", None), current.get("version")
    if meant not in (None, there):
        raise Rejected(
            f"the file has version {meant} of {current['id']}, which is at version {there}; nothing was changed",
            hint="compare, then remove the version from the file",
            next=app.looking("agent", "get", str(current["id"])),
        )
    if isinstance(body.get("model"), str) and covers(current.get("model"), body["model"]):
        del body["model"]  # its effort and the like stay
    wanted = edited.merged(current, body) | changed(app, ctx.params, {**current, **body})
    return edited.update(ctx, NOUNS["agent"], current, wanted, dry_run=dry_run)
