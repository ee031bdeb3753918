"""A request on its way through an operation: its ids, query, body and page."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from qoder_cli.base.times import unix
from qoder_cli.nouns.operations import Operation
from qoder_cli.sandbox.records import Seen
from qoder_cli.sandbox.wire import Request, Shape, Step, invalid
from qoder_cli.sandbox.world import World

Conditions = Mapping[str, float]  # of faults.py, with their seconds or 1
Reply = Shape | bytes | Iterator[Step] | None

_ZONE = re.compile(r"([Zz]|[+-]\d\d:\d\d)$")


@dataclass(slots=True)
class Call:
    """A request for an operation. `ids` are those in its path, `now` is when it acts."""

    world: World
    request: Request
    operation: Operation
    ids: list[str]
    seen: Seen
    now: float
    conditions: Conditions
    status: int = 200  # of a success

    @property
    def legacy(self) -> bool:
        return self.world.generation == "legacy"

    @property
    def known_until(self) -> float:
        """The time until which this replica knows what happened."""
        return self.now - self.conditions.get("lagging", 0)

    # What the query asks (api/facts.md, 1.3 and 3.6). Each raises Refusal for a wrong value.

    def query(self, name: str) -> str | None:
        return dict(parse_qsl(self.request.query, keep_blank_values=True)).get(name)

    def all(self, name: str) -> set[str]:
        """Return all values: `types[]=a&types[]=b`, `types=a&types=b` or `types=a,b`."""
        if not name.endswith("[]"):
            return set(filter(None, [self.query(name)]))
        given = [value for key, value in parse_qsl(self.request.query) if key in (name, name[:-2])]
        return {part for value in given for part in value.split(",") if part}

    def truth(self, name: str) -> bool | None:
        value = self.query(name)
        if value not in (None, "true", "false"):
            raise invalid(f"{name} must be true or false.", name)
        return None if value is None else value == "true"

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

    def descending(self, *, default: str) -> bool:
        """Return whether the newest comes first: `order` is asc or desc."""
        order = self.query("order")
        if order not in (None, "asc", "desc"):
            raise invalid("order must be asc or desc.", "order")
        return (order or default) == "desc"

    # What the body says.

    def body(self) -> Any:
        """Return the parsed body, {} for none. Raises Refusal unless it is an object."""
        try:
            body = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            raise invalid("Request body must be valid JSON.") from None
        if not isinstance(body, dict):
            raise invalid("Request body must be a JSON object.")
        return body

    def said(self) -> Shape:
        """Return the fields that the body sets. Raises Refusal, naming the field."""
        from qoder_cli.sandbox.bodies import BODIES, checked

        return checked(BODIES[self.operation.id], self.body())
