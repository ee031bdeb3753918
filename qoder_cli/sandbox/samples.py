"""Samples to try besides deployments; the commands' help names them."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from qoder_cli.sandbox.records import ENVIRONMENT

Fields = dict[str, Any]

WRITER, REVIEWER, SESSION = "agent_writer", "agent_reviewer", "sess_demo"
_WORKERS, _VAULT = "env_workers", "vault_team"
_SKILL, _STORE = "skill_release_notes", "memstore_project"
_SYSTEMS = ("You write.", "You write reports.", "You write short reports of what was changed.")
_SKILLS = ("List the merged changes.", "List the merged changes, grouped by label.")
_OPEN, _OF_SESSION = {"type": "unrestricted"}, {"type": "session", "id": SESSION}
_HEAD = "---\nname: release-notes\ndescription: Writes release notes.\n---\n"
_FILES = (
    ("file_notes", "notes.md", "# Notes\n\nUploads are retried once.\n", None),
    ("file_report", "report.md", "# Status report\n\nAll checks pass.\n", _OF_SESSION),
)
_MEMORIES = {"conventions.md": "Releases begin at 22:30.\n", "people/on-call.md": "Ask the team.\n"}


def samples() -> Iterator[tuple[str, str, Fields]]:
    """Yield things: their kind, the id of what holds them, their fields."""
    toolset, model = {"type": "agent_toolset_20260401"}, {"id": "ultimate"}
    writer: Fields = {"id": WRITER, "name": "writer", "model": model, "description": "Writes."}
    for n, system in enumerate(_SYSTEMS, 1):
        writer |= {"system": system, "tools": [toolset], "version": n}
        yield "agents.versions", WRITER, dict(writer)
    asks = {"name": "Bash", "permission_policy": {"type": "always_ask"}}
    tools = [{**toolset, "enabled_tools": ["Read", "Grep", "Bash"], "configs": [asks]}]
    reviewer: Fields = {"id": REVIEWER, "name": "reviewer", "model": model, "tools": tools}
    yield "agents.versions", REVIEWER, dict(reviewer)
    yield "agents", "", writer
    yield "agents", "", reviewer

    config = {"type": "cloud", "networking": _OPEN, "packages": {"pip": ["pytest"]}}
    yield "environments", "", {"id": ENVIRONMENT, "name": "default", "config": config}
    yield "environments", "", {"id": _WORKERS, "name": "workers", "config": {"type": "self_hosted"}}
    work = {"id": "work_demo", "environment_id": _WORKERS, "data": _OF_SESSION}
    yield "environments.work", _WORKERS, work

    for id, name, text, scope in _FILES:
        file: Fields = {"id": id, "filename": name, "size_bytes": len(text), "scope": scope}
        file |= {"mime_type": "text/markdown", "_content": text.encode()}
        yield "files", "", {**file, "downloadable": scope is not None}

    yield "vaults", "", {"id": _VAULT, "display_name": "team-secrets"}
    auth = {"type": "environment_variable", "secret_name": "GITHUB_TOKEN", "networking": _OPEN}
    named = {"id": "vcred_github", "vault_id": _VAULT, "display_name": "github-token"}
    yield "vaults.credentials", _VAULT, {**named, "auth": auth}

    yield "skills", "", {"id": _SKILL, "display_title": "release-notes", "_name": "release-notes"}
    for n, text in enumerate(_SKILLS, 1):
        version: Fields = {"id": f"skillver_{n}", "skill_id": _SKILL, "version": str(n)}
        version |= {"name": "release-notes", "directory": "release-notes"}
        version |= {"description": "Writes release notes.", "_files": {"SKILL.md": f"{_HEAD}{text}\n".encode()}}
        yield "skills.versions", _SKILL, version

    yield "memory_stores", "", {"id": _STORE, "name": "project", "description": "What was agreed on."}
    for n, (path, text) in enumerate(_MEMORIES.items(), 1):
        fields: Fields = {"memory_store_id": _STORE, "path": path, "content": text}
        digest, memory, version_id = sha256(text.encode()).hexdigest(), f"mem_{n}", f"memver_{n}"
        fields |= {"content_sha256": digest, "content_size_bytes": len(text)}
        yield "memory_stores.memories", _STORE, {"id": memory, "memory_version_id": version_id, **fields}
        yield "memory_stores.memory_versions", _STORE, {"id": version_id, "memory_id": memory, **fields}

    source = {"type": "memory_store", "memory_store_id": _STORE}
    dream: Fields = {"id": "drm_demo", "status": "completed", "inputs": [source], "model": model}
    dream |= {"output_behavior": {**source, "type": "update_existing"}, "session_id": SESSION}
    yield "dreams", "", {**dream, "outputs": [{**source, "files_touched": ["conventions.md"]}]}
