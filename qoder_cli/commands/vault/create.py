"""`qoder vault create`."""

from typing import Annotated

import typer

from qoder_cli.app import App
from qoder_cli.commands import edited
from qoder_cli.nouns.table import NOUNS


def create(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name.")] = None,
    metadata: edited.Metadata = None,
    file: edited.File = None,
    dry_run: edited.DryRun = False,
) -> int:
    """Create a vault, for the secrets of agents.

    Requires --name, as an option or in a file. Put secrets into it with
    qoder vault put. Exits 9 if the response was lost and it is not found.

    Examples:
      qoder vault create --name staging-secrets"""
    from qoder_cli.nouns.body import body_of, metadata_change

    app: App = ctx.obj
    noun = NOUNS["vault"]
    options = {"display_name": name, "metadata": metadata_change(metadata, None)}
    body = body_of(app, noun, "create", options, file=file, called={"display_name": "--name"})
    return edited.create(app, noun, body, dry_run=dry_run)
