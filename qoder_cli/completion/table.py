"""Commands, options and arguments as a table of plain words, for the shells that read one: bash and PowerShell."""

from collections.abc import Iterable

from qoder_cli.completion.grammar import Level, Option, Value


def _value(value: Value) -> str:
    return "|".join(value.words) or f"<{value.name.lower()}>"


def options(those: Iterable[Option]) -> str:
    """Return the names of options, with = and what each takes."""
    return " ".join(
        name if option.value is None else f"{name}={_value(option.value)}" for option in those for name in option.names
    )


def arguments(level: Level) -> str:
    """Return what the arguments of a level take, in order; ... behind one that is repeated."""
    return " ".join(_value(each.value) + "..." * each.repeatable for each in level.arguments)
