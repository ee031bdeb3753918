"""A request on its way through an operation: what it names, what it asks for, and what it is shown."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from operator import attrgetter, ge, gt, le, lt
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from qoder_cli.sandbox.records import Deployment, Run, Seen, Session, Thing
from qoder_cli.sandbox.shapes import Shape, View
from qoder_cli.sandbox.wire import Refusal, Request, Step, invalid, unknown_field
from qoder_cli.sandbox.world import World

T = TypeVar("T")
Known = TypeVar("Known", Deployment, Run, Session)

Conditions = Mapping[str, float]  # those of faults.py that hold for a request, with their seconds or 1
Reply = Shape | bytes | Iterator[Step] | None

_CURSORS = ("page", "after_id", "before_id")
_BACK = "before:"  # begins a `page` cursor that reads backwards
_COMPARE: dict[str, Callable[[float, float], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


class Query:
    """What a list is asked (api/facts.md, 1.3 and 3.6). Each method raises Refusal for a wrong value."""

    def __init__(self, text: str) -> None:
        self._parameters = parse_qsl(text, keep_blank_values=True)

    def one(self, name: str) -> str | None:
        return next((value for key, value in reversed(self._parameters) if key == name), None)

    def several(self, name: str) -> set[str]:
        """Return an array: `types[]=a&types[]=b`, `types=a&types=b` or `types=a,b`."""
        given = (value for key, value in self._parameters if key in (name, name + "[]"))
        return {part for value in given for part in value.split(",") if part}

    def truth(self, name: str) -> bool | None:
        value = self.one(name)
        if value not in (None, "true", "false"):
            raise invalid(f"{name} must be true or false.", name)
        return None if value is None else value == "true"

    def moment(self, name: str) -> float | None:
        """Return an RFC 3339 timestamp as unix seconds, or None."""
        value = self.one(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise invalid(f"{name} must be an RFC 3339 timestamp.", name) from None
        if moment.tzinfo is None:
            raise invalid(f"{name} must name its time zone.", name)
        return moment.timestamp()

    def within(self, *bounds: str) -> Callable[[float], bool]:
        """Return a test for `created_at[gt]` and the like, for each of `bounds`."""
        given = [(_COMPARE[bound], self.moment(f"created_at[{bound}]")) for bound in bounds]
        return lambda moment: all(holds(moment, limit) for holds, limit in given if limit is not None)

    def number(self, name: str, default: int, *, least: int = 0, most: int = 10**9) -> int:
        """Return a whole number from `least` to `most`."""
        value = self.one(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or not least <= int(value[:10]) <= most:
            raise invalid(f"{name} must be between {least} and {most}.", name)
        return int(value)

    def descending(self, *, default: str) -> bool:
        """Return whether the newest comes first: `order` is asc or desc."""
        order = self.one("order")
        if order not in (None, "asc", "desc"):
            raise invalid("order must be asc or desc.", "order")
        return (order or default) == "desc"


class Route(NamedTuple):
    """An operation. `path` has `{}` for ids; a fault names it by one of `where`."""

    method: str
    path: str
    where: tuple[str, ...]
    operation: "Callable[[Call], Reply]"

    def match(self, segments: list[str]) -> list[str] | None:
        """Return the ids in a path that is this route's, None for any other path."""
        parts = self.path.split("/")
        pairs = list(zip(parts, segments, strict=False))
        if len(parts) != len(segments) or any(part not in ("{}", segment) for part, segment in pairs):
            return None
        return [segment for part, segment in pairs if part == "{}"]


@dataclass(slots=True)
class Call:
    """A request. `ids` are those in its path, `now` is when it acts."""

    world: World
    request: Request
    seen: Seen
    now: float
    conditions: Conditions = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    status: int = 200  # of a success

    @property
    def query(self) -> Query:
        return Query(self.request.query)

    @property
    def view(self) -> View:
        return View(self.now, self.world.generation, self.conditions.get("half-written", 0))

    def body(self) -> Any:
        """Return the parsed body, {} for none. Raises Refusal unless it is an object."""
        try:
            body = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            raise invalid("Request body must be valid JSON.") from None
        if not isinstance(body, dict):
            raise invalid("Request body must be a JSON object.")
        return body

    def said(self) -> Any:
        """Return what the body says, whatever its form: two that say the same are equal. Raises Refusal."""
        is_form = self.request.headers.get("content-type", "").startswith("multipart/")
        return self.request.body if is_form else self.body()

    def expect_no_fields(self) -> None:
        """Raise Refusal for a body with fields, where there are none."""
        for name in self.body():
            raise unknown_field(name, name)

    def knows(self, thing: Deployment | Run | Session | Thing) -> bool:
        """Return whether a thing is visible on this replica."""
        as_of = self.now - self.conditions.get("lagging", 0)
        deleted = getattr(thing, "deleted", None)
        return thing.created <= as_of and (deleted is None or deleted > as_of)

    def deployment(self) -> Deployment:
        return self._known(self.world.deployments.get(self.ids[0]), "Deployment")

    def run(self) -> Run:
        """Return the run that the path names. Raises Refusal when it is unknown."""
        run = self._known(self.world.runs.get(self.ids[-1]), "Deployment run")
        return self._known(run if self.ids[0] in (run.id, run.deployment.id) else None, "Deployment run")

    def session(self) -> Session:
        return self._known(self.world.sessions.get(self.ids[0]), "Session")

    def _known(self, thing: Known | None, kind: str) -> Known:
        if thing is None or not self.knows(thing):
            raise Refusal(404, f"{kind} not found.")
        return thing

    def as_known(self, deployment: Deployment) -> Deployment:
        """Return a deployment as visible here: before its last change, if that is young."""
        young = deployment.updated > self.now - self.conditions.get("lagging", 0)
        return deployment.before if young and deployment.before is not None else deployment

    def page(
        self,
        things: Iterable[T],
        show: Callable[[T], Shape],
        *,
        keep: Callable[[T], bool] = lambda thing: True,
        name: Callable[[T], str] = attrgetter("id"),
        descending: bool = True,
    ) -> Shape:
        """Return the page that the query asks for, of `things` given oldest first.

        `keep` filters, `name` gives the id that a cursor refers to. `before_id` pages backwards.
        Older servers ignore a `page` cursor. Raises Refusal.
        """
        query, rest, back = self.query, list(things)[:: -1 if descending else 1], False
        limit = query.number("limit", 20, least=1, most=100)
        given = [(cursor, value) for cursor in _CURSORS if (value := query.one(cursor)) is not None]
        if len(given) > 1:
            raise invalid("page, after_id and before_id are mutually exclusive.", given[1][0])
        for param, id in given:
            if param == "page" and self.view.legacy:
                continue
            back = param == "before_id" or (param == "page" and id.startswith(_BACK))
            id = id.removeprefix(_BACK) if param == "page" else id
            place = next((n for n, thing in enumerate(rest) if name(thing) == id), None)
            if place is None:
                raise invalid("The cursor is not valid.", param)
            rest = rest[:place][::-1] if back else rest[place + 1 :]
        found = list(islice(filter(keep, rest), limit + 1))
        page, next_page = found[:limit], None
        if len(found) > limit:
            next_page = (_BACK if back else "") + name(page[-1])
        page = page[:: -1 if back else 1]
        return self.view.page([show(thing) for thing in page], [name(thing) for thing in page], next_page=next_page)
