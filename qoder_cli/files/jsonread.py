"""Read JSON into trees. YAML would fold line separators and refuse surrogate pairs."""

import re
from collections.abc import Iterator

from qoder_cli.base import jsontext
from qoder_cli.files.tree import FileReading, Node, Path, Problem, Scalar

_SCALAR = re.compile(r'"(?:[^"\\\x00-\x1f]++|\\.)*+"|[\w.+-]++')
_SPACE = re.compile(r"[ \t\n\r]*")


def trees(text: str, problems: list[Problem]) -> Iterator[Node]:
    """Yield the values of a JSON text; duplicate keys are added to `problems`."""
    reader = _JsonReader(text, problems)
    while reader.next():
        yield reader.value(())


class _JsonReader(FileReading):
    def __init__(self, text: str, problems: list[Problem]) -> None:
        super().__init__(problems)
        self._text, self._at, self._line = text, 0, 1

    def next(self) -> str:
        """Skip white space and return the next character; none at the end."""
        space = _SPACE.match(self._text, self._at)
        assert space  # the pattern matches an empty text too
        began, self._at = self._at, space.end()
        self._line += self._text.count("\n", began, self._at)
        return self._text[self._at : self._at + 1]

    def value(self, path: Path) -> Node:
        opening, line = self.next(), self._line
        self.count(path, line)
        if opening == "{":
            content: dict[str, Node] = {}
            for _ in self._items("}"):
                if self.next() != '"':
                    raise self._unexpected('a key in quotes, like "name"')
                at, key = self._line, str(self._scalar("a key"))
                self._take(":")
                self.add(content, key, self.value((*path, key)), line=at, path=(*path, key))
            return Node(line, content)
        if opening != "[":
            return Node(line, self._scalar("a value"))
        items: list[Node] = []
        for _ in self._items("]"):
            items.append(self.value((*path, len(items))))
        return Node(line, items)

    def _items(self, closing: str) -> Iterator[None]:
        """Yield before each item, past its comma; then take what closes them."""
        self._at += 1  # the opening bracket
        is_first = True
        while self.next() != closing:
            if not is_first:
                self._take(",", f"a comma or {closing}")
            is_first = False
            yield
        self._at += 1

    def _take(self, mark: str, wanted: str = "a colon") -> None:
        if self.next() != mark:
            raise self._unexpected(wanted)
        self._at += 1

    def _scalar(self, wanted: str) -> Scalar:
        if (match := _SCALAR.match(self._text, self._at)) is None:
            raise self._unexpected(wanted)
        try:
            value: Scalar = jsontext.parse(match[0])
            str(value).encode()
        except UnicodeEncodeError:
            raise self._problem("invalid surrogate in a string") from None
        except ValueError:
            raise self._problem(f"invalid value {match[0][:20]!a}") from None
        self._at = match.end()
        return value

    def _unexpected(self, wanted: str) -> Problem:
        character = self._text[self._at : self._at + 1]
        if character == '"' and not _SCALAR.match(self._text, self._at):
            return self._problem("unterminated string, or a raw line break or tab in it; write \\n and \\t")
        if character and character in "/#":
            return self._problem("JSON does not allow comments; use a .yaml file")
        met = ascii(character) if character else "the end"
        return self._problem(f"expected {wanted}, found {met}")

    def _problem(self, text: str) -> Problem:
        return Problem(f"not JSON: {text}", line=self._line)
