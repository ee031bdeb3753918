"""Things named by their id or exact name."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import NoResponse, NotFound, QoderError, UsageError
from qoder_cli.base.model import Raw, filled, mapping, says_whether_more, text
from qoder_cli.base.words import few
from qoder_cli.local.remembered import remember
from qoder_cli.nouns.edits.thing import Target, read, target_of
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import NAMES, found_at, name_of
from qoder_cli.nouns.table import has_id, operation, path_of, words_of

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

Kept = tuple[Raw, str | None]

_FIELDS = ("id", "name", "status", "title", "error", "result", "created_at")  # typed behind --json by users of gh
_SUGGESTED_FOR = 10  # unknown names; near names for more would take long


def id_of(app: App, noun: Noun, word: str, *parents: str, archived: bool = False) -> str:
    """Return the id of what was typed, as `Names.id_of` does. What may be `archived` is only read: any list will do."""
    return Names(app, *parents, archived=archived, is_whole=not archived).id_of(noun, word)


class Names:
    """Looks up names; each noun is listed at most once per command.

    With `archived`, a name that nothing else has may be that of an archived thing. Unless `is_whole` is false, the list
    has to say that it is complete: another thing may have the name, too.
    """

    def __init__(self, app: App, *parents: str, archived: bool = False, is_whole: bool = True) -> None:
        self._app = app
        self._parents, self._archived, self._is_whole = parents, archived, is_whole
        self._things: dict[str, list[Kept]] = {}
        self._noted: set[str] = set()

    def id_of(self, noun: Noun, word: str) -> str:
        """Return the id of what was typed, as `ids_of` does, and say a name's. Raises its error."""
        [id_or_error] = self.ids_of(noun, [word])
        if isinstance(id_or_error, QoderError):
            raise id_or_error
        if word != id_or_error and id_or_error not in self._noted:
            self._noted.add(id_or_error)
            self._app.progress.note(f"using {noun.called} {word} ({id_or_error})")
        return id_or_error

    @staticmethod
    def among(noun: Noun, words: Sequence[str]) -> list[str]:
        """Return what of the words typed are names, not ids. Raises UsageError for what can be neither."""
        wanted = f"an id ({noun.prefix}…)" + (" or an exact name" if noun.naming.has_name else "")
        if "-" in words:
            what = f"'-' is not {ids.a(noun.called)}, and only one can be given here"
            raise UsageError(what, hint=f"give {wanted}")
        names = []
        for word in words:
            if not ids.id_or_name(word, noun.prefix, noun.called, wanted):
                names.append(word)
        if names and not noun.naming.has_name:
            raise UsageError(f"{names[0][:60]!r} is not the id of a {noun.called}", hint=f"give {wanted}")
        return names

    def ids_of(self, noun: Noun, words: Sequence[str]) -> list[str | QoderError]:
        """Return ids unchanged, and each name's id or error. Raises UsageError, ApiError."""
        names = self.among(noun, words)
        if names and noun.words not in self._things:
            client, archived = self._app.client, self._archived
            rows = alive(client, noun, *self._parents, archived=archived, fresh=True, is_whole=self._is_whole)
            self._things[noun.words] = kept_rows = list(map(kept, rows))
            remember(self._app.store, self._app.settings, noun.words, kept_rows, whole=not self._parents)
        candidates = self._things.get(noun.words, [])
        unknown = set(names) - {name for _, name in candidates}
        near_to = {raw["id"]: name or "" for raw, name in candidates if len(unknown) <= _SUGGESTED_FOR}
        meant: dict[str, str | QoderError] = {}
        for name in dict.fromkeys(names):
            these = [raw for raw, its in candidates if its == name]
            match [raw["id"] for raw in these if not raw["archived_at"]] or [raw["id"] for raw in these]:
                case [only]:
                    meant[name] = only
                case []:
                    how = advice(self._app, noun, name, near_to, *self._parents, asked=self._app.settings.asked)
                    meant[name] = NotFound(f"no {noun.called} is named {name!r}", **how)
                case several:
                    why = f"{len(several)} {noun.plural} are named {name!r}: {few(several)}"
                    meant[name] = UsageError(why, hint="use an id")
        return [meant.get(word, word) for word in words]


