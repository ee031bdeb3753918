"""Write a deployment as a commented YAML file, which load.py reads back the same."""

from collections.abc import Iterator
from typing import Any

from qoder_cli.base.cron import words_of
from qoder_cli.base.marks import without_ours
from qoder_cli.base.model import Deployment, mapping
from qoder_cli.files.yamlwrite import comment, entry
from qoder_cli.nouns.deployments import assignments, settable

# In reading order; `message` replaces `initial_events` if it can.
ORDER = (
    *("name", "description", "agent", "environment_id", "environment_variables", "schedule"),
    *("message", "initial_events", "resources", "vault_ids", "metadata", "budget"),
)
_REPOSITORIES = ("github_repository", "git_repository")


def export(deployment: Deployment, *, by_id: bool = False) -> str:
    """Return one YAML document: all that can be set of a deployment, with comments.

    `by_id` adds the id, needed if another has its name. Join documents with `---\\n`. Left
    out are secrets of resources, which no server returns, and what changes by itself.
    """
    fields = short_forms(settable(deployment))
    lines = [
        "# qoder deploy apply -f FILE makes the server match this file. Fields you remove are left unchanged.",
        "# ${NAME} stands for an environment variable, $${ for a literal ${.",
    ]
    if deployment.archived_at:
        note = f"Archived on {deployment.archived_at}: to create a new one, give it another name."
        lines.append(comment(note))
    if by_id:
        note = "# Matched by id, because another deployment has the same name."
        lines += ["", note, f"id: {deployment.id}"]
    for name in ORDER:
        if name in fields:
            notes = [*notes_of(name, fields[name], deployment)]
            if notes and not (by_id and name == "name"):
                lines += ["", *map(comment, notes)]
            lines += entry(f"{name}:", fields[name])
    return "\n".join(lines) + "\n"


def notes_of(name: str, value: Any, deployment: Deployment) -> Iterator[str]:
    """Yield the comments above a field."""
    if name == "name":
        yield from ("Matched by this name. To rename it, add the id:", f"id: {deployment.id}")
    if name == "agent" and isinstance(value, dict):
        yield "Remove the version to keep the pinned one (new deployments pin the latest)."
    is_list = name == "resources" and isinstance(value, list)
    if is_list and any(mapping(resource).get("type") in _REPOSITORIES for resource in value):
        yield "The server never returns tokens and passwords. To change resources, add them again as ${NAME}."
    if name == "schedule" and (words := words_of(mapping(value))):
        yield words
    if name == "metadata":
        yield "Keys you remove here are deleted."
        labels = without_ours(mapping(deployment.raw.get("metadata")))
        if left_out := [key for key in labels if key not in value]:
            yield f"Read-only, left out: {', '.join(left_out)}"
    if name == "budget":
        yield "Credits per run; null means no limit."


def short_forms(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields in normal form in the short forms that files may use."""
    short = dict(fields)
    for name in ("agent", "schedule"):
        if isinstance(short.get(name), dict):
            short[name] = {key: value for key, value in short[name].items() if key != "type"}
    if set(mapping(short["budget"])) == {"type", "max_credit_cost"}:
        short["budget"] = short["budget"]["max_credit_cost"]
    variables = short["environment_variables"]
    pairs = assignments(variables) if isinstance(variables, str) else None
    if pairs is not None and len(dict(pairs)) == len(pairs):
        short["environment_variables"] = dict(pairs)
    if isinstance(events := short.get("initial_events"), list):
        short["initial_events"] = list(events)
        for number, event in enumerate(events):
            match event:
                case {"content": [{"type": "text", "text": str(text), **others}]} if text and not others:
                    short["initial_events"][number] = {**event, "content": text}
    match short.get("initial_events"):
        case [{"type": "user.message", "content": str(text), **others}] if not others:
            del short["initial_events"]
            short["message"] = text
    return short
