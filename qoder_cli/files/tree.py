"""A file as a tree of values that know their line, and the problems in it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from qoder_cli.base.errors import ErrorData, UsageError
from qoder_cli.base.jsontext import Number
from qoder_cli.base.places import Path as Path
from qoder_cli.base.places import spelled as spelled
from qoder_cli.base.tokens import without_tokens
from qoder_cli.base.words import counted, shortened
from qoder_cli.output.screen import inert

T = TypeVar("T")

DEEPEST = 100  # levels
MOST_VALUES = 100_000  # of one file, with every alias written out
LARGEST = 4 * 1024 * 1024  # bytes; no body may be longer (api.md#limits)
SHOWN = 20  # problems that one error lists
_LONGEST = 300  # characters of one problem

Scalar = str | int | bool | Number | None


class Problem(Exception):
    """One problem in a file. Raised if the rest is unreadable, else gathered.

    `line` counts from 1; 0 is the whole file. `path` is the field, spelled out, or empty; `at` has its steps.
    """

    def __init__(self, text: str, *, line: int = 0, path: Path = ()) -> None:
        super().__init__(text)
        self.text = text
        self.line = line
        self.at = path
        self.path = spelled(path)

    def located(self, source: str) -> str:
        """Return `file:line: field: problem`, harmless on a terminal."""
        where = f"{source}:{self.line}" if self.line else source or "''"
        text = inert(": ".join(part for part in (where, self.path, self.text) if part))
        longest = len(where) + _LONGEST
        return shortened(text, longest)


class BadFiles(UsageError):
    """Files with problems: for people the first of them, a line each, already inert; in JSON all."""

    has_lines = True

    def __init__(self, problems: Sequence[str], what: str = "the files") -> None:
        count = counted(len(problems), "problem")
        lines = [f"{count} in {what}; nothing was sent", *problems]
        self.all = "\n".join(lines)
        if len(problems) > SHOWN:
            lines[SHOWN + 1 :] = [f"and {len(problems) - SHOWN} more"]
        super().__init__("\n".join(lines))

    def as_json(self) -> ErrorData:
        return {**super().as_json(), "message": without_tokens(self.all)}


class Problems(list[Problem]):
    """The problems in one file, collected so that one error lists them all."""

    def of(self, read: Callable[..., T | None], *about: Any) -> T | None:
        """Return what is read; keep what is wrong with it, and return None."""
        try:
            return read(*about)
        except Problem as problem:
            self.append(problem)
            return None

    def refuse(self, path: str, what: str) -> None:
        """Raise BadFiles if there are any, in the order of their lines."""
        if self:
            raise BadFiles([problem.located(path) for problem in sorted(self, key=lambda one: one.line)], what)


@dataclass(frozen=True, slots=True)
class Node:
    """A value. `line` is where its key stands, or an item of a list begins.

    A number is kept as written, by jsontext. A `filled` text is, at least in
    part, from a variable: it must not be shown.
    """

    line: int
    content: "Scalar | list[Node] | dict[str, Node]"
    filled: bool = False

    def items(self) -> "Iterable[tuple[str | int, Node]]":
        """Return its members, each with its key or its place in the list."""
        if isinstance(self.content, dict):
            return self.content.items()
        if isinstance(self.content, list):
            return enumerate(self.content)
        return ()

    def plain(self) -> Any:
        if isinstance(self.content, dict):
            return {key: node.plain() for key, node in self.content.items()}
        if isinstance(self.content, list):
            return [node.plain() for node in self.content]
        return self.content

    def child(self, step: str | int) -> "Node | None":
        """Return the member at a key or a place in the list, or None."""
        return next((node for at, node in self.items() if at == step), None)

    def has_filled(self) -> bool:
        """Return whether it, or anything in it, came from a variable."""
        return self.filled or any(node.has_filled() for _, node in self.items())


@dataclass
class FileReading:
    """The state of reading a file; gathers `problems` that leave the rest readable."""

    problems: list[Problem]
    _values: int = 0

    def count(self, path: Path, line: int) -> None:
        """Count a value. Raises Problem if it is one too many, or too deep."""
        self._values += 1
        if self._values > MOST_VALUES:
            raise Problem(f"more than {MOST_VALUES:,} values", line=line)
        if len(path) > DEEPEST:
            raise Problem(f"nested more than {DEEPEST} levels deep", line=line)

    def count_again(self, node: Node, path: Path, line: int) -> None:
        """Count all that an alias repeats. Raises Problem."""
        self.count(path, line)
        for step, child in node.items():
            self.count_again(child, (*path, step), line)

    def add(self, content: dict[str, Node], key: str, value: Node, *, line: int, path: Path) -> None:
        """Put a value into a mapping. Of duplicate keys, the last counts."""
        if first := content.get(key):
            text = f"duplicate key (first on line {first.line})"
            self.problems.append(Problem(text, line=line, path=path))
        content[key] = Node(line, value.content)
