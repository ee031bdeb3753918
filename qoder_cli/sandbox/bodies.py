"""What callers may write in create and update (help/pages/api.md#operations and #limits).

`nouns/operations.tsv` names the fields of a body, and which are needed; `_RULES` says what each
may be. A rule is a type (`object` is anything), a pattern, a set of words, `[rule, least, most]`
for a list, a function that returns what is kept, or `{…}` for an object. In an object, `?` ends
the names of fields that may be left out, or null, and `*` stands for all others. If its `type` is
a table, that has the fields of each type.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from qoder_cli.base import cron
from qoder_cli.files.normal import assignments
from qoder_cli.nouns.table import Operation, all_operations
from qoder_cli.sandbox.wire import Shape, invalid, unknown_field

Rule = Any

_CALLED = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}
_SECRETS = {"authorization_token", "password", "token", "secret_value"}  # not kept
_SECRETS |= {"access_token", "refresh_token", "client_secret"}
_MANY = 10**6


def body_of(operation: Operation, body: Shape, *, needed: Collection[str]) -> Shape:
    """Return the fields that a body sets. Raises Refusal, naming the field at fault."""
    return _object(_fields(operation), body, "", needed=needed)


@cache
def _fields(operation: Operation) -> dict[str, Rule]:
    """Return the rules of a body. An update may set to null what its create may leave out."""
    what, _, verb = operation.id.rpartition(".")
    create = next((each for each in all_operations() if each.id == f"{what}.create"), operation)
    fields: dict[str, Rule] = {}
    for name in operation.body:
        keys = (f"{operation.id}.{name}", f"{what}.{name}", name)
        is_needed = name in create.required or (verb == "update" and name not in create.body)
        fields[name + "?" * (not is_needed)] = next(_RULES[key] for key in keys if key in _RULES)
    return {name: rule for name, rule in fields.items() if rule is not None}


def _checked(rule: Rule, value: Any, at: str) -> Any:
    """Return a value as it is kept; `at` is its path. Raises Refusal."""
    if isinstance(rule, dict):
        return _object(rule, value, at)
    if isinstance(rule, list):
        kind, least, most = rule
        _must(isinstance(value, list) and least <= len(value) <= most, f"a list of {least} to {most}", at)
        return [_checked(kind, each, f"{at}.{n}") for n, each in enumerate(value)]
    if isinstance(rule, set):
        _must(isinstance(value, str) and value in rule, f"one of {', '.join(sorted(rule))}", at)
    elif isinstance(rule, re.Pattern):
        _must(isinstance(value, str) and rule.fullmatch(value), f"a text like {rule.pattern}", at)
    elif not isinstance(rule, type):
        return rule(value, at)
    elif rule is not object:
        _must(type(value) is rule, _CALLED[rule], at)
    return value


def _must(fits: object, be: str, at: str) -> None:
    if not fits:
        raise invalid(f"{at} must be {be}.", at)


def _object(fields: Mapping[str, Rule], value: Any, at: str, *, needed: Collection[str] | None = None) -> Shape:
    """Return an object with these fields; `needed` are by default those without `?`."""
    _must(isinstance(value, dict), _CALLED[dict], at)
    if isinstance(types := fields.get("type"), dict):
        type = _object({"type": set(types), "*": object}, value, at)["type"]
        fields = {"type": str, **types[type]}
    if needed is None:
        needed = fields
    paths = {name: f"{at}.{name}".removeprefix(".") for name in (*value, *needed)}
    known = {name.rstrip("?"): name for name in fields}
    for name in value:  # first: a misspelt field is why another one is missing
        if name not in known and "*" not in known:
            raise unknown_field(name, paths[name])
    for name in needed:
        if not name.endswith(("?", "*")) and name not in value:
            raise invalid(f"Missing required field: {paths[name]}", paths[name])
    for name, inner in value.items():
        key = known.get(name) or known["*"]
        if inner is not None or not key.endswith("?"):
            value[name] = _checked(fields[key], inner, paths[name])
    return {name: inner for name, inner in value.items() if name not in _SECRETS & known.keys()}


def _given(value: Any, at: str) -> Any:
    _must(value, "given", at)
    return value


def _block(value: Any, at: str) -> Any:
    kept = _object({"type": str, "*": object}, value, at)
    return _object({"text": str, "*": object}, kept, at) if kept["type"] == "text" else kept


def _schema(value: Any, at: str) -> Any:
    return _checked(dict, _given(value, at), at)


def _version(value: Any, at: str) -> Any:
    _must(type(value) is int and value > 0, "a whole number from 1 on", at)
    return value


def _all(*names: str) -> Mapping[str, Rule]:
    return dict.fromkeys(names, _given)


def _any(*names: str) -> Mapping[str, Rule]:
    return {f"{name}?": object for name in names}


def _short(field: str, rule: Rule, **more: Any) -> Rule:
    """Return the rule for an object that may be given as the text of one field."""

    def check(value: Any, at: str) -> Any:
        if isinstance(value, str):
            value = {field: value, **more}
        return _checked(rule, value, at)

    return check


def _read(by: Callable[[str], object]) -> Rule:
    """Return the rule for a text that `by` can read."""

    def check(value: Any, at: str) -> Any:
        try:
            by(_checked(str, value, at))
        except ValueError as error:
            raise invalid(f"{at}: {error}", at) from None
        return value

    return check


def _pairs(text: str) -> None:
    if assignments(text) is None:
        raise ValueError("it must be pairs of names and values")


def _metadata(value: Any, at: str) -> Shape:
    """Return metadata, which may be JSON in a form; a null deletes a key."""
    if isinstance(value, str):
        value = json.loads(_read(json.loads)(value, at))
    kept = _object({"*?": re.compile("(?s).{0,512}")}, value, at)
    _must(max(map(len, kept), default=0) <= 64, "an object with keys of at most 64 characters", at)
    return kept


_NAME, _TEXT = re.compile("(?s).{1,256}"), re.compile("(?s).+")
_AGENT_ID, _STORE_ID = re.compile("agent_.+"), {"memory_store_id": str}
_OBJECTS, _NAMES = [dict, 0, _MANY], [str, 0, _MANY]
_CONTENT = re.compile("(?s).{1,262144}")  # help/pages/api.md#limits
_RUBRIC = {"type": {"text": {"content": _CONTENT}, "file": {"file_id": re.compile("file_.*")}}}
_BLOCKS = [_block, 1, _MANY]
_MESSAGE, _ANY_MESSAGE = {"content": _BLOCKS}, _all("content")
_FIRST = {
    "user.define_outcome": {"description": _given, "rubric": _RUBRIC, **_any("max_iterations")},
    "user.message": _MESSAGE,
}
_INITIAL = {**_FIRST, "user.message": _ANY_MESSAGE, "system.message": _ANY_MESSAGE}
_EVENT = {
    "type": {
        **_FIRST,
        "system.message": _MESSAGE,
        "user.interrupt": _any("session_thread_id"),
        "user.tool_confirmation": {  # `decision` is for `result` on older servers
            **{"tool_use_id": _given, "result?": {"allow", "deny"}, "decision?": {"approve", "deny"}},
            **_any("deny_message", "session_thread_id"),
        },
        "user.custom_tool_result": {
            **{"custom_tool_use_id": _given, "content?": _BLOCKS},
            **_any("is_error", "session_thread_id"),
        },
    }
}
_RESOURCE = {
    "type": {
        "file": {**_all("file_id"), **_any("mount_path")},
        "github_repository": {**_all("url"), **_any("mount_path", "checkout", "authorization_token")},
        "git_repository": {**_all("url"), **_any("mount_path", "checkout", "password")},
        "memory_store": {**_all("memory_store_id"), **_any("access", "instructions")},
    }
}
_VERSION = {"id": _AGENT_ID, "version?": _version}
_OVERRIDES = _any("model", "system", "tools", "mcp_servers", "skills")
_AGENTS = {"agent": _VERSION, "agent_with_overrides": {**_VERSION, **_OVERRIDES}}
_PERMISSION = {"permission_policy?": dict, "*": object}
_TOOLSET = {
    **dict.fromkeys(("enabled_tools?", "disallowed_tools?"), _NAMES),
    "configs?": [{**_PERMISSION, "name": str}, 0, _MANY],
    "default_config?": _PERMISSION,
}
_TOOL = {
    "type": {
        **dict.fromkeys(("agent_toolset_20260401", "browser_toolset_20260714"), _TOOLSET),
        "mcp_toolset": {**_all("mcp_server_name"), **_TOOLSET},
        "custom": {**_all("name", "description"), "input_schema": _schema},
    }
}
_CLOUD = {
    "networking?": {
        "type?": {"limited", "unrestricted"},
        **_any("allow_mcp_servers", "allow_package_managers", "allowed_hosts"),
    },
    "packages?": _any("type", "apt", "cargo", "gem", "go", "npm", "pip"),
    "setup_script?": re.compile("(?s).{0,65536}"),
}
_CLIENT = {**_any("client_secret"), "*": object}
_REFRESH = {**_any("refresh_token"), "token_endpoint_auth?": _CLIENT, "*": object}
_AUTHS = {
    "static_bearer": _all("token", "mcp_server_url"),
    "environment_variable": {**_all("secret_name", "secret_value", "networking"), **_any("injection_location")},
    "mcp_oauth": {**_all("access_token", "mcp_server_url"), **_any("expires_at"), "refresh?": _REFRESH},
}
_SET_ONCE = ("secret_name", "mcp_server_url")  # which no update knows (help/pages/api.md#vaults)
_RULES: Mapping[str, Rule] = {  # by operation, kind of thing, or just name; None: not taken yet
    **dict.fromkeys(("name", "display_name", "display_title"), _NAME),
    **dict.fromkeys(("description", "system", "title", "instructions"), str),
    **dict.fromkeys(("content", "content_sha256", "files.name"), str),
    **dict.fromkeys(("skills", "mcp_servers"), list),
    **dict.fromkeys(("file", "files[]", "mount_path"), object),
    "metadata": _metadata,
    "environment_id": re.compile("env_.*"),
    "resources": [_RESOURCE, 0, 500],
    "vault_ids": [str, 0, 50],
    "budget": {
        "type": {"limit"},
        "max_credit_cost": re.compile(r"(?=.*[1-9])[0-9]{1,12}(\.[0-9]{1,2})?"),
    },
    "schedule": {  # names of months and days are not documented
        "type": {"cron"},
        "expression": _read(lambda text: cron.parse(re.sub("[A-Za-z]", "?", text))),
        "timezone": _read(cron.zone),
    },
    "deployments.agent": _short("id", {**_VERSION, "type": {"agent"}}, type="agent"),
    "deployments.initial_events": [{"type": _INITIAL}, 1, 50],
    "deployments.description": re.compile("(?s).{0,2048}"),
    "deployments.environment_variables": _read(_pairs),
    "sessions.agent": _short("id", {"type": _AGENTS}, type="agent"),
    "sessions.initial_events": [{"type": _FIRST}, 0, 50],
    "sessions.environment_variables": object,  # by the generation
    "sessions.update.agent": {"tools?": _OBJECTS, "mcp_servers?": _OBJECTS},
    "sessions.update.vault_ids": None,
    "events": [_EVENT, 1, _MANY],
    "type": {"file"},
    "file_id": _given,
    "version": int,
    "model": _short("id", {"id": _TEXT, "*": object}),
    "tools": [_TOOL, 0, _MANY],
    "multiagent": {"agents": [object, 1, 21], "*": object},  # 20, and an adviser
    "scope": {"organization", "account"},
    "config": {"type": {"cloud": _CLOUD, "self_hosted": {}}},
    "force": bool,
    "auth": {"type": _AUTHS},
    "vaults.credentials.update.auth": {
        "type": {
            type: {f"{name.rstrip('?')}?": rule for name, rule in fields.items() if name not in _SET_ONCE}
            for type, fields in _AUTHS.items()
        }
    },
    "inputs": [{"type": {"memory_store": _STORE_ID, "sessions": _any("session_ids")}}, 1, _MANY],
    "output_behavior": {"type": {"create_new": {}, "update_existing": _STORE_ID}},
    "path": _TEXT,
    "expires_in_seconds": re.compile("[1-9][0-9]{0,8}"),
}
