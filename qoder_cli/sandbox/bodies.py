"""What a caller may write: the bodies of create and update (api/facts.md, 1.2)."""

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from qoder_cli.base import cron
from qoder_cli.files.check import AgentId, AgentRef, Budget, Schedule, Strict
from qoder_cli.sandbox.records import variables
from qoder_cli.sandbox.store import merged, without_secrets
from qoder_cli.sandbox.wire import Refusal, invalid, unknown_field

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
EnvironmentId = Annotated[str, StringConstraints(pattern="^env_")]
MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
_UNKNOWN = "unknown_field"


def _without_names(expression: str) -> str:
    cron.parse(expression)
    if cron.names_in(expression):
        raise ValueError("months and days of the week are numbers")  # names are not documented: one may be refused
    return expression


def _variables(text: str) -> str:
    pieces = [piece for piece in re.split(r"[;\r\n]", text) if piece.strip()]
    if not all(re.match(r"\s*[^=\s]", piece) and "=" in piece for piece in pieces):
        raise ValueError("is not a list of KEY=VALUE pairs")
    return text


def _spelled_out(agent: object) -> object:
    return {"id": agent, "type": "agent"} if isinstance(agent, str) else agent


Agent = Annotated[AgentRef, BeforeValidator(_spelled_out)]


class _Schedule(Schedule):
    expression: Annotated[str, AfterValidator(_without_names)]


class _OfTypes(Strict):
    """One of several types, with the `fields` of each; `?` marks optional ones."""

    model_config = ConfigDict(strict=True, extra="allow")
    fields: ClassVar[dict[str, tuple[str, ...]]]
    type: str

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        given = {name: value for name, value in self if name in self.model_fields_set and name != "type"}
        unknown = given.keys() - {name.rstrip("?") for name in self.fields[self.type]}
        if unknown:
            raise PydanticCustomError(_UNKNOWN, "unknown field", {"name": min(unknown)})
        missing = [name for name in self.fields[self.type] if not name.endswith("?") and not given.get(name)]
        if missing:
            raise ValueError(f"{self.type} needs {' and '.join(missing)}")
        return self


class _Rubric(_OfTypes):  # api/facts.md, 3.7
    type: Literal["text", "file"]
    content: Annotated[str, StringConstraints(max_length=262_144)] = ""
    file_id: Annotated[str, StringConstraints(pattern="^file_")] = ""
    fields: ClassVar = {"text": ("content",), "file": ("file_id",)}


class _Block(Strict):
    model_config = ConfigDict(strict=True, extra="allow")
    type: str


Content = Annotated[list[_Block], Field(min_length=1)]


class SentEvent(_OfTypes):
    """An event that a client sends into a session (api/facts.md, 2.3)."""

    type: Literal[
        "user.message",
        "user.interrupt",
        "user.tool_confirmation",
        "user.custom_tool_result",
        "user.define_outcome",
        "system.message",
    ]
    content: Content | None = None
    result: Literal["allow", "deny"] | None = None
    decision: Literal["approve", "deny"] | None = None  # on older servers, for `result`
    rubric: _Rubric | None = None
    fields: ClassVar = {
        "user.message": ("content",),
        "user.interrupt": ("session_thread_id?",),
        "user.tool_confirmation": ("tool_use_id", "result", "deny_message?", "session_thread_id?"),
        "user.custom_tool_result": ("custom_tool_use_id", "content?", "is_error?", "session_thread_id?"),
        "user.define_outcome": ("description", "rubric", "max_iterations?"),
        "system.message": ("content",),
    }

    @model_validator(mode="after")
    def _gives_reasons_for_a_denial_only(self) -> Self:
        if "deny_message" in (self.model_extra or {}) and "deny" not in (self.result, self.decision):
            raise ValueError("deny_message is only for a denial")
        return self


class LegacyEvent(SentEvent):
    """The same, as older servers want it."""

    fields: ClassVar = SentEvent.fields | {
        "user.tool_confirmation": ("tool_use_id", "decision", "deny_message?", "session_thread_id?")
    }


Event = TypeVar("Event", SentEvent, LegacyEvent)


