"""What a noun's columns show, and where the API has it (api.md#operations)."""

from collections.abc import Callable, Sequence
from typing import Any

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.marks import without_ours
from qoder_cli.base.model import Raw, array, mapping, text
from qoder_cli.base.words import counted
from qoder_cli.nouns.noun import Noun
from qoder_cli.output.cells import Fields, Id, Moment, Name, Status, Words

NAMES = ("name", "display_title", "display_name", "filename", "secret_name", "auth.secret_name")
KNOWN_BY = (*NAMES, "auth.mcp_server_url")  # which tells a credential from others that has no name


Look = Callable[[Any], Any]  # makes what is shown of a value; None keeps it absent


def _text(kind: Callable[[str], Any]) -> Look:
    return lambda value: kind(value) if text(value) else None


def _plain(value: Any) -> Any:
    if value in (None, "", [], {}):
        return None
    if isinstance(value, dict | list):
        return Words(jsontext.dump(value))
    return value


def _joined(names: Sequence[Any]) -> Any:
    if names:
        return Words(", ".join(str(name) for name in names if name))
    return None


def _named(*keys: str) -> Look:
    """Return a look that lists objects by the first key that each has."""

    def look(value: Any) -> Any:
        objects = map(mapping, array(value))
        return _joined([next((text(part.get(key)) for key in keys if text(part.get(key))), "") for part in objects])

    return look


def tool_names(tools: Any) -> list[str]:
    """Return the names of an agent's tools: `all` for the whole toolset."""
    names: list[str] = []
    for tool in map(mapping, array(tools)):
        kind = str(tool.get("type"))
        if kind.startswith("agent_toolset"):
            configs = map(mapping, array(tool.get("configs")))
            off = [str(config.get("name")) for config in configs if config.get("enabled") is False]
            off += map(str, array(tool.get("disallowed_tools")))
            names += array(tool.get("enabled_tools")) or [f"all but {' '.join(off)}" if off else "all"]
        elif kind.startswith("browser_toolset"):
            names.append("browser")
        elif kind != "mcp_toolset":  # shown with its server
            names.append(text(tool.get("name")) or kind)
    return names


def asking(tool: Raw, every: str) -> list[str]:
    """Return what of a toolset asks before each use (api.md#agents); `every` is what all of it is called."""
    default = {**mapping(tool.get("default_config")), "name": every}
    configs = (default, *map(mapping, array(tool.get("configs"))))
    asks = [config for config in configs if mapping(config.get("permission_policy")).get("type") == "always_ask"]
    return [str(config.get("name")) for config in asks]


def _packages(value: Any) -> Any:
    packages = [(manager, array(names) or [names]) for manager, names in mapping(value).items() if names]
    return _joined([f"{manager}: {' '.join(map(str, names))}" for manager, names in packages])


def _inputs(value: Any) -> Any:
    inputs = []
    for item in map(mapping, array(value)):
        sessions = array(item.get("session_ids"))
        inputs.append(item.get("memory_store_id") or (sessions and counted(len(sessions), "session")))
    return _joined(inputs)


def _listed(value: Any) -> Any:
    if isinstance(value, list):
        return _joined(value)
    return _plain(value)


_id, _name, _words, _moment, _status = map(_text, (Id, Name, Words, Moment, Status))

