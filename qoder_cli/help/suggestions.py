"""What is wrong with a command line, and what may be meant."""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import LAST, a, deployment_of, nearest
from qoder_cli.base.kinds import KINDS_OF_NOUNS
from qoder_cli.help import ALIKE, NOUNS_UNDERSTOOD, VERBS_UNDERSTOOD
from qoder_cli.http.redact import by_shape

# Habits from other tools, and hints. None names a command that takes something away.
_LOGIN = "to save a token: `qoder auth login`"
_RUNS = "to list runs: `qoder run list`"
_LOGS = "to read the log of a run: `qoder run logs RUN`; DEPLOYMENT@last is the latest run of a deployment"
_FOLLOW = "to follow a run to its end: `qoder run wait RUN --follow`; DEPLOYMENT@last is the latest of a deployment"
_START = "to start a run: `qoder deploy run DEPLOYMENT`"
_RETRY = "to start a failed run once more: `qoder run retry RUN`; DEPLOYMENT@last is the latest run of a deployment"
_GET = "to show a run: `qoder run get RUN`"
_PREVIEW = "to preview the changes of files: `qoder diff FILE`; of a whole folder: `qoder diff`"
_PUT = "to store a secret: `qoder vault put VAULT NAME`"
_PROFILES = "to list profiles: `qoder config list`"
_SWITCH = "to choose a profile: `qoder auth switch PROFILE`, or --profile"
_SECRETS = "to list the secrets of a vault: `qoder vault credential list VAULT`"
_DEPLOYMENT = "to list agents with a task or a schedule: `qoder deploy list`"
_MOVE = "to move a deployment to another version of its agent: `qoder deploy update DEPLOYMENT --agent AGENT@VERSION`"
_DELIVERED = "to download what the agent delivered: `qoder run result RUN --output-dir DIR`"
_PENDING = "to list the calls that wait for you: `qoder run pending`"
_USAGE = "to add up what runs used: `qoder usage`"
_LOG_COMMAND = "to read the log of a run: `qoder run logs RUN`"
_NO_INPUT = "drop it: runs take no input; the prompt is part of the deployment"
_FIRST = "the noun comes first: qoder NOUN VERB; for a list of commands: `qoder help commands`"
_JQ = "pipe JSON to jq: --json | jq FILTER"

# Words that say one thing in other tools. What is said is looked for within the noun that was typed, never in another.
START = ("start", "trigger", "launch", "invoke", "dispatch")
RETRY = ("retry", "rerun", "restart", "relaunch", "retrigger", "resubmit", "redo", "repeat", "replay", "again")
STOP = ("stop", "kill", "abort", "terminate", "end", "halt", "interrupt", "cancel")
DELETE = ("delete", "rm", "remove", "del", "destroy", "erase", "purge")
RESTORE = ("unarchive", "restore", "undelete", "recover")
OPEN = ("open", "browse", "web")
CHANGE = ("edit", "set", "modify", "patch", "change", "rename")
MAKE = ("create", "new", "add", "make")
LOG = ("log", "logs", "tail", "events")
FOLLOW = ("watch", "follow", "attach")
SHOW = ("info", "cat", "read", "status", "display", "print")

