"""The README's recipes: each is run by bash against the sandbox, and shellcheck has nothing to say."""

import fcntl
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.generate import with_first_run
from tests.matrix import WithoutStreams
from tests.support.processes import Shell, sandbox
from tests.support.programs import need
from tests.support.seeds import seed_runs
from tests.support.staged import put_files, staged

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
RECIPES = dict(re.findall(r"<!-- recipe: ([\w ]+) -->\n```sh\n(.*?)```", README, re.DOTALL))


PIPELINES = dict(re.findall(r"<!-- recipe: ([\w ]+) -->\n```yaml\n(.*?)```", README, re.DOTALL))


def test_the_first_command_prints_what_the_readme_shows() -> None:
    assert with_first_run(README) == README, "run: python -m tests.generate"


def test_there_are_recipes() -> None:
    assert len(RECIPES) + len(PIPELINES) == README.count("<!-- recipe:") > 5


def test_one_job_of_a_pipeline_starts_a_run_and_another_waits_for_it(tmp_path: Path) -> None:
    start, wait = (job for job in yaml.safe_load(PIPELINES["two jobs"]).values())
    variables = tmp_path / start["artifacts"]["reports"]["dotenv"]
    project = f"export GITLAB_CI=true CI_PROJECT_DIR='{tmp_path}'\n"
    with sandbox("current") as server:
        shell = Shell(tmp_path, server).quick()
        for before, job in ((project, start), (f"set -a; . '{variables}'\n", wait)):
            ended = shell.start("bash", "-euo", "pipefail", "-c", before + "\n".join(job["script"])).end()
            assert ended.code == 0, ended.err
    assert variables.read_text().splitlines()[0].removeprefix("QODER_RUN_ID=") in ended.out


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_works(tmp_path: Path, name: str) -> None:
    need(*(program for program in ("jq", "flock") if program in RECIPES[name]))
    with sandbox("current") as server:
        seed_runs(server.world, 30, deployment_id="dep_scheduled", every=3600.0)
        shell = Shell(tmp_path, server).quick().hurry()
        shell.env["REPORTS_API_KEY"] = "a-secret"
        ended = shell.start("bash", "-euo", "pipefail", "-c", RECIPES[name]).end()
    assert (ended.code, "rror" in ended.err) == (0, False), ended.err


def test_a_script_approves_what_it_knows_and_denies_the_rest(tmp_path: Path) -> None:
    need("jq")
    script = RECIPES["approve what is known"]
    with sandbox("current") as server:
        ended = Shell(tmp_path, server).quick().run("bash", "-euo", "pipefail", "-c", script)
        asked = server.world.requests
    assert ended.code == 0, ended.err
    sent = [seen.body for seen in asked if seen.method == "POST" and seen.path.endswith("/events")]
    assert [json.loads(body)["events"][0]["result"] for body in sent] == ["allow", "deny", "deny"]


@pytest.mark.parametrize("generation", ["current", "legacy"])
def test_a_run_that_asks_is_approved_and_says_what_it_did(tmp_path: Path, generation: Generation) -> None:
    line = "qoder deploy run dep_ask --wait; echo $?; qoder run approve last --all --yes --wait --result"
    with sandbox(generation) as server:
        shell = Shell(tmp_path, server).hurry().quick()
        ended = shell.bash(line)
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-2:] == ["11", "I ran 'git push origin main'."]


def test_a_busy_lock_is_as_a_run_that_is_going(tmp_path: Path) -> None:
    need("flock")
    lock = tmp_path / "nightly.lock"
    recipe = RECIPES["cron"].replace("/tmp/nightly.lock", str(lock))
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert subprocess.run(["bash", "-c", recipe], env={"PATH": os.environ["PATH"]}).returncode == 3


SCRIPTS = RECIPES | {
    f"{name} {job}": "\n".join(said["script"])
    for name, text in PIPELINES.items()
    for job, said in yaml.safe_load(text).items()
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_finds_nothing(name: str) -> None:
    need("shellcheck")
    checked = subprocess.run(["shellcheck", "-s", "bash", "-"], input=SCRIPTS[name], text=True, capture_output=True)
    assert checked.stdout == ""


def _examples() -> list[str]:
    """Return every line of the README's other blocks that is typed at a prompt, with what `…` stands for."""
    blocks = re.findall(r"(?<!-->\n)```(?:sh|powershell)\n(.*?)```", README, re.DOTALL)
    lines = [re.split("  #| [|] ConvertFrom-Json", line)[0].strip() for block in blocks for line in block.splitlines()]
    lines = [line for line in lines if line.startswith("qoder ") and "auth login" not in line]
    lines = [f"{line} --yes" if re.search("run cancel|apply -f deployments", line) else line for line in lines]
    return [line.replace("dep_…", "dep_demo").replace("--all -q |", "-n 3 -q |") for line in lines]


PASTED = [line for line in _examples() if "|" in line or ">" in line]
TYPED = [line for line in _examples() if line not in PASTED]


@pytest.mark.parametrize("line", PASTED)
def test_an_example_works_when_pasted(tmp_path: Path, line: str) -> None:
    with sandbox("current") as server:
        server.world.seed_deployments(3)  # the newest, which complete
        ended = Shell(tmp_path, server).quick().run("bash", "-euo", "pipefail", "-c", line)
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("line", TYPED)
def test_an_example_works_as_typed(qoder: Qoder, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(clock=qoder.clock.now, token=TOKEN)
    qoder.transport = WithoutStreams(world, faults=Faults(), sleep=qoder.clock.sleep)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deployments").mkdir()
    if "-f " in line and "apply" in line:
        exported = qoder("deploy", "export", "nightly-report").out
        (tmp_path / "deployments" / "nightly.yaml").write_text(exported)
        (tmp_path / "nightly-report.yaml").write_text(exported)
    put_files(tmp_path)
    line = staged(line, qoder, later=lambda: qoder.clock.sleep(60))
    words = [world.start("dep_demo").id if word == "drun_…" else word for word in shlex.split(line)[1:]]
    ran = qoder(*words)
    assert ran.code == 0, ran.err
