"""The recipes of the README and of the help pages: bash runs each against the sandbox, and shellcheck is silent."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from qoder_cli.help.documented import PAGES as NAMES
from qoder_cli.sandbox.api import SERVICE_KEY
from tests.support.cells import checkerboard
from tests.support.inprocess import seed_runs
from tests.support.processes import Ended, Shell, Terminal, sandbox
from tests.support.shells import need
from tests.support.staged import put_files
from tests.tools.generate import PAGES, README

TEXTS = {"README": README.read_text("utf-8")} | {name: (PAGES / f"{name}.md").read_text("utf-8") for name in NAMES}
WRITTEN = "\n".join(TEXTS.values())
RECIPES = dict(re.findall(r"<!-- recipe: ([^>]+) -->\n```sh\n(.*?)```", WRITTEN, re.DOTALL))
JOBS = dict(re.findall(r"<!-- job: ([^>]+) -->\n```yaml\n(.*?)```", WRITTEN, re.DOTALL))
BASH = ("bash", "-euo", "pipefail", "-c")


# What differs from one run to the next: port, ids, times.
VARIES = re.compile(r", speed 40|(?<=127\.0\.0\.1:)\d+|(?<=drun_|sess_)\w{20}|\d{4}-\d\d-\d\d [\d:]{8}|[\d.]+s$")


def test_readme_shows_what_its_first_command_prints(tmp_path: Path) -> None:
    [shown] = re.findall(r"<!-- first run -->\n```text\n(.*?)```", TEXTS["README"], re.DOTALL)
    [inside] = set(re.findall("qoder sandbox -- sh -c ('.*')$", TEXTS["README"], re.MULTILINE))
    line = f"qoder sandbox --speed 40 -- sh -c {inside}"
    with Terminal(Shell(tmp_path).quick(), "sh", "-c", line) as terminal:
        assert terminal.end() == 0
    printed, expected = ([VARIES.sub("", line) for line in lines] for lines in (terminal.screen, shown.splitlines()))
    assert printed == expected


def test_recipes_are_all_found() -> None:
    assert len(RECIPES) == WRITTEN.count("<!-- recipe:") > 8
    assert len(JOBS) == WRITTEN.count("<!-- job:") == 6


def fast(script: str) -> str:
    """Return a script in whose sandboxes runs do not take long."""
    return re.sub(r"qoder sandbox (--speed 10 )?", "qoder sandbox --speed 200 ", script)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.few(3)
def test_recipes_work_in_bash(tmp_path: Path, name: str) -> None:
    need(*(program for program in ("jq", "flock", "git") if f"{program} " in RECIPES[name]))
    with sandbox("current") as server:
        seed_runs(server.world, 30, deployment_id="dep_scheduled", every=3600.0)
        shell = Shell(tmp_path, server).quick().hurry()
        shell.env["REPORTS_API_KEY"] = "a-secret"
        shell.env |= dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "me")
        shell.env |= dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "me@example.com")
        ended = shell.start(*BASH, fast(RECIPES[name])).end()
    assert (ended.code, "rror" in ended.err) == (0, False), ended.err


@pytest.mark.parametrize(("deployment", "code"), [("nightly-report", 0), ("dep_fail", 1)])
def test_recipe_cron_prints_nothing_unless_something_is_wrong(tmp_path: Path, deployment: str, code: int) -> None:
    with sandbox("current") as server:
        shell = Shell(tmp_path, server).quick().hurry()
        ended = shell.start(*BASH, RECIPES["cron"].replace("nightly-report", deployment)).end()
    assert (ended.code, ended.out, "error: " in ended.err, ended.err == "") == (code, "", code == 1, code == 0)


# The jobs of CI systems: their scripts, with what the system sets. A `pip` that does nothing stands for the network.


RED = {"dep_fail": 1, "nightly-report": 0}  # exit codes of deployments
as_red = pytest.mark.parametrize(("deployment", "code"), RED.items())


def play(shell: Shell, script: str, **env: str) -> Ended:
    return shell.start(*BASH, f'pip() {{ test -n "$2"; }}\n{script}', env=env).end()


def test_recipe_github_gives_the_action_what_it_takes() -> None:
    [step] = yaml.safe_load(JOBS["github"])["jobs"]["run"]["steps"]
    place = re.fullmatch(r"OWNER/qoder-cli/(.+)@COMMIT", step["uses"])
    assert place is not None
    action = yaml.safe_load((README.parent / place[1] / "action.yml").read_text("utf-8"))
    assert {name for name, about in action["inputs"].items() if about.get("required")} <= {*step["with"]}
    assert {*step["with"]} <= {*action["inputs"]}
    assert {*step["env"]} == {"QODER_PAT", "QODER_KEYS"}


@as_red
@pytest.mark.few(1)
def test_recipe_gitlab_is_as_red_as_its_run(tmp_path: Path, deployment: str, code: int) -> None:
    [job] = yaml.safe_load(JOBS["gitlab"]).values()
    with sandbox("current") as server:
        shell = Shell(tmp_path, server).quick().hurry()
        script = "\n".join(job["script"]).replace("nightly-report", deployment)
        assert play(shell, script).code == code


@pytest.mark.parametrize(
    ("name", "deployment"), checkerboard(("github without the action", "gitlab in the container"), RED)
)
@pytest.mark.few(1)
def test_recipe_with_a_service_account_starts_one_run_for_a_job_that_is_retried(
    tmp_path: Path, name: str, deployment: str
) -> None:
    found = yaml.safe_load(JOBS[name])
    output = tmp_path / "output"
    (tmp_path / "key").write_text(SERVICE_KEY)
    if "github" in name:
        step = found["jobs"]["run"]["steps"][-1]
        lines, region = [step["run"]], step["env"]["QODER_REGION"]
        env = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "1234", "QODER_SA_KEY": SERVICE_KEY}
        env |= {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    else:
        [job] = found.values()
        lines, region = job["script"], job["variables"]["QODER_REGION"]
        env = {"CI_PIPELINE_ID": "1234", "QODER_SA_KEY_FILE": str(tmp_path / "key")}
    with sandbox("current") as server:
        shell = Shell(tmp_path, server).quick().hurry()
        keys = shell.qoder("key", "init", "-q").out.strip()
        script = "\n".join(lines).replace("nightly-report", deployment)
        env |= {"QODER_PAT": "", "QODER_REGION": region}
        assert play(shell, script, **env).code == 2  # a variable is missing
        for runner in ("one", "two"):
            ended = play(shell, script, QODER_KEYS=keys, QODER_STATE_DIR=str(tmp_path / runner), **env)
            assert ended.code == RED[deployment], ended.err
            if "github" in name:
                assert ("::error" in ended.err) is bool(ended.code)
                assert f"exit_code={ended.code}" in output.read_text()
        assert len(server.world.started()) == 1


@as_red
@pytest.mark.few(1)
def test_recipe_kubernetes_starts_one_run_for_a_pod_that_is_started_again(
    tmp_path: Path, deployment: str, code: int
) -> None:
    pod = yaml.safe_load(JOBS["kubernetes"])["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    env = {entry["name"]: "nightly-report-29412345" for entry in container["env"]}
    words = [re.sub(r"\$\((\w+)\)", lambda name: env[name[1]], word) for word in container["args"]]
    words[words.index("nightly-report")] = deployment
    with sandbox("current") as server:
        shell = Shell(tmp_path, server).quick().hurry()
        assert shell.start("qoder", *words, env=env).end().code == 2  # QODER_KEYS is missing
        env["QODER_KEYS"] = shell.qoder("key", "init", "-q").out.strip()
        for machine in ("one", "two"):
            env["QODER_STATE_DIR"] = str(tmp_path / machine)
            assert shell.start("qoder", *words, env=env).end().code == code
        assert len(server.world.started()) == 1


SCRIPTS = RECIPES | {
    f"{name} {job}": "\n".join(said["script"])
    for name in ("gitlab", "gitlab in the container")
    for job, said in yaml.safe_load(JOBS[name]).items()
    if "script" in said
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_recipes_pass_shellcheck(name: str) -> None:
    need("shellcheck")
    words = ["shellcheck", "-s", "bash", "-e", "SC2164", "-"]  # who types a recipe sees that a `cd` failed
    checked = subprocess.run(words, input=SCRIPTS[name], text=True, capture_output=True)
    assert checked.stdout == ""


def test_recipe_pre_commit_refuses_a_broken_file_without_a_server(tmp_path: Path) -> None:
    put_files(tmp_path, "qoder schema --check policy.yaml")
    [local] = yaml.safe_load(JOBS["pre-commit"])["repos"]
    shell = Shell(tmp_path).quick()

    def codes() -> list[int]:
        return [shell.start(*shlex.split(hook["entry"])).end().code for hook in local["hooks"]]

    assert codes() == [0, 0]
    for name in ("deployments/nightly.md", "policy.yaml"):
        file = tmp_path / name
        file.write_text(file.read_text().replace("name: ", "nam: ").replace("run: ", "rum: "))
    assert codes() == [2, 2]
