"""What callers may write in create and update, in a server's words, and what that refers to (api.md#errors)."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from qoder_cli.nouns.agent import missing_servers
from qoder_cli.nouns.schema import Reader, Violation, check
from qoder_cli.nouns.table import Operation
from qoder_cli.nouns.table import body_of as schema_of
from qoder_cli.sandbox.wire import Refusal, Shape, invalid, unknown_field

_SERVER = Reader("server")
_WORDS = {
    "string_type": "a text",
    "text": "a text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "one_of": "{expected}",
}


def body_of(operation: Operation, body: Shape) -> Shape:
    """Return the fields that a body sets, without its secrets. Raises Refusal, naming the field at fault."""
    kept, wrong = check(schema_of(operation), body, _SERVER)
    for problem in wrong:
        raise _refusal(problem)
    fields: Shape = kept
    return fields


def _refusal(wrong: Violation) -> Refusal:
    at, context = ".".join(map(str, wrong.path)), wrong.context
    if wrong.kind == "missing":
        return invalid(f"Missing required field: {at}", at)
    if wrong.kind in ("unknown", "extra_forbidden"):
        return unknown_field(str(wrong.path[-1]), at)
    if wrong.kind == "value_error":
        return invalid(f"{at} {context['error'].args[-1]}.", at)
    return invalid(f"{at} must be {_WORDS.get(wrong.kind, 'something else').format_map(context)}.", at)


# What fields refer to by id, so that nothing is made of things that are not there.

# By the name of a field: the kind of what it refers to, or of each that it lists.
_REFERS = {
    **{"environment_id": "environments", "file_id": "files", "memory_store_id": "memory_stores", "model": "models"},
    **{"vault_ids": "vaults", "session_ids": "sessions", "agent": "agents", "agents": "agents", "skills": "skills"},
}
_OPAQUE = ("metadata", "environment_variables", "input_schema", "input")  # whose keys mean nothing to the API

Reference = tuple[str, str, str]  # the path of the field, what it refers to (a version is one `of` a skill), and its id


class Unusable(NamedTuple):
    """A thing that is referred to, and cannot be."""

    at: str  # the path of the field
    kind: str  # singular
    id: str
    state: Literal["not_found", "archived"]

    def as_refusal(self) -> Refusal:
        called = self.kind.replace("_", " ").capitalize()
        if self.kind == "model":  # as of an unknown tool (api.md#agents)
            return invalid(f"Unknown model {self.id}.", self.at.removesuffix(".id"))
        if self.state == "archived":
            return Refusal(409, f"{called} {self.id} is archived.", param=self.at)
        return Refusal(404, f"{called} {self.id} not found.", param=self.at)

    def as_error(self) -> tuple[str, str]:
        """Return type and message of a run that it keeps from starting (api.md#starting-a-run)."""
        state = self.state.replace("_", " ")
        message = f"The deployment's {self.kind.replace('_', ' ')} is {state}."
        if (self.kind, self.state) == ("memory_store", "not_found"):  # the API has no error type for it
            return "session_resource_not_found_error", message
        return f"{self.kind}_{self.state}_error", message


def references(fields: Shape, at: str = "") -> Iterator[Reference]:
    """Yield what fields refer to, at any depth."""
    for name, value in fields.items():
        path = f"{at}.{name}".removeprefix(".")
        listed = [(f"{path}.{n}", item) for n, item in enumerate(value)] if isinstance(value, list) else [(path, value)]
        for place, item in listed if name not in _OPAQUE else ():
            if name in _REFERS:
                yield from _reference(_REFERS[name], item, place)
            elif isinstance(item, dict):
                yield from references(item, place)


def _reference(kind: str, value: Any, path: str) -> Iterator[Reference]:
    """Yield what an id refers to, or an object with one, and with what an agent has instead of its own.

    The skills of Qoder are in no list of ours.
    """
    whole, key = ({}, "") if not isinstance(value, dict) else (value, "skill_id" if kind == "skills" else "id")
    id, version = whole.get(key, value), whole.get("version", "latest")
    if isinstance(id, str) and whole.get("type") != "qoder":
        yield f"{path}.{key}".removesuffix("."), kind, id
        if version not in (None, "latest"):
            yield f"{path}.version", f"{kind} of {id}", str(version)
    yield from references({name: whole[name] for name in ("model", "skills") if name in whole}, path)


_TOOLS = ("bash", "read", "write", "edit", "glob", "grep", "webfetch", "websearch")


def check_tools(agent: Shape, at: str = "tools") -> None:
    """Raise Refusal for a tool that nobody knows, and for those of a server that the agent has not."""
    tools = agent.get("tools") or ()
    for n, tool in enumerate(tools):
        named = [*(tool.get("enabled_tools") or ()), *(tool.get("disallowed_tools") or ())]
        named += [config["name"] for config in tool.get("configs") or ()]
        for name in named if tool["type"] == "agent_toolset_20260401" else ():
            if name.lower().replace("_", "") not in _TOOLS:
                raise invalid(f'Unknown tool "{name}".', f"{at}.{n}")
    for name in missing_servers(agent.get("mcp_servers"), tools):
        raise invalid(f'No MCP server of the agent is named "{name}".', at)
