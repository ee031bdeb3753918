"""What TAB offers in bash, zsh, fish and PowerShell: the program answers, through typer.

`scripts/` has what asks it. Typer's own are not used: its zsh script evaluates what is
printed, so a deployment's name could be a command; its bash script expands patterns in it.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from qoder_cli.base.errors import UsageError

SIGNATURE = "Made by: qoder completion"  # stands in each script
FILES = {"bash": "qoder.bash", "zsh": "_qoder", "fish": "qoder.fish", "powershell": "qoder.ps1"}
SHELLS = tuple(FILES)
# Where a shell looks: below the folder in the variable, or else in the home folder.
_PLACES = {
    "bash": ("XDG_DATA_HOME", ".local/share", "bash-completion/completions", ("qoder", "qoder-cli")),
    "zsh": ("XDG_DATA_HOME", ".local/share", "zsh/site-functions", ("_qoder",)),
    "fish": ("XDG_CONFIG_HOME", ".config", "fish/completions", ("qoder.fish", "qoder-cli.fish")),
}


def script(shell: str) -> str:
    """Return a shell's completion script."""
    return (Path(__file__).with_name("scripts") / FILES[shell]).read_text("utf-8")


def places(shell: str, env: Mapping[str, str]) -> list[Path]:
    """Return the files to install for a shell, if it has a folder. Raises UsageError."""
    if shell not in _PLACES:
        return []
    variable, default, folder, names = _PLACES[shell]
    base = Path(env.get(variable) or "")
    if not base.is_absolute():
        home = env["HOME"] if "HOME" in env else os.path.expanduser("~")
        if not os.path.isabs(home):  # HOME is empty, or expanduser knows none
            raise UsageError("no home folder to install in", hint="set HOME, or leave out --install")
        base = Path(home, default)
    return [base / folder / name for name in names]
