"""What the columns of a noun show: declared by where the API has them (api/facts.md, section 4)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.base.model import mapping, text
from qoder_cli.nouns.table import Noun
from qoder_cli.output.cells import Fields, Id, Moment, Status, Words

Raw = dict[str, Any]

NAMES = ("name", "display_title", "display_name", "filename", "secret_name")


class Column(NamedTuple):
    """Where a column comes from: the first of some keys that is there (`a.b` is one within another), and how it looks.

    `of` makes a value of what was found there; None keeps it absent.
    """

    keys: tuple[str, ...]
    of: Callable[[Any], Any]


def _id(value: Any) -> Any:
    return Id(value) if text(value) else None


def _words(value: Any) -> Any:
    return Words(value) if text(value) else None


def _moment(value: Any) -> Any:
    return Moment(value) if text(value) else None


def _status(value: Any) -> Any:
    return Status(value) if text(value) else None


def _plain(value: Any) -> Any:
    """Return a number, a text or a yes or no as it is; what else there is in one line of JSON."""
    if value in (None, "", [], {}):
        return None
    return Words(jsontext.dump(value)) if isinstance(value, dict | list) else value


def _model(value: Any) -> Any:
    return text(value) or text(mapping(value).get("id"))


def _joined(names: Sequence[Any]) -> Any:
    return Words(", ".join(str(each) for each in names if each)) if names else None


def _named(*keys: str) -> Callable[[Any], Any]:
    """Return what lists the objects of an array by the first of some keys that each has."""

    def told(value: Any) -> Any:
        found = map(mapping, value) if isinstance(value, list) else ()
        return _joined([next((text(each.get(key)) for key in keys if text(each.get(key))), "") for each in found])

    return told


def tool_names(tools: Any) -> list[str]:
    """Return the names of an agent's tools: `all` for the whole toolset; none where it has no tools at all."""
    found: list[str] = []
    for tool in map(mapping, tools if isinstance(tools, list) else ()):
        kind = str(tool.get("type"))
        if kind.startswith("agent_toolset"):
            configs = map(mapping, tool.get("configs") or ())
            off = [str(each.get("name")) for each in configs if each.get("enabled") is False]
            off += map(str, tool.get("disallowed_tools") or ())
            found += tool.get("enabled_tools") or [f"all but {' '.join(off)}" if off else "all"]
        elif kind.startswith("browser_toolset"):
            found.append("browser")
        elif kind != "mcp_toolset":  # told with its server
            found.append(text(tool.get("name")) or kind)
    return found


def _tools(value: Any) -> Any:
    return _joined(tool_names(value)) or "none"


def _asks(value: Any) -> Any:
    """Return the tools that ask before each use (api/facts.md, 4 and 7.2)."""
    found = []
    for tool in map(mapping, value if isinstance(value, list) else ()):
        default = mapping(mapping(tool.get("default_config")).get("permission_policy")).get("type")
        found += ["all"] if default == "always_ask" else []
        for one in map(mapping, tool.get("configs") or ()):
            policy = mapping(one.get("permission_policy")).get("type")
            found += [str(one.get("name"))] if policy == "always_ask" else []
    return _joined(found)


def _packages(value: Any) -> Any:
    held = mapping(value)
    return _joined([f"{manager}: {' '.join(map(str, names))}" for manager, names in held.items() if names])


def _inputs(value: Any) -> Any:
    found = []
    for each in map(mapping, value if isinstance(value, list) else ()):
        sessions = each.get("session_ids")
        found.append(each.get("memory_store_id") or (f"{len(sessions)} sessions" if isinstance(sessions, list) else ""))
    return _joined(found)


def _listed(value: Any) -> Any:
    return _joined(value) if isinstance(value, list) else _plain(value)


def _keys(value: Any) -> Any:
    names = [name for name in mapping(value) if name != "qoder_key"]  # our own mark
    return _joined(names)


