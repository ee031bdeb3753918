"""What anything that the API keeps can be asked for: it is the same for every kind (api/facts.md, 4).

The routes follow `nouns/operations.tsv`; catalog.py, contents.py and work.py say what is special.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

from qoder_cli.nouns.operations import Operation, all_operations
from qoder_cli.sandbox.call import Call, Reply, Route
from qoder_cli.sandbox.kept import Form
from qoder_cli.sandbox.records import Thing
from qoder_cli.sandbox.shapes import Shape, stamp
from qoder_cli.sandbox.wire import Refusal, invalid, unknown_field

Change = Callable[[Call, Shape, Thing | None], None]


class Kind(NamedTuple):
    """Things of one kind, and what is special about them: all hooks raise Refusal."""

    form: Form
    accept: Change = lambda call, said, old: None  # what was said becomes fields; `old` is changed
    changed: Callable[[Call, Thing, str], None] = lambda call, thing, how: None  # created, modified or deleted
    show: Callable[[Call, Thing, str], Shape] = lambda call, thing, verb: visible(thing)
    leaves: Callable[[Call, Thing], None] = lambda call, thing: None  # called before it is deleted
    guard: Callable[[Call], None] = lambda call: None  # called before anything is done

    def home(self, call: Call) -> str:
        """Return the path of the list that a request is about."""
        return self.form.path.format(*call.ids)

    def known(self, call: Call, key: str = "") -> Thing:
        """Return the thing that the path names, or the one with this key. Raises Refusal."""
        found = call.world.thing(self.home(call), key or call.ids[self.form.path.count("{}")])
        if found is None or not call.knows(found):
            raise Refusal(404, f"{self.form.called} not found.")
        return found

    def unarchived(self, call: Call) -> Thing:
        """Return the same. Raises Refusal also when it is archived."""
        found = self.known(call)
        if found.fields.get("archived_at") is not None:
            raise Refusal(409, f"{self.form.called} is archived.")
        return found


Act = Callable[[Kind, Operation, Call], Reply]


def visible(thing: Thing) -> Shape:
    """Return the fields of a thing that are shown."""
    return {name: value for name, value in thing.fields.items() if not name.startswith("_")}


def merged(metadata: Mapping[str, str], change: Mapping[str, str | None]) -> dict[str, str]:
    """Return `metadata` with strings put in and nulls taken out. Raises Refusal beyond 16 keys."""
    result = {key: value for key, value in {**metadata, **change}.items() if value is not None}
    if len(result) > 16:
        raise invalid("metadata has at most 16 keys.", "metadata")
    return result


_SECRETS = {"authorization_token", "password", "token", "secret_value"}
_SECRETS |= {"access_token", "refresh_token", "client_secret"}


def without_secrets(said: Shape) -> Shape:
    """Return what was said as it is shown: its secrets are forgotten."""
    kept = {name: value for name, value in said.items() if name not in _SECRETS}
    inner = {name: without_secrets(value) for name, value in kept.items() if isinstance(value, dict)}
    return kept | inner


# What each field of a body is, and how that is called.
_TEXT, _OBJECT, _LIST = (str, "a text"), (dict, "an object"), (list, "an array")
_FORMS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("name", "display_name", "display_title", "description", "system", "instructions"), _TEXT),
    **dict.fromkeys(("path", "content", "content_sha256"), _TEXT),
    **dict.fromkeys(("metadata", "config", "auth", "multiagent", "output_behavior"), _OBJECT),
    **dict.fromkeys(("tools", "skills", "mcp_servers", "inputs"), _LIST),
    "model": ((str, dict), "a text or an object"),
    "version": (int, "a number"),
    "force": (bool, "true or false"),
    "scope": (str, "organization or account"),
}


def check(name: str, value: Any) -> None:
    """Raise Refusal unless `value` is what a field of a body can be; null is for updates."""
    form, called = _FORMS[name]
    if value is None:
        return
    is_scope = name != "scope" or value in ("organization", "account")
    if not isinstance(value, form) or (form is int and value is True) or not is_scope:
        raise invalid(f"{name} must be {called}.", name)
    if name in ("name", "display_name", "display_title") and not 1 <= len(value) <= 256:
        raise invalid(f"{name} must have 1 to 256 characters.", name)
    for key, text in value.items() if name == "metadata" else ():
        if len(key) > 64 or not isinstance(text, str | None) or len(text or "") > 512:
            raise invalid("metadata has keys of at most 64 characters, texts of 512.", f"metadata.{key[:64]}")


def said(operation: Operation, call: Call) -> Shape:
    """Return the fields that a body sets. Raises Refusal, naming the field."""
    body: Shape = call.body()
    for name in body:
        if name not in operation.body:
            raise unknown_field(name, name)
    require(body, set(operation.required) & set(operation.body))
    for name, value in body.items():
        check(name, value)
    return body


def require(fields: Mapping[str, Any], names: Iterable[str], within: str = "") -> None:
    """Raise Refusal for the first of some names that is missing, or empty."""
    for name in sorted(names):
        if not fields.get(name) and (fields.get(name) is None or name not in ("content", "metadata")):
            raise invalid(f"Missing required field: {within}{name}", within + name)


def only(fields: Any, names: Iterable[str], within: str) -> Shape:
    """Return an object that has no other fields than `names`. Raises Refusal."""
    if not isinstance(fields, dict):
        raise invalid(f"{within} must be an object.", within)
    for name in fields:
        if name not in names:
            raise unknown_field(name, f"{within}.{name}")
    return fields


def array(fields: Shape, name: str, within: str) -> list[Any]:
    """Return an array that a field is, [] where there is none. Raises Refusal."""
    value = fields.get(name) or []
    if not isinstance(value, list):
        raise invalid(f"{within}{name} must be an array.", within + name)
    return value


def create(kind: Kind, operation: Operation, call: Call, fields: Shape | None = None) -> Reply:
    """Keep a new thing; `fields` are given where the body is a form."""
    fields = said(operation, call) if fields is None else fields
    kind.accept(call, fields, None)
    fields = {name: value for name, value in fields.items() if value is not None}
    if "metadata" in fields:
        fields["metadata"] = merged({}, fields["metadata"])
    made = call.world.keep(kind.form.what, *call.ids[:1], at=call.now, **fields)
    kind.changed(call, made, "created")
    if call.view.legacy:
        call.status = 201
    return kind.show(call, made, "create")


def retrieve(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Return the thing that the path names."""
    return kind.show(call, kind.known(call), "retrieve")


