"""Things that are named by their id or by their exact name."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from qoder_cli.base import ids
from qoder_cli.base.errors import NotFound, UsageError
from qoder_cli.base.model import mapping, text
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import NOUNS, Noun, operation, path_of, words_of

if TYPE_CHECKING:
    from qoder_cli.app import App

_LISTED = 10  # ids or names that an error has


def id_of(app: "App", noun: Noun, typed: str, *held_by: str, archived: bool = False) -> str:
    """Return the id of what was typed, as `ids_of` does."""
    return ids_of(app, noun, [typed], *held_by, archived=archived)[typed]


def ids_of(app: "App", noun: Noun, typed: Sequence[str], *held_by: str, archived: bool = False) -> dict[str, str]:
    """Return the ids of what was typed: an id as it is, a name by listing a noun's things, once for all.

    `held_by` is the id of what holds them; with `archived` a name that nothing else has may be that of something
    archived. Raises UsageError for what can be neither and for a name that several have, NotFound with the nearest.
    """
    wanted = f"an id ({noun.prefix}…)" + (" or an exact name" if noun.has_name else "")
    found, names = {}, []
    for word in typed:
        if ids.id_or_name(word, noun.prefix, noun.called, wanted):
            found[word] = word
        elif noun.has_name:
            names.append(word)
        else:
            raise UsageError(f"{word[:60]!r} is not the id of a {noun.called}", hint=f"give {wanted}")
    known = list(alive(app, noun, *held_by, archived=archived)) if names else []
    for name in names:
        if name not in found:
            found[name] = _named(app, noun, name, known, held_by)
            app.progress.note(f"{name} is {found[name]}")
    return found


def _named(app: "App", noun: Noun, name: str, known: Sequence[dict[str, Any]], held_by: Sequence[str]) -> str:
    """Return the id of the one that has a name. Raises UsageError where several have it, NotFound where none has."""
    same = [each for each in known if name_of(each) == name]
    same = [each for each in same if not each.get("archived_at")] or same
    if len(same) > 1:
        hint = f"use an id: {', '.join(each['id'] for each in same[:_LISTED])}"
        raise UsageError(f"{len(same)} {noun.called}s are named {name!r}", hint=hint)
    if same:
        return str(same[0]["id"])
    near = ids.nearest(name, [known_as for each in known if (known_as := name_of(each))], most=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"use an id ({noun.prefix}…)"
    raise NotFound(
        f"no {noun.called} is named {name!r}", hint=hint, next=app.looking(*words_of(noun, "list", *held_by))
    )


def alive(app: "App", noun: Noun, *held_by: str, archived: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a noun's things as they were sent; those that are archived only if `archived`. Raises ApiError."""
    listed = operation(noun, "list")
    can_tell = archived and listed is not None and "include_archived" in listed.query
    query = {"limit": 100, **({"include_archived": "true"} if can_tell else {})}
    for page in app.client.pages(path_of(noun, *held_by), query):
        for each in map(mapping, page["data"]):
            if text(each.get("id")) and (archived or not each.get("archived_at")):
                yield each


def only_environment(app: "App") -> str:
    """Return the one environment that there is. Raises UsageError, which lists them, unless there is exactly one."""
    known = list(alive(app, NOUNS["env"]))
    if len(known) == 1:
        app.progress.note(f"environment: {name_of(known[0]) or '-'} ({known[0]['id']})")
        return str(known[0]["id"])
    if not known:
        raise UsageError("there is no environment", hint="create one: qoder env create --name default")
    listed = ", ".join(f"{name_of(each) or '-'} ({each['id']})" for each in known[:_LISTED])
    more = " and more" if len(known) > _LISTED else ""
    raise UsageError(f"there are {len(known)} environments; choose one with --env", hint=f"{listed}{more}")
