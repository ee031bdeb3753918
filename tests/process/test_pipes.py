"""`qoder deploy run` where a stream is a pipe, closed, full or no text, and where its last words fail."""

import os
import re
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import qoder_cli
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.support.cells import ALL_CELLS, checkerboard
from tests.support.processes import (
    HEARING,
    MODULE,
    MORE_THAN_ONE_SIGNAL,
    DelayedAnswers,
    Shell,
    sandbox,
    staged,
    until,
)

FULL = Path("/dev/full")
Servers = dict[Generation, Server]
needs_full_disk = pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")


@pytest.mark.parametrize("words", ["deploy run dep_demo --wait --json", "deploy run --help", "deploy run dep_nostart"])
@pytest.mark.few(2)
def test_deploy_run_exits_141_silently_when_its_reader_went_away(shell: Shell, broken_pipe: int, words: str) -> None:
    ended = shell.qoder(*words.split(), stdout=broken_pipe)
    assert (ended.code, ended.errors) == (141, [])
    assert '"error"' not in ended.err


@needs_full_disk
def test_deploy_run_exits_70_when_the_disk_is_full_and_knows_its_run(shell: Shell) -> None:
    with FULL.open("wb") as full:
        for words in ("deploy run --help", "--version"):
            ended = shell.qoder(*words.split(), stdout=full)
            assert (ended.code, ended.errors[0][:38]) == (70, "error: cannot write to standard output")
        ended = shell.qoder("deploy", "run", "dep_demo", "--wait", "--json", stdout=full)
    assert (ended.code, ended.error["type"]) == (70, "internal")
    assert ended.error["run_id"] == re.findall(r"drun_\w+", ended.err)[0]
    assert ended.error["run_state"] == "ended"


@needs_full_disk
def test_deploy_run_cancels_its_run_at_a_signal_when_the_disk_is_full(alone: Shell) -> None:
    delayed = DelayedAnswers()
    with sandbox("legacy", speed=1, delayed=delayed) as server, FULL.open("wb") as full:
        words = ("deploy", "run", "dep_minute", "--wait", "--on-leave", "cancel", "--json")
        going = alone.enter(server).begin(*words, stdout=full, prologue=HEARING)
        until(server.world.started, "a run")
        going.signal(signal.SIGTERM).says("heard")
        delayed.released.set()
        ended = going.end()
        assert (ended.code, ended.error["type"]) == (143, "terminated")
        assert [ended.error["run_id"]] == [run.id for run in server.world.started()]
        cancelled = [request for request in server.world.requests if request.path.endswith("/cancel")]
        assert len(cancelled) == 1  # a look that was under way may come after it


def full_pipe() -> tuple[int, int]:
    """Return the ends of a pipe that has no room left, and that does not wait for any."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while os.write(writer, b" " * 4096):
            pass
    return reader, writer


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_deploy_run_ends_at_a_second_signal_while_nobody_reads(shell: Shell, stream: str) -> None:
    reader, writer = full_pipe()
    full: dict[str, Any] = {stream: writer}
    going = shell.begin("deploy", "run", "dep_demo", "--json", **full)
    if stream == "stdout":
        going.says("run drun_")
    until(lambda: os.get_blocking(writer), "a pipe that waits")
    os.close(writer)
    for _ in range(5):
        time.sleep(MORE_THAN_ONE_SIGNAL)
        going.signal(signal.SIGTERM)
    assert going.last()[0] == -signal.SIGTERM
    os.close(reader)


def test_deploy_run_waits_for_the_reader_of_a_pipe_that_another_program_made_not_to_wait(shell: Shell) -> None:
    reader, writer = full_pipe()
    going = shell.begin("deploy", "run", "dep_fail", "--wait", "-q", stdout=writer, stderr=writer)
    until(lambda: os.get_blocking(writer), "a pipe that waits")
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        said = pipe.read().strip()
    assert going.end().code == 1
    assert [said.startswith("starting "), "\ndrun_" in said, "\nerror: " in said] == [True] * 3, said


def test_deploy_run_gives_a_pipe_plain_lines_with_whole_ids(shell: Shell) -> None:
    ended = shell.quick().bash("FORCE_COLOR=1 COLUMNS=20 qoder deploy run dep_demo --wait | cat")
    assert "\x1b" not in ended.out
    fields = dict(line.split("\t") for line in ended.out.splitlines())
    assert re.fullmatch(r"drun_[0-9a-z]{20}", fields["id"])
    assert re.fullmatch(r"sess_[0-9a-z]{20}", fields["session"])
    assert fields["status"] == "completed"
    first = shell.bash("qoder deploy run dep_demo | head -1")
    assert (first.code, first.out[:8], first.errors) == (0, "id\tdrun_", [])


def test_report_new_notes_nothing_as_told_where_standard_output_is_closed(shell: Shell) -> None:
    refused = shell.bash("exec qoder report --new >&-")
    assert (refused.code, "--new needs standard output" in refused.err) == (2, True)
    assert shell.qoder("report", "--new").out


@pytest.mark.parametrize("closed", ["<&- >&-", "<&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.few(1)
def test_deploy_run_has_the_same_outcome_where_streams_are_closed(shell: Shell, closed: str) -> None:
    ended = shell.bash(f"exec qoder deploy run dep_nostart --json {closed}")
    assert ended.code == 1
    if ">&-" not in closed.split():
        assert ended.json["status"] == "failed"
    if "2>&-" not in closed:
        assert ended.error["type"] == "run_failed"


ENDINGS = {"dep_demo": 0, "dep_nostart": 1, "dep_nothere": 5}


@pytest.mark.parametrize(("is_full", "deployment"), checkerboard((False, True), ENDINGS))
@pytest.mark.few(2)
def test_deploy_run_ends_the_same_with_stderr_full(
    shell: Shell, broken_pipe: int, is_full: bool, deployment: str
) -> None:
    with (FULL if FULL.exists() else Path("/dev/null")).open("wb") as full:
        ended = shell.qoder("deploy", "run", deployment, "-q", stderr=full if is_full else broken_pipe)
    assert (ended.code, ended.out.startswith("drun_")) == (ENDINGS[deployment], deployment != "dep_nothere")


# Files of the program that are exchanged, or that can be opened no more, while its run goes on.

NO_LAST_WORDS = {
    "the module of last words is gone": """
