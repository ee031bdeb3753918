"""Things of each kind as they are kept, with defaults (api/facts.md, 1.2, 2.2 and 4).

Key order is that of api/examples.jsonl.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from qoder_cli.sandbox.presets import AGENT
from qoder_cli.sandbox.records import ENVIRONMENT

Fields = dict[str, Any]
_ONCE = ("created_at",)
_WHOLE = ("created_at", "updated_at", "archived_at")
_DIGEST: Fields = {"content": None, "content_sha256": None, "content_size_bytes": None}


class Form(NamedTuple):
    """A kind of thing, with its fields in the order shown."""

    what: str  # the beginning of their operations' ids
    type: str
    prefix: str  # of their ids
    empty: Mapping[str, Any]
    dated: tuple[str, ...] = _WHOLE
    key: str = "id"  # the field that names one in a path
    name: str = "name"  # the field that a filter by name means
    digits: int = 0  # of a second
    order: str = "desc"  # the newest first, in a list

    @property
    def path(self) -> str:
        """The path of its list, with `{}` for the holder's id."""
        return self.what.replace(".", "/{}/")

    @property
    def called(self) -> str:
        return self.type.replace("_", " ").capitalize()


_DEPLOYMENT: Fields = {
    **{"name": "", "description": None, "agent": {"id": AGENT, "type": "agent", "version": 1}},
    **{"environment_id": ENVIRONMENT, "environment_variables": "", "initial_events": [], "metadata": {}},
    **{"paused_reason": None, "resources": [], "schedule": None, "status": "active", "vault_ids": []},
    **dict.fromkeys(("created_at", "updated_at", "archived_at", "budget")),
}
_RUN: Fields = {
    **{"deployment_id": "", "agent": {}, "created_at": "", "session_id": None, "error": None},
    **{"trigger_context": {}},
}
_SESSION: Fields = {
    **{"agent": {}, "environment_id": "", "title": None, "status": "idle", "metadata": {}},
    **{"environment_variables": {}, "resources": [], "vault_ids": [], "deployment_id": None, "budget": None},
    **{"outcome_evaluations": [], "stats": {}, "usage": {}},
}
_AGENT: Fields = {
    **{"name": "", "description": "", "model": {}, "system": "", "tools": [], "skills": []},
    **{"mcp_servers": [], "multiagent": None, "metadata": {}, "version": 1},
}
_STORE: Fields = {"name": "", "description": "", "metadata": {}}
_ENVIRONMENT: Fields = {**_STORE, "config": {}, "scope": "organization"}
_TIMES = ("acknowledged_at", "started_at", "latest_heartbeat_at", "stop_requested_at", "stopped_at")
_WORK: Fields = {"data": {}, "state": "queued", "metadata": {}, **dict.fromkeys(_TIMES)}
_FILE: Fields = {
    **{"filename": "", "mime_type": "text/plain", "size_bytes": 0, "downloadable": False},
    **{"scope": None, "metadata": {}, "status": "ready", "expires_at": None},
}
_VAULT: Fields = {"display_name": "", "metadata": {}}
_CREDENTIAL: Fields = {"vault_id": "", "display_name": None, "auth": {}, "metadata": {}}
_SKILL: Fields = {"display_title": "", "source": "custom", "metadata": {}}
_SKILL_VERSION: Fields = {"skill_id": "", "version": "", "name": "", "description": ""}
_MEMORY: Fields = {"memory_store_id": "", "path": "", **_DIGEST, "metadata": {}}
BY = {"type": "api_actor", "api_key_id": "key_sandbox"}
_MEMORY_VERSION: Fields = {
    **{"memory_store_id": "", "memory_id": "", "operation": "created", "path": "", **_DIGEST},
    **{"created_by": BY, "redacted_at": None, "redacted_by": None},
}
_DREAM: Fields = {
    **{"status": "pending", "inputs": [], "model": {}, "instructions": None, "outputs": []},
    **{"output_behavior": {}, "session_id": None, "usage": None, "error": None, "ended_at": None},
}

_ROWS = (
    Form("deployments", "deployment", "dep", _DEPLOYMENT),
    Form("deployments.runs", "deployment_run", "drun", _RUN, _ONCE),
    Form("deployment_runs", "deployment_run", "drun", _RUN, _ONCE),
    Form("sessions", "session", "sess", _SESSION, digits=6),
    Form("sessions.events", "event", "evt", {}, order="asc"),
    Form("sessions.resources", "session_resource", "sesr", {}, order="asc"),
    Form("sessions.threads", "session_thread", "sthr", {}),
    Form("sessions.threads.events", "event", "evt", {}, order="asc"),
    Form("models", "model", "", {}),
    Form("agents", "agent", "agent", _AGENT),
    Form("agents.versions", "agent", "agent", _AGENT, key="version"),
    Form("environments", "environment", "env", _ENVIRONMENT),
    Form("environments.work", "work", "work", _WORK, _ONCE),
    Form("files", "file", "file", _FILE, _ONCE, name="filename"),
    Form("vaults", "vault", "vault", _VAULT, name="display_name"),
    Form("vaults.credentials", "vault_credential", "vcred", _CREDENTIAL, name="display_name"),
    Form("skills", "skill", "skill", _SKILL, _WHOLE[:2], name="_name"),
    Form("skills.versions", "skill_version", "skillver", _SKILL_VERSION, _ONCE, "version"),
    Form("memory_stores", "memory_store", "memstore", _STORE),
    Form("memory_stores.memories", "memory", "mem", _MEMORY, _WHOLE[:2]),
    Form("memory_stores.memory_versions", "memory_version", "memver", _MEMORY_VERSION, _ONCE),
    Form("dreams", "dream", "drm", _DREAM, ("created_at", "archived_at")),
)
FORMS = {form.what: form for form in _ROWS}
