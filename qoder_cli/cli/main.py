"""The command tree, and `main`: the only place where an error becomes an exit code."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from itertools import pairwise, takewhile
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from qoder_cli import __version__
from qoder_cli.app import State
from qoder_cli.base import signals
from qoder_cli.base.errors import Exit, InternalError, QoderError, ReaderGone, Signalled, UsageError
from qoder_cli.cli.options import everywhere
from qoder_cli.help.contents import NOUNS, NOUNS_UNDERSTOOD, VERBS_UNDERSTOOD
from qoder_cli.output.report import format_typed, plain

_FLAGS = {"max_content_width": 80}
# The vendored click's UsageError, by way of its public child: typer._click is not ours to import.
_TyperUsageError: type[Exception] = typer.BadParameter.__bases__[0]


class _NoSuchCommand(UsageError):
    """A word that is none of our commands."""


class Command(TyperCommand):
    """A command: its own options first, then the shared ones; its help shown as written."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.params += shared_options()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of this command. Raises UsageError."""
        with _placed(ctx):
            _refuse_option_as_value(self, ctx, args)
            return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line, without typer's braces around what is required."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write the docstring as composed."""
        _write_as_composed(self.help, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options in two groups: this command's, and those that work everywhere."""
        shared = shared_options()
        own = [param for param in self.get_params(ctx) if param not in shared]
        arguments = [param for param in own if param.param_type_name == "argument"]
        options = [param for param in own if param.param_type_name == "option"]
        for title, params in (("Arguments", arguments), ("Options", options), ("Everywhere", shared)):
            if rows := [row for param in params if (row := param.get_help_record(ctx))]:
                with formatter.section(title):
                    formatter.write_dl(rows)


class Tree(TyperGroup):
    """A group whose commands are imported and built when they are typed: start-up costs what the command costs."""

    def __init__(
        self,
        name: str,
        help: str,
        *,
        load: Callable[[str], Any],
        names: list[str],
        summary: Callable[[str], str],
        understood: Mapping[str, str],
    ) -> None:
        super().__init__(
            name=name,
            help=help,
            invoke_without_command=True,
            context_settings=_FLAGS,
            add_help_option=False,  # it is one of the shared options
            params=list(shared_options()),
            rich_markup_mode=None,
        )
        self._load = load
        self._names = names
        self._summary = summary
        self._understood = understood

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options of this group. Raises UsageError."""
        with _placed(ctx):
            _refuse_option_as_value(self, ctx, args)
            return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, in the order of the contents page."""
        return self._names

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name, built now; None when there is none."""
        return self._load(cmd_name) if cmd_name in self._names else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return name, command and the words that are left. Raises UsageError with what may have been meant."""
        name = self._understood.get(args[0], args[0])
        command = self.get_command(ctx, name)
        if command is None:
            from qoder_cli.help.suggestions.explain import meant

            hint = meant(ctx, args[0], self._names)
            raise _NoSuchCommand(f"there is no command '{ctx.command_path} {args[0]}'", hint=hint)
        return name, command, args[1:]

    def commands_told(self) -> list[tuple[str, str]]:
        """Return the names of the commands, each with its line of help."""
        return [(name, self._summary(name)) for name in self._names]

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return what completion offers here: the commands, of which none is built, and the options."""
        from qoder_cli.help.completion.answer import item

        commands = [item(name, about) for name, about in self.commands_told() if name.startswith(incomplete)]
        return commands + super(TyperGroup, self).shell_complete(ctx, incomplete)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed; print the help when none was."""
        code = super().invoke(ctx)
        if ctx.invoked_subcommand is None:
            ctx.obj.out.write(ctx.get_help() + "\n")
        return code

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the contents page."""
        with formatter.section("Commands"):
            formatter.write_dl(self.commands_told())

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write the help as composed."""
        _write_as_composed(self.help, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands first: they are what a reader of a group's help looks for."""
        self.format_commands(ctx, formatter)
        with formatter.section("Everywhere"):
            formatter.write_dl([row for param in self.get_params(ctx) if (row := param.get_help_record(ctx))])


@contextmanager
def _placed(ctx: Any) -> Iterator[None]:
    """Let typer's error of a command line know the command, which it does not where a value is missing."""
    try:
        yield
    except _TyperUsageError as mistake:
        mistake.ctx = getattr(mistake, "ctx", None) or ctx  # type: ignore[attr-defined]
        raise


def _refuse_option_as_value(command: Any, ctx: Any, args: list[str]) -> None:
    """Refuse `--idempotency-key --dry-run`, where an empty variable would start what was only to be shown."""
    options = [param for param in command.get_params(ctx) if param.param_type_name == "option"]
    takes_value = {name: not param.is_flag for param in options for name in (*param.opts, *param.secondary_opts)}
    for word, following in pairwise(takewhile(lambda word: word != "--", args)):
        if takes_value.get(word) and following in takes_value:
            raise UsageError(
                f"{word} needs a value, and what follows is the option {following}",
                hint="was it a variable that is empty? Write its quotes too",
            )


def _write_as_composed(help: str | None, formatter: Any) -> None:
    """Write help text unwrapped: its lines are composed for 80 columns."""
    formatter.write("\n" + "".join(f"  {line}".rstrip() + "\n" for line in (help or "").splitlines()))


@cache
def shared_options() -> tuple[Any, ...]:
    """Return the options that work everywhere, built once."""
    return tuple(_build("everywhere", everywhere, kind=TyperCommand).params)


@cache
def _build(name: str, function: Callable[..., Any], *, kind: type[TyperCommand] = Command) -> Any:
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, cls=kind, context_settings=_FLAGS, add_help_option=False)(function)
    return typer.main.get_command(app)


def _summary(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def load_noun(noun: str) -> Any:
    """Return the command or the group of commands behind a word of the contents page."""
    module_name, help = NOUNS[noun]
    commands = import_module(module_name).COMMANDS
    if noun in commands:  # the noun is a command itself, as `sandbox`
        return _build(noun, function_of(commands[noun]))
    return Tree(
        noun,
        help + ".",
        load=lambda verb: _build(verb, function_of(commands[verb])),
        names=list(commands),
        summary=lambda verb: _summary(function_of(commands[verb])),
        understood=VERBS_UNDERSTOOD,
    )


def function_of(command: "Callable[..., Any] | str") -> Callable[..., Any]:
    """Return the function of a command, which may be named as `module:function`, to be imported now."""
    if not isinstance(command, str):
        return command
    module, _, name = command.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


@cache
def command_tree(program: str) -> Tree:
    """Return the root of the tree, with nothing behind its words imported yet; it is built once."""
    tree = Tree(
        program,
        _ABOUT,
        load=load_noun,
        names=list(NOUNS),
        summary=lambda noun: NOUNS[noun][1],
        understood=NOUNS_UNDERSTOOD,
    )
    tree.params += _build("version", _version_option, kind=TyperCommand).params
    return tree


_ABOUT = """\
Run Qoder Cloud Agents deployments, and know how they ended.

  qoder deploy run dep_… --wait     start a run and stay until it has ended
  qoder run get drun_…              how did it go?
  qoder auth login                  save a token (or set QODER_PAT)

Exit 0 means that it happened: `qoder help exit-codes` lists the others.
Rehearse without cost: qoder sandbox -- qoder deploy run dep_demo --wait"""


def _show_version(ctx: typer.Context, value: bool) -> None:
    if value:
        ctx.obj.out.write(f"qoder {__version__}\n")
        raise typer.Exit


def _version_option(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True, expose_value=False),
    ] = False,
) -> None:
    """Declare the option that only the root has."""


