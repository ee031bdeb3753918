"""`qoder deploy apply`: deployments made what files say."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from qoder_cli.app import App
from qoder_cli.base.errors import InternalError, NotYet, Signalled, UsageError, first_by_rank
from qoder_cli.cli.options import YES, Texts, argument, confirmed, flag, several
from qoder_cli.commands.editing import DRY_RUN
from qoder_cli.help.completion import values
from qoder_cli.output.results import deciding_error, last_words

if TYPE_CHECKING:
    from qoder_cli.deployments.step import DeploymentStep
    from qoder_cli.nouns.edits.step import Applied

_FILES = argument("FILE...", "Files, folders or - for stdin.", values.files, default=None)


def apply(
    app: App,
    files: Texts = _FILES,
    more_files: Texts = several("--file --filename -f", "FILE", "The same as FILE.", values.files),
    yes: bool = YES,
    dry_run: bool = DRY_RUN,
    exit_status: bool = flag("--exit-status", "Like --dry-run, but exit 8 if anything would change."),
    repin: bool = flag("--repin", "Re-pin agents without a version to their latest version."),
    send_secrets: bool = flag("--send-secrets", "Always send resource tokens, even if nothing else changed."),
) -> None:
    """Create or update deployments from files.

    Files are YAML or JSON with one or more deployments, or Markdown with front
    matter and the first message below; of a folder, all files directly in it.
    Deployments are matched by id if the file has one, otherwise by name. Absent
    fields are unchanged, except that `metadata` is replaced as a whole; an
    agent without a version keeps its pinned version. `agent`, `environment` and
    `vaults` take names and paths of files, too. `paused: true` or `false` is
    kept so. ${VAR} is expanded from the environment, but not in the output of
    `deploy get --json`. Changes are shown without the values of
    environment_variables.

    Shows the changes and asks for confirmation; scripts need --yes. All files
    are validated before anything is sent. After writing, the result is
    verified: exit 6 if the server stored something else. A failure does not
    undo the others.

    The server never returns tokens and passwords of resources, so they cannot
    be compared. They are sent only when something else in `resources` changes
    or with --send-secrets; otherwise a warning says so. A change of `resources`
    that would drop the token of a repository is refused.

    Examples:
      qoder deploy export dep_minute | qoder deploy apply - --yes
      qoder deploy export dep_minute | qoder deploy apply - --exit-status"""
    from qoder_cli.deployments.applying import turn
    from qoder_cli.deployments.load import load
    from qoder_cli.deployments.planning import look_again, plan
    from qoder_cli.deployments.step import show_changes
    from qoder_cli.nouns.edits.step import without_writing

    if not (paths := [*(more_files or ()), *(files or ())]):
        raise UsageError("missing argument FILE", hint="see qoder deploy apply --help")
    declared = load(paths, stdin=app.stdin, env=app.env)
    only_look = dry_run or exit_status
    with turn(app) if yes and not only_look else nullcontext():
        steps = plan(app, declared, repin=repin, send_secrets=send_secrets)
        is_open = any(step.is_open for step in steps)
        if only_look:
            if not app.progress.is_quiet:
                show_changes(app, steps)
        elif is_open and app.settings.read_only:
            raise UsageError("QODER_READ_ONLY is set: nothing was applied", hint="to preview: --dry-run")
        elif is_open:
            if yes:
                app.progress.note(f"applying {_named_in_words(steps)} {app.client.settings.whereabouts}")
            if not (yes and app.progress.is_quiet):
                show_changes(app, steps)
        _warn_of_ignored(app, steps, paths)
        if only_look:
            _print_applied(app, list(map(without_writing, steps)))
            if error := first_by_rank(step.error for step in steps if step.error):
                raise error
            if is_open and exit_status:
                options = [*(["--repin"] if repin else []), *(["--send-secrets"] if send_secrets else [])]
                would = f"{sum(step.is_open for step in steps)} of {len(steps)} deployments would change"
                command = app.command("deploy", "apply", *paths, *options, "--yes")
                raise NotYet(would, hint="to apply", next=command)
            return
        if yes or not is_open:
            return _apply(app, steps)
    if not app.may_ask:
        raise UsageError("confirmation required; nothing was applied", hint="pass --yes, or --dry-run to preview")
    question = f"{_in_words(steps).capitalize()} {app.client.settings.whereabouts}?"
    if not confirmed(app, question, nothing="nothing was applied"):
        raise UsageError("cancelled; nothing was applied")
    with turn(app):
        look_again(app, steps)
        _apply(app, steps)


def _warn_of_ignored(app: App, steps: Sequence["DeploymentStep"], paths: Sequence[str]) -> None:
    from qoder_cli.deployments.load import folders_in
    from qoder_cli.deployments.step import warn_of_plan

    for path in paths:
        if folders := folders_in(path):
            app.progress.note(f"{path}: subfolders ignored: {_few(folders)}")
    warn_of_plan(app, steps)
    for step in steps:
        if "status" in step.declared.ignored:
            app.progress.note(f"{step.place}: `status` is ignored; use `deploy pause` and `deploy unpause`")
        if step.declared.unfilled:
            app.progress.note(f'{step.place}: ${{…}} is not expanded, because the object has "type": "deployment"')
        if step.unsent:
            secrets = " and ".join(step.unsent)
            app.progress.warn(f"{step.label}: {secrets} not sent (secrets cannot be compared; use --send-secrets)")


def _in_words(steps: Sequence["DeploymentStep"]) -> str:
    new = sum(step.is_open and step.current is None for step in steps)
    changed = sum(step.is_open and step.current is not None for step in steps)
    return " and ".join(f"{verb} {count}" for verb, count in (("create", new), ("change", changed)) if count)


def _named_in_words(steps: Sequence["DeploymentStep"]) -> str:
    """Return how many changes are made, and to what, as `2 changes: create weekly, change nightly-report`."""
    wanted = [step for step in steps if step.is_open]
    new = [step.name for step in wanted if step.current is None]
    changed = [step.name for step in wanted if step.current is not None]
    changes = ", ".join(f"{verb} {_few(names)}" for verb, names in (("create", new), ("change", changed)) if names)
    return f"{len(wanted)} {'change' if len(wanted) == 1 else 'changes'}: {changes}"


def _few(names: Sequence[str]) -> str:
    first = ", ".join(names[:3])
    if len(names) > 3:
        return f"{first} and {len(names) - 3} more"
    return first


def _apply(app: App, steps: Sequence["DeploymentStep"]) -> None:
    from qoder_cli.deployments import applying
    from qoder_cli.deployments.planning import with_twins

    done: dict[int, Applied] = {}

    def on_done(number: int, applied: "Applied") -> None:
        done[number] = applied
        if applied.error is not None:
            message, id = applied.error.message, applied.found.id if applied.found else applied.step.name
            names_it = message.startswith((f"{applied.step.name} ", f"deployment {id}", "unknown whether "))
            app.progress.warn(message if names_it else f"{applied.label}: {message}")
        elif applied.action in ("created", "changed"):
            app.progress.change(f"{applied.action} {applied.label}")

    def so_far() -> str:
        return f"applying: {len(done)} of {len(steps)}"

    def items() -> "list[Applied]":
        return [done[number] if number in done else applying.given_up(step) for number, step in enumerate(steps)]

    def write_all() -> None:
        leaving = "finishing the current write; skipping the rest"
        with app.progress.waiting(so_far, leaving=leaving, share=lambda: len(done) / len(steps)):
            if signalled := applying.apply_all(app, steps, on_done):
                raise signalled
            done.update(enumerate(with_twins(app, items())))

    signalled = None
    try:
        write_all()
    except Signalled as early:
        signalled = early
    try:
        _print_applied(app, items())
    except Signalled as late:
        signalled = late
    except InternalError as unwritten:  # a full disk does not undo a write
        raise last_words(unwritten, _so_far(items()), unwritten.message) from None
    _conclude(items(), signalled)


def _print_applied(app: App, items: Sequence["Applied"]) -> None:
    from qoder_cli.local.remembered import remember
    from qoder_cli.nouns.edits.step import FIRST
    from qoder_cli.nouns.shown import name_of

    found = [item.found.raw for item in items if item.found]  # of what was created, too: the list may lag behind
    remember(app.store, app.settings, "deploy", [(raw, name_of(raw)) for raw in found])
    shown = [item for item in items if item.is_fine or app.output.format != "id"]
    app.output.records([item.row() for item in shown], data=[item.as_json() for item in shown], id="id", first=FIRST)


def _conclude(items: Sequence["Applied"], signalled: Signalled | None) -> None:
    if signalled is not None:
        stopped, hint, message = signalled.in_words("stopped by a signal"), "run the command again to finish", None
        if unknown := sum(item.action == "unknown" for item in items):
            hint, message = "check them, then run the command again", f"unknown: {unknown}"
        raise last_words(stopped, stopped.message, _so_far(items), message, is_unknown=unknown > 0, hint=hint)
    error = deciding_error(items)
    if error is None:
        return
    raise last_words(error, _so_far(items) if len(items) > 1 else None, error.message)


def _so_far(items: Sequence["Applied"]) -> str:
    return f"{sum(item.exit_code == 0 for item in items)} of {len(items)} deployments match their files"
