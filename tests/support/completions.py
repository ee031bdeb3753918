"""Completion as tests ask for it, and the scripts in `completions/`."""

from collections.abc import Mapping
from io import BytesIO, TextIOWrapper
from pathlib import Path

from qoder_cli.cli.main import command_tree
from qoder_cli.help.completion import FILES, script
from qoder_cli.help.completion.answer import respond

FOLDER = Path(__file__).parents[2] / "completions"


def scripts() -> dict[str, str]:
    """Return the text of each file in `completions/`, by its name."""
    return {name: script(shell) for shell, name in FILES.items()}


def offered(line: str, env: Mapping[str, str], *, rest: str = "") -> dict[str, str]:
    """Return what the program offers behind a line, and what it tells of each; files and such by their kind alone."""
    out = TextIOWrapper(said := BytesIO())  # which closes what it wraps
    respond(command_tree("qoder"), {**env, "_QODER_LINE": line, "_QODER_REST": rest}, out)
    return read(said.getvalue().decode())


def read(said: str) -> dict[str, str]:
    """Return what an answer offers, by the lines that `completion.answer` describes."""
    if not said:
        return {}
    kind, before, begun, *rows = said.splitlines()
    if kind != "words":
        return {f"({kind})": before + begun}
    return {value: about for value, _, about in (row.partition("\t") for row in rows)}
