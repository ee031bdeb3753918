"""Which token, server and workspace are used, and what they override (contract, section 5)."""

from collections.abc import Iterator, Mapping
from pathlib import Path

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
from qoder_cli.settings.configfile import ConfigFile, load, locate
from qoder_cli.settings.values import Flags, mask


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
        what, _, command = said.partition("; run: ")
        yield warning("config", what, fix=command or f"correct or remove them in {path}")


def settings(flags: Flags, env: Mapping[str, str]) -> tuple[Settings | None, list[Finding]]:
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


def _of(resolved: Settings, file: ConfigFile, flags: Flags, env: Mapping[str, str]) -> Iterator[Finding]:
    def places(variables: tuple[str, ...], *keys: str, options: tuple[str, ...] = ()) -> list[str]:
        """Return where a setting is given, in the order in which these win."""
        given = [f"--{name.replace('_', '-')}" for name in options if getattr(flags, name) is not None]
        given += [name for name in variables if env.get(name)]
        return given + [file.key(resolved.profile, key) for key in keys if key in file.profile(resolved.profile)]

    for said in resolved.warnings:
        if said not in file.warnings:
            yield warning("settings", said, fix="unset the one you don't want, or drop the option")
    profiles = places((PROFILE_VARIABLE,), options=("profile",))
    source = f", {_whence(profiles[0], profiles)}" if env.get(PROFILE_VARIABLE) else ""
    yield Finding("profile", resolved.profile + source)
    if resolved.token is None or resolved.token_source is None:
        yield failed("token", f"no token for {resolved.host}", fix=resolved.advice, exit=Exit.AUTH)
    else:
        whence = _whence(resolved.token_source, places(TOKEN_VARIABLES, "token"))
        yield Finding("token", f"{mask(resolved.token)}, {whence}")
    servers = places(SERVER_VARIABLES, "base_url", "region", options=("base_url", "region"))
    yield Finding("base_url", f"{resolved.base_url}, {_whence(resolved.base_url_source, servers)}")
    if resolved.workspace_id is not None:
        given = places((WORKSPACE_VARIABLE,), "workspace_id", options=("workspace",))
        counting = [each for each in given if each != WORKSPACE_VARIABLE or flags.profile is None]
        yield Finding("workspace", f"{resolved.workspace_id}, {_whence((counting or given)[0], given)}")
    if resolved.read_only:
        yield Finding("read_only", "QODER_READ_ONLY is set: only reads are allowed")
    if resolved.sandbox:
        yield Finding("inside_sandbox", "QODER_SANDBOX is set: nothing real can be reached")


def _whence(winner: str, places: list[str]) -> str:
    others = [place for place in places if place != winner]
    source = "default" if winner == "default" else f"from {winner}"
    return f"{source} (overrides {' and '.join(others)})" if others else source
