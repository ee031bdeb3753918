"""`--ci`: tell GitHub Actions what a step cannot make of `--json`: outputs in the file that it names, an annotation.

The ids come before waiting begins, those of several once all are known, so that a killed step leaves them; how one run
ended comes last. What cannot be reported is a warning, and changes no exit code.
"""

import itertools
import json
import re
import secrets
from collections.abc import Mapping
from typing import Self

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import (
    ApiError,
    Exit,
    InternalError,
    Interrupted,
    QoderError,
    ReaderGone,
    Signalled,
    broken_down,
)
from qoder_cli.base.outcome import is_going
from qoder_cli.base.plainfile import reason_of, without_waiting
from qoder_cli.output.screen import inert_lines
from qoder_cli.runs.ending import Ended

LONGEST_RESULT = 10_000  # characters of a final message
LONGEST_MESSAGE = 2000  # characters of an annotation

_PLAIN = re.compile(r"[A-Za-z0-9][\w.@:-]{0,255}", re.ASCII)


class Ci:
    """Reports one command to GitHub Actions, in a `with` block around all that it does.

    The names are in `CI` in help.documented. Only changes are reported again.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self.tracked = app.tracked
        self._is_there = app.env.get("GITHUB_ACTIONS") == "true"
        self._values: dict[str, str] = {}
        self._has_warned = False

    def _announce(self) -> None:
        numbers = self.tracked.ids.keys() | self.tracked.items.keys()
        if isinstance(self.tracked.typed, str) or len(numbers) == len(self.tracked.typed):
            self._set_runs()

    def _set_runs(self, code: int | None = None) -> None:
        """Tell the ids; at the end, with the exit code, how one run ended."""
        tracked, unknown = self.tracked, (None, None)
        values: dict[str, str] = {}
        if isinstance(tracked.typed, str):
            run_id, session_id = tracked.ids.get(0, unknown)
            values |= {"run_id": plain(run_id) or "", "session_id": plain(session_id) or ""}
            if code is not None:
                values["status"] = (tracked.items and plain(tracked.items[0].status)) or "unknown"
        else:
            ids = [plain(tracked.ids.get(number, unknown)[0]) for number in range(len(tracked.typed))]
            values["run_ids"] = json.dumps(ids)
        if code is not None:
            values["exit_code"] = str(code)
        self._set_changed(values)

    def __enter__(self) -> Self:
        if self._is_there:
            self.tracked.announce = self._announce
        else:
            self._app.progress.warn("--ci has no effect: GitHub Actions was not detected")
        return self

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        error: QoderError | None = None
        tracked = self.tracked
        if not self._is_there:
            return
        if isinstance(failure, QoderError):
            error = failure
        elif isinstance(failure, Signalled):  # it came when all was printed
            error = failure.in_words("interrupted")
        elif isinstance(failure, ReaderGone):
            error = InternalError("output pipe closed").with_(exit=Exit.CLOSED_PIPE)
        elif failure is not None and not isinstance(failure, typer.Exit):  # it is no success
            error = broken_down(failure)
        is_one = isinstance(tracked.typed, str)
        if is_one and not tracked.items:  # the one thing has no result
            run = tracked.run
            if run is not None or error is not None:
                tracked.ended(Ended(str(tracked.typed), run, error))
            if run is None and error is not None and error.run_id is not None:
                tracked.ids[0] = error.run_id, error.session_id
        if not tracked.items and not tracked.ids and error is None:
            return  # no runs, as with --dry-run
        self._set_runs(Exit.OK if error is None else error.exit)
        if error is not None and error.exit is not Exit.CLOSED_PIPE:
            self._complain(error)
        if is_one and not isinstance(error, Interrupted):  # whoever stopped it is gone
            self._set_result()

    def _set_changed(self, values: Mapping[str, str]) -> None:
        """Set outputs of the step that have changed; a later value replaces an earlier one."""
        new = {name: value for name, value in values.items() if self._values.get(name) != value}
        self._values |= new
        if not new:
            return
        try:
            if not (path := self._app.env.get("GITHUB_OUTPUT")):
                raise ValueError("not set")
            with open(path, "ab", opener=without_waiting) as file:
                file.write("".join(itertools.starmap(_output, new.items())).encode("utf-8", "replace"))
        except (OSError, ValueError) as error:
            if not self._has_warned:
                self._app.progress.warn(f"--ci: cannot write GITHUB_OUTPUT: {reason_of(error)}")
            self._has_warned = True

    def _complain(self, error: QoderError) -> None:
        """Annotate the step with the error that the command ends with. The runner reads standard error too."""
        title = _data(f"qoder: {error.type_name}, exit code {int(error.exit)}").replace(":", "%3A").replace(",", "%2C")
        message = "\n".join(filter(None, (error.message, error.advice)))[:LONGEST_MESSAGE]
        self._app.err.print(f"::error title={title}::{_data(inert_lines(message))}\n", is_command=True)

    def _set_result(self) -> None:
        run = self.tracked.items[0].found if self.tracked.items else None
        was_asked = "client" in vars(self._app)  # the server, about this run
        if run is None or is_going(run) or not was_asked:
            return
        from qoder_cli.sessions.result import final_message

        try:
            message = final_message(self._app, run)
        except ApiError as error:
            self._app.progress.warn(f"--ci: cannot read the final message: {error.message}")
            return
        if message:
            self._set_changed({"result": message[:LONGEST_RESULT]})


def plain(text: str | None) -> str | None:
    """Return an id or a status that is one plain word, None for anything else."""
    if text is not None and _PLAIN.fullmatch(text):
        return text
    return None


def _output(name: str, value: str) -> str:
    """Return the text that sets an output; an unguessable word ends several lines."""
    if not re.search(r"[\r\n]", value):
        return f"{name}={value}\n"
    end = f"end_{secrets.token_hex(16)}"
    return f"{name}<<{end}\n{value}\n{end}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
