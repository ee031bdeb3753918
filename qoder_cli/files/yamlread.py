"""Read YAML into trees. PyYAML only parses: what plain words mean is decided here.

They mean what they mean in JSON: true, false, null (also `~` and nothing) and numbers.
All else is text: `yes`, `on`, `12:30:00`, `2026-06-14` and `010` stay as they were typed.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from qoder_cli.base import jsontext
from qoder_cli.files.tree import FileReading, Node, Path, Problem, Scalar

# The C parser where PyYAML has it; only events are asked for: nothing is constructed.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAG = "tag:yaml.org,2002:"
_TAGS = (None, "!", f"{_TAG}str", f"{_TAG}seq", f"{_TAG}map")
_SURROGATE = re.compile("[\ud800-\udfff]")  # let through by PyYAML's own parser only
_NOT_YAML = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Line ends for some readers only, and what shows a line in another order: what a reviewer sees, in comments too, would
# not be what is read.
_UNCLEAR = re.compile("\r(?!\n)|[\x85\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def refuse_unclear(text: str) -> None:
    """Raise Problem for a character with which a file is not read as it is seen."""
    if match := _UNCLEAR.search(text):
        line = text.count("\n", 0, match.start()) + 1
        code = ord(match[0])
        what = (
            "a line end for some readers only"
            if code in (0x0D, 0x85, 0x2028, 0x2029)
            else "which changes the order of what is seen"
        )
        written = f"in double quotes, write it as \\u{code:04x}"
        raise Problem(f"has the character U+{code:04X}, {what}; {written}", line=line)


def trees(text: str, problems: list[Problem]) -> Iterator[Node]:
    """Yield a YAML text's documents; what leaves the rest readable goes to `problems`."""
    refuse_unclear(text)
    if match := _NOT_YAML.search(text):
        line = text.count("\n", 0, match.start()) + 1
        raise Problem(f"not YAML: contains the control character U+{ord(match[0]):04X}", line=line)
    try:
        yield from _YamlReader(text, problems).documents()
    except yaml.MarkedYAMLError as error:
        raise _in_words(error, text) from None
    except (yaml.YAMLError, ValueError) as error:  # the latter: beyond Unicode
        raise Problem(f"not YAML: {error}", line=1) from None


class _YamlReader(FileReading):
    def __init__(self, text: str, problems: list[Problem]) -> None:
        super().__init__(problems)
        self._events = yaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str | None, Node | None] = {}  # None: still being read

    def documents(self) -> Iterator[Node]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
                yield self._value(next(self._events), ())

    def _value(self, event: Any, path: Path) -> Node:
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                what = "refers to an anchor that is not defined; put a text that begins with * in quotes"
                raise Problem(what, line=line)  # without its name: an unquoted password may begin with *
            if (anchored := self._anchors[event.anchor]) is None:
                raise Problem(f"*{event.anchor} refers to itself", line=line)
            self.count_again(anchored, path, line)
            return Node(line, anchored.content)
        self.count(path, line)
        self._check_tag(event, path)
        self._anchors[event.anchor] = None
        content: Scalar | list[Node] | dict[str, Node]
        if isinstance(event, yaml.ScalarEvent):
            content = text = _text(event)
            if event.implicit[0]:  # neither quoted, nor a block, nor tagged
                content = jsontext.parse(text) if _NUMBER.fullmatch(text) else _WORDS.get(text, text)
        elif isinstance(event, yaml.SequenceStartEvent):
            content = []
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                content.append(self._value(item, (*path, len(content))))
        else:
            content = {}
            while not isinstance(member := next(self._events), yaml.MappingEndEvent):
                at, key = _line(member), self._key(member, path)
                value = self._value(next(self._events), (*path, key))
                self.add(content, key, value, line=at, path=(*path, key))
        node = self._anchors[event.anchor] = Node(line, content)
        return node

    def _key(self, event: Any, path: Path) -> str:
        """Return a key: text, whatever it looks like."""
        if not isinstance(event, yaml.ScalarEvent):
            key = self._value(event, path).content
            if not isinstance(key, str):
                raise Problem("a key must be text", line=_line(event))
            return key
        self._check_tag(event, path)
        key = _text(event)
        self._anchors[event.anchor] = Node(_line(event), key)
        if key == "<<" and event.implicit[0]:
            text = "merge keys are not supported; write the fields out"
            self.problems.append(Problem(text, line=_line(event), path=(*path, key)))
        return key

    def _check_tag(self, event: Any, path: Path) -> None:
        if event.tag not in _TAGS:
            text = "a text that begins with ! must be in quotes"  # not repeated: it may be a password
            if event.tag.startswith(_TAG):
                text = f"the tag !!{event.tag.removeprefix(_TAG)} is not supported; only !!str is"
            self.problems.append(Problem(text, line=_line(event), path=path))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _text(event: Any) -> str:
    if _SURROGATE.search(event.value):
        what = "invalid surrogate in a text; write the character itself"
        raise Problem(f"not YAML: {what}", line=_line(event))
    return str(event.value)


def _in_words(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, met = 1, ""
    if mark:
        line, met = mark.line + 1, text[mark.index : mark.index + 1]
    if met and "cannot start any token" in (error.problem or ""):
        advice = "indent with spaces" if met == "\t" else "put it in quotes"
        return Problem(f"not YAML: a value cannot start with {met!a}; {advice}", line=line)
    what = f"not YAML: {error.problem or error.context or 'it cannot be read'}"
    if "undefined tag handle" in what:  # the parser in Python repeats it, and it may be a password
        what = "not YAML: a text that begins with ! must be in quotes"
    if error.problem and error.context and error.context_mark:
        what += f" ({error.context}, line {error.context_mark.line + 1})"
    if "mapping values are not allowed" in what:
        what += "; put a text with a colon and a space in quotes"
    elif "${" in "".join(text.splitlines()[line - 1 : line]) and re.search(r"',' or '[]}]'", what):
        what += "; inside { } and [ ], put ${NAME} in quotes"
    return Problem(what, line=line)
