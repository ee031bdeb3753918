"""Whether a command line would be taken by the command it names, as far as that can be known without running it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import typer

from qoder_cli import ids
from qoder_cli.completion.grammar import taken_by
from qoder_cli.documented import TOPICS
from qoder_cli.errors import UsageError
from qoder_cli.reference import context_of
from qoder_cli.times import parse_duration
from qoder_cli.values import read_base_url
from qoder_cli.when import parse_when


def fits(words: Sequence[str], tree: Any) -> bool:
    """Return whether the tree takes a line: its words and options, their values, and all that must be there."""
    try:
        return _is_taken(list(words), tree)
    except Exception:  # typer's and ours have nothing in common
        return False


def _is_taken(rest: list[str], tree: Any) -> bool:
    root = context = typer.Context(tree, info_name="qoder", **tree.context_settings)
    path: tuple[str, ...] = ()
    while True:
        command = context.command
        given, rest, _ = command.make_parser(context).parse_args(rest)
        for param in command.get_params(context):
            _check(param, given.get(str(param.name)), context, path)
        if path == ("help",):
            _check_topic([*filter(None, [given.get("topic")]), *(given.get("verb") or [])], root)
        if not rest or not hasattr(command, "resolve_command"):
            return not rest
        name, command, rest = command.resolve_command(context, rest)
        context = typer.Context(command, info_name=name, parent=context, **command.context_settings)
        path = (*path, name)


def _check(param: Any, given: Any, context: Any, path: tuple[str, ...]) -> None:
    """Raise what typer raises of a value, or UsageError."""
    if param.value_is_missing(param.type_cast_value(context, given)) and param.required:
        raise UsageError(f"{param.name} is missing")
    takes = taken_by(param, path)
    for text in given if isinstance(given, list | tuple) else [given]:
        if not isinstance(text, str) or (text == "-" and param.nargs == -1):
            continue
        if takes.words and takes.name != "TOPIC" and not _spellings(text) & {*takes.words}:
            raise UsageError(f"{text} is none of {takes.words}")
        _READERS.get(takes.name, str)(text)


def _spellings(text: str) -> set[str]:
    """Return a word with others for it: a method in capitals, a key of the config file without its profile."""
    return {text, text.upper(), text.rpartition(".")[2]}


def _check_topic(words: list[str], root: Any) -> None:
    if len(words) != 1 or words[0] not in TOPICS:
        context_of(root, words)


def _a_deployment(text: str) -> str:
    if text == "-":
        raise UsageError("standard input names several")
    return ids.deployment(text)


# What reads a value that is not one of fixed words, by its metavar.
_READERS: dict[str, Callable[[str], object]] = {
    "D": partial(parse_duration, option=""),
    "DEPLOYMENT": _a_deployment,
    "RUN": ids.run,
    "URL": partial(read_base_url, source=""),
    "WHEN": lambda text: parse_when(text, option="", now=datetime.now(UTC)),
}
