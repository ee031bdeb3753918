"""`qoder env`: the environments that sessions run in, created and updated by options (api.md#environments and #limits).

The API replaces its config whole, refuses an empty one, and takes one without `networking` as
limited: so `networking` is always sent.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.model import array, filled, mapping
from qoder_cli.cli.options import HiddenCommand, Text, Texts, flag, option, several
from qoder_cli.commands import editing, generic
from qoder_cli.commands.env import work
from qoder_cli.nouns.bodies import refuse
from qoder_cli.nouns.checking import check_body, tree_of
from qoder_cli.nouns.schema import Reader
from qoder_cli.nouns.table import NOUNS, of_file

_ENV = NOUNS["env"]
_NETWORK = option("--network", None, "open (everything) or limited (allowed hosts).")
_SETUP = option("--setup", "TEXT|@FILE|-", "Script to run before each session.")

MANAGERS = ("pip", "apt", "npm")  # which options name; a file has more
_OF_CLOUD = ("networking", "packages", "setup_script")
# The options of what they set in a config.
_PLACES = {"config.networking.allowed_hosts": "--allow-host", "config.setup_script": "--setup"}
_PLACES |= {f"config.packages.{manager}": f"--{manager}" for manager in MANAGERS}
_OPTIONS = ("network", "allow_host", *MANAGERS, "setup")  # of what runs in the cloud

Config = dict[str, Any]
Typed = Mapping[str, Any]  # by the parameters of the commands; `setup` is the script itself


class EnvironmentFields(NamedTuple):
    """An environment's fields as typed. These are the options, too."""

    name: Text = editing.NAME
    network: Literal["open", "limited"] | None = _NETWORK
    allow_host: Texts = several("--allow-host", "HOST", "Allow this host; implies limited.")
    pip: Texts = several("--pip", "PACKAGE", "Python package.")
    apt: Texts = several("--apt", "PACKAGE", "Debian package.")
    npm: Texts = several("--npm", "PACKAGE", "Node.js package.")
    setup: Text = _SETUP
    self_hosted: bool = flag("--self-hosted", "Run sessions on your own workers.")
    description: Text = editing.DESCRIPTION
    metadata: Texts = editing.METADATA


def create(app: App, options_given: EnvironmentFields, making: editing.Making, file: Text = editing.FILE) -> None:
    """Create an environment for sessions to run in.

    Requires --name. The network is open unless you say otherwise. A session
    does not start if the setup script fails or takes over 10 minutes. ${VAR}
    in a file is expanded from the environment. Exits 6 if the name is taken
    (see --if-missing), 9 if the response was lost and it is not found.

    Examples:
      qoder env create --name data --pip pandas --apt graphviz"""
    making.check()
    body, options = _read(app, "create", {**options_given._asdict(), "file": file})
    given = body.get("config") or {}
    config = body["config"] = changed(given, options, is_new=True)
    networking = config.get("networking")
    if networking and options_given.network is None and not given.get("networking"):
        reach = {"unrestricted": "open (--network limited restricts it)", "limited": "limited to what is allowed"}
        app.progress.note(f"network: {reach[networking['type']]}")
    editing.create(app, _ENV, body, making)


def update(
    ctx: typer.Context,
    env: str = generic.one_argument(_ENV),
    *,
    options_given: EnvironmentFields,
    file: Text = editing.FILE,
    dry_run: bool = editing.DRY_RUN,
    remove_metadata: Texts = editing.REMOVE_METADATA,
) -> None:
    """Update an environment. Only what you pass is changed.

    Hosts, packages and metadata are added to those that are there; `config` in
    a file replaces the old one, except that a network it does not name stays.
    Exits 0 if nothing had to change, 6 if it is archived.

    Examples:
      qoder env update default --pip pandas --dry-run"""
    from qoder_cli.stack.turns import machine_turn

    body, options = _read(ctx.obj, "update", ctx.params)
    is_changed = "config" in body or bool(options_typed(options)) or options_given.self_hosted
    with nullcontext() if dry_run else machine_turn(ctx.obj):  # the config is replaced whole, and no version guards it
        current = editing.read_current(ctx.obj, _ENV, env, has_change=bool(body) or is_changed)
        if is_changed:
            editing.refuse_unseen(filled(current), {"config"} - body.keys())
            current_config = mapping(current.get("config"))
            config = body.get("config", current_config)
            if "config" in body and config.get("type") != "self_hosted":
                config = {"networking": current_config.get("networking"), **config}
            body["config"] = changed(config, options, is_new=False)
        editing.update(ctx, _ENV, current, body, dry_run=dry_run)


