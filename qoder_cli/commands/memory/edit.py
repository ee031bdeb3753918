"""`qoder memory create` and `update`: the stores themselves."""

from typing import Annotated, Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.commands import edited
from qoder_cli.commands.memory.read import STORE, Store

Name = Annotated[str | None, typer.Option(metavar="NAME", help="Name.")]


def create(
    ctx: typer.Context,
    name: Name = None,
    description: edited.Description = None,
    metadata: edited.Metadata = None,
    file: edited.File = None,
    dry_run: edited.DryRun = False,
) -> int:
    """Create a memory store.

    Requires --name, as an option or in a file. Agents are told the
    description: it says what the store is for. Exits 9 if the response was
    lost and it is not found.

    Examples:
      qoder memory create --name team --description 'What the team agreed on'"""
    return edited.create(ctx.obj, STORE, _body(ctx, "create"), dry_run=dry_run)


def update(
    ctx: typer.Context,
    store: Store,
    name: Name = None,
    description: edited.Description = None,
    metadata: edited.Metadata = None,
    remove_metadata: edited.RemoveMetadata = None,
    file: edited.File = None,
    dry_run: edited.DryRun = False,
) -> int:
    """Update a memory store. Only what you pass is changed.

    Exits 0 even if there was nothing to change, 6 if it is archived.

    Examples:
      qoder memory update project --description 'What the project decided'"""
    body = _body(ctx, "update")
    if not body:
        raise UsageError("nothing to update", hint="pass at least one option; see qoder memory update --help")
    current = edited.read_current(ctx.obj, STORE, store)
    return edited.update(ctx, STORE, current, edited.merged(current, body), dry_run=dry_run)


def _body(ctx: typer.Context, verb: str) -> dict[str, Any]:
    """Return what a file and options say. Raises UsageError."""
    from qoder_cli.nouns.body import body_of, metadata_change

    app: App = ctx.obj
    typed = ctx.params
    options = {name: typed[name] for name in ("name", "description")}
    options["metadata"] = metadata_change(typed["metadata"], typed.get("remove_metadata"))
    return body_of(app, STORE, verb, options, file=typed["file"])
