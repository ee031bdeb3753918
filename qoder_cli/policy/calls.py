"""A call, as far as a policy looks at it, and what is known of the built-in tools: the fields of their inputs.

No page of the API says these (api.md#agents); they are those of the tools of the same names elsewhere. Where
they differ, a call has fields that are not known, and it is left for a person.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.policy import shell
from qoder_cli.policy.programs import ShellCommand
from qoder_cli.policy.shell import Chain, Unreadable

LONGEST = 100_000  # characters of one text in an input that is allowed
BASH = "Bash"


class Tool(NamedTuple):
    """A built-in tool: the rule that covers it, and its fields, each with what it is.

    Of its paths, either names the file, never both. With `goes_down` it needs none: it looks through a folder, from
    where its `pattern` begins; a `filter` only chooses among what is found.
    """

    rule: str
    fields: Mapping[str, str]
    goes_down: bool = False


_PATH = {"file_path": "path", "path": "path"}
_AROUND = {"-A": "number", "-B": "number", "-C": "number", "-n": "flag", "-i": "flag", "multiline": "flag"}
_GREP = {"pattern": "text", "glob": "filter", "type": "text", "output_mode": "text", "head_limit": "number"}
TOOLS = {
    BASH: Tool("run", {"command": "command", "description": "text", "timeout": "number"}),
    "Read": Tool("read", {**_PATH, "offset": "number", "limit": "number"}),
    "Write": Tool("write", {**_PATH, "content": "text"}),
    "Edit": Tool("write", {**_PATH, "old_string": "text", "new_string": "text", "replace_all": "flag"}),
    "Glob": Tool("read", {**_PATH, "pattern": "pattern"}, goes_down=True),
    "Grep": Tool("read", {**_PATH, **_GREP, **_AROUND}, goes_down=True),
    "WebFetch": Tool("fetch", {"url": "url", "prompt": "text"}),
    "WebSearch": Tool("search", {"query": "text"}),
}
_SPELLINGS = {name.lower(): name for name in TOOLS} | {"web_fetch": "WebFetch", "web_search": "WebSearch"}


def called(name: str) -> str:
    """Return a built-in tool by its name in the docs: an SDK writes `bash` for `Bash`. Any other name unchanged."""
    return _SPELLINGS.get(name, name)


def is_of_kind(value: Any, kind: str) -> bool:
    """Return whether a value is what a field takes: a number, true or false, or one text."""
    if kind == "flag" or isinstance(value, bool):
        return kind == "flag" and isinstance(value, bool)
    return isinstance(value, (int, jsontext.Number) if kind == "number" else str)


@dataclass(frozen=True)
class Subject:
    """A call. `schema` are the fields of its tool's input, where the session says them.

    `is_main` is whether the main agent makes it, and `in_work` whether the shell is still in its first folder, as far
    as that is certain.
    """

    kind: str  # tool, mcp or custom
    name: str
    input: Any
    server: str | None = None
    is_main: bool = True
    schema: frozenset[str] = frozenset()
    in_work: bool = True

    @cached_property
    def tool(self) -> Tool | None:
        """The built-in tool that it calls, if it is one that is known."""
        is_built_in = self.kind == "tool" and self.server is None
        return TOOLS.get(called(self.name)) if is_built_in else None

    def named(self, kind: str) -> list[str]:
        """Return the texts in those fields of its tool that are of a kind."""
        if self.tool is None or not isinstance(self.input, dict):
            return []
        names = [name for name, field_kind in self.tool.fields.items() if field_kind == kind]
        return [value for name in names if isinstance(value := self.input.get(name), str)]

    @cached_property
    def command(self) -> str | None:
        """The text of its command, if it calls the shell with one."""
        return next(iter(self.named("command")), None)

    @cached_property
    def chain(self) -> Chain | Unreadable | None:
        """The commands of its command, or why that cannot be read; None without one."""
        if self.command is None:
            return None
        try:
            return shell.chain_of(self.command)
        except Unreadable as error:
            return error

    @cached_property
    def commands(self) -> list[ShellCommand]:
        """The commands of its command, if that can be read."""
        return [*map(ShellCommand.of, self.chain.commands)] if isinstance(self.chain, Chain) else []

    @property
    def unread(self) -> list[str]:
        """The text of a command that cannot be read, and without its quotes."""
        text = self.command if isinstance(self.chain, Unreadable) else None
        return [] if text is None else [text, shell.unquoted(text)]

    @cached_property
    def values(self) -> list[str]:
        """All its values, also those in lists and objects, as texts."""
        return [*_texts_in(self.input)]

    @cached_property
    def texts(self) -> list[str]:
        """Its values, and a command as the words in it, if that can be read."""
        whole = [text for text in self.values if text not in self.unread]
        return whole + [" ".join(command.words) for command in self.commands]


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts_in(item)
    elif isinstance(value, str | int | jsontext.Number):
        yield str(value)
