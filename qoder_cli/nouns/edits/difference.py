"""What differs between a thing as it is and as it is wanted, the body that changes it, and how people read that.

Both sides are in the normal form of their kind. An update merges (api.md#operations): what is left out
stays; lists and objects are replaced whole; metadata keys are set or, with null, deleted. Of a list is said what goes,
what comes, and what changes in an item that stays.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Annotated, Any, Final, NamedTuple, NotRequired, TypedDict

from qoder_cli.base import jsontext
from qoder_cli.base.jsontext import Number
from qoder_cli.base.model import Raw, array, mapping
from qoder_cli.base.places import Path, spelled
from qoder_cli.base.tokens import NAMES, shown, without_tokens
from qoder_cli.files.filling import as_written, is_unset
from qoder_cli.nouns.parts import VARIABLES
from qoder_cli.output.screen import inert

ABSENT: Final = object()
CONDITIONS = ("version", "content_sha256")  # fields of a body that say what it may replace
HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(rf"(?:{NAMES})(?<!max_content_token)", re.IGNORECASE)
_WHERE_SENT = ("type", "secret_name", "networking", "injection_location")  # of `auth`: who agrees has to see these
_SHORT = 60  # characters; a longer text is compared line by line
_LONGEST_LINE = 1000  # characters
_MOST_LINES = 30  # of one text that changed
_MOST_COMPARED = 4000  # lines; comparing more takes seconds
# What tells which item of a list is which, besides its `type`: the first that it has.
_IDENTITIES = ("id", "name", "skill_id", "file_id", "memory_store_id", "mcp_server_name", "url")

_PINNED = frozenset(("id", "skill_id"))  # one of which says what a version is of


class Secrets:
    """The places of variables filled from `${VAR}`, and of tokens of resources.

    Nothing is searched for by its text: a value may be an ordinary word.
    """

    def __init__(self, places: Collection[str] = ()) -> None:
        self._places = frozenset(places)

    def out_of(self, value: Any, path: Path = ()) -> Any:
        """Return a deployment, or its part at `path`, with these places hidden."""
        if not self._places:
            return value
        if spelled(path) in self._places:
            return HIDDEN
        if path == (VARIABLES,) and isinstance(value, str) and self.are_at(VARIABLES):
            return HIDDEN  # the text, for a part of it
        if isinstance(value, list):
            return [self.out_of(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self.out_of(item, (*path, key)) for key, item in value.items()}
        return value

    def are_at(self, place: str) -> bool:
        """Return whether a secret is at a place, or in the text of the variables."""
        begins = f"{VARIABLES}."
        return place in self._places or (place == VARIABLES and any(place.startswith(begins) for place in self._places))


class ChangeData(TypedDict):
    """One value that differs; a side on which there is none is left out."""

    path: Annotated[str, "where it is"]
    before: NotRequired[Annotated[Any, "what it was"]]
    after: NotRequired[Annotated[Any, "what it is to be"]]


class FieldChange(NamedTuple):
    """One value that differs: its path, the old and the new value; ABSENT for none."""

    path: str
    before: Any
    after: Any
    is_secret: bool = False  # which no server shows: it is only sent again

    @property
    def field(self) -> str:
        """The field that it is in."""
        return re.split(r"[.[]", self.path)[0]

    def hidden(self, secrets: Secrets) -> "FieldChange":
        """Return it without secrets, what they replace, and values of variables, which may be some."""
        if self.is_secret or secrets.are_at(self.path) or _may_be_secret(self.path):
            before, after = (value if value is ABSENT else HIDDEN for value in (self.before, self.after))
            return self._replace(before=before, after=after)
        before, after = _shown_at(self.path, self.before, secrets), _shown_at(self.path, self.after, secrets)
        return FieldChange(self.path, before, after)

    def as_json(self) -> ChangeData:
        data: ChangeData = {"path": self.path}
        if self.before is not ABSENT:
            data["before"] = self.before
        if (after := as_written(self.after)) is not ABSENT:
            data["after"] = after
        return data


def _may_be_secret(path: str) -> bool:
    """Return whether a secret may stand at a place, by the names that lead there."""
    names = re.split(r"[.\[]", path)
    is_place = names[0] == "auth" and names[1:2] and names[1] in _WHERE_SENT
    return not is_place and names[0] != "metadata" and any(map(_SECRET_NAME.search, names))


def _shown_at(path: str, value: Any, secrets: Secrets) -> Any:
    """Return what stands at a place without tokens, and without what may be a secret within it."""

    def within(inner: str, item: Any) -> Any:
        if item and (secrets.are_at(inner) or _may_be_secret(inner)):
            return HIDDEN
        return _shown_at(inner, item, secrets)

    if isinstance(value, list):
        return [within(f"{path}[{index}]", item) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {without_tokens(key): within(f"{path}.{spelled((key,))}", item) for key, item in value.items()}
    return shown(value)


class Form(NamedTuple):
    """How the things of a kind are compared."""

    # All that can be set of a thing as read, in normal form; `metadata` only if that can.
    settable: Callable[[Raw], Raw]
    normal: Callable[[Raw], Raw]  # the normal form of fields to be sent
    # How fields are compared that are not plain values; None to compare a value as one.
    own: Mapping[str, Callable[[Any, Any], Iterator[FieldChange] | None]]
    filled_in: Callable[[Raw], Raw] = lambda fields: {}  # what a server puts into an object that lacks it
    is_exact: bool = False  # whether a thing shows exactly what was sent, and no defaults
    is_read_first: bool = False  # again right before each change
    is_read_back: bool = False  # after each write; so nothing is concluded from its answer
    moves: bool = False  # whether its time changes by itself
    params: Mapping[str, str] | None = None  # of the request that reads one
    empty: Mapping[str, Any] = MappingProxyType({})  # what clears a field, where that is not null


class Difference(NamedTuple):
    """The body of the update, empty if nothing differs, and its changes."""

    body: Raw
    changes: list[FieldChange]


def difference(form: Form, wanted: Raw, current: Raw) -> Difference:
    """Return how to change `current`, in normal form; what `wanted` does not name stays."""
    body: Raw = {}
    changes: list[FieldChange] = []
    normal = form.normal(wanted)
    for name, value in normal.items():
        field_changes = list(differing(form, {name: value}, current))
        if field_changes and name == "metadata":  # null deletes the keys not wanted
            had = mapping(current.get(name))
            body[name] = {key: item for key, item in value.items() if had.get(key, ABSENT) != item}
            body[name] |= {key: None for key in had if key not in value}
        elif field_changes:
            body[name] = wanted[name]
        changes += field_changes
    return Difference(body, changes)


def differing(form: Form, wanted: Raw, current: Raw, *, loosely: bool = False) -> Iterator[FieldChange]:
    """Yield how `current` must change to be as `wanted`, both in normal form; what is not wanted may be anything.

    Loosely, a server may have added fields, put items into another order, trimmed texts, and spelled out an id.
    """
    for name, after in wanted.items():
        before = current.get(name, ABSENT)
        changes = form.own[name](before, after) if name in form.own else None
        if changes is None:
            changes = _walk(form, (name,), before, after, loosely=loosely)
        yield from changes


def missing(form: Form, body: Raw, raw: Raw) -> Iterator[FieldChange]:
    """Yield what a thing does not show of a body that was sent."""
    wanted = form.normal(body)
    stored = form.normal({name: raw.get(name) for name in wanted}) | form.settable(raw)
    if "metadata" in wanted:  # it is merged
        keys, there = mapping(wanted["metadata"]), mapping(stored.get("metadata"))
        wanted["metadata"] = {key: value for key, value in keys.items() if value is not None}
        stored["metadata"] = {key: value for key, value in there.items() if key in keys}
    return differing(form, wanted, stored, loosely=not form.is_exact)


def same(form: Form, one: Raw, other: Raw) -> bool:
    """Return whether two sets of fields in normal form mean the same."""
    return not any(differing(form, one, other)) and not any(differing(form, other, one))


def by_key(name: str, had: Mapping[str, Any], has: Mapping[str, Any]) -> Iterator[FieldChange]:
    """Yield the changes of a field whose keys are each a value of its own."""
    for key in dict.fromkeys((*had, *has)):
        if had.get(key, ABSENT) != has.get(key, ABSENT) and not is_unset(has.get(key)):
            yield FieldChange(spelled((name, key)), had.get(key, ABSENT), has.get(key, ABSENT))


def metadata(before: Any, after: Any) -> Iterator[FieldChange]:
    """Yield the changes of metadata, key by key."""
    return by_key("metadata", mapping(before), mapping(after))


def _walk(form: Form, path: Path, before: Any, after: Any, *, loosely: bool) -> Iterator[FieldChange]:
    """Yield the leaves that differ, in order; in an object, empty or null counts as absent."""
    below: Sequence[tuple[Path, Any, Any]] | None = None
    if isinstance(after, dict) and (isinstance(before, dict) or before is ABSENT):
        below = _by_field(form, path, mapping(before), after, loosely=loosely)
    elif isinstance(after, list) and (isinstance(before, list) or before is ABSENT):
        below = _by_item(path, array(before), after, in_order=not loosely)
    differs = below is None and not _means(before, after, loosely=loosely)
    if isinstance(path[-1], int) and (before is ABSENT or after is ABSENT):
        differs = True  # an item that comes or goes is one, however empty
    for place in below or ():
        for change in _walk(form, *place, loosely=loosely):
            differs = False
            yield change
    if differs:
        yield FieldChange(spelled(path), before, after)


def _by_field(form: Form, path: Path, had: Raw, has: Raw, *, loosely: bool) -> list[tuple[Path, Any, Any]]:
    """Return the fields in which two objects may differ, but for what a server fills in."""
    one, other = {**form.filled_in(had), **had}, {**form.filled_in(has), **has}
    pairs = []
    for key in dict.fromkeys((*had, *has)):
        if key == "version" and key not in has and not _PINNED.isdisjoint(has):
            continue  # it was left open, and the server pins it
        is_in_both = key in had and key in has
        may_differ = is_in_both or _meaning(one.get(key)) != _meaning(other.get(key))
        if may_differ and (key in has or not loosely):
            pairs.append(((*path, key), had.get(key, ABSENT), has.get(key, ABSENT)))
    return pairs


def _by_item(path: Path, had: list[Any], has: list[Any], *, in_order: bool) -> list[tuple[Path, Any, Any]]:
    """Return the items in which two lists may differ: what stays beside what it becomes, and what comes or goes."""
    blocks: Sequence[tuple[str, int, int, int, int]] = [("", 0, len(had), 0, len(has))]
    if in_order:
        from difflib import SequenceMatcher

        was, now = (list(map(jsontext.dump, items)) for items in (had, has))
        blocks = SequenceMatcher(None, was, now, autojunk=False).get_opcodes()
    pairs = []
    for tag, begin, end, first, last in blocks:
        if tag == "equal":
            continue
        left = list(range(begin, end))
        for to in range(first, last):
            at = next((place for place in left if _may_become(had[place], has[to])), None)
            if at is not None:
                gone = [index for index in left if in_order and index < at]
                pairs += [((*path, index), had[index], ABSENT) for index in gone]
                left = [index for index in left if index not in (*gone, at)]
            pairs.append(((*path, to), ABSENT if at is None else had[at], has[to]))
        pairs += [((*path, index), had[index], ABSENT) for index in left]
    return pairs


def _may_become(item: Any, other: Any) -> bool:
    """Return whether an item of a list may be another one, changed; a plain value is only itself."""
    if isinstance(item, list):
        return isinstance(other, list)
    if not isinstance(item, dict) or not isinstance(other, dict):
        return bool(item == other) or is_unset(other)
    for name in _IDENTITIES:
        if item.get(name) or other.get(name):
            return bool(item.get(name) == other.get(name) and item.get("type") == other.get("type"))
    return bool(item.get("type") == other.get("type"))


def _means(before: Any, after: Any, *, loosely: bool) -> bool:
    """Return whether two values that have no parts mean the same; of a variable that is not set nobody can tell."""
    if is_unset(after):
        return True
    if loosely and isinstance(after, str):
        if isinstance(before, dict):  # a model, spelled out
            before = before.get("id")
        if isinstance(before, str):
            before, after = before.strip(), after.strip()
    return bool(_meaning(before) == _meaning(after))


def is_nothing(value: Any) -> bool:
    """Return whether a value says nothing: it is empty, or has only empty lists, as where nothing is installed.

    An object that has an empty text or object says something: that such a variable, or such a field, is there.
    """
    if isinstance(value, dict):
        return all(item == [] for item in value.values())
    return value is ABSENT or value in (None, "", [])


def _meaning(value: Any) -> Any:
    """Return the same for the same meaning: 1.0 is 1, empty is nothing, true is not 1."""
    if is_nothing(value):
        return None
    if isinstance(value, int | float | Number):
        with suppress(InvalidOperation):  # an exponent beyond all bounds, or a bool
            return Decimal(str(value))
    return type(value), value


def lines_of(change: FieldChange, secrets: Secrets) -> list[str]:
    """Return a change as lines without secrets: `+` added, `-` removed, `~` changed."""
    path, before, after, _ = change.hidden(secrets)
    sign = "~"
    if before is ABSENT:
        sign = "+"
    elif after is ABSENT:
        sign = "-"
    there = [value for value in (before, after) if value is not ABSENT]
    if there == [HIDDEN, HIDDEN]:
        return [f"{sign} {path}: changed"]
    if all(isinstance(value, str) for value in there) and any(len(text) > _SHORT or "\n" in text for text in there):
        return [f"{sign} {path}:", *_by_line(before, after)]
    return [f"{sign} {path}: {' -> '.join(inert(jsontext.dump(as_written(value))) for value in there)}"]


def _by_line(before: Any, after: Any) -> list[str]:
    """Return the lines removed and added, with their signs and a line of context."""
    from difflib import unified_diff

    had, has = ([] if text is ABSENT else text.removesuffix("\n").split("\n") for text in (before, after))
    lines = [*(f"-{line}" for line in had), *(f"+{line}" for line in has)]
    if len(lines) <= _MOST_COMPARED:
        compared = list(unified_diff(had, has, n=1, lineterm=""))[2:]  # without the names of files
        lines = [line for line in compared if not line.startswith("@@")]
    if ABSENT not in (before, after) and before.endswith("\n") != after.endswith("\n"):
        lines.append(("+" if after.endswith("\n") else "-") + "(a line break at the end)")
    shown = [f"    {inert(line[:_LONGEST_LINE])}{'…' * (len(line) > _LONGEST_LINE)}" for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(f"    … and {len(lines) - _MOST_LINES} more lines")
    return shown