# How columns look, and their keys, of which the first one present counts (`a.b` is one
# within another), or the field of its name.
_LOOKS: dict[Look, str] = {
    _id: "id parent=parent_thread_id memory=memory_id session=scope.id,session_id,data.id",
    _name: f"name={','.join(NAMES)}",
    _words: """
        description instructions system setup=config.setup_script
        for=auth.mcp_server_url,auth.secret_name agent=agent.name,agent.id,agent""",
    _moment: """
        created=created_at updated=updated_at archived=archived_at ended=ended_at
        expires=expires_at acknowledged=acknowledged_at started=started_at
        stopped=stopped_at redacted=redacted_at heartbeat=latest_heartbeat_at""",
    _status: "status state",
    _plain: """
        version=version,latest_version model=model.id,model type=config.type,auth.type,mime_type,type
        network=config.networking.type,auth.networking.type sha256=content_sha256
        bytes=size_bytes,total_size,content_size_bytes entries=entry_count
        source=source.type,source credits=usage.total_credits enabled=is_enabled
        context=default_context_window,max_input_tokens error=error.message,error
        by=created_by.session_id,created_by.user_id,created_by.service_account_id,created_by.api_key_id,created_by.type
        """,
    _listed: "efforts hosts=config.networking.allowed_hosts,auth.networking.allowed_hosts",
    lambda tools: _joined(tool_names(tools)) or "none": "tools",
    lambda tools: _joined([name for tool in map(mapping, array(tools)) for name in asking(tool, "all")]): "asks=tools",
    _named("skill_id", "name", "type"): "skills",
    _named("name", "url"): "mcp=mcp_servers",
    _packages: "packages=config.packages",
    _inputs: "inputs outputs",
    lambda metadata: _joined(list(without_ours(mapping(metadata)))): "metadata",
}
_COLUMNS = {
    name: ((keys or name).split(","), look)
    for look, columns in _LOOKS.items()
    for name, _, keys in (each.partition("=") for each in columns.split())
}


def found_at(raw: Raw, key: str) -> Any:
    """Return the value at `a.b`, or None."""
    value: Any = raw
    for part in key.split("."):
        value = mapping(value).get(part)
    return value


def fields(raw: Raw, columns: Sequence[str]) -> Fields:
    """Return what an object shows in these columns; absent ones are None."""
    shown: Fields = {}
    for name in columns:
        keys, look = _COLUMNS.get(name, ([name], _plain))
        for key in keys:
            if (value := found_at(raw, key)) is not None:
                break
        shown[name] = look(value)
    return shown


def row_of(noun: Noun, columns: Sequence[str], app: App) -> tuple[Callable[[Raw], Fields], Sequence[str]]:
    """Return what makes a row, and its columns as a terminal shows them: the id comes last."""
    row = noun.listing.row
    if row:
        return lambda raw: row(raw, app), noun.listing.first
    return (lambda raw: fields(raw, columns)), sorted(columns, key=lambda name: name == "id")


def sheet_of(noun: Noun, raw: Raw, app: App) -> Fields:
    """Return all that a thing shows."""
    if noun.listing.sheet:
        return noun.listing.sheet(raw, app)
    return fields(raw, (*noun.listing.columns, *noun.listing.more))


def name_of(raw: Raw) -> str | None:
    """Return a thing's name, or None."""
    return _first_at(raw, NAMES)


def known_as(raw: Raw) -> str | None:
    """Return a thing's name, or what it is for; None if it has neither."""
    return _first_at(raw, KNOWN_BY)


def _first_at(raw: Raw, keys: Sequence[str]) -> str | None:
    return next((value for key in keys if (value := text(found_at(raw, key)))), None)


def called(noun: Noun, raw: Raw) -> str:
    """Return a thing as a question names it: noun, name, id."""
    name = name_of(raw) if noun.naming.has_name else text(raw.get("title"))
    if name:
        return f"{noun.called} '{name}' ({raw.get('id')})"
    return f"{noun.called} {raw.get('id')}"


def show(app: App, noun: Noun, raw: Raw) -> None:
    """Print one of a noun's things in the format asked for."""
    from qoder_cli.local.remembered import remember

    if "id" in raw:
        remember(app.store, app.settings, noun.words, [(raw, name_of(raw))])
    elif app.output.format == "id":  # what is only planned has no id to print
        return
    shown: Fields = {}
    if app.output.format == "table":
        shown = sheet_of(noun, raw, app)
    app.output.record(shown, data=raw, id=str(raw.get("id")))
