"""What the API keeps besides deployments and sessions, and what all of it can be asked for (api/facts.md, 4).

The routes follow `nouns/operations.tsv`: create, retrieve, list, update, archive and delete are the same for every
kind; catalog.py, contents.py and work.py say what is special.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from qoder_cli.nouns.operations import Operation, all_operations
from qoder_cli.sandbox.call import Call, Reply, Route
from qoder_cli.sandbox.records import Thing
from qoder_cli.sandbox.shapes import Shape, stamp
from qoder_cli.sandbox.wire import Refusal, invalid, unknown_field
from qoder_cli.sandbox.world import World

Change = Callable[[Call, Shape, Thing | None], None]


class Kind(NamedTuple):
    """Things of one kind. Fields that begin with `_` are never shown; all hooks raise Refusal."""

    path: str  # of their list, `{}` for the id of what holds them
    type: str
    prefix: str  # of their ids
    empty: Mapping[str, Any]  # what they are shown with where nothing was said, in order
    accept: Change = lambda call, said, old: None  # what was said becomes fields; `old` is changed
    changed: Callable[[Call, Thing, str], None] = lambda call, thing, how: None  # created, modified or deleted
    show: Callable[[Call, Thing, str], Shape] = lambda call, thing, verb: visible(thing)
    guard: Callable[[Call], None] = lambda call: None  # called before anything is done
    leaves: Callable[[Call, Thing], None] = lambda call, thing: None  # called before it is deleted
    name: str = "name"  # the field that a filter by name means
    key: str = "id"  # the field that names it in a path
    dated: tuple[str, ...] = ("created_at", "updated_at", "archived_at")
    place: str = ""  # the word by which a fault names its requests

    @property
    def called(self) -> str:
        return self.type.replace("_", " ").capitalize()

    def home(self, call: Call) -> str:
        """Return the path of the list that a request is about."""
        return self.path.format(*call.ids)

    def known(self, call: Call, key: str = "") -> Thing:
        """Return the thing that the path names, or the one with this key. Raises Refusal."""
        found = call.world.thing(self.home(call), key or call.ids[self.path.count("{}")])
        if found is None or not call.knows(found):
            raise Refusal(404, f"{self.called} not found.")
        return found

    def unarchived(self, call: Call) -> Thing:
        """Return the same. Raises Refusal also when it is archived."""
        found = self.known(call)
        if found.fields.get("archived_at") is not None:
            raise Refusal(409, f"{self.called} is archived.")
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
    """Raise Refusal unless `value` is what a field of a body can be; null is for updates to judge."""
    form, called = _FORMS[name]
    if value is None:
        return
    if not isinstance(value, form) or (form is int and value is True):
        raise invalid(f"{name} must be {called}.", name)
    if name in ("name", "display_name", "display_title") and not 1 <= len(value) <= 256:
        raise invalid(f"{name} must have 1 to 256 characters.", name)
    if name == "scope" and value not in ("organization", "account"):
        raise invalid(f"{name} must be {called}.", name)
    for key, text in value.items() if name == "metadata" else ():
        if len(key) > 64 or not isinstance(text, str | None) or len(text or "") > 512:
            raise invalid("metadata has keys of 64 characters at most, and texts of 512.", f"metadata.{key[:64]}")


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
        if fields.get(name) in (None, "", [], {}) and not (name == "content" and fields.get(name) == ""):
            raise invalid(f"Missing required field: {within}{name}", within + name)


def only(fields: Any, names: Iterable[str], within: str) -> Shape:
    """Return an object that has no other fields than `names`. Raises Refusal."""
    if not isinstance(fields, dict):
        raise invalid(f"{within} must be an object.", within)
    for name in fields:
        if name not in names:
            raise unknown_field(name, f"{within}.{name}")
    return fields


def add(world: World, kind: Kind, home: str, fields: Shape, *, at: float, key: str = "") -> Thing:
    """Keep a new thing of these fields."""
    shown = {"id": fields.pop("id", None) or world.new_id(kind.prefix), "type": kind.type}
    dates = {name: None if name == "archived_at" else stamp(at) for name in kind.dated}
    made = Thing({**shown, **{name: _copy(value) for name, value in kind.empty.items()}, **fields, **dates}, at)
    world.things.setdefault(home, {})[key or made.fields[kind.key]] = made
    return made


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, list | dict) else value


def create(kind: Kind, operation: Operation, call: Call, fields: Shape | None = None) -> Reply:
    """Keep a new thing; `fields` are given where the body is a form."""
    fields = said(operation, call) if fields is None else fields
    kind.accept(call, fields, None)
    fields = {name: value for name, value in fields.items() if value is not None}
    if "metadata" in fields:
        fields["metadata"] = merged({}, fields["metadata"])
    made = add(call.world, kind, kind.home(call), fields, at=call.now)
    kind.changed(call, made, "created")
    if call.view.legacy:
        call.status = 201
    return kind.show(call, made, "create")


def retrieve(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Return the thing that the path names."""
    return kind.show(call, kind.known(call), "retrieve")


