"""Fields in normal form against the models: what is wrong, in words, at the line and field where the file says it."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from qoder_cli.files.model import AgentRef, Budget, DeploymentFile, Resource, Schedule
from qoder_cli.files.normal import READ_ONLY
from qoder_cli.files.problems import Problem
from qoder_cli.files.tree import Node, Path, spelled

_MOST = 1000  # problems of one deployment that are put into words: looking for near names takes its time

_INSIDE: dict[str, type[BaseModel]] = {"agent": AgentRef, "schedule": Schedule, "budget": Budget}
_SHAPES = {
    "agent": "an agent's id, or a mapping of id and version",
    "environment_variables": "a mapping of names and values, or a text of NAME=VALUE lines",
    "schedule": "a mapping of expression and timezone, or null",
    "budget": "an amount in credits, or null",
}
_WORDS = {
    "missing": "is required",
    "string_type": "must be text",
    "string_too_long": "has more than {max_length} characters",
    "string_too_short": "is empty",
    "too_long": "has more than {max_length} entries",
    "too_short": "is empty",
    "int_type": "must be a whole number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "union_tag_not_found": "needs a type: user.message, user.define_outcome or system.message",
    "union_tag_invalid": "the type must be {expected_tags}",
}


def check(fields: Mapping[str, Any], said: Node, *, at: Path = ()) -> list[Problem]:
    """Return all that is wrong with fields in normal form.

    `said` is the tree they came from, which knows the lines; `at` is where in its document it stands. No text of a
    problem shows anything that came from a variable.
    """
    try:
        DeploymentFile.model_validate(dict(fields))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return [_problem(detail, said, at) for detail in details[:_MOST]]
    return []


def _problem(detail: ErrorDetails, said: Node, at: Path) -> Problem:
    path, node = _located(detail, said)
    return Problem(_in_words(detail, path, node), line=node.line, path=spelled((*at, *path)))


def _located(detail: ErrorDetails, said: Node) -> tuple[Path, Node]:
    """Return where it is: as far as the file itself goes, which may have a short form of what was checked."""
    path: Path = ()
    node = said
    for step in detail["loc"]:
        if child := node.child(step):
            node = child
            path += (step,)
    if detail["type"] == "missing" and isinstance(node.content, dict):
        path += detail["loc"][-1:]
    return path, node


def _in_words(detail: ErrorDetails, path: Path, node: Node) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "value_error":
        words = context["error"].args
        return str(words[0] if node.has_filled() else words[-1])
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return "must be " + _SHAPES.get(spelled(path), "a mapping of fields")
    if kind == "list_type" and node.content == "":  # a text would do as well
        return "is empty"
    text = _WORDS.get(kind, "is not valid").format_map(context)
    if kind == "string_type":
        if node.content is None:
            text += ", not null"
        elif not isinstance(node.content, dict | list):
            text += "; put it in quotes"
    return text + _meant(context, node)


def _meant(context: Mapping[str, Any], node: Node) -> str:
    """Return what a wrong type was perhaps meant to be."""
    if node.has_filled() or not isinstance(wrong := context.get("tag", node.content), str):
        return ""
    choices = [choice for choice in _TYPES if choice in str(context.get("expected", context.get("expected_tags", "")))]
    near = get_close_matches(wrong, choices, n=1)
    return f"; did you mean {near[0]}?" if near else ""


_TYPES = (
    *("user.message", "user.define_outcome", "system.message"),
    *get_args(Resource.model_fields["type"].annotation),
)


def _unknown(path: Path) -> str:
    """Return what to say of a field that is not known at this place."""
    name = str(path[-1])
    if len(path) == 1 and name in READ_ONLY:
        return "is read-only; remove it"
    if len(path) == 1 and (parent := next((one for one, model in _INSIDE.items() if name in model.model_fields), None)):
        return f"unknown field; did you mean {parent}.{name}?"
    model = DeploymentFile if len(path) == 1 else _INSIDE.get(str(path[0]), DeploymentFile)
    near = get_close_matches(name.lower(), model.model_fields, n=1)
    return f"unknown field; did you mean {near[0]}?" if near else "unknown field"
