"""Holds every JSON document that a command prints against the schema that `qoder schema output` prints of it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator, ValidationError, ValidationErrorKind

from qoder_cli.base.errors import Exit
from qoder_cli.base.model import Run, RunData
from qoder_cli.base.shapes import schema_of
from qoder_cli.cli.main import Command
from qoder_cli.help import outputs
from qoder_cli.output.screen import format_typed
from tests.support.typed import Ran

SILENT = (Exit.OK, Exit.CLOSED_PIPE)
# What prints a response as it came, a schema, or what runs inside; and the option with which it is ours.
NOT_OURS = {"api": "--list", "schema": "--check", "sandbox": ""}
DRY_RUNS = ("dry_run", "apply")  # with --dry-run a command prints these, and nothing else
_COMMAND = "the words of the command that an app runs"


def _noted(invoke: Any) -> Any:
    def noted(self: Command, ctx: Any) -> Any:
        vars(ctx.obj)[_COMMAND] = ctx.command_path.partition(" ")[2]
        return invoke(self, ctx)

    return noted


_undeclared: set[str] = set()


def noting(as_json: Any) -> Any:
    """Return `Run.as_json`, which notes fields that neither the server sent nor a type declares.

    The schema of a run, which has all that was sent, has room for these, too.
    """

    def noted(run: Run) -> dict[str, Any]:
        data: dict[str, Any] = as_json(run)
        _undeclared.update(data.keys() - run.raw.keys() - RunData.__annotations__.keys() - {"turn"})
        return data

    return noted


Command.invoke = _noted(Command.invoke)  # type: ignore[method-assign]  # watches each command
Run.as_json = noting(Run.as_json)  # type: ignore[method-assign]


@cache
def _validator(names: tuple[str, ...], in_lines: bool) -> Draft202012Validator:
    return Draft202012Validator(schema_of(outputs.shapes(names, in_lines=in_lines)))


def outputs_of(command: str) -> list[str]:
    """Return the names of what a command may print, by its words."""
    named = [name for name, output in outputs.OUTPUTS.items() if command in output.commands]
    if named:
        return named
    return [
        name
        for name, output in outputs.OUTPUTS.items()
        if any(fnmatchcase(command, pattern) for pattern in output.commands)
    ]


def check(ran: Ran, words: Sequence[str]) -> None:
    """Assert that what a command line printed is as its schemas say."""
    undeclared = sorted(_undeclared)
    _undeclared.clear()
    assert undeclared == [], f"the JSON of a run has fields that are not declared: {undeclared}"
    format = format_typed(words)
    if format not in ("json", "jsonl"):
        return
    code, out = ran.code, ran.out
    command = vars(ran.app).get(_COMMAND)
    is_silent = code in SILENT or (command == "diff" and code == Exit.NOT_YET)
    if not is_silent and ran.err:
        _hold(json.loads(ran.err.splitlines()[-1]), ("error",), "the error of", in_lines=False)
    is_ours = command not in NOT_OURS or NOT_OURS[command] in words
    if command is None or not is_ours:
        return
    names = tuple(outputs_of(command))
    of_dry_runs = tuple(name for name in names if name in DRY_RUNS)
    if of_dry_runs and len(of_dry_runs) < len(names):
        names = of_dry_runs if "--dry-run" in words else tuple(name for name in names if name not in DRY_RUNS)
    assert names or not out, f"no output is declared for `{command}`, which printed {out[:200]!r}"
    for value in _values(out, code, in_lines=format == "jsonl"):
        _hold(value, names, command, in_lines=format == "jsonl")


def _values(out: str, code: int, *, in_lines: bool) -> list[Any]:
    """Return the documents, but for one that was cut short by what the exit code says."""
    found = []
    for text in out.splitlines() if in_lines else filter(None, [out]):
        try:
            found.append(json.loads(text))
        except ValueError:
            assert code not in SILENT[:1], f"this is no JSON: {text[:200]!r}"
    return found


def _hold(value: Any, names: tuple[str, ...], command: str, *, in_lines: bool) -> None:
    validator = _validator(names, in_lines)
    if not validator.is_valid(value):
        reasons = [
            f"{error.instance_path}: {error.message[:300]}" for error in _innermost(validator.iter_errors(value))
        ]
        raise AssertionError(f"`{command}` prints what `qoder schema output` does not: {reasons}")


def _innermost(errors: Iterable[ValidationError]) -> Iterator[ValidationError]:
    """Yield what is wrong with each branch of a choice in place of "none fits"."""
    for error in errors:
        if isinstance(error.kind, ValidationErrorKind.AnyOf):
            for branch in error.kind.context:
                yield from _innermost(branch)
        else:
            yield error
