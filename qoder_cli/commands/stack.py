"""`qoder apply` and `qoder diff`: a whole stack made what the files of a folder say."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import InternalError, NotYet, QoderError, Signalled, UsageError
from qoder_cli.cli.options import YES, Texts, argument, confirmed, flag, several
from qoder_cli.help.completion import values
from qoder_cli.output.results import deciding_error, last_words

if TYPE_CHECKING:
    from qoder_cli.stack.applying import AppliedThing
    from qoder_cli.stack.folder import Folder
    from qoder_cli.stack.items import Options, StackPlan
    from qoder_cli.stack.plan import Planner
    from qoder_cli.stack.turns import StackTurn

_PATHS = argument("PATH...", "Files and folders; default: this folder.", values.files, default=None)
_FIRST = ("kind", "name", "action", "changes", "error", "id", "file")  # as there is room


class How(NamedTuple):
    """How a folder is compared and applied, as typed. These are the options, too."""

    only: Texts = several("--only", "KIND", "Only these: env, vault, memory, skill, agent or deploy.")
    repin: bool = flag("--repin", "Pin agents and skills outside the folder to their latest version.")
    prune: bool = flag("--prune", "Archive what the stack has and no file declares.")
    prune_all: bool = flag("--prune-all", "With --prune: also more than half of the stack.")
    send_secrets: bool = flag("--send-secrets", "Send secrets again, even if nothing else changed.")
    verbose: bool = flag("--verbose -v", "Show what is unchanged, too.")


def apply(
    app: App,
    paths: Texts = _PATHS,
    yes: bool = YES,
    dry_run: bool = flag("--dry-run", "Show the changes without applying them."),
    exit_status: bool = flag("--exit-status", "Like --dry-run, but exit 8 if anything would change."),
    adopt: bool = flag("--adopt", "Take over things of the same name that this stack did not make."),
    *,
    how: How,
) -> None:
    """Make agents, deployments and all they need match the files of a folder.

    Reads all files of a folder: YAML, JSON, and Markdown with front matter. The
    kind is the `type` in a file, or its folder: agents/, deployments/ … Things
    are found by their name, or by the `id` in a file. Files refer to each other
    by name or path. Fields that a file leaves out stay as they are.

    With `stack: NAME` in qoder.yaml, all that is made carries that mark: then
    fields removed from a file are cleared, and --prune archives what no file
    declares. With a store that machines share (QODER_KEYS), one machine applies
    a stack at a time. Shows the plan and asks; scripts need --yes. All files are
    checked before anything is sent. Exits 6 if something cannot be done, 9 if a
    response was lost and what it did is unknown: apply again then. See: qoder
    help stack

    Examples:
      qoder apply
      qoder apply agents deployments/nightly.md --yes"""
    options = _options(how, adopt=adopt)
    _run(app, paths or ["."], options, how, yes=yes, only_look=dry_run or exit_status, exits_if_open=exit_status)


def diff(
    app: App,
    paths: Texts = _PATHS,
    adopt: bool = flag("--adopt", "As apply --adopt would do it."),
    *,
    how: How,
) -> None:
    """Show what apply would change. Nothing is written.

    Exits 0 if there is nothing to do, 8 if something differs, 6 if something
    cannot be done. With -o markdown the plan is a comment for a merge request.

    Examples:
      qoder diff
      qoder diff -o markdown > plan.md"""
    options = _options(how, adopt=adopt)
    _run(app, paths or ["."], options, how, only_look=True, exits_if_open=True)


def _options(how: How, *, adopt: bool) -> "Options":
    from qoder_cli.stack.folder import FOLDERS, KINDS, TYPES
    from qoder_cli.stack.items import Options

    only = []
    for word in how.only or ():
        kind = {**TYPES, **FOLDERS}.get(word, word)
        if kind not in KINDS:
            raise UsageError(f"--only: {word[:60]!r} is not a kind", hint=f"use one of {', '.join(KINDS)}")
        only.append(kind)
    if how.prune_all and not how.prune:
        raise UsageError("--prune-all only works with --prune", hint="add --prune")
    if how.prune and only:
        raise UsageError("--prune and --only cannot be used together", hint="run apply --prune without --only")
    return Options(adopt, how.repin, how.prune, how.prune_all, how.send_secrets, tuple(only))


def _run(
    app: App,
    paths: Sequence[str],
    options: "Options",
    how: How,
    *,
    yes: bool = False,
    only_look: bool = False,
    exits_if_open: bool = False,
) -> None:
    from qoder_cli.stack import fence, showing
    from qoder_cli.stack.applying import as_doomed, as_planned, look_again
    from qoder_cli.stack.folder import find
    from qoder_cli.stack.plan import Planner, blocked, refuse_adoption
    from qoder_cli.stack.things import load
    from qoder_cli.stack.turns import turn_of

    folder = find(paths)
    declared = load(folder, app.env, options.only)
    if not declared.things:
        raise UsageError(f"{', '.join(paths)}: nothing is declared here", hint="start with: qoder init")
    _check_prune(folder, options)
    fence.check(app, folder.fence)
    for warning in declared.warnings:
        app.progress.warn(warning)
    with turn_of(app, folder.stack) if yes and not only_look else nullcontext() as turn:
        planner = Planner(app, folder.stack, options)
        plan = planner.plan(declared.things, is_whole=folder.is_whole)
        asks = not yes and not only_look and app.may_ask
        if not asks:
            refuse_adoption(plan, options, folder.stack)
        is_open = any(item.step.is_open for item in plan.items) or bool(plan.doomed)

        def show() -> None:
            """Show the plan: also without progress to a person who is asked about it."""
            if (asks and is_open) or not app.progress.is_quiet:
                showing.show_plan(app, plan, verbose=how.verbose)

        if only_look:
            if app.output.is_markdown:
                app.out.write(showing.as_markdown(app, plan))
            else:
                show()
                _print(app, [*map(as_planned, plan.items), *map(as_doomed, plan.doomed)])
            if error := blocked(plan):
                raise error
            if is_open and exits_if_open:
                command = app.command("apply", *paths, "--yes")
                raise NotYet(showing.in_words(plan), hint="to apply", next=command)
            return
        if not asks and (error := blocked(plan)):
            show()
            raise error.with_(message=f"{error.message.removesuffix('; nothing was changed')}; nothing was applied")
        if is_open and app.settings.read_only:
            raise UsageError("QODER_READ_ONLY is set: nothing was applied", hint="to preview: qoder diff")
        show()
        if yes or not is_open:
            if is_open:
                app.progress.note(f"applying {showing.in_words(plan)}{app.client.settings.whereabouts}")
            return _apply(app, planner, plan, folder, turn)
    if not app.may_ask:
        raise UsageError("confirmation required; nothing was applied", hint="pass --yes, or preview with qoder diff")
    if error := blocked(plan):
        raise error
    question = f"Apply: {showing.in_words(plan)}{app.client.settings.whereabouts}?"
    if not confirmed(app, question, nothing="nothing was applied"):
        raise UsageError("cancelled; nothing was applied")
    with turn_of(app, folder.stack) as turn:
        look_again(planner, plan, declared.things, is_whole=folder.is_whole)
        _apply(app, planner, plan, folder, turn)


def _check_prune(folder: "Folder", options: "Options") -> None:
    """Raise UsageError where pruning would not be safe."""
    if not options.prune:
        return
    if folder.stack is None:
        raise UsageError(
            "--prune needs a stack: it removes only what carries its mark", hint="add stack: NAME to qoder.yaml"
        )
    if not folder.is_whole:
        raise UsageError(
            "--prune needs the whole folder, the one with qoder.yaml", hint=f"run qoder apply {folder.root} --prune"
        )


def _apply(app: App, planner: "Planner", plan: "StackPlan", folder: "Folder", turn: "StackTurn | None") -> None:
    from qoder_cli.stack.applying import AppliedThing, apply_all, find_twins, given_up, prune

    pruned: list[AppliedThing] = []
    count = len(plan.items) + len(plan.doomed)

    def on_done(item: object, result: "AppliedThing") -> None:
        if result.error is not None and result.action != "not_attempted":
            app.progress.warn(result.message if result.found is None else result.error.message)
        elif result.action in ("created", "changed"):
            app.progress.change(f"{result.action} {result.kind} {result.label}")

    def on_pruned(result: "AppliedThing") -> None:
        pruned.append(result)
        if result.error is not None:
            app.progress.warn(result.error.message)
        else:
            app.progress.change(f"{result.action} {result.kind} {result.label}")

    def done() -> int:
        return sum(item.result is not None for item in plan.items) + len(pruned)

    def so_far() -> str:
        return f"applying: {done()} of {count}"

    def all_results() -> "list[AppliedThing]":
        results = []
        for item in plan.items:
            result = item.result
            if not isinstance(result, AppliedThing):
                result = AppliedThing.of(item.thing, given_up(item))
            results.append(result)
        return [*results, *pruned]

    def write_all() -> None:
        leaving = "finishing the current writes; skipping the rest"
        with app.progress.waiting(so_far, leaving=leaving, share=lambda: done() / max(count, 1)):
            if signalled := apply_all(app, planner, plan, on_done, turn):
                raise signalled
            find_twins(app, plan)
            if plan.doomed and all(each.error is None for each in all_results()):
                prune(app, plan, folder.stack or "", on_pruned, turn)

    signalled = None
    try:
        write_all()
    except Signalled as early:
        signalled = early
    try:
        _print(app, all_results())
    except Signalled as late:
        signalled = late
    except InternalError as unwritten:  # a full disk does not undo a write
        raise last_words(unwritten, _so_far(all_results()), unwritten.message) from None
    is_cut = any(each.action == "not_attempted" for each in all_results()) or len(pruned) < len(plan.doomed)
    _conclude(all_results(), signalled, turn.loss if turn is not None and is_cut else None)


def _print(app: App, results: "Sequence[AppliedThing]") -> None:
    from qoder_cli.local.remembered import remember

    for words in dict.fromkeys(each.step.noun.words for each in results):
        created = [(each.found.raw, each.step.name) for each in results if each.found and each.action == "created"]
        remember(app.store, app.settings, words, [one for one in created if one and words])
    shown = [each for each in results if each.is_fine or app.output.format != "id"]
    app.output.records([each.row() for each in shown], data=[each.as_json() for each in shown], id="id", first=_FIRST)


def _conclude(results: "Sequence[AppliedThing]", signalled: Signalled | None, lost: QoderError | None) -> None:
    if signalled is not None:
        stopped, hint, message = signalled.in_words("stopped by a signal"), "apply again to finish", None
        if unknown := sum(each.action == "unknown" for each in results):
            message = f"unknown: {unknown}"
        raise last_words(stopped, stopped.message, _so_far(results), message, is_unknown=unknown > 0, hint=hint)
    error = deciding_error(results) or lost
    if error is not None:
        raise last_words(error, _so_far(results) if len(results) > 1 else None, error.message)


def _so_far(results: "Sequence[AppliedThing]") -> str:
    counts = Counter(each.became for each in results)
    return ", ".join(f"{count} {action}" for action, count in counts.items())
