"""What a plan is made of: the things of a folder, each with its step, and what would be pruned."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from qoder_cli.nouns.edits.step import Applied, Step
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of
from qoder_cli.stack.things import Declaration

Raw = dict[str, Any]


class Options(NamedTuple):
    """How a folder is applied, as typed."""

    adopt: bool = False
    repin: bool = False
    prune: bool = False
    prune_all: bool = False
    send_secrets: bool = False
    only: tuple[str, ...] = ()


class ToCome(str):
    """Stands for the id or the version of something that does not exist yet."""


@dataclass(kw_only=True, eq=False)
class ThingStep(Step):
    """One thing of a folder but a deployment, and what to do about it."""

    thing: Declaration

    @property
    def place(self) -> str | None:
        return self.thing.place

    @property
    def name(self) -> str:
        return self.thing.name


@dataclass(eq=False)
class Item:
    """One thing of the plan: what to do, what it waits for, and what came of it."""

    thing: Declaration
    step: Step
    needs: "list[Item]" = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # for the reader of the plan
    details: list[str] = field(default_factory=list)  # for one who wants to see all of it
    is_adopted: bool = False  # it was not made by this stack, and belongs to it from now on
    result: Applied | None = None

    @property
    def current(self) -> Raw | None:
        return self.step.current


class Doomed(NamedTuple):
    """A thing of the stack that no file declares any more."""

    noun: Noun
    raw: Raw
    user: str = ""  # what still uses it: then it stays

    @property
    def label(self) -> str:
        return f"{self.noun.called} {name_of(self.raw) or '-'} ({self.raw['id']})"


@dataclass(eq=False)
class StackPlan:
    """All that an apply would do."""

    items: list[Item]
    doomed: list[Doomed]
    kept: list[Doomed]  # would be pruned, but something uses them