# Unknown commands, alone or behind a noun.
COMMANDS: dict[str, str] = {
    **dict.fromkeys(("configure", "config login"), _LOGIN),
    **dict.fromkeys(("ps", "history", "run ps", "run history"), _RUNS),
    **dict.fromkeys(("deploy runs", "deploy history"), "to list its runs: `qoder run list DEPLOYMENT`"),
    **dict.fromkeys((*LOG, *(f"deploy {word}" for word in LOG)), _LOGS),
    **dict.fromkeys((*FOLLOW, *(f"{noun} {word}" for noun in ("run", "deploy") for word in FOLLOW)), _FOLLOW),
    **dict.fromkeys(("output", "run output"), "to print the final message of a run: `qoder run result RUN`"),
    "status": "to see the status of a run: `qoder run get RUN`; of your token: `qoder auth status`",
    **dict.fromkeys(("deploy diff", "deploy validate", "plan"), _PREVIEW),
    "deploy apply": "to apply files of any kind: `qoder apply FILE`; a whole folder: `qoder apply`",
    "deploy export": "to make a file of a deployment: `qoder export DEPLOYMENT`",
    **dict.fromkeys(("vault set", "vault add", "vault rotate"), _PUT),
    **dict.fromkeys(("secret", "secrets", "vault secret", "vault secrets"), _SECRETS),
    **dict.fromkeys(("profile", "profiles", "auth list", "auth ls", "config get-contexts"), _PROFILES),
    **dict.fromkeys(("context", "config use-context", "config use", "auth use"), _SWITCH),
    "auth whoami": "to see which token is in use: `qoder auth status`",
    **dict.fromkeys(("job", "jobs", "workflow", "workflows", "cron", "schedule", "schedules"), _DEPLOYMENT),
    **dict.fromkeys(("rollout", "deploy rollback", "agent deploy", "agent rollout", "agent rollback"), _MOVE),
    "agent run": "to start a session with an agent: `qoder session new --agent AGENT`",
    **dict.fromkeys(("agent deployments", "agent deploys"), "to list them: `qoder deploy list --agent AGENT`"),
    "agent history": "to list its versions: `qoder agent versions AGENT`",
    **dict.fromkeys(("artifact", "artifacts", "cp", "run download", "run artifacts", "run files"), _DELIVERED),
    **dict.fromkeys(("approvals", "run approvals"), _PENDING),
    **dict.fromkeys(
        [f"deploy {word}" for word in ("enable", "disable", "suspend", "activate", "deactivate")],
        "to halt or resume a schedule, see: `qoder deploy --help`",
    ),
    **dict.fromkeys(("cost", "costs", "run cost", "billing", "spend", "credits"), _USAGE),
    **dict.fromkeys(("validate", "lint"), "to check files: `qoder schema --check FILE...`; to preview: `qoder diff`"),
    "explain": "to see what a file may hold: `qoder schema deploy`",
    "api-resources": "for a list of commands: `qoder help commands`",
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
    **dict.fromkeys(("-L", "--max"), "to limit the rows, use -n"),
    **dict.fromkeys(("-v", "--verbose"), "for logs of requests and responses, use --debug"),
    "-V": "to print the version: `qoder --version`",
    **dict.fromkeys(("--filter", "--selector", "-l"), "to choose rows, pipe JSON to jq: --json | jq FILTER"),
    "--sort-by": "to sort the rows of a list: --sort COLUMN",
    "--no-headers": "drop it: in a pipe a table has no header",
    **dict.fromkeys(("--log", "--log-failed"), _LOG_COMMAND),
    **dict.fromkeys(("--context", "--namespace"), "to choose a profile: --profile NAME"),
    "--failed": "to list failed runs: `qoder run list --status failed`",
}

# Options that are called otherwise here, where a command has the other: the first of those that it has is meant.
SAME: dict[str, tuple[str, ...]] = {
    "--state": ("--status",),
    **dict.fromkeys(("-n", "--lines", "--limit"), ("--tail",)),
    "--prompt": ("--message",),
    "--cron": ("--schedule",),
    "--search": ("--name",),
    "-w": ("--watch",),
    "--reason": ("--because",),
    "--key": ("--idempotency-key",),
    "--sync": ("--wait",),
    "--environment": ("--env",),
    "--env": ("--variable",),
    "--exit-code": ("--exit-status",),
    "--format": ("--output",),
}
# What other tools give to a start, to one secret, to a whole selection; and what an agent has here.
_INPUTS = ("--input", "--prompt", "-m", "--message", "-e", "--env", "-F", "--field")
_SECRET_OPTIONS = ("--value", "--body", "--secret")
_SELECTIONS = ("--all", "--agent", "--status")
_OF_AGENTS = ("--system", "--model", "--tools", "--skill", "--ask")
_LOOKS = ("--dry-run", "--exit-status", "--exit-code", "--check")

# Unknown values, and what was meant.
VALUES: dict[str, str] = {
    **dict.fromkeys(("success", "succeeded", "successful", "done", "ok"), "completed"),
    **dict.fromkeys(("error", "failure"), "failed"),
    **dict.fromkeys(("in_progress", "going"), "running"),
    "queued": "pending",
    "name": "id",
}
_TEMPLATES = ("jsonpath", "go-template", "custom-columns", "{{")  # of -o in other tools

