"""A command line that is not understood, in words: what is wrong, and the line that was meant where that is sure."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from qoder_cli.completion import read
from qoder_cli.errors import UsageError
from qoder_cli.http.redact import by_shape
from qoder_cli.mistakes.correct import correct
from qoder_cli.mistakes.tables import typed_tokens

SHORTEST_TOKEN = 4  # characters; what is shorter is part of too many words to be taken out of them


def explained(mistake: Exception, words: Sequence[str], tree: Any, program: str) -> UsageError:
    """Return the error for a mistake in a command line: typer's, or ours of a command that there is none of.

    A token that was typed is not repeated.
    """
    error = mistake if isinstance(mistake, UsageError) else _in_our_words(mistake, program)
    tokens = [token for token in typed_tokens(words) if len(token) >= SHORTEST_TOKEN]
    if meant := correct(words, read(tree), program):
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


def _in_our_words(mistake: Any, program: str) -> UsageError:
    """Return what typer says of a mistake, which its `str` leaves out."""
    context = getattr(mistake, "ctx", None)
    path = context.command_path if context else program
    where = f"{path} --help shows what it takes"
    if (option := getattr(mistake, "option_name", None)) and hasattr(mistake, "possibilities"):
        near = get_close_matches(option, names := _options(context), n=1)
        hint = f"did you mean {names[near[0]]}? {where}" if near else where
        return UsageError(f"{path} has no option {option}", hint=hint)
    message = str(getattr(mistake, "format_message", mistake.__str__)()).rstrip(".")
    if message.startswith("Got unexpected extra argument"):  # which is not repeated: it may be a token
        arguments = [param for param in _params(context, "argument") if not param.hidden]
        takes = " ".join(param.metavar or param.name.upper() for param in arguments)
        message = f"{path} takes only {takes}" if takes else f"{path} takes no arguments"
        where = _of_files(context) or where
    return UsageError(message, hint=where)


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
