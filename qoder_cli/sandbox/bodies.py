"""What callers may write in create and update (api/facts.md, 1.2, 2.1, 2.3, 4, 7.3)."""

from types import GenericAlias
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    StringConstraints,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from qoder_cli.base import cron
from qoder_cli.files.check import AgentId, AgentRef, Assignments, Budget, Schedule, Strict
from qoder_cli.sandbox.wire import Refusal, Shape, invalid, unknown_field

Kinds = dict[str, Any]  # what fields may be; `?` marks those that may be left out, or null
Types = dict[str, tuple[str, ...]]  # names of fields by type, with `?` as well

_UNKNOWN = "unknown_field"


def _without_names(expression: str) -> str:
    cron.parse(expression)
    if any(map(str.isalpha, expression)):
        raise ValueError("months and days of the week are numbers")  # names are not documented
    return expression


class _Schedule(Schedule):
    expression: Annotated[str, AfterValidator(_without_names)]


class _Open(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _OfTypes(_Open):
    """One of several types, each with its fields."""

    fields: ClassVar[Types]
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


def _object(fields: Kinds, base: type[BaseModel] = Strict) -> Any:
    """Return a model of an object with these fields."""
    kinds: Kinds = {}
    for name, kind in fields.items():
        kinds[name.rstrip("?")] = (kind | None, None) if name.endswith("?") else (kind, ...)
    return create_model("Body", __base__=base, **kinds)


def _update(model: Any, **more: Any) -> Any:
    """Return the model of an update: all fields are optional. `more` adds some."""
    needed = {name: field.rebuild_annotation() for name, field in model.model_fields.items() if field.is_required()}
    fields: Kinds = {name: (kind, None) for name, kind in {**needed, **more}.items()}
    return create_model("Body", __base__=model, **fields)


def _one_of(types: Types, **kinds: Any) -> Any:
    """Return a model of one of several types; fields not in `kinds` may be anything."""
    made = _object({"type": Literal.__getitem__(tuple(types)), **{f"{name}?": kinds[name] for name in kinds}}, _OfTypes)
    made.fields = types
    return made


def _list(kind: Any, *, least: int = 0, most: int | None = None) -> Any:
    return Annotated[GenericAlias(list, (kind,)), Field(min_length=least, max_length=most)]


def _text(most: int | None = None, *, least: int = 0, like: str | None = None) -> Any:
    return Annotated[str, StringConstraints(min_length=least, max_length=most, pattern=like)]


def _short(field: str, kind: Any, **more: Any) -> Any:
    """Return a type whose object may be given as the text of one field."""
    return Annotated[kind, BeforeValidator(lambda said: {field: said, **more} if isinstance(said, str) else said)]


_NAME, _ENVIRONMENT_ID = _text(256, least=1), _text(like="^env_")
_METADATA = GenericAlias(dict, (_text(64), _text(512) | None))  # a null deletes a key
_RUBRIC = _one_of(  # api/facts.md, 3.7
    {"text": ("content",), "file": ("file_id",)}, content=_text(262_144), file_id=_text(like="^file_")
)
_EVENT_TYPES = {
    "user.message": ("content",),
    "user.interrupt": ("session_thread_id?",),
    "user.tool_confirmation": ("tool_use_id", "result?", "decision?", "deny_message?", "session_thread_id?"),
    "user.custom_tool_result": ("custom_tool_use_id", "content?", "is_error?", "session_thread_id?"),
    "user.define_outcome": ("description", "rubric", "max_iterations?"),
    "system.message": ("content",),
}
_EVENT = _one_of(  # `decision` is for `result` on older servers
    _EVENT_TYPES,
    content=_list(_object({"type": str}, _Open), least=1),
    result=Literal["allow", "deny"],
    decision=Literal["approve", "deny"],
    rubric=_RUBRIC,
)
_INITIAL = ("user.message", "user.define_outcome", "system.message")
_INITIAL_EVENT = _one_of({type: _EVENT_TYPES[type] for type in _INITIAL}, rubric=_RUBRIC)
_RESOURCE = _one_of(
    {
        "file": ("file_id", "mount_path?"),
        "github_repository": ("url", "mount_path?", "checkout?", "authorization_token?"),
        "git_repository": ("url", "mount_path?", "checkout?", "password?"),
        "memory_store": ("memory_store_id", "access?", "instructions?"),
    }
)
_GIVEN = {  # to every session
    "resources?": _list(_RESOURCE, most=500),
    "vault_ids?": _list(str, most=50),
    "budget?": Budget,
    "metadata?": _METADATA,
}
_DEPLOYMENT = {
    "name": _NAME,
    "agent": _short("id", AgentRef, type="agent"),
    "environment_id": _ENVIRONMENT_ID,
    "initial_events": _list(_INITIAL_EVENT, least=1, most=50),
    "description?": _text(2048),
    "environment_variables?": Assignments,
    "schedule?": _Schedule,
    **_GIVEN,
}
_SESSION_AGENT = _one_of(
    {
        "agent": ("id", "version?"),
        "agent_with_overrides": ("id", "version?", "model?", "system?", "tools?", "mcp_servers?", "skills?"),
    },
    id=AgentId,
    version=Annotated[int, Field(ge=1)],
)
_EITHER_VARIABLES = dict[str, str] | str  # by the generation
_SESSION = {
    "agent": _short("id", _SESSION_AGENT, type="agent"),
    "environment_id": _ENVIRONMENT_ID,
    "title?": str,
    "environment_variables?": _EITHER_VARIABLES,
    "initial_events?": _list(_EVENT, most=50),
    **_GIVEN,
}
_SESSION_UPDATE = {
    "agent": _update(_object({"tools": list[Shape], "mcp_servers": list[Shape]})),
    "title?": str,
    "environment_variables?": _EITHER_VARIABLES,
    "budget?": Budget,
    "metadata?": _METADATA,
}
_SET = ("enabled_tools?", "disallowed_tools?", "configs?", "default_config?")
_PERMISSION = {"permission_policy?": Shape}
_TOOL = _one_of(
    {
        **dict.fromkeys(("agent_toolset_20260401", "browser_toolset_20260714"), _SET),
        "mcp_toolset": ("mcp_server_name", *_SET),
        "custom": ("name", "description", "input_schema"),
    },
    input_schema=Shape,
    default_config=_object(_PERMISSION, _Open),
    configs=_list(_object({**_PERMISSION, "name": str}, _Open)),
    enabled_tools=list[str],
    disallowed_tools=list[str],
)
_MODEL = _short("id", _object({"id": _text(least=1)}, _Open))
_AGENT = {
    "name": _NAME,
    "model": _MODEL,
    **dict.fromkeys(("description?", "system?"), str),
    **dict.fromkeys(("skills?", "mcp_servers?"), list[Any]),
    "tools?": _list(_TOOL),
    "multiagent?": _object({"agents": _list(Any, least=1, most=21)}, _Open),  # 20, and an adviser
    "metadata?": _METADATA,
}
_NETWORK = {
    "type?": Literal["limited", "unrestricted"],
    **dict.fromkeys(("allow_mcp_servers?", "allow_package_managers?", "allowed_hosts?"), Any),
}
_PACKAGES = dict.fromkeys(("type?", "apt?", "cargo?", "gem?", "go?", "npm?", "pip?"), Any)
_CONFIG = _one_of(
    {"cloud": ("networking?", "packages?", "setup_script?"), "self_hosted": ()},
    networking=_object(_NETWORK),
    packages=_object(_PACKAGES),
    setup_script=_text(64 * 1024),
)
_DESCRIBED = {"name": _NAME, "description?": str, "metadata?": _METADATA}
_ENVIRONMENT = {**_DESCRIBED, "config?": _CONFIG, "scope?": Literal["organization", "account"]}
_AUTHS: Types = {
    "static_bearer": ("token", "mcp_server_url"),
    "environment_variable": ("secret_name", "secret_value", "networking?", "injection_location?"),
    "mcp_oauth": ("access_token", "mcp_server_url", "expires_at?", "refresh?"),
}
_ANY_OF_AUTHS = {type: tuple(f"{name.rstrip('?')}?" for name in names) for type, names in _AUTHS.items()}
_CREDENTIAL = {"auth": _one_of(_AUTHS), "display_name?": _NAME, "metadata?": _METADATA}
_DREAM = {
    "inputs": _list(
        _one_of({"memory_store": ("memory_store_id",), "sessions": ("session_ids?",)}, memory_store_id=str), least=1
    ),
    "model": _MODEL,
    "instructions?": str,
    "output_behavior?": _one_of({"create_new": (), "update_existing": ("memory_store_id",)}, memory_store_id=str),
}
_MEMORY = _object({"path": _text(least=1), "content": str, "metadata?": _METADATA})

FORM = _object(  # the fields but files
    {
        "name?": str,
        "display_title?": _NAME,
        "metadata?": Annotated[_METADATA, Json],
        "expires_in_seconds?": _text(like="^[1-9][0-9]{0,8}$"),
    }
)
BODIES = {
    "agents.create": _object(_AGENT),
    "agents.update": _update(_object(_AGENT), version=int),
    "deployments.create": _object(_DEPLOYMENT),
    "deployments.update": _update(_object(_DEPLOYMENT)),
    "dreams.create": _object(_DREAM),
    "environments.create": _object(_ENVIRONMENT),
    "environments.update": _update(_object(_ENVIRONMENT)),
    "environments.work.update": _object({"metadata": _METADATA}),
    "environments.work.stop": _object({"force?": bool}),
    "memory_stores.create": _object(_DESCRIBED),
    "memory_stores.update": _update(_object(_DESCRIBED)),
    "memory_stores.memories.create": _MEMORY,
    "memory_stores.memories.update": _update(_MEMORY, content_sha256=str),
    "sessions.create": _object(_SESSION),
    "sessions.update": _update(_object(_SESSION_UPDATE)),
    "sessions.events.send": _object({"events": _list(_EVENT, least=1)}),
    "sessions.resources.add": _RESOURCE,
    "vaults.create": _object({"display_name": _NAME, "metadata?": _METADATA}),
    "vaults.credentials.create": _object(_CREDENTIAL),
    "vaults.credentials.update": _update(_object({"auth": _one_of(_ANY_OF_AUTHS), "metadata?": _METADATA})),
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
    first = (unknown or errors)[0]  # a misspelt field is why another one is missing
    path = [str(part) for part in first["loc"]]
    if name := first.get("ctx", {}).get("name"):
        path.append(name)
    param = ".".join(path)
    if unknown:
        return unknown_field(path[-1], param)
    if first["type"] == "missing":
        return invalid(f"Missing required field: {param}", param)
    return invalid(f"{param or 'Request body'}: {first['msg']}", param or None)
