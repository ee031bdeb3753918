"""The one error that ends a command for several things: what became of all of them, and the next command."""

import shlex
import sys
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import Exit, InternalError, Interrupted, QoderError, WaitTimeout
from qoder_cli.base.plainfile import keep
from qoder_cli.output import results
from qoder_cli.runs.awaiting import Item

Restart = Callable[[Sequence[int]], list[str]]  # from places in the input to the command that starts those

_STARTS_NOTHING = (Exit.USAGE, Exit.AUTH, Exit.NOT_FOUND, Exit.REJECTED, Exit.UNAVAILABLE)
_WORTH_REPEATING = (None, Exit.AUTH, Exit.REJECTED, Exit.UNAVAILABLE)  # of an item; None: it was not attempted
LONGEST_HINT = 1000  # characters of a command within it
LONGEST_LINE = 3000  # characters; a terminal takes 4,096 in one line
IDS = "ids.txt"  # in the state folder
_ALIKE = 10  # identical warnings


def last_words(
    app: App, error: QoderError, items: Sequence[Item], *, verb: str, restart: Restart | None = None
) -> QoderError:
    """Return the error that decides the exit code, with what became of all, and the next command.

    `verb` says what became of those that succeeded; `restart` returns the command that starts some of them.
    """
    decided = next((item for item in items if item.error is error), None)
    is_stopped, several = isinstance(error, Interrupted), len(items) > 1
    running = [item.run_id or item.typed for item in items if item.goes_on]
    unknown = [item for item in items if item.is_unknown]
    fine = [item for item in items if item.attempted and item.error is None]
    completed = sum(item.run is not None and item.run.status == "completed" for item in items)
    went = "succeeded" if verb == "completed" and completed != len(fine) else verb
    parts = [f"{len(fine)} of {len(items)} runs {went}", decided.said if decided and several else error.message]
    if is_stopped:
        parts.append(_counted(len(running), "run keeps running", "runs keep running"))
    cancelled = sum(item.error is not None and item.error.asked_to_cancel for item in items)
    if cancelled and several:
        parts.append(f"cancellation was requested for {_counted(cancelled, 'run', 'runs')}")
    if is_stopped and unknown:
        parts.append(f"{len(unknown)} unknown (may have started)")
    told: dict[str, Any] = _next_command(app, error, items, running, unknown, verb=verb, restart=restart)
    if told["next"] and not app.output.is_json:
        told["shell"] = _shortened(told["next"], app)
    if several:
        told |= {"run_id": None, "session_id": None}
    if unknown or running:
        told["run_state"] = "unknown" if unknown else "going"
    return results.last_words(error, *parts, is_unknown=bool(unknown), **told)


def _next_command(
    app: App,
    error: QoderError,
    items: Sequence[Item],
    running: Sequence[str],
    unknown: Sequence[Item],
    *,
    verb: str,
    restart: Restart | None,
) -> dict[str, Any]:
    """Return what to do next: wait, else start the rest, else look at what is unknown."""
    hints = [error.hint] if error.hint and error.next is None else []
    if len(unknown) == 1:
        hints = [f"check the runs of {unknown[0].typed} before starting it again (see its warning)"]
    elif unknown:
        hints = [f"check the runs of those {len(unknown)} before starting them again (see their warnings)"]
    left: list[int] = []  # the places of those that were not started and can be, if others were
    if restart and any(item.run_id for item in items):
        left = [n for n, item in enumerate(items) if item.run_id is None and item.exit_code in _WORTH_REPEATING]
    if running and (verb == "completed" or isinstance(error, Interrupted | InternalError)):
        if restart and left:
            said = f"{_counted(len(left), 'was', 'were')} not started"
            command = shlex.join(restart(left))
            hints.append(f"{said}; to start them: {command}" if len(command) <= LONGEST_HINT else said)
        return {"next": app.wait_again(*running), "hint": "; ".join([*hints, "to wait for the rest"])}
    if restart and left and error.exit in _STARTS_NOTHING:
        return {"next": restart(left), "hint": "; ".join([*hints, "to start the ones not started"])}
    if len(unknown) == 1 and unknown[0].error:
        return {"next": unknown[0].error.next, "hint": unknown[0].error.hint or hints[0]}
    if unknown:
        return {"next": app.looking("run", "list"), "hint": hints[0]}
    return {"next": error.next, "hint": error.hint}


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _shortened(command: Sequence[str], app: App) -> str | None:
    """Return a command with its ids in a file, where it is too long for a line of a terminal."""
    if len(shlex.join(command)) <= LONGEST_LINE:
        return None
    ids = list(takewhile(lambda word: not word.startswith("-"), command[3:]))
    short = shlex.join([*command[:3], "-", *command[3 + len(ids) :]])
    try:
        path = shlex.quote(str(keep(app.env, IDS, "".join(f"{id}\n" for id in ids))))
    except (OSError, RuntimeError):
        return None
    return f"type {path} | {short}" if sys.platform == "win32" else f"{short} < {path}"


class Warnings:
    """Tells of each thing of which there is nothing but an error, as it becomes known."""

    def __init__(self, app: App) -> None:
        self._progress = app.progress
        self._counts: dict[tuple[str, str | None], int] = {}

    def take(self, item: Item) -> None:
        """Warn of one that came to nothing; no more once many did in the same words."""
        error = item.error
        has_run = item.run_id is not None and not item.is_unknown
        if error is None or not item.attempted or has_run or isinstance(error, WaitTimeout):
            return  # those that ran out of time are in the next command
        alike = self._counts[error.message, error.hint] = self._counts.get((error.message, error.hint), 0) + 1
        if alike <= _ALIKE:
            advice = error.advice
            self._progress.warn(item.said + (f" (hint: {advice})" if advice else ""))
        elif alike == _ALIKE + 1:
            self._progress.warn("(further identical warnings suppressed)")
