"""The one error that ends a command for several things: what became of all of them, and the command that goes on."""

import shlex
import sys
from collections.abc import Callable, Sequence
from copy import copy
from itertools import takewhile
from typing import TYPE_CHECKING

from qoder_cli.base.errors import Exit, InternalError, Interrupted, QoderError, WaitTimeout
from qoder_cli.local.folder import keep
from qoder_cli.runs.fleet.items import Item

if TYPE_CHECKING:
    from qoder_cli.app import State

Restart = Callable[[Sequence[int]], list[str]]  # from places in the input to the command that starts those

_STARTS_NOTHING = (Exit.USAGE, Exit.AUTH, Exit.NOT_FOUND, Exit.REJECTED, Exit.UNAVAILABLE)
_WORTH_REPEATING = (None, Exit.AUTH, Exit.REJECTED, Exit.UNAVAILABLE)  # of an item; None: it was not attempted
LONGEST_HINT = 1000  # characters of a command within it
LONGEST_LINE = 3000  # characters; a terminal takes 4,096 in one line
IDS = "ids.txt"  # in the state folder
_ALIKE = 10  # things that go wrong in the same words and are each warned of


class LastWords:
    """Puts into words how several things went; `verb` is what became of those that went well.

    `restart`, where things are started, returns the command that starts some of them.
    """

    def __init__(self, state: "State", *, verb: str, restart: Restart | None) -> None:
        self._state = state
        self._verb = verb
        self._restart = restart

    def of(self, error: QoderError, items: Sequence[Item]) -> QoderError:
        """Return the error that decides the exit code, saying what became of all."""
        decided = next((item for item in items if item.error is error), None)
        error = copy(error)  # the one of the item stays as it is
        going = [item.wait_for for item in items if item.goes_on]
        unknown = [item for item in items if item.is_unknown]
        fine = sum(item.attempted and item.error is None for item in items)
        cancelled = sum(item.error is not None and item.error.asked_to_cancel for item in items)
        message = decided.said if decided and len(items) > 1 else error.message
        if isinstance(error, Interrupted):
            message += f"; {_counted(len(going), 'run goes on', 'runs go on')}"
        if cancelled and len(items) > 1:
            message += f"; {_counted(cancelled, 'was', 'were')} asked to cancel"
        if isinstance(error, Interrupted) and unknown:
            message += f"; of {len(unknown)} it is not known whether they were started"
            error.kind = Exit.OUTCOME_UNKNOWN
        error.message = f"{fine} of {len(items)} runs {self._went(fine, items)}; {message}"
        self._say_what_next(error, items, going, unknown)
        if len(items) > 1:
            error.run_id = error.session_id = None
        error.run_state = "unknown" if unknown else "going" if going else error.run_state
        return error

    def _went(self, fine: int, items: Sequence[Item]) -> str:
        """Return the verb for those that went well: not that they completed, where it took more or less than that."""
        if self._verb != "completed":
            return self._verb
        completed = sum(item.run is not None and item.run.status == "completed" for item in items)
        return "completed" if completed == fine else "went well"

    def _say_what_next(
        self, error: QoderError, items: Sequence[Item], going: Sequence[str], unknown: Sequence[Item]
    ) -> None:
        """Set the one command that goes on, and the hint: what to do about the unknown comes first."""
        hints = [error.hint] if error.hint and error.next is None else []
        if unknown:
            hints = [_about_unknown(unknown)]
        if going and (self._verb == "completed" or isinstance(error, Interrupted | InternalError)):
            error.next = self._state.wait_again(*going)
            if self._restart and (left := _left_over(items)):
                hints.append(_of_left_over(left, self._restart(left)))
            hints.append("wait for those that go on")
        elif self._restart and error.exit in _STARTS_NOTHING and (left := _left_over(items)):
            error.next = self._restart(left)
            hints.append("this starts those that were not started")
        elif len(unknown) == 1:
            error.next = unknown[0].error.next if unknown[0].error else None
            hints = [unknown[0].error.hint] if unknown[0].error and unknown[0].error.hint else hints
        elif unknown:
            error.next = self._state.looking("run", "list")
        else:
            return
        error.hint = "; ".join(hints)
        if error.next and not self._state.output.is_json:
            error.shell = self._shortened(error.next)

    def _shortened(self, command: Sequence[str]) -> str | None:
        """Return a command with its ids in a file, where it is too long for a line of a terminal; None where it is not.

        The ids follow the program, the noun and the verb.
        """
        if len(shlex.join(command)) <= LONGEST_LINE:
            return None
        ids = list(takewhile(lambda word: not word.startswith("-"), command[3:]))
        short = shlex.join([*command[:3], "-", *command[3 + len(ids) :]])
        try:
            path = shlex.quote(str(keep(self._state.env, IDS, "".join(f"{id}\n" for id in ids))))
        except (OSError, RuntimeError):
            return None
        return f"type {path} | {short}" if sys.platform == "win32" else f"{short} < {path}"


class Warnings:
    """Tells of each thing of which there is nothing but an error, as it becomes known."""

    def __init__(self, state: "State") -> None:
        self._progress = state.progress
        self._counts: dict[tuple[str, str | None], int] = {}

    def take(self, item: Item) -> None:
        """Warn of one that came to nothing or is not known; no more once many have gone wrong in the same words."""
        error = item.error
        has_run = item.run_id is not None and not item.is_unknown
        if error is None or not item.attempted or has_run or isinstance(error, WaitTimeout):
            return  # what the time was not enough for is in the command that goes on
        alike = self._counts[error.message, error.hint] = self._counts.get((error.message, error.hint), 0) + 1
        if alike <= _ALIKE:
            advice = error.advice
            self._progress.warn(item.said + (f" (hint: {advice})" if advice else ""))
        elif alike == _ALIKE + 1:
            self._progress.warn("others of which the same is to be said are not named")


def _about_unknown(unknown: Sequence[Item]) -> str:
    if len(unknown) == 1:
        return f"look at the runs of {unknown[0].typed} before starting it again, as its warning says"
    return f"look at the runs of those {len(unknown)} before starting them again, each as its warning says"


def _left_over(items: Sequence[Item]) -> list[int]:
    """Return the places of those that were not started and can be, if others were."""
    if not any(item.run_id for item in items):
        return []
    return [n for n, item in enumerate(items) if item.run_id is None and item.exit_code in _WORTH_REPEATING]


def _of_left_over(left: Sequence[int], restart: Sequence[str]) -> str:
    """Return what is said of those that were not started, where the command that comes next is about others."""
    command = shlex.join(restart)
    are = _counted(len(left), "was", "were")
    return f"{are} not started{f', which this does: {command}' if len(command) <= LONGEST_HINT else ''}"


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
