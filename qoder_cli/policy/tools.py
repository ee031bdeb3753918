"""What is known of the built-in tools: the fields of their inputs, and which names a path.

No page of the API says them (help/pages/api.md#agents); they are those of the tools of the same names elsewhere. Where
they differ, a call has fields that are not known, and no rule allows it by itself.
"""

from collections.abc import Mapping
from typing import NamedTuple

BASH = "Bash"
PATHS = ("file_path", "path")  # either names the file, never both


class Tool(NamedTuple):
    """A built-in tool: its fields but that of its path, with the type of each."""

    fields: Mapping[str, type]
    has_path: bool = False
    patterns: tuple[str, ...] = ()  # fields that name files below its path; such a tool reads all that is below it
    layout: tuple[str, ...] = ()  # fields whose text has line breaks and tabs

    @property
    def reads_below(self) -> bool:
        return bool(self.patterns)


TOOLS = {
    BASH: Tool({"command": str, "description": str}),
    "Read": Tool({"offset": int, "limit": int}, has_path=True),
    "Write": Tool({"content": str}, has_path=True, layout=("content",)),
    "Edit": Tool(
        {"old_string": str, "new_string": str, "replace_all": bool}, has_path=True, layout=("old_string", "new_string")
    ),
    "Glob": Tool({"pattern": str}, has_path=True, patterns=("pattern",)),
    "Grep": Tool({"pattern": str, "glob": str, "output_mode": str}, has_path=True, patterns=("glob",)),
    "WebFetch": Tool({"url": str, "prompt": str}),
    "WebSearch": Tool({"query": str}),
}
_SPELLINGS = {spelling: name for name in TOOLS for spelling in (name, name.lower())}
_SPELLINGS |= {"web_fetch": "WebFetch", "web_search": "WebSearch"}


def called(name: str) -> str:
    """Return a built-in tool by its name in the docs: an SDK writes `bash` for `Bash`. Any other name unchanged."""
    return _SPELLINGS.get(name, name)


def spellings(name: str) -> set[str]:
    """Return every name of the tool that has this one, without case; any other name alone."""
    tool = called(name)
    return {name, *(each.lower() for each, of in _SPELLINGS.items() if of == tool)}
