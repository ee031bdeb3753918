"""What a CI system is told: the files that it names, as its runner reads them, whatever a server has written."""

import html
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qoder_cli import ci as ci_systems
from qoder_cli.app import App, Known
from qoder_cli.base.errors import NotFound, NotYet, OutcomeUnknown, QoderError, ReaderGone, RunFailed, Signalled
from qoder_cli.base.model import Run
from qoder_cli.ci import Ci, System, reporting
from qoder_cli.output.screen import Screen
from qoder_cli.runs.awaiting import Item
from tests.support.nursery import PATIENCE
from tests.support.wire import FakeClock


@dataclass
class Step:
    """A step of a job, with the files that the system names, and what the runner reads from them."""

    app: App
    folder: Path

    @classmethod
    def of(cls, folder: Path, env: Mapping[str, str]) -> "Step":
        return cls(App(env=env, out=Screen(io.BytesIO()), err=Screen(io.BytesIO()), clock=FakeClock()), folder)

    @property
    def err(self) -> str:
        """What is on standard error; nothing ever is on standard output."""
        assert _written(self.app.out) == ""
        return _written(self.app.err)

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs of the step: of a name that is set twice the last."""
        return _lines(self.folder / "output")

    @property
    def variables(self) -> dict[str, str]:
        """The variables of the dotenv report."""
        return _lines(self.folder / "qoder.env")

    @property
    def summary(self) -> str:
        """The summary of the step."""
        return (self.folder / "summary").read_text("utf-8")

    @property
    def rows(self) -> list[list[str]]:
        """The rows of the summary's tables, as they are shown."""
        rows = [line for line in self.summary.splitlines() if line.startswith("| ") and not line.startswith("| Run |")]
        return [[html.unescape(cell) for cell in row[2:-2].split(" | ")] for row in rows]


def _written(screen: Screen) -> str:
    binary = screen._binary
    assert isinstance(binary, io.BytesIO)
    return binary.getvalue().decode()


def _lines(path: Path) -> dict[str, str]:
    text = path.read_bytes().decode() if path.exists() else ""
    assert "\r" not in text
    assert text == "" or text.endswith("\n")
    assert all(re.match("[A-Za-z_]+=", line) for line in text.splitlines()), text
    return dict(line.split("=", 1) for line in text.splitlines())