# A column that is not here is the field of its name, as it is.
# Who made a version of a memory (api/facts.md, 4).
_MADE_BY = tuple(f"created_by.{key}" for key in ("session_id", "user_id", "service_account_id", "api_key_id", "type"))

COLUMNS = {
    "id": Column(("id",), _id),
    "name": Column(NAMES, _words),
    "model": Column(("model",), _model),
    "version": Column(("version", "latest_version"), _plain),
    "tools": Column(("tools",), _tools),
    "asks": Column(("tools",), _asks),
    "skills": Column(("skills",), _named("skill_id", "name", "type")),
    "mcp": Column(("mcp_servers",), _named("name", "url")),
    "type": Column(("config.type", "auth.type", "mime_type", "type"), _plain),
    "for": Column(("auth.mcp_server_url", "auth.secret_name"), _words),
    "network": Column(("config.networking.type", "auth.networking.type"), _plain),
    "hosts": Column(("config.networking.allowed_hosts", "auth.networking.allowed_hosts"), _listed),
    "packages": Column(("config.packages",), _packages),
    "setup": Column(("config.setup_script",), _words),
    "bytes": Column(("size_bytes", "total_size", "content_size_bytes"), _plain),
    "sha256": Column(("content_sha256",), _plain),
    "memory": Column(("memory_id",), _id),
    "by": Column(_MADE_BY, _plain),
    "redacted": Column(("redacted_at",), _moment),
    "entries": Column(("entry_count",), _plain),
    "session": Column(("scope.id", "session_id", "data.id"), _id),
    "source": Column(("source.type", "source"), _plain),
    "inputs": Column(("inputs",), _inputs),
    "outputs": Column(("outputs",), _inputs),
    "agent": Column(("agent.name", "agent.id", "agent"), _words),
    "parent": Column(("parent_thread_id",), _id),
    "credits": Column(("usage.total_credits",), _plain),
    "enabled": Column(("is_enabled",), _plain),
    "efforts": Column(("efforts",), _listed),
    "context": Column(("default_context_window", "max_input_tokens"), _plain),
    "status": Column(("status",), _status),
    "state": Column(("state",), _status),
    "description": Column(("description",), _words),
    "instructions": Column(("instructions",), _words),
    "system": Column(("system",), _words),
    "error": Column(("error.message", "error"), _plain),
    "metadata": Column(("metadata",), _keys),
    "created": Column(("created_at",), _moment),
    "updated": Column(("updated_at",), _moment),
    "archived": Column(("archived_at",), _moment),
    "ended": Column(("ended_at",), _moment),
    "expires": Column(("expires_at",), _moment),
    "acknowledged": Column(("acknowledged_at",), _moment),
    "started": Column(("started_at",), _moment),
    "heartbeat": Column(("latest_heartbeat_at",), _moment),
    "stopped": Column(("stopped_at",), _moment),
}


def found_at(raw: Raw, key: str) -> Any:
    """Return what stands at `a.b`; None where nothing does."""
    value: Any = raw
    for part in key.split("."):
        value = mapping(value).get(part)
    return value


def fields(raw: Raw, columns: Sequence[str]) -> Fields:
    """Return what an object shows in some columns; absent ones are None."""
    shown: Fields = {}
    for name in columns:
        column = COLUMNS.get(name, Column((name,), _plain))
        found = (found_at(raw, key) for key in column.keys)
        shown[name] = column.of(next((value for value in found if value is not None), None))
    return shown


def name_of(raw: Raw) -> str | None:
    """Return what a thing is called."""
    found = (text(found_at(raw, key)) for key in (*NAMES, "auth.secret_name"))
    return next(filter(None, found), None)


def called(noun: Noun, raw: Raw) -> str:
    """Return how one thing is said in a question: what it is, its name, its id."""
    name = name_of(raw) if noun.has_name else None
    return f"{noun.called} '{name}' ({raw.get('id')})" if name else f"{noun.called} {raw.get('id')}"
