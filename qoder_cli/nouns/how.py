"""How the kinds of a folder do what they do otherwise than others; each is said in the module of its noun."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from qoder_cli.base.model import Raw
from qoder_cli.nouns.noun import Noun

if TYPE_CHECKING:
    from qoder_cli.app import App
    from qoder_cli.nouns.declared import Declaration
    from qoder_cli.nouns.edits.difference import Form
    from qoder_cli.nouns.edits.step import Step


class Content(NamedTuple):
    """What is at a path: what a thing of it is called, its fields, and its files by their paths."""

    name: str
    fields: Raw
    files: Mapping[str, bytes]


class Lists(Protocol):
    """What the server has, each list read once."""

    app: "App"

    def once(self, key: Any, ask: Callable[[], Any]) -> Any: ...
    def rows(self, noun: Noun, *parents: str) -> list[Raw]: ...
    def whole(self, noun: Noun, row: Raw, *parents: str) -> Raw: ...


class Exporting(Protocol):
    """One thing that becomes files: the one that declares it, and others."""

    raw: Raw
    path: str  # of the file that declares it
    files: dict[str, bytes]
    comments: dict[str, list[str]]  # above the fields of that file

    @property
    def lists(self) -> Lists: ...

    def note(self, text: str) -> None:
        """Say something to the person who exports."""

    def secret(self, name: str, suffix: str = "") -> Any:
        """Return a variable of its own in place of a secret."""

    def variable(self, name: str, value: str) -> Any:
        """Return a variable in place of a value, or the value."""


class Unexportable(Exception):
    """Something that no file can be; the message says why."""


@dataclass(frozen=True)
class How:
    """What a kind does otherwise; by default, what all do."""

    # What is at a path, where no document says it. Raises Problem.
    read: "Callable[[str], Content] | None" = None
    # The fields of a file, written out as the API has them.
    spell: Callable[[Raw], Raw] = lambda fields: fields
    # What a listed row is called, where it does not say so itself, and whether it is one of ours.
    name: "Callable[[Lists, Raw], str | None] | None" = None
    ours: Callable[[Raw], bool] = bool
    # What may be a declared thing, in what holds it; else what has its name.
    find: "Callable[[Lists, Declaration, Sequence[str]], Sequence[Raw]] | None" = None
    form: "Form | None" = None
    # The step as it is to be.
    plan: "Callable[[Lists, Declaration, Step], Step] | None" = None
    # What the reader of a plan should know.
    remarks: "Callable[[Lists, Step, Declaration, Sequence[Declaration]], Iterator[str]] | None" = None
    # Why one is not what its mark says; empty if it is.
    differs: "Callable[[Lists, Raw], str] | None" = None
    # The fields of its file, of the settable ones. Raises Unexportable.
    export: "Callable[[Exporting, Raw], Raw] | None" = None


_OTHERS = How()


@cache
def how_of(noun: Noun) -> How:
    """Return how a noun's kind does it."""
    if not noun.kind.how:
        return _OTHERS
    module, _, name = noun.kind.how.partition(":")
    how: How = getattr(import_module(f"qoder_cli.nouns.{module}"), name)
    return how
