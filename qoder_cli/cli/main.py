"""The command tree, and `main`: the only place where an error becomes an exit code."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise, takewhile
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from qoder_cli import __version__
from qoder_cli.app import App
from qoder_cli.base import signals
from qoder_cli.base.errors import Exit, QoderError, ReaderGone, Signalled, UsageError
from qoder_cli.cli.options import (
    DEFAULT_VALUES,
    EXPLAINED,
    EXPLAINED_IN,
    GROUPS,
    HiddenCommand,
    everywhere,
    named_at,
    read_words,
    require_allowed,
    require_page,
    show_help,
    unfolded,
)
from qoder_cli.help import (
    IN_GROUPS_UNDERSTOOD,
    NOUNS,
    NOUNS_UNDERSTOOD,
    VERBS_UNDERSTOOD,
    contents,
)
from qoder_cli.output.screen import format_typed

_WIDTH = 80
_FLAGS = {"max_content_width": _WIDTH}
_ALSO = "also"  # before the names of options that are explained elsewhere
_SHARE = {"update": "create", "diff": "apply"}  # whose options the other explains
_FEW = 3  # options that are explained where they stand, though another command has them
_DASHES = "-\u2012\u2013\u2014\u2015\u2212"  # what people, editors or chats make of two hyphens
# Typer's own click.UsageError, through its public child: typer._click is private.
_TyperUsageError: type[Exception] = typer.BadParameter.__bases__[0]


class _NoSuchCommand(UsageError):
    """An unknown command."""


def _parse(command: Any, parse: Callable[..., list[str]], ctx: Any, args: list[str]) -> list[str]:
    """Return the words that are left once options are read. Raises UsageError."""
    args = _in_full(command, args)
    _check_options(command, args)
    try:
        return parse(ctx, args)
    except _TyperUsageError as mistake:
        # Every usage mistake has a `ctx`, which its message needs, but the base class declares none.
        failure: Any = mistake
        failure.ctx = getattr(mistake, "ctx", None) or ctx
        raise


def _write_help(command: Any, ctx: Any, formatter: Any) -> None:
    """Write the docstring unwrapped: its lines are composed for 80 columns."""
    formatter.write("\n" + "".join(f"  {line}".rstrip() + "\n" for line in (command.help or "").splitlines()))


def _write_sections(command: Any, ctx: Any, formatter: Any) -> None:
    """Write arguments, options or commands, and where to read more."""
    from textwrap import TextWrapper

    first = f"  {_ALSO}  "
    wrapped = TextWrapper(_WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)
    for title, rows in command.sections(ctx):
        if rows:
            with formatter.section(title):
                if explained := [row for row in rows if row[0] != _ALSO]:
                    formatter.write_dl(explained)
                for _, text in rows[len(explained) :]:
                    formatter.write(wrapped.fill(text) + "\n")
    formatter.write("\nMore: qoder help\n")


class Command(TyperCommand):
    """A command: its own options first, then the global ones."""

    format_help_text = _write_help
    format_options = _write_sections

    def __init__(self, name: str | None, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.params += shared_options()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        left = _parse(self, super().parse_args, ctx, args)
        read_words(ctx)
        return left

    def invoke(self, ctx: Any) -> Any:
        """Run the command, unless it has no such output or the settings do not allow it. Raises UsageError."""
        words = ctx.command_path.partition(" ")[2]
        require_page(ctx.obj, words)
        require_allowed(ctx.obj, words)
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the usage line's words, without typer's braces."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def sections(self, ctx: Any, *, whole: bool = False) -> list[tuple[str, list[Any]]]:
        """Return the help's lists: titles, and rows of two columns; if `whole`, also of what is explained elsewhere."""
        arguments: list[tuple[str, str]] = []
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title in GROUPS}
        elsewhere: dict[str, list[str]] = {}  # options by where they are explained
        alike = None if whole else _like(ctx)
        for param in self.get_params(ctx):
            if param in shared_options() or (row := _row(param, ctx)) is None:
                continue
            group = getattr(param, "rich_help_panel", None) or GROUPS[0]
            if param.param_type_name == "argument":
                arguments.append(row)
            elif alike and row in alike[1]:
                elsewhere.setdefault(f"{alike[0]} --help", []).append(max(param.opts, key=len))
            elif group in EXPLAINED and not whole and ctx.command_path.partition(" ")[2] not in EXPLAINED_IN:
                elsewhere.setdefault(EXPLAINED[group], []).append(max(param.opts, key=len))
            else:
                groups.setdefault(group, []).append(row)
        options = groups.pop(GROUPS[0])
        options += [row for rows in groups.values() if len(rows) == 1 for row in rows]  # one is no group
        options += [(_ALSO, f"{', '.join(names)}: see {where}") for where, names in elsewhere.items()]
        titled = [(title, rows) for title, rows in groups.items() if len(rows) > 1]
        return [("Arguments", arguments), (GROUPS[0], options), *titled]