from qoder_cli.cli import ending
def gone(error, run, app):
    raise ModuleNotFoundError("No module named 'qoder_cli.cli.ending' \x1b[31m")
ending.complete = gone
""",
    "nothing can be imported any more": """
import sys
from qoder_cli.cli import ending
from qoder_cli.fleet import wait
class Full:
    def find_spec(*args):
        raise OSError(24, "Too many open files")
ended = wait.Wait._until_over
def then_full(*args):
    ended(*args)
    sys.meta_path[:] = [Full]
    ending.complete = None
wait.Wait._until_over = then_full
""",
}


@pytest.mark.parametrize(("format", "generation", "lost"), checkerboard(("json", "table"), GENERATIONS, NO_LAST_WORDS))
@pytest.mark.few(2)
def test_deploy_run_names_its_run_with_exit_70_where_its_last_words_fail(
    alone: Shell, servers: Servers, format: str, generation: Generation, lost: str
) -> None:
    words = ("deploy", "run", "dep_fail", "--wait", "-o", format, "--no-progress")
    shell = alone.enter(servers[generation])
    prologue = NO_LAST_WORDS[lost]
    is_forked = "No module named" in prologue  # one that is forked has imported all that it could miss
    ended = shell.qoder(*words, prologue=prologue) if is_forked else shell.run(*staged(prologue), *words)
    assert ended.code == 70
    run_id = next(word for word in ended.err.replace('"', " ").split() if word.startswith("drun_"))
    assert f"qoder run wait {run_id}" in ended.err.replace('","', " ")
    assert "\x1b" not in ended.err
    if format == "json":
        assert (ended.error["run_id"], ended.error["type"]) == (run_id, "internal")
        assert not ended.out or ended.json["id"] == run_id


def test_deploy_run_outlives_an_upgrade_or_ends_in_70_with_its_run(shell: Shell, tmp_path: Path) -> None:
    """As `pip install -U` does: the files of the package go while it waits."""
    package = tmp_path / "lib" / "qoder_cli"
    shutil.copytree(Path(qoder_cli.__file__).parent, package)
    # A file that is compiled late would create the folder again.
    shell.env |= {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    for format in ("table", "json") if ALL_CELLS else ("table",):
        going = shell.start(*MODULE, "deploy", "run", "dep_demo", "--wait", "-o", format).says("run drun_")
        package.rename(tmp_path / "lib" / "gone")
        ended = going.end()
        assert ended.code in (0, 70)
        assert "drun_" in ended.out + (ended.err if ended.code == 0 else ended.errors[0] if ended.errors else ended.err)
        (tmp_path / "lib" / "gone").rename(package)
