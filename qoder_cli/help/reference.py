"""The whole reference as data: commands, and what `documented` has."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Annotated, Any, TypedDict

import typer

from qoder_cli import __version__
from qoder_cli.base.errors import RANKING, UsageError
from qoder_cli.help import documented, outputs
from qoder_cli.help.completion.values import words_of
from qoder_cli.nouns.table import NOUNS


class NamedData(TypedDict):
    """A variable, format or JSON key."""

    names: Annotated[list[str], "its names, usually one"]
    meaning: Annotated[str, "what it means"]


class ExitCodeData(TypedDict):
    """An exit code."""

    code: Annotated[int, "the number"]
    name: Annotated[str, "its name, as `type` of an error"]
    meaning: Annotated[str, "what happened"]
    then: Annotated[str, "what a script should do"]


class ArgumentData(TypedDict):
    """An argument of a command."""

    name: Annotated[str, "as usage has it"]
    required: Annotated[bool, "whether it is needed"]
    repeatable: Annotated[bool, "whether there may be several"]
    values: Annotated[list[str], "the words that it takes; empty where it may be any"]
    help: Annotated[str | None, "what it is for"]


class OptionData(TypedDict):
    """An option of a command."""

    names: Annotated[list[str], "its names"]
    metavar: Annotated[str | None, "what its value is called; null for a flag"]
    required: Annotated[bool, "whether it is needed"]
    values: Annotated[list[str], "the words that it takes; empty where it may be any"]
    default: Annotated[str | int | float | None, "what it is where it is not given"]
    repeatable: Annotated[bool, "whether it may be given several times"]
    help: Annotated[str | None, "what it is for"]


class CommandData(TypedDict):
    """A command."""

    path: Annotated[list[str], "its words"]
    usage: Annotated[str, "its usage line"]
    summary: Annotated[str, "what it does, in a line"]
    text: Annotated[str, "its help"]
    examples: Annotated[list[str], "command lines"]
    arguments: Annotated[list[ArgumentData], "its arguments"]
    options: Annotated[list[OptionData], "its own options"]


class Commands(TypedDict, total=False):
    """Commands."""

    commands: Annotated[list[CommandData], "the commands"]
    everywhere: Annotated[list[OptionData], "the global options"]


class CommandReference(Commands, total=False):
    """The reference of all commands, or the part that was asked for."""

    program: Annotated[str, "qoder"]
    version: Annotated[str, "its version"]
    exit_codes: Annotated[list[ExitCodeData], "the exit codes"]
    exit_codes_of_several: Annotated[list[int], "the first that applies is the exit code of several runs"]
    environment: Annotated[list[NamedData], "the variables that are read"]
    formats: Annotated[list[NamedData], "what -o takes"]
    keys: Annotated[dict[str, list[NamedData]], "the keys of each output"]
    columns: Annotated[dict[str, list[str]], "the columns of piped tables"]
    fields: Annotated[dict[str, list[str]], "the line names of one thing in a pipe"]


def everything(root: Any) -> CommandReference:
    """Return the whole reference, from the root of the tree."""
    return {
        "program": "qoder",
        "version": __version__,
        **commands(root),
        "exit_codes": [
            {"code": code.value, "name": code.name.lower(), "meaning": meaning, "then": documented.THEN[code]}
            for code, meaning in documented.MEANING.items()
        ],
        "exit_codes_of_several": list(RANKING),
        "environment": _plain(documented.VARIABLES),
        "formats": _plain(documented.FORMATS),
        "keys": {of: _plain(those) for of, those in outputs.keys().items()},
        "columns": columns(),
        "fields": fields(),
    }


def _plain(those: Iterable[documented.Named]) -> list[NamedData]:
    return [{"names": list(documented_name.names), "meaning": documented_name.meaning} for documented_name in those]


def commands(root: Any, under: Sequence[str] = ()) -> Commands:
    """Return the commands below some words, and the global options."""
    leaves = list(_leaves(context_of(root, under)))
    everywhere = [param for param in root.command.params if param in leaves[0].command.params]
    return {
        "commands": [_command(leaf, everywhere) for leaf in leaves],
        "everywhere": [_option(param) for param in everywhere if not param.hidden],
    }


def context_of(root: Any, words: Sequence[str]) -> Any:
    """Return a command's context, by its words. Raises UsageError."""
    context, left = root, list(words)
    while left:
        if not hasattr(context.command, "resolve_command"):
            why = f"{context.command_path} has no commands below it"
            raise UsageError(why, hint=f"see: {context.command_path} --help")
        name, command, left = context.command.resolve_command(context, left)
        context = typer.Context(command, info_name=name, parent=context)
    return context


