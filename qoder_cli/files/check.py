"""Check a deployment in its normal form against the documented limits (help/pages/api.md#deployments)."""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_core import ErrorDetails

from qoder_cli.base import cron
from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import NOT_OF_AN_ID, id_or_name
from qoder_cli.base.marks import is_ours
from qoder_cli.base.model import mapping
from qoder_cli.files.normal import ENV_NAME, READ_ONLY, RESERVED, assignments
from qoder_cli.files.tree import Node, Path, Problem, spelled

_MOST = 1000  # problems of one deployment that are told: looking for near names takes time

# A ValueError that a validator raises has what is wrong, and, second, words which show the text:
# only for one that did not come from a variable.


def _must(be: Callable[[str], object], or_else: str) -> AfterValidator:
    """Return a validator that texts must pass; `or_else` says what is wrong."""

    def check(text: str) -> str:
        if not be(text):
            raise ValueError(or_else)
        return text

    return AfterValidator(check)


def _matches(pattern: str, or_else: str) -> AfterValidator:
    return _must(re.compile(pattern, re.DOTALL).fullmatch, or_else)


def _id(prefix: str) -> AfterValidator:
    return _matches(f"{prefix}.+", f"must be an id that begins with {prefix}")


def _id_or_name(prefix: str, kind: str) -> AfterValidator:
    """Return a validator for an id or a name."""

    def check(text: str) -> str:
        wanted = f"an id ({prefix}…) or a name"
        if text.startswith(prefix) and text != prefix:
            return text  # an id, whatever it is made of
        try:
            id_or_name(text, prefix, kind, wanted)
        except UsageError as error:
            raise ValueError(f"must be {wanted}", f"must be {wanted}: {error.message}") from None
        return text

    return AfterValidator(check)


def _alone(id: str) -> str:
    if odd := NOT_OF_AN_ID.search(id):
        raise ValueError("must be only the id", f"must be only the id, without {odd[0]!r}")
    return id


def _cron_expression(expression: str) -> str:
    try:
        cron.parse(expression)
    except ValueError as error:
        raise ValueError("invalid cron expression", str(error)) from None
    return expression


def _time_zone(name: str) -> str:
    try:
        cron.zone(name)
    except ValueError as error:
        if known := _zones():  # without time zone data there is no telling
            near = get_close_matches(name.lower(), known, n=1)
            meant = f"; did you mean {known[near[0]]}?" if near else ""
            raise ValueError("unknown time zone", f"{error}{meant}") from None
    return name


@cache
def _zones() -> dict[str, str]:
    import zoneinfo

    return {name.lower(): name for name in sorted(zoneinfo.available_timezones())}


class _Strict(BaseModel):
    """Accepts no fields but its own."""

    model_config = ConfigDict(strict=True, extra="forbid")


class _Open(BaseModel):
    """Accepts unknown fields, unless they look like a slip."""

    model_config = ConfigDict(strict=True, extra="allow")

    @model_validator(mode="before")  # before: a misspelt field would be missing
    @classmethod
    def _no_slips(cls, value: Any) -> Any:
        missing = {name: field for name, field in cls.model_fields.items() if name not in mapping(value)}
        needed = [name for name, field in missing.items() if field.is_required()]
        for name in filter(lambda name: name not in cls.model_fields, mapping(value)):
            near = get_close_matches(name.lower(), needed, n=1) or get_close_matches(name.lower(), missing, 1, 0.8)
            if near:
                raise ValueError(f"unknown field {name[:60]}; did you mean {near[0]}?")
        return value


_UNSET: Any = None  # defaults are not checked: only what the file has

_Text = Annotated[str, Field(min_length=1)]


class _Schedule(_Strict):
    type: Literal["cron"]
    expression: Annotated[str, AfterValidator(_cron_expression)]
    timezone: Annotated[str, AfterValidator(_time_zone)]


