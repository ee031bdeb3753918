"""What `-o json` prints, by the one table of that (`outputs.tsv`).

`qoder schema output` makes JSON Schemas from it, `qoder help output` its lists of keys, and every test that runs a
command holds what is printed against it.
"""

from collections.abc import Iterable
from functools import reduce
from importlib import import_module
from itertools import groupby
from operator import or_
from typing import Any, NamedTuple

from qoder_cli.base.shapes import DIALECT, keys_of, schema_of
from qoder_cli.help.documented import CI, Named, rows_of

_NAMED = 3  # commands that a title names


class OutputKind(NamedTuple):
    """A kind of output, a row of the table."""

    about: str
    commands: tuple[str, ...] = ()
    one: str = ""
    each: str = ""
    keys: str = ""

    @property
    def title(self) -> str:
        """What it is, in help and as the title of its schema."""
        if not self.commands:
            return f"JSON on standard error: {self.about}"
        more = ", …" if len(self.commands) > _NAMED else ""
        return f"JSON of {', '.join(f'`{words}`' for words in self.commands[:_NAMED])}{more}: {self.about}"


OUTPUTS = {
    name: OutputKind(about, tuple(filter(None, commands.split(", "))), *types)
    for name, about, commands, *types in rows_of("outputs.tsv")
}


def kinds() -> list[str]:
    """Return what `qoder schema` knows: the kinds that are in files, and `output`."""
    from qoder_cli.nouns.table import in_files

    return [*in_files(), "output"]


def shape(name: str) -> Any:
    """Return a type that is named as `module:type`, within this package."""
    module, _, variable = name.partition(":")
    return getattr(import_module(f"qoder_cli.{module}"), variable)


def shapes(names: Iterable[str], *, in_lines: bool = False) -> Any:
    """Return the type of what may be printed; `in_lines` of a line of JSON lines."""
    hints = []
    for output in (OUTPUTS[name] for name in names):
        if output.one:
            hints.append(shape(output.one))
        if output.each:
            # The type is read from the table while this runs, so mypy cannot see that it is one.
            hints.append(shape(output.each) if in_lines else list[shape(output.each)])  # type: ignore[misc]  # a type that a table names
    return reduce(or_, hints)


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of an output."""
    return {"$schema": DIALECT, "title": OUTPUTS[name].title, **schema_of(shapes([name]))}


def keys() -> dict[str, tuple[Named, ...]]:
    """Return the keys of each output, and what they are for."""
    named_keys = {name: keys_in(output.keys or output.one or output.each) for name, output in OUTPUTS.items()}
    error, item = keys_in("base.errors:ErrorData"), keys_in("output.results:NotFoundItem")
    return {**named_keys, "error": error, "item": item, "ci": CI}


def keys_in(name: str) -> tuple[Named, ...]:
    """Return the keys of a type; those in a row that are for the same stand together."""
    by_use = groupby((key for key in keys_of(shape(name)) if key.about), key=lambda key: key.about)
    return tuple(Named(tuple(key.name for key in those), about) for about, those in by_use)
