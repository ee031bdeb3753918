"""What is there to try besides deployments: the samples that the help of the commands names.

All of it is data, so that a world costs next to nothing to furnish.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from qoder_cli.sandbox.records import ENVIRONMENT, PROMPT, TITLE, Thing
from qoder_cli.sandbox.shapes import stamp

Fields = dict[str, Any]

WRITER, REVIEWER = "agent_writer", "agent_reviewer"
SESSION = "sess_demo"
_OWN_HOSTS = "env_workers"
_VAULT, _SKILL, _STORE = "vault_team", "skill_release_notes", "memstore_project"
_TIMES = ("acknowledged_at", "started_at", "latest_heartbeat_at", "stop_requested_at", "stopped_at")
_ARCHIVED = ("agent", "environment", "vault", "vault_credential", "memory_store", "dream")  # what can be
_HEAD = "---\nname: {name}\ndescription: {description}\n---\n{text}\n"
_BY = {"type": "api_actor", "api_key_id": "key_sandbox"}
_NOTES = "# Notes\n\nUploads are retried once.\n"
_REPORT = "# Status report\n\n2 commits since yesterday. All checks pass.\n"
_SYSTEMS = ("You write.", "You write short reports.", "You write short reports from the history of a repository.")
_SKILLS = ("List the merged changes.", "List the merged changes, grouped by label.")
_MEMORIES = {"conventions.md": "Releases begin at 22:30.\n", "people/on-call.md": "Ask in the team's channel.\n"}


def session() -> Fields:
    """Return the fields of the session that there is."""
    agent = {"id": WRITER, "type": "agent", "version": 1}
    return {"agent": agent, "environment_id": ENVIRONMENT, "initial_events": PROMPT, "title": TITLE}


def things(at: float) -> dict[str, dict[str, Thing]]:
    """Return everything by the path of its list, created `at`."""
    made: dict[str, dict[str, Thing]] = {}
    for home, type, shown in _shown(at):
        key = shown["version"] if home.endswith("/versions") else shown["id"]
        dates = {"created_at": stamp(at), "updated_at": stamp(at)}
        archives = {"archived_at": None} if type in _ARCHIVED else {}
        made.setdefault(home, {})[str(key)] = Thing({"type": type, **shown, **dates, **archives}, at)
    return made


def _shown(at: float) -> Iterator[tuple[str, str, Fields]]:
    """Yield the path of a list, and the type and the fields of a thing in it."""
    toolset: Fields = {"type": "agent_toolset_20260401"}
    asks = {"name": "Bash", "permission_policy": {"type": "always_ask"}}
    for n, system in enumerate(_SYSTEMS, 1):
        writer = _agent(WRITER, "writer", "Writes reports.", system, n, [toolset])
        yield f"agents/{WRITER}/versions", "agent", writer
    tools = [{**toolset, "enabled_tools": ["Read", "Grep", "Bash"], "configs": [asks]}]
    reviewer = _agent(REVIEWER, "reviewer", "Reviews changes.", "You review changes.", 1, tools)
    yield f"agents/{REVIEWER}/versions", "agent", reviewer
    yield "agents", "agent", writer
    yield "agents", "agent", reviewer

    config = {"type": "cloud", "networking": {"type": "unrestricted"}, "packages": {"pip": ["pytest"]}}
    for id, name, of in ((ENVIRONMENT, "default", config), (_OWN_HOSTS, "workers", {"type": "self_hosted"})):
        common = {"description": "", "scope": "organization", "metadata": {}}
        yield "environments", "environment", {"id": id, "name": name, "config": of, **common}
    work = {"id": "work_demo", "environment_id": _OWN_HOSTS, "data": {"type": "session", "id": SESSION}}
    yield (
        f"environments/{_OWN_HOSTS}/work",
        "work",
        {**work, "state": "queued", "metadata": {}, **dict.fromkeys(_TIMES)},
    )

    for id, name, text, scope in (
        ("file_notes", "notes.md", _NOTES, None),
        ("file_report", "report.md", _REPORT, {"type": "session", "id": SESSION}),
    ):
        size = {"mime_type": "text/markdown", "size_bytes": len(text), "downloadable": scope is not None}
        kept: Fields = {"metadata": {}, "status": "ready", "expires_at": None, "_content": text.encode()}
        yield "files", "file", {"id": id, "filename": name, **size, "scope": scope, **kept}

    yield "vaults", "vault", {"id": _VAULT, "display_name": "team-secrets", "metadata": {}}
    auth = {"type": "environment_variable", "secret_name": "GITHUB_TOKEN", "networking": {"type": "unrestricted"}}
    credential = {"id": "vcred_github", "vault_id": _VAULT, "display_name": "github-token", "auth": auth}
    yield f"vaults/{_VAULT}/credentials", "vault_credential", {**credential, "metadata": {}}

    about = {"name": "release-notes", "description": "Writes release notes."}
    skill = {"id": _SKILL, "display_title": "release-notes", "source": "custom", "metadata": {}}
    yield "skills", "skill", {**skill, "_name": "release-notes"}
    for n, text in enumerate(_SKILLS, 1):
        files = {"SKILL.md": _HEAD.format(**about, text=text).encode()}
        numbered: Fields = {"id": f"skillver_{n}", "skill_id": _SKILL, "version": str(n), "_files": files}
        yield f"skills/{_SKILL}/versions", "skill_version", {**numbered, **about, "directory": "release-notes"}

    store = {"id": _STORE, "name": "project", "description": "What the project agreed on.", "metadata": {}}
    yield "memory_stores", "memory_store", store
    for n, (path, text) in enumerate(_MEMORIES.items(), 1):
        fields: Fields = {"memory_store_id": _STORE, "path": path, "content": text}
        fields |= {"content_sha256": sha256(text.encode()).hexdigest(), "content_size_bytes": len(text)}
        memory = {"id": f"mem_{n}", **fields, "memory_version_id": f"memver_{n}", "metadata": {}}
        yield f"memory_stores/{_STORE}/memories", "memory", memory
        version: Fields = {"id": f"memver_{n}", "memory_id": f"mem_{n}", "operation": "created", "created_by": _BY}
        redacted = {"redacted_at": None, "redacted_by": None}
        yield f"memory_stores/{_STORE}/memory_versions", "memory_version", {**version, **fields, **redacted}

    source = {"type": "memory_store", "memory_store_id": _STORE}
    dream: Fields = {"id": "drm_demo", "status": "completed", "inputs": [source], "model": {"id": "ultimate"}}
    dream |= {"instructions": None, "output_behavior": {"type": "update_existing", "memory_store_id": _STORE}}
    dream |= {"outputs": [{**source, "files_touched": ["conventions.md"]}], "session_id": SESSION, "error": None}
    yield "dreams", "dream", dream | {"usage": {"input_tokens": 1200, "output_tokens": 300}, "ended_at": stamp(at + 4)}


def _agent(id: str, name: str, description: str, system: str, version: int, tools: list[Fields]) -> Fields:
    shape: Fields = {"id": id, "name": name, "description": description, "model": {"id": "ultimate"}}
    shape |= {"system": system, "tools": tools, "skills": [], "mcp_servers": [], "multiagent": None}
    return shape | {"metadata": {}, "version": version}