def github(folder: Path) -> Step:
    (folder / "output").write_text("")
    (folder / "summary").write_text("")
    files = {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_STEP_SUMMARY": str(folder / "summary")}
    return Step.of(folder, {"CI": "true", "GITHUB_ACTIONS": "true", **files})


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return github(tmp_path)


@pytest.fixture
def job(tmp_path: Path) -> Step:
    return Step.of(tmp_path, {"CI": "true", "GITLAB_CI": "true", "CI_PROJECT_DIR": str(tmp_path)})


def a_run(id: str = "drun_1", **fields: Any) -> Run:
    return Run({"id": id, "deployment_id": "dep_1", "session_id": "sess_1", "status": "completed", **fields})


FAILED = a_run(status="failed", error={"type": "x", "message": "y"})


@contextmanager
def ending_with(failure: BaseException, step: Step) -> Iterator[Ci]:
    """Tell of what the block does, which then ends with a failure."""
    with suppress(type(failure)), reporting(step.app) as ci:
        yield ci
        raise failure


# GitHub Actions.


def test_the_ids_are_told_before_and_the_ending_after(step: Step) -> None:
    with reporting(step.app) as ci:
        ci.known.begun("drun_1", "sess_1")
        assert step.outputs == {"run_id": "drun_1", "session_id": "sess_1"}
        assert step.summary == ""
        ci.known.ended(Item("drun_1", a_run(duration_ms=61_000), None))
    assert step.outputs == {"run_id": "drun_1", "session_id": "sess_1", "status": "completed", "exit_code": "0"}
    assert step.rows == [["drun_1", "dep_1", "completed", "1m 01s", "0", "-"]]
    assert step.err == ""


def test_a_session_that_comes_later_is_told_at_the_end(step: Step) -> None:
    with reporting(step.app) as ci:
        ci.known.begun("drun_1")
        assert step.outputs == {"run_id": "drun_1", "session_id": ""}
        ci.known.ended(Item("drun_1", a_run(), None))
    assert step.outputs["session_id"] == "sess_1"


def test_a_failure_is_annotated(step: Step) -> None:
    error = RunFailed("run drun_1 failed: 100% of it", hint="look, then\nlook again", run_id="drun_1")
    with ending_with(error, step) as ci:
        ci.known.begun("drun_1", "sess_1")
        ci.known.ended(Item("drun_1", FAILED, error))
    assert (step.outputs["status"], step.outputs["exit_code"]) == ("failed", "1")
    assert step.rows == [["drun_1", "dep_1", "failed", "-", "1", "run drun_1 failed: 100% of it"]]
    assert step.err == (
        "::error title=qoder%3A run_failed%2C exit code 1::run drun_1 failed: 100%25 of it%0Alook, then%0Alook again\n"
    )


def test_an_annotation_has_the_command_that_goes_on(step: Step) -> None:
    error = RunFailed("it failed", hint="read on", next=["qoder", "run", "logs", "drun_1"])
    with ending_with(error, step) as ci:
        ci.known.ended(Item("drun_1", FAILED, error))
    assert step.err.endswith("::it failed%0Aread on: qoder run logs drun_1\n")


def test_what_never_came_to_a_run(step: Step) -> None:
    with ending_with(NotFound("deployment nightly: there is none"), step):
        pass
    assert step.outputs == {"run_id": "", "session_id": "", "status": "not_found", "exit_code": "5"}
    assert step.rows == [["-", "-", "not found", "-", "5", "deployment nightly: there is none"]]


def test_a_run_that_only_the_error_knows(step: Step) -> None:
    with ending_with(OutcomeUnknown("lost", run_id="drun_9", session_id="sess_9"), step):
        pass
    assert (step.outputs["run_id"], step.outputs["session_id"]) == ("drun_9", "sess_9")
    assert (step.outputs["status"], step.outputs["exit_code"]) == ("outcome_unknown", "9")


@pytest.mark.parametrize(
    ("failure", "code", "annotated"),
    [
        (Signalled(2), "130", True),
        (Signalled(15), "143", True),
        (ReaderGone(), "141", False),
        (RuntimeError("a bug"), "70", True),
    ],
)
def test_whatever_ends_it_the_run_that_was_started_is_told(
    step: Step, failure: BaseException, code: str, annotated: bool
) -> None:
    with ending_with(failure, step):
        step.app.known.started.append(a_run(status="running"))
    assert step.outputs == {"run_id": "drun_1", "session_id": "sess_1", "status": "running", "exit_code": code}
    assert ("::error" in step.err) is annotated


def test_what_ended_it_goes_on(step: Step) -> None:
    def fail() -> None:
        with reporting(step.app):
            raise NotFound("there is none")

    with pytest.raises(NotFound):
        fail()


def test_several_are_told_as_arrays_in_the_order_of_the_input(step: Step) -> None:
    error = RunFailed("run drun_2 failed")
    with ending_with(error, step) as ci:
        ci.known.typed = ["a", "b", "c"]
        ci.known.begun("drun_2", "sess_2", number=1)
        assert json.loads(step.outputs["run_ids"]) == [None, "drun_2", None]
        ci.known.begun("drun_1", number=0)
        ci.known.ended(Item("c", None, NotYet("not started"), attempted=False), number=2)
        ci.known.ended(Item("b", a_run("drun_2", status="failed", session_id="sess_2"), error), number=1)
        ci.known.ended(Item("a", a_run("drun_1"), None), number=0)
    outputs = {name: json.loads(value) for name, value in step.outputs.items()}
    assert outputs == {
        "run_ids": ["drun_1", "drun_2", None],
        "session_ids": ["sess_1", "sess_2", None],
        "statuses": ["completed", "failed", "not_started"],
        "exit_codes": [0, 1, None],
        "exit_code": 1,
    }
    assert [row[:3] for row in step.rows] == [
        ["drun_1", "dep_1", "completed"],
        ["drun_2", "dep_1", "failed"],
        ["-", "c", "not started"],
    ]
    assert step.err.count("::error") == 1


def test_the_ids_of_many_are_told_soon_and_not_too_often(step: Step) -> None:
    path = step.folder / "output"
    with reporting(step.app) as ci:
        ci.known.typed = [f"dep_{number}" for number in range(200)]
        for number in range(200):
            ci.known.begun(f"drun_{number:032}", number=number)
            step.app.clock.sleep(0.05)  # 20 a second
        assert None not in json.loads(step.outputs["run_ids"])
        assert len(path.read_text().splitlines()) <= 2 * 13
        assert path.stat().st_size < 150_000


def test_a_second_command_of_the_step_adds_a_table(step: Step) -> None:
    (step.folder / "summary").write_text("# Nightly\n")
    for id in ("drun_1", "drun_2"):
        with reporting(step.app) as ci:
            ci.known.ended(Item(id, a_run(id), None))
    assert step.summary.startswith("# Nightly\n\n| Run | Deployment |")
    assert step.summary.count("\n\n| Run |") == 2
    assert [row[0] for row in step.rows] == ["drun_1", "drun_2"]


def test_a_long_table_is_cut(step: Step) -> None:
    with reporting(step.app) as ci:
        ci.known.typed = ["x"] * 1000
        for number in range(1000):
            ci.known.ended(Item("x", None, QoderError("|" * 5000)), number=number)
    assert len(step.rows) == ci_systems.MOST_ROWS
    assert "800 more are not shown" in step.summary
    assert len(step.summary) < 1024 * 1024


def test_nothing_asked_for_nothing_told(step: Step) -> None:
    with reporting(step.app):
        pass
    assert (step.outputs, step.summary, step.err) == ({}, "", "")


# What a server has written.

EVIL = (
    "a|b `c` <script>x</script>\n::set-output name=run_id::x\r\n[l](https://x.example) ![i](//x) @all **b** \\| &lt; #1"
)


@given(st.text(max_size=60) | st.just(EVIL))
@example("www.evil.example")
@example("__bold__")
@example("%0A::error::x")
@example("\x1b[31m\u202e\u2028")
def test_no_text_breaks_the_table_or_the_line(text: str) -> None:
    error = RunFailed(text, hint=text)
    run = FAILED.as_json() | {"deployment_id": text}
    row = ci_systems._row(Item("drun_1", Run(run), error))
    assert row.count("\n") == 1
    assert row.count("|") == 7
    assert not re.search(r"[<>`*\[\]()!@\\~#]", re.sub("&#[0-9]+;", "", row[1:-2]))
    assert "www." not in row
    shown = html.unescape(row)
    assert text.strip() == "" or not text.isascii() or not text.isprintable() or text in shown
    app = App(env={}, out=Screen(io.BytesIO()), err=Screen(io.BytesIO()), clock=FakeClock())
    ci_systems.GitHub(app).complain(error)
    assert _written(app.err).count("\n") == 1
    assert _written(app.err).startswith("::error title=qoder%3A run_failed%2C exit code 1::")


@given(st.text() | st.sampled_from(["drun_1\nexit_code=0", "x y", "", "é", "-", "a" * 300, "a=b", "a<<b"]))
def test_an_id_or_a_status_that_is_no_plain_word_is_not_told(text: str) -> None:
    told: list[dict[str, Any]] = []

    class Listening(System):
        def tell(self, values: dict[str, Any]) -> None:
            told.append(values)

    app = App(env={}, out=Screen(io.BytesIO()), err=Screen(io.BytesIO()), clock=FakeClock())
    with Ci(app, Listening(app)) as ci:
        ci.known.begun(text, text)
        ci.known.ended(Item(text, Run({"id": text, "session_id": text, "status": text}), None))
    for value in (value for values in told for value in values.values()):
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.@:-]*|", value)


