"""Rewrite `completions/` from the command tree: `python -m tests.completions`."""

from pathlib import Path

from qoder_cli.cli import command_tree
from qoder_cli.completion import read, script

FOLDER = Path(__file__).parent.parent / "completions"
FILES = {"bash": "qoder.bash", "zsh": "_qoder", "fish": "qoder.fish", "powershell": "qoder.ps1"}


def scripts() -> dict[str, str]:
    """Return the text of each file in `completions/`, by its name."""
    grammar = read(command_tree("qoder"))
    return {name: script(shell, grammar) for shell, name in FILES.items()}


def rewrite() -> None:
    """Write the files in `completions/`."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in scripts().items():
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    rewrite()
