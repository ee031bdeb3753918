"""YAML in files that people keep: commented, and taken back by `yamlread` as it was."""

from collections.abc import Iterator
from typing import Any

from qoder_cli.output import yamltext
from qoder_cli.output.screen import commandless, inert


def entry(head: str, value: Any, indent: int = 0) -> Iterator[str]:
    """Yield the lines of a value behind `head`: a key and its colon, or a dash. No text in it names a variable."""
    return yamltext.entry(head, value, indent, spell=lambda text: text.replace("${", "$${"))


def comment(note: str) -> str:
    """Return a line of comment."""
    return f"# {yamltext.spelled(commandless(inert(note)))}"
