"""What publishes the program, and what is published beside it: workflows, and the action that starts a run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from qoder_cli.sandbox.wire import Generation
from tests.support.processes import MORE_THAN_ONE_SIGNAL, DelayedAnswers, Going, Shell, sandbox, staged, until
from tests.support.shells import need

GITHUB = Path(__file__).parents[2] / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
ACTION = GITHUB / "actions/run/action.yml"


def read(path: Path) -> Any:
    # Without YAML's own types: `on` is no boolean, 3.10 no number.
    return yaml.load(path.read_text("utf-8"), yaml.BaseLoader)


def steps_of(path: Path) -> Iterator[dict[str, Any]]:
    document = read(path)
    for job in document["jobs"].values() if "jobs" in document else [document["runs"]]:
        yield from job["steps"]


@pytest.mark.parametrize("path", [*WORKFLOWS, ACTION], ids=lambda path: path.name)
def test_workflows_pass_values_to_shells_in_variables_only(path: Path) -> None:
    for step in steps_of(path):
        assert "${{" not in step.get("run", "")
        assert subprocess.run(["bash", "-n"], input=step.get("run", ""), text=True).returncode == 0
        assert not any("secrets." in value for value in step.get("with", {}).values())


def test_workflows_name_the_release_of_each_action_that_they_pin() -> None:
    for path in WORKFLOWS:
        for line in path.read_text("utf-8").splitlines():
            assert "uses:" not in line or re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


NO_VERSIONS = ("nightly", "v1", "v1.2", "v1.2.3foo", "v1x.2.3", "v1.2.3-rc1", "v1.2.3v4", "v1.2.3.4", "1.2.3")


def test_version_is_that_of_the_newest_release_whatever_else_is_tagged(tmp_path: Path) -> None:
    need("git")
    pytest.importorskip("hatch_vcs", reason="hatch-vcs is not installed")
    clone, archive = tmp_path / "clone", tmp_path / "archive"
    clone.mkdir()
    for name in ("pyproject.toml", ".git_archival.txt", ".gitattributes"):
        shutil.copy(GITHUB.parent / name, clone)

    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-C", str(clone), "-c", "user.name=a", "-c", "user.email=a@b.invalid", *words], check=True
        )

    def versions() -> tuple[str, ...]:
        """Return the version of the clone, and that of an archive of it."""
        git("archive", "--output", f"{archive}.tar", "HEAD")
        shutil.unpack_archive(f"{archive}.tar", archive)
        asked = [sys.executable, "-m", "hatchling", "version"]
        told = [subprocess.run(asked, cwd=each, capture_output=True, check=True).stdout for each in (clone, archive)]
        return tuple(text.decode().partition("+")[0].strip() for text in told)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    git("tag", "v0.2.0")
    git("commit", "-q", "--allow-empty", "-m", "second")
    for tag in NO_VERSIONS:
        git("tag", tag)
    assert versions() == ("0.2.1.dev1", "0.2.1.dev1")
    git("tag", "v0.3.0")
    assert versions() == ("0.3.0", "0.3.0")


def start_action(shell: Shell, folder: Path, **inputs: str) -> Going:
    """Start the action's second step, as a runner does, with the program that the shell finds."""
    place = folder / "qoder/bin"
    place.mkdir(parents=True)
    (place / "qoder-cli").symlink_to(str(shutil.which("qoder-cli", path=shell.env["PATH"])))
    action = read(ACTION)
    given = {name: about.get("default", "") for name, about in action["inputs"].items()}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    [step] = [step for step in action["runs"]["steps"] if step.get("id") == "run"]
    env = {name: given[re.fullmatch(r"\$\{\{ inputs\.(.+) \}\}", value)[1]] for name, value in step["env"].items()}  # type: ignore[index]
    env |= {"RUNNER_TEMP": str(folder), "GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(folder / "output")}
    script = folder / "step.sh"
    script.write_text(step["run"])
    # What `shell: bash` of a composite action stands for.
    return shell.start("bash", "--noprofile", "--norc", "-eo", "pipefail", str(script), env=env)


def outputs(folder: Path) -> dict[str, str]:
    """Return what a step said in GITHUB_OUTPUT; a value of many lines stands between two equal marks."""
    said: dict[str, str] = {}
    lines = iter((folder / "output").read_text().splitlines() if (folder / "output").exists() else [])
    for line in lines:
        name, mark = re.fullmatch(r"(\w+)(?:=|<<)(.*)", line).groups()  # type: ignore[union-attr]
        is_long = f"{name}<<" in line
        said[name] = "\n".join(iter(lambda: next(lines), mark)) if is_long else mark
    return said


@pytest.mark.parametrize("generation", ["legacy", "current"])
@pytest.mark.parametrize(("deployment", "code"), [("nightly-report", 0), ("dep_fail", 1)])
def test_action_is_as_red_as_its_run(tmp_path: Path, deployment: str, code: int, generation: Generation) -> None:
    with sandbox(generation) as server:
        ended = start_action(Shell(tmp_path, server).quick().hurry(), tmp_path, deployment=deployment).end()
        [run] = server.world.started()
    said = outputs(tmp_path)
    assert (ended.code, said["run_id"]) == (code, run.id), ended.err
    assert said["status"] == ("failed" if code else "completed")
    assert {about["value"] for about in read(ACTION)["outputs"].values()} == {
        f"${{{{ steps.run.outputs.{name} }}}}" for name in ("run_id", "status", "result")
    }
    assert code or said["result"].startswith("Status report")


def test_action_starts_one_run_for_a_job_that_is_retried(tmp_path: Path) -> None:
    with sandbox("current") as server:
        shell = Shell(tmp_path, server).quick().hurry()
        for folder in (tmp_path / "one", tmp_path / "two"):
            ended = start_action(shell, folder, deployment="nightly-report", idempotency_key="a-day").end()
            assert ended.code == 0, ended.err
        assert len(server.world.started()) == 1


@pytest.mark.parametrize("on_leave", ["cancel", "detach"])
def test_action_whose_job_is_cancelled_does_what_on_leave_says(tmp_path: Path, on_leave: str) -> None:
    with sandbox("current") as server:
        step = start_action(Shell(tmp_path, server), tmp_path, deployment="nightly-report", on_leave=on_leave)
        until(lambda: "run_id" in outputs(tmp_path), "the run's id in the outputs")
        ended = step.signal(signal.SIGINT).end()
        assert ended.code == -signal.SIGINT, ended.err
        cancels = [seen for seen in server.world.requests if seen.path.endswith("/cancel")]
        assert len(cancels) == (on_leave == "cancel")


HOSTILE = (
    *("$(touch caught)", "`touch caught`", '"; touch caught; "', "' || touch caught #"),
    *("--help", "-o csv", "--json", "-h", "🚀", "x\n::set-output name=a::b"),
)


def test_action_takes_a_hostile_name_for_a_name(tmp_path: Path) -> None:
    with sandbox("current") as server:
        shell = Shell(tmp_path, server).quick()
        steps = [start_action(shell, tmp_path / str(n), deployment=name) for n, name in enumerate(HOSTILE)]
        for name, ended in zip(HOSTILE, [step.end() for step in steps], strict=True):
            assert ended.code not in (0, 1), (name, ended.out)
            assert not [line for line in (ended.out + ended.err).splitlines() if line.startswith("::set-output")]
        assert not server.world.started()
    assert not [*tmp_path.rglob("caught")]


@pytest.mark.parametrize("name", ["timeout", "on_leave", "idempotency_key"])
def test_action_takes_an_option_in_an_input_for_its_value(tmp_path: Path, name: str) -> None:
    with sandbox("current") as server:
        shell = Shell(tmp_path, server).quick().hurry()
        ended = start_action(shell, tmp_path, **{"deployment": "nightly-report", name: "--json"}).end()
    if name == "idempotency_key":
        assert (ended.code, outputs(tmp_path)["status"]) == (0, "completed")
    else:
        assert (ended.code, outputs(tmp_path)["status"], "'--json'" in ended.err) == (2, "usage", True)


# The first process of a container: signals that it does not handle, and those that it sends itself, do nothing.
FIRST = ("unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child")


@pytest.mark.parametrize(
    ("signals", "code"), [([signal.SIGTERM], 143), ([signal.SIGTERM] * 2, 143), ([signal.SIGINT], 130)]
)
def test_container_ends_at_its_signals(tmp_path: Path, signals: list[signal.Signals], code: int) -> None:
    need("unshare")
    if subprocess.run([*FIRST, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces here")
    delayed = DelayedAnswers(first=2)  # the cancellation, whose answer comes when nobody signals again
    program = staged("from qoder_cli.runs import ending; ending.CANCEL_WITHIN = 600")
    with sandbox("current", delayed=delayed) as server:
        words = ("deploy", "run", "dep_minute", "--wait", "--on-leave", "cancel")
        going = Shell(tmp_path, server).start(*FIRST, *program, *words).says("run drun_")
        children = Path(f"/proc/{going.process.pid}/task/{going.process.pid}/children")
        for signum in signals:
            os.kill(int(children.read_text()), signum)
            until(lambda: delayed.is_holding, "the cancellation")
            time.sleep(MORE_THAN_ONE_SIGNAL)
        if len(signals) == 1:
            delayed.released.set()
        ended = going.end()
    assert (ended.code, "cancellation was requested" in ended.err) == (code, len(signals) == 1), ended.err
