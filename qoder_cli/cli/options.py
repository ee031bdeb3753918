"""Arguments and options shared by commands, the global ones, and how they are read.

Global options work before and after the command's words; the last one wins. `cli.main`
gives them to every level of the tree.
"""

import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_args

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import Interrupted, UsageError
from qoder_cli.base.plainfile import read_checked, read_typed
from qoder_cli.base.tokens import names_token
from qoder_cli.output.screen import Format, Screen, inert
from qoder_cli.settings.allowed import READ_ONLY_VARIABLE, allowed_by, purpose_of
from qoder_cli.settings.values import OnAsk, written

if TYPE_CHECKING:
    from qoder_cli.policy.rules import Policy
    from qoder_cli.runs.ending import Wanted

Text = str | None  # an option's value, None if not typed
Texts = list[str] | None

MOST = 10_000  # things per command: each is held until the end
DEFAULT_VALUES = {"--watch": "5s"}  # of options whose value may be left out: it begins with a digit
_BY_POLICY = "policy="  # of --on-ask
_LARGEST_LIST = 4 * 2**20  # bytes of standard input; more may never end
_PIPE_IDS = "pipe in ids or names, one per line (print them with -q, not --json)"


def unfolded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command with the fields of each named tuple as its options, but those that it has itself."""
    own = signature(command).parameters
    folded = {name: parameter.annotation for name, parameter in own.items() if hasattr(parameter.annotation, "_fields")}
    if not folded and "app" not in own:
        return command
    parameters: list[tuple[str, Any, Any]] = []
    for name, parameter in own.items():
        if options := folded.get(name):
            parameters += [own_parameter for own_parameter in fields_of(options) if own_parameter[0] not in own]
        elif name not in ("app", "ctx"):
            parameters.append((name, parameter.annotation, parameter.default))

    def run(ctx: typer.Context, **values_typed: Any) -> Any:
        for name, options in folded.items():
            values = {field: values_typed.pop(field) for field in options._fields if field not in own}
            values_typed[name] = options(**dict.fromkeys(options._fields) | values)
        return command(ctx.obj if "app" in own else ctx, **values_typed)

    return declared(run, command.__doc__ or "", parameters)


def fields_of(options: Any) -> list[tuple[str, Any, Any]]:
    """Return the parameters that a named tuple of options stands for: name, type and option each."""
    return [(field, options.__annotations__[field], options._field_defaults[field]) for field in options._fields]


def declared(command: Callable[..., Any], doc: str, parameters: Iterable[tuple[str, Any, Any]]) -> Callable[..., Any]:
    """Return a command with these parameters: name, type, and option or argument each."""
    kind = Parameter.POSITIONAL_OR_KEYWORD
    context = Parameter("ctx", kind, annotation=typer.Context)
    everything = [
        context,
        *(Parameter(name, kind, annotation=type, default=default) for name, type, default in parameters),
    ]
    vars(command)["__signature__"] = Signature(everything)  # typer reads it first
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in everything}
    command.__doc__ = doc
    return command


class HiddenCommand:
    """A command for programs, not people: it works, but no list shows it."""

    def __init__(self, command: Callable[..., Any]) -> None:
        self.command = command


def named_at(name: str) -> Callable[..., Any]:
    """Return the function that a text names, `module:function`; it is imported now."""
    module, _, function = name.partition(":")
    function_named: Callable[..., Any] = getattr(import_module(module), function)
    return function_named


def _offered(name: str) -> Callable[..., Any]:
    """Return a function of `help.completion.values`, imported when it is called: once TAB is pressed."""

    def offer(ctx: typer.Context, incomplete: str) -> Any:
        return getattr(import_module("qoder_cli.help.completion.values"), name)(ctx, incomplete)

    return offer


def argument(metavar: str, help: str, offered: Any = None, default: Any = ...) -> Any:
    """Return an argument, required without a `default`; `offered` is what completion offers."""
    return typer.Argument(default, metavar=metavar, help=help, autocompletion=offered, show_default=False)


# The headings that options stand under in help, in their order; those of the first stand under none of the others.
GROUPS = ("Options", "Waiting", "When the agent asks", "Never twice", "Several at once", "Advanced")
WAITING, ASKING, ONCE, MANY, ADVANCED = GROUPS[1:]
VIEWING = "Viewing"  # what every list takes
# Where groups that many commands have are explained: everywhere else they are one line.
EXPLAINED = {VIEWING: "qoder help output", WAITING: "qoder deploy run --help", ASKING: "qoder deploy run --help"}
EXPLAINED_IN = ("deploy run", "run wait")


def flag(names: str, help: str, default: bool | None = False, group: str | None = None) -> Any:
    """Return an option that is on or off; `group` is the heading of GROUPS that it stands under in help."""
    return typer.Option(default, *names.split(), help=help, rich_help_panel=group)


def option(
    names: str,
    metavar: str | None,
    help: str,
    offered: Any = None,
    default: Any = None,
    group: str | None = None,
    **limits: Any,
) -> Any:
    """Return an option with a value; spaces separate its `names`, `limits` are those of a number.

    Without a `metavar` help shows the words that it takes. `group` is that of `flag`.
    """
    names_typed, limits = names.split(), {**limits, "rich_help_panel": group}
    return typer.Option(default, *names_typed, metavar=metavar, help=help, autocompletion=offered, **limits)


def several(name: str, metavar: str, help: str, offered: Any = None) -> Any:
    """Return a repeatable option."""
    return option(name, metavar, f"{help} Repeatable.", offered)


# Names on a command line.
_DEPLOYMENTS, _RUNS = _offered("deployments"), _offered("runs")
ONE_DEPLOYMENT = argument("DEPLOYMENT", "Id (dep_…) or exact name.", _DEPLOYMENTS)
DEPLOYMENTS = argument("DEPLOYMENT...", "Ids (dep_…) or exact names; - reads stdin.", _DEPLOYMENTS)


def _of(metavar: str, one: str, several: str) -> tuple[Any, Any, Any, Any]:
    """Return the arguments for one run or session, for one or `last`, and the same for several."""
    one, several = f"{one}, last or DEPLOYMENT@last.", f"{several} ids, last or DEPLOYMENT@last; - reads stdin."
    typed = [(metavar, one, _RUNS), (f"{metavar}...", several, _RUNS)]
    (one_needed, one_or_last), (needed, or_last) = ((argument(*each), argument(*each, default=None)) for each in typed)
    return one_needed, one_or_last, needed, or_last


ONE_RUN, RUN_OR_LAST, RUNS, RUNS_OR_LAST = OF_RUNS = _of("RUN", "drun_…, sess_…", "Run")
ONE_SESSION, SESSION_OR_LAST, SESSIONS, SESSIONS_OR_LAST = OF_SESSIONS = _of(
    "SESSION", "sess_…, drun_…", "Session or run"
)
ARGUMENTS = {"deployments": (ONE_DEPLOYMENT, DEPLOYMENTS), "sessions": (ONE_SESSION, SESSIONS)}  # for one, for several
AGENT = option("--agent", "AGENT", "Agent id or name; @3 behind it pins version 3.", _offered("agents"))
MODEL = option("--model", "ID", "Model; see qoder model list.", _offered("models"))

ALLOW_EMPTY = flag("--allow-empty", "Exit 0 if stdin is empty.", group=MANY)
YES = flag("--yes -y", "Do not ask.")

# Options of every command that waits.
TIMEOUT = option("--timeout", "D", "Stop waiting after D (90s, 10m, 1h30m); 0 checks once.", group=WAITING)
INTERVAL = option("--interval", "D", "Check at least this often (default 5s).", group=ADVANCED)
REQUIRE_SATISFIED = flag(
    "--require-satisfied", 'Exit 1 unless the service judges the outcome "satisfied".', group=ADVANCED
)
_ON_ASK = (
    "stop (exit 11), wait, prompt, or policy=FILE (qoder help policies). Default: stop; prompt with --follow on a "
    "terminal."
)
ON_ASK = option("--on-ask", "HOW", _ON_ASK, _offered("ways_to_ask"), group=ASKING)
POLICY = option("--policy", "FILE", "Rules that decide before --on-ask does.", _offered("files"), group=ASKING)


_NOTIFY = "Run COMMAND when the wait ends or the agent asks, with JSON on its stdin (qoder help output)."
NOTIFY = option("--notify", "COMMAND", _NOTIFY, group=WAITING)


class WaitOptions(NamedTuple):
    """What to wait for, as typed. These are the options, too."""

    wait: bool = flag("--wait -w", "Wait for the outcome, and exit with it.", group=WAITING)
    follow: bool = flag("--follow -f", "Like --wait, and stream events to stderr.", group=WAITING)
    result: bool = flag("--result", "Like --wait, and print the final message.", group=WAITING)
    timeout: Text = TIMEOUT
    on_ask: Text = ON_ASK
    policy: Text = POLICY
    notify: Text = NOTIFY


def wanted_of(
    app: App,
    waiting: WaitOptions,
    *,
    wait: bool = False,
    interval: str | None = None,
    require_satisfied: bool = False,
    several: bool = False,
) -> "Wanted | None":
    """Return what to wait for, as typed; None for no wait. Raises UsageError.

    With `wait` there always is one; with `several` it is for more than one run.
    """
    from qoder_cli.base.times import read_limits
    from qoder_cli.runs.ending import Wanted

    # Now: once a wait has ended, the program's files may be gone.
    import_module("qoder_cli.cli.ending")
    if several:
        import_module("qoder_cli.cli.several")
    if several and waiting.result and not app.output.is_json:
        raise UsageError("--result with several runs needs -o json or -o jsonl", hint="add --json, or name only one")
    deciding, follow, result, timeout, on_ask, policy, notify = waiting
    wait = wait or deciding or follow or result
    given = {"--require-satisfied": require_satisfied, "--on-ask": on_ask, "--policy": policy, "--notify": notify}
    for option, value in given.items():
        if value and not wait:
            raise UsageError(f"{option} only works with --wait", hint="add --wait")
    app.flags.may_notify = wait
    if notify is not None:
        from qoder_cli.runs.notify import check_command

        check_command(app, notify)
    limits = read_limits(wait=wait, timeout=timeout, interval=interval)
    if on_ask == "stop":  # as it is without the option
        given["--on-ask"] = None
    app.flags.wait_options = written({"--result": result, **given})
    asked, rules = when_asked(app, on_ask, policy, follow=follow, several=several)
    if wait:
        return Wanted(limits, follow, require_satisfied, result, asked, rules)
    return None


def when_asked(
    app: App, word: str | None, policy: str | None, *, follow: bool, several: bool = False
) -> "tuple[OnAsk, Policy | None]":
    """Return what to do when the agent asks, and the policy that answers first. Raises UsageError, ApiError."""
    file = policy
    if word is not None and word.startswith(_BY_POLICY):
        word, file = "stop", word.removeprefix(_BY_POLICY)
        if policy is not None:
            raise UsageError("--on-ask policy=FILE and --policy are the same", hint="pass only one of them")
    if word is not None and word not in get_args(OnAsk):
        ways = ", ".join(get_args(OnAsk))
        raise UsageError(f"--on-ask takes {ways} or policy=FILE, not {inert(word)!r}", hint="pass one of these")
    if word == "prompt":
        app.settings.allowed.check("answer", "--on-ask prompt")
    if word == "prompt" and (several or not app.may_ask):
        why = "--on-ask prompt requires a terminal, and one run"
        raise UsageError(why, hint="use --on-ask stop, then qoder run pending")
    asked: OnAsk = "stop"
    if word is not None:
        asked = cast(OnAsk, word)
    elif follow and not several and app.may_ask and app.settings.allowed.permits("answer"):
        asked = "prompt"
    if asked == "prompt":
        require_guard(app)
    if file is None:
        return asked, None
    from qoder_cli.sessions.by_policy import opened

    return asked, opened(app, file)


def require_guard(app: App) -> None:
    """Read the policy that the profile names, if it names one. Raises UsageError where it cannot be used."""
    if app.settings.policy is not None:
        from qoder_cli.sessions.guard import guard_of

        guard_of(app)


def one_named(word: str, app: App) -> str:
    """Return what was typed, for `-` the one line of stdin. Raises UsageError."""
    words = named([word], app)
    if len(words) != 1:
        raise UsageError(f"standard input names {len(words)} runs; this takes one", hint="use xargs -n 1")
    app.tracked.typed = words[0]
    return words[0]


def _report_to_ci(ctx: typer.Context, value: bool) -> None:
    if value:
        from qoder_cli.cli.ci import Ci

        ctx.find_root().with_resource(Ci(ctx.obj))  # around all that the command does, and its output


_CI = "Report ids and status to GitHub Actions."
# Read before the options that may hold a mistake, so that it reports that too.
CI = typer.Option(False, "--ci", help=_CI, callback=_report_to_ci, is_eager=True, expose_value=False)


def options_typed(ctx: typer.Context, *, without: Collection[str] = ()) -> list[str]:
    """Return the typed options as words; `without` are parameters."""
    given: dict[str, Any] = {}
    for param in ctx.command.params:
        value = ctx.params.get(str(param.name))
        if param.param_type_name == "option" and param.name not in without and value != param.default:
            given[param.opts[0]] = value
    return written(given)


# Parameters that may hold a token: what an agent reads, a shell runs or a raw request has, and variables; `config set`
# says itself what becomes of one.
_FOR_TOKENS = frozenset(("because", "command", "form", "header", "instructions", "json_fields", "message", "reply"))
_FOR_TOKENS |= {"outcome", "rubric", "setup", "system", "text_fields", "value", "variables"}
_TEXTS = _FOR_TOKENS | {"description", "name", "title"}  # parameters that are no ids
_PATHS = frozenset(("add", "file", "files", "input", "more_files", "output_dir", "path", "paths", "policy"))


def read_words(ctx: Any) -> None:
    """Refuse a token that was typed where something else belongs, and put the whole id in place of each that was typed
    with the `…` of a table. Raises UsageError, which never repeats a token.
    """
    if ctx.resilient_parsing:
        return
    app: App = ctx.obj
    app.flags.yes = bool(ctx.params.get("yes"))
    for param in ctx.command.params:
        value = ctx.params.get(param.name)
        words = value if isinstance(value, list | tuple) else [value]
        texts = [word for word in words if isinstance(word, str)]
        for word in texts if param.name not in _FOR_TOKENS else ():
            if names_token(word) and not (param.name in _PATHS and os.path.lexists(word)):
                called = str(param.metavar).rstrip(".")
                if param.param_type_name == "option":
                    called = param.opts[0]
                why = f"{called}: a token was given; nothing was sent"
                raise UsageError(why, hint="set QODER_PAT to it, or put it into a vault: qoder vault put")
        if texts and param.name not in _TEXTS:
            whole = [whole_id(word, app) for word in texts]
            ctx.params[param.name] = whole
            if isinstance(value, str):
                ctx.params[param.name] = whole[0]


# Formats that few commands have: what each makes, and of what.
_MADE_BY = {
    "markdown": ("comment", "diff", "report", "run why"),
    "html": ("page", "report", "usage"),
    "otlp": ("trace", "run logs", "session logs"),
}


def require_page(app: App, command: str) -> None:
    """Raise UsageError if a comment, an HTML page or a trace is wanted of a command, by its words, that makes none."""
    format = app.flags.output
    what, *makers = _MADE_BY.get(format, ("", command))
    if command not in makers:
        why = f"-o {format} is a {what} of `{'` or `'.join(makers)}`; `{app.program} {command}` has none"
        raise UsageError(why, hint="use -o csv or -o json")


def require_allowed(app: App, command: str) -> None:
    """Raise UsageError for a command, by its words, that QODER_ALLOW or the profile's `allow` does not allow.

    Where only reading is allowed, commands that write still read, up to the first write: some have a --dry-run.
    """
    purpose = app.flags.purpose = purpose_of(command)
    allowed = allowed_by(app.env)
    if purpose == "set up":
        from qoder_cli.settings.config import resolve

        with suppress(UsageError):  # what these commands repair
            allowed = resolve(app.flags, app.env, may_create=True).allowed
        if allowed.source != READ_ONLY_VARIABLE:
            allowed.check(purpose, f"`{app.program} {command}`")
    elif purpose not in ("read", "wait") and app.settings.allowed.level != "read":
        app.settings.allowed.check(purpose, f"`{app.program} {command}`")


_SHORTENED = re.compile(r"(?P<head>[a-z]+_[\w.~-]+?)(?:…|\.{3})(?P<behind>(?:@\w+)?)", re.ASCII)


def whole_id(word: str, app: App) -> str:
    """Return the id of which a table showed this part, and say it; any other word unchanged. Raises UsageError.

    Three dots are as good as the `…` of a table, which not every keyboard and terminal has. What this machine has seen
    may not be all that fits: nothing is done to it with --yes, where nobody looks at it.
    """
    if (match := _SHORTENED.fullmatch(word)) is None:
        return word
    from qoder_cli.base.kinds import KINDS_OF_IDS
    from qoder_cli.base.words import few
    from qoder_cli.local.remembered import ids_with_prefix

    head, behind = match["head"], match["behind"]
    if f"{head.partition('_')[0]}_" not in KINDS_OF_IDS:
        return word
    match ids_with_prefix(app.store, app.settings.host, head):
        case [_] if app.flags.yes:
            why = f"{word} is a shortened id, which does not go with --yes; nothing was sent"
            raise UsageError(why, hint="give the full id, which a list shows with -q or -o wide")
        case [only]:
            app.progress.note(f"{word} is {only}{behind}")
            return f"{only}{behind}"
        case []:
            why = f"{word} is a shortened id, and none that was seen on this machine fits"
            raise UsageError(why, hint="give the full id, which a list shows with -q or -o wide")
        case several:
            why = f"{word} fits {len(several)} ids: {few(several, 10)}"
            raise UsageError(why, hint="give the full id")


def is_list(words: Sequence[str]) -> bool:
    """Return whether JSON is an array, even of one."""
    return len(words) > 1 or "-" in words


def or_last(word: str | None, app: App, *, of_sessions: bool = False) -> str:
    """Return the run that was typed, else `last`, which stderr then says.

    Raises UsageError in a script: an empty variable must not stand for a run.
    """
    if word is not None:
        return word
    what = "SESSION" if of_sessions else "RUN"
    if not app.may_ask:
        raise UsageError(f"missing argument {what}", hint="`last` is the latest run started on this machine")
    newest = app.store.last(profile=app.settings.profile, host=app.settings.host)
    which = f" ({newest.run})" if newest and newest.run else ""
    app.progress.note(f"no {what} given; using the latest run started on this machine{which}")
    return "last"


def named(typed: Sequence[str], app: App, *, what: str = "runs", allow_empty: bool | None = None) -> list[str]:
    """Return the words as typed, with `-` replaced by the lines of standard input.

    Ignores blank lines, `#` comments, spaces around a line and a byte order mark.
    They are what the command is about. `what` names the things in errors. Raises UsageError if
    nothing is left, for too much, and for non-UTF-8. With `allow_empty` (None: the command has no such option) an empty
    list is printed, and the command exits 0.
    """
    words: list[str] = []
    for word in typed:
        if word == "-":
            words += [whole_id(line, app) for line in _names_of_stdin(app, what)]
        else:
            words.append(word)
        if len(words) > MOST:
            raise UsageError(f"more than {MOST:,} {what}", hint="split the list, e.g. with split -l 10000")
    app.tracked.typed = words
    if words and not is_list(typed):
        app.tracked.typed = words[0]
    if not words and allow_empty:
        app.output.records([], id="id")
        raise typer.Exit
    if not words:
        also = "" if allow_empty is None else "; --allow-empty accepts an empty list"
        raise UsageError("standard input is empty", hint=f"{_PIPE_IDS}{also}")
    return words


def confirmed(app: App, question: str, *, nothing: str) -> bool:
    """Return whether a person says yes. Raises UsageError, or Interrupted, which say that `nothing` was done."""
    from qoder_cli.input.prompt import choice_of, interrupted_with

    with interrupted_with(nothing):
        asked = f"{inert(question)} [y/N]:"
        return choice_of(app.stdin, app.err, asked, "yes no", nothing=nothing, default="n") == "y"


def secret_of(app: App, most: int, prompt: str) -> tuple[str, str]:
    """Return a secret and its source: a prompt, or standard input. Raises UsageError, Interrupted."""
    if not app.may_ask:
        try:
            return read_typed("-", app.stdin, most).decode(), "standard input"
        except (OSError, ValueError) as error:  # which may say what was read
            raise UsageError(f"cannot read standard input: {type(error).__name__}") from None
    from getpass import getpass

    from qoder_cli.input.prompt import interrupted_with

    try:
        with interrupted_with("nothing was saved"):
            return getpass(f"{prompt} (not shown): "), "the prompt"  # it drops what was typed before
    except EOFError:
        app.err.print("\n")
        return "", "the prompt"
    except Interrupted:
        app.err.print("\n")
        raise


def _names_of_stdin(app: App, what: str) -> list[str]:
    if app.stdin is None:
        return []
    if app.stdin.isatty():
        end = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D"
        app.progress.note(f"enter ids of {what}, one per line; finish with {end}")
    data = read_checked("-", app.stdin, _LARGEST_LIST, hint=_PIPE_IDS)
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        why = f"line {number:,} of standard input is not UTF-8"
        raise UsageError(why, hint="save the file as UTF-8") from None
    names = (line.removeprefix("\ufeff").strip() for line in lines)
    return [name for name in names if name and not name.startswith("#")]


def _remember(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> None:
    formats = {"format": value, "json": "json", "quiet": "id"}
    if value in (None, False):
        return
    if param.name == "no_color":
        ctx.obj.out.color = ctx.obj.err.color = False
    elif param.name in formats:
        ctx.obj.flags.output = formats[param.name]
    else:
        setattr(ctx.obj.flags, str(param.name), value)


def show_help(ctx: Any, screen: Screen) -> None:
    """Write a command's help, with bold headings if the screen has colour."""
    bold = screen.styled(r"\1", "bold") + r"\2"
    screen.write(re.sub(r"(?m)^( *[A-Z][a-z]+:|[A-Z][a-z]+(?: [a-z]+)+:)($| )", bold, ctx.get_help()) + "\n")


