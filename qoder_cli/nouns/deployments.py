"""Deployments: the normal form, in which files and the server are compared and which is sent; how one is in a folder.

    agent                  {id, type, version}; without a version its id: a create pins the latest
    description            "" is null
    environment_variables  lines of K=V, whatever separates them; null is ""
    schedule               {type, expression, timezone}
    initial_events         plain text content (older servers) is a list of one text block
    resources, vault_ids, metadata   null is empty
    budget                 {type, max_credit_cost} with two decimals, as "100.00"

What has an unexpected type stays as it is, for the models to refuse.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, get_args

from qoder_cli.app import App
from qoder_cli.base.cron import next_fires, words_of
from qoder_cli.base.errors import Rejected, UsageError
from qoder_cli.base.ids import with_version
from qoder_cli.base.marks import KEY, MOST_KEYS
from qoder_cli.base.model import Deployment, Raw, array, mapping
from qoder_cli.files.filling import is_unset
from qoder_cli.nouns.declared import Declaration
from qoder_cli.nouns.deploy import Deployment as Schema
from qoder_cli.nouns.edits.difference import ABSENT, FieldChange, Form, by_key, metadata
from qoder_cli.nouns.edits.forms import budget
from qoder_cli.nouns.edits.owner import NOTHING, recorded
from qoder_cli.nouns.edits.step import Send, Step
from qoder_cli.nouns.how import Exporting, How, Lists
from qoder_cli.nouns.parts import RESERVED, VARIABLES, Resource, assignments, labels_of
from qoder_cli.nouns.schema import fields_of, inside, secrets_in, without
from qoder_cli.output.yamltext import Unquoted

EMPTY: Raw = {
    "description": None,
    "environment_variables": "",
    "schedule": None,
    "resources": [],
    "vault_ids": [],
    "metadata": {},
    "budget": None,
}
_FIELDS = fields_of(Schema)
REQUIRED = tuple(name for name in _FIELDS if name not in EMPTY and not _FIELDS[name].is_servers)  # of a create
SETTABLE = (*REQUIRED, *EMPTY)
# The fields of repositories that no server echoes, by type (api.md#deployments).
TOKENS = {
    get_args(fields_of(each)["type"].hint)[0]: name
    for each in inside(Resource)
    for name, field in fields_of(each).items()
    if field.is_secret
}
WRITE_ONLY = tuple(TOKENS.values())

_WHOLE = {name: fields_of(each) for name in _FIELDS for each in inside(_FIELDS[name].hint) if each.unknown == "refused"}
_INSIDE = {name: [key for key, field in inner.items() if not field.is_servers] for name, inner in _WHOLE.items()}
_DIGITS = re.compile(r"[1-9][0-9]{0,8}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def settable(deployment: Deployment) -> dict[str, Any]:
    """Return a server's deployment in normal form: all that files can set, with defaults."""
    fields = _sendable(deployment.raw)
    normal = EMPTY | {name: fields[name] for name in SETTABLE if name in fields}
    for name, keys in _INSIDE.items():
        if isinstance(normal.get(name), dict):
            normal[name] = {key: value for key, value in normal[name].items() if key in keys}
    normal["metadata"] = labels_of(normal)
    return comparable(spelled_out(normal))


def comparable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields in normal form without secrets of resources: no server echoes them."""
    shown: Raw = without(dict(fields), secrets_in(Schema, fields))
    return shown


def spelled_out(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with short forms written out; `message` as `initial_events`."""
    spelled = dict(fields)
    message = spelled.get("message")
    if isinstance(message, str) and message and "initial_events" not in spelled:
        del spelled["message"]
        spelled["initial_events"] = [{"type": "user.message", "content": message}]
    for name, value in spelled.items():
        if value is None or (name == "description" and value == ""):
            spelled[name] = copy({**EMPTY, "vaults": EMPTY["vault_ids"]}.get(name))
        elif name in _NORMAL:
            spelled[name] = _NORMAL[name](value)
    return spelled