def update(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Change the fields that are given: metadata is merged, anything else is replaced (api/facts.md, 3.8)."""
    thing, fields = kind.unarchived(call), said(operation, call)
    for name, value in fields.items():
        if value is None and name in ("name", "config", "path", "content", "auth", "model"):
            raise invalid(f"{name} cannot be null.", name)
        if value is None and name in kind.empty:
            fields[name] = _copy(kind.empty[name])
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
    return {"id": thing.fields[kind.key], "type": f"{kind.type}_deleted"}


def listed(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Return a page of those that pass the filters of the operation."""
    keep = filters(kind, operation, call)
    things = [thing for thing in call.world.things.get(kind.home(call), {}).values() if call.knows(thing)]
    return call.page(
        things,
        lambda thing: kind.show(call, thing, "list"),
        keep=keep,
        name=lambda thing: str(thing.fields[kind.key]),
    )


_OF_PAGES = ("limit", "page", "after_id", "before_id", "view", "depth", "path_prefix", "include_archived")


def filters(kind: Kind, operation: Operation, call: Call) -> Callable[[Thing], bool]:
    """Return what tells whether a thing passes the filters that the query has. Raises Refusal for a wrong value."""
    query = call.query
    bounds = [name[11:-1] for name in operation.query if name.startswith("created_at[")]
    created, archived = query.within(*bounds), query.truth("include_archived")
    wanted: list[tuple[str, set[str]]] = []
    for name in operation.query:
        plain, value = name.removesuffix("[]"), query.one(name)
        if name.endswith("[]") and (several := query.several(plain)):
            wanted.append(({"ids": "id", "statuses": "status"}[plain], several))
        elif value is not None and plain not in _OF_PAGES and "[" not in name:
            wanted.append((kind.name if name == "name" else name, {value}))

    def keep(thing: Thing) -> bool:
        if not created(float(int(thing.created))):
            return False
        if thing.fields.get("archived_at") is not None and archived is not True:
            return False
        return all(str(found_in(thing.fields, name)) in values for name, values in wanted)

    return keep


def found_in(fields: Shape, name: str) -> Any:
    """Return what a filter asks for: a field, who made it, or the session that it came from."""
    if name == "scope_id":
        return (fields["scope"] or {}).get("id")
    return fields.get(name, fields.get("created_by", {}).get(name))


_PLAIN: dict[str, Act] = {
    "create": create,
    "retrieve": retrieve,
    "retrieve_metadata": retrieve,
    "update": update,
    "archive": archive,
    "delete": delete,
    "list": listed,
}


def routes(kinds: Mapping[str, Kind], own: Mapping[str, Act]) -> Iterable[Route]:
    """Yield the routes of the operations on some kinds, by what the ids of these begin with; `own` go before."""
    for operation in all_operations():
        collection, _, verb = operation.id.rpartition(".")
        if (kind := kinds.get(collection)) is None:
            continue
        act = own.get(operation.id) or _PLAIN[verb]
        path = re.sub(r"\{\w+\}", "{}", operation.path).removeprefix("/")
        place = kind.place or kind.type
        where = (place,) if operation.method == "GET" else ("write", place)
        yield Route(operation.method, path, where, partial(_guarded, kinds, kind, partial(act, kind, operation)))


def _guarded(kinds: Mapping[str, Kind], kind: Kind, act: Callable[[Call], Reply], call: Call) -> Reply:
    if "{}" in kind.path:  # what holds it has to be there
        above = next(each for each in kinds.values() if kind.path.startswith(each.path + "/{}/"))
        above.known(call)
    kind.guard(call)
    return act(call)
