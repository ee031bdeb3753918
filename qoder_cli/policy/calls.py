"""A call, as far as a policy looks at it: what its values are, by what is known of its tool."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qoder_cli.base import jsontext
from qoder_cli.policy import shell
from qoder_cli.policy.shell import Chain, Unreadable
from qoder_cli.policy.tools import BASH, TOOLS, Tool, called

LONGEST = 100_000  # characters of one text in an input that is allowed


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
        return TOOLS.get(called(self.name)) if self.kind == "tool" and self.server is None else None

    @property
    def fields(self) -> Mapping[str, Any]:
        return self.input if isinstance(self.input, dict) else {}

    @property
    def command(self) -> str | None:
        """The text of its command, if it calls the shell with one."""
        command = self.fields.get("command")
        return command if self.tool is TOOLS[BASH] and isinstance(command, str) else None

    @cached_property
    def chain(self) -> Chain | None:
        """The commands of its command; None if that cannot be read."""
        try:
            return shell.chain_of(self.command or "")
        except Unreadable:
            return None

    @property
    def unread(self) -> str:
        """Why its command cannot be read."""
        try:
            shell.chain_of(self.command or "")
        except Unreadable as error:
            return str(error)
        return ""

    @property
    def paths(self) -> list[str]:
        """The paths that its path fields name."""
        if self.tool is None:
            return []
        names = [name for name, kind in self.tool.fields.items() if kind == "path" and name in self.fields]
        return [path for name in names if isinstance(path := self.fields[name], str)]

    @property
    def patterns(self) -> list[str]:
        """The patterns of files that it names."""
        names = [] if self.tool is None else [name for name, kind in self.tool.fields.items() if kind == "pattern"]
        return [pattern for name in names if isinstance(pattern := self.fields.get(name), str)]

    @cached_property
    def texts(self) -> list[str]:
        """All its values, also those in lists and objects, as texts; a command as it is, and as the words in it."""
        found = [*_texts_in(self.input)]
        if self.chain is not None and self.command is not None:
            words = [" ".join(command.words) for command in self.chain.commands]
            found += [*words, " ".join(words)]
        return found

    @cached_property
    def unknown_texts(self) -> list[str]:
        """The values that may be anything: of a tool that is not built in."""
        return [*_texts_in(self.input)] if self.tool is None else []


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _texts_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts_in(each)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int | jsontext.Number) and not isinstance(value, bool):
        yield str(value)
