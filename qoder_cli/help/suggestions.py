"""What is wrong with a command line, and what may be meant."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import nearest
from qoder_cli.help import ALIKE, VERBS_UNDERSTOOD
from qoder_cli.http.redact import by_shape

# Habits from other tools, and hints. None names a command that takes something away.
_LOGIN = "to save a token: `qoder auth login`"
_RUNS = "to list runs: `qoder run list`"
_LOGS = "to read the log of a run: `qoder run logs RUN`; DEPLOYMENT@last is the latest run of a deployment"
_WATCH = "to follow a run to its end: `qoder run wait RUN --follow`"
_STOP = "to end a run or a schedule, see: `qoder run --help`, `qoder deploy --help`"
_REMOVE = "see what can be deleted: `qoder help commands`; a deployment can only be archived"
_START = "to start a run: `qoder deploy run DEPLOYMENT`"
_PREVIEW = "to preview the changes of a file: `qoder deploy apply -f FILE --dry-run`"
_JQ = "pipe JSON to jq: --json | jq FILTER"

# Unknown commands, alone or behind a noun where they mean something else.
COMMANDS: dict[str, str] = {
    "version": "to print the version: `qoder --version`",
    "configure": _LOGIN,
    **dict.fromkeys(("ps", "history"), _RUNS),
    **dict.fromkeys(("log", "tail", "events", "deploy logs"), _LOGS),
    **dict.fromkeys(("watch", "follow"), _WATCH),
    "output": "to print the final message of a run: `qoder run result RUN`",
    "status": "to see the status of a run: `qoder run get RUN`; of your token: `qoder auth status`",
    **dict.fromkeys(("stop", "kill"), _STOP),
    **dict.fromkeys(("rm", "remove", "deploy delete"), _REMOVE),
    **dict.fromkeys(("start", "trigger", "retry"), _START),
    **dict.fromkeys(("diff", "validate"), _PREVIEW),
    "edit": "to change a deployment: `qoder deploy update DEPLOYMENT`",
    "docs": "for the help topics: `qoder help`",
}

# Not understood either; what follows one is never repeated.
NO_TOKEN = (
    "tokens are not accepted on the command line, where others can read them: set QODER_PAT, or run `qoder auth login`"
)
TOKEN_OPTIONS = ("--token", "--pat", "--api-key", "--access-token", "--auth-token")

# Unknown options of any command.
OPTIONS: dict[str, str] = {
    **dict.fromkeys(("--jq", "--query"), _JQ),
    "--watch": "to follow a run: `qoder run wait RUN --follow`, or start it with --follow",
    **dict.fromkeys(("-d", "--detach"), "drop it: qoder does not wait unless --wait is given"),
    **dict.fromkeys(("-L", "--max"), "to limit the rows, use -n"),
    **dict.fromkeys(("-v", "--verbose"), "for logs of requests and responses, use --debug"),
    "-V": "to print the version: `qoder --version`",
    **dict.fromkeys(("--input", "--prompt"), "drop it: runs take no input; the prompt is part of the deployment"),
    "--state": "did you mean --status?",
    "--failed": "to list failed runs: `qoder run list --status failed`",
}

# Unknown values, and what was meant.
VALUES: dict[str, str] = {
    **dict.fromkeys(("success", "succeeded", "successful", "done", "ok"), "completed"),
    **dict.fromkeys(("error", "failure"), "failed"),
    **dict.fromkeys(("in_progress", "going"), "running"),
    "queued": "pending",
}

# What takes something away, cannot be undone or lets an agent act: never suggested.
DESTRUCTIVE = frozenset(
    (
        *("answer", "approve", "archive", "cancel", "delete", "deny", "free", "logout", "pause"),
        *("put", "redact", "remove", "send", "set", "stop", "unset", "upload", "write"),
    )
)
SHORTEST_TOKEN = 4  # characters; what is shorter is part of too many words


def meant(context: Any, typed: str, names: Sequence[str]) -> str:
    """Return a hint for an unknown word in a group with these `names`."""
    path = context.command_path
    _, _, noun = path.partition(" ")
    if hint := COMMANDS.get(f"{noun} {typed}") or COMMANDS.get(typed):
        return hint
    near = nearest(typed, names)
    if near and near[0] not in DESTRUCTIVE:
        return f"did you mean '{path} {near[0]}'?"
    root = context.find_root()
    verb = VERBS_UNDERSTOOD.get(typed, typed)
    nouns = [name for name in root.command.list_commands(root) if name not in ALIKE]
    groups = {name: root.command.get_command(root, name) for name in nouns}
    elsewhere = [
        f"'{root.info_name} {name} {verb}'"
        for name, group in groups.items()
        if hasattr(group, "list_commands") and verb in group.list_commands(root)
    ]
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere)}?"
    if noun in ("run", "deploy"):
        return f"to start a run: `qoder deploy run DEPLOYMENT`; for a list of commands: {path} --help"
    return f"for a list of commands: {path} --help"


def explained(mistake: Any, words: Sequence[str]) -> UsageError:
    """Return the error for a mistake, without any typed tokens."""
    error = mistake if isinstance(mistake, UsageError) else _in_our_words(mistake, words)
    hint = error.hint
    if any(word.partition("=")[0] in TOKEN_OPTIONS for word in words):
        hint = NO_TOKEN
    tokens = [word.partition("=")[2] for word in words if word.partition("=")[0] in TOKEN_OPTIONS]
    tokens += [value for word, value in pairwise(words) if word in TOKEN_OPTIONS]
    message = error.message
    for token in ("", *(token for token in tokens if len(token) >= SHORTEST_TOKEN)):
        message, hint = by_shape(message, token), hint and by_shape(hint, token)
    return UsageError(message, hint=hint)


def _in_our_words(mistake: Any, words: Sequence[str]) -> UsageError:
    """Return typer's mistake as our error; its `str` leaves the message out."""
    path = mistake.ctx.command_path
    see = f"see: {path} --help"
    param, option = getattr(mistake, "param", None), getattr(mistake, "option_name", None)
    message = str(mistake.format_message()).rstrip(".")
    if option and hasattr(mistake, "possibilities"):
        options = [param for param in mistake.ctx.command.params if param.param_type_name == "option"]
        names = {name.strip("-"): name for param in options for name in (*param.opts, *param.secondary_opts)}
        hint = OPTIONS.get(option)
        if hint is None and (near := nearest(option.strip("-"), names)):
            hint = f"did you mean {names[near[0]]}?"
        return UsageError(f"{path} has no option {option}", hint=f"{hint} ({see})" if hint else see)
    if option and not message.endswith("argument"):
        return UsageError(f"{option} is a flag and takes no value", hint=f"drop the value; {see}")
    if option:
        return UsageError(f"{option} needs a value", hint=see)
    if param is not None:
        return _of_a_value(param, mistake, words, see)
    if not message.startswith("Got unexpected extra argument"):
        return UsageError(message, hint=see)
    params = mistake.ctx.command.params  # never repeat what was typed: it may be a token
    arguments = [each for each in params if each.param_type_name == "argument" and not each.hidden]
    takes = " ".join(each.metavar for each in arguments)
    return UsageError(f"{path} takes only {takes}" if takes else f"{path} takes no arguments", hint=see)


