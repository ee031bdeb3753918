"""`--ci`: tell the CI system what a job cannot make of `--json`, in the files that it names.

The ids come before waiting begins, those of several once all are known, so that a killed step leaves them; how one run
ended comes last. What cannot be reported is a warning, and changes no exit code.
"""

import itertools
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
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
from qoder_cli.base.plainfile import reason_of, replace_file, without_waiting
from qoder_cli.output.screen import inert_lines
from qoder_cli.runs.ending import Ended

LONGEST_RESULT = 10_000  # characters of a final message
LONGEST_MESSAGE = 2000  # characters of an annotation
LARGEST_DOTENV = 64 * 1024  # bytes
DOTENV = "qoder.env"
NAMES = ("run_id", "session_id", "status", "run_ids", "exit_code")  # of its variables
LONGEST_VALUE = 4000  # characters; GitLab allows a dotenv report 5 KB

_PLAIN = re.compile(r"[A-Za-z0-9][\w.@:-]{0,255}", re.ASCII)

Value = str | Sequence[str | None]  # a text, or one for each of several runs, in the order named


class Ci:
    """Reports one command to its CI system, in a `with` block around all that it does.

    The names are in `CI` in help.documented. Only changes are reported again.
    """

    def __init__(self, app: App, system: "System") -> None:
        self._app = app
        self.tracked = app.tracked
        self._system = system
        self._values: dict[str, Value] = {}

    def _announce(self) -> None:
        numbers = self.tracked.ids.keys() | self.tracked.items.keys()
        if isinstance(self.tracked.typed, str) or len(numbers) == len(self.tracked.typed):
            self._set_runs()

    def _set_runs(self, code: int | None = None) -> None:
        """Tell the ids; at the end, with the exit code, how one run ended."""
        tracked, unknown = self.tracked, (None, None)
        values: dict[str, Value] = {}
        if isinstance(tracked.typed, str):
            run_id, session_id = tracked.ids.get(0, unknown)
            values |= {"run_id": plain(run_id) or "", "session_id": plain(session_id) or ""}
            if code is not None:
                values["status"] = (tracked.items and plain(tracked.items[0].status)) or "unknown"
        else:
            values["run_ids"] = [plain(tracked.ids.get(number, unknown)[0]) for number in range(len(tracked.typed))]
        if code is not None:
            values["exit_code"] = str(code)
        self._set_changed(values)

    def __enter__(self) -> Self:
        self.tracked.announce = self._announce
        return self

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        error: QoderError | None = None
        tracked = self.tracked
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
            self._system.complain(error)
        if is_one and not isinstance(error, Interrupted):  # whoever stopped it is gone
            self._set_result()

    def _set_changed(self, values: Mapping[str, Value]) -> None:
        new = {name: value for name, value in values.items() if self._values.get(name) != value}
        if new:
            self._values |= new
            self._system.set_values(new)

    def _set_result(self) -> None:
        run = self.tracked.items[0].found if self.tracked.items else None
        was_asked = "client" in vars(self._app)  # the server, about this run
        if run is None or is_going(run) or not (self._system.takes_text and was_asked):
            return
        from qoder_cli.sessions.result import final_message

        try:
            message = final_message(self._app, run)
        except ApiError as error:
            self._app.progress.warn(f"--ci: cannot read the final message: {error.message}")
            return
        if message:
            self._set_changed({"result": message[:LONGEST_RESULT]})


def reporting(app: App) -> Ci:
    """Return the reporter for the CI system that runs this; warn if none is known."""
    for variable, system in (("GITHUB_ACTIONS", GitHub), ("GITLAB_CI", GitLab)):
        if app.env.get(variable) == "true":
            return Ci(app, system(app))
    app.progress.warn("--ci has no effect: neither GitHub Actions nor GitLab detected")
    return Ci(app, System(app))


def plain(text: str | None) -> str | None:
    """Return an id or a status that is one plain word, None for anything else."""
    if text is not None and _PLAIN.fullmatch(text):
        return text
    return None


class System:
    """A CI system. This one is unknown, and told nothing."""

    takes_text = False  # whether values may have several lines

    def __init__(self, app: App) -> None:
        self._app = app
        self._warned: set[str] = set()  # what could not be written

    def set_values(self, values: dict[str, Value]) -> None:
        """Set values by name; a later value replaces an earlier one."""

    def complain(self, error: QoderError) -> None:
        """Show people the error that the command ends with."""

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        """Warn, once, if the block cannot write; `what` names it in the warning."""
        try:
            yield
        except (OSError, ValueError) as error:
            self._warn(what, f"cannot write {what}: {reason_of(error)}")

    def _warn(self, what: str, text: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self._app.progress.warn(f"--ci: {text}")


class GitHub(System):
    """GitHub Actions: step outputs (arrays as JSON), an annotation."""

    takes_text = True

    def set_values(self, values: dict[str, Value]) -> None:
        text = "".join(itertools.starmap(_output, values.items()))
        with self._writing("GITHUB_OUTPUT"):
            if not (path := self._app.env.get("GITHUB_OUTPUT")):
                raise ValueError("not set")
            with open(path, "ab", opener=without_waiting) as file:
                file.write(text.encode("utf-8", "replace"))

    def complain(self, error: QoderError) -> None:
        """Annotate the step. The runner reads such lines from standard error too."""
        title = _data(f"qoder: {error.type_name}, exit code {int(error.exit)}").replace(":", "%3A").replace(",", "%2C")
        message = "\n".join(filter(None, (error.message, error.advice)))[:LONGEST_MESSAGE]
        self._app.err.print(f"::error title={title}::{_data(inert_lines(message))}\n", is_command=True)


class GitLab(System):
    """GitLab CI: variables in qoder.env, for `artifacts:reports:dotenv`."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self._path = Path(app.env.get("CI_PROJECT_DIR") or ".") / DOTENV
        self._variables: dict[str, str] = {}

    def set_values(self, values: dict[str, Value]) -> None:
        """Set variables, in place of an earlier command's."""
        for name, value in values.items():
            if isinstance(value, str):
                self._variables[name] = value
                continue
            ids = " ".join(filter(None, value))
            if len(ids) > LONGEST_VALUE:
                self._warn(name, f"too many run ids for a dotenv report; {DOTENV} has none of them")
                self._variables.pop(name, None)
            elif ids:
                self._variables[name] = ids
        with self._writing(DOTENV):
            _set(self._path, self._variables)


def _output(name: str, value: Value) -> str:
    """Return the text that sets an output; an unguessable word ends several lines."""
    text = value
    if not isinstance(text, str):
        text = json.dumps(text)
    if not re.search(r"[\r\n]", text):
        return f"{name}={text}\n"
    end = f"end_{secrets.token_hex(16)}"
    return f"{name}<<{end}\n{text}\n{end}\n"


def _set(path: Path, values: dict[str, str]) -> None:
    if path.exists() and (not path.is_file() or path.stat().st_size > LARGEST_DOTENV):
        raise ValueError("it is not a file of variables")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    ours = {name: f"QODER_{name.upper()}" for name in NAMES}
    others = [line for line in lines if line.partition("=")[0] not in ours.values()]
    variables = [f"{ours[name]}={value}" for name, value in values.items()]
    text = "\n".join([*others, *variables, ""])
    replace_file(path, text.encode(), is_private=False)  # what uploads it may be another user


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
