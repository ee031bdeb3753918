"""What a caller may write: the bodies of create and update (api/facts.md, 1.2)."""

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

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
from pydantic_core import PydanticCustomError

from qoder_cli.base import cron
from qoder_cli.sandbox.pages import Invalid, unknown_field

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
EnvironmentId = Annotated[str, StringConstraints(pattern="^env_")]
AgentId = Annotated[str, StringConstraints(pattern="^agent_")]
MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
_UNKNOWN = "unknown_field"
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
    model_config = ConfigDict(strict=True, extra="forbid")


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


def _check_rubric(rubric: object) -> None:
    try:
        _RUBRIC.validate_python(rubric)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] != "extra_forbidden":
            raise
        raise PydanticCustomError(_UNKNOWN, "unknown field", {"name": f"rubric.{first['loc'][-1]}"}) from None


class _OfTypes(_Strict):
    """Something of one of several types: what each needs and may have beside its type is in two tables."""

    model_config = ConfigDict(strict=True, extra="allow")
    needs: ClassVar[dict[str, tuple[str, ...]]]
    may_have: ClassVar[dict[str, tuple[str, ...]]]
    type: str

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        given, needed = self.model_extra or {}, self.needs[self.type]
        unknown = [name for name in given if name not in (*needed, *self.may_have[self.type])]
        if unknown:
            raise PydanticCustomError(_UNKNOWN, "unknown field", {"name": unknown[0]})
        missing = [name for name in needed if not given.get(name)]
        if missing:
            raise ValueError(f"{self.type} needs {' and '.join(missing)}")
        return self


class InitialEvent(_OfTypes):
    """An event that every run begins with (api/facts.md, 2.3)."""

    type: Literal["user.message", "user.define_outcome", "system.message"]
    needs = {
        "user.message": ("content",),
        "user.define_outcome": ("description", "rubric"),
        "system.message": ("content",),
    }
    may_have = {"user.message": (), "user.define_outcome": ("max_iterations",), "system.message": ()}

    @model_validator(mode="after")
    def _has_a_rubric(self) -> Self:
        if self.type == "user.define_outcome":
            _check_rubric((self.model_extra or {})["rubric"])
        return self


Variables = Annotated[str, AfterValidator(_checked_variables)]


class Resource(_OfTypes):
    """Something that every session is given (api/facts.md, 1.2 and 4; its fields are the official SDK's)."""

    type: Literal["file", "github_repository", "git_repository", "memory_store"]
    needs = {
        "file": ("file_id",),
        "github_repository": ("url",),
        "git_repository": ("url",),
        "memory_store": ("memory_store_id",),
    }
    may_have = {
        "file": ("mount_path",),
        "github_repository": ("mount_path", "checkout", "authorization_token"),
        "git_repository": ("mount_path", "checkout", "password"),
        "memory_store": ("access", "instructions"),
    }


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
    errors = error.errors(include_url=False)
    unknown = [each for each in errors if each["type"] in ("extra_forbidden", _UNKNOWN)]
    first = (unknown or errors)[0]  # a slip in a field's name is why another one is missing
    param = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return Invalid(unknown_field(str(first["loc"][-1])), param=param)
    if first["type"] == _UNKNOWN:
        name = first["ctx"]["name"]
        return Invalid(unknown_field(name), param=f"{param}.{name}")
    if first["type"] == "missing":
        return Invalid(f"Missing required field: {param}", param=param)
    return Invalid(f"{param or 'Request body'}: {first['msg']}", param=param or None)
