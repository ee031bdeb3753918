"""`${VAR}` in the texts of a file, filled in from the environment. Keys are left alone, and so is what was filled in.

`${VAR:-text}` is the text where the variable is not set or empty; `$${` stands for `${` itself. Any other `$` is a `$`.
An object of the API, which says `"type": "deployment"`, is taken as it is: what it holds was not written for us.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from qoder_cli.files.problems import Problem
from qoder_cli.files.source import LONGEST
from qoder_cli.files.tree import Node, Path, spelled

_DOLLAR = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


def escaped(text: str) -> str:
    """Return the text that, in a file, stands for `text`."""
    return text.replace("${", "$${")


def names_variable(node: Node) -> bool:
    """Return whether a text in a tree names a variable."""
    content = node.content
    if isinstance(content, str):
        return any(found[1] for found in _DOLLAR.finditer(content))
    return any(names_variable(child) for _, child in node.items())


@dataclass
class Filler:
    """Fills in the variables of one deployment. `problems` are what came up on the way."""

    env: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    _room: int = LONGEST  # characters; texts repeated by aliases and variables count each time

    def fill(self, node: Node, path: Path = ()) -> Node:
        """Return the tree with its variables filled in. Raises Problem when it becomes longer than a body may be."""
        content = node.content
        if isinstance(content, dict):
            return Node(node.line, {key: self.fill(child, (*path, key)) for key, child in content.items()})
        if isinstance(content, list):
            return Node(node.line, [self.fill(child, (*path, index)) for index, child in enumerate(content)])
        return self._text(node, content, path) if isinstance(content, str) else node

    def _text(self, node: Node, text: str, path: Path) -> Node:
        parts, end, is_filled = [], 0, False
        for found in _DOLLAR.finditer(text):
            try:
                value = self._value(found)
                is_filled = is_filled or bool(found[1] and self.env.get(found[1]))
            except ValueError as error:
                self.problems.append(Problem(str(error), line=node.line, path=spelled(path)))
                value = ""
            parts += [text[end : found.start()], value]
            self._take(len(value), node.line)
            end = found.end()
        self._take(len(text), node.line)
        return Node(node.line, "".join([*parts, text[end:]]), filled=is_filled)

    def _value(self, found: re.Match[str]) -> str:
        """Return what stands for one `$…`. Raises ValueError, naming the variable but never its value."""
        if found[0] == "$${":
            return "${"
        name, default = found[1], found[2]
        if name is None:
            raise ValueError("${ must be followed by a name: ${NAME} or ${NAME:-text}; write $${ for a literal ${")
        if default and "${" in default:
            raise ValueError(f"the default of {name} cannot contain a variable")
        value = self.env.get(name, "")  # an empty variable is not set (contract, section 5)
        if not value and default is None:
            raise ValueError(f"{name} is not set; set it, or give a default: ${{{name}:-text}}")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} is not UTF-8") from None
        return value or default or ""

    def _take(self, characters: int, line: int) -> None:
        self._room -= characters
        if self._room < 0:
            raise Problem("larger than 4 MB after expansion", line=line)
