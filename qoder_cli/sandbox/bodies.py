"""What a caller may write: the bodies of create and update (api/facts.md, 1.2, 2.1, 2.3, 4 and 7.3)."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from qoder_cli.base import cron
from qoder_cli.files.check import AgentId, AgentRef, Budget, Schedule, Strict
from qoder_cli.sandbox.wire import Refusal, Shape, invalid, unknown_field

Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
EnvironmentId = Annotated[str, StringConstraints(pattern="^env_")]
_Key = Annotated[str, StringConstraints(max_length=64)]
_Value = Annotated[str, StringConstraints(max_length=512)]
Metadata = dict[_Key, _Value | None] | None  # a null deletes a key
_UNKNOWN = "unknown_field"
_UNSET: Any = None  # a default is never looked at: only what was set is kept


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


class _Open(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _OfTypes(_Open):
    """One of several types, with the `fields` of each; `?` marks optional ones."""

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
            raise PydanticCustomError("missing", "missing", {"name": missing[0]})
        return self


class _Rubric(_OfTypes):  # api/facts.md, 3.7
    type: Literal["text", "file"]
    content: Annotated[str, StringConstraints(max_length=262_144)] = ""
    file_id: Annotated[str, StringConstraints(pattern="^file_")] = ""
    fields: ClassVar = {"text": ("content",), "file": ("file_id",)}


class _Block(_Open):
    type: str


Content = Annotated[list[_Block], Field(min_length=1)]


class _SentEvent(_OfTypes):
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
        "user.tool_confirmation": ("tool_use_id", "result?", "decision?", "deny_message?", "session_thread_id?"),
        "user.custom_tool_result": ("custom_tool_use_id", "content?", "is_error?", "session_thread_id?"),
        "user.define_outcome": ("description", "rubric", "max_iterations?"),
        "system.message": ("content",),
    }

    @model_validator(mode="after")
    def _gives_reasons_for_a_denial_only(self) -> Self:
        if "deny_message" in (self.model_extra or {}) and "deny" not in (self.result, self.decision):
            raise ValueError("deny_message is only for a denial")
        return self


class _Sent(Strict):
    events: Annotated[list[_SentEvent], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_its_system_message_last(self) -> Self:
        if any(event.type == "system.message" for event in self.events[:-1]):
            raise ValueError("there is at most one system.message, and it is the last event")
        return self


class _InitialEvent(_OfTypes):
    type: Literal["user.message", "user.define_outcome", "system.message"]
    rubric: _Rubric | None = None
    fields: ClassVar = _SentEvent.fields


class _Resource(_OfTypes):
    """What every session is given (api/facts.md, 1.2 and 4; fields of the SDK)."""

    type: Literal["file", "github_repository", "git_repository", "memory_store"]
    fields: ClassVar = {
        "file": ("file_id", "mount_path?"),
        "github_repository": ("url", "mount_path?", "checkout?", "authorization_token?"),
        "git_repository": ("url", "mount_path?", "checkout?", "password?"),
        "memory_store": ("memory_store_id", "access?", "instructions?"),
    }


Resources = Annotated[list[_Resource], Field(max_length=500)] | None
VaultIds = Annotated[list[str], Field(max_length=50)] | None


class _Deployment(Strict):
    name: Name
    agent: Agent
    environment_id: EnvironmentId
    initial_events: Annotated[list[_InitialEvent], Field(min_length=1, max_length=50)]
    metadata: Metadata = None
    description: Annotated[str, StringConstraints(max_length=2048)] | None = None
    environment_variables: Annotated[str, AfterValidator(_variables)] | None = None
    schedule: _Schedule | None = None
    resources: Resources = None
    vault_ids: VaultIds = None
    budget: Budget | None = None


class _SessionAgent(_OfTypes):
    id: AgentId
    type: Literal["agent", "agent_with_overrides"]
    version: Annotated[int, Field(ge=1)] = 0  # not given: the latest
    fields: ClassVar = {
        "agent": ("id", "version?"),
        "agent_with_overrides": ("id", "version?", "model?", "system?", "tools?", "mcp_servers?", "skills?"),
    }


class _AnySession(Strict):
    title: str | None = None
    budget: Budget | None = None
    environment_variables: dict[str, str] | str | None = None  # either, by the generation
    metadata: Metadata = None


class _AgentChange(Strict):
    tools: list[dict[str, Any]] = _UNSET
    mcp_servers: list[dict[str, Any]] = _UNSET


class _SessionUpdate(_AnySession):
    agent: _AgentChange = _UNSET


class _Session(_AnySession):
    agent: Annotated[_SessionAgent, BeforeValidator(_spelled_out)]
    environment_id: EnvironmentId
    initial_events: Annotated[list[_SentEvent], Field(max_length=50)] | None = None
    resources: Resources = None
    vault_ids: VaultIds = None


class _Model(_Open):
    id: Text


class _Permission(_Open):
    permission_policy: dict[str, Any] | None = None


class _ToolConfig(_Permission):
    name: str = ""


_SET = ("enabled_tools?", "disallowed_tools?", "configs?", "default_config?")


class _Tool(_OfTypes):
    type: Literal["agent_toolset_20260401", "browser_toolset_20260714", "mcp_toolset", "custom"]
    input_schema: dict[str, Any] | None = None
    default_config: _Permission | None = None
    configs: list[_ToolConfig] | None = None
    enabled_tools: list[str] | None = None
    disallowed_tools: list[str] | None = None
    fields: ClassVar = {
        "agent_toolset_20260401": _SET,
        "browser_toolset_20260714": _SET,
        "mcp_toolset": ("mcp_server_name", *_SET),
        "custom": ("name", "description", "input_schema"),
    }

    @model_validator(mode="after")
    def _names_tools_that_there_are(self) -> Self:
        named = [*(self.enabled_tools or ()), *(self.disallowed_tools or ())]
        named += [config.name for config in self.configs or ()]
        for name in named if self.type == "agent_toolset_20260401" else ():
            if name.lower().replace("_", "") not in _TOOLS:
                raise ValueError(f'Unknown tool "{name}".')
        return self


_TOOLS = ("bash", "read", "write", "edit", "glob", "grep", "webfetch", "websearch")
AnyModel = Annotated[_Model, BeforeValidator(lambda said: {"id": said} if isinstance(said, str) else said)]


class _Multiagent(_Open):
    agents: Annotated[list[Any], Field(min_length=1, max_length=21)]  # 20, and an adviser


class _Agent(Strict):
    name: Name
    model: AnyModel
    description: str | None = None
    system: str | None = None
    tools: list[_Tool] | None = None
    skills: list[Any] | None = None
    mcp_servers: list[Any] | None = None
    multiagent: _Multiagent | None = None
    metadata: Metadata = None


class _Network(Strict):
    type: Literal["limited", "unrestricted"] = "limited"
    allow_mcp_servers: Any = None
    allow_package_managers: Any = None
    allowed_hosts: Any = None


class _Packages(Strict):
    type: Any = None
    apt: Any = None
    cargo: Any = None
    gem: Any = None
    go: Any = None
    npm: Any = None
    pip: Any = None


class _Config(_OfTypes):
    type: Literal["cloud", "self_hosted"]
    networking: _Network | None = None
    packages: _Packages | None = None
    setup_script: Annotated[str, StringConstraints(max_length=64 * 1024)] | None = None
    fields: ClassVar = {"cloud": ("networking?", "packages?", "setup_script?"), "self_hosted": ()}


class _Described(Strict):
    name: Name
    description: str | None = None
    metadata: Metadata = None


class _Environment(_Described):
    config: _Config = _UNSET
    scope: Literal["organization", "account"] | None = None


class _Vault(Strict):
    display_name: Name
    metadata: Metadata = None


class _Auth(_OfTypes):
    type: Literal["static_bearer", "environment_variable", "mcp_oauth"]
    fields: ClassVar = {
        "static_bearer": ("token", "mcp_server_url"),
        "environment_variable": ("secret_name", "secret_value", "networking?", "injection_location?"),
        "mcp_oauth": ("access_token", "mcp_server_url", "expires_at?", "refresh?"),
    }


class _AuthChange(_Auth):
    fields: ClassVar = {type: tuple(f"{name.rstrip('?')}?" for name in names) for type, names in _Auth.fields.items()}


class _Credential(Strict):
    auth: _Auth
    display_name: Name | None = None
    metadata: Metadata = None


class _CredentialUpdate(Strict):
    auth: _AuthChange = _UNSET
    metadata: Metadata = None


class _Memory(Strict):
    path: Text
    content: str
    metadata: Metadata = None


class _Input(_OfTypes):
    type: Literal["memory_store", "sessions"]
    memory_store_id: str = ""
    fields: ClassVar = {"memory_store": ("memory_store_id",), "sessions": ("session_ids?",)}


class _Output(_OfTypes):
    type: Literal["create_new", "update_existing"]
    memory_store_id: str = ""
    fields: ClassVar = {"create_new": (), "update_existing": ("memory_store_id",)}


class _Dream(Strict):
    inputs: Annotated[list[_Input], Field(min_length=1)]
    model: AnyModel
    instructions: str | None = None
    output_behavior: _Output | None = None


class Texts(Strict):
    """The fields of a form that are no files."""

    name: str | None = None
    display_title: Name | None = None
    metadata: Metadata = None
    expires_in_seconds: Annotated[str, StringConstraints(pattern="^[1-9][0-9]{0,8}$")] | None = None


def _update(model: type[BaseModel], **more: Any) -> type[BaseModel]:
    """Return the body of an update: what is left out stays; null clears some fields. `more` are fields besides."""
    needed = {name: field.rebuild_annotation() for name, field in model.model_fields.items() if field.is_required()}
    fields = {name: (kind, None) for name, kind in {**needed, **more}.items()}
    made: type[BaseModel] = create_model(model.__name__, __base__=model, **fields)  # type: ignore[call-overload]
    return made


BODIES: dict[str, type[BaseModel]] = {
    "agents.create": _Agent,
    "agents.update": _update(_Agent, version=int),
    "deployments.create": _Deployment,
    "deployments.update": _update(_Deployment),
    "dreams.create": _Dream,
    "environments.create": _Environment,
    "environments.update": _update(_Environment),
    "environments.work.update": create_model("Work", __base__=Strict, metadata=(Metadata, ...)),
    "environments.work.stop": create_model("Stop", __base__=Strict, force=(bool | None, None)),
    "memory_stores.create": _Described,
    "memory_stores.update": _update(_Described),
    "memory_stores.memories.create": _Memory,
    "memory_stores.memories.update": _update(_Memory, content_sha256=str),
    "sessions.create": _Session,
    "sessions.update": _SessionUpdate,
    "sessions.events.send": _Sent,
    "sessions.resources.add": _Resource,
    "vaults.create": _Vault,
    "vaults.credentials.create": _Credential,
    "vaults.credentials.update": _CredentialUpdate,
}


def checked(model: type[BaseModel], body: object) -> Shape:
    """Return the fields that `body` sets. Raises Refusal, naming the field."""
    try:
        return model.model_validate(body).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> Refusal:
    errors = error.errors(include_url=False)
    unknown = [each for each in errors if each["type"] in ("extra_forbidden", _UNKNOWN)]
    first = (unknown or errors)[0]  # a slip in a field's name is why another one is missing
    path = [str(part) for part in first["loc"]]
    if name := first.get("ctx", {}).get("name"):
        path.append(name)
    param = ".".join(path)
    if unknown:
        return unknown_field(path[-1], param)
    if first["type"] == "missing":
        return invalid(f"Missing required field: {param}", param)
    return invalid(f"{param or 'Request body'}: {first['msg']}", param or None)
