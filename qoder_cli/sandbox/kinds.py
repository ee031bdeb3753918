"""A request on its way, and what every kind of thing can be asked for (api.md#operations).

An operation of `nouns/operations.tsv` is a method of its kind's class. catalog.py,
contents.py and sessions.py have what is special.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from operator import ge, gt, le, lt
from typing import Any
from urllib.parse import parse_qsl

from qoder_cli.base.times import unix
from qoder_cli.nouns.table import Operation
from qoder_cli.sandbox.bodies import body_of
from qoder_cli.sandbox.records import LAYOUTS, FakeThing, Layout, stamp
from qoder_cli.sandbox.wire import Refusal, Request, Shape, Step, invalid
from qoder_cli.sandbox.world import World

Conditions = Mapping[str, float]  # of faults.py, with their seconds or 1
Reply = Shape | bytes | Iterator[Step] | None

_ZONE = re.compile(r"([Zz]|[+-]\d\d:\d\d)$")


@lru_cache
def _pairs(query: str) -> list[tuple[str, str]]:
    """Return a query's names and values, parsed once for all that is asked of it."""
    return parse_qsl(query, keep_blank_values=True)


@dataclass(slots=True)
class OperationCall:
    """A request for an operation. `ids` are those in its path, `now` is when it acts."""

    world: World
    request: Request
    operation: Operation
    ids: list[str]
    now: float
    conditions: Conditions
    status: int = 200  # of a success

    @property
    def legacy(self) -> bool:
        return self.world.generation == "legacy"

    @property
    def verb(self) -> str:
        return self.operation.id.rpartition(".")[2]

    @property
    def visible_until(self) -> float:
        """The time until which this replica knows what happened."""
        return self.now - self.conditions.get("lagging", 0)

    # What the query asks (api.md#runs and #lists-and-pages). Each raises Refusal for a wrong value.

    def query(self, name: str) -> str | None:
        return dict(_pairs(self.request.query)).get(name)

    def all(self, name: str) -> set[str]:
        """Return all values: `types[]=a&types[]=b`, `types=a&types=b` or `types=a,b`."""
        if not name.endswith("[]"):
            return set(filter(None, [self.query(name)]))
        given = [value for key, value in _pairs(self.request.query) if key in (name, name[:-2])]
        return {part for value in given for part in value.split(",") if part}

    def choice(self, name: str, *words: str) -> str | None:
        """Return one of these words, or None."""
        value = self.query(name)
        if value not in (None, *words):
            raise invalid(f"{name} must be {' or '.join(words)}.", name)
        return value

    def moment(self, name: str) -> float | None:
        """Return an RFC 3339 timestamp as unix seconds, or None."""
        value = self.query(name)
        moment = unix(value)
        if value is not None and (moment is None or not _ZONE.search(value)):
            raise invalid(f"{name} must be an RFC 3339 timestamp.", name)
        return moment

    def number(self, name: str, default: int, *, least: int = 0, most: int = 10**9) -> int:
        """Return a whole number from `least` to `most`."""
        value = self.query(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or not least <= int(value[:10]) <= most:
            raise invalid(f"{name} must be between {least} and {most}.", name)
        return int(value)

    # What the body says.

    def body(self) -> Any:
        """Return the parsed body, {} for none. Raises Refusal unless it is an object, and for one that is too large."""
        if len(self.request.body) > 32_000_000:  # bytes (api.md#limits)
            raise invalid("Request body is too large: it has at most 32 MB.")
        try:
            body = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            raise invalid("Request body must be valid JSON.") from None
        if not isinstance(body, dict):
            raise invalid("Request body must be a JSON object.")
        return body

    def fields(self) -> Shape:
        """Return the fields that the body sets. Raises Refusal, naming the field, also for what it refers to."""
        fields = body_of(self.operation, self.body())
        if unusable := self.world.unusable(fields):
            raise unusable.as_refusal()
        return fields


_BOUNDS: dict[str, Callable[[float, float], bool]] = {
    **{"created_at[gt]": gt, "created_at[gte]": ge, "created_at[lt]": lt, "created_at[lte]": le},
    **{"triggered_after": ge, "triggered_before": le},
}
_CURSORS = ("page", "after_id", "before_id")
_BACK = "before:"  # begins a `page` cursor that reads backwards
_OF_PAGES = (*_CURSORS, "limit", "order", "view", "depth", "path_prefix", "include_archived")
_WORDS = {  # that a filter takes (api.md#operations)
    **{f"{what}.{name}": {*layout.statuses} for what, layout in LAYOUTS.items() for name in ("status", "statuses[]")},
    "dreams.statuses[]": {"pending", "running", "completed", "failed", "canceled"},
    "trigger_type": {"manual", "schedule", "retry"},
    "operation": {"created", "modified", "deleted"},
}
_WHERE = {  # filters not named as their field: the field, and one in it
    "ids[]": ("id",),
    "statuses[]": ("status",),
    "types[]": ("type",),
    "agent_id": ("agent", "id"),
    "agent_version": ("agent", "version"),
    "trigger_type": ("trigger_context", "type"),
    "scope_id": ("scope", "id"),
    **{name: ("created_by", name) for name in ("session_id", "api_key_id", "service_account_id")},
}


@dataclass(eq=False)
class Things:
    """Things of one kind. A method that raises Refusal may do so in every override."""

    layout: Layout

    # What is special: hooks.

    def guard(self, call: OperationCall) -> None:
        """Raise Refusal if such things cannot be asked for at all."""

    def accept(self, call: OperationCall, fields: Shape, old: FakeThing | None) -> None:
        """Complete the fields in place; `old` is None for a create. Raises Refusal."""

    def make(self, call: OperationCall, fields: Shape) -> FakeThing:
        """Add a new thing, with the id of what holds it."""
        fields |= {f"{self.layout.what.partition('.')[0][:-1]}_id": id for id in call.ids}
        return call.world.keep(self.layout.what, *call.ids, at=call.now, **fields)

    def changed(self, call: OperationCall, entity: FakeThing, how: str) -> None:
        """React to a change; `how` is created, modified or deleted."""

    def leave(self, call: OperationCall, entity: FakeThing) -> None:
        """Delete a thing. Raises Refusal if it is in use."""
        entity.deleted = call.now

    def show(self, call: OperationCall, entity: FakeThing) -> Shape:
        """Return a thing as shown: before a recent change, if the replica lags."""
        is_late = entity.changed > call.visible_until and call.request.method == "GET"
        fields = entity.before if is_late and entity.before is not None else entity.fields
        shown = {name: value for name, value in fields.items() if not name.startswith("_")}
        if shown.get("budget") is None:  # api.md#sessions
            shown.pop("budget", None)
        return shown

    def things(self, call: OperationCall) -> Mapping[str, FakeThing]:
        """Return the list that a request is about, by id."""
        return call.world.things.get(self.layout.path.format(*call.ids), {})

    def values(self, fields: Shape, name: str) -> Iterable[Any]:
        """Return the values of a thing that a filter is compared with."""
        if name == "has_error":
            return ["false" if fields["error"] is None else "true"]
        path = _WHERE.get(name, (self.layout.name if name == "name" else name,))
        value: Any = fields
        for step in path:
            value = (value or {}).get(step)
        return [value]

    # What all have.

    def is_visible(self, call: OperationCall, entity: FakeThing) -> bool:
        """Return whether a thing is visible on this replica."""
        until = call.visible_until
        return entity.created <= until and (entity.deleted is None or entity.deleted > until)

    def find(self, call: OperationCall, id: str | None = None) -> FakeThing:
        """Return the thing in the path, or the one with this id. Raises Refusal."""
        entity = self.things(call).get(call.ids[self.layout.path.count("{}")] if id is None else id)
        if entity is None or not self.is_visible(call, entity):
            raise Refusal(404, f"{self.layout.called} not found.")
        return entity

    def unarchived(self, call: OperationCall) -> FakeThing:
        """Return the thing in the path. Raises Refusal, also if it is archived."""
        entity = self.find(call)
        if entity.archived is not None:
            raise Refusal(409, f"{self.layout.called} is archived.")
        return entity

    def keep(self, call: OperationCall) -> Callable[[Shape], bool]:
        """Return a test of fields against the query's filters. Raises Refusal."""
        asked = call.operation.query
        archived = call.choice("include_archived", "true", "false")
        if archived is not None and call.query("status") is not None:  # api.md#deployments
            raise invalid("include_archived cannot be combined with status.", "include_archived")
        for name in asked:
            words = _WORDS.get(name) or _WORDS.get(f"{self.layout.what}.{name}")
            if words and (wrong := sorted(call.all(name) - words - ({"canceling"} if call.legacy else set()))):
                raise invalid(f"{name} must be among {', '.join(sorted(words))}, not {wrong[0]}.", name)
        call.choice("has_error", "true", "false")
        if call.legacy and self.layout.prefix in ("dep", "drun"):
            asked = (*(name for name in asked if name not in _BOUNDS or "triggered" in name), "status")
        limits, wanted = list[tuple[str, float]](), list[tuple[str, set[str]]]()
        for name in asked:
            if name in _BOUNDS:
                limits += [(name, limit) for limit in [call.moment(name)] if limit is not None]
            elif name not in _OF_PAGES and (given := call.all(name)):
                wanted.append((name, given))

        def passes(fields: Shape) -> bool:
            if fields.get("archived_at") is not None and archived != "true":
                return False
            if limits:
                at = unix(fields.get("processed_at") or fields.get("created_at")) or 0
                if not all(_BOUNDS[name](at, limit) for name, limit in limits):
                    return False
            return all(given & set(map(str, self.values(fields, name))) for name, given in wanted)

        return passes

    # What it can be asked for.

    def create(self, call: OperationCall) -> Reply:
        """Create a thing."""
        return self.show(call, self.created(call, call.fields()))

    def created(self, call: OperationCall, body: Shape) -> FakeThing:
        """Return a new thing with these fields. Raises Refusal."""
        _refuse_for_workers(call, body)
        self.accept(call, body, None)
        fields = {name: value for name, value in body.items() if value is not None}
        if "metadata" in fields:
            fields["metadata"] = merged({}, fields["metadata"])
        entity = self.make(call, fields)
        self.changed(call, entity, "created")
        if call.legacy:
            call.status = 201
        return entity

    def retrieve(self, call: OperationCall) -> Reply:
        """Return the thing in the path."""
        return self.show(call, self.find(call))

    def update(self, call: OperationCall) -> Reply:
        """Change fields: metadata is merged, others replaced (api.md#operations)."""
        entity, fields = self.unarchived(call), call.fields()
        for name, value in fields.items():
            if value is None and name in self.layout.empty:
                fields[name] = copy(self.layout.empty[name])
        if "metadata" in fields:
            fields["metadata"] = merged(entity.fields["metadata"], fields["metadata"])
        _refuse_for_workers(call, entity.fields | fields)
        self.accept(call, fields, entity)
        entity.change(call.now, **fields)
        self.changed(call, entity, "modified")
        return self.show(call, entity)

    def archive(self, call: OperationCall) -> Reply:
        """Archive a thing. Doing it twice does no harm."""
        entity = self.find(call)
        if entity.archived is None:
            entity.change(call.now, archived_at=stamp(call.now, digits=self.layout.digits))
        return self.show(call, entity)

    def delete(self, call: OperationCall) -> Reply:
        """Delete a thing for good."""
        entity = self.find(call)
        self.leave(call, entity)
        self.changed(call, entity, "deleted")
        return {"id": entity.id, "type": f"{self.layout.type}_deleted"}

    def page(self, call: OperationCall) -> Reply:
        """Return a page of the things that pass the query's filters."""
        keep, order, back = self.keep(call), call.choice("order", "asc", "desc"), False
        rest = [entity for entity in self.things(call).values() if self.is_visible(call, entity)]
        rest.sort(key=lambda entity: entity.created)
        if (order or self.layout.order) == "desc":
            rest.reverse()
        limit = call.number("limit", 20, least=1, most=100)
        given = [(cursor, value) for cursor in _CURSORS if (value := call.query(cursor)) is not None]
        if len(given) > 1:
            raise invalid("page, after_id and before_id are mutually exclusive.", given[1][0])
        for param, id in given:
            if param == "page" and call.legacy:
                continue
            back = param == "before_id" or (param == "page" and id.startswith(_BACK))
            id = id.removeprefix(_BACK) if param == "page" else id
            place = next((n for n, entity in enumerate(rest) if entity.id == id), None)
            if place is None:
                raise invalid("The cursor is not valid.", param)
            rest = rest[:place][::-1] if back else rest[place + 1 :]
        shown = ((entity, self.show(call, entity)) for entity in rest)
        passing = ((entity.id, shape) for entity, shape in shown if keep(entity.fields | shape))
        passed = list(islice(passing, limit + 1))
        page = passed[:limit]
        has_more, cursor = len(passed) > limit, None
        if has_more:
            cursor = _BACK * back + page[-1][0]
        if back:
            page.reverse()
        ids = [id for id, _ in page]
        whole: Shape = {"data": [shape for _, shape in page], "has_more": has_more}
        whole |= {"first_id": next(iter(ids), None), "last_id": next(reversed(ids), None)}
        if not call.legacy:
            whole["next_page"] = cursor
        return whole


SERVED = {what: Things(layout) for what, layout in LAYOUTS.items()}


def of(*whats: str) -> Callable[[type[Things]], type[Things]]:
    """Register a class for kinds, by the beginning of their operations' ids."""

    def register(kind: type[Things]) -> type[Things]:
        SERVED.update((what, kind(LAYOUTS[what])) for what in whats)
        return kind

    return register


def _refuse_for_workers(call: OperationCall, fields: Shape) -> None:
    """Raise Refusal for what a self-hosted environment does not take (api.md#environments)."""
    if call.world.is_self_hosted(fields.get("environment_id")):
        for name in ("resources", "environment_variables"):
            if fields.get(name):
                raise invalid(f"{name} cannot be used with a self-hosted environment.", name)


def merged(metadata: Mapping[str, str], change: Mapping[str, str | None]) -> dict[str, str]:
    """Return changed metadata; null removes a key. Raises Refusal beyond 16 keys."""
    result = {key: value for key, value in {**metadata, **change}.items() if value is not None}
    if len(result) > 16:
        raise invalid("metadata has at most 16 keys.", "metadata")
    return result