def _leaves(context: Any) -> Iterator[Any]:
    command = context.command
    if not hasattr(command, "list_commands"):
        yield context
        return
    for name in command.list_commands(context):
        yield from _leaves(context_of(context, [name]))


def _command(context: Any, everywhere: Collection[Any]) -> CommandData:
    words = context.command_path.split()[1:]
    text = context.command.help or ""
    _, _, examples = text.partition("Examples:\n")
    own = [param for param in context.command.params if not param.hidden and param not in everywhere]
    needed: Sequence[str] = ()  # required by the command, not by typer
    if words[1:] == ["create"]:
        needed = NOUNS[words[0]].help.needed
    arguments: list[ArgumentData] = [
        {
            "name": param.metavar or param.name.upper(),
            "required": param.required,
            "repeatable": param.nargs == -1,
            "values": _words(param),
            "help": param.help,
        }
        for param in own
        if param.param_type_name == "argument"
    ]
    return {
        "path": words,
        "usage": " ".join(context.get_usage().removeprefix("Usage: ").split()),
        "summary": text.partition("\n")[0].rstrip("."),
        "text": text,
        "examples": [line.strip() for line in examples.partition("\n\n")[0].splitlines()],
        "arguments": arguments,
        "options": [_option(param, needed) for param in own if param.param_type_name == "option"],
    }


def _option(param: Any, needed: Collection[str] = ()) -> OptionData:
    names = sorted((*param.opts, *param.secondary_opts))  # those of --help come in no fixed order
    is_flag = param.is_flag or param.count
    words = [] if is_flag else _words(param)
    default = param.default
    if isinstance(default, bool) or not isinstance(default, str | int | float):
        default = None
    return {
        "names": names,
        "metavar": None if is_flag else param.metavar or "|".join(words),
        "required": param.required or bool({*names} & {*needed}),
        "values": words,
        "default": default,
        "repeatable": bool(param.multiple or param.count),
        "help": param.help,
    }


def _words(param: Any) -> list[str]:
    choices = [str(choice) for choice in getattr(param.type, "choices", ())]
    return choices or words_of(param.name)


def columns() -> dict[str, list[str]]:
    """Return the columns of piped tables in order, by what the rows are."""
    from qoder_cli.nouns.views import DEPLOYMENT_COLUMNS, RESOURCE_COLUMNS, RUN_COLUMNS
    from qoder_cli.sessions.asks import COLUMNS as PENDING_COLUMNS

    others = {words: noun.listing.columns for words, noun in NOUNS.items() if words not in ("run", "deploy")}
    others |= {"pending": PENDING_COLUMNS, "session files": RESOURCE_COLUMNS}
    others |= {f"{words} versions": noun.listing.numbered for words, noun in NOUNS.items() if noun.listing.numbered}
    ours = {"run": RUN_COLUMNS, "deployment": DEPLOYMENT_COLUMNS, "apply": documented.APPLY_COLUMNS}
    return {rows: [*names] for rows, names in {**ours, **others}.items()}


def fields() -> dict[str, list[str]]:
    """Return the line names of a piped run or deployment, in order."""
    from qoder_cli.base.model import Deployment, Run
    from qoder_cli.nouns.views import deployment_fields, run_fields

    return {
        "run": [*run_fields(Run({})), *documented.OUTCOME_FIELDS],
        "deployment": [*deployment_fields(Deployment({})), *documented.RECENT_FIELDS],
    }