# What takes something away, cannot be undone or lets an agent act: suggested for nothing but itself.
DESTRUCTIVE = frozenset(
    (
        *("answer", "approve", "archive", "cancel", "delete", "deny", "free", "logout", "pause"),
        *("put", "redact", "remove", "restore", "send", "set", "stop", "unset", "upload", "write"),
    )
)
# Of `answer`, whose reply was typed behind this option once.
_NO_RESULT = "--result takes no value: it prints the agent's final message; nothing was sent"
_WITH = "pass what the tool returns as --with TEXT|@FILE|-"
# What else is not reading: suggested for a single slip only, that nobody makes who means something else.
CHANGING = frozenset(("apply", "chat", "create", "login", "new", "retry", "run", "token", "unpause", "update"))
_FURTHEST = 1  # letters that a slip adds or leaves out: `get` is no slip of `agent`
SHORTEST_TOKEN = 4  # characters; what is shorter is part of too many words


def meant(context: Any, words: Sequence[str], names: Sequence[str]) -> str:
    """Return a hint for a line whose first word is none of a group's `names`. What was typed is never repeated."""
    root, path = context.find_root(), context.command_path
    noun, typed = path.removeprefix(root.info_name).strip(), words[0]
    verb = VERBS_UNDERSTOOD.get(typed, typed)
    if typed.replace("-", "") in RETRY or (typed in START and any(map(_names_a_run, words[1:]))):
        verb = "retry"  # a run is meant, and no new start beside it
    if _names_a_run(typed) and noun in ("", "run", "deploy"):
        return _GET
    help = f"for a list of commands: {path} --help"
    if noun:
        if hint := _behind(noun, verb, names, path) or _near(typed, names, path):
            return hint
        if noun in ("run", "deploy") and all(word.startswith("-") for word in words[1:]):
            return f"{help}; to run a deployment, see: {root.info_name} deploy run --help"
        return help
    groups = {
        name: group.list_commands(root)
        for name in root.command.list_commands(root)
        if hasattr(group := root.command.get_command(root, name), "list_commands")
    }
    if owner := _noun_in(words[1:2]):  # as kubectl has it: the verb, then what it is done to
        verbs, named = groups.get(owner, ()), verb
        if verb == "get" and words[1].endswith("s"):
            named = "list"
        if words[2:3] and words[2] in verbs:  # a noun within it
            return f"the noun comes first; see: {path} {owner} {words[2]} --help"
        if named in verbs and (named == typed or named not in DESTRUCTIVE):  # `remove` is `delete` elsewhere only
            return f"the noun comes first: '{path} {owner} {named}'"
        if hint := _behind(owner, typed, verbs, f"{path} {owner}"):
            return hint
    if hint := COMMANDS.get(typed):
        return hint
    owners = [name for name, verbs in groups.items() if verb in verbs]
    if verb == "retry":
        return _RETRY
    if verb in START:
        return _START
    if verb in STOP:
        return "to end a run or a schedule, see: `qoder run --help`, `qoder deploy --help`"
    if len(owners) != 1 and verb in DESTRUCTIVE | CHANGING | {*DELETE, *CHANGE, *MAKE}:
        return _FIRST
    if owners:
        few = [f"'{path} {name} {verb}'" for name in owners if name not in ALIKE or len(owners) == 1]
        return f"did you mean {' or '.join(few)}?"
    return _near(typed, names, path) or help


def _noun_in(words: Sequence[str]) -> str | None:
    """Return the noun that a word is, in the plural or not, or whose id it is."""
    for word in words:
        for name, kind in KINDS_OF_NOUNS.items():
            if kind.about and kind.prefix and word.startswith(kind.prefix):
                return name
        understood = NOUNS_UNDERSTOOD.get(word, word)
        return understood if understood in KINDS_OF_NOUNS else None
    return None


def _names_a_run(word: str) -> bool:
    return word in LAST or deployment_of(word) != "" or word.startswith(KINDS_OF_NOUNS["run"].prefix)


