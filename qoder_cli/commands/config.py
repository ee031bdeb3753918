"""`qoder config`: the config file. Of variables, QODER_CONFIG and QODER_PROFILE count."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, TypedDict

from qoder_cli.app import App
from qoder_cli.base.errors import NotFound, UsageError
from qoder_cli.base.ids import nearest
from qoder_cli.base.tokens import without_tokens
from qoder_cli.cli.options import Text, argument
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.help.completion import values
from qoder_cli.output.screen import inert
from qoder_cli.settings.allowed import read_level
from qoder_cli.settings.config import PROFILE_VARIABLE, own_server, profile_name
from qoder_cli.settings.configfile import KEYS, ConfigFile, change, load, locate
from qoder_cli.settings.values import mask, origin, read_base_url, read_region, read_workspace


def _read_keys(text: str, *, source: str) -> str:
    """Return a store of keys as it is saved. Raises UsageError, also for a password, which the shell would keep."""
    from qoder_cli.keys.opening import REQUIRED, checked
    from qoder_cli.keys.postgres import passwords

    name = checked(text.strip().removeprefix(f"{REQUIRED}:"), source=source)
    if passwords(name):
        why = f"{source}: passwords cannot be passed as arguments: they would end up in your shell history"
        raise UsageError(why, hint="put it into ~/.pgpass, or set PGPASSWORD")
    return text.strip()


def _read_notify(text: str, *, source: str) -> str:
    from qoder_cli.runs.notify import words_of

    words_of(text, source=source)
    return text


def _read_policy(text: str, *, source: str) -> str:
    """Return the path of a policy as it is saved: whole, wherever a command is run. Raises UsageError."""
    if not os.path.isabs(text):
        raise UsageError(f"{source} must be an absolute path", hint=f"write {os.path.abspath(text)}")
    return text


# How a value on the command line is checked and spelled: a token is never one.
_READERS: dict[str, Callable[..., str]] = {
    "region": read_region,
    "base_url": read_base_url,
    "workspace_id": read_workspace,
    "keys": _read_keys,
    "policy": _read_policy,
    "notify": _read_notify,
    "allow": read_level,
}
_KEYS = "region, base_url, workspace_id, keys, policy, notify, allow, token; or profiles.NAME.KEY."
_KEY = argument("KEY", _KEYS, values.one_of("key"))
_KEY_TO_SET = argument("KEY", _KEYS.replace(", token", ""), values.one_of("setting"))
_VALUE = argument("VALUE", "The new value.", values.value_of_key, default=None)


def list_(app: App, viewing: Viewing) -> None:
    """List the settings in the config file.

    Lists all profiles, or that of --profile. Tokens are masked. `qoder auth
    status` shows what is in use.

    Examples:
      qoder config list
      qoder config list --profile work --json"""
    view = View(app, viewing, ("key", "value"))
    view.show(lambda: _look(app))


class SettingData(TypedDict):
    """A setting of the config file."""

    key: Annotated[str, "profiles.NAME.KEY"]
    value: Annotated[str, "the value (tokens: last characters only)"]


class OneSetting(TypedDict, total=False):
    """One value, by the name of its setting; or the path of the config file."""

    token: Annotated[str, "its last characters"]
    region: Annotated[str, "global or cn"]
    base_url: Annotated[str, "API base URL"]
    workspace_id: Annotated[str, "workspace id"]
    keys: Annotated[str, "the store of keys that machines share"]
    policy: Annotated[str, "the guard: a file of rules"]
    notify: Annotated[str, "the command to run when a wait is over"]
    allow: Annotated[str, "what is allowed, as QODER_ALLOW has it"]
    path: Annotated[str, "path of the config file"]


def _look(app: App) -> None:
    file = _file(app)
    chosen = app.flags.profile or app.env.get(PROFILE_VARIABLE)
    rows: list[SettingData] = [
        {"key": without_tokens(f"profiles.{name}.{key}"), "value": _shown(key, value)}
        for name in ([chosen] if chosen else file.profiles)
        for key, value in file.profile(name).items()
    ]
    app.output.records([dict(row) for row in rows], id="key")
    if not rows:
        where = f"{file.path}" if file.path.exists() else f"{file.path} does not exist"
        app.progress.note(f"no settings yet ({without_tokens(where)})")


def get(app: App, word: str = _KEY) -> None:
    """Print one value of the config file.

    Reads the profile in use. Tokens are masked. Exits 5 if it is not set.

    Examples:
      qoder config get profiles.work.base_url"""
    file = _file(app)
    profile, key = _address(app, word, file)
    value = file.profile(profile).get(key)
    if value is None:
        raise NotFound(f"{file.key(profile, key)} is not set", hint="list the settings: qoder config list")
    _print(app, key, _shown(key, value))


def set_(app: App, setting: str = _KEY_TO_SET, value: Text = _VALUE) -> None:
    """Set one value in the config file.

    Writes to profile `default`, or that of --profile, which is created if
    necessary. Checks the value, and keeps comments. To save a token: qoder
    auth login

    Examples:
      qoder config set profiles.work.workspace_id ws_1"""
    profile, key = _address(app, setting, load(locate(app.env)))
    if key == "token":
        why = "tokens cannot be passed as arguments: they would end up in your shell history"
        raise UsageError(why, hint="pipe it in: qoder auth login --with-token < FILE")
    if value is None:
        raise UsageError(f"missing value for {key}", hint=f"pass it: qoder config set {key} VALUE")
    file = _file(app, may_create=True)
    spelled = _READERS[key](value, source=key)
    change(file.path, profile, {key: spelled}, env=app.env)
    app.progress.note(f"set {file.key(profile, key)} = {spelled}")
    _warn_of_another_home(app, file, profile)


def unset(app: App, key: str = _KEY) -> None:
    """Remove one value from the config file.

    Removes it from profile `default`, or that of --profile. Exits 0 even if it
    was not set.

    Examples:
      qoder config unset profiles.work.region"""
    file = _file(app)
    profile, key = _address(app, key, file)
    if key not in file.profile(profile):
        app.progress.note(f"{file.key(profile, key)} is not set")
        return
    change(file.path, profile, {key: None}, env=app.env)
    app.progress.note(f"removed {file.key(profile, key)}")
    _warn_of_another_home(app, file, profile)


def path(app: App) -> None:
    """Print the path of the config file.

    The file may not exist yet. Set QODER_CONFIG to use another.

    Examples:
      ls -l "$(qoder config path)"
      qoder config path"""
    _print(app, "path", without_tokens(str(locate(app.env))))


def _file(app: App, *, may_create: bool = False) -> ConfigFile:
    file = load(locate(app.env))
    for warning in file.warnings:
        app.progress.warn(warning)
    name = profile_name(app.flags, app.env, file)
    file.require(name, may_create=may_create)
    return file


def _address(app: App, word: str, file: ConfigFile) -> tuple[str, str]:
    head, _, key = word.rpartition(".")
    named = head.removeprefix("profiles.")
    if key not in KEYS or head == "profiles." or (head and named == head):
        near = nearest(key, KEYS)
        keys = f"the keys are {', '.join(KEYS)}, or profiles.NAME.KEY"
        raise UsageError(f"unknown key {word[:60]!r}", hint=f"did you mean {near[0]}?" if near else keys)
    if named and app.flags.profile not in (None, named):
        raise UsageError(f"{word} and --profile {app.flags.profile} name two profiles", hint="give only one of them")
    return named or profile_name(app.flags, app.env, file), key


def _shown(key: str, value: str) -> str:
    if key == "token":
        return mask(value)
    if key == "keys":
        from qoder_cli.keys.opening import shown

        return shown(value)
    return without_tokens(value)


def _print(app: App, key: str, value: str) -> None:
    if app.output.is_json:
        app.output.record({key: value})
    else:
        app.out.write(inert(value) + "\n")


def _warn_of_another_home(app: App, before: ConfigFile, profile: str) -> None:
    after = load(before.path)
    home = _home(after, profile)
    if "token" in after.profile(profile) and home and home != _home(before, profile):
        app.progress.warn(f"the token of profile {profile} will now be sent to {home}")


def _home(file: ConfigFile, profile: str) -> str | None:
    with suppress(UsageError):
        return origin(own_server(file, profile).value)
    return None


COMMANDS = {"list": list_, "get": get, "set": set_, "unset": unset, "path": path}