def main(argv: list[str] | None = None, state: State | None = None) -> int:
    """Run one command line (without the program's name) and return its exit code.

    Nothing is raised: what goes wrong ends on stderr as one error. Interpreter-level consequences, such as dying by
    the signal that stopped it, are left to `__main__`.
    """
    words = plain(sys.argv[1:] if argv is None else argv)
    state = state or State.of_this_process()
    state.flags.output = format_typed(words)  # heeded also when parsing stops at a mistake, or is stopped, before it
    try:
        try:
            code = _in_error_or_not(words, state)
            signals.begin_last_words()
        except Signalled as signalled:  # also one that came when all was printed
            code = _report(_last_words(signalled, state), state)
    except ReaderGone:
        signals.begin_last_words()
        code = Exit.CLOSED_PIPE
    state.close()
    return code


def _in_error_or_not(words: list[str], state: State) -> int:
    try:
        return _run(words, state)
    except QoderError as error:
        return _report(error, state)
    except Exception as error:
        if isinstance(error.__cause__, Signalled):  # Python 3.11 wraps what comes while a class is being made
            raise error.__cause__ from None
        if state.flags.debug:
            state.err.tell(_traceback())
        return _report(_bug(error), state)


def _last_words(signalled: Signalled, state: State) -> QoderError:
    """Say what a signal leaves behind, wherever it arrived; a wait says so itself."""
    if not state.started:
        return signalled.in_words("stopped by a signal; nothing was started")
    from qoder_cli.runs.ending import stopped_with

    return stopped_with(signalled, state.known_run or state.started[-1], state)


def _run(words: list[str], state: State) -> int:
    tree = command_tree(state.program)
    try:
        with tree.make_context(state.program, list(words), obj=state) as ctx:
            return tree.invoke(ctx) or Exit.OK
    except typer.Exit as done:
        return done.exit_code
    except typer.Abort:
        raise UsageError("no answer was given", hint="run it in a terminal, or give the option that answers") from None
    except BrokenPipeError:
        raise ReaderGone from None
    except (_NoSuchCommand, _TyperUsageError) as mistake:
        from qoder_cli.help.suggestions.explain import explained

        raise explained(mistake, words) from None


def _traceback() -> str:
    import traceback

    return traceback.format_exc()


def _bug(error: Exception) -> InternalError:
    return InternalError(
        f"a bug in qoder: {type(error).__name__}: {error}",
        hint="`qoder run wait last` settles whether a run was started; run it again with --debug to see where it broke",
        run_state="unknown",
    )


def _report(error: QoderError, state: State) -> int:
    """Write the one error that ends stderr, and return its exit code."""
    signals.begin_last_words()
    if (run := state.known_run) is not None:
        from qoder_cli.runs.ending import complete

        error = complete(error, run, state)
    state.report(error)
    return error.exit
