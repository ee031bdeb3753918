"""The normal form, in which files and the server are compared and which is sent.

    agent                  {id, type, version}; without a version its id: a create pins the latest
    description            "" is null
    environment_variables  lines of K=V, whatever separates them; null is ""
    schedule               {type, expression, timezone}
    initial_events         plain text content (older servers) is a list of one text block
    resources, vault_ids, metadata   null is empty
    budget                 {type, max_credit_cost} with two decimals, as "100.00"

What has an unexpected type stays as it is, for the models to refuse.
"""

import re
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, get_args

from qoder_cli.base.ids import with_version
from qoder_cli.base.jsontext import Number
from qoder_cli.base.marks import is_ours, without_ours
from qoder_cli.base.model import Deployment, mapping
from qoder_cli.nouns.deploy import Deployment as Schema
from qoder_cli.nouns.parts import RESERVED as RESERVED
from qoder_cli.nouns.parts import VARIABLES as VARIABLES
from qoder_cli.nouns.parts import Resource
from qoder_cli.nouns.parts import assignments as assignments
from qoder_cli.nouns.schema import fields_of, inside

EMPTY: dict[str, Any] = {
    "description": None,
    "environment_variables": "",
    "schedule": None,
    "resources": [],
    "vault_ids": [],
    "metadata": {},
    "budget": None,
}
_FIELDS = fields_of(Schema)
REQUIRED = tuple(name for name in _FIELDS if name not in EMPTY and not _FIELDS[name].is_servers)  # of a create
SETTABLE = (*REQUIRED, *EMPTY)
READ_ONLY = tuple(name for name, field in _FIELDS.items() if field.is_servers)
NAMED = {"environment": "environment_id", "vaults": "vault_ids"}  # by id or name; the field of the ids
# The fields of repositories that no server echoes, by type (api.md#deployments).
TOKENS = {
    get_args(fields_of(each)["type"].hint)[0]: name
    for each in inside(Resource)
    for name, field in fields_of(each).items()
    if field.is_secret
}
WRITE_ONLY = tuple(TOKENS.values())

