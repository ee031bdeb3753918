"""All that is told of the program, as data: the commands from their tree, and the rest from `documented`."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import typer

from qoder_cli import __version__, documented
from qoder_cli.completion.grammar import Level, Option, read
from qoder_cli.errors import RANKING, Exit, UsageError

JSON = dict[str, Any]


def everything(root: Any) -> JSON:
    """Return the whole reference, from the root of the command tree."""
    return {
        "program": "qoder",
        "version": __version__,
        **commands(root),
        **exit_codes(),
        **environment(),
        **output(),
    }


def commands(root: Any, under: Sequence[str] = ()) -> JSON:
    """Return the commands that begin with some words, and the options that work with all of them."""
    grammar = read(root.command)
    levels = [level for level in grammar.levels if level.words[: len(under)] == tuple(under) and not level.commands]
    return {
        "commands": [_command(context_of(root, level.words), level) for level in levels],
        "everywhere": _options(grammar.shared, root.command),
    }


def context_of(root: Any, words: Sequence[str]) -> Any:
    """Return the context of a command by its words. Raises UsageError with the nearest names when there is none."""
    context = root
    for word in words:
        if not hasattr(context.command, "resolve_command"):
            raise UsageError(
                f"{context.command_path} is a command, and has none below it",
                hint=f"{context.command_path} --help shows what it takes",
            )
        name, command, _ = context.command.resolve_command(context, [word])
        context = typer.Context(command, info_name=name, parent=context)
    return context


def _command(context: Any, level: Level) -> JSON:
    text = context.command.help or ""
    _, _, examples = text.partition("Examples:\n")
    return {
        "path": list(level.words),
        "usage": " ".join(context.get_usage().removeprefix("Usage: ").split()),
        "summary": text.partition("\n")[0].rstrip("."),
        "text": text,
        "examples": [line.strip() for line in examples.partition("\n\n")[0].splitlines()],
        "arguments": _arguments(level, context.command),
        "options": _options(level.options, context.command, _needed(level)),
    }


def _arguments(level: Level, command: Any) -> list[JSON]:
    params = [param for param in command.params if param.param_type_name == "argument" and not param.hidden]
    return [
        {
            "name": param.metavar or argument.value.name,
            "required": param.required,
            "repeatable": argument.repeatable,
            "values": list(argument.value.words),
            "help": param.help,
        }
        for argument, param in zip(level.arguments, params, strict=True)
    ]


def _options(options: Iterable[Option], command: Any, required: Collection[str] = ()) -> list[JSON]:
    params = {name: param for param in command.params for name in param.opts}
    return [
        {
            "names": list(option.names),
            "metavar": option.value and (params[_any(option, params)].metavar or "|".join(option.value.words)),
            "required": params[_any(option, params)].required or bool({*option.names} & {*required}),
            "values": list(option.value.words) if option.value else [],
            "default": _default(params[_any(option, params)].default),
            "repeatable": option.repeatable,
            "help": params[_any(option, params)].help,
        }
        for option in options
    ]


def _needed(level: Level) -> list[str]:
    """Return the options without which a command refuses, though typer would not."""
    if level.words != ("deploy", "create"):
        return []
    from qoder_cli.deployfile.normal import REQUIRED
    from qoder_cli.deployments.typed import OPTIONS

    return [OPTIONS[field] for field in REQUIRED]


def _any(option: Option, params: JSON) -> str:
    return next(name for name in option.names if name in params)


def _default(value: object) -> str | int | float | None:
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def exit_codes() -> JSON:
    """Return the exit codes, and in which order those of several runs count."""
    codes = [
        {"code": code.value, "name": code.name.lower(), "meaning": code.meaning, "then": documented.THEN[code]}
        for code in Exit
    ]
    return {"exit_codes": codes, "exit_codes_of_several": [code.value for code in RANKING]}


def environment() -> JSON:
    """Return the variables that are read."""
    return {"environment": _named(documented.VARIABLES)}


def output() -> JSON:
    """Return the formats, the keys of JSON, and in a pipe the columns of a table and the fields of one thing."""
    return {
        "formats": _named(documented.FORMATS),
        "keys": {of: _named(those) for of, those in KEYS.items()},
        "columns": columns(),
        "fields": fields(),
    }


# The keys of JSON by what has them. Those of a deployment are the server's; `item` and `apply` say what is added.
KEYS = {
    "run": documented.RUN_KEYS,
    "item": documented.ITEM_KEYS,
    "error": documented.ERROR_KEYS,
    "ci": documented.CI_KEYS,
    "apply": documented.APPLY_KEYS,
    "dry_run": documented.DRY_RUN_KEYS,
    "auth_status": documented.AUTH_STATUS_KEYS,
    "config_list": documented.CONFIG_KEYS,
    "doctor": documented.FINDING_KEYS,
    "api_list": documented.OPERATION_KEYS,
    "event": documented.EVENT_KEYS,
}


def columns() -> dict[str, list[str]]:
    """Return the columns of a table in a pipe, in order, by what its rows are."""
    from qoder_cli.output.views import DEPLOYMENT_COLUMNS, RUN_COLUMNS

    return {
        "run": list(RUN_COLUMNS),
        "deployment": list(DEPLOYMENT_COLUMNS),
        "apply": list(documented.APPLY_COLUMNS),
    }


def fields() -> dict[str, list[str]]:
    """Return the names of the lines that one run or deployment is in a pipe, in order; absent ones are left out."""
    from qoder_cli.model import Deployment, Run
    from qoder_cli.output.views import deployment_fields, run_fields

    return {
        "run": [*run_fields(Run({})), *documented.OUTCOME_FIELDS],
        "deployment": [*deployment_fields(Deployment({})), *documented.RECENT_FIELDS],
    }


def _named(those: Iterable[documented.Named]) -> list[JSON]:
    return [{"names": list(each.names), "meaning": each.meaning} for each in those]
