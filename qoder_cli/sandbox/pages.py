"""What a list may be asked: limits, cursors, times and filters (api/facts.md, 1.3 and 3.6)."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from operator import ge, gt, le, lt
from typing import TypeVar

from qoder_cli.sandbox.wire import invalid

T = TypeVar("T")

_CURSORS = ("page", "after_id", "before_id")
_BACK = "before:"  # begins a `page` cursor that goes on backwards
_COMPARE: dict[str, Callable[[float, float], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


class Query:
    """The query of a request. The last of repeated parameters counts."""

    def __init__(self, parameters: Iterable[tuple[str, str]]) -> None:
        self._parameters = list(parameters)

    def one(self, name: str) -> str | None:
        """Return the value of a parameter, or None."""
        return next((value for key, value in reversed(self._parameters) if key == name), None)

    def several(self, name: str) -> set[str]:
        """Return an array: `types[]=a&types[]=b`, `types=a&types=b` or `types=a,b`."""
        given = (value for key, value in self._parameters if key in (name, name + "[]"))
        return {part for value in given for part in value.split(",") if part}

    def truth(self, name: str) -> bool | None:
        """Return a boolean, or None. Raises Refusal for another value."""
        value = self.one(name)
        if value not in (None, "true", "false"):
            raise invalid(f"{name} must be true or false.", name)
        return None if value is None else value == "true"

    def moment(self, name: str) -> float | None:
        """Return an RFC 3339 timestamp as unix seconds, or None. Raises Refusal."""
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

    def limit(self) -> int:
        """Return the limit: 20 unless given. Raises Refusal unless it is a number from 1 to 100."""
        value = self.one("limit")
        if value is None:
            return 20
        if not value.isascii() or not value.isdigit() or not 1 <= int(value[:9]) <= 100:
            raise invalid("limit must be between 1 and 100.", "limit")
        return int(value)

    def descending(self, *, default: bool) -> bool:
        """Return whether the newest comes first. Raises Refusal unless `order` is asc or desc."""
        order = self.one("order")
        if order not in (None, "asc", "desc"):
            raise invalid("order must be asc or desc.", "order")
        return default if order is None else order == "desc"

    def cursor(self) -> tuple[str, str] | None:
        """Return the cursor's name and value, or None. Raises Refusal for two of them."""
        given = [(name, value) for name in _CURSORS if (value := self.one(name)) is not None]
        if len(given) > 1:
            raise invalid("page, after_id and before_id are mutually exclusive.", given[1][0])
        return given[0] if given else None


def cut(
    things: Sequence[T], query: Query, *, keep: Callable[[T], bool], name: Callable[[T], str], paged: bool
) -> tuple[list[T], str | None]:
    """Return one page of `things`, and the `page` cursor to the next, if there is one.

    `keep` filters, `name` gives the id that a cursor refers to. `before_id` pages backwards.
    Unless `paged`, a `page` cursor is ignored, as on older servers. Raises Refusal.
    """
    limit, cursor = query.limit(), query.cursor()
    rest, back = things, False
    if cursor is not None and (paged or cursor[0] != "page"):
        param, id = cursor
        back = param == "before_id" or (param == "page" and id.startswith(_BACK))
        id = id.removeprefix(_BACK) if param == "page" else id
        place = next((n for n, thing in enumerate(things) if name(thing) == id), None)
        if place is None:
            raise invalid("The cursor is not valid.", param)
        rest = things[:place][::-1] if back else things[place + 1 :]
    found = list(islice(filter(keep, rest), limit + 1))
    page, more = found[:limit], len(found) > limit
    goes_on = (_BACK if back else "") + name(page[-1]) if more else None
    return page[::-1] if back else page, goes_on
