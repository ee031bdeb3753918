"""YAML text to trees. PyYAML reads, but constructs nothing: what a plain word means is decided here.

Plain words mean what they mean in JSON: true, false, null (also `~` and nothing at all) and JSON's numbers. All else is
text, so that `yes`, `on`, `12:30:00`, `2026-06-14` and `010` stay what was typed.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from qoder_cli.base import jsontext
from qoder_cli.files.problems import Problem
from qoder_cli.files.tree import Builder, Node, Scalar

# The C parser where PyYAML has it; as only events are asked for, the loader's constructor is never used.
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


def trees(text: str, problems: list[Problem]) -> Iterator[Node]:
    """Yield the documents of a YAML text.

    Problems that leave the rest readable (a key that is there twice, a tag, `<<`) are added to `problems`; the others
    are raised.
    """
    if found := _NOT_YAML.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise Problem(f"not YAML: the control character U+{ord(found[0]):04X}", line=line)
    builder = Builder(problems)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.DocumentEndEvent):
                yield builder.tree()
            else:
                _meet(event, builder)
    except yaml.MarkedYAMLError as error:
        raise _in_words(error, text) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a character beyond Unicode, in PyYAML's own parser
        raise Problem(f"not YAML: {error}", line=1) from None


def _meet(event: yaml.Event, builder: Builder) -> None:
    line = event.start_mark.line + 1 if event.start_mark else 1
    if isinstance(event, yaml.AliasEvent):
        builder.alias(event.anchor or "", line=line)
    elif isinstance(event, yaml.ScalarEvent):
        _check_tag(event.tag, builder, line)
        _meet_scalar(event, builder, line)
    elif isinstance(event, yaml.CollectionStartEvent):
        _check_tag(event.tag, builder, line)
        empty: list[Node] | dict[str, Node] = {} if isinstance(event, yaml.MappingStartEvent) else []
        builder.begin(empty, line=line, anchor=event.anchor)
    elif isinstance(event, yaml.CollectionEndEvent):
        builder.end()


def _meet_scalar(event: yaml.ScalarEvent, builder: Builder, line: int) -> None:
    if _SURROGATE.search(event.value):
        raise Problem("not YAML: half of a surrogate pair in a text; write the character itself", line=line)
    plain = bool(event.implicit[0])  # neither quoted, nor a block, nor tagged
    if not builder.wants_key:
        builder.scalar(_meaning(event.value) if plain else event.value, line=line, anchor=event.anchor)
        return
    builder.key(event.value, line=line)
    if plain and event.value == "<<":
        builder.problem("merge keys are not supported; write the fields out", line=line)


def _meaning(word: str) -> Scalar:
    if word in _WORDS:
        return _WORDS[word]
    value: Scalar = jsontext.parse(word) if _NUMBER.fullmatch(word) else word
    return value


def _check_tag(tag: str | None, builder: Builder, line: int) -> None:
    if tag not in _TAGS:
        builder.problem(f"the tag {tag.replace(_TAG, '!!') if tag else ''} is not supported; only !!str is", line=line)


def _in_words(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, met = (mark.line + 1, text[mark.index : mark.index + 1]) if mark else (1, "")
    if met and "cannot start any token" in (error.problem or ""):
        advice = "indent with spaces, not tabs" if met == "\t" else "put the text in quotes"
        return Problem(f"not YAML: nothing begins with {met!a}; {advice}", line=line)
    what = f"not YAML: {error.problem or error.context or 'it cannot be read'}"
    if error.problem and error.context and error.context_mark:
        what += f" ({error.context}, line {error.context_mark.line + 1})"
    return Problem(what + _advice(error.problem or "", "".join(text.splitlines()[line - 1 : line])), line=line)


def _advice(problem: str, line: str) -> str:
    """Return what to do about a text that needs quotes, where that is what is wrong."""
    if "mapping values are not allowed" in problem:
        return "; a text with a colon and a space in it needs quotes"
    if "${" in line and re.search(r"',' or '[]}]'", problem):
        return "; within { } and [ ] a ${NAME} needs quotes"
    return ""
