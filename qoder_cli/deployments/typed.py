"""A deployment as the options of a command line say it: read, and checked as a file is."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qoder_cli.base.errors import UsageError

if TYPE_CHECKING:
    from qoder_cli.app import State
    from qoder_cli.files.load import Declared

ANY_SCHEDULE = {"expression": "* * * * *", "timezone": "UTC"}  # stands for what one has already
_VERSION = re.compile(r"[0-9]{1,9}")

# Which option a field comes from, for what is wrong with it.
OPTIONS = {
    "name": "--name",
    "agent": "--agent",
    "environment_id": "--environment",
    "initial_events": "--message",
    "message": "--message",
    "description": "--description",
    "schedule.timezone": "--timezone",
    "schedule": "--schedule",
    "vault_ids": "--vault",
    "metadata": "--metadata",
    "budget": "--budget",
}


def read_fields(
    state: "State",
    name: str | None,
    agent: str | None,
    environment: str | None,
    message: str | None,
    description: str | None,
    vaults: list[str] | None,
    budget: str | None,
) -> dict[str, Any]:
    """Return the fields that the options name, as a file would have them."""
    fields = {
        "name": name,
        "agent": None if agent is None else _agent(agent),
        "environment_id": environment,
        "message": _message(message, state),
        "description": description,
        "vault_ids": vaults,
        "budget": budget,
    }
    return {field: value for field, value in fields.items() if value is not None}


def _agent(typed: str) -> Any:
    id, at, version = typed.partition("@")
    if not at:
        return id
    if not _VERSION.fullmatch(version):
        hint = "e.g. agent_1@3; leave @ out for the latest"
        raise UsageError(f"--agent: invalid version {version[:20]!r}", hint=hint)
    return {"id": id, "version": int(version)}


def _message(typed: str | None, state: "State") -> str | None:
    from qoder_cli.files import source
    from qoder_cli.files.problems import Problem

    if typed != source.STDIN:
        return typed
    try:
        return source.read(source.STDIN, stdin=state.stdin)
    except Problem as problem:
        raise UsageError(f"--message -: {problem.text}", hint="pipe the message into this command") from None


def schedule_of(expression: str | None, timezone: str | None, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole schedule, as the API wants it, with what is `known` where only half was typed."""
    if expression is None and timezone is None:
        return {}
    typed = {"expression": expression, "timezone": timezone}
    whole = {half: known.get(half) if said is None else said for half, said in typed.items()}
    for half, option in (("expression", "--schedule"), ("timezone", "--timezone")):
        if whole[half] is None:
            given = "--timezone" if half == "expression" else "--schedule"
            hint = f"add {option}, e.g. {'UTC' if half == 'timezone' else repr('0 9 * * *')}"
            raise UsageError(f"{given} needs {option}", hint=hint)
    return {"schedule": whole}


def metadata_of(
    typed: Sequence[str] | None, removed: Sequence[str] | None, known: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return all of the metadata that is wanted, where anything was said of it."""
    if not typed and not removed:
        return {}
    pairs = [word.partition("=") for word in typed or ()]
    if wrong := [key + equals for key, equals, _ in pairs if not (key and equals)]:
        raise UsageError(f"--metadata: expected KEY=VALUE, got {wrong[0][:80]!r}", hint="e.g. --metadata team=core")
    kept = {key: value for key, value in known.items() if key not in (removed or ())}
    return {"metadata": kept | {key: value for key, _, value in pairs}}


def declare_fields(fields: Mapping[str, Any]) -> "Declared":
    """Return the fields, checked as those of a file are. Raises UsageError, naming the options."""
    from qoder_cli.files.load import declare

    for field, value in fields.items():
        if not _is_utf_8(value):
            raise UsageError(f"{OPTIONS[field]}: is not UTF-8")
    declared, problems = declare(fields)
    if problems:
        told = [f"{_option(problem.path)}: {problem.text}" for problem in problems]
        raise UsageError("; ".join(dict.fromkeys(told)))
    return declared


def _is_utf_8(value: Any) -> bool:
    """Return whether all texts in a JSON value can be sent: what was typed in another encoding cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _option(path: str) -> str:
    return next((option for field, option in OPTIONS.items() if path.startswith(field)), path)
