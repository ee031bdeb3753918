"""`--ci`: runs are reported to the CI system around a command, in the files that it names; never on stdout.

The ids are reported before waiting begins, so that a step that is killed leaves them behind; the endings at the end.
What cannot be reported is a warning, and changes no exit code.
"""

import re
from collections.abc import Sequence
from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qoder_cli.app import State, Teller
from qoder_cli.base.errors import Exit, InternalError, QoderError, ReaderGone, Signalled
from qoder_cli.ci.systems import GitHub, GitLab, System

if TYPE_CHECKING:
    from qoder_cli.base.model import Run
    from qoder_cli.runs.item import Item

OFTEN = 1.0  # seconds between two reports of the ids of several runs
_PLAIN = re.compile(r"[A-Za-z0-9][\w.@:-]{0,255}", re.ASCII)


class Ci(Teller):
    """What one command tells its CI system, in a `with` block around all that it does.

    One thing is told of as `run_id`, `session_id`, `status` and `exit_code`; several, when they are `expected`, as
    `run_ids`, `session_ids`, `statuses` and `exit_codes`, in the order in which they were named, and one `exit_code`.
    """

    def __init__(self, state: State, system: System) -> None:
        self._state = state
        self._system = system
        self._typed: Sequence[str] | None = None
        self._word = "-"
        self._ids: dict[int, tuple[str | None, str | None]] = {}  # of runs and sessions, by place
        self._items: dict[int, Item] = {}
        self._told = float("-inf")

    def expect(self, typed: Sequence[str]) -> None:
        """Take in what several things are called, before any is looked for."""
        self._typed = typed

    def expect_one(self, typed: str) -> None:
        """Take in what the one thing is called, before it is looked for."""
        self._word = typed

    def started(self, run_id: str, session_id: str | None = None, *, number: int = 0) -> None:
        """Report a run that is not waited for yet; `number` is its place among several."""
        self._ids[number] = run_id, session_id
        now = self._state.clock.monotonic()
        if self._typed is None or len(self._ids) == len(self._typed) or now - self._told >= OFTEN:
            self._told = now
            self._tell_ids()

    def launched(self) -> None:
        """Report the runs that are known."""
        self._told = self._state.clock.monotonic()
        self._tell_ids()

    def ended(self, item: "Item", *, number: int = 0) -> None:
        """Take in what became of one thing; it is reported at the end, as it is now."""
        self._items[number] = item.with_(error=copy(item.error))
        if item.run is not None:
            self._ids[number] = item.run.id, item.run.session_id

    def ended_as(self, run: "Run", error: QoderError | None) -> None:
        """Take in what became of the one thing."""
        from qoder_cli.runs.item import Item

        self.ended(Item(run.id, run, error))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        from qoder_cli.runs.item import Item

        error = _in_words(failure)
        if self._typed is None and not self._items:  # nobody said what became of the one thing
            run = next(reversed(self._state.known.started), None)
            if run is not None or error is not None:
                self.ended(Item(self._word, run, error))
            if run is None and error is not None and error.run_id is not None:
                self._ids[0] = error.run_id, error.session_id
        if self._typed is not None and error is not None:  # what nobody reported was not attempted
            for number in set(range(len(self._typed))) - self._items.keys() - self._ids.keys():
                self.ended(Item(self._typed[number], None, None, attempted=False), number=number)
        if not self._items and not self._ids:
            return  # nothing was asked for that can become of anything, as with --dry-run
        self._tell_ids()
        self._tell_endings(Exit.OK if error is None else error.exit)
        self._system.sum_up([self._items[number] for number in sorted(self._items)])
        if error is not None and error.exit is not Exit.CLOSED_PIPE:
            self._system.complain(error)

    def _tell_ids(self) -> None:
        if self._typed is None:
            run_id, session_id = self._ids.get(0, (None, None))
            self._system.tell({"run_id": plain(run_id) or "", "session_id": plain(session_id) or ""})
            return
        ids = [self._ids.get(number, (None, None)) for number in range(len(self._typed))]
        self._system.tell({"run_ids": [plain(run) for run, _ in ids], "session_ids": [plain(of) for _, of in ids]})

    def _tell_endings(self, code: int) -> None:
        if self._typed is None:
            status = plain(self._items[0].word) if self._items else None
            self._system.tell({"status": status or "unknown", "exit_code": str(code)})
            return
        items = [self._items.get(number) for number in range(len(self._typed))]
        codes = [item.exit_code if item else None for item in items]
        statuses = [(plain(item.word) or "unknown") if item else None for item in items]
        self._system.tell({"statuses": statuses, "exit_codes": codes, "exit_code": str(code)})


def reporting(state: State) -> Ci:
    """Return what reports to the CI system that the environment names; warns when it names none."""
    if state.env.get("GITHUB_ACTIONS") == "true":
        return Ci(state, GitHub(state))
    if state.env.get("GITLAB_CI") == "true":
        return Ci(state, GitLab(state))
    state.progress.warn("--ci has no effect: neither GitHub Actions nor GitLab detected")
    return Ci(state, System())


def plain(text: str | None) -> str | None:
    """Return an id or a status that is one plain word, None for anything else."""
    return text if text is not None and _PLAIN.fullmatch(text) else None


def _in_words(failure: BaseException | None) -> QoderError | None:
    """Return the error behind what ended the command; None when it ended well."""
    match failure:
        case None:
            return None
        case QoderError():
            return failure
        case Signalled():
            return failure.in_words("interrupted")
        case ReaderGone():
            error = InternalError("output pipe closed")
            error.exit = Exit.CLOSED_PIPE
            return error
        case _:
            return InternalError(f"internal error (this is a bug in qoder): {type(failure).__name__}: {failure}")
