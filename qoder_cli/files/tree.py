"""What a text says, as a tree of values that know their line, built within bounds from what a reader meets."""

import re
from dataclasses import dataclass, field
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

    def plain(self) -> Any:
        """Return the value as plain JSON values."""
        if isinstance(self.content, dict):
            return {key: node.plain() for key, node in self.content.items()}
        return [node.plain() for node in self.content] if isinstance(self.content, list) else self.content

    def child(self, step: str | int) -> "Node | None":
        """Return what is at a key or a place in it, None where nothing is."""
        if isinstance(self.content, dict):
            return self.content.get(step) if isinstance(step, str) else None
        if isinstance(self.content, list) and isinstance(step, int) and step < len(self.content):
            return self.content[step]
        return None

    def has_filled(self) -> bool:
        """Return whether it, or anything in it, came from a variable."""
        if isinstance(self.content, dict):
            return any(node.has_filled() for node in self.content.values())
        return any(node.has_filled() for node in self.content) if isinstance(self.content, list) else self.filled


def spelled(path: Path) -> str:
    """Return a path as people read it: `initial_events[0].content`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_name(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def _name(key: str) -> str:
    return key if _PLAIN_NAME.fullmatch(key) else repr(key if len(key) <= 40 else key[:40] + "…")


@dataclass(slots=True)
class _Begun:
    """A list or a mapping that is not yet at its end. `size` and `height` count what is in it so far."""

    line: int
    content: list[Node] | dict[str, Node]
    anchor: str | None
    key: str | None = None
    key_line: int = 0
    size: int = 1
    height: int = 1


@dataclass(frozen=True, slots=True)
class _Whole:
    """A finished value, with what it counts for wherever an alias repeats it."""

    node: Node
    size: int = 1
    height: int = 0


@dataclass
class Builder:
    """Builds the trees of one file. Problems that leave the rest readable are gathered in `problems`."""

    problems: list[Problem]
    _begun: list[_Begun] = field(default_factory=list)
    _anchors: dict[str, _Whole] = field(default_factory=dict)
    _values: int = 0
    _root: Node | None = None

    @property
    def wants_key(self) -> bool:
        """Whether a key has to come next."""
        return bool(self._begun) and isinstance(self._begun[-1].content, dict) and self._begun[-1].key is None

    @property
    def is_empty(self) -> bool:
        """Whether the list or mapping that was begun last has nothing in it yet."""
        return not self._begun[-1].content

    def key(self, text: str, *, line: int) -> None:
        """Take a key. That the mapping has it already is a problem."""
        top = self._begun[-1]
        top.key, top.key_line = text, line
        if isinstance(top.content, dict) and (first := top.content.get(text)):
            self.problem(f"is already on line {first.line}", line=line)

    def scalar(self, value: Scalar, *, line: int, anchor: str | None = None) -> None:
        """Take a value that is neither a list nor a mapping."""
        self._count(1, line)
        self._take(_Whole(Node(line, value)), anchor=anchor)

    def begin(self, content: list[Node] | dict[str, Node], *, line: int, anchor: str | None = None) -> None:
        """Begin a list or a mapping, still empty. Raises Problem where it stands for a key, or too deep."""
        if self.wants_key:
            raise Problem("a key must be text, not a list or a mapping", line=line)
        self._count(1, line)
        self._begun.append(_Begun(line, content, anchor))
        self._refuse_depth(0, line)

    def end(self) -> None:
        """End the list or mapping that was begun last."""
        done = self._begun.pop()
        self._take(_Whole(Node(done.line, done.content), done.size, done.height), anchor=done.anchor)

    def alias(self, name: str, *, line: int) -> None:
        """Repeat what an anchor stands for. Raises Problem where there is none, or it is still being written."""
        if any(begun.anchor == name for begun in self._begun):
            raise Problem(f"*{name} refers to what it is part of", line=line)
        if (whole := self._anchors.get(name)) is None:
            raise Problem(f"there is no anchor &{name} before this alias", line=line)
        self._count(whole.size, line)
        self._refuse_depth(whole.height, line)
        if not self.wants_key:
            self._take(_Whole(Node(line, whole.node.content), whole.size, whole.height), anchor=None)
        elif isinstance(whole.node.content, str):
            self.key(whole.node.content, line=line)
        else:
            raise Problem("a key must be text", line=line)

    def problem(self, text: str, *, line: int) -> None:
        """Gather a problem of the value or key that is being read."""
        steps = (len(begun.content) if isinstance(begun.content, list) else begun.key for begun in self._begun)
        path = spelled(tuple(step for step in steps if step is not None))
        self.problems.append(Problem(text, line=line, path=path))

    def tree(self) -> Node:
        """Return the tree that is finished, and be ready for the next one."""
        assert self._root is not None
        root, self._root = self._root, None
        self._anchors.clear()
        return root

    def _take(self, whole: _Whole, *, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = whole
        if not self._begun:
            self._root = whole.node
            return
        top = self._begun[-1]
        if isinstance(top.content, list):
            top.content.append(whole.node)
        elif top.key is not None:
            top.content[top.key] = Node(top.key_line, whole.node.content)
            top.key = None
        top.size += whole.size
        top.height = max(top.height, whole.height + 1)

    def _count(self, size: int, line: int) -> None:
        self._values += size
        if self._values > MOST_VALUES:
            raise Problem(f"more than {MOST_VALUES:,} values", line=line)

    def _refuse_depth(self, more: int, line: int) -> None:
        if len(self._begun) + more > DEEPEST:
            raise Problem(f"nested more than {DEEPEST} levels deep", line=line)