def update(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Change the fields that are given: metadata is merged, all else replaced (api/facts.md, 3.8)."""
    thing, fields = kind.unarchived(call), said(operation, call)
    for name, value in fields.items():
        if value is None and name in ("name", "config", "path", "content", "auth", "model"):
            raise invalid(f"{name} cannot be null.", name)
        if value is None and name != "version":
            fields[name] = copy(kind.form.empty[name])
    if "metadata" in fields:
        fields["metadata"] = merged(thing.fields["metadata"], fields["metadata"])
    kind.accept(call, fields, thing)
    thing.fields.update(fields)
    touch(call, thing)
    kind.changed(call, thing, "modified")
    return kind.show(call, thing, "update")


def touch(call: Call, thing: Thing) -> None:
    """Note that a thing was changed now."""
    if "updated_at" in thing.fields:
        thing.fields["updated_at"] = stamp(call.now)


def archive(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Archive a thing; to do it twice does no harm."""
    thing = kind.known(call)
    call.expect_no_fields()
    if thing.fields["archived_at"] is None:
        thing.fields["archived_at"] = stamp(call.now)
        touch(call, thing)
    return kind.show(call, thing, "archive")


def delete(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Delete a thing for good."""
    thing = kind.known(call)
    kind.leaves(call, thing)
    thing.deleted = call.now
    kind.changed(call, thing, "deleted")
    return {"id": thing.key, "type": f"{kind.form.type}_deleted"}


def listed(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Return a page of those that pass the filters of the operation."""
    keep = filters(kind, operation, call)
    things = filter(call.knows, call.world.things.get(kind.home(call), {}).values())
    return call.page(things, lambda thing: kind.show(call, thing, "list"), keep=keep, name=attrgetter("key"))


_OF_PAGES = ("limit", "page", "after_id", "before_id", "view", "depth", "path_prefix", "include_archived")


def filters(kind: Kind, operation: Operation, call: Call) -> Callable[[Thing], bool]:
    """Return what tells whether a thing passes the filters of the query. Raises Refusal."""
    query = call.query
    bounds = [name[11:-1] for name in operation.query if name.startswith("created_at[")]
    created, archived = query.within(*bounds), query.truth("include_archived")
    wanted: list[tuple[str, set[str]]] = []
    for name in operation.query:
        plain, value = name.removesuffix("[]"), query.one(name)
        if name.endswith("[]") and (several := query.several(plain)):
            wanted.append(({"ids": "id", "statuses": "status"}[plain], several))
        elif value is not None and plain not in _OF_PAGES and "[" not in name:
            wanted.append((kind.form.name if name == "name" else name, {value}))

    def keep(thing: Thing) -> bool:
        if not created(float(int(thing.created))):
            return False
        if thing.fields.get("archived_at") is not None and archived is not True:
            return False
        fields = {**thing.fields.get("created_by", {}), **thing.fields}
        if isinstance(fields.get("scope"), dict):
            fields["scope_id"] = fields["scope"]["id"]
        return all(str(fields.get(name)) in values for name, values in wanted)

    return keep


_PLAIN: dict[str, Act] = {
    **{"create": create, "retrieve": retrieve, "retrieve_metadata": retrieve, "update": update},
    **{"archive": archive, "delete": delete, "list": listed},
}


def routes(kinds: Mapping[str, Kind], own: Mapping[str, Act]) -> Iterable[Route]:
    """Yield the routes of the operations on some kinds; `own` functions go before those here."""
    for operation in all_operations():
        collection, _, verb = operation.id.rpartition(".")
        if (kind := kinds.get(collection)) is None:
            continue
        act = own.get(operation.id) or _PLAIN[verb]
        path = re.sub(r"\{\w+\}", "{}", operation.path).removeprefix("/")
        where = ("write",) if operation.method != "GET" else ()
        yield Route(
            operation.method,
            path,
            (*where, kind.form.type),
            partial(_guarded, kinds, kind, partial(act, kind, operation)),
        )


def _guarded(kinds: Mapping[str, Kind], kind: Kind, act: Callable[[Call], Reply], call: Call) -> Reply:
    if "{}" in kind.form.path:  # what holds it has to be there
        above = next(each for each in kinds.values() if kind.form.path.startswith(each.form.path + "/{}/"))
        above.known(call)
    kind.guard(call)
    return act(call)
