"""YAML that every version of YAML reads as the value that JSON would have, and that is harmless on a terminal."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from qoder_cli.base import jsontext
from qoder_cli.output.screen import commandless

Spell = Callable[[str], str]  # how a text that is a value is written

_LONGEST_KEY = 1000  # characters; YAML wants longer keys marked

# Texts that need no quotes: every version of YAML reads them as text.
_PLAIN = re.compile(r"[A-Za-z_][\w./@-]*(?: [\w./@-]+)*", re.ASCII)
_NOT_TEXT = re.compile(r"true|false|yes|no|on|off|y|n|null", re.IGNORECASE)

# What a block cannot hold: what YAML does not take as it is, and what nobody would see.
_HIDDEN = re.compile(
    "[^\t\n -~\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
    "|[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069]"
)
_WITH_EXPONENT = re.compile(r"(-?[0-9]+)(\.[0-9]+)?[eE]([-+]?)([0-9]+)")
_BEYOND_JSON = re.compile("[\u2028\u2029\ufeff\ufffe\uffff]")  # YAML does not take them as they are


class Unquoted(str):
    """A text that is written as it is, without quotes; `comment` stands behind it."""

    comment: str

    def __new__(cls, text: str, comment: str = "") -> "Unquoted":
        unquoted = super().__new__(cls, text)
        unquoted.comment = comment
        return unquoted


def document(value: Any) -> str:
    """Return a value as a YAML document."""
    if isinstance(value, dict | list) and value:
        return "".join(f"{line}\n" for line in _inside(value, 0, str))
    return f"{_scalar(value, str)}\n"


def item(value: Any) -> str:
    """Return a value as an item of the list that is the whole document."""
    return "".join(f"{line}\n" for line in entry("-", value))


def entry(head: str, value: Any, indent: int = 0, *, spell: Spell = str) -> Iterator[str]:
    """Yield the lines of a value behind `head`: a key and its colon, or a dash."""
    pad = " " * indent
    if isinstance(value, dict | list) and value:
        inner = list(_inside(value, indent + 2, spell))
        if head == "-":
            yield f"{pad}- {inner.pop(0).lstrip(' ')}"
        else:
            yield pad + head
        yield from inner
    elif isinstance(value, Unquoted):
        yield f"{pad}{head} {value}  {value.comment}".rstrip()
    elif isinstance(value, str) and _is_block(value):
        yield f"{pad}{head} |" + ("" if value.endswith("\n") else "-")
        lines = spell(value).removesuffix("\n").split("\n")
        yield from (f"{pad}  {line}" if line else "" for line in lines)
    else:
        yield f"{pad}{head} {_scalar(value, spell)}"


def _inside(value: dict[str, Any] | list[Any], indent: int, spell: Spell) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from entry("-", item, indent, spell=spell)
        return
    for key, item in value.items():
        key_text = _plain_or_quoted(key)
        head = f"{key_text}:" if len(key_text) <= _LONGEST_KEY else f"? {key_text}\n{' ' * indent}:"
        yield from entry(head, item, indent, spell=spell)


def _is_block(text: str) -> bool:
    """Return whether a text of several lines can be a block, readable and exact."""
    return (
        "\n" in text
        and not text[0].isspace()
        and not text.endswith("\n\n")
        and all(line == line.rstrip() for line in text.split("\n"))
        and commandless(text) == text  # in quotes no CI system takes it for a command
        and not has_hidden(text)
    )


def has_hidden(text: str) -> bool:
    """Return whether a text has what nobody would see in a file, or what YAML takes only in quotes."""
    return _HIDDEN.search(text) is not None


def _scalar(value: Any, spell: Spell) -> str:
    scalar = _plain_or_quoted(spell(value)) if isinstance(value, str) else jsontext.dump(value)
    if match := _WITH_EXPONENT.fullmatch(scalar):  # YAML 1.1 takes `1e30` for a text
        whole, fraction, sign, exponent = match.groups()
        return f"{whole}{fraction or '.0'}e{sign or '+'}{exponent}"
    return scalar


def _plain_or_quoted(text: str) -> str:
    if _PLAIN.fullmatch(text) and not _NOT_TEXT.fullmatch(text):
        return text
    return spelled(jsontext.dump(text))


def spelled(text: str) -> str:
    """Return a line with what YAML does not take as it is spelled as in JSON."""
    return _BEYOND_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