_Credits = Annotated[
    str,
    _matches(
        r"(?=.*[1-9])[0-9]{1,12}(\.[0-9]{1,2})?",
        "must be an amount above 0, with at most 12 digits before the point and 2 after it",
    ),
]


class _Budget(_Strict):
    type: Literal["limit"]
    max_credit_cost: _Credits


class _TextBlock(_Open):
    type: Literal["text"]
    text: str


class _OtherBlock(_Open):
    """Any other content block: an image, a document, a kind to come."""

    type: str


_Block = Annotated[
    Annotated[_TextBlock, Tag("[text block]")] | Annotated[_OtherBlock, Tag("[block]")],
    Discriminator(lambda value: "[text block]" if mapping(value).get("type") == "text" else "[block]"),
]


class _Message(_Open):
    type: Literal["user.message", "system.message"]
    content: Annotated[list[_Block], Field(min_length=1)]


class _DefineOutcome(_Open):
    """The agent's goal, and how it is judged (help/pages/api.md#sending-events)."""

    type: Literal["user.define_outcome"]
    description: _Text
    rubric: dict[str, Any]
    max_iterations: Annotated[int, Field(ge=1, le=20)] = _UNSET


class _Resource(_Open):
    """A resource for the session (help/pages/api.md#resources); the server judges it."""

    type: Literal["file", "github_repository", "git_repository", "memory_store"]
    file_id: Any = _UNSET
    mount_path: Any = _UNSET
    url: Any = _UNSET
    checkout: Any = _UNSET
    authorization_token: str | None = _UNSET
    password: str | None = _UNSET
    memory_store_id: Any = _UNSET
    access: Any = _UNSET
    instructions: Any = _UNSET


# A text or a mapping: told apart first, so that only problems of that one are reported.
_TEXT, _MAPPING = "[text]", "[mapping]"
_BY_TYPE = Discriminator(lambda value: _TEXT if isinstance(value, str) else _MAPPING)
_AgentNamed = Annotated[str, _id_or_name("agent_", "agent")]


class _AgentRef(_Strict):
    id: _AgentNamed
    type: Literal["agent"]
    version: Annotated[int, Field(ge=1)] = _UNSET


_Agent = Annotated[Annotated[_AgentNamed, Tag(_TEXT)] | Annotated[_AgentRef, Tag(_MAPPING)], _BY_TYPE]

_NAMES_ONE = "is not a valid variable name: no =, ; or line break, and no space around it"
_CANNOT_CARRY = "must not contain a line break or ;, which the API cannot carry"
_NO_PAIRS = "must be NAME=VALUE pairs, each on a line of its own or with ; between them"
_Assignments = Annotated[str, _must(lambda text: assignments(text) is not None, _NO_PAIRS)]
_Variables = dict[
    Annotated[str, _matches(ENV_NAME, _NAMES_ONE)],
    Annotated[str, _matches(r"[^;\r\n]*", _CANNOT_CARRY)],
]
_EnvironmentVariables = Annotated[
    Annotated[_Assignments, Tag(_TEXT)] | Annotated[_Variables, Tag(_MAPPING)],
    _BY_TYPE,
]
_MetadataKey = Annotated[
    str,
    Field(max_length=64),
    _must(lambda key: key != RESERVED, "is read-only; remove it"),
    _must(lambda key: not is_ours(key), "is a key of qoder's own, which tells who created this; remove it"),
]


