"""The documented limits of a deployment (api/facts.md, 1.2), as models of the shape that normal.py makes of a file."""

import re
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from qoder_cli.base import cron
from qoder_cli.base.ids import NOT_OF_AN_ID
from qoder_cli.base.model import mapping
from qoder_cli.files.normal import ENV_NAME, RESERVED, assignments

# A ValueError that a validator raises has what is wrong, and, as a second argument, more precise words, which show the
# text: only for one that did not come from a variable.


def _id(prefix: str) -> AfterValidator:
    def check(text: str) -> str:
        if not text.startswith(prefix) or text == prefix:
            raise ValueError(f"must be an id that begins with {prefix}")
        return text

    return AfterValidator(check)


def _alone(id: str) -> str:
    if odd := NOT_OF_AN_ID.search(id):
        raise ValueError("must be only the id", f"must be only the id, without {odd[0]!r}")
    return id


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    return text


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
    """Return the names of all zones, by what they are in lowercase."""
    import zoneinfo

    return {name.lower(): name for name in sorted(zoneinfo.available_timezones())}


def _amount(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,2})?", text) or not float(text):
        raise ValueError("must be an amount above 0, with at most 12 digits before the point and 2 after it")
    return text


def _assignments(text: str) -> str:
    if assignments(text) is None:
        raise ValueError("must be NAME=VALUE pairs, each on a line of its own or with ; between them")
    return text


def _variable_name(name: str) -> str:
    if not re.fullmatch(ENV_NAME, name):
        raise ValueError("is not a valid variable name: no =, ; or line break, and no space around it")
    return name


def _variable_value(value: str) -> str:
    if re.search(r"[;\r\n]", value):
        raise ValueError("must not contain a line break or ;, which the API cannot carry")
    return value


def _not_reserved(key: str) -> str:
    if key == RESERVED:
        raise ValueError("is read-only; remove it")
    return key


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Open(BaseModel):
    """May have fields that are not known here, for the server to judge; but not ones that look like a slip."""

    model_config = ConfigDict(strict=True, extra="allow")

    @model_validator(mode="before")  # a field that is missing is so for its slip
    @classmethod
    def _no_slips(cls, said: Any) -> Any:
        missing = {name: field for name, field in cls.model_fields.items() if name not in mapping(said)}
        needed = [name for name, field in missing.items() if field.is_required()]
        for name in filter(lambda name: name not in cls.model_fields, mapping(said)):
            near = get_close_matches(name.lower(), needed, n=1) or get_close_matches(name.lower(), missing, 1, 0.8)
            if near:
                raise ValueError(f"unknown field {name[:60]}; did you mean {near[0]}?")
        return said


_UNSET: Any = None  # defaults are never looked at: what is not in the file is not checked

AgentId = Annotated[str, _id("agent_")]
Text = Annotated[str, StringConstraints(min_length=1)]


class AgentRef(_Strict):
    """An agent, pinned to a version."""

    id: AgentId
    type: Literal["agent"]
    version: Annotated[int, Field(ge=1)] = _UNSET


class Schedule(_Strict):
    """All of it belongs together, also in an update."""

    type: Literal["cron"]
    expression: Annotated[str, AfterValidator(_cron_expression)]
    timezone: Annotated[str, AfterValidator(_time_zone)]


class Budget(_Strict):
    """A limit in credits."""

    type: Literal["limit"]
    max_credit_cost: Annotated[str, AfterValidator(_amount)]


class TextBlock(_Open):
    """A block of text in a content."""

    type: Literal["text"]
    text: str


class OtherBlock(_Open):
    """Any other block of a content: an image, a document, or what comes to be."""

    type: str


Block = Annotated[
    Annotated[TextBlock, Tag("[text block]")] | Annotated[OtherBlock, Tag("[block]")],
    Discriminator(lambda value: "[text block]" if mapping(value).get("type") == "text" else "[block]"),
]
Content = Annotated[list[Block], Field(min_length=1)]


class Message(_Open):
    """What the agent is told."""

    type: Literal["user.message", "system.message"]
    content: Content


class DefineOutcome(_Open):
    """What the agent shall reach, and how that is judged (api/facts.md, 2.3)."""

    type: Literal["user.define_outcome"]
    description: Text
    rubric: dict[str, Any]
    max_iterations: Annotated[int, Field(ge=1, le=20)] = _UNSET


class Resource(_Open):
    """What is put into the session (api/facts.md, 1.2 and 4); which fields it needs is the server's to judge."""

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


InitialEvent = Annotated[Message | DefineOutcome, Field(discriminator="type")]
VariableName = Annotated[str, AfterValidator(_variable_name)]
VariableValue = Annotated[str, AfterValidator(_variable_value)]
MetadataKey = Annotated[str, StringConstraints(max_length=64), AfterValidator(_not_reserved)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]

# Either a text or a mapping: told apart first, so that only the problems of that one are told.
_TEXT, _MAPPING = "[text]", "[mapping]"
_BY_TYPE = Discriminator(lambda value: _TEXT if isinstance(value, str) else _MAPPING)
Agent = Annotated[Annotated[AgentId, Tag(_TEXT)] | Annotated[AgentRef, Tag(_MAPPING)], _BY_TYPE]
EnvironmentVariables = Annotated[
    Annotated[str, AfterValidator(_assignments), Tag(_TEXT)]
    | Annotated[dict[VariableName, VariableValue], Tag(_MAPPING)],
    _BY_TYPE,
]


class DeploymentFile(_Strict):
    """All that a file may say of a deployment; nothing is required here, as an update may be of any one field."""

    id: Annotated[str, StringConstraints(max_length=256), _id("dep_"), AfterValidator(_alone)] = _UNSET
    name: Annotated[str, StringConstraints(max_length=256), AfterValidator(_not_blank)] = _UNSET
    description: Annotated[str, StringConstraints(max_length=2048)] | None = _UNSET
    agent: Agent = _UNSET
    environment_id: Annotated[str, _id("env_")] = _UNSET
    environment_variables: EnvironmentVariables = _UNSET
    schedule: Schedule | None = _UNSET
    message: Text = _UNSET  # the short form of one user.message; normal.py has written out all but a wrong one
    initial_events: Annotated[list[InitialEvent], Field(min_length=1, max_length=50)] = _UNSET
    resources: Annotated[list[Resource], Field(max_length=500)] = _UNSET
    vault_ids: Annotated[list[Annotated[str, _id("vault_")]], Field(max_length=50)] = _UNSET
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = _UNSET
    budget: Budget | None = _UNSET
