"""The config file: TOML, `token`, `region`, `base_url`, `workspace_id`, `keys`, `policy` in `[profiles.NAME]`.

Above all profiles `default_profile` names the one to use where nothing else does.
"""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qoder_cli.base.errors import UsageError
from qoder_cli.base.plainfile import open_at_once, read_most, reason_of, refuse_outside, replace_file
from qoder_cli.base.tokens import is_token, names_token

DEFAULT_PROFILE = "default"
SETTINGS = ("region", "base_url", "workspace_id", "keys", "policy", "notify", "allow")
KEYS = ("token", *SETTINGS)
CHOICE = "default_profile"  # the key that names the profile to use where nothing else does
LONGEST_WAIT = 5.0  # seconds for another's change, which takes milliseconds
_LARGEST = 2**20  # bytes; this ends a read from /dev/zero
_PROFILE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
ANYONE_ELSE = 0o077  # POSIX mode bits of group and others


@dataclass(frozen=True, eq=False, repr=False)  # it has tokens
class ConfigFile:
    """The config file. A missing one is empty; empty values are not set."""

    path: Path
    profiles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    text: str = ""
    chosen: str | None = None  # the profile to use where nothing else names one

    def profile(self, name: str) -> Mapping[str, str]:
        """Return what a profile sets, by KEYS; empty if it does not exist."""
        return self.profiles.get(name, {})

    def key(self, profile: str, key: str) -> str:
        return f"profiles.{profile}.{key} in {self.path}"

    def require(self, profile: str, *, may_create: bool = False) -> None:
        """Raise UsageError unless the profile exists, as `default` does, or may be created."""
        if names_token(profile):  # it would be shown and kept as a name
            raise UsageError(
                "a token cannot be the name of a profile", hint="set QODER_PAT to it, or: qoder auth login"
            )
        if profile == DEFAULT_PROFILE or profile in self.profiles:
            return
        if may_create and re.fullmatch(_PROFILE_NAME, profile) and not is_token(profile):
            return
        if may_create:
            raise UsageError(
                f"invalid profile name {profile[:60]!r}",
                hint="use up to 64 letters, digits, '.', '_' and '-', beginning with a letter or a digit",
            )
        names = ", ".join(dict.fromkeys([DEFAULT_PROFILE, *self.profiles]))
        hint = f"use one of: {names}; to create it: qoder auth login --profile NAME"
        raise UsageError(f"no profile {profile[:60]!r} in {self.path}", hint=hint)


def locate(env: Mapping[str, str]) -> Path:
    """Return the path of the config file. Raises UsageError without a home."""
    named = env.get("QODER_CONFIG")
    if not named:
        import platformdirs

        try:
            named = str(platformdirs.user_config_path("qoder", appauthor=False) / "config.toml")
        except RuntimeError:  # newer versions raise, older ones leave `~`
            named = "~/.config/qoder/config.toml"
    elif names_token(named) and not os.path.exists(named):  # it would name a file
        raise UsageError("QODER_CONFIG holds a token, not the path of a file", hint="set QODER_PAT to it")
    path = os.path.expanduser(named)
    if path.startswith("~"):  # expanduser knows no home
        raise UsageError(
            f"cannot find the config file {path}: HOME is not set",
            hint="set HOME, or QODER_CONFIG to the path of a config file, or use QODER_PAT without a file",
        )
    return Path(path)


def load(path: Path) -> ConfigFile:
    """Return the content of the file at `path`. Raises UsageError if it cannot be read, or a value is not a text.

    Unknown keys and a file open to others are warnings.
    """
    try:
        with open_at_once(path) as stream:
            data = read_most(stream, _LARGEST + 1)
            mode = os.fstat(stream.fileno()).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ConfigFile(path)
    except (OSError, ValueError) as error:
        raise _unusable(path, f"cannot be read: {reason_of(error)}") from None
    if len(data) > _LARGEST:
        raise _unusable(path, f"is larger than {_LARGEST // 2**20} MiB")
    import tomllib

    try:
        text = data.decode("utf-8-sig")
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unusable(path, f"is not TOML: {error}") from None
    profiles, unknown_keys = _profiles(path, document)
    warnings = []
    if sys.platform != "win32" and mode & ANYONE_ELSE and any("token" in values for values in profiles.values()):
        import shlex

        fix = f"chmod 600 {shlex.quote(str(path))}"
        warnings.append(f"{path} contains a token and is readable by others; run: {fix}")
    if unknown_keys:
        warnings.append(f"{path} has unknown keys, which are ignored: {', '.join(unknown_keys)}")
    chosen = document.get(CHOICE) or None
    if not isinstance(chosen, str | None):
        raise _unusable(path, f"has a {CHOICE} that is not a string", hint="put the value in quotes")
    return ConfigFile(path, profiles, tuple(warnings), text, chosen)


