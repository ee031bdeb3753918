"""`qoder init`: a folder that can be applied as it is, with CI jobs that show and apply changes."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from qoder_cli.stack.start import TEMPLATES
from tests.conftest import Qoder
from tests.support.processes import Shell
from tests.support.things import Things

SERVED_BY = ("current",)
WORKFLOWS = (".github/workflows/qoder.yml", ".gitlab-ci.yml")
DOCUMENTS = ("agents", "deployments", "environments", "memory_stores", "skills")


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.few(2)
def test_init_writes_a_folder_that_is_applied_and_run_as_it_is(
    qoder: Qoder, service: Things, home: Path, template: str
) -> None:
    made = qoder("init", "--template", template)
    assert (made.code, service.requests) == (0, [])
    assert len([path for path in files(home) if path.startswith(DOCUMENTS)]) in range(3, 7)
    assert qoder("apply", "--yes").code == 0
    again = qoder("diff", "--json")
    assert (again.code, again.json) == (0, [])
    apply, run, last = [line.split()[1:] for line in made.err.splitlines() if line.startswith("  qoder")]
    assert apply == ["apply"]
    ran = qoder(*run, "--json")
    if template == "approve":
        assert (ran.code, ran.json["status"]) == (11, "running")
        last.append("--yes")
    else:
        assert (ran.code, ran.json["status"]) == (0, "completed")
    result = qoder(*last)
    assert (result.code, result.out != "") == (0, True)


def test_init_marks_what_is_made_by_the_name_of_the_folder(qoder: Qoder, home: Path) -> None:
    def name(folder: str, *words: str) -> str:
        assert qoder("init", folder, *words).code == 0
        found = re.search("(?m)^stack: (.*)$", (home / folder / "qoder.yaml").read_text())
        assert found is not None
        return found[1]

    assert re.fullmatch("My-stack-[a-z2-9]{4}", first := name("."))
    assert name(".", "--force", "--template", "report") == first  # or what it made would be no longer its own
    assert re.fullmatch("reports-[a-z2-9]{4}", name("reports"))
    assert name("elsewhere/reports") != name("reports", "--force")


def test_init_tells_editors_what_each_file_may_hold(qoder: Qoder, home: Path) -> None:
    for template in TEMPLATES:
        qoder("init", template, "--template", template)
        for path in map(Path, files(home / template)):
            text = (home / template / path).read_text()
            if path.parts[0] in DOCUMENTS[:-1] or path.name == "qoder.yaml":
                [schema] = [line.partition("$schema=")[2] for line in text.splitlines() if "$schema=" in line]
                known = json.loads((home / template / path.parent / schema).read_text())
                front = text.split("---\n")[1] if path.suffix == ".md" else text
                assert set(yaml.safe_load(front)) <= set(known["properties"])
    shown = json.loads(qoder("schema", "agent").out)
    assert json.loads((home / "hello/.qoder/agent.schema.json").read_text()) == shown


def test_init_replaces_no_file_unless_forced(qoder: Qoder, home: Path) -> None:
    (home / "agents").mkdir()
    (home / "agents/hello.md").write_text("mine")
    refused = qoder("init")
    assert (refused.code, refused.out, files(home)) == (6, "", ["agents/hello.md"])
    assert "agents/hello.md; nothing was written" in refused.err
    (home / ".gitignore").write_text("mine")
    assert qoder("init", "--force").code == 0
    before = {path: (home / path).read_bytes() for path in files(home)}
    (home / ".gitignore").write_text("mine")
    again = qoder("init", "--json")
    assert (again.code, again.json, (home / ".gitignore").read_text()) == (0, [], "mine")
    assert {path: (home / path).read_bytes() for path in files(home)} == {**before, ".gitignore": b"mine"}


def test_init_writes_nothing_where_a_file_stands_for_a_folder(qoder: Qoder, home: Path) -> None:
    (home / "environments").write_text("mine")
    for words in ((), ("--force",)):
        refused = qoder("init", *words)
        assert (refused.code, files(home)) == (6, ["environments"])
        assert "environments is not a folder; nothing was written" in refused.err


def scripts(job: Any) -> Iterator[str]:
    """Yield the shell lines of a job, whichever system it is for."""
    yield from job.get("script", [])
    yield from (step["run"] for step in job.get("steps", []) if "run" in step)


@pytest.mark.parametrize("path", WORKFLOWS)
def test_init_writes_jobs_that_show_a_request_and_apply_what_was_merged(qoder: Qoder, home: Path, path: str) -> None:
    qoder("init")
    found = yaml.load((home / path).read_text(), yaml.BaseLoader)
    jobs = found.get("jobs", found)
    lines = {name: list(scripts(jobs[name])) for name in ("diff", "apply")}
    assert "qoder-cli diff -o markdown" in "\n".join(lines["diff"])
    assert "apply" not in "\n".join(lines["diff"])
    assert lines["apply"][-1] == "qoder-cli apply --yes"
    assert jobs["diff"].get("if", jobs["diff"].get("rules")) != jobs["apply"].get("if", jobs["apply"].get("rules"))
    for line in (each for job in lines.values() for each in job):
        assert subprocess.run(["sh", "-n"], input=line, text=True).returncode == 0
    if shutil.which("actionlint") and path.startswith(".github"):
        checked = subprocess.run(["actionlint", "-no-color", path], capture_output=True, text=True)
        assert (checked.stdout, checked.returncode) == ("", 0)


@pytest.mark.parametrize("path", WORKFLOWS)
def test_init_has_jobs_fail_for_what_cannot_be_done_and_not_for_what_differs(
    qoder: Qoder, home: Path, path: str
) -> None:
    qoder("init")
    found = yaml.load((home / path).read_text(), yaml.BaseLoader)
    lines = "\n".join(scripts(found.get("jobs", found)["diff"]))
    script = lines.partition('pip install "$QODER_CLI"\n')[2] or lines
    (home / "qoder-cli").touch(0o755)
    env = {"PATH": f"{home}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(home / "summary.md")}
    for differs, code in ((0, 0), (8, 0), (6, 6), (4, 4)):
        (home / "qoder-cli").write_text(f"#!/bin/sh\necho '+ create agent x'\nexit {differs}\n")
        ran = subprocess.run(["sh", "-e", "-c", script], env=env, capture_output=True, text=True)
        assert (differs, ran.returncode, (home / "plan.md").read_text()) == (differs, code, "+ create agent x\n")
        (home / "plan.md").unlink()


QUICK_SESSIONS = """
from qoder_cli.commands import sandbox
listen = sandbox._listen
sandbox._listen = lambda app, generation, speed, *more: listen(app, generation, 20.0, *more)
"""


def test_init_sandbox_tries_the_commands_for_free(home: Path) -> None:
    ran = Shell(home).hurry(QUICK_SESSIONS).qoder("init", "tried", "--template", "approve", "--sandbox", "--json")
    assert (ran.code, "I ran 'git push origin main'." in ran.err) == (0, True), ran.err
    assert [line for line in ran.err.splitlines() if line.startswith("$ ")] == [
        "$ qoder apply tried --yes",
        "$ qoder deploy run prepare-release --wait --on-ask policy=tried/policy.yaml",
        "$ qoder run approve last --all --wait --result --yes",
    ]
    assert {each["file"] for each in json.loads(ran.out)} == {f"tried/{path}" for path in files(home / "tried")}
