"""What a caller may write: the bodies of create and update (api/facts.md, 1.2)."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from qoder_cli import cron
from qoder_cli.sandbox.pages import Invalid

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
EnvironmentId = Annotated[str, StringConstraints(pattern="^env_")]
AgentId = Annotated[str, StringConstraints(pattern="^agent_")]
MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
VaultIds = Annotated[list[str], Field(max_length=50)]


def _checked_expression(expression: str) -> str:
    cron.parse(expression)
    if cron.names_in(expression):
        raise ValueError("months and days of the week are numbers")  # names are not documented: one may be refused
    return expression


def _checked_variables(text: str) -> str:
    if not all(re.match(r"\s*[^=\s]", piece) and "=" in piece for piece in re.split(r"[;\r\n]", text) if piece.strip()):
        raise ValueError("is no list of KEY=VALUE pairs")
    return text


def _checked_zone(name: str) -> str:
    cron.zone(name)
    return name


def _checked_positive(amount: str) -> str:
    if float(amount) <= 0:
        raise ValueError("must be above 0")
    return amount


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class AgentRef(_Strict):
    """An agent, pinned to a version or not."""

    id: AgentId
    type: Literal["agent"]
    version: Annotated[int, Field(ge=1)] = 0  # not given: the latest


def _spelled_out(agent: object) -> object:
    """Return the object that a bare id stands for."""
    return {"id": agent, "type": "agent"} if isinstance(agent, str) else agent


Agent = Annotated[AgentRef, BeforeValidator(_spelled_out)]


class Schedule(_Strict):
    """All three fields belong to it, also in an update."""

    type: Literal["cron"]
    expression: Annotated[str, AfterValidator(_checked_expression)]
    timezone: Annotated[str, AfterValidator(_checked_zone)]


class _TextRubric(_Strict):
    type: Literal["text"]
    content: Annotated[str, StringConstraints(min_length=1, max_length=262_144)]  # api/facts.md, 3.7


class _FileRubric(_Strict):
    type: Literal["file"]
    file_id: Annotated[str, StringConstraints(pattern="^file_")]


_RUBRIC: TypeAdapter[Any] = TypeAdapter(Annotated[_TextRubric | _FileRubric, Field(discriminator="type")])


class InitialEvent(_Strict):
    """An event that every run begins with, with what its type needs (api/facts.md, 2.3)."""

    model_config = ConfigDict(strict=True, extra="allow")
    type: Literal["user.message", "user.define_outcome", "system.message"]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        needed = ("description", "rubric") if self.type == "user.define_outcome" else ("content",)
        missing = [name for name in needed if not (self.model_extra or {}).get(name)]
        if missing:
            raise ValueError(f"{self.type} needs {' and '.join(missing)}")
        if self.type == "user.define_outcome":
            _RUBRIC.validate_python((self.model_extra or {})["rubric"])
        return self


Variables = Annotated[str, AfterValidator(_checked_variables)]


class Resource(_Strict):
    """Something that every session is given."""

    model_config = ConfigDict(strict=True, extra="allow")
    type: Literal["file", "github_repository", "git_repository", "memory_store"]


class Budget(_Strict):
    """A limit in credits."""

    type: Literal["limit"]
    max_credit_cost: Annotated[
        str, StringConstraints(pattern=r"^\d{1,12}(\.\d{1,2})?$"), AfterValidator(_checked_positive)
    ]


InitialEvents = Annotated[list[InitialEvent], Field(min_length=1, max_length=50)]
Resources = Annotated[list[Resource], Field(max_length=500)]


class Create(_Strict):
    """The body of a create."""

    name: Name
    agent: Agent
    environment_id: EnvironmentId
    initial_events: InitialEvents
    description: Annotated[str, StringConstraints(max_length=2048)] | None = None
    environment_variables: Variables | None = None
    schedule: Schedule | None = None
    resources: Resources | None = None
    vault_ids: VaultIds | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    budget: Budget | None = None


_LEFT_OUT: Any = None  # a default is never looked at: only what was set is kept


class Update(_Strict):
    """The body of an update: what is left out stays; some fields can be cleared with null, some cannot."""

    name: Name = _LEFT_OUT
    agent: Agent = _LEFT_OUT
    environment_id: EnvironmentId = _LEFT_OUT
    initial_events: InitialEvents = _LEFT_OUT
    description: Annotated[str, StringConstraints(max_length=2048)] | None = None
    environment_variables: Variables | None = None
    schedule: Schedule | None = None
    resources: Resources | None = None
    vault_ids: VaultIds | None = None
    metadata: dict[MetadataKey, MetadataValue | None] | None = None
    budget: Budget | None = None


_EMPTY: dict[str, Any] = {"environment_variables": "", "resources": [], "vault_ids": [], "metadata": {}}
_SECRETS = {"authorization_token", "password"}  # of a resource; never shown again


def deployment_fields(
    body: object, *, model: type[Create] | type[Update], latest: Callable[[str], int]
) -> dict[str, Any]:
    """Return the fields of a deployment that `body` sets, as the server keeps them.

    `latest` tells the version that an agent without one is pinned to. In an update, `metadata` still has the keys to
    delete, with None. Raises Invalid, naming the field.
    """
    try:
        said = model.model_validate(body).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise _refusal(error) from None
    fields = {name: _EMPTY[name] if value is None and name in _EMPTY else value for name, value in said.items()}
    if agent := fields.get("agent"):
        fields["agent"] = {**agent, "version": agent.get("version") or latest(agent["id"])}
    for resource in fields.get("resources") or []:
        for secret in _SECRETS & resource.keys():
            del resource[secret]
    if fields.get("schedule") is not None:
        del fields["schedule"]["type"]
    return fields


def merged(metadata: dict[str, str], change: dict[str, str | None]) -> dict[str, str]:
    """Return `metadata` with strings put in and nulls taken out. Raises Invalid beyond 16 keys."""
    result = {key: value for key, value in (metadata | change).items() if value is not None}
    if len(result) > 16:
        raise Invalid("metadata has at most 16 keys.", param="metadata")
    return result


def _refusal(error: ValidationError) -> Invalid:
    first = error.errors(include_url=False)[0]
    param = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return Invalid(f"Missing required field: {param}", param=param)
    return Invalid(f"{param or 'Request body'}: {first['msg']}", param=param or None)