def _row(param: Any, ctx: Any) -> tuple[str, str] | None:
    """Return the names of an argument or option and its help, in words; None for a hidden one."""
    if (row := param.get_help_record(ctx)) is None:
        return None
    about = re.sub(r"(\d+)<=x<=(\d+)", r"\1 to \2", row[1])
    about = re.sub(r" *\[x>=[01]\]", "", about)  # as everybody expects
    if param.param_type_name == "argument":
        about = about.removesuffix("[required]").rstrip()  # the usage says so
    return re.sub(r"\[(\w+(?:\|\w+)+)\]", r"<\1>", row[0]), about  # as newer versions of typer write it


def _like(ctx: Any) -> tuple[str, list[tuple[str, str]]] | None:
    """Return the command that explains a command's options, and its rows: as of _SHARE, and runs those of a session.

    None where that has few of them.
    """
    root, words = ctx.find_root(), ctx.command_path.split()
    if words[-1] in _SHARE:
        words[-1] = _SHARE[words[-1]]
    elif words[1:-1] == ["session"]:
        words[1] = "run"
    else:
        return None
    command = root.command
    for word in words[1:]:
        command = command and command.get_command(root, word)
    if command is None:
        return None
    rows = [row for param in command.params if param not in shared_options() and (row := _row(param, ctx))]
    shared = [row for param in ctx.command.params if (row := _row(param, ctx)) in rows]
    if len(shared) < _FEW:
        return None
    return " ".join(words), rows


