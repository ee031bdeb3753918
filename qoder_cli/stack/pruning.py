"""What a stack has on the server and no file declares: what of it can go, and what something else still uses."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qoder_cli.base.errors import Rejected
from qoder_cli.base.model import mapping, text
from qoder_cli.base.words import counted, few
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import NOUNS
from qoder_cli.stack.folder import KINDS
from qoder_cli.stack.items import Doomed, Item
from qoder_cli.stack.lists import ServerLists
from qoder_cli.stack.marks import STACK, owner_of
from qoder_cli.stack.things import Declaration

Raw = dict[str, Any]

_LISTED = 10  # things that an error lists


def doomed_by(
    server: ServerLists, stack: str, things: Sequence[Declaration], items: Sequence[Item], *, may_be_most: bool
) -> tuple[list[Doomed], list[Doomed]]:
    """Return what no file declares any more: what goes, and what is still used. Raises Rejected, ApiError."""
    declared = {(thing.noun.words, thing.name) for thing in things}
    in_plan = {str(item.current["id"]) for item in items if item.current is not None}
    rows = {words: server.rows(NOUNS[words]) for words in KINDS}
    left: list[tuple[Noun, Raw]] = []
    for words in reversed(KINDS):
        noun = NOUNS[words]
        for row in rows[words]:
            name = name_in_stack(stack, noun, row)
            if name is None or str(row["id"]) in in_plan or (words, name) in declared:
                continue
            left.append((noun, row))
    used = used_elsewhere(rows, {str(row["id"]) for _, row in left}, items)
    doomed = [Doomed(noun, row) for noun, row in left if row["id"] not in used]
    kept = [Doomed(noun, row, used[str(row["id"])]) for noun, row in left if row["id"] in used]
    belonging = sum(name_in_stack(stack, NOUNS[words], row) is not None for words in KINDS for row in rows[words])
    if doomed and 2 * len(doomed) > belonging and not may_be_most:
        names = few([each.label for each in doomed], _LISTED)
        raise Rejected(
            f"--prune would remove {len(doomed)} of the {counted(belonging, 'thing')} of the stack {stack}: {names};"
            " nothing was changed",
            hint="if that is meant, pass --prune-all too",
        )
    return doomed, kept


def name_in_stack(stack: str | None, noun: Noun, row: Raw) -> str | None:
    """Return the name of a thing whose mark says that it belongs to a stack; None otherwise."""
    name = name_of(row)
    if noun.words == "skill":
        parts = (text(mapping(row.get("metadata")).get(STACK)) or "").split("/", 2)
        shown = {text(row.get("name")), text(row.get("display_title"))} - {None}
        name = parts[2] if len(parts) == 3 and parts[2] in shown else None
    if name is not None and owner_of(noun, row, name) == stack:
        return name
    return None


def _ids_in(value: Any) -> Iterator[str]:
    """Yield all texts in a value: an id that is used stands somewhere among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _ids_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from _ids_in(each)


def used_elsewhere(rows: Mapping[str, Sequence[Raw]], ids: set[str], items: Sequence[Item] = ()) -> dict[str, str]:
    """Return what of some ids something else uses, with that: what such a thing uses has to stay, too."""
    users = list(_uses(rows, ids, items))
    found: dict[str, str] = {}
    while more := {
        used: label for used, user, label in users if used not in found and (user not in ids or user in found)
    }:
        found |= more
    return found


def _uses(rows: Mapping[str, Sequence[Raw]], ids: set[str], items: Sequence[Item]) -> Iterator[tuple[str, str, str]]:
    """Yield what of some ids is used, with the id and the label of what uses it, now or as the plan wants it."""
    planned = {each.current["id"]: each for each in items if each.current is not None}
    for words in ("deploy", "agent"):
        for row in rows[words]:
            for id in ids.intersection(_ids_in({key: value for key, value in row.items() if key != "id"})):
                item = planned.get(row["id"])
                after = row if item is None else {**row, **item.step.body}  # what a file does not name stays
                if id in set(_ids_in(after)):
                    yield id, str(row["id"]), f"{NOUNS[words].called} {name_of(row) or row['id']}"
    for item in items:
        for id in ids.intersection(_ids_in(item.step.wanted)):
            yield id, str((item.current or {}).get("id") or item.thing.name), item.thing.label
