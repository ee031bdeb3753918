"""The operations of the API, and the nouns, each of which is a file beside this one.

Paths, filters, and which fields a body has are in `operations.tsv`. All else about a noun is in its file.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any, Literal, NamedTuple, cast

from qoder_cli.app import App
from qoder_cli.base.ids import NOT_OF_AN_ID, segment
from qoder_cli.base.kinds import KINDS_OF_NOUNS
from qoder_cli.base.model import text
from qoder_cli.nouns.schema import Fields, body

Raw = dict[str, Any]
Kind = Literal["model", "page", "stream", "binary"]  # of the answer


class Operation(NamedTuple):
    """One operation. `path` has ids as `{names}`; the lists are names."""

    id: str
    method: str
    path: str
    kind: Kind
    required: tuple[str, ...]
    query: tuple[str, ...]
    body: tuple[str, ...]
    command: tuple[str, ...]  # the words of the command that does it

    def has_path(self, path: str) -> bool:
        """Return whether a path below the base URL is this operation's."""
        parts, words = self.path.split("/"), path.split("/")
        return len(parts) == len(words) and all(
            part == word or (part.startswith("{") and word != "") for part, word in zip(parts, words, strict=True)
        )


@cache
def all_operations() -> tuple[Operation, ...]:
    """Return all operations, by their ids."""
    table = (files("qoder_cli.nouns") / "operations.tsv").read_text("utf-8")
    found = []
    for line in table.splitlines():
        id, method, path, kind, *lists, command = line.split("\t")
        required, query, body = (tuple(filter(None, names.split(","))) for names in lists)
        found.append(Operation(id, method, path, cast(Kind, kind), required, query, body, tuple(command.split())))
    return tuple(found)


def search(words: Iterable[str]) -> Iterator[Operation]:
    """Yield the operations whose id, method or path has every word."""
    wanted = [word.lower() for word in words]
    for operation in all_operations():
        text = f"{operation.id} {operation.method} {operation.path}".lower()
        if all(word in text for word in wanted):
            yield operation


def of_path(path: str) -> list[Operation]:
    """Return a path's operations; the word `poll` is not taken for an id of work."""
    found = [operation for operation in all_operations() if operation.has_path(path)]
    fewest = min((operation.path.count("{") for operation in found), default=0)
    return [operation for operation in found if operation.path.count("{") == fewest]


def find(method: str, path: str) -> Operation | None:
    """Return the operation of a method and path, or None."""
    return next((operation for operation in of_path(path) if operation.method == method), None)


def readable(path: str) -> str | None:
    """Return the path that shows a write: its plural, its own, or one above."""
    steps = path.split("/")
    above = ("/".join(steps[:length]) for length in range(len(steps), 1, -1))
    return next((each for each in (f"{path}s", *above) if find("GET", each)), None)


def _running(raw: Raw) -> str:
    if raw.get("status") == "running":
        return "It is running. "
    return ""


class Verb(NamedTuple):
    """Something that can be done to a thing, and its status afterwards."""

    verb: str
    doing: str
    participle: str
    status: str
    about: str  # a sentence for help and question


@dataclass(frozen=True, eq=False)
class Noun:
    """A kind of thing. Columns are those of `nouns.shown`; each noun is in a file of its own beside this one."""

    words: str  # before the verb: `agent`, `env work`
    operations: str  # the beginning of its operations' ids
    called: str  # by a person, in a sentence
    prefix: str  # of its ids; "" where these are numbers
    columns: tuple[str, ...]  # of a list, only ever appended to
    sample: str  # one that the sandbox has, for the examples
    sample_of: str = ""  # what holds that
    more: tuple[str, ...] = ()  # what `get` shows besides
    created: str = ""  # what help says of `create` from plain fields
    archived: str = ""  # what archiving means: a sentence for help and question
    deleted: str = ""  # the same for deleting
    numbered: tuple[str, ...] = ()  # columns of its versions
    statuses: tuple[str, ...] = ()  # to filter a list by; empty allows any word
    has_name: bool = True  # whether a name can replace the id
    is_paged: bool = True
    takes_file: bool = True  # whether an update may be in a file, which is shown back
    arguments: str = ""  # which of `cli.options`, where a noun is not named as others are
    found_by: str = ""  # what returns ids, or errors, for words, where a noun has words of its own
    explained_by: str = ""  # what says more about one that is missing
    warned: Callable[[Raw], str] = _running  # what a question about one says besides
    row: Callable[[Raw, App], dict[str, Any]] | None = None  # in a list, where it is more than its columns
    first: tuple[str, ...] = ()  # those columns as they get room
    sheet: Callable[[Raw, App], dict[str, Any]] | None = None  # the same of a single one
    body: type[Fields] = Fields  # all that its creates and updates may hold
    in_file: type[Fields] | None = None  # what files may hold, where that is more
    bodies: Mapping[str, type[Fields]] = field(default_factory=dict)  # of operations that hold something else
    verbs: tuple["Verb", ...] = ()  # what else can be done to one, without a body
    example: str = "--name team"  # options of a create
    needed: tuple[str, ...] = ()  # those that a create cannot do without, as no file can say it
    absent: Mapping[str, Any] = field(default_factory=dict)  # what an object lacks that a create would fill in
    moves: bool = False  # whether one's `updated_at` changes by itself
    # What the sandbox has of it.
    type: str = ""  # of its objects, where that is not what it is called
    named_by: str = "name"  # the field that a filter by name means
    kept: Mapping[str, Any] = field(default_factory=dict)  # the fields of a new one, in the order shown
    dated: tuple[str, ...] = ("created_at", "updated_at", "archived_at")
    samples: tuple[Mapping[str, Any], ...] = ()  # there from the start

    @property
    def plural(self) -> str:
        """Its name in the plural."""
        return re.sub("ys$", "ies", f"{self.called}s")


