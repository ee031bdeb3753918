"""Plan what deployment files create or change on the server."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NotFound, QoderError, Rejected, UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.marks import KEY, MOST_KEYS
from qoder_cli.base.model import Deployment, mapping
from qoder_cli.base.pool import in_order
from qoder_cli.base.words import few
from qoder_cli.deployments.form import FORM, REPINNING, secrets_of
from qoder_cli.deployments.lookup import alive, find_deployment, of_pages, read_all, read_pages
from qoder_cli.deployments.step import DeploymentStep, step_for
from qoder_cli.files.load import Declared, missing_for_create
from qoder_cli.files.normal import EMPTY, NAMED, RESERVED, TOKENS, WRITE_ONLY, settable
from qoder_cli.files.references import put
from qoder_cli.files.tree import BadFiles, Problem
from qoder_cli.nouns.edits.step import Applied
from qoder_cli.nouns.edits.thing import Raw, archived
from qoder_cli.nouns.named import Names
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import NOUNS
from qoder_cli.nouns.taken import holders, once_listed

AT_A_TIME = 8  # deployments or agents to read
_NOUNS = {"agent": "agent", "environment": "env", "vaults": "vault"}  # of fields that take names
_LISTED = 10  # ids in an error about an ambiguous name
_NAME_OF_ARCHIVED = re.compile(r"_archived_[0-9]+\Z")  # the server renames them (api.md#deployments)


def plan(app: App, declared: Sequence[Declared], *, repin: bool, send_secrets: bool) -> list[DeploymentStep]:
    """Return a step for each deployment, with all names resolved from one listing.

    Raises BadFiles if fields lack, a name is ambiguous, or two files mean one deployment; ApiError.
    """
    app.connect()
    declared = with_ids(app, declared)
    names = [one.name or "" for one in declared if one.id is None]
    archived = any(map(_NAME_OF_ARCHIVED.search, names))
    pages = list(read_pages(app, archived=archived)) if names else []
    deployments = list(of_pages(pages, archived=archived))
    new = [name for name in dict.fromkeys(names) if name and _meant(deployments, name) is None]
    unlisted = dict(zip(new, holders(app, NOUNS["deploy"], *new, pages=pages), strict=True)) if new else {}
    deployments += [Deployment(raw) for name in new for raw in unlisted[name] if raw.get("name") == name]
    by_id: dict[str, Deployment | QoderError] = {each.id: each for each in deployments}

    def read(id: str) -> Deployment | QoderError:
        try:
            return find_deployment(app, id, fresh=True)
        except ApiError as error:
            return error

    missing = [one.id for one in declared if one.id and one.id not in by_id]
    by_id.update(zip(missing, in_order(read, missing, at_a_time=AT_A_TIME), strict=True))
    renamed = {one.id: one.name for one in declared if one.id and one.name and _is_renamed(one, by_id[one.id])}
    if renamed:
        listed = {each.id for each in deployments}
        deployments += [each for each in named_like(app, renamed, pages or None) if each.id not in listed]
    found = [by_id[one.id] if one.id else _meant(deployments, one.name) for one in declared]
    if repin:
        declared = at_latest(app, declared, found)
    steps: list[DeploymentStep] = []
    for declaration, current in zip(declared, found, strict=True):
        if isinstance(current, QoderError):
            steps.append(step_for(declaration, error=current))
        elif current is None and (others := unlisted.get(declaration.name or "")):
            id = str(others[0]["id"])
            error = Rejected(
                f"{name_of(others[0])!r} is there already ({id})", hint="add its id, or choose another name"
            )
            steps.append(step_for(declaration, error=error))
        elif current is None:
            steps.append(creating(declaration))
        else:
            steps.append(changing(declaration, current, deployments, repin=repin, send_secrets=send_secrets))
    if problems := list(problems_of(steps, deployments)):
        raise BadFiles(problems)
    return steps


def named_like(app: App, renamed: Mapping[str, str], pages: Sequence[Raw] | None = None) -> list[Deployment]:
    """Return the deployments that have the new names, by id, of others, as `holders` does. Raises ApiError."""
    names = tuple(dict.fromkeys(renamed.values()))
    found = holders(app, NOUNS["deploy"], *names, pages=pages, renamed=renamed.keys())
    return [Deployment(raw) for those in found for raw in those]


def with_ids(app: App, declared: Sequence[Declared]) -> list[Declared]:
    """Return deployments with ids for the names of agents, environments and vaults.

    Raises BadFiles for wrong names in files; UsageError, NotFound for those in options; ApiError.
    """
    names = Names(app)
    problems: list[str] = []

    def id_of(declaration: Declared, words: str, field: str, typed: str, *, line: int = 0) -> str:
        noun = NOUNS[words]
        if typed.startswith(noun.prefix):
            return typed
        try:
            return names.id_of(noun, typed)
        except (UsageError, NotFound) as error:
            if not declaration.source or error.http_status:  # an option is wrong, or the list is not there
                raise
            text = "; ".join(filter(None, (error.message, error.advice)))
            problems.append(Problem(text, line=line or declaration.line, path=(field,)).located(declaration.source))
            return typed

    def resolved(declaration: Declared, field: str, value: Any) -> Any:
        if field not in _NOUNS or not value:
            return value
        words = _NOUNS[field]
        if isinstance(value, dict):
            return {**value, "id": id_of(declaration, words, field, value["id"])}
        if isinstance(value, list):
            return [id_of(declaration, words, field, each) for each in value]
        return id_of(declaration, words, field, value)

    found = []
    for declaration in declared:
        fields = {
            NAMED.get(field, field): resolved(declaration, field, value) for field, value in declaration.fields.items()
        }
        for ref in declaration.refs:
            value: Any = id_of(declaration, ref.noun, str(ref.at[0]), ref.name, line=ref.line)
            if ref.version is not None:
                value = {"type": ref.pins, "id": value, "version": ref.version}
            put(fields, ref.at, value)
        found.append(replace(declaration, fields=fields, refs=()))
    if problems:
        raise BadFiles(problems)
    return found


def _meant(deployments: Sequence[Deployment], name: str | None) -> Deployment | None:
    """Return the deployment that a name means, preferably one not archived; or None."""
    return next(iter([*alive(deployments, name), *(found for found in deployments if found.name == name)]), None)


def _is_renamed(declared: Declared, found: Deployment | QoderError) -> bool:
    return isinstance(found, Deployment) and declared.name not in (None, found.name)


def creating(declared: Declared) -> DeploymentStep:
    """Return the step that creates a deployment."""
    step = step_for(declared)
    step.plan()
    given = {name: value for name, value in declared.fields.items() if name not in EMPTY or value != EMPTY[name]}
    step.body = _without_no_tokens(given)  # empty ones may not be known
    step.plan_pause()
    return step


def changing(
    declared: Declared,
    current: Deployment,
    deployments: Sequence[Deployment],
    *,
    repin: bool,
    send_secrets: bool = False,
) -> DeploymentStep:
    """Return the step that changes one of the `deployments`, with an error if it cannot."""
    step = step_for(declared, current.raw, form=REPINNING if repin else FORM)
    if error := archived(step.target, current.raw):
        return step_for(declared, current.raw, error=error)
    step.plan()
    step.form = FORM
    if send_secrets and (secrets := secrets_of(declared.fields)):
        step.body["resources"], step.changes = declared.fields["resources"], [*step.changes, *secrets]
    step.body = _without_no_tokens(_with_room(step.body, current))
    others = [found.id for found in alive(deployments, declared.name) if found.id != current.id]
    step.plan_pause()
    if others and _is_renamed(declared, current):
        step.error = Rejected(f"the name {declared.name!r} is taken by {others[0]}", hint="choose another name")
    return step


def _with_room(body: dict[str, Any], current: Deployment) -> dict[str, Any]:
    """Return an update that takes our own key away where the keys it sets need its place."""
    labels = mapping(body.get("metadata"))
    after = {**mapping(current.raw.get("metadata")), **labels}
    count = sum(value is not None and key != RESERVED for key, value in after.items())
    if not labels or KEY not in after or count <= MOST_KEYS:
        return body
    return {**body, "metadata": {**labels, KEY: None}}


def _without_no_tokens(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body without the tokens that a file says there are none of."""
    if "resources" not in body:
        return body
    resources = [
        {name: value for name, value in each.items() if name not in WRITE_ONLY or value} for each in body["resources"]
    ]
    return {**body, "resources": resources}


