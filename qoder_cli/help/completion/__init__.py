"""What TAB offers, in bash, zsh, fish and PowerShell: the program itself answers, by typer's completion.

`scripts/` has what asks it, and `places` where shells look for that; `answer` reads the line, `values` knows what is no
word of the command tree, and `seen` what commands have seen.

Typer's own scripts are not used: its zsh script evaluates what is printed, so that a deployment's name could be a
command; its bash script expands patterns in it; and its help costs the import of rich.
"""

from pathlib import Path

MADE_BY = "Made by: qoder completion"  # stands in each script
FILES = {"bash": "qoder.bash", "zsh": "_qoder", "fish": "qoder.fish", "powershell": "qoder.ps1"}
SHELLS = tuple(FILES)


def script(shell: str) -> str:
    """Return the completion script of one of SHELLS."""
    return (Path(__file__).with_name("scripts") / FILES[shell]).read_text("utf-8")
