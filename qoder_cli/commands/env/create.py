"""`qoder env create`, and the options that an update has too."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from qoder_cli.app import App
from qoder_cli.cli.options import flag, several
from qoder_cli.commands import edited
from qoder_cli.commands.edited import Description, DryRun, File, Metadata
from qoder_cli.nouns.table import NOUNS

if TYPE_CHECKING:
    from qoder_cli.nouns.environments import Typed

Name = Annotated[str | None, typer.Option(metavar="NAME", help="Name.")]
Network = Annotated[
    Literal["open", "limited"] | None,
    typer.Option("--network", help="What it can reach: open is everything, limited what is allowed."),
]
AllowHost = Annotated[list[str] | None, several("--allow-host", "HOST", "Allow this host; implies limited.")]
AllowMcp = Annotated[bool, flag("--allow-mcp", "Allow MCP servers; implies limited.")]
AllowManagers = Annotated[bool, flag("--allow-package-managers", "Allow package registries; implies limited.")]
Pip = Annotated[list[str] | None, several("--pip", "PACKAGE", "Python package.")]
Apt = Annotated[list[str] | None, several("--apt", "PACKAGE", "Debian package.")]
Npm = Annotated[list[str] | None, several("--npm", "PACKAGE", "Node.js package.")]
Cargo = Annotated[list[str] | None, several("--cargo", "PACKAGE", "Rust package.")]
Gem = Annotated[list[str] | None, several("--gem", "PACKAGE", "Ruby package.")]
Go = Annotated[list[str] | None, several("--go", "PACKAGE", "Go package.")]
Setup = Annotated[
    str | None, typer.Option(metavar="TEXT|@FILE|-", help="Script run before each session, at most 64 KB.")
]
Scope = Annotated[
    Literal["organization", "account"] | None,
    typer.Option("--scope", help="Who can use it: organization or account."),
]
SelfHosted = Annotated[bool, flag("--self-hosted", "Its sessions run on workers of your own.")]


def create(
    ctx: typer.Context,
    name: Name = None,
    network: Network = None,
    allow_host: AllowHost = None,
    allow_mcp: AllowMcp = False,
    allow_package_managers: AllowManagers = False,
    pip: Pip = None,
    apt: Apt = None,
    npm: Npm = None,
    cargo: Cargo = None,
    gem: Gem = None,
    go: Go = None,
    setup: Setup = None,
    scope: Scope = None,
    self_hosted: SelfHosted = False,
    description: Description = None,
    metadata: Metadata = None,
    file: File = None,
    dry_run: DryRun = False,
) -> int:
    """Create an environment for sessions to run in.

    Requires --name. The network is open unless you say otherwise. A session
    does not start if the setup script fails or takes over 10 minutes. A file
    takes the fields of the API; ${VAR} in it is expanded from the environment.

    Exits 9 if the response was lost and no environment of ours is found: it
    is never created twice.

    Examples:
      qoder env create --name data --pip pandas --apt graphviz
      qoder env create --name closed --allow-host example.com --dry-run"""
    from qoder_cli.nouns.environments import changed, check_config

    app: App = ctx.obj
    body, typed = fields(app, "create", ctx.params)
    config = body.get("config") or {}
    body["config"] = changed(config, typed, is_new=True)
    check_config(body["config"])
    networking = body["config"].get("networking")
    if networking and network is None and not config.get("networking"):
        is_open = networking["type"] == "unrestricted"
        told = "open (--network limited restricts it)" if is_open else "limited to what is allowed"
        app.progress.note(f"network: {told}")
    return edited.create(app, NOUNS["env"], body, dry_run=dry_run)


def fields(app: App, verb: str, params: Mapping[str, Any]) -> tuple[dict[str, Any], "Typed"]:
    """Return what a file and plain options say, and others of the config. Raises UsageError."""
    from qoder_cli.nouns.body import body_of, metadata_change
    from qoder_cli.nouns.environments import MANAGERS, Typed, check_config

    typed = Typed(
        network=params["network"],
        hosts=params["allow_host"] or (),
        allow_mcp=params["allow_mcp"],
        allow_managers=params["allow_package_managers"],
        packages={manager: params[manager] for manager in MANAGERS if params[manager]},
        setup=edited.text_typed(app, "--setup", params["setup"], params["file"]),
        self_hosted=params["self_hosted"],
        without_hosts=params.get("remove_host") or (),
        without_packages=params.get("remove_package") or (),
    )
    typed.check()
    options = {name: params[name] for name in ("name", "description", "scope")}
    options["metadata"] = metadata_change(params["metadata"], params.get("remove_metadata"))
    body = body_of(app, NOUNS["env"], verb, options, file=params["file"])
    if "config" in body:
        check_config(body["config"])
    if typed.setup is not None:
        check_config({"setup_script": typed.setup})
    return body, typed
