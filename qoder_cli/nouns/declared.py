"""What a file declares, as a value: a thing with its fields, and what these refer to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from qoder_cli.base.model import Raw
from qoder_cli.base.places import Path
from qoder_cli.files.tree import Problem
from qoder_cli.nouns.noun import Noun


class Place(NamedTuple):
    """A file, and the line where a thing begins; 0 is the whole file."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    def problem(self, text: str, path: Path = (), line: int = 0) -> str:
        """Return a problem of what is there, with its place."""
        return Problem(text, line=line or self.line, path=path).located(self.file)


class Reference(NamedTuple):
    """A place of a body that needs the id of something else: by a name, or by the path of a file."""

    at: Path  # of the id; where it `pins`, of the object with the id and the version
    noun: Noun
    name: str = ""
    path: str = ""
    version: int | None = None  # that the file asks for
    pins: str = ""  # the type of that object
    key: str = "id"  # of the id in it
    line: int = 0
    written: Path = ()  # its place in the file, which may have a short form there
    target: "Declaration | None" = None  # what it means, where that is declared, too

    def problem(self, place: Place, what: str) -> str:
        """Return a problem of it, in what is declared at a place."""
        return place.problem(what, self.written, self.line)


@dataclass(frozen=True, eq=False, repr=False)
class Declaration:
    """Something that a file declares."""

    noun: Noun
    place: Place
    name: str
    fields: Raw = field(default_factory=dict)  # of a create body; stand-ins are in the places of `refs`
    own: Raw = field(default_factory=dict)  # what only files say: `id`, `paused`
    refs: tuple[Reference, ...] = ()
    secrets: frozenset[str] = frozenset()  # the places that may hold one
    unset: tuple[str, ...] = ()  # the variables in it that are not set
    parent: "Declaration | None" = None  # what holds it
    content: Mapping[str, bytes] = field(default_factory=dict)  # its files

    @property
    def needs(self) -> "tuple[Declaration | None, ...]":
        """What has to be there before it: what it refers to, None if no file declares that, and what holds it."""
        return (*(ref.target for ref in self.refs), self.parent)
