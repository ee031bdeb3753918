"""The result of a command about several runs: the last items, a summary, and the error that decides the exit code."""

import shlex
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import Exit, InternalError, Interrupted, QoderError, Signalled
from qoder_cli.base.times import span
from qoder_cli.base.words import counted
from qoder_cli.fleet.conductor import Conductor, Restart
from qoder_cli.local.remembered import remember_runs
from qoder_cli.output import results
from qoder_cli.output.results import deciding_error
from qoder_cli.runs.ending import Ended

_STARTS_NOTHING = (Exit.USAGE, Exit.AUTH, Exit.NOT_FOUND, Exit.REJECTED, Exit.UNAVAILABLE)
_WORTH_REPEATING = (None, Exit.AUTH, Exit.REJECTED, Exit.UNAVAILABLE)  # None: it was not attempted
LONGEST_LINE = 100  # characters of a command in a hint


def conclude_all(app: App, runs: Conductor) -> None:
    """Print the results that are left, and a summary. Raises the deciding error."""
    items = runs.printed.results
    remember_runs(app.store, app.settings, [item.found for item in items if item.found])
    try:
        runs.printed.end()
        _sum_up(app, runs, items)
    except Signalled as signalled:
        runs.signalled = signalled
        runs.printed.end()
        _sum_up(app, runs, items)
    error = deciding_error(items)
    if runs.signalled:
        error = runs.signalled.in_words("stopped")
    broken = runs.printed.broken
    if broken is not None and not isinstance(error, Interrupted):  # a signal decides
        if not isinstance(broken, InternalError):
            raise broken
        error = broken
    if error is None:
        return
    verb = "started"
    if runs.plan.wait:
        verb = "completed"
    raise last_words(app, error, items, verb=verb, restart=runs.restart)


def _sum_up(app: App, runs: Conductor, items: Sequence[Ended]) -> None:
    if app.progress.is_quiet or len(items) < 2:
        return
    counts = Counter(item.stands for item in items)
    went = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    app.progress.note(f"{len(items)} runs: {went} · in {span(app.clock.monotonic() - runs.began)}")


def last_words(
    app: App, error: QoderError, items: Sequence[Ended], *, verb: str, restart: Restart | None = None
) -> QoderError:
    """Return the deciding error, with a summary and the next command.

    `verb` is what successful runs did; `restart` returns the command that starts some.
    """
    decided = next((item for item in items if item.error is error), None)
    is_stopped, several = isinstance(error, Interrupted), len(items) > 1
    running = [item.run_id or item.typed for item in items if item.goes_on]
    unknown = [item for item in items if item.is_unknown]
    fine = [item for item in items if item.attempted and item.error is None]
    completed = sum(item.found is not None and item.found.status == "completed" for item in items)
    went, why = verb, error.message
    if verb == "completed" and completed != len(fine):
        went = "succeeded"
    if decided and several:
        why = decided.message
    parts = [f"{len(fine)} of {len(items)} runs {went}", why]
    if is_stopped:
        parts.append(counted(len(running), "run keeps running", "runs keep running"))
    cancelled = sum(item.error is not None and item.error.asked_to_cancel for item in items)
    if cancelled and several:
        parts.append(f"cancellation was requested for {counted(cancelled, 'run')}")
    if is_stopped and unknown:
        parts.append(f"{len(unknown)} unknown (may have started)")
    fields: dict[str, Any] = {"next": error.next, "hint": error.hint}
    hints: list[str] = []
    if error.hint and error.next is None:
        hints.append(error.hint)
    if len(unknown) == 1:
        hints = [f"check the runs of {unknown[0].typed} before starting it again (see its warning)"]
    elif unknown:
        hints = [f"check the runs of those {len(unknown)} before starting them again (see their warnings)"]
    left: list[int] = []  # places to start, if any run was started
    again: list[str] = []  # the command that starts them, if any of them can be
    if restart and any(item.run_id for item in items):
        left = [n for n, item in enumerate(items) if item.run_id is None and item.exit_code in _WORTH_REPEATING]
        again = restart(left)
    if running and (verb == "completed" or isinstance(error, Interrupted | InternalError)):
        if again:
            not_started = f"{counted(len(left), 'was', 'were')} not started"
            command = shlex.join(again)
            if len(command) <= LONGEST_LINE:
                not_started = f"{not_started}; to start them: {command}"
            hints.append(not_started)
        fields = {"next": app.wait_again(*running), "hint": "; ".join([*hints, "to wait for the rest"])}
    elif again and error.exit in _STARTS_NOTHING:
        fields = {"next": again, "hint": "; ".join([*hints, "to start the ones not started"])}
    elif len(unknown) == 1 and unknown[0].error:
        fields = {"next": unknown[0].error.next, "hint": unknown[0].error.hint or hints[0]}
    elif unknown:
        fields = {"next": app.looking("run", "list"), "hint": hints[0]}
    if fields["next"] and not app.output.is_json:
        fields["shell"] = _in_one_line(fields["next"], items, app)
    if several:
        fields |= {"run_id": None, "session_id": None}
    if any(item.is_unknown or (item.error and item.error.run_state == "unknown") for item in items):
        fields["run_state"] = "unknown"
    elif running:
        fields["run_state"] = "going"
    elif any(item.run_id for item in items):
        fields["run_state"] = "ended"
    return results.last_words(error, *parts, is_unknown=bool(unknown), **fields)


def _in_one_line(command: Sequence[str], items: Sequence[Ended], app: App) -> str | None:
    """Return a command in words for one line, if it is too long for that; else None.

    The newest runs of this machine are named by their number, if they are those that were started here.
    """
    if len(shlex.join(command)) <= LONGEST_LINE:
        return None
    ids = list(takewhile(lambda word: not word.startswith("-"), command[3:]))
    options = command[3 + len(ids) :]
    runs = {item.run_id for item in items if item.run_id}
    newest = app.store.newest_runs(len(runs), profile=app.settings.profile, host=app.settings.host)
    if command[1:3] == ["run", "wait"] and set(newest) == runs:
        return shlex.join([*command[:3], "--last", str(len(runs)), *options])
    return " ".join([*command[:3], "RUN..." if command[1] == "run" else "DEPLOYMENT...", shlex.join(options)]).rstrip()
