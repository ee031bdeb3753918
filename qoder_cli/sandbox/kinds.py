"""What anything that the API keeps can be asked for, whatever its kind (api/facts.md, 4).

An operation of `nouns/operations.tsv` is a method of its kind; catalog.py, contents.py,
deployments.py and sessions.py have what is special.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from itertools import islice
from operator import ge, gt, le, lt
from typing import Any

from qoder_cli.base.times import unix
from qoder_cli.sandbox.call import Call, Reply
from qoder_cli.sandbox.kept import FORMS, Form
from qoder_cli.sandbox.records import Thing, stamp
from qoder_cli.sandbox.wire import Refusal, Shape, invalid

_BOUNDS: dict[str, Callable[[float, float], bool]] = {
    **{"created_at[gt]": gt, "created_at[gte]": ge, "created_at[lt]": lt, "created_at[lte]": le},
    **{"triggered_after": ge, "triggered_before": le},
}
_CURSORS = ("page", "after_id", "before_id")
_BACK = "before:"  # begins a `page` cursor that reads backwards
_OF_PAGES = (*_CURSORS, "limit", "order", "view", "depth", "path_prefix", "include_archived")
_WHERE = {  # the field, and the one in it, that a filter of another name is about
    "ids[]": ("id",),
    "statuses[]": ("status",),
    "types[]": ("type",),
    "agent_id": ("agent", "id"),
    "agent_version": ("agent", "version"),
    "trigger_type": ("trigger_context", "type"),
    "scope_id": ("scope", "id"),
    **{name: ("created_by", name) for name in ("session_id", "api_key_id", "service_account_id")},
}
_SECRETS = {"authorization_token", "password", "token", "secret_value"}
_SECRETS |= {"access_token", "refresh_token", "client_secret"}


class Kind:
    """Things of one kind. What raises Refusal here does so wherever it is overridden."""

    def __init__(self, form: Form) -> None:
        self.form = form

    # What is special: hooks.

    def guard(self, call: Call) -> None:
        """Raise Refusal where such things cannot be asked for at all."""

    def accept(self, call: Call, said: Shape, old: Thing | None) -> None:
        """Make fields of what was said; `old` is changed by it. Raises Refusal."""

    def make(self, call: Call, fields: Shape) -> Thing:
        """Add a new thing; what is held knows what holds it."""
        fields |= {f"{self.form.what.partition('.')[0][:-1]}_id": id for id in call.ids}
        return call.world.keep(self.form.what, *call.ids, at=call.now, **fields)

    def changed(self, call: Call, thing: Thing, how: str) -> None:
        """Hear that a thing was created, modified or deleted."""

    def leave(self, call: Call, thing: Thing) -> None:
        """Delete a thing. Raises Refusal where it is in use."""
        thing.deleted = call.now

    def show(self, call: Call, thing: Thing, verb: str) -> Shape:
        """Return a thing as it is shown: where a replica lags, as before a young change."""
        is_late = thing.changed > call.known_until and verb in ("list", "retrieve")
        fields = thing.before if is_late and thing.before is not None else thing.fields
        hidden = ["budget"] if fields.get("budget") is None else []  # api/facts.md, 7.2
        return {name: fields[name] for name in fields if not name.startswith("_") and name not in hidden}

    def things(self, call: Call) -> Mapping[str, Thing]:
        """Return the list that a request is about, by their ids."""
        return call.world.things.get(self.form.path.format(*call.ids), {})

    def values(self, fields: Shape, name: str) -> Iterable[Any]:
        """Return what a filter of this name is about in the fields of a thing."""
        if name == "has_error":
            return ["false" if fields["error"] is None else "true"]
        path = _WHERE.get(name, (self.form.name if name == "name" else name,))
        if path[0] not in fields:
            path = (name,)
        value: Any = fields
        for step in path:
            value = (value or {}).get(step)
        return [value]

    # What all have.

    def is_known(self, call: Call, thing: Thing) -> bool:
        """Return whether a thing is visible on this replica."""
        until = call.known_until
        return thing.created <= until and (thing.deleted is None or thing.deleted > until)

    def known(self, call: Call, id: str = "") -> Thing:
        """Return the thing that the path names, or the one with this id. Raises Refusal."""
        found = self.things(call).get(id or call.ids[self.form.path.count("{}")])
        if found is None or not self.is_known(call, found):
            raise Refusal(404, f"{self.form.called} not found.")
        return found

    def unarchived(self, call: Call) -> Thing:
        """Return the same. Raises Refusal also when it is archived."""
        found = self.known(call)
        if found.archived is not None:
            raise Refusal(409, f"{self.form.called} is archived.")
        return found

    def keep(self, call: Call) -> Callable[[Shape], bool]:
        """Return what tells whether fields pass the filters of the query. Raises Refusal."""
        asked = call.operation.query
        archived = call.truth("include_archived")
        call.truth("has_error")
        if call.legacy and self.form.prefix in ("dep", "drun"):
            asked = (*(name for name in asked if name not in _BOUNDS or "triggered" in name), "status")
        limits, wanted = list[tuple[str, float]](), list[tuple[str, set[str]]]()
        for name in asked:
            if name in _BOUNDS:
                limits += [(name, limit) for limit in [call.moment(name)] if limit is not None]
            elif name not in _OF_PAGES and (given := call.all(name)):
                wanted.append((name, given))

        def passes(fields: Shape) -> bool:
            if fields.get("archived_at") is not None and archived is not True:
                return False
            if limits:
                at = unix(fields.get("processed_at") or fields.get("created_at")) or 0
                if not all(_BOUNDS[name](at, limit) for name, limit in limits):
                    return False
            return all(given & set(map(str, self.values(fields, name))) for name, given in wanted)

        return passes

    # What it can be asked for.

    def create(self, call: Call) -> Reply:
        """Keep a new thing."""
        return self.show(call, self.created(call, call.said()), "create")

    def created(self, call: Call, said: Shape) -> Thing:
        """Return a new thing of what was said. Raises Refusal."""
        self.accept(call, said, None)
        fields = {name: value for name, value in said.items() if value is not None}
        if "metadata" in fields:
            fields["metadata"] = merged({}, fields["metadata"])
        made = self.make(call, fields)
        self.changed(call, made, "created")
        if call.legacy:
            call.status = 201
        return made

    def retrieve(self, call: Call) -> Reply:
        """Return the thing that the path names."""
        return self.show(call, self.known(call), "retrieve")

    def update(self, call: Call) -> Reply:
        """Change the given fields: metadata is merged, all else replaced (api/facts.md, 3.8)."""
        thing, fields = self.unarchived(call), call.said()
        for name, value in fields.items():
            if value is None and name in self.form.empty:
                fields[name] = copy(self.form.empty[name])
        if "metadata" in fields:
            fields["metadata"] = merged(thing.fields["metadata"], fields["metadata"])
        self.accept(call, fields, thing)
        thing.change(call.now, **fields)
        self.changed(call, thing, "modified")
        return self.show(call, thing, "update")

    def archive(self, call: Call) -> Reply:
        """Archive a thing; to do it twice does no harm."""
        thing = self.known(call)
        if thing.archived is None:
            thing.change(call.now, archived_at=stamp(call.now, digits=self.form.digits))
        return self.show(call, thing, "archive")

    def delete(self, call: Call) -> Reply:
        """Delete a thing for good."""
        thing = self.known(call)
        self.leave(call, thing)
        self.changed(call, thing, "deleted")
        return {"id": thing.id, "type": f"{self.form.type}_deleted"}

    def page(self, call: Call) -> Reply:
        """Return the page that the query asks for, of those that pass its filters.

        `before_id` pages backwards. Older servers ignore a `page` cursor, and name no next one
        (api/facts.md, 3.6).
        """
        keep, descending, back = self.keep(call), call.descending(default=self.form.order), False
        rest = [thing for thing in self.things(call).values() if self.is_known(call, thing)]
        rest = sorted(rest, key=lambda thing: thing.created)[:: -1 if descending else 1]
        limit = call.number("limit", 20, least=1, most=100)
        given = [(cursor, value) for cursor in _CURSORS if (value := call.query(cursor)) is not None]
        if len(given) > 1:
            raise invalid("page, after_id and before_id are mutually exclusive.", given[1][0])
        for param, id in given:
            if param == "page" and call.legacy:
                continue
            back = param == "before_id" or (param == "page" and id.startswith(_BACK))
            id = id.removeprefix(_BACK) if param == "page" else id
            place = next((n for n, thing in enumerate(rest) if thing.id == id), None)
            if place is None:
                raise invalid("The cursor is not valid.", param)
            rest = rest[:place][::-1] if back else rest[place + 1 :]
        shown = ((thing, self.show(call, thing, "list")) for thing in rest)
        passing = ((thing.id, shape) for thing, shape in shown if keep(thing.fields | shape))
        found = list(islice(passing, limit + 1))
        page = found[:limit]
        cursor = (_BACK if back else "") + page[-1][0] if len(found) > limit else None
        page = page[:: -1 if back else 1]
        first, last = (page[0][0], page[-1][0]) if page else (None, None)
        whole: Shape = {"data": [shape for _, shape in page], "first_id": first, "last_id": last}
        whole["has_more"] = cursor is not None
        return whole if call.legacy else {**whole, "next_page": cursor}


KINDS = {what: Kind(form) for what, form in FORMS.items()}


def of(*whats: str) -> Callable[[type[Kind]], type[Kind]]:
    """Let a class be that of some kinds, by what the ids of their operations begin with."""

    def known(kind: type[Kind]) -> type[Kind]:
        KINDS.update((what, kind(FORMS[what])) for what in whats)
        return kind

    return known


def merged(metadata: Mapping[str, str], change: Mapping[str, str | None]) -> dict[str, str]:
    """Return `metadata` with strings put in and nulls taken out. Raises Refusal beyond 16 keys."""
    result = {key: value for key, value in {**metadata, **change}.items() if value is not None}
    if len(result) > 16:
        raise invalid("metadata has at most 16 keys.", "metadata")
    return result


def without_secrets(said: Shape) -> Shape:
    """Return what was said as it is shown: its secrets are forgotten."""
    kept = {name: value for name, value in said.items() if name not in _SECRETS}
    inner = {name: without_secrets(value) for name, value in kept.items() if isinstance(value, dict)}
    return kept | inner
