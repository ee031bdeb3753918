"""Start a session: from options, or like a deployment or another session."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, QoderError, Rejected, RunFailed, Signalled, UsageError
from qoder_cli.base.ids import with_version
from qoder_cli.base.model import Deployment, Raw, Run, filled, mapping
from qoder_cli.nouns.deployments import TOKENS, settable
from qoder_cli.nouns.edits.create import creating
from qoder_cli.nouns.named import id_of
from qoder_cli.nouns.parts import VARIABLE, VARIABLES, assignments
from qoder_cli.nouns.table import NOUNS
from qoder_cli.sessions.answers import Delivery
from qoder_cli.sessions.log import Events, Log

_REPOSITORY = re.compile(r"(https://[^\s@]+?)(?:@([^\s:@]+))?(?::(/\S*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# The fields of a resource to copy to another session: no server shows a repository's token.
_OF_RESOURCE = ("type", "file_id", "mount_path", "url", "checkout", "memory_store_id", "access", "instructions")
_FIRST = {
    "user.message": ("type", "content"),
    "user.define_outcome": ("type", "description", "rubric", "max_iterations"),
}


def agent_of(app: App, word: str, model: str | None) -> Any:
    """Return the agent for a create, from NAME or ID, perhaps @VERSION, and `model`."""
    name, version = with_version(word)
    agent = {"id": id_of(app, NOUNS["agent"], name), "type": "agent", **filled({"version": version})}
    if version or model:
        return with_model(agent, model)
    return agent["id"]


def with_model(agent: Any, model: str | None) -> Any:
    """Return an agent with another model, for this session alone."""
    if model is None:
        return agent
    if not isinstance(agent, dict):
        agent = {"id": agent}
    return {**agent, "type": "agent_with_overrides", "model": model}


def variables(words: Sequence[str]) -> dict[str, str]:
    """Return the variables typed. Raises UsageError, which never shows a value."""
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not re.fullmatch(VARIABLE, name):
            which = f", not {name[:60]!r}" if equals else ""
            hint = "use letters, digits and _, and no name of the service itself, such as QODER_…"
            raise UsageError(f"--var takes NAME=VALUE{which}", hint=hint)
        values[name] = value
    return values


def repository(word: str, token: str | None) -> Raw:
    """Return the repository typed as URL[@REF][:MOUNT]. Raises UsageError."""
    match = _REPOSITORY.fullmatch(word)
    url = urlsplit(match[1] if match else word)
    if "@" in word.partition("://")[2].partition("/")[0]:
        raise UsageError("--repo: a URL must not hold a password or a token", hint="set QODER_REPO_TOKEN to it")
    if match is None or not url.hostname or not url.path.strip("/"):
        hint = "for example https://github.com/org/repo@main:/data/repo"
        raise UsageError(f"--repo takes URL[@REF][:MOUNT], not {word[:100]!r}", hint=hint)
    _, ref, mount = match.groups()
    is_commit = bool(ref and _COMMIT.fullmatch(ref))
    checkout = {"type": "commit", "sha": ref} if is_commit else {"type": "branch", "name": ref}
    return _with_token(
        {
            "type": "github_repository" if url.hostname == "github.com" else "git_repository",
            "url": match[1],
            **filled({"checkout": ref and checkout, "mount_path": mount}),
        },
        token,
    )


def _with_token(resource: Raw, token: str | None) -> Raw:
    name = TOKENS.get(str(resource.get("type")))
    if name and token:
        return {**resource, name: token}
    return resource


def memory(app: App, word: str) -> Raw:
    """Return the memory store typed as STORE[:ro]."""
    name = word.removesuffix(":ro")
    access = {"access": "read_only"} if name != word else {}
    return {"type": "memory_store", "memory_store_id": id_of(app, NOUNS["memory"], name), **access}


def first_messages(app: App, id: str) -> Iterator[Raw]:
    """Yield what was sent to a session before its agent began. Raises ApiError."""
    for event in next(Log(app.client, id).whole()):
        kind = str(event.get("type"))
        if kind in _FIRST:
            yield event
        elif kind.startswith("agent.") or kind in ("session.status_idle", "session.status_terminated"):
            return


def like(raw: Raw, events: Any, token: str | None) -> Raw:
    """Return the body of a session like a deployment's runs, or like another session when it began."""
    fields = settable(Deployment({**raw, "initial_events": events or []}))
    if isinstance(variables := fields[VARIABLES], str):
        fields[VARIABLES] = dict(assignments(variables) or ())
    resources = [_only(_OF_RESOURCE, resource) for resource in map(mapping, fields["resources"])]
    fields["resources"] = [_with_token(resource, token) for resource in resources]
    first = [event for event in map(mapping, fields["initial_events"]) if event.get("type") in _FIRST]
    fields["initial_events"] = [_only(_FIRST[event["type"]], event) for event in first]
    kept = ("agent", "environment_id", VARIABLES, "resources", "vault_ids", "budget", "initial_events")
    return {name: fields[name] for name in kept if fields.get(name)}


def _only(names: Sequence[str], fields: Raw) -> Raw:
    return {name: fields[name] for name in names if fields.get(name) is not None}


def create(app: App, body: Raw) -> tuple[Run, Events]:
    """Create a session. Return it, and its first events if these are still to be sent. Raises QoderError.

    A 400 that names `environment_variables` or `initial_events` is met by sending these otherwise.
    """
    later: Events = []
    while True:
        try:
            created = Run({**creating(app, NOUNS["session"], body).deliver().raw, "type": "session"})
            break
        except Rejected as error:
            pairs = body.get("environment_variables")
            if _names(error, "environment_variables") and isinstance(pairs, dict):
                body = {**body, "environment_variables": _as_text(pairs, error)}
            elif _names(error, "initial_events") and "initial_events" in body:
                later = body["initial_events"]
                body = {name: value for name, value in body.items() if name != "initial_events"}
            else:
                raise
    app.progress.note(f"session {created.id} was created")
    return created, later


def send_first(app: App, created: Run, events: Events) -> Events:
    """Send the first events of a session that was created, and return those accepted. Raises QoderError.

    That they were refused is no refusal of the command: the session is there.
    """
    so = f"session {created.id} was created"
    begin = {"hint": "to begin", "next": app.command("session", "send", created.id, "-m", "TEXT")}
    about: dict[str, Any] = {"session_id": created.id, **begin}
    try:
        return Delivery(app, created.id, events).write.deliver()
    except Signalled as signalled:
        why = f"interrupted; {so}, but its message was not sent"
        raise signalled.in_words(why, run_state="ended", **about) from None
    except ApiError as error:
        why = f"{so}, but its message was not sent: {error.message}"
        raise RunFailed(why, run_state="ended", cause=error, **about) from error
    except QoderError as error:
        raise error.with_(message=f"{so}; {error.message}") from error


def _names(error: ApiError, field: str) -> bool:
    return error.http_status == 400 and re.search(rf"\b{field}\b", error.message) is not None


def _as_text(pairs: Mapping[str, str], error: Rejected) -> str:
    """Return variables as text, for older servers. Raises `error` if it cannot be."""
    if any("\n" in value or "\r" in value for value in pairs.values()):
        raise error
    separator = "\n" if any(";" in value for value in pairs.values()) else ";"
    return separator.join(f"{name}={value}" for name, value in pairs.items())