def _behind(noun: str, verb: str, verbs: Collection[str], path: str) -> str | None:
    """Return what a verb means that a noun lacks, None if it means nothing there."""
    if hint := COMMANDS.get(f"{noun} {verb}"):
        return hint
    see = f"see: {path} --help"
    if noun in ("run", "deploy") and verb == "retry":
        return _RETRY
    if noun in ("run", "deploy") and (verb in START or not _is_word(verb)):
        return f"{_START}; for a list of commands: {path} --help"
    kind = KINDS_OF_NOUNS.get(noun)
    if kind is None:
        return None
    single, several, it = a(kind.called), re.sub("ys$", "ies", f"{kind.called}s"), noun.split()[-1].upper()
    if noun == "deploy":
        it = "DEPLOYMENT"
    if verb in DELETE:
        if "delete" in verbs or "remove" in verbs:
            return see
        if "archive" in verbs:
            return f"{several} can only be archived; {see}"
        return f"{several} cannot be deleted; {see}"
    if verb in STOP:
        return f"to end {single}, {see}"
    if verb in RESTORE and "archive" in verbs:
        return f"archiving cannot be undone; {see}"
    if verb in OPEN and "get" in verbs:
        return f"qoder opens no browser; to show {single}: `{path} get {it}`"
    if verb in CHANGE and "update" in verbs:
        with_name = " --name NAME" if verb == "rename" and noun != "session" else ""
        return f"to change {single}: `{path} update {it}{with_name}`"
    if verb in (*MAKE, "start", "launch") and (
        found := next((each for each in ("create", "new", "upload") if each in verbs), "")
    ):
        return f"did you mean '{path} {found}'?"
    if verb in LOG and "logs" in verbs:
        return f"did you mean '{path} logs'?"
    if verb in FOLLOW and "wait" in verbs:
        return f"to follow {single} to its end: `{path} wait {it} --follow`"
    if verb in SHOW and "get" in verbs:
        return f"did you mean '{path} get'?"
    if noun == "deploy" and verb in ("wait", "result", "pending"):
        return f"for the latest run of a deployment: `qoder run {verb} DEPLOYMENT@last`"
    if verb == "export" and "get" in verbs:
        from qoder_cli.nouns.table import NOUNS as DECLARED

        if (declared := DECLARED[noun].kind) is not None and declared.is_declared:
            return f"to write {single} as a file: `qoder export {it}`"
        return f"to print {single}: `{path} get {it} --json`"
    if verb == "apply" and "update" in verbs:
        return f"to change {single} from a file: `{path} update {it} -f FILE`; a folder: see qoder apply --help"
    other = _noun_in([verb])
    if other is not None:
        return f"to list them: `qoder {other} list`"
    return None


def _is_word(typed: str) -> bool:
    """Return whether a word may be a verb: no id and no name with a sign or a digit in it."""
    verbs = {*START, *RETRY, *STOP, *DELETE, *RESTORE, *CHANGE, *DESTRUCTIVE}
    return typed.isalpha() or not verbs.isdisjoint(re.split("[^a-z]+", typed.lower()))


def _near(typed: str, names: Sequence[str], path: str) -> str | None:
    """Return the name that a slip was made in, unless another may have been meant and that does harm."""
    near = [name for name in nearest(typed, names) if abs(len(name) - len(typed)) <= _FURTHEST]
    if not near or near[0] in DESTRUCTIVE or (near[0] in CHANGING and not _is_one_slip(typed, near[0])):
        return None
    return f"did you mean '{path} {near[0]}'?"


def _is_one_slip(typed: str, name: str) -> bool:
    """Return whether one letter is too many, missing or wrong, or some changed places."""
    shorter, longer = sorted((typed, name), key=len)
    if len(shorter) == len(longer):
        return sorted(typed) == sorted(name) or sum(map(str.__ne__, typed, name)) == 1
    return any(longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer)))


