"""Compare a deployment with what is wanted, and make the update (help/pages/api.md#deployments and #operations).

Both sides are in normal form (`files.normal`). An update merges: what is left out stays;
a schedule, lists and budgets are replaced whole; metadata keys are set or, with null,
deleted. An agent named without a version stays pinned: its bare id would pin the latest.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.base.jsontext import Number
from qoder_cli.base.model import mapping
from qoder_cli.base.tokens import NAMES, shown
from qoder_cli.files.normal import VARIABLES, WRITE_ONLY, assignments, comparable, filled_in
from qoder_cli.files.tree import Path, spelled
from qoder_cli.output.screen import inert

ABSENT: Final = object()
HIDDEN = "[hidden]"
LATEST = "latest"  # stands for an agent's newest version
_SECRET_NAME = re.compile(rf"(?:{NAMES})(?<!max_content_token)", re.IGNORECASE)
_SHORT = 60  # characters; a longer text is compared line by line
_LONGEST_LINE = 1000  # characters
_MOST_LINES = 30  # of one text that changed
_MOST_COMPARED = 4000  # lines; comparing more takes seconds


class Secrets:
    """The places of variables filled from `${VAR}`, and of tokens of resources.

    Nothing is searched for by its text: a value may be an ordinary word.
    """

    def __init__(self, places: Collection[str] = ()) -> None:
        self._places = frozenset(places)

    def out_of(self, value: Any, path: Path = ()) -> Any:
        """Return a deployment, or its part at `path`, with these places hidden."""
        if spelled(path) in self._places:
            return HIDDEN
        if path == (VARIABLES,) and isinstance(value, str):
            return self._out_of_variables(value)
        if isinstance(value, list):
            return [self.out_of(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self.out_of(item, (*path, key)) for key, item in value.items()}
        return value

    def are_at(self, place: str) -> bool:
        """Return whether a secret is at a place, or in the text of the variables."""
        begins = f"{VARIABLES}."
        return place in self._places or (place == VARIABLES and any(each.startswith(begins) for each in self._places))

    def _out_of_variables(self, text: str) -> str:
        pairs = assignments(text)
        if not self.are_at(VARIABLES):
            return text
        if pairs is None:
            return HIDDEN
        shown = {name: HIDDEN for name, _ in pairs if spelled((VARIABLES, name)) in self._places}
        if shown:
            return "\n".join(f"{name}={shown.get(name, value)}" for name, value in pairs)
        return text


class FieldChange(NamedTuple):
    """One value that differs: its path, the old and the new value; ABSENT for none."""

    path: str
    before: Any
    after: Any

    def hidden(self, secrets: Secrets) -> "FieldChange":
        """Return it without secrets, what they replace, and values of variables, which may be some."""
        if secrets.are_at(self.path) or _may_be_secret(self.path):
            return FieldChange(self.path, *(each if each is ABSENT else HIDDEN for each in (self.before, self.after)))
        return FieldChange(self.path, shown(self.before), shown(self.after))

    def as_json(self) -> dict[str, Any]:
        values = {"before": self.before, "after": self.after}
        return {"path": self.path, **{name: value for name, value in values.items() if value is not ABSENT}}


def _may_be_secret(path: str) -> bool:
    """Return whether a secret may stand at a place, by the names that lead there."""
    first, *inner = re.split(r"[.\[]", path)
    return first == VARIABLES or (first != "metadata" and any(map(_SECRET_NAME.search, (first, *inner))))


class Difference(NamedTuple):
    """The body of the update, empty if nothing differs, and its changes."""

    body: dict[str, Any]
    changes: list[FieldChange]


def difference(
    wanted: Mapping[str, Any], current: Mapping[str, Any], *, repin: bool = False, send_secrets: bool = False
) -> Difference:
    """Return how to change `current`; what `wanted` does not name stays.

    With `repin`, an agent without a version is pinned to its latest; with
    `send_secrets`, secrets of resources, which no server shows, count as different.
    """
    body: dict[str, Any] = {}
    changes: list[FieldChange] = []
    shown = comparable(wanted)
    for name, value in wanted.items():
        found = list(_changed(name, current.get(name, ABSENT), shown[name], repin=repin))
        if name == "resources" and send_secrets:
            found += secrets_of(wanted)
        if found and name == "metadata":  # null deletes the keys not wanted
            had = mapping(current.get(name))
            body[name] = {key: item for key, item in value.items() if had.get(key, ABSENT) != item}
            body[name] |= {key: None for key in had if key not in value}
        elif found:
            body[name] = value
        changes += found
    return Difference(body, changes)


def secrets_of(wanted: Mapping[str, Any]) -> list[FieldChange]:
    """Return the secrets of resources as changes: no server shows them."""
    return [
        FieldChange(spelled(("resources", index, name)), ABSENT, resource[name])
        for index, resource in enumerate(wanted.get("resources", []))
        for name in WRITE_ONLY
        if resource.get(name)
    ]


def _changed(name: str, before: Any, after: Any, *, repin: bool) -> Iterator[FieldChange]:
    if name != "agent" or not isinstance(after, str) or before is ABSENT:
        yield from _differing(name, before, after)
        return
    pinned = {"id": before} if isinstance(before, str) else mapping(before)
    if pinned.get("id") != after:
        yield FieldChange("agent.id", pinned.get("id", ABSENT), after)
    elif repin:
        yield FieldChange("agent.version", pinned.get("version", ABSENT), LATEST)


def _differing(name: str, before: Any, after: Any) -> Iterator[FieldChange]:
    """Yield the changes of a field; metadata and variables are compared by key."""
    if name == VARIABLES:
        had, has = _by_name(before), _by_name(after)
    elif name == "metadata":
        had, has = mapping(before), mapping(after)
    else:
        had = has = None
    if had is None or has is None:
        yield from _walk((name,), before, after)
        return
    for key in dict.fromkeys((*had, *has)):
        if had.get(key, ABSENT) != has.get(key, ABSENT):
            yield FieldChange(spelled((name, key)), had.get(key, ABSENT), has.get(key, ABSENT))


def _by_name(variables: Any) -> dict[str, str] | None:
    """Return a text of variables by name; None if one repeats or is malformed."""
    if variables is ABSENT:
        return {}
    pairs = assignments(variables) if isinstance(variables, str) else None
    if pairs is not None and len(dict(pairs)) == len(pairs):
        return dict(pairs)
    return None


def _walk(path: Path, before: Any, after: Any) -> Iterator[FieldChange]:
    """Yield the leaves that differ; in an object, empty or null counts as absent."""
    if isinstance(after, dict) and (isinstance(before, dict) or (before is ABSENT and after)):
        had = mapping(before)
        for key in dict.fromkeys((*had, *after)):
            one, other = ({**filled_in(fields), **fields}.get(key) for fields in (had, after))
            is_in_both = key in had and key in after
            if before is ABSENT or is_in_both or _meaning(one) != _meaning(other):  # else it is filled in
                yield from _walk((*path, key), had.get(key, ABSENT), after.get(key, ABSENT))
    elif isinstance(after, list) and (isinstance(before, list) or (before is ABSENT and after)):
        had_items = before if isinstance(before, list) else []
        for index, (was, is_to_be) in enumerate(zip_longest(had_items, after, fillvalue=ABSENT)):
            found = list(_walk((*path, index), was, is_to_be))
            if not found and ABSENT in (was, is_to_be):  # an item is one, however empty
                found = [FieldChange(spelled((*path, index)), was, is_to_be)]
            yield from found
    elif _meaning(before) != _meaning(after):
        yield FieldChange(spelled(path), before, after)


def _meaning(value: Any) -> Any:
    """Return the same for the same meaning: 1.0 is 1, empty is nothing, true is not 1."""
    if value is ABSENT or value in (None, "", [], {}):
        return None
    if isinstance(value, int | float | Number) and not isinstance(value, bool):
        with suppress(InvalidOperation):  # an exponent beyond all bounds
            return Decimal(str(value))
    return type(value), value


def lines_of(change: FieldChange, secrets: Secrets) -> list[str]:
    """Return a change as lines without secrets: `+` added, `-` removed, `~` changed."""
    path, before, after = change.hidden(secrets)
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
    return [f"{sign} {path}: {' -> '.join(inert(jsontext.dump(value)) for value in there)}"]


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