def kept(raw: Raw) -> Kept:
    """Return what is remembered of a thing, and its name."""
    return {key: raw.get(key) for key in ("id", "archived_at", "created_at")}, name_of(raw)


def advice(
    app: App, noun: Noun, word: str, names: dict[str, str], *parents: str, asked: str | None = None
) -> dict[str, Any]:
    """Return an error's hint: the nearest of `names` (by id), or else the list; `asked` says what was looked at."""
    profile = app.settings.profile
    if app.flags.output == "json" and word in _FIELDS:
        return {"hint": "--json prints all fields; to select some, pipe it to jq: --json | jq FILTER"}
    names = {id: name for id, name in names.items() if id != word}  # lists may be ahead
    by_name = {name.lower(): id for id, name in names.items()}
    near = ids.nearest(word, names, most=3, alike=0.85)  # ids of a minute are half alike
    near_names = ids.nearest(word.removeprefix(noun.prefix).lower(), by_name, most=3, alike=0.6)
    if near := near or [by_name[name] for name in near_names]:
        words = " or ".join(f"{names[id]!r} ({id})" if names[id] else id for id in near)
        return {"hint": f"did you mean {words}? ({asked or f'profile {profile}'})"}
    look = app.looking(*words_of(noun, "list", *parents))
    return {"hint": f"{asked or f'check the id and the profile ({profile})'}; list them", "next": look}


def alive(
    client: "Client", noun: Noun, *parents: str, archived: bool = False, fresh: bool = False, is_whole: bool = False
) -> Iterator[Raw]:
    """Yield a noun's things, each once, if its id is of their kind. Raises ApiError.

    It proves nothing about what is not among them (`ServerLists` does), but that they are all if it `is_whole`. Where
    it is not `fresh`, a name may be another's by now.
    """
    seen: set[str] = set()
    listed = operation(noun, "list")
    assert listed is not None  # all nouns of the table have a list
    has_filter = archived and "include_archived" in listed.query
    query = {"limit": 100, **filled({"include_archived": has_filter and "true"})}
    page: Raw = {}
    for page in client.pages(path_of(noun, *parents), query, fresh=fresh):
        for row in map(mapping, page["data"]):
            if is_whole and not has_id(noun, row):
                raise NoResponse(f"the list of {noun.plural} has something else in it; nothing was sent")
            if has_id(noun, row) and row["id"] not in seen and (archived or not row.get("archived_at")):
                seen.add(row["id"])
                yield row
    if is_whole and not says_whether_more(page):
        raise NoResponse(
            f"the list of {noun.plural} does not say whether it is complete; nothing was sent", hint="use an id"
        )


def read_one(app: App, noun: Noun, word: str, *parents: str, version: int | None = None) -> Raw:
    """Return one of a noun's things, by id or name. Raises QoderError."""
    id = id_of(app, noun, word, *parents, archived=True)
    target = target_of(noun, *parents, id)
    if version is None:
        return read_named(app, noun, word, target)
    called = f"version {version} of {target.called}"
    try:
        if operation(noun, "versions.retrieve"):
            numbered = mapping(app.client.get(f"{target.path}/versions/{version}"))
        else:
            numbered = mapping(app.client.get(target.path, {"version": version}))
    except NotFound as error:
        raise error.about(called) from None
    ids_shown = (numbered.get("id"), numbered.get(f"{noun.called}_id"))
    if str(numbered.get("version")) != str(version) or id not in ids_shown:
        raise NoResponse(f"the response is not {called}")
    return numbered


def read_named(app: App, noun: Noun, word: str, target: Target, *, fresh: bool = False) -> Raw:
    """Return the thing a word was taken for; `fresh` is that of `Client.get`. Raises NotFound if renamed."""
    try:
        current = read(app.client, target, fresh=fresh)
    except NotFound as error:
        parents = target.look[len(words_of(noun, "get")) : -1]
        look = app.looking(*words_of(noun, "list", *parents))
        raise error.with_(hint=f"{error.hint}; list them", next=look) from None
    names = {value for key in NAMES if (value := text(found_at(current, key)))}
    if names and word not in (target.id, *names):
        message = f"no {noun.called} is named {word!r}: {target.id} is named {name_of(current)!r} now"
        raise NotFound(message, hint="use the id", next=app.looking(*target.look))
    return current