def _of_a_value(param: Any, mistake: Any, words: Sequence[str], see: str) -> UsageError:
    name = param.metavar or param.name.upper()
    kind = param.param_type_name
    if kind == "option":
        typed = (word.partition("=")[0] for word in words)
        name = next((word for word in typed if word in param.opts), max(param.opts, key=len))
    if hasattr(mistake, "param_type"):
        lists = {"RUN...": "qoder run list", "DEPLOYMENT...": "qoder deploy list", "DEPLOYMENT": "qoder deploy list"}
        hint = f"list them: {lists[name]}; {see}" if name in lists else see
        return UsageError(f"missing {kind} {name.removesuffix('...')}", hint=hint)
    value, _, why = mistake.message.partition(" is not ")
    if not why:
        return UsageError(f"{name}: {mistake.message}", hint=see)
    choices = [str(choice) for choice in getattr(param.type, "choices", ())]
    least, most = getattr(param.type, "min", None), getattr(param.type, "max", None)
    wanted = " or ".join(filter(None, (", ".join(choices[:-1]), *choices[-1:]))) or "a number"
    if most is not None:
        wanted = f"a number from {least} to {most}"
    elif least is not None:
        wanted = f"a number of at least {least}"
    plain = value.strip("'").lower()
    near = [each for each in (plain, VALUES.get(plain)) if each in choices] or nearest(plain, choices)
    hint = f"did you mean {near[0]}? ({see})" if near else see
    if plain == "archived" and "paused" in choices:
        hint = "to include archived deployments: --include-archived"
    if plain == "all" and param.name == "limit":
        hint = f"to show all: --all ({see})"
    return UsageError(f"{name} takes {wanted}, not {value}", hint=hint)