def _would_lose(step: DeploymentStep) -> str:
    """Return what a replacement of resources would lose: tokens are never returned, so nothing sends them again."""
    if step.current is None or "resources" not in step.body:
        return ""
    there = {_place_of(each) for each in map(mapping, step.form.settable(step.current)["resources"])}
    for number, resource in enumerate(step.declared.fields["resources"]):
        token = TOKENS.get(str(resource.get("type")))
        if token and _place_of(resource) in there and not set(WRITE_ONLY) & resource.keys():
            return (
                f"resources[{number}] has no {token}, and changing resources would drop the one that"
                f" {step.label} may have: add it as ${{NAME}}, or {token}: null if it needs none"
            )
    return ""


def _place_of(resource: Mapping[str, Any]) -> str:
    """Return where a repository is, whatever the spelling of its URL."""
    return str(resource.get("url")).lower().rstrip("/").removesuffix(".git")


def problems_of(steps: Sequence[DeploymentStep], deployments: Sequence[Deployment]) -> Iterator[str]:
    """Yield ambiguous names, incomplete creates, two files for one deployment, and tokens that would be lost."""
    first: dict[str, DeploymentStep] = {}
    for step in steps:
        named = alive(deployments, step.declared.name) if step.declared.id is None else []
        text = ""
        if len(named) > 1:
            ids = few([found.id for found in named], _LISTED)
            text = f"{step.name!r} matches {len(named)} deployments ({ids}); add the id of one"
        elif step.current is not None:
            if (other := first.setdefault(step.target.id, step)) is not step:
                text = f"is the same deployment as {other.place} ({step.target.id})"
            else:
                text = _would_lose(step)
        elif step.error is None and (missing := missing_for_create(step.declared)):
            text = f"no deployment named {step.name!r}; to create it, add {', '.join(missing)}"
        if text:
            yield Problem(text, line=step.declared.line).located(step.declared.source)


