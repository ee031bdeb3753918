"""Completion scripts for bash, zsh, fish and PowerShell, made from the command tree.

A script knows commands, options and fixed values by heart: completing starts no Python and asks no server. Where the
cursor stands is read from the words before it; a table, or in fish a line, then says what can follow.
"""

from importlib import import_module

from qoder_cli.completion.grammar import SHELLS, Grammar, read, spelled_out

__all__ = ["MADE_BY", "SHELLS", "Grammar", "read", "script"]

MADE_BY = "Made by: qoder completion"  # stands in each script


def script(shell: str, grammar: Grammar) -> str:
    """Return the completion script of one of SHELLS, each of which has a module here."""
    made: str = import_module(f"{__name__}.{shell}").render(spelled_out(grammar))
    return made
