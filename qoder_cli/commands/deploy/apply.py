"""`qoder deploy apply`: deployments made what files say."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from qoder_cli.app import State
from qoder_cli.base.errors import Exit, InternalError, NotYet, QoderError, Signalled, UsageError, first_by_rank
from qoder_cli.cli.options import Yes
from qoder_cli.help.completion import values

if TYPE_CHECKING:
    from qoder_cli.deployments.applied import Applied
    from qoder_cli.deployments.step import Step


def apply(
    ctx: typer.Context,
    files: Annotated[
        list[str],
        typer.Option(
            "--filename",
            "-f",
            metavar="FILE",
            help="A file, a folder or - for stdin; repeatable.",
            autocompletion=values.files,
        ),
    ],
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change, also with --no-progress.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="--dry-run, and exit 8 when something would change.")
    ] = False,
    repin: Annotated[
        bool, typer.Option("--repin", help="Pin agents that are named without a version to their latest.")
    ] = False,
    send_secrets: Annotated[
        bool, typer.Option("--send-secrets", help="Send the tokens of resources too; no server shows them.")
    ] = False,
) -> int:
    """Make deployments what files say: create those missing, change the rest.

    A file is YAML or JSON, of one deployment or several; of a folder all its
    files are taken, but none of the folders in it. A deployment is found by
    its name, or by its id if the file has one. Only what differs is sent:
    metadata becomes what the file has, any other field that the file leaves
    out stays as it is, and an agent named without a version stays pinned.
    ${VAR} is taken from the environment, but not in what `deploy get --json`
    printed (`"type": "deployment"`). In environment_variables its value is
    shown as [hidden], and so are tokens and passwords of resources.

    It shows what differs, and when a new schedule fires, and asks; in a
    script it needs --yes. Afterwards it reads back, and exits 6 if the server
    kept something else. One that fails leaves the others done; all files are
    checked before anything is sent.

    No server shows tokens and passwords of resources, so that nobody can say
    whether they differ: they are sent with the resources when something else
    in these does, or with --send-secrets, and a warning tells when not.

    Examples:
      qoder deploy export dep_minute | qoder deploy apply -f - --yes
      qoder deploy export dep_minute | qoder deploy apply -f - --exit-code

    All exit codes: qoder help exit-codes"""
    from qoder_cli.deployments.applied import would
    from qoder_cli.deployments.planning import plan
    from qoder_cli.deployments.show import show_changes
    from qoder_cli.files.load import load

    state: State = ctx.obj
    declared = load(files, stdin=state.stdin, env=state.env)
    steps = plan(state, declared, repin=repin, send_secrets=send_secrets)
    is_open, only_look = any(step.is_open for step in steps), dry_run or exit_code
    if only_look:
        show_changes(state, steps)
    elif is_open:
        _announce(state, steps, yes=yes)
    _tell_what_is_left(state, steps, files)
    if only_look:
        _print_applied(state, list(map(would, steps)))
        return _would(steps, exit_code=exit_code)
    if is_open and not yes:
        _ask(state, steps)
    return _apply(state, steps)


def _would(steps: Sequence["Step"], *, exit_code: bool) -> int:
    if error := first_by_rank(step.error for step in steps if step.error):
        raise error
    count = sum(step.is_open for step in steps)
    if count and exit_code:
        raise NotYet(f"{count} of {len(steps)} deployments would change", hint="qoder deploy apply without --exit-code")
    return Exit.OK


def _announce(state: State, steps: Sequence["Step"], *, yes: bool) -> None:
    """Show what is to be written; where nobody is asked, with profile and host, which else the question has."""
    from qoder_cli.deployments.show import show_changes

    if state.settings.read_only:
        raise UsageError("QODER_READ_ONLY is set: nothing was applied", hint="--dry-run only looks")
    if yes:
        state.progress.note(f"applying: {_in_words(steps)} {_names(steps)} {state.client.settings.whereabouts}")
    if not (yes and state.progress.is_quiet):
        show_changes(state, steps)


def _tell_what_is_left(state: State, steps: Sequence["Step"], files: Sequence[str]) -> None:
    """Say what of the files is not applied, or comes to nothing."""
    from qoder_cli.deployments.show import warn_of_plan
    from qoder_cli.files.source import folders_in

    for path in files:
        if folders := folders_in(path):
            state.progress.note(f"{path}: the folders in it are passed over: {_few(folders)}")
    warn_of_plan(state, steps)
    for step in steps:
        if "status" in step.declared.ignored:
            state.progress.note(f"{step.place}: its status is not applied; pause and unpause change it")
        if step.declared.unfilled:
            state.progress.note(
                f"{step.place}: ${{…}} in it is left as it is, for its type says that a server wrote it"
            )
        if step.unsent:
            state.progress.warn(
                f"{step.known}: {' and '.join(step.unsent)} cannot be compared with the server's; "
                "not sent without --send-secrets"
            )


def _ask(state: State, steps: Sequence["Step"]) -> None:
    """Ask whether it shall be written, and look once more at what was asked about."""
    from qoder_cli.deployments.planning import look_again

    if not state.may_ask:
        raise UsageError("nothing was applied: it needs a yes", hint="add --yes, or --dry-run to look")
    if not typer.confirm(f"{_in_words(steps).capitalize()} {state.client.settings.whereabouts}?", err=True):
        raise UsageError("nothing was applied: you said no")
    look_again(state, steps)


def _in_words(steps: Sequence["Step"]) -> str:
    """Return how many are to be created and changed."""
    new = sum(step.is_open and step.current is None for step in steps)
    changed = sum(step.is_open and step.current is not None for step in steps)
    return " and ".join(f"{verb} {count}" for verb, count in (("create", new), ("change", changed)) if count)


def _names(steps: Sequence["Step"]) -> str:
    return _few([step.name for step in steps if step.is_open])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _apply(state: State, steps: Sequence["Step"]) -> int:
    """Apply the steps that are open, and print what became of all, also when a signal ends it early."""
    from qoder_cli.deployments import applying
    from qoder_cli.deployments.namesakes import with_twins
    from qoder_cli.runs.fleet.batch import Batch

    done: dict[int, Applied] = {}

    def on_done(number: int, applied: "Applied") -> None:
        done[number] = applied
        _tell(state, applied, so_far=f"applying: {len(done)} of {len(steps)}")

    def items() -> "list[Applied]":
        return [done[number] if number in done else applying.give_up(step) for number, step in enumerate(steps)]

    batch = Batch(state, lambda step, pace: applying.apply(state, step, pace, or_find=True), applying.give_up)
    signalled = None
    try:
        with state.progress.waiting("applying", leaving="what was not begun is not done"):
            signalled = batch.run(steps, on_done)
            if signalled is None:
                done.update(enumerate(with_twins(state, items())))
        _print_applied(state, items())
    except Signalled as late:  # while it was printed
        signalled = late
    except InternalError as unwritten:  # a full disk does not make undone what was done
        unwritten.message = f"{_so_far(items())}; {unwritten.message}"
        raise
    return _conclude(items(), signalled)


def _tell(state: State, applied: "Applied", *, so_far: str) -> None:
    if applied.error is not None:
        said, id = applied.error.message, applied.shown.id if applied.shown else applied.step.name
        whose = (
            f"{applied.step.name} ",
            f"whether creating {applied.step.name} ",
            f"deployment {id}",
            f"whether changing {id} ",
        )
        state.progress.warn(said if said.startswith(whose) else f"{applied.known}: {said}")
    elif applied.action in ("created", "changed"):
        state.progress.change(f"{applied.action} {applied.known}", status=so_far)


def _print_applied(state: State, items: Sequence["Applied"]) -> None:
    """Print what became of each, or would."""
    from qoder_cli.deployments.applied import FIRST

    shown = [item for item in items if item.is_fine or state.output.format != "id"]
    state.output.records([item.row() for item in shown], data=[item.as_json() for item in shown], id="id", first=FIRST)


def _conclude(items: Sequence["Applied"], signalled: Signalled | None) -> int:
    """Return 0 when all are as their files say; raise the error that decides the exit code, saying how many are."""
    error: QoderError | None = first_by_rank(item.error for item in items if item.error)
    so_far = _so_far(items)
    if signalled is not None:
        raise _stopped(signalled, so_far, unknown=sum(item.action == "unknown" for item in items))
    if error is None:
        return Exit.OK
    if len(items) > 1:
        error.message = f"{so_far}; {error.message}"
    raise error


def _so_far(items: Sequence["Applied"]) -> str:
    return f"{sum(item.exit_code == 0 for item in items)} of {len(items)} are as their files say"


def _stopped(signalled: Signalled, so_far: str, *, unknown: int) -> QoderError:
    if not unknown:
        return signalled.in_words(f"stopped by a signal; {so_far}", hint="apply again: it does what is left")
    error = signalled.in_words(
        f"stopped by a signal; {so_far}; of {unknown} it is not known",
        hint="look at them, then apply again: it does what is left",
    )
    error.kind = Exit.OUTCOME_UNKNOWN
    return error
