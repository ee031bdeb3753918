"""A command line that is not understood, in words: what is wrong, and what may have been meant. Nothing is guessed."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from qoder_cli.base.errors import UsageError
from qoder_cli.base.near import nearest
from qoder_cli.help.contents import VERBS_UNDERSTOOD
from qoder_cli.help.suggestions.hints import COMMANDS, NO_TOKEN, OPTIONS, TOKEN_OPTIONS
from qoder_cli.http.redact import by_shape

# Commands that take something away, cannot be undone or change what is saved: never suggested for another word.
DESTRUCTIVE = frozenset({"archive", "cancel", "delete", "logout", "pause", "set", "unset"})
SHORTEST_TOKEN = 4  # characters; what is shorter is part of too many words to be taken out of them


def meant(context: Any, typed: str, names: Sequence[str]) -> str:
    """Return the hint for a word that is none of the commands of a group, whose names are given."""
    path = context.command_path
    _, _, noun = path.partition(" ")
    if hint := COMMANDS.get(f"{noun} {typed}") or COMMANDS.get(typed):
        return hint
    near = nearest(typed, names)
    if near and near[0] not in DESTRUCTIVE:
        return f"did you mean '{path} {near[0]}'?"
    return _elsewhere(context, typed) or f"{path} --help lists them"


def _elsewhere(context: Any, typed: str) -> str | None:
    """Return where a command stands that was typed in the wrong place, or what starts a run; None for other words."""
    root = context.find_root()
    verb = VERBS_UNDERSTOOD.get(typed, typed)
    below = [f"'{root.info_name} {noun} {verb}'" for noun in _nouns_with(root, verb)]
    if below:
        return f"did you mean {' or '.join(below)}?"
    if context.command_path.endswith(" run"):
        return "`qoder deploy run DEPLOYMENT` starts a run; qoder run --help lists what can be done with one"
    return None


def _nouns_with(root: Any, verb: str) -> list[str]:
    tree = root.command
    groups = {noun: tree.get_command(root, noun) for noun in tree.list_commands(root)}
    return [
        noun for noun, group in groups.items() if hasattr(group, "list_commands") and verb in group.list_commands(root)
    ]


def explained(mistake: Any, words: Sequence[str]) -> UsageError:
    """Return the error for a mistake in a command line: typer's, or ours. A token that was typed is not repeated."""
    error = mistake if isinstance(mistake, UsageError) else _in_our_words(mistake, words)
    if any(word.partition("=")[0] in TOKEN_OPTIONS for word in words):
        error.hint = NO_TOKEN
    tokens = [token for token in _typed_tokens(words) if len(token) >= SHORTEST_TOKEN]
    return UsageError(_without(tokens, error.message), hint=_without(tokens, error.hint or "") or None)


def _typed_tokens(words: Sequence[str]) -> list[str]:
    """Return what was typed as a token on a command line, wherever it stands."""
    attached = [value for word in words for name, _, value in [word.partition("=")] if name in TOKEN_OPTIONS]
    return attached + [value for word, value in pairwise(words) if word in TOKEN_OPTIONS]


def _without(tokens: Sequence[str], text: str) -> str:
    for token in ("", *tokens):
        text = by_shape(text, token)
    return text


def _in_our_words(mistake: Any, words: Sequence[str]) -> UsageError:
    """Return what typer says of a mistake, which its `str` leaves out."""
    context = mistake.ctx
    path = context.command_path
    help = f"{path} --help shows what it takes"
    param, option = getattr(mistake, "param", None), getattr(mistake, "option_name", None)
    message = str(mistake.format_message()).rstrip(".")
    if option and hasattr(mistake, "possibilities"):
        return UsageError(f"{path} has no option {option}", hint=_near_option(context, option) or help)
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


def _near_option(context: Any, typed: str) -> str | None:
    """Return what may have been meant by an option, and where to look; None where that is not known."""
    help = f"{context.command_path} --help shows what it takes"
    if typed in OPTIONS:
        return f"{OPTIONS[typed]}; {help}"
    names = {name.strip("-"): shown for name, shown in _options(context).items()}
    near = nearest(typed.strip("-"), names)
    return f"did you mean {names[near[0]]}? {help}" if near else None


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
    return [param for param in context.command.params if param.param_type_name == kind]
