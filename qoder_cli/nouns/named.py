"""Things named by their id or exact name."""

from collections.abc import Iterator
from typing import Any

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import NotFound, UsageError
from qoder_cli.base.model import mapping, text
from qoder_cli.nouns.change import Target, read
from qoder_cli.nouns.shown import NAMES, found_at, name_of
from qoder_cli.nouns.table import NOUNS, Noun, has_id, operation, path_of, words_of
from qoder_cli.nouns.write import target_of

Raw = dict[str, Any]

_LISTED = 10  # ids or names that an error has


def id_of(app: App, noun: Noun, typed: str, *held_by: str, archived: bool = False) -> str:
    """Return the id of what was typed, as `Names.id_of` does."""
    return Names(app, *held_by, archived=archived).id_of(noun, typed)


class Names:
    """Looks up names; each noun is listed at most once per command.

    With `archived`, a name that nothing else has may be that of an archived thing.
    """

    def __init__(self, app: App, *held_by: str, archived: bool = False) -> None:
        self._app = app
        self._held_by, self._archived = held_by, archived
        self._known: dict[str, list[Raw]] = {}
        self._ids: dict[tuple[str, str], str] = {}

    def id_of(self, noun: Noun, typed: str) -> str:
        """Return the id of what was typed: an id unchanged, a name by listing.

        Raises UsageError for neither or an ambiguous name, NotFound with the nearest.
        """
        wanted = f"an id ({noun.prefix}…)" + (" or an exact name" if noun.has_name else "")
        if ids.id_or_name(typed, noun.prefix, noun.called, wanted):
            return typed
        if not noun.has_name:
            raise UsageError(f"{typed[:60]!r} is not the id of a {noun.called}", hint=f"give {wanted}")
        if noun.words not in self._known:
            self._known[noun.words] = list(alive(self._app, noun, *self._held_by, archived=self._archived))
        if (noun.words, typed) not in self._ids:
            found = self._ids[noun.words, typed] = self._meant(noun, typed, self._known[noun.words])
            self._app.progress.note(f"{typed} is {found}")
        return self._ids[noun.words, typed]

    def _meant(self, noun: Noun, typed: str, known: list[Raw]) -> str:
        found = [each for each in known if name_of(each) == typed]
        found = [each for each in found if not each.get("archived_at")] or found
        if len(found) > 1:
            hint = f"use an id: {', '.join(each['id'] for each in found[:_LISTED])}"
            raise UsageError(f"{len(found)} {noun.plural} are named {typed!r}", hint=hint)
        if found:
            return str(found[0]["id"])
        near = ids.nearest(typed, [name for each in known if (name := name_of(each))], most=3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"use an id ({noun.prefix}…)"
        next = self._app.looking(*words_of(noun, "list", *self._held_by))
        raise NotFound(f"no {noun.called} is named {typed!r}", hint=hint, next=next)


def alive(app: App, noun: Noun, *held_by: str, archived: bool = False) -> Iterator[Raw]:
    """Yield a noun's things, each once, if its id is of their kind. Raises ApiError."""
    seen: set[str] = set()
    listed = operation(noun, "list")
    can_tell = archived and listed is not None and "include_archived" in listed.query
    query = {"limit": 100, **({"include_archived": "true"} if can_tell else {})}
    for page in app.client.pages(path_of(noun, *held_by), query):
        for each in map(mapping, page["data"]):
            if has_id(noun, each) and each["id"] not in seen and (archived or not each.get("archived_at")):
                seen.add(each["id"])
                yield each


def read_one(app: App, noun: Noun, word: str, *held: str, version: int | None = None) -> Raw:
    """Return one of a noun's things, by id or name. Raises QoderError."""
    id = id_of(app, noun, word, *held, archived=True)
    target = target_of(noun, *held, id)
    if version is None:
        return read_named(app, noun, word, target)
    called = f"version {version} of {target.called}"
    try:
        if operation(noun, "versions.retrieve"):
            found = mapping(app.client.get(f"{target.path}/versions/{version}"))
        else:
            found = mapping(app.client.get(target.path, {"version": version}))
    except NotFound as error:
        raise error.about(called) from None
    if str(found.get("version")) != str(version) or id not in (found.get("id"), found.get(f"{noun.called}_id")):
        raise NotFound(f"the response is not {called}")
    return found


def read_named(app: App, noun: Noun, word: str, target: Target) -> Raw:
    """Return the thing a word was taken for. Raises NotFound if renamed."""
    found = read(app, target)
    names = {value for key in NAMES if (value := text(found_at(found, key)))}
    if names and word not in (target.id, *names):
        known_as = f"no {noun.called} is named {word!r}: {target.id} is named {name_of(found)!r} now"
        raise NotFound(known_as, hint="use the id", next=app.looking(*target.look))
    return found


def only_environment(app: App) -> str:
    """Return the only environment's id. Raises UsageError unless there is one."""
    known = list(alive(app, NOUNS["env"]))
    if len(known) == 1:
        app.progress.note(f"environment: {name_of(known[0]) or '-'} ({known[0]['id']})")
        return str(known[0]["id"])
    if not known:
        raise UsageError("no environment exists", hint="create one: qoder env create --name default")
    listed = ", ".join(f"{name_of(each) or '-'} ({each['id']})" for each in known[:_LISTED])
    more = " and more" if len(known) > _LISTED else ""
    raise UsageError(f"there are {len(known)} environments; choose one with --env", hint=f"{listed}{more}")
