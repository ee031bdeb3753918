"""`qoder env update`."""

from typing import Annotated

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.cli.options import several
from qoder_cli.commands import edited
from qoder_cli.commands.edited import DryRun, RemoveMetadata
from qoder_cli.commands.env.create import Said, fields
from qoder_cli.commands.made import one_argument
from qoder_cli.nouns.table import NOUNS

Env = one_argument(NOUNS["env"])


def update(
    ctx: typer.Context,
    env: Env,  # type: ignore[valid-type]  # made from the table
    said: Said,
    remove_host: Annotated[list[str] | None, several("--remove-host", "HOST", "Do not allow this host.")] = None,
    remove_package: Annotated[list[str] | None, several("--remove-package", "PACKAGE", "Remove a package.")] = None,
    remove_metadata: RemoveMetadata = None,
    dry_run: DryRun = False,
) -> int:
    """Update an environment. Only what you pass is changed.

    Hosts, packages and metadata are added to those that are there. The API
    replaces `config` as a whole: it is read, changed, and verified afterwards;
    `config` in a file replaces the old one, except that a network it does not
    name stays.

    Exits 0 even if there was nothing to change, 6 if it is archived.

    Examples:
      qoder env update default --pip pandas --dry-run
      qoder env update default --description 'For reports' --metadata team=core"""
    from qoder_cli.base.model import mapping
    from qoder_cli.nouns.environments import changed, check_config

    app: App = ctx.obj
    body, typed = fields(app, "update", ctx.params)
    if not body and not typed:
        raise UsageError("nothing to update", hint="pass at least one option; see qoder env update --help")
    current = edited.read_current(app, NOUNS["env"], str(env))
    if "config" in body or typed:
        known = mapping(current.get("config"))
        config = body.get("config", known)
        if "config" in body and config.get("type") != "self_hosted":
            config = {"networking": known.get("networking"), **config}
        body["config"] = changed(config, typed, is_new=False)
        check_config(body["config"])
    wanted = edited.merged(current, body)
    return edited.update(ctx, NOUNS["env"], current, wanted, dry_run=dry_run)
