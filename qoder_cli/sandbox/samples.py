"""What there is from the start: deployments to try, each with its own behaviour, and samples."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from qoder_cli.sandbox.records import AGENT, ENVIRONMENT
from qoder_cli.sandbox.scripts import (
    Artifact,
    Behaviour,
    asking,
    call,
    custom_call,
    exhausted,
    going_on,
    terminated,
    turn,
)

_REPORT = "Status report: 2 commits since yesterday. Uploads are retried once. All checks pass."
_REJECTED = ("session_creation_rejected_error", "Too many of its runs are running.")

DEMO = Behaviour(turn(seconds=3, message=_REPORT))


_TOOLSET: dict[str, Any] = {"type": "agent_toolset_20260401"}
_ASKS = {"name": "Bash", "permission_policy": {"type": "always_ask"}}
_QUESTION = {"type": "object", "properties": {"question": {"type": "string"}}}
_ALL_TOOLS = (_TOOLSET,)
_ASKING_TOOLS = ({**_TOOLSET, "configs": [_ASKS]},)
_OWNER = {"type": "custom", "name": "ask_owner", "description": "Asks the owner.", "input_schema": _QUESTION}
_CUSTOM_TOOLS = (_TOOLSET, _OWNER)


@dataclass(frozen=True, slots=True)
class Preset:
    """A deployment that exists from the start, named `title` or else `word`."""

    word: str
    description: str
    behaviour: Behaviour = DEMO
    title: str = ""
    archived: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)  # fields
    tools: Sequence[Mapping[str, Any]] = _ALL_TOOLS  # of its agent

    @property
    def id(self) -> str:
        return f"dep_{self.word}"

    @property
    def agent(self) -> str:
        """The id of its agent, which decides how it behaves."""
        return AGENT if self.behaviour is DEMO else f"agent_{self.word}"


_MINUTE = Behaviour(turn(seconds=60, steps=9, message=_REPORT))
_SLOW = Behaviour(turn(seconds=8, start=5, message=_REPORT, idles=True))
_STATUS, _PUSH, _CLEAN = call("git status"), call("git push origin main"), call("rm -rf build")
_ASK = Behaviour(asking(_PUSH, seconds=2))
_ASK_MANY = Behaviour(asking(_STATUS, _PUSH, _CLEAN, seconds=2))
_ASK_THRICE = Behaviour(asking(_STATUS, seconds=2), then=((_PUSH,), (_CLEAN,)))
_SELF_ASK = Behaviour(going_on(_PUSH, seconds=6, message=_REPORT))
_CUSTOM = Behaviour(asking(custom_call("ask_owner", question="Which version is next?"), seconds=2))
_IDLE = Behaviour(turn(seconds=3, message=_REPORT, idles=True))

_DELIVERING = Behaviour(turn(seconds=3, message="It is in status.md.", delivers=Artifact("status.md", f"{_REPORT}\n")))
_DELIVERED = Artifact("report.md", "# Status report\n\nAll checks pass.\n", "file_report")
OF_SESSION = Behaviour(turn(seconds=3, message=_REPORT, delivers=_DELIVERED))

RETIRED = "env_retired"
_THIRTY_CENTS = {"budget": {"type": "limit", "max_credit_cost": "0.30"}}
_NINE = {"schedule": {"expression": "0 9 * * *", "timezone": "UTC"}}
_PAUSED = {"status": "paused", "paused_reason": {"type": "manual"}}
_FAILS = "Fails in 3 s: the model calls fail until the retries are used up."
_NEVER_STARTS = "Never starts: the trigger answers 200 with an error, because the environment is archived."
_SKIPS = "Skipped because too many runs are running. The current API has no skips: there the session is rejected."
_ASKS_ITSELF = "Asks after 3 s, and continues by itself 2 s later; completes in 6 s."
_CALLS = "Calls a custom tool after 2 s; once it has the result, completes in 1 s."
_WAITS = "Its session idles for 5 s before the turn starts; completes in 8 s."
_IDLES = "Its session says that it is idle before the turn starts; completes in 3 s."
_FIRES = "Fires every day at 09:00 UTC; started by hand it behaves as demo."

PRESETS = (
    Preset("demo", "Completes in about 3 s, with a final message."),
    Preset("minute", "Completes in 60 s.", _MINUTE),
    Preset("fail", _FAILS, Behaviour(exhausted(seconds=3))),
    Preset("terminated", "Fails in 3 s: an error terminates its session.", Behaviour(terminated(seconds=3))),
    Preset("nostart", _NEVER_STARTS, more={"environment_id": RETIRED}),
    Preset("skip", _SKIPS, Behaviour(error=_REJECTED, skipped=True)),
    Preset("ask", "Asks after 2 s whether it may push; once answered, completes in 1 s.", _ASK, tools=_ASKING_TOOLS),
    Preset("askmany", "Asks after 2 s about three calls at once, as ask.", _ASK_MANY, tools=_ASKING_TOOLS),
    Preset("askthrice", "Asks three times, about a call each, as ask.", _ASK_THRICE, tools=_ASKING_TOOLS),
    Preset("selfask", _ASKS_ITSELF, _SELF_ASK, tools=_ASKING_TOOLS),
    Preset("custom", _CALLS, _CUSTOM, tools=_CUSTOM_TOOLS),
    Preset("budget", "Fails in 3 s: its budget of 0.30 credits is used up.", more=_THIRTY_CENTS),
    Preset("silent", "Completes in 3 s without any message.", Behaviour(turn(seconds=3))),
    Preset("file", "Completes in 3 s, and delivers a file: status.md.", _DELIVERING),
    Preset("slow", _WAITS, _SLOW),
    Preset("idle", _IDLES, _IDLE),
    Preset("paused", "Paused: cannot be run until it is unpaused.", more=_PAUSED),
    Preset("archived", "Archived for good, although its status is still active.", title="old-report", archived=True),
    Preset("scheduled", _FIRES, title="nightly-report", more=_NINE),
)


def behaviour_with(tools: Sequence[Mapping[str, Any]]) -> Behaviour | None:
    """Return how an agent behaves if one of these tools asks; None if none does."""
    for tool in tools:
        if tool["type"] == "custom":
            inputs = dict.fromkeys(tool["input_schema"].get("properties", {}) or ("input",), "sample")
            return Behaviour(asking(custom_call(tool["name"], **inputs), seconds=2))
        configs = [tool.get("default_config") or {}, *(tool.get("configs") or ())]
        if any(config.get("permission_policy") == {"type": "always_ask"} for config in configs):
            return _ASK
    return None


Fields = dict[str, Any]

WRITER, REVIEWER, SESSION, WORKED = "agent_writer", "agent_reviewer", "sess_demo", "sess_workers"
WORKERS, _VAULT = "env_workers", "vault_team"
_SKILL, _STORE = "skill_release_notes", "memstore_project"
_SYSTEMS = ("You write.", "You write reports.", "You write short reports of what was changed.")
_SKILLS = ("List the merged changes.", "List the merged changes, grouped by label.")
_OPEN, _OF_WORK = {"type": "unrestricted"}, {"type": "session", "id": WORKED}
_HEAD = "---\nname: release-notes\ndescription: Writes release notes.\n---\n"
_NOTES = "# Notes\n\nUploads are retried once.\n"
_MODEL: Fields = {
    "source": "system",
    "is_enabled": True,
    "is_new": False,
    "default_context_window": 200_000,
    "available_context_windows": [200_000],
    "max_input_tokens": 200_000,
}
_LEVELS: Fields = {"efforts": ["low", "medium", "high"], "default_effort": "medium"}
_MODELS: dict[str, Fields] = {
    "auto": {"display_name": "Auto", "price_factor": 1.0},
    "ultimate": {"display_name": "Ultimate", "price_factor": 1.6, **_LEVELS},
}
_MEMORIES = {"conventions.md": "Releases begin at 22:30.\n", "people/on-call.md": "Ask the team.\n"}


def samples() -> Iterator[tuple[str, str, Fields]]:
    """Yield things: their kind, the id of what holds them, their fields."""
    yield from (("models", "", {"id": id, **_MODEL, **own}) for id, own in _MODELS.items())
    model = {"id": "ultimate"}
    for preset in {known.agent: known for known in reversed(PRESETS)}.values():
        about = "Rehearses; nothing it does is real."
        rehearses = {"id": preset.agent, "name": f"{preset.word}-agent", "description": about, "model": model}
        for kind, parent in (("agents.versions", preset.agent), ("agents", "")):
            yield kind, parent, {**rehearses, "tools": [dict(tool) for tool in preset.tools]}
    writer: Fields = {"id": WRITER, "name": "writer", "model": model, "description": "Writes."}
    for n, system in enumerate(_SYSTEMS, 1):
        writer |= {"system": system, "tools": [dict(_TOOLSET)], "version": n}
        yield "agents.versions", WRITER, dict(writer)
    tools = [{**_TOOLSET, "enabled_tools": ["Read", "Grep", "Bash"], "configs": [_ASKS]}]
    reviewer: Fields = {"id": REVIEWER, "name": "reviewer", "model": model, "tools": tools}
    yield "agents.versions", REVIEWER, dict(reviewer)
    yield "agents", "", writer
    yield "agents", "", reviewer

    config = {"type": "cloud", "networking": _OPEN, "packages": {"pip": ["pytest"]}}
    yield "environments", "", {"id": ENVIRONMENT, "name": "default", "config": config}
    yield "environments", "", {"id": RETIRED, "name": "retired", "config": config}
    yield "environments", "", {"id": WORKERS, "name": "workers", "config": {"type": "self_hosted"}}
    work = {"id": "work_demo", "environment_id": WORKERS, "data": _OF_WORK}
    yield "environments.work", WORKERS, work

    notes: Fields = {"id": "file_notes", "filename": "notes.md", "size_bytes": len(_NOTES)}
    yield "files", "", {**notes, "mime_type": "text/markdown", "_content": _NOTES.encode()}
    yield "files", "", _DELIVERED.file(_DELIVERED.id, SESSION)

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
