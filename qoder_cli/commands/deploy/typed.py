"""A deployment from options: checked like a file, with ids for names, and the step that makes it so."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, Rejected, UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Deployment, Raw, mapping
from qoder_cli.nouns.bodies import check_typed, pairs, refuse_ours

if TYPE_CHECKING:
    from qoder_cli.nouns.declared import Declaration
    from qoder_cli.nouns.edits.step import Step


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


def read_fields(app: App, options: Mapping[str, Any]) -> Raw:
    """Return a file's fields for the options typed. Raises UsageError."""
    values = {name: value for name, value in options.items() if value not in (None, ())}
    fields = {field: values[field] for field in OPTIONS if field in values and field not in ("schedule", "metadata")}
    if fields.get("message") == "-":
        from qoder_cli.files.documents import STDIN, read
        from qoder_cli.files.tree import Problem

        try:
            fields["message"] = read(STDIN, stdin=app.stdin)
        except Problem as problem:
            raise UsageError(f"--message -: {problem.text}", hint="pipe the message into this command") from None
    return fields


def schedule_of(expression: str | None, timezone: str | None, current: Mapping[str, Any]) -> Raw:
    """Return the whole schedule; a half not typed is from `current`. Raises UsageError."""
    given = {"expression": expression, "timezone": timezone}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return {}
    schedule = {**{name: current[name] for name in ("expression", "timezone") if name in current}, **given}
    if "expression" not in schedule:
        raise UsageError("--timezone needs --schedule", hint="add --schedule, e.g. '0 9 * * *'")
    if "timezone" not in schedule:
        raise UsageError("--schedule needs --timezone", hint="add --timezone, e.g. UTC")
    return {"schedule": schedule}


def metadata_of(words: Sequence[str] | None, removed: Sequence[str] | None, current: Mapping[str, Any]) -> Raw:
    """Return all wanted metadata, if any was typed or removed. Raises UsageError."""
    refuse_ours("--remove-metadata", removed)
    if not words and not removed:
        return {}
    kept = {key: value for key, value in current.items() if key not in (removed or ())}
    return {"metadata": kept | pairs(words)}


def declare_fields(fields: Mapping[str, Any]) -> "Declaration":
    """Return the fields, checked like a file's. Raises UsageError, naming options."""
    from qoder_cli.nouns.checking import check_body, tree_of
    from qoder_cli.nouns.declared import Declaration, Place
    from qoder_cli.nouns.declaring import references, shorts_of
    from qoder_cli.nouns.deploy import InFile
    from qoder_cli.nouns.how import how_of
    from qoder_cli.nouns.schema import Reader
    from qoder_cli.nouns.table import NOUNS

    for field, value in fields.items():
        check_typed(OPTIONS[field], field, value)
    noun, tree = NOUNS["deploy"], tree_of(dict(fields))
    spelled, problems = how_of(noun).spell(deepcopy(dict(fields))), list[Any]()
    refs = tuple(references(noun, spelled, tree, problems))
    problems += check_body(InFile, spelled, tree, Reader("file"), shorts_of(noun))
    messages: dict[str, None] = {}
    for problem in problems:
        option = next((option for field, option in OPTIONS.items() if problem.path.startswith(field)), problem.path)
        messages[f"{option}: {problem.text}"] = None
    if messages:
        raise UsageError("; ".join(messages))
    return Declaration(noun, Place(""), str(spelled.get("name") or ""), spelled, refs=refs)


def with_ids(app: App, declared: "Declaration") -> Raw:
    """Return the fields of a deployment with ids for names. Raises UsageError, NotFound, ApiError."""
    from qoder_cli.nouns.declaring import put
    from qoder_cli.nouns.named import Names

    names, fields = Names(app), deepcopy(declared.fields)
    for ref in declared.refs:
        id: Any = names.id_of(ref.noun, ref.name or ref.path)
        if ref.version is not None:
            id = {"type": ref.pins, ref.key: id, "version": ref.version}
        put(fields, ref.at, id)
    return fields


def creating(fields: Raw) -> "Step":
    """Return the step that creates a deployment."""
    from qoder_cli.nouns.deployments import FORM, plan
    from qoder_cli.nouns.edits.step import Step, planned
    from qoder_cli.nouns.table import NOUNS

    return plan(None, None, planned(Step(noun=NOUNS["deploy"], form=FORM, wanted=fields)))


def changing(app: App, fields: Raw, current: Deployment) -> "Step":
    """Return the step that changes a deployment, with an error if it cannot; an agent is to have its latest version.

    Raises ApiError.
    """
    from qoder_cli.nouns.deployments import FORM, REPINNING, plan
    from qoder_cli.nouns.edits.step import Step, planned
    from qoder_cli.nouns.edits.thing import archived
    from qoder_cli.nouns.lists import ServerLists
    from qoder_cli.nouns.table import NOUNS

    noun, name = NOUNS["deploy"], fields.get("name")
    fields = _at_latest(app, fields, current)
    step = Step(noun=noun, form=REPINNING, wanted=fields, current=current.raw)
    if error := archived(step.target, current.raw):
        return step.with_(error=error)
    if name is not None and name != current.name:
        [taken] = ServerLists(app).holders(noun, name, renamed=[current.id])
        if others := [str(row["id"]) for row in taken if row["id"] != current.id]:
            return step.with_(error=Rejected(f"the name {name!r} is taken by {others[0]}", hint="choose another name"))
    return plan(None, None, planned(step).with_(form=FORM))


def _at_latest(app: App, fields: Raw, current: Deployment) -> Raw:
    """Return fields with the latest version of the agent that there is, where it is named without one.

    So nothing is sent if that is pinned already. Where an agent cannot be read, or is older than the pin (a replica
    lags), the bare id is sent, which pins the latest.
    """
    pinned = mapping(current.raw.get("agent"))
    id = pinned.get("id")
    if fields.get("agent") != id or not isinstance(id, str):
        return fields
    with suppress(ApiError):
        agent = mapping(app.client.get(f"/agents/{segment(id)}", fresh=True))
        now, then = agent.get("version"), pinned.get("version")
        if agent.get("id") == id and isinstance(now, int) and isinstance(then, int) and now >= then:
            return {**fields, "agent": {"type": "agent", "id": id, "version": now}}
    return fields