_OURS = ("input", "exit_code")  # added in JSON by commands that change several
_WHOLE = {name: fields_of(each) for name in _FIELDS for each in inside(_FIELDS[name].hint) if each.unknown == "refused"}
_READ_ONLY_INSIDE = {
    **{name: tuple(key for key, field in inner.items() if field.is_servers) for name, inner in _WHOLE.items()},
    "metadata": (RESERVED,),
}
_INSIDE = {name: inner.keys() - set(_READ_ONLY_INSIDE[name]) for name, inner in _WHOLE.items()}
_DECIMAL = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,2}))?")
_DIGITS = re.compile(r"[1-9][0-9]{0,8}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def settable(deployment: Deployment) -> dict[str, Any]:
    """Return a server's deployment in normal form: all that files can set, with defaults."""
    fields = _sendable(deployment.raw)
    normal = EMPTY | {name: fields[name] for name in SETTABLE if name in fields}
    for name, keys in _INSIDE.items():
        if isinstance(normal.get(name), dict):
            normal[name] = {key: value for key, value in normal[name].items() if key in keys}
    labels = without_ours(mapping(normal["metadata"])).items()
    normal["metadata"] = {key: value for key, value in labels if isinstance(value, str) and key != RESERVED}
    return comparable(spelled_out(normal))


def comparable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields in normal form without secrets of resources: no server echoes them."""
    shown = dict(fields)
    if isinstance(resources := fields.get("resources"), list):
        shown["resources"] = [_without(resource, WRITE_ONLY) for resource in resources]
    return shown


def spelled_out(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with short forms written out; `message` as `initial_events`."""
    spelled = dict(fields)
    message = spelled.get("message")
    if isinstance(message, str) and message and "initial_events" not in spelled:
        del spelled["message"]
        spelled["initial_events"] = [{"type": "user.message", "content": message}]
    for name, value in spelled.items():
        if value is None or (name == "description" and value == ""):
            spelled[name] = copy(EMPTY.get(NAMED.get(name, name)))
        elif name in _NORMAL:
            spelled[name] = _NORMAL[name](value)
    return spelled


def without_read_only(fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return an API object without what only the server sets, and what was dropped."""
    kept = _without(dict(fields), (*READ_ONLY, *_OURS))
    dropped = [name for name in fields if name not in kept]
    for name, keys in _READ_ONLY_INSIDE.items():
        if isinstance(kept.get(name), dict):
            dropped += [f"{name}.{key}" for key in keys if key in kept[name]]
            kept[name] = _without(kept[name], keys)
    if isinstance(labels := kept.get("metadata"), dict):
        dropped += [f"metadata.{key}" for key in labels if is_ours(key)]
        kept["metadata"] = without_ours(labels)
    return kept, dropped


def filled_in(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a server fills in if it is left out (api.md#sending-events and #resources)."""
    if fields.get("type") == "user.define_outcome":
        return {"max_iterations": 3}
    if fields.get("type") == "file" and isinstance(fields.get("file_id"), str):
        return {"mount_path": f"/mnt/session/uploads/{fields['file_id']}"}
    return {}


def _agent(agent: Any) -> Any:
    if isinstance(agent, str):
        id, version = with_version(agent)
        agent = {"id": id, "version": version} if version else agent
    if not isinstance(agent, dict):
        return agent
    if set(agent) <= {"id", "type"} and isinstance(agent.get("id"), str) and agent.get("type", "agent") == "agent":
        return agent["id"]
    return _whole_number({"type": "agent", **agent}, "version")


def _environment_variables(variables: Any) -> Any:
    pairs = None
    if isinstance(variables, str):
        pairs = assignments(variables)
    elif isinstance(variables, dict) and all(
        assignments(f"{name}={value}") == [(name, value)] for name, value in variables.items()
    ):
        pairs = list(variables.items())
    if pairs is None:
        return variables
    return "\n".join(f"{name}={value}" for name, value in pairs)


def _event(event: Any) -> Any:
    if not isinstance(event, dict):
        return event
    if isinstance(text := event.get("content"), str) and text:
        event = {**event, "content": [{"type": "text", "text": text}]}
    if event.get("type") == "user.define_outcome":
        return _whole_number(event, "max_iterations")
    return event


def _whole_number(fields: dict[str, Any], name: str) -> dict[str, Any]:
    text = fields.get(name)
    if isinstance(text, str) and _DIGITS.fullmatch(text):
        return {**fields, name: int(text)}
    return fields


def _budget(budget: Any) -> Any:
    if isinstance(budget, int | str | Number) and not isinstance(budget, bool):
        budget = {"max_credit_cost": budget}
    if not isinstance(budget, dict):
        return budget
    normal = {"type": "limit", **budget}
    cost = budget.get("max_credit_cost")
    if isinstance(cost, int | Number) and not isinstance(cost, bool):
        cost = normal["max_credit_cost"] = str(cost)
    if isinstance(cost, str) and (found := _DECIMAL.fullmatch(cost)):
        normal["max_credit_cost"] = f"{found[1].lstrip('0') or '0'}.{found[2] or '':0<2}"
    return normal


def _sendable(value: Any) -> Any:
    """Return a value without lone surrogates, which UTF-8 cannot carry."""
    if isinstance(value, dict):
        return {_sendable(key): _sendable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_sendable(item) for item in value]
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    return value


def _without(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if key not in names}
    return value


_NORMAL: dict[str, Callable[[Any], Any]] = {
    "agent": _agent,
    "environment_variables": _environment_variables,
    "schedule": lambda value: {"type": "cron", **value} if isinstance(value, dict) else value,
    "initial_events": lambda value: [_event(each) for each in value] if isinstance(value, list) else value,
    "budget": _budget,
}