def _show_help(ctx: typer.Context, value: bool) -> None:
    if value:
        show_help(ctx, ctx.obj.out)
        raise typer.Exit


def _global(flags: str, help: str, metavar: str | None = None, offered: str | None = None, **more: Any) -> Any:
    if offered:
        more["autocompletion"] = _offered(offered)
    more |= {"callback": _remember, "expose_value": False, "show_default": False}
    return typer.Option(None, *flags.split(), metavar=metavar, help=help, **more)


_HELP = typer.Option(False, "-h", "--help", help="Show help.", callback=_show_help, is_eager=True, expose_value=False)


def everywhere(
    output: Format | None = _global(
        "-o --output", "table, wide, pretty, markdown, csv, html, json, jsonl, yaml, otlp or id.", "FORMAT"
    ),
    json: bool = _global("--json", "Same as -o json."),
    quiet: bool = _global("-q --quiet", "Print only ids; same as -o id."),
    profile: Text = _global("--profile", "Profile of the config file to use.", "NAME", offered="profiles"),
    region: Text = _global("--region", "global or cn.", "REGION", offered="regions"),
    base_url: Text = _global("--base-url", "API base URL.", "URL"),
    workspace: Text = _global("--workspace", "Workspace id to send.", "ID"),
    request_timeout: Text = _global("--request-timeout", "Timeout per request (default 30s; 60s to start a run).", "D"),
    no_progress: bool = _global("--no-progress", "Print only warnings and errors on stderr."),
    bell: bool = _global("--bell", "Ring the bell after a wait of over 10 s."),
    no_input: bool = _global("--no-input", "Never prompt."),
    debug: bool = _global("--debug", "Log requests and responses, secrets removed."),
    no_color: bool = _global("--no-color", "Disable colour."),
    help: bool = _HELP,
) -> None:
    """Declare the options that work before and after every command's words."""


def is_of_sessions(ctx: Any) -> bool:
    """Return whether a command is below `session`; there, a run's id means its session."""
    return bool(ctx.parent and ctx.parent.info_name == "session")
