"""JSON that reaches standard output unchanged, and is harmless on a terminal.

The standard parser turns `1.10` into `1.1`, `1E400` into `Infinity`, and refuses integers of 5,000 digits.
Here a number that Python would write differently keeps its text.
"""

import json
import os
import re
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

DEEPEST = 200  # levels; deeper documents are refused, so that nothing after the parser can overflow the stack
_TOO_DEEP = f"nested more than {DEEPEST} levels deep"
_MARK = os.urandom(16).hex()  # around a Number while it is written: unknown to whoever wrote the strings beside it
_LONGEST_PLAIN_INT = 18  # digits; longer ones are kept as text (int() refuses more than 4,300)

# Characters that JSON allows raw but that steer a terminal or cannot be encoded: DEL and C1, bidirectional controls,
# line separators, lone surrogates. C0 is always escaped by the encoder itself.
_STEERING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# `##[`, `##vso[` and `##teamcity[` are commands to CI systems wherever they stand in a line (`output/screen.py`). They
# can only stand in a string, where the second `#` may be spelled otherwise; `::` cannot begin a line of JSON.
_COMMAND = re.compile(r"(?<=#)#(?=\w*\[)")


@dataclass(frozen=True)
class Number:
    """A number as the server wrote it, where Python would change it."""

    text: str

    def __str__(self) -> str:
        return self.text


class Repeated(dict[str, Any]):
    """An object that names a field twice: readers differ about which one counts."""


_FIRSTS = (*'0123456789-"[{tfn',)  # characters with which JSON begins
_CONTAINERS = frozenset((dict, list, Repeated))


def parse(text: str, *, exact: bool = False) -> Any:
    """Return the value of a JSON text. Raises ValueError, also for NaN and more than 200 levels.

    If it is to be `exact`, which takes longer, an object that names a field twice is a `Repeated`.
    """
    hook = _object if exact else None
    try:
        value = json.loads(
            text, parse_float=Number, parse_int=_integer, parse_constant=_no_constant, object_pairs_hook=hook
        )
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if text.count("[") + text.count("{") > DEEPEST and _depth(value) > DEEPEST:
        raise ValueError(_TOO_DEEP)
    return value


def reads_as_json(text: str) -> bool:
    """Return whether a text is JSON, as `1`, `null` and `"a"` are: shown without quotes, it would look like that."""
    if text.lstrip(" \t\r\n")[:1] not in _FIRSTS:
        return False
    try:
        parse(text)
    except ValueError:
        return False
    return True


def is_repeated(value: Any) -> bool:
    """Return whether an object in what was parsed to be `exact` names a field twice."""
    if isinstance(value, dict):
        return isinstance(value, Repeated) or any(map(is_repeated, value.values()))
    return isinstance(value, list) and any(map(is_repeated, value))


def dump(value: Any, *, indent: int | None = None, ascii_only: bool = False, is_sorted: bool = False) -> str:
    """Return `value` as JSON: numbers unchanged, and no commands to a terminal or a CI system."""
    how: dict[str, Any] = {"ensure_ascii": ascii_only, "indent": indent, "sort_keys": is_sorted}
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, separators=separators, default=_marked, **how)
    text = _STEERING.sub(_escape, text.replace(f'"{_MARK}', "").replace(f'{_MARK}"', ""))
    if "##" in text:
        return _COMMAND.sub(_escape, text)
    return text


def declared(value: Any) -> Any:
    """Return the JSON of a value of a declared type, a dataclass: its fields, and so on within them."""
    if is_dataclass(value) and not isinstance(value, Number | type):
        return {field.name: declared(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list):
        return list(map(declared, value))
    return value


def _marked(number: Number) -> str:
    return f"{_MARK}{number.text}{_MARK}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    return Repeated(fields)


def _integer(text: str) -> int | Number:
    if len(text) > _LONGEST_PLAIN_INT or text == "-0":
        return Number(text)
    return int(text)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _depth(value: Any) -> int:
    depth = 0
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    while level:  # all containers of one level; `type() is`, because this runs over every value of a long list
        depth += 1
        inside = [child for one in level for child in (one if type(one) is list else one.values())]
        level = [child for child in inside if type(child) in _CONTAINERS]
    return depth


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
