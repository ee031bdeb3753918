"""`--ci`: report a command's runs to the CI system, in the files that it names.

The ids come before waiting begins, so that a killed step leaves them; the
endings last. What cannot be reported is a warning, and changes no exit code.
"""

import re
from collections.abc import Mapping
from typing import Self

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, Exit, InternalError, Interrupted, QoderError, ReaderGone, Signalled
from qoder_cli.base.outcome import is_going
from qoder_cli.ci.systems import GitHub, GitLab, System, Value
from qoder_cli.runs.awaiting import Item

OFTEN = 1.0  # seconds between two reports of several runs' ids
LONGEST_RESULT = 10_000  # characters of a final message
_PLAIN = re.compile(r"[A-Za-z0-9][\w.@:-]{0,255}", re.ASCII)


class Ci:
    """Reports one command to its CI system, in a `with` block around all that it does.

    One run has the first names of `KEYS["ci"]` in help.documented; several have arrays
    in the order of the input. Only changes are reported again.
    """

    def __init__(self, app: App, system: System) -> None:
        self._app = app
        self.known = app.known
        self._system = system
        self._told: dict[str, Value] = {}
        self._told_at = float("-inf")

    def _announce(self) -> None:
        known = self.known.ids.keys() | self.known.items.keys()
        is_due = self._app.clock.monotonic() - self._told_at >= OFTEN
        if isinstance(self.known.typed, str) or len(known) == len(self.known.typed) or is_due:
            self._tell_ids()

    def _tell_ids(self) -> None:
        self._told_at = self._app.clock.monotonic()
        if isinstance(self.known.typed, str):
            run_id, session_id = self.known.ids.get(0, (None, None))
            self._tell({"run_id": plain(run_id) or "", "session_id": plain(session_id) or ""})
        else:
            ids = [self.known.ids.get(number, (None, None)) for number in range(len(self.known.typed))]
            self._tell({"run_ids": [plain(run) for run, _ in ids], "session_ids": [plain(of) for _, of in ids]})

    def __enter__(self) -> Self:
        self.known.announce = self._announce
        return self

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        error, known = _in_words(failure), self.known
        is_one = isinstance(known.typed, str)
        if is_one and not known.items:  # the one thing has no result
            run = known.run
            if run is not None or error is not None:
                known.ended(Item(str(known.typed), run, error))
            if run is None and error is not None and error.run_id is not None:
                known.ids[0] = error.run_id, error.session_id
        if not is_one and error is not None:  # what has no result was not attempted
            for number in set(range(len(known.typed))) - known.items.keys() - known.ids.keys():
                known.ended(Item(known.typed[number], None, None, attempted=False), number=number)
        if not known.items and not known.ids:
            return  # no runs, as with --dry-run
        self._tell_ids()
        self._tell_endings(Exit.OK if error is None else error.exit)
        self._system.sum_up([known.items[number] for number in sorted(known.items)])
        if error is not None and error.exit is not Exit.CLOSED_PIPE:
            self._system.complain(error)
        if is_one and not isinstance(error, Interrupted):  # whoever stopped it is gone
            self._tell_result()

    def _tell(self, values: Mapping[str, Value]) -> None:
        new = {name: value for name, value in values.items() if self._told.get(name) != value}
        if new:
            self._told |= new
            self._system.tell(new)

    def _tell_endings(self, code: int) -> None:
        items = self.known.items
        if isinstance(self.known.typed, str):
            status = plain(items[0].word) if items else None
            self._tell({"status": status or "unknown", "exit_code": str(code)})
            return
        statuses: list[str | None] = [None] * len(self.known.typed)
        codes: list[int | None] = [None] * len(self.known.typed)
        for number, item in items.items():
            statuses[number], codes[number] = plain(item.word) or "unknown", item.exit_code
        self._tell({"statuses": statuses, "exit_codes": codes, "exit_code": str(code)})

    def _tell_result(self) -> None:
        run = self.known.items[0].found if self.known.items else None
        was_asked = "client" in vars(self._app)  # the server, about this run
        if run is None or is_going(run) or not (self._system.takes_text and was_asked):
            return
        from qoder_cli.runs.result import final_message

        try:
            message = final_message(self._app, run)
        except ApiError as error:
            self._app.progress.warn(f"--ci: cannot read the final message: {error.message}")
            return
        if message:
            self._tell({"result": message[:LONGEST_RESULT]})


def reporting(app: App) -> Ci:
    """Return the reporter for the CI system that runs this; warn if none is known."""
    for variable, system in (("GITHUB_ACTIONS", GitHub), ("GITLAB_CI", GitLab)):
        if app.env.get(variable) == "true":
            return Ci(app, system(app))
    app.progress.warn("--ci has no effect: neither GitHub Actions nor GitLab detected")
    return Ci(app, System(app))


def plain(text: str | None) -> str | None:
    """Return an id or a status that is one plain word, None for anything else."""
    return text if text is not None and _PLAIN.fullmatch(text) else None


def _in_words(failure: BaseException | None) -> QoderError | None:
    match failure:
        case None | typer.Exit():
            return None
        case QoderError():
            return failure
        case Signalled():
            return failure.in_words("interrupted")
        case ReaderGone():
            return InternalError("output pipe closed").with_(exit=Exit.CLOSED_PIPE)
        case _:
            return InternalError(f"internal error (this is a bug in qoder): {type(failure).__name__}: {failure}")
