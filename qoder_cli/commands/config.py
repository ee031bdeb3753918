"""`qoder config`: read and change the config file. Of the environment only QODER_CONFIG and QODER_PROFILE count."""

from collections.abc import Callable
from typing import Annotated

import typer

from qoder_cli.app import State
from qoder_cli.base.errors import NotFound, UsageError
from qoder_cli.base.near import nearest
from qoder_cli.base.tokens import without_tokens
from qoder_cli.help.completion import values
from qoder_cli.output.screen import inert
from qoder_cli.settings.config import PROFILE_VARIABLE, own_server, profile_name
from qoder_cli.settings.configfile import KEYS, ConfigFile, change, load, locate
from qoder_cli.settings.values import mask, origin, read_base_url, read_region, read_workspace

# How a value given on the command line is checked and spelled. A token never comes from there.
_READERS: dict[str, Callable[..., str]] = {
    "region": read_region,
    "base_url": read_base_url,
    "workspace_id": read_workspace,
}
_Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="region, base_url, workspace_id, token; or profiles.NAME.KEY.",
        autocompletion=values.one_of("key"),
    ),
]
_KeyToSet = Annotated[  # a token is never an argument
    str,
    typer.Argument(
        metavar="KEY",
        help="region, base_url, workspace_id; or profiles.NAME.KEY.",
        autocompletion=values.keys_to_set,
    ),
]


def list_(ctx: typer.Context) -> None:
    """List what the config file sets.

    All profiles, or that of --profile or QODER_PROFILE. Tokens are masked.
    `qoder auth status` shows what is used in the end, and why.

    Examples:
      qoder config list
      qoder config list --profile work --json

    Exit 0, also when nothing is set; 2 when the file is broken.
    All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    file = _file(state)
    chosen = state.flags.profile or state.env.get(PROFILE_VARIABLE)
    names = [chosen] if chosen else list(file.profiles)
    rows = [
        {"key": without_tokens(f"profiles.{name}.{key}"), "value": _shown(key, value)}
        for name in names
        for key, value in file.profile(name).items()
    ]
    state.output.records(rows, id="key")


def get(ctx: typer.Context, key: _Key) -> None:
    """Print one value of the config file.

    Of the profile `default`, or that of --profile. A token is printed masked.

    Examples:
      qoder config get region
      qoder config get profiles.work.base_url

    Exit 0 printed, 2 no such key, 5 not set.
    All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    file = _file(state)
    profile, key = _address(state, key)
    value = file.profile(profile).get(key)
    if value is None:
        raise NotFound(f"{file.key(profile, key)} is not set", hint="qoder config list shows what is")
    if key == "token":
        state.progress.note("the token is masked; it is never printed whole")
    _print(state, key, _shown(key, value))


def set_(
    ctx: typer.Context,
    key: _KeyToSet,
    value: Annotated[
        str | None,
        typer.Argument(metavar="VALUE", help="The new value.", autocompletion=values.value_of_key),
    ] = None,
) -> None:
    """Set one value in the config file.

    In the profile `default`, or that of --profile, which is created. The value
    is checked first. Comments and everything else in the file stay as they
    are. A token is saved with: qoder auth login

    Examples:
      qoder config set region cn
      qoder config set profiles.work.workspace_id ws_1

    Exit 0 set, 2 no such key or not a good value.
    All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    profile, key = _address(state, key)
    if key == "token":
        raise UsageError(
            "a token is never an argument: the shell's history and other users would see it",
            hint="qoder auth login --with-token < FILE",
        )
    if value is None:
        raise UsageError(f"a value for {key} is missing", hint=f"qoder config set {key} VALUE")
    file = _file(state, may_create=True)
    spelled = _READERS[key](value, source=key)
    change(file.path, profile, {key: spelled})
    state.progress.note(f"{file.key(profile, key)} is now {spelled}")
    _warn_of_consequences(state, file, profile, key)


def unset(ctx: typer.Context, key: _Key) -> None:
    """Remove one value from the config file.

    From the profile `default`, or that of --profile.

    Examples:
      qoder config unset base_url
      qoder config unset profiles.work.region

    Exit 0, also when it was not set; 2 no such key.
    All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    file = _file(state)
    profile, key = _address(state, key)
    if key not in file.profile(profile):
        state.progress.note(f"{file.key(profile, key)} is not set")
        return
    change(file.path, profile, {key: None})
    state.progress.note(f"{file.key(profile, key)} is removed")
    _warn_of_consequences(state, file, profile, key)


def path(ctx: typer.Context) -> None:
    """Print where the config file is.

    Or where it would be: it need not exist. QODER_CONFIG moves it.

    Examples:
      qoder config path
      ls -l "$(qoder config path)"

    Exit 0, or 2 when there is no home folder.
    All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    _print(state, "path", without_tokens(str(locate(state.env))))


def _file(state: State, *, may_create: bool = False) -> ConfigFile:
    """Return the config file, its warnings said, with the profile of `--profile` in it."""
    file = load(locate(state.env))
    for warning in file.warnings:
        state.progress.warn(warning)
    name = profile_name(state.flags, state.env)
    file.require(name, may_create=may_create, from_variable=state.flags.profile is None)
    return file


def _address(state: State, typed: str) -> tuple[str, str]:
    """Return profile and key of `KEY` or `profiles.NAME.KEY`. Raises UsageError with the nearest key."""
    head, _, key = typed.rpartition(".")
    if head and (not head.startswith("profiles.") or head == "profiles."):
        raise _no_key(typed, key)
    named = head.removeprefix("profiles.")
    if key not in KEYS:
        raise _no_key(typed, key)
    if named and state.flags.profile not in (None, named):
        raise UsageError(f"{typed} and --profile {state.flags.profile} name two profiles", hint="give one of them")
    return named or profile_name(state.flags, state.env), key


def _no_key(typed: str, key: str) -> UsageError:
    near = nearest(key, KEYS)
    return UsageError(
        f"there is no key {typed[:60]!r}",
        hint=f"did you mean {near[0]}?" if near else f"the keys are {', '.join(KEYS)}, or profiles.NAME.KEY",
    )


def _shown(key: str, value: str) -> str:
    return mask(value) if key == "token" else without_tokens(value)


def _print(state: State, key: str, value: str) -> None:
    """Print a value alone, so that `$(…)` gets it; as an object with JSON output."""
    if state.output.is_json:
        state.output.record({key: value})
    else:
        state.output.raw(inert(value) + "\n")


def _warn_of_consequences(state: State, before: ConfigFile, profile: str, key: str) -> None:
    """Warn when a change has no effect, or gives the profile's token another server to go to."""
    after = load(before.path)
    values = after.profile(profile)
    if key == "region" and {"region", "base_url"} <= values.keys():
        state.progress.warn(f"the base_url of profile {profile} wins over its region")
    home = _home(after, profile)
    if "token" in values and home and home != _home(before, profile):
        state.progress.warn(f"the token of profile {profile} now goes to {home}")


def _home(file: ConfigFile, profile: str) -> str | None:
    """Return scheme, host and port that a profile's token goes to; None while its values are broken."""
    try:
        return origin(own_server(file, profile).value)
    except UsageError:
        return None


COMMANDS = {"list": list_, "get": get, "set": set_, "unset": unset, "path": path}
