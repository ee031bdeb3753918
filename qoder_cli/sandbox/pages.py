"""What a list may be asked: limits, cursors, times and filters (api/facts.md, 1.3 and 3.6)."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_CURSORS = ("page", "after_id", "before_id")
_BACK = "before:"  # begins a `page` cursor that goes on backwards
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "gt": lambda moment, bound: moment > bound,
    "gte": lambda moment, bound: moment >= bound,
    "lt": lambda moment, bound: moment < bound,
    "lte": lambda moment, bound: moment <= bound,
}


class Invalid(Exception):
    """The caller asked for something that is refused with a 400. `param` names the field at fault."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


def unknown_field(name: str) -> str:
    """Return what the API says to a field that it does not have (api/facts.md, 7.3)."""
    return f'Request body has an unknown field "{name}".'


class Cut(NamedTuple, Generic[T]):
    """A page of a list: its things, whether there are more beyond it, and the `page` cursor that goes on to those."""

    things: list[T]
    has_more: bool
    next_page: str | None


class Query:
    """The query of a request: the last of repeated parameters counts, except where all are asked for."""

    def __init__(self, parameters: Iterable[tuple[str, str]]) -> None:
        self._parameters = list(parameters)

    def one(self, name: str) -> str | None:
        """Return the value of a parameter, or None."""
        return next((value for key, value in reversed(self._parameters) if key == name), None)

    def several(self, name: str) -> set[str]:
        """Return the values of an array: `types[]=a&types[]=b`, `types=a&types=b` or `types=a,b`."""
        given = (value for key, value in self._parameters if key in (name, name + "[]"))
        return {part for value in given for part in value.split(",") if part}

    def truth(self, name: str) -> bool | None:
        """Return a boolean, or None when it is not given. Raises Invalid unless it is true or false."""
        value = self.one(name)
        if value not in (None, "true", "false"):
            raise Invalid(f"{name} must be true or false.", param=name)
        return None if value is None else value == "true"

    def moment(self, name: str) -> float | None:
        """Return a timestamp as unix seconds, or None. Raises Invalid when it is no RFC 3339 timestamp."""
        value = self.one(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise Invalid(f"{name} must be an RFC 3339 timestamp.", param=name) from None
        if moment.tzinfo is None:
            raise Invalid(f"{name} must name its time zone.", param=name)
        return moment.timestamp()

    def within(self, *bounds: str, field: str = "created_at") -> Callable[[float], bool]:
        """Return a test for `field[gt]` and the like, for each of `bounds`."""
        given = [(_COMPARE[bound], self.moment(f"{field}[{bound}]")) for bound in bounds]
        return lambda moment: all(holds(moment, limit) for holds, limit in given if limit is not None)

    def limit(self) -> int:
        """Return the limit: 20 unless given. Raises Invalid unless it is a number from 1 to 100."""
        value = self.one("limit")
        if value is None:
            return 20
        if not value.isascii() or not value.isdigit() or not 1 <= int(value[:9]) <= 100:
            raise Invalid("limit must be between 1 and 100.", param="limit")
        return int(value)

    def cursor(self) -> tuple[str, str] | None:
        """Return the cursor's name and value, or None. Raises Invalid for two of them."""
        given = [(name, value) for name in _CURSORS if (value := self.one(name)) is not None]
        if len(given) > 1:
            raise Invalid("page, after_id and before_id are mutually exclusive.", param=given[1][0])
        return given[0] if given else None


def cut(
    things: Sequence[T], query: Query, *, keep: Callable[[T], bool], name: Callable[[T], str], paged: bool
) -> Cut[T]:
    """Return one page of `things`, given in the order of the list. After `before_id` it goes on backwards.

    `keep` filters, `name` gives the id that a cursor refers to; unless `paged`, a `page` cursor moves
    nothing, as on older servers. Raises Invalid for a bad limit, two cursors, or a cursor that names nothing.
    """
    limit, cursor = query.limit(), query.cursor()
    if cursor is None or (cursor[0] == "page" and not paged):
        return _onward(things, limit, keep, name)
    param, id = cursor
    back = param == "before_id" or (param == "page" and id.startswith(_BACK))
    place = next((n for n, thing in enumerate(things) if name(thing) == id.removeprefix(_BACK)), None)
    if place is None or (id.startswith(_BACK) and param != "page"):
        raise Invalid("The cursor is not valid.", param=param)
    if not back:
        return _onward(things[place + 1 :], limit, keep, name)
    found, more = _first(things[:place][::-1], limit, keep)
    return Cut(found[::-1], more, _BACK + name(found[-1]) if more else None)


def _onward(things: Sequence[T], limit: int, keep: Callable[[T], bool], name: Callable[[T], str]) -> Cut[T]:
    found, more = _first(things, limit, keep)
    return Cut(found, more, name(found[-1]) if more else None)


def _first(things: Sequence[T], limit: int, keep: Callable[[T], bool]) -> tuple[list[T], bool]:
    found = list(islice(filter(keep, things), limit + 1))
    return found[:limit], len(found) > limit
