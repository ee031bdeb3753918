"""What is known of the built-in tools: the fields of their inputs, and what each is.

No page of the API says them (help/pages/api.md#agents); they are those of the tools of the same names elsewhere. Where
they differ, a call has fields that are not known, and it is left for a person.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from qoder_cli.base.jsontext import Number

BASH = "Bash"


class Tool(NamedTuple):
    """A built-in tool: the rule that covers it, and its fields, each with what it is.

    Of its paths, either names the file, never both. With `goes_down` it needs none: it looks through a folder.
    """

    rule: str
    fields: Mapping[str, str]
    goes_down: bool = False

    @property
    def has_path(self) -> bool:
        return "path" in self.fields.values()


_PATH = {"file_path": "path", "path": "path"}
_AROUND = {"-A": "number", "-B": "number", "-C": "number", "-n": "flag", "-i": "flag", "multiline": "flag"}
_GREP = {"pattern": "text", "glob": "pattern", "type": "text", "output_mode": "text", "head_limit": "number"}
TOOLS = {
    BASH: Tool("run", {"command": "text", "description": "text", "timeout": "number"}),
    "Read": Tool("read", {**_PATH, "offset": "number", "limit": "number"}),
    "Write": Tool("write", {**_PATH, "content": "text"}),
    "Edit": Tool("write", {**_PATH, "old_string": "text", "new_string": "text", "replace_all": "flag"}),
    "Glob": Tool("read", {**_PATH, "pattern": "pattern"}, goes_down=True),
    "Grep": Tool("read", {**_PATH, **_GREP, **_AROUND}, goes_down=True),
    "WebFetch": Tool("fetch", {"url": "text", "prompt": "text"}),
    "WebSearch": Tool("search", {"query": "text"}),
}
_SPELLINGS = {spelling: name for name in TOOLS for spelling in (name, name.lower())}
_SPELLINGS |= {"web_fetch": "WebFetch", "web_search": "WebSearch"}

_IS_OF: Mapping[str, Callable[[Any], bool]] = {
    "number": lambda value: isinstance(value, int | Number) and not isinstance(value, bool),
    "flag": lambda value: isinstance(value, bool),
}


def called(name: str) -> str:
    """Return a built-in tool by its name in the docs: an SDK writes `bash` for `Bash`. Any other name unchanged."""
    return _SPELLINGS.get(name, name)


def is_of_kind(value: Any, kind: str) -> bool:
    """Return whether a value is what a field takes; all but numbers and flags are one text."""
    return _IS_OF.get(kind, lambda value: isinstance(value, str))(value)
