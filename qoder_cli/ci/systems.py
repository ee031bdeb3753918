"""Report to a CI system: in files that it names, to GitHub also on stderr."""

import itertools
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qoder_cli.app import App
from qoder_cli.base.plainfile import reason_of, without_waiting
from qoder_cli.base.times import span
from qoder_cli.base.tokens import shortened
from qoder_cli.output.screen import inert, inert_lines

if TYPE_CHECKING:
    from qoder_cli.base.errors import QoderError
    from qoder_cli.runs.awaiting import Item

LONGEST_SHOWN = 200  # characters of an error in the summary
LONGEST_MESSAGE = 2000  # characters of an annotation
MOST_ROWS = 200  # of the summary; GitHub allows 1 MiB a step
LARGEST_DOTENV = 64 * 1024  # bytes
DOTENV = "qoder.env"
LONGEST_VALUE = 4000  # characters; GitLab allows a dotenv report 5 KB

_HEAD = "| Run | Deployment | Status | Duration | Exit | Error |\n|---|---|---|---|---|---|\n"
_PUNCTUATION = re.compile("[!-/:-@\\[-`{-~]")
_WORD = re.compile(r"-|[A-Za-z0-9]+([_-][A-Za-z0-9]+)*")  # no markup, and no link
_OF_ONE = {"run_id", "session_id", "status"}
_OF_SEVERAL = {"run_ids"}

# A text, or one value for each of several, in the order named.
Value = str | Sequence[str | int | None]


class System:
    """A CI system. This one is unknown, and told nothing."""

    takes_text = False  # whether values may have several lines

    def __init__(self, app: App) -> None:
        self._app = app
        self._warned: set[str] = set()  # what could not be written

    def tell(self, values: dict[str, Value]) -> None:
        """Set values by name; a later value replaces an earlier one."""

    def sum_up(self, items: "Sequence[Item]") -> None:
        """Show people a summary of the results."""

    def complain(self, error: "QoderError") -> None:
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
    """GitHub Actions: step outputs (arrays as JSON), a summary table, an annotation."""

    takes_text = True

    def tell(self, values: dict[str, Value]) -> None:
        self._append("GITHUB_OUTPUT", "".join(itertools.starmap(_output, values.items())))

    def sum_up(self, items: "Sequence[Item]") -> None:
        if not items:
            return
        text = f"\n{_HEAD}{''.join(map(_row, items[:MOST_ROWS]))}"
        if len(items) > MOST_ROWS:
            text += f"\n{len(items) - MOST_ROWS} more are not shown.\n"
        self._append("GITHUB_STEP_SUMMARY", text)

    def complain(self, error: "QoderError") -> None:
        """Annotate the step. The runner reads such lines from standard error too."""
        title = _data(f"qoder: {error.type_name}, exit code {int(error.exit)}").replace(":", "%3A").replace(",", "%2C")
        message = "\n".join(filter(None, (error.message, error.advice)))[:LONGEST_MESSAGE]
        self._app.err.tell(f"::error title={title}::{_data(inert_lines(message))}\n", is_command=True)

    def _append(self, variable: str, text: str) -> None:
        with self._writing(variable):
            if not (path := self._app.env.get(variable)):
                raise ValueError("not set")
            with open(path, "ab", opener=without_waiting) as file:
                file.write(text.encode("utf-8", "replace"))


class GitLab(System):
    """GitLab CI: variables in qoder.env, for `artifacts:reports:dotenv`."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self._path = Path(app.env.get("CI_PROJECT_DIR") or ".") / DOTENV

    def tell(self, values: dict[str, Value]) -> None:
        """Set variables, drop an earlier command's; of several runs only ids, to fit 5 KB."""
        told = {name: value for name, value in values.items() if isinstance(value, str)}
        gone = _OF_SEVERAL if told.keys() & _OF_ONE else _OF_ONE | (_OF_SEVERAL & values.keys())
        run_ids = " ".join(str(id) for id in values.get("run_ids", ()) if id)
        if len(run_ids) > LONGEST_VALUE:
            self._warn("run_ids", f"too many run ids for a dotenv report; {DOTENV} has none of them")
        elif run_ids:
            told["run_ids"] = run_ids
        with self._writing(DOTENV):
            _set(self._path, told, gone)


def _output(name: str, value: Value) -> str:
    """Return the text that sets an output; an unguessable word ends several lines."""
    text = value if isinstance(value, str) else json.dumps(value)
    if not re.search(r"[\r\n]", text):
        return f"{name}={text}\n"
    end = f"end_{secrets.token_hex(16)}"
    return f"{name}<<{end}\n{text}\n{end}\n"


def _set(path: Path, values: dict[str, str], gone: Iterable[str]) -> None:
    variables = {f"QODER_{name.upper()}": value for name, value in values.items()}
    if path.exists() and (not path.is_file() or path.stat().st_size > LARGEST_DOTENV):
        raise ValueError("it is not a file of variables")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    replaced = {*variables, *(f"QODER_{name.upper()}" for name in gone)}
    others = [line for line in lines if line.partition("=")[0] not in replaced]
    if others == lines and not values:
        return
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    beside.write_text("\n".join([*others, *map("=".join, variables.items()), ""]), "utf-8", newline="\n")
    beside.replace(path)


def _row(item: "Item") -> str:
    run = item.found
    error = shortened(item.error.message, LONGEST_SHOWN) if item.error else ""
    code = "" if item.exit_code is None else str(item.exit_code)
    cells = [item.run_id, item.typed, item.word.replace("_", " "), None, code, error]
    if run is not None:
        cells[1] = run.deployment_id or item.typed
        cells[3] = None if run.duration_ms is None else span(run.duration_ms / 1000)
    return f"| {' | '.join(map(_cell, cells))} |\n"


def _cell(text: str | None) -> str:
    """Return text that only shows in a Markdown table: no link, markup or HTML."""
    shown = inert(text or "-")
    return shown if _WORD.fullmatch(shown) else _PUNCTUATION.sub(lambda match: f"&#{ord(match[0])};", shown)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
