"""`qoder env create`, and the options that an update has too."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from qoder_cli.app import App
from qoder_cli.cli.options import flag, option, several
from qoder_cli.commands import edited
from qoder_cli.commands.edited import Description, DryRun, File, Metadata
from qoder_cli.nouns.table import NOUNS

if TYPE_CHECKING:
    from qoder_cli.nouns.environments import Typed

_SETUP = option("--setup", "TEXT|@FILE|-", "Script run before each session, at most 64 KB.")
_NETWORK = typer.Option("--network", help="What it can reach: open is everything, limited what is allowed.")
_SCOPE = typer.Option("--scope", help="Who can use it: organization or account.")
_MCP = flag("--allow-mcp", "Allow MCP servers; implies limited.")
_MANAGERS = flag("--allow-package-managers", "Allow package registries; implies limited.")
_OWN = flag("--self-hosted", "Its sessions run on workers of your own.")
_Several = list[str] | None


class Said(NamedTuple):
    """What is said of an environment. These are the options of create and update, too."""

    name: Annotated[str | None, option("--name", "NAME", "Name.")] = None
    network: Annotated[Literal["open", "limited"] | None, _NETWORK] = None
    allow_host: Annotated[_Several, several("--allow-host", "HOST", "Allow this host; implies limited.")] = None
    allow_mcp: Annotated[bool, _MCP] = False
    allow_package_managers: Annotated[bool, _MANAGERS] = False
    pip: Annotated[_Several, several("--pip", "PACKAGE", "Python package.")] = None
    apt: Annotated[_Several, several("--apt", "PACKAGE", "Debian package.")] = None
    npm: Annotated[_Several, several("--npm", "PACKAGE", "Node.js package.")] = None
    cargo: Annotated[_Several, several("--cargo", "PACKAGE", "Rust package.")] = None
    gem: Annotated[_Several, several("--gem", "PACKAGE", "Ruby package.")] = None
    go: Annotated[_Several, several("--go", "PACKAGE", "Go package.")] = None
    setup: Annotated[str | None, _SETUP] = None
    scope: Annotated[Literal["organization", "account"] | None, _SCOPE] = None
    self_hosted: Annotated[bool, _OWN] = False
    description: Description = None
    metadata: Metadata = None
    file: File = None


def create(app: App, said: Said, dry_run: DryRun = False) -> int:
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

    body, typed = fields(app, "create", said._asdict())
    config = body.get("config") or {}
    body["config"] = changed(config, typed, is_new=True)
    check_config(body["config"])
    networking = body["config"].get("networking")
    if networking and said.network is None and not config.get("networking"):
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
