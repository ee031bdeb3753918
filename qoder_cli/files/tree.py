"""What a text says, as a tree of values that know their line."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from qoder_cli.base.jsontext import Number
from qoder_cli.files.problems import Problem

DEEPEST = 100  # levels
MOST_VALUES = 100_000  # of one file, with every alias written out

Scalar = str | int | bool | Number | None
Path = tuple[str | int, ...]  # of keys and places in lists
_PLAIN_NAME = re.compile(r"[\w$-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Node:
    """A value. `line` is where its key stands, in a list where it begins.

    A number is what jsontext makes of it, so that it stays as it was written. `filled` tells that the text came, at
    least in part, from a variable, so that it must not be shown.
    """

    line: int
    content: "Scalar | list[Node] | dict[str, Node]"
    filled: bool = False

    def items(self) -> "Iterable[tuple[str | int, Node]]":
        """Return what is in it, each with its key or its place in the list."""
        if isinstance(self.content, dict):
            return self.content.items()
        return enumerate(self.content) if isinstance(self.content, list) else ()

    def plain(self) -> Any:
        """Return the value as plain JSON values."""
        if isinstance(self.content, dict):
            return {key: node.plain() for key, node in self.content.items()}
        return [node.plain() for node in self.content] if isinstance(self.content, list) else self.content

    def child(self, step: str | int) -> "Node | None":
        """Return what is at a key or a place in it, None where nothing is."""
        return next((node for at, node in self.items() if at == step), None)

    def has_filled(self) -> bool:
        """Return whether it, or anything in it, came from a variable."""
        return self.filled or any(node.has_filled() for _, node in self.items())


@dataclass
class Reading:
    """What is known while one file is read. Problems that leave the rest readable are gathered in `problems`."""

    problems: list[Problem]
    _values: int = 0

    def count(self, path: Path, line: int) -> None:
        """Count the value at a path. Raises Problem where it is one too many, or too deep."""
        self._values += 1
        if self._values > MOST_VALUES:
            raise Problem(f"more than {MOST_VALUES:,} values", line=line)
        if len(path) > DEEPEST:
            raise Problem(f"nested more than {DEEPEST} levels deep", line=line)

    def count_again(self, node: Node, path: Path, line: int) -> None:
        """Count all that an alias on a line repeats. Raises Problem as `count` does, as soon as it does."""
        self.count(path, line)
        for step, child in node.items():
            self.count_again(child, (*path, step), line)

    def add(self, content: dict[str, Node], key: str, value: Node, *, line: int, path: Path) -> None:
        """Put a value at a path into a mapping, under its key on a line. Of two of one key, the last counts."""
        if first := content.get(key):
            self.problem(f"duplicate key (first on line {first.line})", line=line, path=path)
        content[key] = Node(line, value.content)

    def problem(self, text: str, *, line: int, path: Path) -> None:
        """Gather a problem of what is at a path."""
        self.problems.append(Problem(text, line=line, path=spelled(path)))


def spelled(path: Path) -> str:
    """Return a path as people read it: `initial_events[0].content`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_name(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def _name(key: str) -> str:
    return key if _PLAIN_NAME.fullmatch(key) else repr(key if len(key) <= 40 else key[:40] + "…")
