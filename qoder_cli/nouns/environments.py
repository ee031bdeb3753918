"""The config of an environment, as options say it (api/facts.md, 4 and 7.3).

The API replaces it whole, refuses an empty one, and takes one without `networking` to be limited:
so it is always said.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qoder_cli.base.errors import UsageError
from qoder_cli.base.model import array, mapping

MANAGERS = ("pip", "apt", "npm", "cargo", "gem", "go")
LONGEST_SETUP = 64 * 1024  # bytes
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")
_OF_CLOUD = ("networking", "packages", "setup_script")

Config = dict[str, Any]


class Typed(NamedTuple):
    """What options say of the config; empty or None where nothing was typed."""

    network: str | None
    hosts: Sequence[str]
    allow_mcp: bool
    allow_managers: bool
    packages: Mapping[str, Sequence[str]]
    setup: str | None
    self_hosted: bool
    without_hosts: Sequence[str] = ()
    without_packages: Sequence[str] = ()

    @property
    def options(self) -> list[str]:
        """The options of a cloud environment that were typed."""
        typed = {
            "--network": self.network,
            "--allow-host": self.hosts,
            "--allow-mcp": self.allow_mcp,
            "--allow-package-managers": self.allow_managers,
            **{f"--{manager}": names for manager, names in self.packages.items()},
            "--setup": self.setup is not None,
            "--remove-host": self.without_hosts,
            "--remove-package": self.without_packages,
        }
        return [option for option, value in typed.items() if value]

    def __bool__(self) -> bool:
        return bool(self.options or self.self_hosted)

    def check(self) -> None:
        """Raise UsageError for what is wrong whatever the environment is."""
        if self.self_hosted and self.options:
            raise UsageError(
                f"--self-hosted and {self.options[0]} cannot be used together",
                hint="set up network, packages and scripts where its workers run",
            )
        limiting = [each for each in self.options if each.startswith("--allow-")]
        if self.network == "open" and limiting:
            said = f"--network open and {limiting[0]} cannot be used together"
            raise UsageError(said, hint="use --network limited")
        for host in self.hosts:
            if not _HOST.fullmatch(host):
                hint = "for example a.example.com"
                raise UsageError(f"--allow-host: {host[:60]!r} is not a host name", hint=hint)
        for manager, names in self.packages.items():
            for name in names:
                if not name or name.startswith("-") or re.search(r"\s", name):
                    hint = "name one package each time"
                    raise UsageError(f"--{manager}: {name[:60]!r} is not a package", hint=hint)


def changed(known: Any, typed: Typed, *, is_new: bool) -> Config:
    """Return the whole config with what was typed; the rest stays. Raises UsageError."""
    config = dict(mapping(known))
    kind = "self_hosted" if typed.self_hosted else config.get("type") or "cloud"
    if kind == "self_hosted":
        if typed.options:
            raise UsageError(f"a self-hosted environment does not take {typed.options[0]}")
        return {key: value for key, value in config.items() if key not in _OF_CLOUD} | {"type": kind}
    networking = _networking(config.get("networking"), typed, is_new=is_new)
    config = {"type": kind, **config, "networking": networking}
    if packages := _packages(mapping(config.get("packages")), typed):
        config["packages"] = packages
    else:
        config.pop("packages", None)
    if typed.setup is not None:
        config["setup_script"] = typed.setup
    if not config.get("setup_script"):
        config.pop("setup_script", None)
    return config


def check_config(config: Any) -> None:
    """Raise UsageError for a config that the API refuses, or reads otherwise than it looks."""
    if not isinstance(config, dict) or not config:
        raise UsageError("config is empty, and the API refuses that", hint="give it a type")
    extra = [key for key in _OF_CLOUD if config.get(key)]
    if extra and config.get("type") == "self_hosted":
        said = f"a self-hosted environment does not take config.{extra[0]}"
        raise UsageError(said, hint="remove it")
    if len(str(config.get("setup_script") or "").encode(errors="replace")) > LONGEST_SETUP:
        hint = "move what is long into a file that it fetches"
        raise UsageError("the setup script is larger than 64 KB", hint=hint)


def _networking(known: Any, typed: Typed, *, is_new: bool) -> Config:
    """Return the network; what it is to allow makes it a limited one."""
    default = {"type": "unrestricted"} if is_new else {"type": "limited"}  # absent means limited
    networking = dict(mapping(known)) or default
    allows = any(option.startswith("--allow-") for option in typed.options)
    if typed.network == "open":
        return {"type": "unrestricted"}
    if (allows or typed.network == "limited") and networking.get("type") != "limited":
        networking = {"type": "limited"}
    hosts = list(array(networking.get("allowed_hosts")))
    for host in typed.without_hosts:
        if host not in hosts:
            hint = f"choose from: {_few(hosts)}"
            raise UsageError(f"--remove-host: {host[:60]!r} is not allowed", hint=hint)
        hosts.remove(host)
    hosts += [host for host in dict.fromkeys(typed.hosts) if host not in hosts]
    networking |= {"allowed_hosts": hosts} if hosts or networking.get("allowed_hosts") else {}
    networking |= {"allow_mcp_servers": True} if typed.allow_mcp else {}
    return networking | ({"allow_package_managers": True} if typed.allow_managers else {})


def _packages(known: Mapping[str, Any], typed: Typed) -> Config:
    """Return all packages by their managers, more and fewer."""
    packages = copy.deepcopy(dict(known))
    listed = [names for names in packages.values() if isinstance(names, list)]
    for name in typed.without_packages:
        holders = [names for names in listed if name in names]
        if not holders:
            hint = f"choose from: {_few([each for names in listed for each in names])}"
            raise UsageError(f"--remove-package: {name[:60]!r} is not there", hint=hint)
        for names in holders:
            names.remove(name)
    for manager, added in typed.packages.items():
        names = packages[manager] = array(packages.get(manager))
        names += [name for name in dict.fromkeys(added) if name not in names]
    return {manager: names for manager, names in packages.items() if names}


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:20])) or "none"