class Sent(Strict, Generic[Event]):
    """The body of a send."""

    events: Annotated[list[Event], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_its_system_message_last(self) -> Self:
        if any(event.type == "system.message" for event in self.events[:-1]):
            raise ValueError("there is at most one system.message, and it is the last event")
        return self


class _InitialEvent(_OfTypes):
    type: Literal["user.message", "user.define_outcome", "system.message"]
    rubric: _Rubric | None = None
    fields: ClassVar = SentEvent.fields


class Resource(_OfTypes):
    """What every session is given (api/facts.md, 1.2 and 4; fields of the SDK)."""

    type: Literal["file", "github_repository", "git_repository", "memory_store"]
    fields: ClassVar = {
        "file": ("file_id", "mount_path?"),
        "github_repository": ("url", "mount_path?", "checkout?", "authorization_token?"),
        "git_repository": ("url", "mount_path?", "checkout?", "password?"),
        "memory_store": ("memory_store_id", "access?", "instructions?"),
    }


InitialEvents = Annotated[list[_InitialEvent], Field(min_length=1, max_length=50)]


class _Changeable(Strict):
    description: Annotated[str, StringConstraints(max_length=2048)] | None = None
    environment_variables: Annotated[str, AfterValidator(_variables)] | None = None
    schedule: _Schedule | None = None
    resources: Annotated[list[Resource], Field(max_length=500)] | None = None
    vault_ids: Annotated[list[str], Field(max_length=50)] | None = None
    budget: Budget | None = None


class Create(_Changeable):
    """The body of a create."""

    name: Name
    agent: Agent
    environment_id: EnvironmentId
    initial_events: InitialEvents
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None


_LEFT_OUT: Any = None  # a default is never looked at: only what was set is kept


class Update(_Changeable):
    """The body of an update: what is left out stays; null clears some fields."""

    name: Name = _LEFT_OUT
    agent: Agent = _LEFT_OUT
    environment_id: EnvironmentId = _LEFT_OUT
    initial_events: InitialEvents = _LEFT_OUT
    metadata: dict[MetadataKey, MetadataValue | None] | None = None


_EMPTY: dict[str, Any] = {"environment_variables": "", "resources": [], "vault_ids": [], "metadata": {}}


class _SessionAgent(_OfTypes):
    id: AgentId
    type: Literal["agent", "agent_with_overrides"]
    version: Annotated[int, Field(ge=1)] = 0  # not given: the latest
    fields: ClassVar = {
        "agent": ("id", "version?"),
        "agent_with_overrides": ("id", "version?", "model?", "system?", "tools?", "mcp_servers?", "skills?"),
    }


class _Session(Strict):
    title: str | None = None
    budget: Budget | None = None
    environment_variables: dict[str, str] | str | None = None  # see `session_variables`
    metadata: dict[MetadataKey, MetadataValue | None] | None = None


class _AgentChange(Strict):
    tools: list[dict[str, Any]] = _LEFT_OUT
    mcp_servers: list[dict[str, Any]] = _LEFT_OUT


class SessionUpdate(_Session):
    """The body of an update of a session (api/facts.md, 2.1)."""

    agent: _AgentChange = _LEFT_OUT


class SessionCreate(_Session):
    """The body of a create of a session (api/facts.md, 2.1)."""

    agent: Annotated[_SessionAgent, BeforeValidator(_spelled_out)]
    environment_id: EnvironmentId
    initial_events: Annotated[list[SentEvent], Field(max_length=50)] | None = None
    resources: Annotated[list[Resource], Field(max_length=500)] | None = None
    vault_ids: Annotated[list[str], Field(max_length=50)] | None = None


def checked(model: type[BaseModel], body: object) -> dict[str, Any]:
    """Return the fields that `body` sets. Raises Refusal, naming the field."""
    try:
        return model.model_validate(body).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise _refusal(error) from None


def session_fields(
    body: object, *, model: type[SessionCreate] | type[SessionUpdate], metadata: dict[str, str], legacy: bool
) -> dict[str, Any]:
    """Return the fields of a session that `body` sets, as the server keeps them. Raises Refusal, naming the field.

    `metadata` is what it has already. Older servers take the variables as a string (api/facts.md, 2.1).
    """
    fields = checked(model, body)
    if "metadata" in fields:
        fields["metadata"] = merged(metadata, fields["metadata"] or {})
    if "environment_variables" in fields:
        given = fields["environment_variables"] or {}
        if given and isinstance(given, str) is not legacy:
            raise invalid("environment_variables: the other kind is expected.", "environment_variables")
        named = variables(given) if isinstance(given, str) else given
        if not all(re.fullmatch(r"(?!QODER_|CAW_)[A-Za-z_][A-Za-z0-9_]*", name) for name in named):
            raise invalid("environment_variables: a name is not allowed.", "environment_variables")
        fields["environment_variables"] = named
    return fields


def deployment_fields(
    body: object, *, model: type[Create] | type[Update], latest: Callable[[str], int]
) -> dict[str, Any]:
    """Return the fields of a deployment that `body` sets, as the server keeps them.

    `latest` tells the version that an agent without one is pinned to. In an update, `metadata` still has the keys to
    delete, with None. Raises Refusal, naming the field.
    """
    said = checked(model, body)
    fields = {name: _EMPTY[name] if value is None and name in _EMPTY else value for name, value in said.items()}
    if agent := fields.get("agent"):
        fields["agent"] = {**agent, "version": agent.get("version") or latest(agent["id"])}
    if "resources" in fields:
        fields["resources"] = [without_secrets(resource) for resource in fields["resources"]]
    if fields.get("schedule") is not None:
        del fields["schedule"]["type"]
    return fields


def _refusal(error: ValidationError) -> Refusal:
    errors = error.errors(include_url=False)
    unknown = [each for each in errors if each["type"] in ("extra_forbidden", _UNKNOWN)]
    first = (unknown or errors)[0]  # a slip in a field's name is why another one is missing
    path = [str(part) for part in first["loc"]]
    if first["type"] == _UNKNOWN:
        path.append(first["ctx"]["name"])
    param = ".".join(path)
    if unknown:
        return unknown_field(path[-1], param)
    if first["type"] == "missing":
        return invalid(f"Missing required field: {param}", param)
    return invalid(f"{param or 'Request body'}: {first['msg']}", param or None)
