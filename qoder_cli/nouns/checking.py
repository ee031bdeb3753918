"""Tell what is wrong in a file: by the schema of its noun, with the line and the field."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from qoder_cli.base.tokens import NAMES, REDACTED, names_token
from qoder_cli.files.filling import is_unset
from qoder_cli.files.tree import Node, Path, Problem
from qoder_cli.http.redact import by_shape
from qoder_cli.nouns.schema import Fields, Reader, Violation, fields_of, inside
from qoder_cli.nouns.schema import check as check_by_schema

_MOST = 1000  # problems of one body that are reported: looking for near names takes time
_WORDS = {
    "missing": "is required",
    "text": "must be text",
    "string_type": "must be text",
    "string_too_long": "has more than {max_length} characters",
    "string_too_short": "is empty",
    "too_long": "has more than {max_length} entries",
    "too_short": "is empty",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of fields",
    "literal_error": "must be {expected}",
    "one_of": "must be {expected}",
    "whole": "the type must be {expected}",
}


def check_body(
    cls: type[Fields],
    fields: Mapping[str, Any],
    tree: Node,
    reader: Reader,
    shorts: Mapping[str, str] = MappingProxyType({}),
) -> list[Problem]:
    """Return all problems of a body, with lines and fields of the file.

    `tree` is what the fields came from, which knows the lines; it may have the `shorts` of fields. No problem shows
    anything that came from a variable.
    """
    _, violations = check_by_schema(cls, dict(fields), reader, most=_MOST)
    return [*filter(None, (_problem(cls, violation, tree, shorts) for violation in violations))]


def places_in(node: Node, at: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Yield a node, and all that is in it, each with its place."""
    yield at, node
    for step, child in node.items():
        yield from places_in(child, (*at, step))


def tree_of(value: Any) -> Node:
    """Return a JSON value that stands in no file as a tree."""
    if isinstance(value, dict):
        return Node(0, {str(key): tree_of(child) for key, child in value.items()})
    if isinstance(value, list):
        return Node(0, list(map(tree_of, value)))
    return Node(0, value)


def _problem(cls: type[Fields], violation: Violation, tree: Node, shorts: Mapping[str, str]) -> Problem | None:
    """Return the problem, at its place in the file; None of a variable that is not set."""
    path: Path = ()
    node = tree
    for step in violation.path:
        name = next((name for name in (step, shorts.get(str(step), "")) if node.child(name)), None)
        if name is not None and (child := node.child(name)):
            node, path = child, (*path, name)
    if any(is_unset(within.content) for _, within in places_in(node)):
        return None
    if violation.kind == "missing" and isinstance(node.content, dict):
        path += violation.path[-1:]
    return Problem(_in_words(cls, violation, path, node), line=node.line, path=path)


def _in_words(cls: type[Fields], violation: Violation, path: Path, node: Node) -> str:
    kind, context = violation.kind, violation.context
    if kind == "extra_forbidden":
        return _unknown(cls, path)
    if kind == "value_error":
        words = context["error"].args
        return str(words[0] if node.has_filled() else words[-1])
    if kind == "list_type" and node.content == "":  # a text is allowed too
        return "is empty"
    text = _WORDS.get(kind, "is not valid").format_map(context)
    if kind == "string_type":
        if node.content is None:
            text += ", not null"
        elif not isinstance(node.content, dict | list):
            text += "; put it in quotes"
    if context.get("near") and not node.has_filled():
        text += f"; did you mean {context['near']}?"
    return text


def _unknown(cls: type[Fields], path: Path) -> str:
    name, fields = str(path[-1]), fields_of(cls)
    if len(path) > 1:
        fields = fields_of(next(inside(fields[str(path[0])].hint)))
    elif name in fields:
        return "is read-only; remove it"
    else:
        for parent, field in fields.items():
            for inner in inside(field.hint):
                if inner.unknown == "refused" and name in fields_of(inner):
                    return f"unknown field; did you mean {parent}.{name}?"
    near = get_close_matches(name.lower(), [name for name, field in fields.items() if not field.is_servers], n=1)
    if near:
        return f"unknown field; did you mean {near[0]}?"
    return "unknown field"


# Where a token may stand: an agent reads it, or a shell runs it. So may it in what is named as a secret.
_FOR_TOKENS = (
    *("content", "environment_variables", "headers", "initial_events", "instructions", "message"),
    *("setup_script", "system", "text"),
)
_SECRET_NAME = re.compile(NAMES, re.IGNORECASE)


def tokens_in(node: Node, at: Path = (), *, filled: bool = True) -> Iterator[Problem]:
    """Yield the places of a file where a token stands and something else belongs; none is shown.

    Those that are `filled` from variables may be left out.
    """
    for step, child in node.items():
        path = (*at, step)
        if isinstance(step, str) and names_token(step):
            yield Problem("has a key that is a token", line=child.line, path=at)
        elif step in _FOR_TOKENS and "metadata" not in at:
            continue
        elif not isinstance(child.content, str):
            yield from tokens_in(child, path, filled=filled)
        elif child.filled and not filled:
            continue
        elif "metadata" in at or not _SECRET_NAME.search(str(step)):  # everyone sees metadata
            is_url = str(step).endswith("url")
            if names_token(child.content) or (is_url and by_shape(child.content) != child.content):
                what = "holds a password or a token" if is_url else "is, or holds, a token"
                hint = "set it in the field for tokens, or put it into a vault"
                yield Problem(f"{what}; {hint}", line=child.line, path=path)


def problems_of_hidden(node: Node) -> Iterator[Problem]:
    """Yield the places of a file, before variables are filled in, where a secret was hidden: it cannot be sent so."""
    for path, place in places_in(node):
        words = place.content if isinstance(place.content, dict) else [place.content]
        is_hidden = any(isinstance(word, str) and REDACTED in word for word in words)
        if is_hidden:
            what = f"has {REDACTED} in place of a secret; write what belongs there, or ${{NAME}} for a variable"
            yield Problem(what, line=place.line, path=path)
