"""JSON text to trees, by JSON's own rules: YAML would fold line separators and refuse pairs of surrogates."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.files.problems import Problem
from qoder_cli.files.tree import Builder, Node, Scalar

_TOKEN = re.compile(
    r'(?P<text>"(?:[^"\\\x00-\x1f]++|\\.)*+")'
    r"|(?P<plain>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.])|true\b|false\b|null\b)"
    r"|(?P<mark>[\[\]{}:,])"
)
_SPACE = re.compile(r"[ \t\n\r]*")


class _Token(NamedTuple):
    text: str
    line: int


_END = ""


def trees(text: str, problems: list[Problem]) -> Iterator[Node]:
    """Yield the values of a JSON text, mostly one; several may follow each other, as in JSON Lines.

    Problems that leave the rest readable (a key that is there twice) are added to `problems`; the others are raised.
    """
    reader = _Reader(text, problems)
    while reader.has_more:
        yield reader.tree()


class _Reader:
    """Reads values by descending into them; the builder's bound on the depth ends that."""

    def __init__(self, text: str, problems: list[Problem]) -> None:
        self._builder = Builder(problems)
        self._tokens = _tokens(text)
        self._next = next(self._tokens)

    @property
    def has_more(self) -> bool:
        return self._next.text != _END

    def tree(self) -> Node:
        self._value()
        return self._builder.tree()

    def _value(self) -> None:
        token = self._take()
        if token.text == "{":
            self._builder.begin({}, line=token.line)
            self._members()
        elif token.text == "[":
            self._builder.begin([], line=token.line)
            self._items()
        elif token.text in ("}", "]", ":", ",", _END):
            raise _unexpected(token, "a value")
        else:
            self._builder.scalar(_scalar(token), line=token.line)

    def _members(self) -> None:
        while self._goes_on("}"):
            key = self._take()
            if not key.text.startswith('"'):
                raise _unexpected(key, 'a key in quotes, like "name"')
            self._builder.key(str(_scalar(key)), line=key.line)
            if (colon := self._take()).text != ":":
                raise _unexpected(colon, "a colon")
            self._value()

    def _items(self) -> None:
        while self._goes_on("]"):
            self._value()

    def _goes_on(self, close: str) -> bool:
        """Return whether another member or item comes; where the list or mapping closes, end it."""
        empty = self._builder.is_empty
        if self._next.text == close:
            self._take()
            self._builder.end()
            return False
        if not empty and (comma := self._take()).text != ",":
            raise _unexpected(comma, f"a comma or {close}")
        return True

    def _take(self) -> _Token:
        taken, self._next = self._next, next(self._tokens, self._next)
        return taken


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while True:
        begin = _after_space(text, at)
        line += text.count("\n", at, begin)
        if begin == len(text):
            yield _Token(_END, line)
            return
        found = _TOKEN.match(text, begin)
        if found is None:
            raise Problem(f"not JSON: {_why(text[begin])}", line=line)
        yield _Token(found[0], line)
        at = found.end()


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _why(character: str) -> str:
    if character == '"':
        return "a text that does not end, or holds a raw line break or tab; write \\n and \\t"
    if character in "/#":
        return "JSON has no comments; YAML has, in a file called .yaml"
    return f"unexpected {character!a}"


def _scalar(token: _Token) -> Scalar:
    try:
        value: Scalar = jsontext.parse(token.text)
        str(value).encode()
    except UnicodeEncodeError:
        raise Problem("not JSON: half of a surrogate pair in a text", line=token.line) from None
    except ValueError:
        raise Problem("not JSON: an escape that JSON does not have", line=token.line) from None
    return value


def _unexpected(token: _Token, wanted: str) -> Problem:
    met = "the end" if token.text == _END else repr(token.text[:20])
    return Problem(f"not JSON: {met} where {wanted} was expected", line=token.line)
