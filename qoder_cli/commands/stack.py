"""`qoder apply` and `qoder diff`: a whole stack made what the files of a folder say."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import Exit, InternalError, QoderError, Signalled, UsageError
from qoder_cli.cli.options import YES, Text, Texts, argument, confirmed, flag, option, options_typed, several
from qoder_cli.help.completion import values
from qoder_cli.output.data import Rows
from qoder_cli.output.results import deciding_error, last_words

if TYPE_CHECKING:
    from qoder_cli.nouns.edits.step import Applied
    from qoder_cli.stack.declarations import Reading
    from qoder_cli.stack.plan import Options, Plan, Planner
    from qoder_cli.stack.turns import StackTurn

_PATHS = argument("PATH...", "Files and folders, or - for stdin; default: this folder.", values.files, default=None)
_FIRST = ("kind", "name", "action", "changes", "error", "id", "file")  # as there is room


class ApplyOptions(NamedTuple):
    """How a folder is compared and applied, as typed. These are the options, too."""

    only: Texts = several("--only", "KIND", "Only these: env, vault, memory, skill, agent or deploy.")
    adopt: bool = flag("--adopt", "Take over things of the same name that this stack did not make.")
    adopt_from: Text = option("--adopt-from", "STACK", "Take over what belongs to this stack; it moves here.")
    repin: bool = flag("--repin", "Pin agents and skills outside the folder to their latest version.")
    prune: bool = flag("--prune", "Archive what the stack has and no file declares.")
    prune_all: bool = flag("--prune-all", "With --prune: also more than half of the stack.")
    send_secrets: bool = flag("--send-secrets", "Send secrets again, even if nothing else changed.")
    verbose: bool = flag("--verbose -v", "Show what is unchanged, too.")

    def options(self, *, is_look: bool = False) -> "Options":
        """Return what was typed, checked. Raises UsageError."""
        from qoder_cli.nouns.table import in_folders
        from qoder_cli.stack.folder import STACK_NAME
        from qoder_cli.stack.plan import Options

        only = []
        for word in self.only or ():
            nouns = in_folders().values()
            noun = next((noun for noun in nouns if word.lower() in (noun.words, noun.type, noun.operations)), None)
            if noun is None:
                words = ", ".join(noun.words for noun in nouns)
                raise UsageError(f"--only: {word[:60]!r} is not a kind", hint=f"use one of {words}")
            only.append(noun)
        if self.adopt_from is not None and not STACK_NAME.fullmatch(self.adopt_from):
            raise UsageError("--adopt-from is not the name of a stack", hint="give the one in its qoder.yaml")
        if self.prune_all and not self.prune:
            raise UsageError("--prune-all only works with --prune", hint="add --prune")
        if self.prune and only:
            raise UsageError("--prune and --only cannot be used together", hint="run apply --prune without --only")
        chosen = (self.adopt, self.adopt_from, self.repin, self.prune, self.prune_all, self.send_secrets)
        return Options(*chosen, tuple(only), is_look)


def apply(ctx: typer.Context, paths: Texts = _PATHS, yes: bool = YES, *, how: ApplyOptions) -> None:
    """Make agents, deployments and all they need match the files of a folder.

    Reads YAML, JSON, and Markdown with front matter. The kind is the `type` in
    a file, or its folder: agents/, deployments/ … Things are found by their
    name, or by the `id` in a file; files refer to each other by name or path.
    Fields that a file leaves out stay as they are. Given files, or -, it
    applies only these.

    With `stack: NAME` in qoder.yaml, all that is made carries that mark:
    fields removed from a file are cleared, and --prune archives what no file
    declares. With a shared store (QODER_KEYS), one machine applies a stack at
    a time. Checks all files before anything is sent, shows the plan (as `qoder
    diff`) and asks; scripts need --yes. Exits 6 if something cannot be done, 9
    if a response was lost: apply again then. See: qoder help stack

    Examples:
      qoder apply
      qoder apply agents deployments/nightly.md --yes"""
    app: App = ctx.obj
    options, paths = how.options(), paths or ["."]
    again = app.command("apply", *paths, *options_typed(ctx, without=["yes"]))
    reading = _read(app, paths, options)
    from qoder_cli.stack import plan_text
    from qoder_cli.stack.turns import turn_of
    from qoder_cli.stack.writer import look_again

    stack = reading.folder.stack
    with turn_of(app, stack) if yes else nullcontext() as turn:
        planner, plan = _planned(app, reading, options)
        asks = not yes and app.may_ask
        if not asks:
            plan = plan.refusing_adoption(stack, options)
        if (plan.is_open and asks) or not app.progress.is_quiet:
            plan_text.show(app.err, plan, verbose=how.verbose)
        else:
            for line in plan_text.kept_of(plan):
                app.progress.warn(line)
        if not asks and (error := plan.blocked):
            message = f"{error.message.removesuffix('; nothing was changed')}; nothing was applied"
            raise error.with_(message=message, next=error.next or _next_to(error, again))
        if plan.is_open and app.settings.read_only:
            raise UsageError(f"{app.settings.read_only}: nothing was applied", hint="to preview: qoder diff")
        if yes or not plan.is_open:
            if plan.is_open:
                app.progress.note(f"applying: {plan_text.in_words(plan)}{app.client.settings.whereabouts}")
            return _write(app, planner, plan, turn, again)
    if not app.may_ask:
        why = "confirmation required; nothing was applied"
        raise UsageError(why, hint="pass --yes, or preview with qoder diff", next=_typed_again([*again, "--yes"]))
    question = f"Apply to {app.settings.host}: {plan_text.in_words(plan)}?"
    if not confirmed(app, question, nothing="nothing was applied"):
        raise UsageError("cancelled; nothing was applied")
    with turn_of(app, stack) as turn:
        _write(app, planner, look_again(planner, plan), turn, again)


def diff(ctx: typer.Context, paths: Texts = _PATHS, *, how: ApplyOptions) -> int:
    """Show what apply would change. Nothing is written.

    Exits 0 if there is nothing to do, 8 if something differs, 6 if something
    cannot be done. A ${VAR} that is not set is not compared; the plan says so.
    A pipe gets a row for each thing that differs; -o markdown is a comment for
    a merge request.

    Examples:
      qoder diff
      qoder diff -o markdown > plan.md"""
    from qoder_cli.nouns.edits.step import without_writing
    from qoder_cli.stack import plan_text
    from qoder_cli.stack.writer import shown

    app: App = ctx.obj
    options, paths = how.options(is_look=True), paths or ["."]
    reading = _read(app, paths, options)
    _, plan = _planned(app, reading, options)
    plan = plan.refusing_adoption(reading.folder.stack, options)
    if app.output.is_markdown:
        app.out.write(plan_text.as_markdown(plan))
    elif app.output.is_drawn:
        plan_text.show(app.out, plan, verbose=how.verbose)
    else:
        items = [item for item in plan.all if plan_text.is_news(item) or how.verbose]
        _print(app, [shown(without_writing(item.step), item.remarks) for item in items])
        for line in (*plan_text.remarks_of(items), *plan_text.notes_of(plan), plan_text.in_words(plan)):
            app.progress.note(line)
    if error := plan.blocked:
        again = app.command("diff", *paths, *options_typed(ctx))
        raise error.with_(next=error.next or _next_to(error, again))
    return int(Exit.NOT_YET) if plan.is_open else 0


def _read(app: App, paths: Sequence[str], options: "Options") -> "Reading":
    """Return what the paths declare. Raises UsageError, also where it lives elsewhere, or pruning would not be safe."""
    from qoder_cli.stack import fence
    from qoder_cli.stack.declarations import read
    from qoder_cli.stack.folder import find

    folder = find(paths)
    reading = read(folder, app.env, only=options.only, stdin=app.stdin, may_lack=options.is_look)
    if not reading.things:
        raise UsageError(f"{', '.join(paths)}: nothing is declared here", hint="start with: qoder init")
    if options.prune and folder.stack is None:
        why = "--prune needs a stack: it removes only what carries its mark"
        raise UsageError(why, hint="add stack: NAME to qoder.yaml")
    if options.prune and not folder.is_whole:
        why = "--prune needs the whole folder, the one with qoder.yaml"
        raise UsageError(why, hint=f"run qoder apply {folder.root} --prune")
    fence.check(app, folder.fence)
    fence.warn_of_twin(app, folder)
    for warning in reading.warnings:
        app.progress.warn(warning)
    return reading


def _planned(app: App, reading: "Reading", options: "Options") -> "tuple[Planner, Plan]":
    from qoder_cli.stack.plan import Planner
    from qoder_cli.stack.pruning import pruned

    planner = Planner(app, reading, options)
    return planner, pruned(planner, planner.plan())


def _next_to(error: QoderError, again: Sequence[str]) -> list[str] | None:
    """Return the command that does what a hint says of an option."""
    option = next((option for option in ("--adopt", "--prune-all") if f"pass {option}" in (error.hint or "")), None)
    return _typed_again([*again, option]) if option else None


def _typed_again(command: Sequence[str]) -> list[str] | None:
    """Return a command, unless it reads what is read by now."""
    return None if "-" in command else list(command)


def _write(app: App, planner: "Planner", plan: "Plan", turn: "StackTurn | None", again: Sequence[str]) -> None:
    from qoder_cli.stack import fence
    from qoder_cli.stack.writer import Writer, shown

    def on_done(result: "Applied") -> None:
        if result.error is not None and result.action != "not_attempted":
            app.progress.warn(_naming(result))
        elif result.action in ("created", "changed", "archived", "deleted"):
            app.progress.change(f"{result.action} {result.step.noun.called} {result.label}")

    writer = Writer(planner, plan, turn, on_done)
    count = len(plan.all)

    def done() -> int:
        return count - writer.results.count(None)

    leaving = "finishing the current writes; skipping the rest"
    signalled = None
    try:
        with app.progress.waiting(
            lambda: f"applying: {done()} of {count}", leaving=leaving, share=lambda: done() / max(count, 1)
        ):
            writer.write()
    except Signalled as early:
        signalled = early
    results = [shown(result) for result in writer.done]
    try:
        _print(app, results)
        fence.remember(app, planner.reading.folder)
    except Signalled as late:
        signalled = late
    except InternalError as unwritten:  # a full disk does not undo a write
        raise last_words(unwritten, _so_far(results), unwritten.message) from None
    is_cut = any(result.action == "not_attempted" for result in results)
    _conclude(results, signalled, turn.loss if turn is not None and is_cut else None, _typed_again(again))


def _print(app: App, results: "Sequence[Applied]") -> None:
    from qoder_cli.local.remembered import remember
    from qoder_cli.nouns.edits.step import Applied
    from qoder_cli.nouns.shown import name_of

    for noun in dict.fromkeys(result.step.noun for result in results):
        written = [result.found.raw for result in results if result.step.noun is noun and result.found]
        remember(app.store, app.settings, noun.words, [(raw, name_of(raw)) for raw in written])
    shown = [result for result in results if result.is_fine or app.output.format != "id"]
    rows = Rows[Applied](
        app.output,
        fields=lambda result: {"kind": result.of_stack["kind"], **result.row()},
        data=Applied.as_json,
        first=_FIRST,
    )
    with rows:
        rows.show(shown)


def _conclude(
    results: "Sequence[Applied]", signalled: Signalled | None, lost: QoderError | None, again: list[str] | None
) -> None:
    if signalled is not None:
        stopped = signalled.in_words("stopped by a signal", next=again)
        is_unknown = any(result.action == "unknown" for result in results)
        hint = "apply again to finish"
        raise last_words(stopped, stopped.message, _so_far(results), is_unknown=is_unknown, hint=hint)
    error = deciding_error(results) or lost
    if error is None:
        return
    message = next((_naming(result) for result in results if result.error is error), error.message)
    raise last_words(error, _so_far(results) if len(results) > 1 else None, message)


def _naming(result: "Applied") -> str:
    message = result.error.message if result.error else ""
    message = message.removesuffix("; nothing was sent")  # of this thing; others were written
    if result.step.name in message or (result.found is not None and result.found.id in message):
        return message
    return f"{result.step.noun.called} {result.label}: {message}"


def _so_far(results: "Sequence[Applied]") -> str:
    """Return how many became what: what is unknown first, what was not attempted last."""
    counts = Counter(result.became for result in results)
    ranked = sorted(counts.items(), key=lambda counted: {"unknown": 0, "not attempted": 2}.get(counted[0], 1))
    return ", ".join(f"{count} {action}" for action, count in ranked)