class Tree(TyperGroup):
    """A group whose commands are imported only when typed.

    Each is a function, the name of one, or of a group its line of help and its commands (their
    module, for a noun). `contents` are the lines of its help, if they are not one for each.
    """

    format_help_text = _write_help
    format_options = _write_sections

    def __init__(
        self,
        name: str,
        help: str,
        commands: Mapping[str, Any],
        understood: Mapping[str, str] | None = None,
        *,
        contents: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(
            name=name,
            help=help,
            invoke_without_command=True,
            context_settings=_FLAGS,
            add_help_option=False,  # it is one of the global options
            callback=_build("contents", _show_contents, kind=TyperCommand).callback,
            params=list(shared_options()),
            rich_markup_mode=None,
        )
        self._listed = commands
        self._understood = understood or {**VERBS_UNDERSTOOD, **IN_GROUPS_UNDERSTOOD.get(name, {})}
        self._contents = contents

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] in self._listed:  # no option stands before it
            ctx._protected_args, ctx.args = args[:1], args[1:]
            return args[1:]
        return _parse(self, super().parse_args, ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name, command in self._listed.items() if not isinstance(command, HiddenCommand)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name, built now; None when there is none."""
        command = self._listed.get(cmd_name)
        if cmd_name == "--version":
            return _build("version", print_version)
        if not isinstance(command, tuple):
            return command and _build(cmd_name, function_of(command))
        about, commands = command
        if isinstance(commands, str):
            return _noun(cmd_name)
        return Tree(cmd_name, about + ".", commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return a command's name, the command, the words left. Raises UsageError."""
        name, rest = args[0], args[1:]
        if name not in self._listed and (understood := self._understood.get(name)) is not None:
            name, *more = understood.split()
            rest = [*more, *rest]
        command = self.get_command(ctx, name)
        if command is None:
            from qoder_cli.help.suggestions import meant

            hint = meant(ctx, args, self.list_commands(ctx))
            raise _NoSuchCommand(f'unknown command "{args[0]}" for "{ctx.command_path}"', hint=hint)
        return name, command, rest

    def listed_commands(self) -> list[tuple[str, str]]:
        """Return the names of the commands, each with its line of help."""
        return [(name, _summary(self._listed[name])) for name in self.list_commands(None)]

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return what completion offers, without building a command."""
        from qoder_cli.help.completion.answer import item

        commands = [item(name, about) for name, about in self.listed_commands() if name.startswith(incomplete)]
        return commands + super(TyperGroup, self).shell_complete(ctx, incomplete)

    def sections(self, ctx: Any, *, whole: bool = False) -> list[tuple[str, list[Any]]]:
        rows = self.listed_commands()
        if self._contents:
            rows = [*self._contents().items()]
        return [("Commands", rows)]


def _show_contents(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        show_help(ctx, ctx.obj.out)


def _in_full(command: Any, args: list[str]) -> list[str]:
    """Return words with each option's value, and several values of one as several options."""
    params = {name: param for param in command.params for name in param.opts if name.startswith("-")}
    full: list[str] = []
    words = [*args]
    while words:
        word = words.pop(0)
        if word == "--":
            return [*full, word, *words]
        name, is_bound, value = word.partition("=")
        param = params.get(name)
        if param is None:
            full.append(word)
        elif name in DEFAULT_VALUES and not is_bound and not "".join(words[:1])[:1].isdigit():
            full.append(f"{name}={DEFAULT_VALUES[name]}")
        elif param.multiple and hasattr(param.type, "choices") and "," in (value if is_bound else "".join(words[:1])):
            values = value if is_bound else words.pop(0)
            full += [f"{name}={one_value}" for one_value in values.split(",")]
        else:
            full.append(f"{name}{is_bound}{value}")
            if not is_bound and not param.is_flag and "=" in "".join(words[:1]):
                full.append(words.pop(0))  # its value, even if that begins as an option does
    return full


def _check_options(command: Any, args: list[str]) -> None:
    """Refuse words that typer would misread. Raises UsageError.

    If a shell variable is empty, `--idempotency-key --dry-run` would start what was only to be
    shown. An option with a typographic dash, and fields after `--json`, would be taken for
    names.
    """
    options = [param for param in command.params if param.param_type_name == "option"]
    takes_value = {name: not param.is_flag for param in options for name in (*param.opts, *param.secondary_opts)}
    words = list(takewhile(lambda word: word != "--", args))
    for word, following in pairwise([*words, ""]):
        if takes_value.get(word) and following in takes_value:
            raise UsageError(
                f"{word} needs a value, but the next word is the option {following}",
                hint='is a shell variable empty? Quote it: "$VAR"',
            )
        meant = "--" + word.lstrip(_DASHES).partition("=")[0]
        if word[:1] in _DASHES and word[:2] != "--" and meant in takes_value:
            raise UsageError(f"{word} does not begin with two hyphens", hint=f"type two hyphens: {meant}")
        if word == "--json" and re.fullmatch(r"\w+(,\w+)+", following):
            fields = following.replace(",", ", ")
            raise UsageError("--json prints all fields", hint=f"to select some: --json | jq '{{{fields}}}'")


@cache
def shared_options() -> tuple[Any, ...]:
    """Return the global options, built once."""
    return tuple(_build("everywhere", everywhere, kind=TyperCommand).params)


@cache
def _build(name: str, function: Callable[..., Any], *, kind: type[TyperCommand] = Command) -> Any:
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, cls=kind, context_settings=_FLAGS, add_help_option=False)(unfolded(function))
    return typer.main.get_command(app)


@cache
def _noun(noun: str) -> Any:
    """Return the command or group behind a noun, built once."""
    about, module = NOUNS[noun]
    if ":" in module:  # the noun is a command itself, as `sandbox`
        return _build(noun, function_of(module))
    return Tree(noun, about + ".", commands_of(module))


def commands_of(module: str) -> Mapping[str, Any]:
    """Return the commands of a noun, by the module that they are in; those that every noun has if there is none."""
    if find_spec(module) is None:
        commands: Mapping[str, Any] = named_at("qoder_cli.commands.generic:commands")(module.rpartition(".")[2])
        return commands
    by_name: Mapping[str, Any] = import_module(module).COMMANDS
    return by_name


def _summary(command: Any) -> str:
    if isinstance(command, tuple):
        return str(command[0])
    return (function_of(command).__doc__ or "").partition("\n")[0].rstrip(".")


@cache
def function_of(command: Callable[..., Any] | HiddenCommand | str) -> Callable[..., Any]:
    """Return a command's function: one named as `module:function` is imported now, a `partial` makes it now."""
    if isinstance(command, HiddenCommand):
        return function_of(command.command)
    if isinstance(command, partial):
        made: Callable[..., Any] = command()
        return made
    if isinstance(command, str):
        return named_at(command)
    return command


@cache
def command_tree(program: str) -> Tree:
    """Return the root of the tree, built once, with no command imported."""
    tree = Tree(program, _ABOUT, NOUNS, NOUNS_UNDERSTOOD, contents=contents)
    tree.params += _build("version", _version_option, kind=TyperCommand).params
    return tree


