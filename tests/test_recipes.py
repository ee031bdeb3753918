"""The README's recipes: each is run by bash against the sandbox, and shellcheck has nothing to say."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import Shell, sandbox

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
RECIPES = dict(re.findall(r"<!-- recipe: ([\w ]+) -->\n```sh\n(.*?)```", README, re.DOTALL))


def test_there_are_recipes() -> None:
    assert len(RECIPES) == README.count("<!-- recipe:") > 5


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_works(tmp_path: Path, name: str) -> None:
    if "jq" in RECIPES[name] and not shutil.which("jq"):
        pytest.skip("there is no jq here")
    with sandbox("current") as server:
        server.world.seed_runs(30, deployment_id="dep_scheduled", every=3600.0)
        ended = Shell(tmp_path, server).start("bash", "-euo", "pipefail", "-c", RECIPES[name]).end()
    assert (ended.code, "rror" in ended.err) == (0, False), ended.err


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="there is no shellcheck here")
@pytest.mark.parametrize("name", RECIPES)
def test_shellcheck_finds_nothing(name: str) -> None:
    checked = subprocess.run(["shellcheck", "-s", "bash", "-"], input=RECIPES[name], text=True, capture_output=True)
    assert checked.stdout == ""
