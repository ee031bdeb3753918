"""What the world is made of: things with their fields, sessions with what happens in them.

All times are unix seconds of the server's own clock. Key order is that of the API's documented examples.
"""

import string
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from qoder_cli.sandbox.wire import Shape

AGENT = "agent_019e00000000700080000000000a9e27"  # of all that behave as demo
ENVIRONMENT = "env_019e0000000070008000000000000e27"
TITLE = "Generate today's status report"
PROMPT = [{"type": "user.message", "content": [{"type": "text", "text": TITLE}]}]

_ONCE = ("created_at",)
_WHOLE = ("created_at", "updated_at", "archived_at")
_DIGEST: Shape = {"content": None, "content_sha256": None, "content_size_bytes": None}


class Form(NamedTuple):
    """A kind of thing, with its fields in the order shown."""

    what: str  # the beginning of their operations' ids
    type: str
    prefix: str  # of their ids
    empty: Shape
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


_DEPLOYMENT: Shape = {
    **{"name": "", "description": None, "agent": {"id": AGENT, "type": "agent", "version": 1}},
    **{"environment_id": ENVIRONMENT, "environment_variables": "", "initial_events": [], "metadata": {}},
    **{"paused_reason": None, "resources": [], "schedule": None, "status": "active", "vault_ids": []},
    **dict.fromkeys(("created_at", "updated_at", "archived_at", "budget")),
}
_RUN: Shape = {
    **{"deployment_id": "", "agent": {}, "created_at": "", "session_id": None, "error": None},
    **{"trigger_context": {}},
}
_SESSION: Shape = {
    **{"agent": {}, "environment_id": "", "title": None, "status": "idle", "metadata": {}},
    **{"environment_variables": {}, "resources": [], "vault_ids": [], "deployment_id": None, "budget": None},
    **{"outcome_evaluations": [], "stats": {}, "usage": {}},
}
_AGENT: Shape = {
    **{"name": "", "description": "", "model": {}, "system": "", "tools": [], "skills": []},
    **{"mcp_servers": [], "multiagent": None, "metadata": {}, "version": 1},
}
_STORE: Shape = {"name": "", "description": "", "metadata": {}}
_ENVIRONMENT: Shape = {**_STORE, "config": {}, "scope": "organization"}
_TIMES = ("acknowledged_at", "started_at", "latest_heartbeat_at", "stop_requested_at", "stopped_at")
_WORK: Shape = {"data": {}, "state": "queued", "metadata": {}, **dict.fromkeys(_TIMES)}
_FILE: Shape = {
    **{"filename": "", "mime_type": "text/plain", "size_bytes": 0, "downloadable": False},
    **{"scope": None, "metadata": {}, "status": "ready", "expires_at": None},
}
_VAULT: Shape = {"display_name": "", "metadata": {}}
_CREDENTIAL: Shape = {"vault_id": "", "display_name": None, "auth": {}, "metadata": {}}
_SKILL: Shape = {"display_title": "", "source": "custom", "metadata": {}}
_SKILL_VERSION: Shape = {"skill_id": "", "version": "", "name": "", "description": ""}
_MEMORY: Shape = {"memory_store_id": "", "path": "", **_DIGEST, "metadata": {}}
BY = {"type": "api_actor", "api_key_id": "key_sandbox"}
_MEMORY_VERSION: Shape = {
    **{"memory_store_id": "", "memory_id": "", "operation": "created", "path": "", **_DIGEST},
    **{"created_by": BY, "redacted_at": None, "redacted_by": None},
}
_DREAM: Shape = {
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


ID_LENGTH = 20  # digits of base 36 after an id's prefix (help/pages/api.md#ids-times-and-numbers)
_DIGITS = string.digits + string.ascii_lowercase


def base36(number: int, length: int) -> str:
    """Return the last `length` digits of a number in base 36, padded with zeros."""
    return "".join(_DIGITS[number // 36**place % 36] for place in reversed(range(length)))


@lru_cache(20_000)  # lists show the same thousands again and again
def stamp(moment: float, *, digits: int = 0) -> str:
    """Return a unix time as UTC text. Below 9 digits, trailing zeros are dropped."""
    whole, nanos = divmod(int(moment * 1_000_000_000), 1_000_000_000)
    fraction = f"{nanos:09d}"[:digits]
    if digits < 9:
        fraction = fraction.rstrip("0")
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    if fraction:
        text += f".{fraction}"
    return f"{text}Z"


@dataclass(eq=False)
class Thing:
    """Anything the API keeps. `fields` are as shown, except those beginning with `_`."""

    id: str  # what a path calls it
    fields: dict[str, Any]
    created: float
    changed: float = 0.0
    before: dict[str, Any] | None = None  # its fields before that
    deleted: float | None = None

    @property
    def archived(self) -> str | None:
        at: str | None = self.fields.get("archived_at")
        return at

    def change(self, at: float, **fields: Any) -> None:
        """Change fields. A lagging replica shows the old ones for a while."""
        self.before, self.changed = dict(self.fields), at
        self.fields.update(fields)
        if "updated_at" in self.fields:
            self.fields["updated_at"] = stamp(at)
