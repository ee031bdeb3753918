"""What differs between a deployment as it is wanted and as it is, and the body that changes it (api/facts.md, 1.2).

Both sides are in the normal form of `deployfile.normal`. An update merges: what is left out stays; a schedule, lists
and budgets are replaced whole; metadata keys are set and, with null, deleted. An agent that is named without a version
stays pinned as it is, for a bare id would pin its latest version.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from qoder_cli.deployfile.normal import comparable
from qoder_cli.model import mapping
from qoder_cli.screen import inert

ABSENT: Final = object()
_SHORT = 60  # characters; a longer text is compared line by line
_MOST_LINES = 30  # of one text that changed


class Change(NamedTuple):
    """One value that differs: where it is, and what it was and is to be; ABSENT where there is none."""

    path: str
    before: Any
    after: Any

    def as_json(self) -> dict[str, Any]:
        """Return it as an object; what is absent is left out."""
        values = {"before": self.before, "after": self.after}
        return {"path": self.path, **{name: value for name, value in values.items() if value is not ABSENT}}


class Difference(NamedTuple):
    """The body of the update, which is empty when nothing differs, and each change in it."""

    body: dict[str, Any]
    changes: list[Change]


def difference(wanted: Mapping[str, Any], current: Mapping[str, Any], *, repin: bool = False) -> Difference:
    """Return how `current` is to be changed; what `wanted` does not name stays.

    With `repin` an agent without a version is pinned to its latest, whatever that is.
    """
    body: dict[str, Any] = {}
    changes: list[Change] = []
    shown = comparable(wanted)
    for name, value in wanted.items():
        found = list(_changed(name, current.get(name, ABSENT), shown[name], repin=repin))
        if found:
            body[name] = _patch(current.get(name), value) if name == "metadata" else value
            changes += found
    return Difference(body, changes)


def creation(wanted: Mapping[str, Any]) -> list[Change]:
    """Return each value that a new deployment is to have."""
    return [change for name, value in comparable(wanted).items() for change in _walk(name, ABSENT, value)]


def _changed(name: str, before: Any, after: Any, *, repin: bool) -> Iterator[Change]:
    if name == "agent" and isinstance(after, str):
        pinned = mapping(before)
        if pinned.get("id") != after:
            yield Change("agent.id", pinned.get("id", ABSENT), after)
        elif repin:
            yield Change("agent.version", pinned.get("version", ABSENT), "latest")
        return
    yield from _walk(name, before, after)


def _patch(before: Any, after: dict[str, Any]) -> dict[str, Any]:
    """Return what makes metadata the wanted one: what differs, and null for the keys that are not wanted."""
    had = mapping(before)
    return {key: value for key, value in after.items() if had.get(key, ABSENT) != value} | {
        key: None for key in had if key not in after
    }


def _walk(path: str, before: Any, after: Any) -> Iterator[Change]:
    """Yield the leaves that differ."""
    if before == after and type(before) is type(after):
        return
    if isinstance(after, dict) and (isinstance(before, dict) or (before is ABSENT and after)):
        had = mapping(before)
        for key in dict.fromkeys((*had, *after)):
            yield from _walk(f"{path}.{key}", had.get(key, ABSENT), after.get(key, ABSENT))
    elif isinstance(after, list) and (isinstance(before, list) or before is ABSENT) and (before or after):
        had_items = before if isinstance(before, list) else []
        for index in range(max(len(had_items), len(after))):
            one = had_items[index] if index < len(had_items) else ABSENT
            other = after[index] if index < len(after) else ABSENT
            yield from _walk(f"{path}[{index}]", one, other)
    elif not _is_nothing(before) or not _is_nothing(after):
        yield Change(path, before, after)


def _is_nothing(value: Any) -> bool:
    return value is ABSENT or value is None or value in ("", [], {})


def told(change: Change, hide: Callable[[Any], Any]) -> list[str]:
    """Return a change as lines for people: `+` comes, `-` goes, `~` changes; `hide` takes secrets out of a value."""
    before, after = (value if value is ABSENT else hide(value) for value in (change.before, change.after))
    path = inert(change.path)
    if after is ABSENT:
        return [f"- {path}: {_spelled(before)}"]
    if before is ABSENT:
        return [f"+ {path}: {_spelled(after)}"]
    if before == after:  # what differs is a secret
        return [f"~ {path}: (a secret)"]
    if isinstance(before, str) and isinstance(after, str) and max(len(before), len(after)) > _SHORT:
        return [f"~ {path}:", *_by_line(before, after)]
    return [f"~ {path}: {_spelled(before)} -> {_spelled(after)}"]


def _by_line(before: str, after: str) -> list[str]:
    from difflib import unified_diff

    lines = list(unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm=""))[2:]
    shown = [f"    {inert(line)}" for line in lines if not line.startswith("@@")]
    more = [f"    … and {len(shown) - _MOST_LINES} more lines"] if len(shown) > _MOST_LINES else []
    return shown[:_MOST_LINES] + more


def _spelled(value: Any) -> str:
    from qoder_cli import jsontext

    return inert(jsontext.dump(value))