class _Deployment(_Strict):
    """All fields that a file may have; an update may have any one of them."""

    id: Annotated[str, Field(max_length=256), _id("dep_"), AfterValidator(_alone)] = _UNSET
    name: Annotated[str, Field(max_length=256), _must(str.strip, "is blank")] = _UNSET
    description: Annotated[str, Field(max_length=2048)] | None = _UNSET
    agent: _Agent = _UNSET
    environment_id: Annotated[str, _id("env_")] = _UNSET
    environment: Annotated[str, _id_or_name("env_", "environment")] = _UNSET
    environment_variables: _EnvironmentVariables = _UNSET
    schedule: _Schedule | None = _UNSET
    message: _Text = _UNSET  # short for one user.message; normal.py has written out right ones
    initial_events: Annotated[
        list[Annotated[_Message | _DefineOutcome, Field(discriminator="type")]],
        Field(min_length=1, max_length=50),
    ] = _UNSET
    resources: Annotated[list[_Resource], Field(max_length=500)] = _UNSET
    vault_ids: Annotated[list[Annotated[str, _id("vault_")]], Field(max_length=50)] = _UNSET
    vaults: Annotated[list[Annotated[str, _id_or_name("vault_", "vault")]], Field(max_length=50)] = _UNSET
    metadata: Annotated[dict[_MetadataKey, Annotated[str, Field(max_length=512)]], Field(max_length=16)] = _UNSET
    budget: _Budget | None = _UNSET


_INSIDE: dict[str, type[BaseModel]] = {"agent": _AgentRef, "schedule": _Schedule, "budget": _Budget}
_EVENTS = ("user.message", "user.define_outcome", "system.message")
_TYPES = (*_EVENTS, *get_args(_Resource.model_fields["type"].annotation))
_SHAPES = {
    "agent": "an agent's id or name, or a mapping of id and version",
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
    "union_tag_not_found": f"needs a type: {_EVENTS[0]}, {_EVENTS[1]} or {_EVENTS[2]}",
    "union_tag_invalid": "the type must be {expected_tags}",
}


def check(fields: Mapping[str, Any], tree: Node, *, at: Path = ()) -> list[Problem]:
    """Return all problems of fields in normal form, with lines and fields of the file.

    `said` is the tree they came from, which knows the lines; `at` is its place in the
    document. No problem shows anything that came from a variable.
    """
    try:
        _Deployment.model_validate(dict(fields))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return [_problem(detail, tree, at) for detail in details[:_MOST]]
    return []


def _problem(detail: ErrorDetails, tree: Node, at: Path) -> Problem:
    """Return the problem, at its place in the file, which may have a short form."""
    path: Path = ()
    node = tree
    for step in detail["loc"]:
        if child := node.child(step):
            node = child
            path += (step,)
    if detail["type"] == "missing" and isinstance(node.content, dict):
        path += detail["loc"][-1:]
    return Problem(_in_words(detail, path, node), line=node.line, path=(*at, *path))


def _in_words(detail: ErrorDetails, path: Path, node: Node) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "value_error":
        words = context["error"].args
        return str(words[0] if node.has_filled() else words[-1])
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return "must be " + _SHAPES.get(spelled(path), "a mapping of fields")
    if kind == "list_type" and node.content == "":  # a text is allowed too
        return "is empty"
    text = _WORDS.get(kind, "is not valid").format_map(context)
    if kind == "string_type":
        if node.content is None:
            text += ", not null"
        elif not isinstance(node.content, dict | list):
            text += "; put it in quotes"
    return text + _meant(context, node)


def _meant(context: Mapping[str, Any], node: Node) -> str:
    """Return a suggestion for a mistyped type, or nothing."""
    if node.has_filled() or not isinstance(wrong := context.get("tag", node.content), str):
        return ""
    expected = str(context.get("expected", context.get("expected_tags", "")))
    near = get_close_matches(wrong, [choice for choice in _TYPES if choice in expected], n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return ""


def _unknown(path: Path) -> str:
    name = str(path[-1])
    model: type[BaseModel] = _Deployment
    if len(path) > 1:
        model = _INSIDE.get(str(path[0]), _Deployment)
    elif name in READ_ONLY:
        return "is read-only; remove it"
    elif parent := next((one for one, inside in _INSIDE.items() if name in inside.model_fields), None):
        return f"unknown field; did you mean {parent}.{name}?"
    near = get_close_matches(name.lower(), model.model_fields, n=1)
    if near:
        return f"unknown field; did you mean {near[0]}?"
    return "unknown field"