_ABOUT = """\
Run Qoder Cloud Agents deployments and get their outcome as an exit code.

  qoder deploy run dep_… --wait     start a run and wait for it to finish
  qoder run get drun_…              show how it went
  qoder auth login                  save a token (or set QODER_PAT)

Try it for free: qoder sandbox -- qoder deploy run dep_demo --wait"""


def print_version(app: App) -> None:
    """Print the version."""
    app.out.write(f"qoder {__version__}\n")


def _show_version(ctx: typer.Context, value: bool) -> None:
    if value:
        print_version(ctx.obj)
        raise typer.Exit


_VERSION = typer.Option(
    False, "--version", help="Print the version.", callback=_show_version, is_eager=True, expose_value=False
)


def _version_option(version: bool = _VERSION) -> None:
    """Declare the option that only the root has."""


def main(argv: list[str] | None = None, app: App | None = None) -> int:
    """Run a command line (without the program's name) and return its exit code.

    What goes wrong is one error on stderr. What happens to the process, as dying by the signal
    that stopped it, is left to `__main__`, and so is an exception while that error is made.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    app = app or App.of_this_process()
    app.flags.output = format_typed(words)  # also for a mistake before it
    try:
        try:
            try:
                tree = command_tree(app.program)
                with tree.make_context(app.program, list(words), obj=app) as ctx, _notifying(app):
                    try:
                        code = _shown(tree.invoke(ctx), app)
                    except Signalled as signalled:
                        raise _last_words(signalled, app) from None
                    except typer.Exit:
                        raise
                    except Exception as failure:  # in words here: --ci and --notify tell of it too
                        raise _in_words(failure, words, app) from None
            except typer.Exit as done:
                code = done.exit_code
            except Exception as failure:
                code = _report(_in_words(failure, words, app), app)
            signals.begin_last_words()
        except Signalled as signalled:  # also one that came when all was printed
            code = _report(_last_words(signalled, app), app)
    except ReaderGone:
        signals.begin_last_words()
        code = Exit.CLOSED_PIPE
    with suppress(Exception):  # everything is printed
        app.close()
    return code


@contextmanager
def _notifying(app: App) -> Iterator[None]:
    """Run the command of --notify after this block, in which all is printed but the error, if it waited for runs."""
    failure: Exception | None = None
    try:
        yield
    except Exception as raised:
        failure = raised
        raise
    finally:
        if app.flags.may_notify and app.tracked.awaits:
            try:
                from qoder_cli.cli.ending import notify_of_end

                notify_of_end(app, failure)
            except Signalled:
                pass  # everything is printed: it ends only the wait for that command
            except Exception as bug:
                app.progress.warn(f"--notify: {type(bug).__name__}: {bug}")


def _shown(happened: Any, app: App) -> int:
    """Print what a command came to, and return the exit code. Raises its error."""
    if happened is None or isinstance(happened, int):
        return happened or Exit.OK
    from qoder_cli.cli.ending import conclude

    conclude(app, happened)
    return Exit.OK


def _in_words(failure: Exception, words: list[str], app: App) -> QoderError:
    """Return the error for an exception. Raises Signalled."""
    if isinstance(failure, _NoSuchCommand | _TyperUsageError):
        from qoder_cli.help.suggestions import explained

        return explained(failure, words)
    if isinstance(failure, QoderError):
        return failure
    if isinstance(failure, typer.Abort):
        return UsageError("no answer was given", hint="run it in a terminal, or pass --yes")
    if isinstance(failure.__cause__, Signalled):  # wrapped while a class was made
        raise failure.__cause__ from None
    if app.flags.debug:
        from traceback import format_exception

        app.err.print("".join(format_exception(failure)))
    return app.broken_down(failure)


def _last_words(signalled: Signalled, app: App) -> QoderError:
    """Return the error for a signal, wherever it came; a wait has its own."""
    if not app.tracked.started:
        for write in reversed(app.writes):
            if write.is_open_or_done:
                error: QoderError = write.stopped(signalled)
                return error
        return signalled.in_words("interrupted; nothing was started")
    from qoder_cli.cli.ending import stopped_with

    return stopped_with(signalled, app.tracked.run or app.tracked.started[-1], app)


def _report(error: QoderError, app: App) -> int:
    signals.begin_last_words()
    if (run := app.tracked.run) is not None:
        from qoder_cli.cli.ending import complete

        error = complete(error, run, app)
    app.report(error)
    return error.exit