_registered: dict[str, Noun] = {}


def noun(words: str, operations: str, *, columns: str, **more: Any) -> None:
    """Make a noun, which is known from now on; its columns are words of one text."""
    kind = KINDS_OF_NOUNS[words]
    more = {"called": kind.called, "prefix": kind.prefix, "type": kind.called.replace(" ", "_")} | more
    lists = ("more", "numbered", "statuses", "needed", "dated")
    more |= {name: tuple(more[name].split()) for name in lists if name in more}
    _registered[words] = Noun(words=words, operations=operations, columns=tuple(columns.split()), **more)


class _Nouns(Mapping[str, Noun]):
    """All nouns by their words, each imported when it is asked for."""

    def __getitem__(self, words: str) -> Noun:
        if words not in KINDS_OF_NOUNS:
            raise KeyError(words)
        if words not in _registered:
            import_module(f"qoder_cli.nouns.{words.split()[0]}")
        return _registered[words]

    def __iter__(self) -> Iterator[str]:
        return iter(KINDS_OF_NOUNS)

    def __len__(self) -> int:
        return len(KINDS_OF_NOUNS)


NOUNS = _Nouns()


@cache
def operation(noun: Noun, verb: str) -> Operation | None:
    """Return the operation that does this to a noun's things, or None."""
    wanted = f"{noun.operations}.{verb}"
    return next((each for each in all_operations() if each.id == wanted), None)


@cache
def body_of(operation: Operation) -> type[Fields]:
    """Return what an operation's body may hold: those fields of its noun that the operation has."""
    having = filter(lambda each: operation.id.startswith(f"{each.operations}."), NOUNS.values())
    noun = max(having, key=lambda each: len(each.operations))
    verb = operation.id.removeprefix(f"{noun.operations}.")
    needed = tuple(name for name in operation.body if name in operation.required)
    cleared = operation.body
    if verb == "update":
        create = next((each for each in all_operations() if each.id == f"{noun.operations}.create"), operation)
        kept = (*create.required, "metadata")  # which is merged: null removes a key of it, and not all
        cleared = tuple(name for name in operation.body if name in create.body and name not in kept)
    return body(noun.bodies.get(verb, noun.body), operation.body, needed, cleared)


def in_files() -> list[str]:
    """Return the words of the nouns that files declare."""
    return [words for words, noun in NOUNS.items() if noun.takes_file and _created(noun)]


@cache  # a new class would need a validator of its own
def of_file(noun: Noun, *, is_new: bool) -> type[Fields]:
    """Return what a file of a noun may hold."""
    if noun.in_file:
        return noun.in_file
    created, changed = _created(noun), operation(noun, "update")
    assert created is not None  # asked only for what files declare
    names = dict.fromkeys((*created.body, *(changed.body if changed and not is_new else ())))
    needed = [name for name in names if name in created.required and is_new]
    return body(noun.body, tuple(names), tuple(needed), ())


def _created(noun: Noun) -> Operation | None:
    return operation(noun, "create")


def parent_of(noun: Noun) -> Noun | None:
    """Return the noun that is this noun's parent: `env` for `env work`."""
    above = noun.words.rpartition(" ")[0]
    if above:
        return NOUNS[above]
    return None


def path_of(noun: Noun, *ids: str) -> str:
    """Return the path of a list or a thing; the ids of parents come first."""
    listed = operation(noun, "list")
    assert listed is not None  # all nouns of the table have a list
    path = re.sub(r"\{\w+\}", "{}", listed.path)
    slots = path.count("{}")
    path = path.format(*map(segment, ids[:slots]))
    return "/".join([path, *map(segment, ids[slots:])])


# The operations behind a verb, where they are not called as it is.
_DONE_BY = {"get": ("retrieve", "retrieve_metadata"), "versions": ("versions.list",)}


def words_of(noun: Noun, verb: str, *ids: str) -> tuple[str, ...]:
    """Return the command that does this to a noun's things, as words; `memory ls` lists memories."""
    done_by = [operation(noun, each) for each in _DONE_BY.get(verb, (verb,))]
    command = next((each.command for each in done_by if each), (*noun.words.split(), verb))
    return (*command, *ids)


def has_id(noun: Noun, raw: dict[str, Any]) -> bool:
    """Return whether an object has an id of this noun."""
    id = text(raw.get("id")) or ""
    return id.startswith(noun.prefix) and NOT_OF_AN_ID.search(id) is None
