"""Which token, server and workspace are used, and what they override (contract, section 5)."""

import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qoder_cli.base.errors import Exit, UsageError
from qoder_cli.doctor import Finding, broken, failed, warning
from qoder_cli.settings.config import (
    PROFILE_VARIABLE,
    SERVER_VARIABLES,
    TOKEN_VARIABLES,
    WORKSPACE_VARIABLE,
    Settings,
    resolve,
)
from qoder_cli.settings.configfile import ANYONE_ELSE, ConfigFile, load, locate
from qoder_cli.settings.values import is_on, mask

if TYPE_CHECKING:
    from qoder_cli.settings.values import Flags


def config_file(env: Mapping[str, str], *, is_needed: bool) -> Iterator[Finding]:
    """Check whether the config file can be read, what it has, and who else can read it.

    One that cannot be used is a failure only where it `is_needed`.
    """
    try:
        path = locate(env)
        file = load(path)
    except UsageError as error:
        found = broken("config", error)
        yield found if is_needed else warning("config", f"{found.found}; ignored", fix=found.fix or "")
        return
    if not path.exists():
        yield Finding("config", f"{path} does not exist (not needed)")
        return
    yield Finding("config", f"{path}: {', '.join(file.profiles) or 'no profiles'}")
    for said in file.warnings:
        if "; run: " not in said:  # that one is about its mode, below
            yield warning("config", said, fix=f"correct or remove them in {path}")
    if os.name != "posix":
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & ANYONE_ELSE:
        yield Finding("config_mode", f"{mode:04o}")
    elif any("token" in values for values in file.profiles.values()):
        what = f"{mode:04o}: others can read the token in it"
        yield warning("config_mode", what, fix=f"chmod 600 {shlex.quote(str(path))}")
    else:
        yield Finding("config_mode", f"{mode:04o}, readable by others; it has no token")


def settings(flags: "Flags", env: Mapping[str, str]) -> tuple[Settings | None, list[Finding]]:
    """Return the settings that commands use, None when they are invalid, and what was found."""
    try:
        resolved = resolve(flags, env)
    except UsageError as error:
        return None, [broken("settings", error)]
    try:
        file = load(locate(env))
    except UsageError:  # a finding of its own
        file = ConfigFile(Path())
    return resolved, [*_of(resolved, file, flags, env)]


def _of(resolved: Settings, file: ConfigFile, flags: "Flags", env: Mapping[str, str]) -> Iterator[Finding]:
    for said in resolved.warnings:
        if said not in file.warnings:
            yield warning("settings", said, fix="unset the one you don't want, or drop the option")
    profiles = [*_options(flags, "profile"), *_variables(env, (PROFILE_VARIABLE,))]
    source = f", {_whence(profiles[0], profiles)}" if env.get(PROFILE_VARIABLE) else ""
    yield Finding("profile", resolved.profile + source)
    if resolved.token is None or resolved.token_source is None:
        yield failed("token", f"no token for {resolved.host}", fix=resolved.why_no_token, exit=Exit.AUTH)
    else:
        tokens = [*_variables(env, TOKEN_VARIABLES), *_keys(file, resolved.profile, "token")]
        yield Finding("token", f"{mask(resolved.token)}, {_whence(resolved.token_source, tokens)}")
    servers = [*_options(flags, "base_url", "region"), *_variables(env, SERVER_VARIABLES)]
    servers += _keys(file, resolved.profile, "base_url", "region")
    yield Finding("base_url", f"{resolved.base_url}, {_whence(resolved.base_url_source, servers)}")
    if resolved.workspace_id is not None:
        places = [*_options(flags, "workspace"), *_variables(env, (WORKSPACE_VARIABLE,))]
        places += _keys(file, resolved.profile, "workspace_id")
        counting = [each for each in places if each != WORKSPACE_VARIABLE or flags.profile is None]
        yield Finding("workspace", f"{resolved.workspace_id}, {_whence((counting or places)[0], places)}")
    if resolved.read_only:
        yield Finding("read_only", "QODER_READ_ONLY is set: only reads are allowed")
    if resolved.sandbox:
        yield Finding("inside_sandbox", "QODER_SANDBOX is set: nothing real can be reached")


def _whence(winner: str, places: list[str]) -> str:
    others = [place for place in places if place != winner]
    source = "default" if winner == "default" else f"from {winner}"
    return f"{source} (overrides {' and '.join(others)})" if others else source


def _options(flags: "Flags", *names: str) -> list[str]:
    return [f"--{name.replace('_', '-')}" for name in names if getattr(flags, name) is not None]


def _variables(env: Mapping[str, str], names: tuple[str, ...]) -> list[str]:
    return [name for name in names if env.get(name)]


def _keys(file: ConfigFile, profile: str, *keys: str) -> list[str]:
    return [file.key(profile, key) for key in keys if key in file.profile(profile)]


def surroundings(env: Mapping[str, str]) -> Finding:
    """Return the variables that affect output."""
    names = ("TERM", "NO_COLOR", "FORCE_COLOR", "CI", "QODER_NO_INPUT", "QODER_NO_PROGRESS")
    said = [f"{name}={env[name]}" if name == "TERM" else name for name in names if env.get(name) and is_on(env, name)]
    return Finding("environment", ", ".join(said) or "no settings that affect output")