def filled_in(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a server fills in if it is left out (api.md#sending-events and #resources)."""
    if fields.get("type") == "user.define_outcome":
        return {"max_iterations": 3}
    if fields.get("type") == "file" and isinstance(fields.get("file_id"), str):
        return {"mount_path": f"/mnt/session/uploads/{fields['file_id']}"}
    return {}


def _agent(agent: Any) -> Any:
    if isinstance(agent, str):
        id, version = with_version(agent)
        agent = {"id": id, "version": version} if version else agent
    if not isinstance(agent, dict):
        return agent
    if set(agent) <= {"id", "type"} and isinstance(agent.get("id"), str) and agent.get("type", "agent") == "agent":
        return agent["id"]
    return _whole_number({"type": "agent", **agent}, "version")


def _environment_variables(variables: Any) -> Any:
    pairs = None
    if isinstance(variables, str):
        pairs = assignments(variables)
    elif isinstance(variables, dict) and all(
        assignments(f"{name}={value}") == [(name, value)] for name, value in variables.items()
    ):
        pairs = list(variables.items())
    if pairs is None:
        return variables
    return "\n".join(f"{name}={value}" for name, value in pairs)


def _event(event: Any) -> Any:
    if not isinstance(event, dict):
        return event
    if isinstance(text := event.get("content"), str) and text:
        event = {**event, "content": [{"type": "text", "text": text}]}
    if event.get("type") == "user.define_outcome":
        return _whole_number(event, "max_iterations")
    return event


def _whole_number(fields: dict[str, Any], name: str) -> dict[str, Any]:
    text = fields.get(name)
    if isinstance(text, str) and _DIGITS.fullmatch(text):
        return {**fields, name: int(text)}
    return fields


def _sendable(value: Any) -> Any:
    """Return a value without lone surrogates, which UTF-8 cannot carry."""
    if isinstance(value, dict):
        return {_sendable(key): _sendable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_sendable(item) for item in value]
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    return value


_NORMAL: dict[str, Callable[[Any], Any]] = {
    "agent": _agent,
    "environment_variables": _environment_variables,
    "schedule": lambda value: {"type": "cron", **value} if isinstance(value, dict) else value,
    "initial_events": lambda value: [_event(each) for each in value] if isinstance(value, list) else value,
    "budget": budget,
}


# How they are compared. An agent named without a version stays pinned: its bare id would pin the latest.

_FIRES = 3  # times of a new schedule that are shown
LATEST = "latest"  # stands for an agent's newest version


def _agent_differs(before: Any, after: Any, *, anew: bool = False) -> Iterator[FieldChange] | None:
    if not isinstance(after, str) or before is ABSENT:
        return None
    pinned = {"id": before} if isinstance(before, str) else mapping(before)
    if anew and pinned.get("id") == after:
        return iter([FieldChange("agent.version", pinned.get("version", ABSENT), LATEST)])
    is_other = pinned.get("id") != after and not is_unset(after)
    return iter([FieldChange("agent.id", pinned.get("id", ABSENT), after)] if is_other else [])


def _variables(before: Any, after: Any) -> Iterator[FieldChange] | None:
    had, has = _by_name(before), _by_name(after)
    if had is None or has is None:
        return None
    return by_key(VARIABLES, had, has)


def _by_name(variables: Any) -> dict[str, str] | None:
    """Return a text of variables by name; None if one repeats or is malformed."""
    if variables is ABSENT:
        return {}
    pairs = assignments(variables) if isinstance(variables, str) else None
    if pairs is not None and len(dict(pairs)) == len(pairs):
        return dict(pairs)
    return None


FORM = Form(
    lambda raw: settable(Deployment(raw)),
    comparable,
    {"agent": _agent_differs, "metadata": metadata, VARIABLES: _variables},
    filled_in,
    is_exact=True,
    is_read_first=True,
    is_read_back=True,
    empty=EMPTY,
)
# An agent without a version is to get its latest.
REPINNING = FORM._replace(own={**FORM.own, "agent": partial(_agent_differs, anew=True)})


# In a folder.


def _spell(fields: Raw) -> Raw:
    """Return what a file says as the API has it; a path of a resource is that of a memory store, or of a text."""
    spelled = spelled_out(fields)
    if isinstance(resources := spelled.get("resources"), list):
        spelled["resources"] = [_attached(resource) for resource in resources]
    return spelled


def _attached(resource: Any) -> Any:
    if not isinstance(resource, dict) or not isinstance(path := resource.get("path"), str):
        return resource
    rest = {name: value for name, value in resource.items() if name != "path"}
    above = os.path.basename(os.path.dirname(path)).lower()
    is_store = above == "memory_stores" or (path.endswith((".yaml", ".yml", ".json")) and "access" in resource)
    if not path.startswith(("./", "../")):
        path = f"./{path}"
    if is_store:
        return {"type": "memory_store", **rest, "memory_store_id": path}
    return {"type": "file", **rest, "file_id": path}


def plan(lists: Lists | None, declared: Declaration | None, step: Step) -> Step:
    """Return the step of a deployment: without tokens that there are none of, and never awake while it is to be paused.

    A new one is created without its schedule, paused, and given the schedule then; one that is there is paused before
    it changes, and unpaused after it.
    """
    step = step.with_(sends=[send._replace(body=_sendable_body(step, send.body)) for send in step.sends])
    if lost := _would_lose(step):
        return step.with_(error=UsageError(f"{step.label}: {lost}", hint="correct the file"))
    if lists is not None and step.body.get(VARIABLES) and _drops_variables(lists, step):
        why = f"{step.label}: this server keeps no environment_variables of a deployment; nothing was changed"
        hint = "remove them from the file; put secrets into a vault of it: qoder vault put"
        return step.with_(error=Rejected(why, hint=hint))
    paused = declared.own.get("paused") if declared else None
    if not isinstance(paused, bool):
        return step
    state = _state_of(lists, step)
    if state not in ("active", "paused"):
        why = f"{step.label}: the server does not say whether it is paused; nothing was changed"
        return step.with_(error=Rejected(why, hint="remove `paused` from the file, or try again later"))
    is_paused = state == "paused"
    if paused == is_paused:
        return step
    changes = [*step.changes, FieldChange("paused", is_paused, paused)]
    change = Send("pause" if paused else "unpause", {})
    sends = [change, *step.sends] if paused else [*step.sends, change]
    if step.current is None:
        [creation] = step.sends
        schedule = creation.body.get("schedule")
        body = {name: value for name, value in creation.body.items() if name != "schedule"}
        sends = [creation._replace(body=body), change]
        if schedule:
            sends.append(Send("update", {"schedule": schedule}))
    return step.with_(changes=changes, sends=sends)


def _state_of(lists: Lists | None, step: Step) -> str:
    """Return whether a deployment is active or paused; a list may not show it. A new one is active."""
    if step.current is None:
        return "active"
    state = Deployment(step.current).state
    if state == "unknown" and lists is not None:
        state = Deployment(lists.whole(step.noun, step.current)).state
    return state


def _drops_variables(lists: Lists, step: Step) -> bool:
    """Return whether the server is known to drop variables: it does not even show that there are none.

    An older one has its own key in the metadata (api.md#deployments); of any, a mark may say that they were sent.
    """
    rows = [step.current] if step.current is not None else lists.rows(step.noun)
    had = [row for row in rows if recorded(row).get(VARIABLES, NOTHING) != NOTHING]
    silent = [row for row in rows if RESERVED in mapping(row.get("metadata"))] or had
    if not silent or any(VARIABLES in row for row in rows):
        return False
    return VARIABLES not in lists.whole(step.noun, silent[0])


def _without_empty_token(resource: Any) -> Any:
    if not isinstance(resource, dict):  # a variable that is not set
        return resource
    return {name: value for name, value in resource.items() if name not in WRITE_ONLY or value}


def _sendable_body(step: Step, body: Raw) -> Raw:
    """Return a body without empty fields of a creation, which a server may not know, and without empty tokens.

    Our own key goes where the keys that an update sets need its place.
    """
    if step.current is None:
        body = {name: value for name, value in body.items() if name not in EMPTY or value != EMPTY[name]}
    if isinstance(body.get("resources"), list):
        body = {**body, "resources": [*map(_without_empty_token, body["resources"])]}
    labels = mapping(body.get("metadata"))
    after = {**mapping(step.before.get("metadata")), **labels}
    count = sum(value is not None and key != RESERVED for key, value in after.items())
    if labels and KEY in after and count > MOST_KEYS:
        body = {**body, "metadata": {**labels, KEY: None}}
    return body


def _would_lose(step: Step) -> str:
    """Return what a replacement of resources would lose: tokens are never returned, so nothing sends them again."""
    if step.current is None or "resources" not in step.body:
        return ""
    there = {_place_of(resource) for resource in map(mapping, step.form.settable(step.current)["resources"])}
    for number, resource in enumerate(map(mapping, array(step.wanted["resources"]))):
        token = TOKENS.get(str(resource.get("type")))
        if token and _place_of(resource) in there and not set(WRITE_ONLY) & resource.keys():
            why = f"resources[{number}] has no {token}, and changing resources would drop the one that it may have"
            return f"{why}: add it as ${{NAME}}, or {token}: null if it needs none"
    return ""


def _place_of(resource: Mapping[str, Any]) -> str:
    return str(resource.get("url")).lower().rstrip("/").removesuffix(".git")


def _remarks(lists: Lists, step: Step, declared: Declaration, others: Sequence[Declaration]) -> Iterator[str]:
    paused, kind = declared.own.get("paused"), Deployment(step.before).paused_by_error
    if paused is None and kind is not None:
        yield f"it was paused by an error ({kind}); paused: false unpauses it"
    if not step.is_open:
        return
    schedule = mapping(step.body.get("schedule"))
    if schedule and not any(map(is_unset, schedule.values())):
        yield fires_in_words(lists.app, schedule, is_paused=bool(paused))
    targets = {ref.at: ref.target for ref in declared.refs}
    agent = targets.get(("agent",))
    vaults = [targets.get(("vault_ids", number)) for number in range(len(array(declared.fields.get("vault_ids"))))]
    if agent is None or None in vaults:
        return  # what is in a vault elsewhere is not known here
    urls = {mapping(other.fields.get("auth")).get("mcp_server_url") for other in others if other.parent in vaults}
    for server in map(mapping, array(agent.fields.get("mcp_servers"))):
        if server.get("url") not in urls:
            yield f"no vault of it has a credential for the MCP server {server.get('name')} ({server.get('url')})"


def fires_in_words(app: App, schedule: Raw, *, is_paused: bool) -> str:
    """Return what a new schedule comes to, with its next fires."""
    fires = next_fires(schedule, now=app.client.server_now())[:_FIRES]
    when = "once it is unpaused" if is_paused else "from now on"
    return f"fires {when}: {words_of(schedule)}; next {', '.join(fires) or 'never'}"


def _export(export: Exporting, fields: Raw) -> Raw:
    """Return the fields of a deployment in a file: short forms, and a variable in place of each value of one."""
    deployment = Deployment(export.raw)
    short = _short_forms(fields)
    if words := words_of(mapping(short.get("schedule"))):
        export.comments["schedule"] = [words]
    export.comments[VARIABLES] = ["Set these variables before you apply."]
    if isinstance(variables := short.get(VARIABLES), dict):
        short[VARIABLES] = {name: export.variable(name, value) for name, value in variables.items()}
    elif variables:
        short[VARIABLES] = export.variable(VARIABLES.upper(), variables)
    if isinstance(resources := short.get("resources"), list):
        short["resources"] = [_short_resource(resource) for resource in resources]
        types, notes = {str(mapping(resource).get("type")) for resource in resources}, list[str]()
        if not types.isdisjoint(TOKENS):
            why = "The server never returns tokens and passwords."
            notes.append(f"{why} To change resources, add them again as ${{NAME}}.")
        if "file" in types:
            export.note("uploaded files cannot be read back; it keeps their ids")
            notes.append("Uploaded files cannot be read back: only this account has these ids.")
        export.comments["resources"] = notes
    if kind := deployment.paused_by_error:
        export.note(f"was paused by an error ({kind}); its file does not say so")
    elif deployment.is_paused_unexplained:
        export.note("is paused, and the server does not say why; its file does not say so")
    elif deployment.state == "paused":
        short["paused"] = True
    order = ("name", "description", "agent", "environment", VARIABLES, "schedule", "paused", "initial_events")
    return {**{name: short[name] for name in order if name in short}, **short}


def _short_resource(resource: Any) -> Any:
    """Return a store that is exported too by its path alone."""
    if not isinstance(resource, dict) or not isinstance(resource.get("memory_store_id"), Unquoted):
        return resource
    rest = {name: value for name, value in resource.items() if name not in ("type", "memory_store_id")}
    return {"path": resource["memory_store_id"], **rest}


def _short_forms(fields: Raw) -> Raw:
    short = dict(fields)
    for name in ("agent", "schedule"):
        if isinstance(short.get(name), dict):
            short[name] = {key: value for key, value in short[name].items() if key != "type"}
    match short.get("budget"):
        case {"type": "limit", "max_credit_cost": cost}:
            short["budget"] = cost
    if (pairs := _by_name(short.get(VARIABLES))) is not None:
        short[VARIABLES] = pairs
    if isinstance(events := short.get("initial_events"), list):
        short["initial_events"] = [*map(_short_event, events)]
    match short.get("initial_events"):
        case [{"type": "user.message", "content": str(text), **others}] if not others:
            del short["initial_events"]
            short["message"] = text
    return short


def _short_event(event: Any) -> Any:
    """Return an event that is one text by this alone."""
    match event:
        case {"content": [{"type": "text", "text": str(text), **others}]} if text and not others:
            return {**event, "content": text}
    return event


HOW = How(spell=_spell, form=FORM, plan=plan, remarks=_remarks, export=_export)