# GitLab.


def test_gitlab_gets_variables_in_a_dotenv_file(job: Step) -> None:
    (job.folder / "qoder.env").write_text("OTHER=1\nQODER_RUN_ID=drun_0\n")
    with reporting(job.app) as ci:
        ci.known.begun("drun_1", "sess_1")
        assert job.variables == {"OTHER": "1", "QODER_RUN_ID": "drun_1", "QODER_SESSION_ID": "sess_1"}
        ci.known.ended(Item("drun_1", a_run(), None))
    assert job.variables == {
        "OTHER": "1",
        "QODER_RUN_ID": "drun_1",
        "QODER_SESSION_ID": "sess_1",
        "QODER_STATUS": "completed",
        "QODER_EXIT_CODE": "0",
    }
    assert [path.name for path in job.folder.iterdir()] == ["qoder.env"]
    assert job.err == ""


def test_gitlab_gets_of_several_only_their_ids(job: Step) -> None:
    with reporting(job.app) as ci:
        ci.known.typed = ["a", "b"]
        for number in (0, 1):
            ci.known.begun(f"drun_{number}", number=number)
            ci.known.ended(Item("a", a_run(f"drun_{number}"), None), number=number)
    assert job.variables == {"QODER_RUN_IDS": "drun_0 drun_1", "QODER_EXIT_CODE": "0"}


def test_gitlab_keeps_no_variables_of_an_earlier_command_that_had_another_shape(job: Step) -> None:
    (job.folder / "qoder.env").write_text("OTHER=1\n")
    for several in (False, True, False):
        with reporting(replace(job.app, known=Known())) as ci:
            if several:
                ci.known.typed = ["a", "b"]
            ci.known.begun("drun_1")
            ci.known.ended(Item("a", a_run(), None))
        told = {"QODER_RUN_IDS"} if several else {"QODER_RUN_ID", "QODER_SESSION_ID", "QODER_STATUS"}
        assert job.variables.keys() == told | {"OTHER", "QODER_EXIT_CODE"}


