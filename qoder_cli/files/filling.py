"""Variables in files: `${VAR}` in texts, not in keys, is filled in once from the environment.

`${VAR:-text}` is the text if VAR is unset or empty. `$${` is `${`; any other `$` is a `$`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qoder_cli.files.tree import LARGEST, Node, Path, Problem

DOLLAR = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


# Begins what stands for a variable that is not set; no file can have it.
_UNSET = f"\ue000{os.urandom(4).hex()}:"


def is_unset(value: Any) -> bool:
    """Return whether a value is a text in which a variable is not set."""
    return isinstance(value, str) and _UNSET in value


def unset_in(value: Any) -> list[str]:
    """Return the names of the variables in a text that are not set."""
    return re.findall(f"{_UNSET}(\\w+)\ue001", value) if is_unset(value) else []


def as_written(value: Any) -> Any:
    """Return a JSON value with `${NAME}` for each variable that is not set, as its file has it."""
    if isinstance(value, dict):
        return {key: as_written(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_written(item) for item in value]
    if is_unset(value):
        return re.sub(f"{_UNSET}(\\w+)\ue001", r"${\1}", value)
    return value


@dataclass
class Filler:
    """Fills in the variables of one document; adds what is wrong to `problems`."""

    env: Mapping[str, str]
    problems: list[Problem]
    may_lack: bool = False  # then a stand-in is in place of what is not set, and `unset` has the names
    unset: list[str] = field(default_factory=list)
    _room: int = LARGEST  # characters; what aliases repeat counts each time

    def fill(self, node: Node, path: Path) -> Node:
        """Return the tree, filled in. Raises Problem if it gets too long."""
        content = node.content
        if isinstance(content, dict):
            return Node(node.line, {key: self.fill(child, (*path, key)) for key, child in content.items()})
        if isinstance(content, list):
            return Node(node.line, [self.fill(child, (*path, index)) for index, child in enumerate(content)])
        if not isinstance(content, str):
            return node
        self._take(len(content), node.line)
        is_filled = any(match[1] and (self.may_lack or self.env.get(match[1])) for match in DOLLAR.finditer(content))
        return Node(node.line, DOLLAR.sub(lambda match: self._value(match, node.line, path), content), is_filled)

    def _value(self, match: re.Match[str], line: int, path: Path) -> str:
        """Return the text for one `$…`; nothing if it is wrong."""
        name, default = match[1], match[2]
        value = self.env.get(name or "", "")  # an empty variable is not set
        wrong = ""
        if match[0] == "$${":
            value = "${"
        elif name is None:
            wrong = "${ must be followed by a name: ${NAME} or ${NAME:-text}; write $${ for a literal ${"
        elif default and "${" in default:
            wrong = f"the default of {name} cannot contain a variable"
        elif not value and default is None and self.may_lack:
            self.unset.append(name)
            value = f"{_UNSET}{name}\ue001"
        elif not value and default is None:
            wrong = f"{name} is not set; set it, or give a default: ${{{name}:-text}}"
        elif any("\ud800" <= character <= "\udfff" for character in value):
            wrong = f"{name} is not UTF-8"
        if wrong:
            self.problems.append(Problem(wrong, line=line, path=path))
            return ""
        self._take(len(value or default or ""), line)
        return value or default or ""

    def _take(self, characters: int, line: int) -> None:
        self._room -= characters
        if self._room < 0:
            raise Problem("larger than 4 MB after expansion", line=line)