def look_again(app: App, steps: Sequence[DeploymentStep]) -> None:
    """Refuse to create what is there by now, or was not listed yet. Raises ApiError."""
    new = [step for step in steps if step.is_open and step.current is None]
    if not new:
        return
    for step, found in zip(new, holders(app, NOUNS["deploy"], *(step.name for step in new)), strict=True):
        if there := few([str(each["id"]) for each in found], _LISTED):
            step.error = Rejected(
                f"{step.name} was created in the meantime ({there}); nothing was changed",
                hint="apply again to see what differs from it",
            )


def at_latest(
    app: App, declared: Sequence[Declared], found: Sequence[Deployment | QoderError | None]
) -> list[Declared]:
    """Return deployments with the latest version of an agent they have without one.

    So nothing is sent if that is pinned already. Where an agent cannot be read, or is older
    than the pin (a replica lags), the bare id is sent, which pins the latest.
    """

    def latest_of(id: str) -> Any:
        with suppress(ApiError):
            found = mapping(app.client.get(f"/agents/{segment(id)}", fresh=True))
            if found.get("id") == id:
                return found.get("version")
        return None

    resolved, pinned = list(declared), {}  # the agents named without a version, by place
    for number, current in enumerate(found):
        if not isinstance(current, Deployment):
            continue
        agent = mapping(settable(current).get("agent"))
        if agent and agent.get("id") == declared[number].fields.get("agent"):
            pinned[number] = agent
    ids = sorted({agent["id"] for agent in pinned.values()})
    latest = dict(zip(ids, in_order(latest_of, ids, at_a_time=AT_A_TIME), strict=True))
    for number, agent in pinned.items():
        now, then = latest[agent["id"]], agent.get("version")
        if isinstance(now, int) and isinstance(then, int) and now >= then:
            fields = {**declared[number].fields, "agent": {**agent, "version": now}}
            resolved[number] = replace(declared[number], fields=fields)
    return resolved


def with_twins(app: App, items: Sequence[Applied]) -> list[Applied]:
    """Return the results, with errors where someone created the same name."""
    created = [item.found.id for item in items if item.action == "created" and item.found]
    if not created:
        return list(items)
    try:
        rows = once_listed(app, NOUNS["deploy"], created, lambda: [each.raw for each in read_all(app)])
    except ApiError as unread:
        app.progress.warn(f"unknown whether someone else created one of the same name: {unread.message}")
        return list(items)
    deployments = [Deployment(raw) for raw in rows]

    def checked(item: Applied) -> Applied:
        others = [each.id for each in alive(deployments, item.step.name) if item.found and each.id != item.found.id]
        if not others or item.action != "created" or item.error is not None:
            return item
        message = f"{item.label} was created, and someone else created another of this name: {', '.join(others)}"
        return item.with_(error=Rejected(message, hint="archive the one you do not want: qoder deploy archive ID"))

    return list(map(checked, items))
