"""The operations of the API, from the table beside this file (api/facts.md, 4)."""

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple, cast

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