def change(path: Path, profile: str | None, values: Mapping[str, str | None], *, env: Mapping[str, str]) -> None:
    """Set these keys of a profile, or above all profiles, and remove those that are None; all else stays.

    The file is replaced in one step under a lock, so that two changes at once both count. Raises UsageError, and leaves
    it as it was, also where it lies outside the sandbox that `env` names.
    """
    refuse_outside(path, env)
    if profile is not None:
        load(path).require(profile, may_create=True)
    if path.exists() and not path.is_file():  # /dev/null must not be replaced
        raise _unusable(path, "is not a regular file; nothing was changed", hint="set QODER_CONFIG to a file")
    target = Path(os.path.realpath(path))
    import filelock
    import tomlkit  # noqa: F401  # before the lock, so that it is held for as short as can be

    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The system frees the lock when its holder dies.
        with filelock.FileLock(target.with_name(f".{target.name}.lock"), timeout=LONGEST_WAIT, mode=0o600):
            file = load(path)
            new_text = _changed(file.text, profile, values)
            if new_text is None:
                raise _unusable(path, "has a layout that cannot be edited safely", hint="edit it by hand")
            replace_file(target, new_text.encode())
    except filelock.Timeout:
        what = f"the config file {path} is being changed by another qoder; nothing was changed"
        raise UsageError(what, hint="try again") from None
    except (OSError, ValueError, NotImplementedError) as error:
        raise UsageError(
            f"cannot write the config file {path}: {reason_of(error)}; nothing was changed",
            hint="to keep it elsewhere, set QODER_CONFIG",
        ) from None


def _unusable(path: Path, what: str, *, hint: str | None = None) -> UsageError:
    return UsageError(f"the config file {path} {what}", hint=hint or "correct it, or set QODER_CONFIG to another file")


def _profiles(path: Path, document: Mapping[str, Any]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return what each profile sets, and the keys that nobody knows. Raises UsageError."""
    sections = document.get("profiles", {})
    if not isinstance(sections, dict):
        raise _unusable(path, "has 'profiles' as a value", hint="write sections: [profiles.default]")
    profiles: dict[str, dict[str, str]] = {}
    unknown_keys = [key for key in document if key not in ("profiles", CHOICE)]
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise _unusable(path, f"has 'profiles.{name}' as a value", hint="write a section: [profiles.default]")
        for key in KEYS:
            if not isinstance(section.get(key, ""), str):
                what = f"has a profiles.{name}.{key} that is not a string"
                raise _unusable(path, what, hint="put the value in quotes")
        profiles[name] = {key: section[key] for key in KEYS if section.get(key)}
        unknown_keys += [f"profiles.{name}.{key}" for key in section if key not in KEYS]
    return profiles, unknown_keys


def _changed(text: str, profile: str | None, values: Mapping[str, str | None]) -> str | None:
    """Return the text with these values, its comments and layout kept; None if tomlkit cannot, or changes more."""
    import tomllib

    import tomlkit
    from tomlkit.exceptions import TOMLKitError
    from tomlkit.items import InlineTable

    section: Any
    expected = section = tomllib.loads(text)
    if profile is not None:
        section = expected.setdefault("profiles", {}).setdefault(profile, {})
    _put(section, values)
    try:
        document = section = tomlkit.parse(text)
        if profile is not None:
            profiles = document.setdefault("profiles", tomlkit.table(is_super_table=True))
            inline = isinstance(profiles, InlineTable)
            section = profiles.setdefault(profile, tomlkit.inline_table() if inline else tomlkit.table())
        _put(section, values)
        changed = tomlkit.dumps(document)
        if tomllib.loads(changed) == expected:
            return changed
    except (TOMLKitError, ValueError, KeyError, RecursionError):
        pass
    return None


def _put(section: Any, values: Mapping[str, str | None]) -> None:
    for key, value in values.items():
        if value is None:
            section.pop(key, None)
        else:
            section[key] = value
