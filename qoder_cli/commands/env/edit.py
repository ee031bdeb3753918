"""`qoder env create` and `update`."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import typer

from qoder_cli.app import App
from qoder_cli.base.model import mapping
from qoder_cli.cli.options import Text, Texts, flag, option, several
from qoder_cli.commands import editing
from qoder_cli.commands.generic import one_argument
from qoder_cli.nouns.environments import changed, check_config, check_typed, options_typed
from qoder_cli.nouns.table import NOUNS

_ENV = NOUNS["env"]
_NETWORK = option("--network", None, "What it can reach: open is everything, limited what is allowed.")
_SETUP = option("--setup", "TEXT|@FILE|-", "Script run before each session, at most 64 KB.")


class EnvironmentFields(NamedTuple):
    """An environment's fields as typed. These are the options, too."""

    name: Text = editing.NAME
    network: Literal["open", "limited"] | None = _NETWORK
    allow_host: Texts = several("--allow-host", "HOST", "Allow this host; implies limited.")
    pip: Texts = several("--pip", "PACKAGE", "Python package.")
    apt: Texts = several("--apt", "PACKAGE", "Debian package.")
    npm: Texts = several("--npm", "PACKAGE", "Node.js package.")
    setup: Text = _SETUP
    self_hosted: bool = flag("--self-hosted", "Its sessions run on workers of your own.")
    description: Text = editing.DESCRIPTION
    metadata: Texts = editing.METADATA


def create(app: App, typed: EnvironmentFields, making: editing.Making, file: Text = editing.FILE) -> None:
    """Create an environment for sessions to run in.

    Requires --name. The network is open unless you say otherwise. A session
    does not start if the setup script fails or takes over 10 minutes. ${VAR}
    in a file is expanded from the environment. Exits 6 if the name is taken,
    unless --if-missing or --allow-duplicate says what then; 9 if the response
    was lost and no environment of ours is found: it is never created twice.

    Examples:
      qoder env create --name data --pip pandas --apt graphviz
      qoder env create --name closed --allow-host example.com --dry-run"""
    making.check()
    body, options = _read(app, "create", {**typed._asdict(), "file": file})
    given = body.get("config") or {}
    config = body["config"] = changed(given, options, is_new=True)
    networking = config.get("networking")
    if networking and typed.network is None and not given.get("networking"):
        is_open = networking["type"] == "unrestricted"
        reach = "open (--network limited restricts it)" if is_open else "limited to what is allowed"
        app.progress.note(f"network: {reach}")
    editing.create(app, _ENV, body, making)


def update(
    ctx: typer.Context,
    env: str = one_argument(_ENV),
    *,
    typed: EnvironmentFields,
    file: Text = editing.FILE,
    dry_run: bool = editing.DRY_RUN,
    remove_metadata: Texts = editing.REMOVE_METADATA,
) -> None:
    """Update an environment. Only what you pass is changed.

    Hosts, packages and metadata are added to those that are there; `config` in
    a file replaces the old one, except that a network it does not name stays.
    Exits 0 even if there was nothing to change, 6 if it is archived.

    Examples:
      qoder env update default --pip pandas --dry-run
      qoder env update default --description 'For reports' --metadata team=core"""
    body, options = _read(ctx.obj, "update", ctx.params)
    is_changed = "config" in body or bool(options_typed(options)) or typed.self_hosted
    current = editing.read_current(ctx.obj, _ENV, env, has_change=bool(body) or is_changed)
    if is_changed:
        current_config = mapping(current.get("config"))
        config = body.get("config", current_config)
        if "config" in body and config.get("type") != "self_hosted":
            config = {"networking": current_config.get("networking"), **config}
        body["config"] = changed(config, options, is_new=False)
    editing.update(ctx, _ENV, current, body, dry_run=dry_run)


def _read(app: App, verb: str, typed: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the body so far, and what was typed. Raises UsageError."""
    options = {**typed, "setup": editing.text_typed(app, "--setup", typed["setup"], typed["file"])}
    check_typed(options)
    body = editing.body_of(app, _ENV, verb, typed, "name", "description")
    if "config" in body:
        check_config(body["config"])
    return body, options
