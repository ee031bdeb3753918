"""The README's recipes: each is run by bash against the sandbox, and shellcheck has nothing to say."""

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.processes import Shell, sandbox

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
RECIPES = dict(re.findall(r"<!-- recipe: ([\w ]+) -->\n```sh\n(.*?)```", README, re.DOTALL))


PIPELINES = dict(re.findall(r"<!-- recipe: ([\w ]+) -->\n```yaml\n(.*?)```", README, re.DOTALL))


def test_there_are_recipes() -> None:
    assert len(RECIPES) + len(PIPELINES) == README.count("<!-- recipe:") > 5


def test_one_job_of_a_pipeline_starts_a_run_and_another_waits_for_it(tmp_path: Path) -> None:
    start, wait = (job for job in yaml.safe_load(PIPELINES["two jobs"]).values())
    variables = tmp_path / start["artifacts"]["reports"]["dotenv"]
    project = f"export GITLAB_CI=true CI_PROJECT_DIR='{tmp_path}'\n"
    with sandbox("current") as server:
        shell = Shell(tmp_path, server)
        for before, job in ((project, start), (f"set -a; . '{variables}'\n", wait)):
            ended = shell.start("bash", "-euo", "pipefail", "-c", before + "\n".join(job["script"])).end()
            assert ended.code == 0, ended.err
    assert variables.read_text().splitlines()[0].removeprefix("QODER_RUN_ID=") in ended.out


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_works(tmp_path: Path, name: str) -> None:
    if "jq" in RECIPES[name] and not shutil.which("jq"):
        pytest.skip("there is no jq here")
    with sandbox("current") as server:
        server.world.seed_runs(30, deployment_id="dep_scheduled", every=3600.0)
        ended = Shell(tmp_path, server).start("bash", "-euo", "pipefail", "-c", RECIPES[name]).end()
    assert (ended.code, "rror" in ended.err) == (0, False), ended.err


def test_a_busy_lock_is_as_a_run_that_is_going(tmp_path: Path) -> None:
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


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="there is no shellcheck here")
@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_finds_nothing(name: str) -> None:
    checked = subprocess.run(["shellcheck", "-s", "bash", "-"], input=SCRIPTS[name], text=True, capture_output=True)
    assert checked.stdout == ""


def _examples() -> list[str]:
    """Return every line of the README's other blocks that is typed at a prompt."""
    blocks = re.findall(r"(?<!-->\n)```sh\n(.*?)```", README, re.DOTALL)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("qoder ") and "auth login" not in line]


# What has to be there before, for a line that has the word in it.
BEFOREHAND = {
    "deployments/": "mkdir deployments && qoder deploy export dep_minute > deployments/minute.yaml",
    "apply -f nightly": "qoder deploy export nightly-report > nightly-report.yaml",
    " last": "qoder deploy run dep_demo",
}


def test_every_other_example_works_when_pasted(tmp_path: Path) -> None:
    going = {}
    with sandbox("current") as server:
        server.world.seed_deployments(3)  # the newest, which complete
        for number, line in enumerate(_examples()):
            first = [command for word, command in BEFOREHAND.items() if word in line]
            pasted = line.replace("dep_…", "dep_demo").replace("--all -q |", "-n 3 -q |")
            pasted += " --yes" if re.search("cancel|apply -f deployments", pasted) else ""
            while "drun_…" in pasted:
                pasted = pasted.replace("drun_…", server.world.start("dep_demo").id, 1)
            folder = tmp_path / str(number)
            folder.mkdir()
            script = "\n".join([*first, pasted])
            going[line] = Shell(folder, server).start("bash", "-euo", "pipefail", "-c", script)
        ended = {line: one.end() for line, one in going.items()}
    assert len(ended) > 12
    assert {line: (one.code, one.err) for line, one in ended.items() if one.code} == {}
