"""The operations of the API, and the nouns, each of which is a file beside this one.

Paths, filters, and which fields a body has are in `operations.tsv`. All else about a noun is in its file.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Annotated, Any, Literal, NamedTuple, cast

from qoder_cli.base.ids import NOT_OF_AN_ID, segment
from qoder_cli.base.kinds import KINDS_OF_NOUNS
from qoder_cli.base.model import text
from qoder_cli.nouns.noun import Help, Holds, Listing, Naming, Noun, Sandboxed
from qoder_cli.nouns.schema import Fields, body

Kind = Literal["model", "page", "stream", "binary"]  # of the answer


_REQUEST = "the request, with placeholders"
_NAMES = "arrays of names it accepts"


class Operation(NamedTuple):
    """An operation of the API."""

    id: Annotated[str, "operation id"]
    method: Annotated[str, _REQUEST]
    path: Annotated[str, _REQUEST]
    kind: Annotated[Kind, "response kind: model, page, stream or binary"]
    required: Annotated[Sequence[str], "array of names it requires"]
    query: Annotated[Sequence[str], _NAMES]
    body: Annotated[Sequence[str], _NAMES]
    command: Annotated[Sequence[str], "the command that does the same, as an array of words"]


@cache
def all_operations() -> tuple[Operation, ...]:
    """Return all operations, by their ids."""
    table = (files("qoder_cli.nouns") / "operations.tsv").read_text("utf-8")
    operations = []
    for line in table.splitlines()[1:]:  # the first names the columns
        id, method, path, kind, *lists, command = line.split("\t")
        required, query, body = (tuple(filter(None, names.split(","))) for names in lists)
        operations.append(Operation(id, method, path, cast(Kind, kind), required, query, body, tuple(command.split())))
    return tuple(operations)


def search(words: Iterable[str]) -> Iterator[Operation]:
    """Yield the operations whose id, method or path has every word."""
    wanted = [word.lower() for word in words]
    for operation in all_operations():
        text = f"{operation.id} {operation.method} {operation.path}".lower()
        if all(word in text for word in wanted):
            yield operation


def of_path(path: str) -> list[Operation]:
    """Return a path's operations; the word `poll` is not taken for an id of work."""
    matching, words = [], path.split("/")
    for operation in all_operations():
        parts = operation.path.split("/")
        pairs = list(zip(parts, words, strict=False))
        is_like = all(part == word or (part.startswith("{") and word != "") for part, word in pairs)
        if len(parts) == len(words) and is_like:
            matching.append(operation)
    fewest = min((operation.path.count("{") for operation in matching), default=0)
    return [operation for operation in matching if operation.path.count("{") == fewest]


def find(method: str, path: str) -> Operation | None:
    """Return the operation of a method and path, or None."""
    return next((operation for operation in of_path(path) if operation.method == method), None)


def readable(path: str) -> str | None:
    """Return the path that shows a write: its plural, its own, or one above."""
    steps = path.split("/")
    above = ("/".join(steps[:length]) for length in range(len(steps), 1, -1))
    return next((candidate for candidate in (f"{path}s", *above) if find("GET", candidate)), None)


_registered: dict[str, Noun] = {}


_PARTS = {"naming": Naming, "listing": Listing, "help": Help, "holds": Holds, "sandbox": Sandboxed}
_LISTS = ("columns", "more", "numbered", "statuses", "needed", "dated")  # which may be written as words of one text


def noun(words: str, operations: str, **said: Any) -> Noun:
    """Return a new noun, which is known from now on, of the fields of its parts."""
    kind = KINDS_OF_NOUNS[words]
    said = {"called": kind.called, "type": kind.called.replace(" ", "_"), **said}
    said |= {name: tuple(said[name].split()) for name in _LISTS if name in said}
    for name, part in _PARTS.items():
        said[name] = part(**{field.name: said.pop(field.name) for field in fields(part) if field.name in said})
    _registered[words] = Noun(words=words, operations=operations, **said)
    return _registered[words]


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
    return next((candidate for candidate in all_operations() if candidate.id == wanted), None)


def creation_of(noun: Noun) -> Operation:
    """Return the operation that creates what files declare."""
    created = operation(noun, "create")
    assert created is not None
    return created


@cache
def body_of(done: Operation) -> type[Fields]:
    """Return what an operation's body may hold: those fields of its noun that it has."""
    having = filter(lambda owner: done.id.startswith(f"{owner.operations}."), NOUNS.values())
    noun = max(having, key=lambda owner: len(owner.operations))
    verb = done.id.removeprefix(f"{noun.operations}.")
    needed = tuple(name for name in done.body if name in done.required)
    cleared = done.body
    if verb == "update":
        create = operation(noun, "create") or done
        kept = (*create.required, "metadata")  # which is merged: null removes a key of it, and not all
        cleared = tuple(name for name in done.body if name in create.body and name not in kept)
    return body(noun.holds.bodies.get(verb, noun.holds.body), done.body, needed, cleared)


@cache
def in_folders() -> dict[str, Noun]:
    """Return the nouns whose things files of a folder declare, by the names of their folders, in order."""
    declared = [noun for noun in NOUNS.values() if noun.kind.is_declared]
    return {noun.operations: noun for noun in sorted(declared, key=lambda noun: noun.kind.rank)}


def in_files() -> list[str]:
    """Return the words of the nouns that files declare."""
    return [words for words, noun in NOUNS.items() if noun.holds.takes_file and operation(noun, "create")]


@cache  # a new class would need a validator of its own
def of_file(noun: Noun) -> type[Fields]:
    """Return what a file of a noun may hold."""
    if noun.holds.in_file:
        return noun.holds.in_file
    created = creation_of(noun)
    return body(noun.holds.body, created.body, [name for name in created.body if name in created.required], ())


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
    done_by = filter(None, [operation(noun, name) for name in _DONE_BY.get(verb, (verb,))])
    command = next((operation.command for operation in done_by), (*noun.words.split(), verb))
    return (*command, *ids)


def has_id(noun: Noun, raw: dict[str, Any]) -> bool:
    """Return whether an object has an id of this noun."""
    id = text(raw.get("id")) or ""
    return id.startswith(noun.prefix) and NOT_OF_AN_ID.search(id) is None
