"""Read a deployment from options, and check it like a file."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import with_version
from qoder_cli.nouns.bodies import check_typed, pairs, refuse_ours

if TYPE_CHECKING:
    from qoder_cli.deployments.load import Declared

ANY_SCHEDULE = {"expression": "* * * * *", "timezone": "UTC"}  # stands for the one it has

# The option of each field, for error messages.
OPTIONS = {
    "name": "--name",
    "agent": "--agent",
    "environment_id": "--env",
    "environment": "--env",
    "initial_events": "--message",
    "message": "--message",
    "description": "--description",
    "schedule.timezone": "--timezone",
    "schedule": "--schedule",
    "vault_ids": "--vault",
    "vaults": "--vault",
    "metadata": "--metadata",
    "budget": "--budget",
}


def read_fields(app: App, typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's fields for the options `typed`. Raises UsageError."""
    values = {name: value for name, value in typed.items() if value not in (None, ())}
    fields = {field: values[field] for field in OPTIONS if field in values and field not in ("schedule", "metadata")}
    agent = str(fields.get("agent"))
    id, at, version = agent.rpartition("@")
    if at and id.startswith("agent_") and not with_version(agent)[1]:  # a name may have an @
        hint = "e.g. agent_1@3; leave @ out for the latest"
        raise UsageError(f"--agent: invalid version {version[:20]!r}", hint=hint)
    if fields.get("message") == "-":
        from qoder_cli.deployments.load import STDIN
        from qoder_cli.files.documents import read
        from qoder_cli.files.tree import Problem

        try:
            fields["message"] = read(STDIN, stdin=app.stdin)
        except Problem as problem:
            raise UsageError(f"--message -: {problem.text}", hint="pipe the message into this command") from None
    return fields


def schedule_of(expression: str | None, timezone: str | None, current: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole schedule; a half not typed is from `current`. Raises UsageError."""
    typed = {"expression": expression, "timezone": timezone}
    typed = {name: value for name, value in typed.items() if value is not None}
    if not typed:
        return {}
    schedule = {**{name: current[name] for name in ("expression", "timezone") if name in current}, **typed}
    if "expression" not in schedule:
        raise UsageError("--timezone needs --schedule", hint="add --schedule, e.g. '0 9 * * *'")
    if "timezone" not in schedule:
        raise UsageError("--schedule needs --timezone", hint="add --timezone, e.g. UTC")
    return {"schedule": schedule}


def metadata_of(
    typed: Sequence[str] | None, removed: Sequence[str] | None, current: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return all wanted metadata, if any was typed or removed. Raises UsageError."""
    refuse_ours("--remove-metadata", removed)
    if not typed and not removed:
        return {}
    kept = {key: value for key, value in current.items() if key not in (removed or ())}
    return {"metadata": kept | pairs(typed)}


def declare_fields(fields: Mapping[str, Any]) -> "Declared":
    """Return the fields, checked like a file's. Raises UsageError, naming options."""
    from qoder_cli.deployments.load import declare

    for field, value in fields.items():
        check_typed(OPTIONS[field], value, is_prompt=field == "message")
    declared, problems = declare(fields)
    messages: dict[str, None] = {}
    for problem in problems:
        option = next((option for field, option in OPTIONS.items() if problem.path.startswith(field)), problem.path)
        messages[f"{option}: {problem.text}"] = None
    if messages:
        raise UsageError("; ".join(messages))
    return declared
