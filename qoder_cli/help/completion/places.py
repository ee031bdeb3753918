"""Where a shell looks for completion scripts by itself."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qoder_cli.base.errors import UsageError


@dataclass(frozen=True)
class Place:
    """Where a shell looks: below the folder in `variable`, or `default` in the home folder."""

    variable: str
    default: str
    folder: str
    files: tuple[str, ...]

    def paths(self, env: Mapping[str, str]) -> list[Path]:
        """Return the files to write. Raises UsageError when there is no home folder."""
        named = Path(env.get(self.variable) or "")
        base = named if named.is_absolute() else home(env) / self.default
        return [base / self.folder / name for name in self.files]


PLACES = {
    "bash": Place("XDG_DATA_HOME", ".local/share", "bash-completion/completions", ("qoder", "qoder-cli")),
    "zsh": Place("XDG_DATA_HOME", ".local/share", "zsh/site-functions", ("_qoder",)),
    "fish": Place("XDG_CONFIG_HOME", ".config", "fish/completions", ("qoder.fish", "qoder-cli.fish")),
}


def home(env: Mapping[str, str]) -> Path:
    """Return the home folder. Raises UsageError when there is none."""
    folder = env["HOME"] if "HOME" in env else os.path.expanduser("~")
    if not os.path.isabs(folder):  # it is set to nothing, or expanduser knows none
        raise UsageError("there is no home folder to install in", hint="set HOME, or leave out --install")
    return Path(folder)
