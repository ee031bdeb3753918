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

_ONE = {"environment_id": "environments", "file_id": "files", "memory_store_id": "memory_stores"}
_MANY = {"vault_ids": "vaults", "session_ids": "sessions"}
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
            return invalid(f"Unknown model {self.id}.", self.at)
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
        if name in _ONE and isinstance(value, str):
            yield path, _ONE[name], value
        elif name in _MANY and isinstance(value, list):
            yield from ((f"{path}.{n}", _MANY[name], id) for n, id in enumerate(value) if isinstance(id, str))
        elif name == "model":
            yield from _model(value, path)
        elif name == "agent" and isinstance(value, dict):
            yield from _agent(value, path)
        elif name == "agents" and isinstance(value, list):  # of a coordinator
            for n, item in enumerate(value):
                yield from _agent(item if isinstance(item, dict) else {"id": item}, f"{path}.{n}")
        elif name == "skills" and isinstance(value, list):
            for n, item in enumerate(value):
                yield from _skill(item, f"{path}.{n}")
        elif name in _OPAQUE:
            continue
        elif isinstance(value, dict):
            yield from references(value, path)
        elif isinstance(value, list):
            for n, item in enumerate(value):
                if isinstance(item, dict):
                    yield from references(item, f"{path}.{n}")


def _agent(agent: Shape, path: str) -> Iterator[Reference]:
    id, version = agent.get("id"), agent.get("version")
    if isinstance(id, str):
        yield f"{path}.id", "agents", id
        if version is not None:
            yield f"{path}.version", f"agents of {id}", str(version)
    yield from references({name: agent[name] for name in ("model", "skills") if name in agent}, path)


def _model(model: Any, path: str) -> Iterator[Reference]:
    id = model.get("id") if isinstance(model, dict) else model
    if isinstance(id, str):
        yield path, "models", id


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


def _skill(skill: Any, path: str) -> Iterator[Reference]:
    """Yield a skill of one's own, and its version; those of Qoder are in no list of ours."""
    if isinstance(skill, dict) and skill.get("type") != "qoder" and isinstance(skill.get("skill_id"), str):
        id, version = skill["skill_id"], skill.get("version")
        yield f"{path}.skill_id", "skills", id
        if version not in (None, "latest"):
            yield f"{path}.version", f"skills of {id}", str(version)