def test_gitlab_keeps_no_ids_where_none_was_started(job: Step) -> None:
    (job.folder / "qoder.env").write_text("QODER_RUN_IDS=drun_8 drun_9\nOTHER=1\n")
    with ending_with(NotFound("no such deployments"), job) as ci:
        ci.known.typed = ["a", "b"]
    assert job.variables == {"OTHER": "1", "QODER_EXIT_CODE": "5"}


def test_gitlab_takes_no_more_ids_than_a_report_holds(job: Step) -> None:
    with reporting(job.app) as ci:
        ci.known.typed = ["x"] * 300
        for number in range(300):
            ci.known.begun(f"drun_{number:032}", number=number)
            job.app.clock.sleep(1)
        ci.known.ended(Item("x", a_run(), None), number=299)
    assert (job.folder / "qoder.env").stat().st_size < 5000
    assert job.err.count("warning:") == 1
    assert job.variables["QODER_EXIT_CODE"] == "0"


# Elsewhere, and where nothing can be written.


@pytest.mark.parametrize("env", [{}, {"CI": "true"}, {"GITHUB_ACTIONS": "false"}, {"GITLAB_CI": ""}])
def test_elsewhere_there_is_a_warning_and_it_goes_on(tmp_path: Path, env: dict[str, str]) -> None:
    step = Step.of(tmp_path, env)
    with ending_with(RunFailed("run drun_1 failed"), step) as ci:
        ci.known.begun("drun_1")
    assert step.err == ("warning: --ci has no effect: neither GitHub Actions nor GitLab detected\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variable", ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"])
@pytest.mark.parametrize("path", ["", "{folder}", "{folder}/nowhere/file", "\0"])
def test_a_file_that_cannot_be_written_is_one_warning(step: Step, variable: str, path: str) -> None:
    step.app = replace(step.app, env={**step.app.env, variable: path.format(folder=step.folder)})
    with reporting(step.app) as ci:
        ci.known.begun("drun_1")
        ci.known.ended(Item("drun_1", a_run(), None))
    assert step.err.count(f"warning: --ci: cannot write {variable}: ") == step.err.count("\n") == 1


# A pipe that nobody reads or empties, and what has no end. Each in a process of its own, which may hang or grow.
NO_FILES = {
    "a pipe without a reader": "os.mkfifo(path)",
    "a pipe that is full": """os.mkfifo(path)
reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
while True:
    try:
        os.write(writer, b"x" * 4096)
    except BlockingIOError:
        break""",
    "no end": "os.symlink('/dev/full', path)",
    "standard error": "os.symlink('/dev/stderr', path)",
}
REPORT = """import io, os, resource, sys
from qoder_cli.app import App
from qoder_cli.base.model import Run
from qoder_cli.ci import reporting
from qoder_cli.output.screen import Screen
from qoder_cli.runs.awaiting import Item
path = sys.argv[1]
{setup}
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
env = dict(CI="true", GITHUB_ACTIONS="true", GITHUB_OUTPUT=path, GITHUB_STEP_SUMMARY=path)
with reporting(App(env=env, out=Screen(io.BytesIO()), err=Screen(io.BytesIO()))) as ci:
    ci.known.begun("drun_1")
    ci.known.ended(Item("drun_1", Run(dict(id="drun_1", status="completed")), None))
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there are no such files")
@pytest.mark.parametrize("setup", NO_FILES.values(), ids=list(NO_FILES))
def test_what_is_no_file_is_neither_waited_for_nor_read(tmp_path: Path, setup: str) -> None:
    script = REPORT.format(setup=setup)
    words = [sys.executable, "-c", script, str(tmp_path / "no file")]
    ran = subprocess.run(words, capture_output=True, timeout=PATIENCE)
    assert (ran.returncode, ran.stdout) == (0, b""), ran.stderr


@pytest.mark.parametrize("setup", ["os.mkfifo(path)", "os.symlink('/dev/zero', path)"])
def test_a_dotenv_file_that_is_none_is_one_warning(job: Step, setup: str) -> None:
    exec(setup, {"os": os, "path": job.folder / "qoder.env"})
    with reporting(job.app) as ci:
        ci.known.begun("drun_1")
    assert job.err == "warning: --ci: cannot write qoder.env: it is not a file of variables\n"


def test_a_dotenv_file_that_cannot_be_written_is_one_warning(job: Step) -> None:
    (job.folder / "qoder.env").mkdir()
    with reporting(job.app) as ci:
        ci.known.begun("drun_1")
        ci.known.ended(Item("drun_1", a_run(), None))
    assert job.err.count("warning: --ci: cannot write qoder.env: ") == job.err.count("\n") == 1