def explained(mistake: Any, words: Sequence[str]) -> UsageError:
    """Return the error for a mistake, without any typed tokens."""
    error = mistake if isinstance(mistake, UsageError) else _in_our_words(mistake, words)
    command = getattr(getattr(mistake, "ctx", None), "command", None)
    if getattr(command, "name", None) == "answer" and any(word.partition("=")[0] == "--result" for word in words):
        error = UsageError(_NO_RESULT, hint=_WITH)
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
        hint = _option_here(option, names, path) or OPTIONS.get(option) or _option_meant(option, names)
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
    if takes:
        return UsageError(f"{path} takes only {takes}", hint=see)
    instead = [name for name in ("--name", "--deployment") if any(name in each.opts for each in params)]
    hint = f"did you mean {instead[0]}? ({see})" if instead else see
    return UsageError(f"{path} takes no arguments", hint=hint)


def _option_here(option: str, names: Mapping[str, str], path: str) -> str | None:
    """Return what does here what an option of other tools does there, by the options that the command has."""
    same = [name for name in SAME.get(option, ()) if name.strip("-") in names]
    if same:
        return f"did you mean {same[0]}?"
    if option in _INPUTS and "on-lost" in names:
        return _NO_INPUT
    if option in _SECRET_OPTIONS and "from-env" in names:
        return "pipe the secret in, or use --from-env VAR: others can see arguments"
    if option in _SELECTIONS and "allow-empty" in names:
        return f"name them, or pipe in their ids from a list with -q: … | {path} -"
    if option in ("--active", "--paused") and "archived" in names:
        return f"did you mean --status {option.strip('-')}?"
    if option == "--deployment" and path.split()[1:2] == ["run"]:
        return "for the latest run of a deployment: DEPLOYMENT@last"
    if option in ("--force", "--yes", "-y") and "on-lost" in names:
        return "drop it: it never asks"
    if option in ("--retry", "--retries") and "on-lost" in names:
        return "to retry without starting twice, see: `qoder help recipes`"
    if "adopt-from" in names and option in ("-f", "--file", "--filename"):
        return f"drop it, and name the files: `{path} FILE`"
    if "adopt-from" in names and option in _LOOKS:
        if path.endswith("diff"):
            return "drop it: diff exits 8 if something differs"
        return "to preview: `qoder diff`, which exits 8 if something differs"
    if option in _OF_AGENTS and "schedule" in names:
        return "to change its agent: `qoder agent update AGENT`"
    return None


def _option_meant(option: str, names: Mapping[str, str]) -> str | None:
    """Return which of a command's options was meant, by their `names` without hyphens; never the opposite."""
    if option in ("-d", "--detach", "--async", "--no-wait") and "wait" in names:
        return "drop it: a command waits only with --wait"
    if option.startswith("--no-") and option.removeprefix("--no-") in names:
        return f"drop it: that is so without {option.replace('--no-', '--')}"
    near = nearest(option.strip("-"), names)
    if near and option.startswith("--no-") == names[near[0]].startswith("--no-"):
        return f"did you mean {names[near[0]]}?"
    return None


def _of_a_value(param: Any, mistake: Any, words: Sequence[str], see: str) -> UsageError:
    name = param.metavar or param.name.upper()
    kind = param.param_type_name
    if kind == "option":
        typed = (word.partition("=")[0] for word in words)
        name = next((word for word in typed if word in param.opts), max(param.opts, key=len))
    if hasattr(mistake, "param_type"):
        nouns = ("run", "session", "agent", "env", "vault", "skill", "dream")
        lists = {noun.upper(): f"qoder {noun} list" for noun in nouns}
        lists |= {"DEPLOYMENT": "qoder deploy list", "KEY": "qoder config list"}
        listed = lists.get(name.removesuffix("..."))
        hint = f"list them: {listed}; {see}" if listed else see
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
    if plain in ("waiting", "blocked", "requires_action") and "running" in choices:
        hint = _PENDING
    if plain in ("running", "completed", "failed", "pending") and "paused" in choices:
        hint = f"to list runs by their status: `qoder run list --status {plain}`"
    if plain.startswith(_TEMPLATES) and "jsonl" in choices:
        hint = f"{_JQ}, or choose columns: --columns NAMES ({see})"
    if "jsonl" in choices and any("--output-dir" in each.opts for each in mistake.ctx.command.params) and not near:
        hint = f"to name a folder: -O DIR ({see})"
    return UsageError(f"{name} takes {wanted}, not {value}", hint=hint)