def _read(app: App, verb: str, options_given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    setup = editing.text_typed(app, "--setup", options_given["setup"], options_given["file"])
    options = {**options_given, "setup": setup}
    check_typed(options)
    return editing.body_of(app, _ENV, verb, options_given, "name", "description"), options


def options_typed(options_given: Typed) -> list[str]:
    """Return the options of a cloud environment that were typed."""
    return [f"--{name.replace('_', '-')}" for name in _OPTIONS if options_given[name] not in (None, False, [], ())]


def check_typed(options_given: Typed) -> None:
    """Raise UsageError for what is wrong in any environment."""
    options = options_typed(options_given)
    if options_given["self_hosted"] and options:
        raise UsageError(
            f"--self-hosted and {options[0]} cannot be used together",
            hint="set up network, packages and scripts where its workers run",
        )
    if options_given["network"] == "open" and options_given["allow_host"]:
        message = "--network open and --allow-host cannot be used together"
        raise UsageError(message, hint="use --network limited")
    fields = {"name": "any", "config": changed({}, options_given, is_new=True)}
    refuse(check_body(of_file(_ENV), fields, tree_of(fields), Reader("file")), _PLACES)


def changed(current: Any, options_given: Typed, *, is_new: bool) -> Config:
    """Return the whole config, changed as typed. Raises UsageError."""
    config = dict(mapping(current))
    kind = "self_hosted" if options_given["self_hosted"] else config.get("type") or "cloud"
    if kind == "self_hosted":
        if options := options_typed(options_given):
            raise UsageError(f"a self-hosted environment does not take {options[0]}")
        return {key: value for key, value in config.items() if key not in _OF_CLOUD} | {"type": kind}
    networking: Config = {"type": "unrestricted"}
    if options_given["network"] != "open":
        default: Config = {"type": "unrestricted"} if is_new else {"type": "limited"}  # absent means limited
        networking = dict(mapping(config.get("networking"))) or default
        allowed = options_given["allow_host"]  # which makes it limited
        if (options_given["network"] or allowed) and networking.get("type") != "limited":
            networking = {"type": "limited"}
        hosts = _with_more(networking.get("allowed_hosts"), allowed)
        if hosts or networking.get("allowed_hosts"):
            networking["allowed_hosts"] = hosts
    packages = dict(mapping(config.get("packages")))
    for manager in MANAGERS:
        packages[manager] = _with_more(packages.get(manager), options_given[manager])
    packages = {manager: names for manager, names in packages.items() if names}
    config = {"type": kind, **config, "networking": networking, "packages": packages}
    if options_given["setup"] is not None:
        config["setup_script"] = options_given["setup"]
    return {key: value for key, value in config.items() if value or key not in _OF_CLOUD}


def _with_more(names: Any, more: list[str] | None) -> list[Any]:
    known = list(array(names))
    return known + [name for name in dict.fromkeys(more or ()) if name not in known]


# What only workers do is for programs.
_FOR_WORKERS = {verb: HiddenCommand(getattr(work, verb)) for verb in ("poll", "ack", "heartbeat", "update")}
COMMANDS = {
    **generic.commands("env", create=create, update=update),
    "work": (
        "The queue of work for a self-hosted environment's workers",
        generic.commands("env work", stats=work.stats, stop=work.stop, **_FOR_WORKERS),
    ),
}
