"""A command line that is not understood, in words: what is wrong, and the line that was meant where that is sure."""

from collections.abc import Sequence
from typing import Any

from qoder_cli.errors import UsageError
from qoder_cli.http.redact import by_shape
from qoder_cli.mistakes.correct import command_typed, correct
from qoder_cli.mistakes.near import nearest
from qoder_cli.mistakes.tables import typed_tokens

SHORTEST_TOKEN = 4  # characters; what is shorter is part of too many words to be taken out of them


def explained(mistake: Exception, words: Sequence[str], tree: Any, program: str) -> UsageError:
    """Return the error for a mistake in a command line: typer's, or ours of a command that there is none of.

    A token that was typed is not repeated.
    """
    where = command_typed(words, tree, program)
    error = mistake if isinstance(mistake, UsageError) else _in_our_words(mistake, where, words)
    tokens = [token for token in typed_tokens(words) if len(token) >= SHORTEST_TOKEN]
    if meant := correct(words, tree, program):
        error.hint = meant.because
        secret = any(_without(tokens, word) != word for word in meant.words or ())
        error.next = None if secret else meant.words
    error.message = _without(tokens, error.message)
    error.hint = _without(tokens, error.hint or "") or None
    return error


def _without(tokens: Sequence[str], text: str) -> str:
    for token in ("", *tokens):
        text = by_shape(text, token)
    return text


def _in_our_words(mistake: Any, where: str, words: Sequence[str]) -> UsageError:
    """Return what typer says of a mistake, which its `str` leaves out; `where` is the command, if it does not know."""
    context = getattr(mistake, "ctx", None)
    path = context.command_path if context else where
    help = f"{path} --help shows what it takes"
    param, option = getattr(mistake, "param", None), getattr(mistake, "option_name", None)
    message = str(mistake.format_message()).rstrip(".")
    if option and hasattr(mistake, "possibilities"):
        near = nearest(option, names := _options(context))
        return UsageError(
            f"{path} has no option {option}", hint=f"did you mean {names[near]}? {help}" if near else help
        )
    if option:
        takes = "needs a value" if message.endswith("argument") else "takes no value"
        return UsageError(f"{option} {takes}", hint=help)
    if param is not None:
        return UsageError(_of_a_value(param, mistake, words), hint=help)
    if message.startswith("Got unexpected extra argument"):  # which is not repeated: it may be a token
        arguments = [param for param in _params(context, "argument") if not param.hidden]
        takes = " ".join(param.metavar or param.name.upper() for param in arguments)
        message = f"{path} takes only {takes}" if takes else f"{path} takes no arguments"
        help = _of_files(context) or help
    return UsageError(message, hint=help)


def _of_a_value(param: Any, mistake: Any, words: Sequence[str]) -> str:
    """Return what is wrong with the value of a parameter, by the name that was typed, or that it is missing."""
    name = param.metavar or param.name.upper()
    if param.param_type_name == "option":
        typed = (word.partition("=")[0] for word in words)
        name = next((word for word in typed if word in param.opts and word.startswith("--")), max(param.opts, key=len))
    value, _, why = mistake.message.partition(" is not ")
    if hasattr(mistake, "param_type"):
        return f"{name} is missing"
    return f"{name} takes {_wanted(param.type)}, not {value}" if why else f"{name}: {mistake.message}"


def _wanted(kind: Any) -> str:
    """Return what values of a type of typer's there are, in words."""
    if choices := [str(choice) for choice in getattr(kind, "choices", ())]:
        return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
    least, most = getattr(kind, "min", None), getattr(kind, "max", None)
    if least is None:
        return "a number"
    return f"a number from {least} to {most}" if most is not None else f"a number of at least {least}"


def _of_files(context: Any) -> str | None:
    """Return what to do with several files, as a shell makes of a pattern, where an option takes one each time."""
    several = [param for param in _params(context, "option") if param.metavar == "FILE" and param.multiple]
    name = min(several[0].opts, key=len) if several else None
    return f"each file needs its own {name}; a folder's files are named at once by {name} FOLDER" if name else None


def _options(context: Any) -> dict[str, str]:
    """Return the names of the options that are understood, and for each the name that the help shows."""
    params = _params(context, "option")
    return {name: "-o" if param.hidden else name for param in params for name in (*param.opts, *param.secondary_opts)}


def _params(context: Any, kind: str) -> list[Any]:
    return [param for param in context.command.params if param.param_type_name == kind] if context else []
