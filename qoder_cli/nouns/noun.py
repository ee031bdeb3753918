"""What a noun is, in values that its own file makes and nobody changes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.kinds import KINDS_OF_NOUNS
from qoder_cli.base.model import Raw
from qoder_cli.base.places import Path
from qoder_cli.nouns.schema import Fields

Shown = Callable[[Raw, App], dict[str, Any]]


def _running(raw: Raw) -> str:
    if raw.get("status") == "running":
        return "It is running. "
    return ""


@dataclass(frozen=True)
class Naming:
    """How one is named on a command line."""

    sample: str  # one that the sandbox has, for the examples
    sample_of: str = ""  # what holds that
    has_name: bool = True  # whether a name can replace the id
    named_by: str = "name"  # the field that has the name
    arguments: str = ""  # which of `cli.options`, where a noun is not named as others are
    found_by: str = ""  # what returns ids, or errors, for words, where a noun has words of its own
    explained_by: str = ""  # what says more about one that is missing


@dataclass(frozen=True)
class Listing:
    """What its lists and `get` show; columns are those of `nouns.shown`."""

    columns: tuple[str, ...]  # only ever appended to
    more: tuple[str, ...] = ()  # what `get` shows besides
    numbered: tuple[str, ...] = ()  # columns of its versions
    statuses: tuple[str, ...] = ()  # to filter by; empty allows any word
    is_paged: bool = True
    row: Shown | None = None  # where it is more than its columns
    first: tuple[str, ...] = ()  # those columns as they get room
    sheet: Shown | None = None  # the same of a single one


@dataclass(frozen=True)
class Help:
    """What help and questions say of it."""

    created: str = ""  # of `create` from plain fields
    archived: str = ""  # what archiving means: a sentence
    deleted: str = ""  # the same for deleting
    example: str = "--name team"  # options of a create
    needed: tuple[str, ...] = ()  # those that a create cannot do without, as no file can say it
    warned: Callable[[Raw], str] = _running  # what a question about one says besides


@dataclass(frozen=True)
class Holds:
    """What its bodies hold, and what can be done to one."""

    body: type[Fields] = Fields  # all that its creates and updates may hold
    in_file: type[Fields] | None = None  # what files may hold, where that is more
    bodies: Mapping[str, type[Fields]] = field(default_factory=dict)  # of operations that hold something else
    absent: Mapping[str, Any] = field(default_factory=dict)  # what an object lacks that a create would fill in
    takes_file: bool = True  # whether an update may be in a file, which is shown back
    moves: bool = False  # whether one's `updated_at` changes by itself


@dataclass(frozen=True)
class Sandboxed:
    """What the sandbox has of it."""

    kept: Mapping[str, Any] = field(default_factory=dict)  # the fields of a new one, in the order shown
    dated: tuple[str, ...] = ("created_at", "updated_at", "archived_at")


class Refers(NamedTuple):
    """A place of a body that names another thing by its id; a file may have its name or its path there."""

    at: Path  # `*` is any item of a list
    noun: str
    pins: str = ""  # the type of an object with id and version, where the place has one
    key: str = "id"  # of the id in that object


@dataclass(frozen=True)
class Kind:
    """What a thing of a noun is in a folder; its folder is called as its operations are."""

    rank: int = 0  # what has a lower one is made first
    text: str = ""  # the field that the text below the front matter is
    main: str = ""  # the file that makes a folder one of it
    refers: tuple[Refers, ...] = ()
    below: str = ""  # the noun of what it holds: of the field called as these are, else of the texts in its folder
    filled: Mapping[str, Any] = field(default_factory=dict)  # what the server fills in, in normal form
    is_written_once: bool = False  # what is there stays as it is
    is_declared: bool = True  # whether files of a folder declare it; else other things bring it along
    refused: str = ""  # what to do where the API refuses a change of one
    how: str = ""  # which `How`, by its module beside this one, where it does anything otherwise than others


@dataclass(frozen=True, eq=False)
class Noun:
    """A kind of thing; each noun is in a file of its own beside this one."""

    words: str  # before the verb: `agent`, `env work`
    operations: str  # the beginning of its operations' ids
    called: str  # by a person, in a sentence
    type: str  # of its objects
    naming: Naming
    listing: Listing
    help: Help
    holds: Holds
    sandbox: Sandboxed
    kind: Kind = Kind(is_declared=False)  # of what can stand in a folder

    @property
    def prefix(self) -> str:
        """What its ids begin with; empty where these are numbers."""
        return KINDS_OF_NOUNS[self.words].prefix

    @property
    def kind_name(self) -> str:
        """What JSON and tables call the kind of its things."""
        return self.called.replace(" ", "_")

    @property
    def plural(self) -> str:
        """Its name in the plural."""
        return re.sub("ys$", "ies", f"{self.called}s")
