"""`qoder auth switch`: which profile commands use where nothing else names one."""

import tomllib
from pathlib import Path

import pytest

from tests.conftest import Qoder

CONFIG = """\
# my own
[profiles.default]
region = "cn"  # first

[profiles.work]
base_url = "https://work.example.com/api/v1/cloud"
"""


@pytest.fixture
def config(qoder: Qoder, tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    qoder.env["QODER_CONFIG"] = str(path)
    return path


def host(qoder: Qoder) -> str:
    """Return the host that a command asks."""
    assert qoder("deploy", "run", "dep_1", "--dry-run").code == 0
    return qoder.wire.requests[-1].url.host


def test_auth_switch_makes_a_profile_the_default(qoder: Qoder, config: Path) -> None:
    qoder.wire.may("GET", "/deployments/dep_1", {"id": "dep_1", "type": "deployment", "status": "active"})
    assert host(qoder) == "api.qoder.com.cn"
    ran = qoder("auth", "switch", "work")
    assert (ran.code, ran.out) == (0, "")
    assert "profile work is used by default from now on" in ran.err
    assert host(qoder) == "work.example.com"
    qoder.env["QODER_PROFILE"] = "default"
    assert host(qoder) == "api.qoder.com.cn"
    del qoder.env["QODER_PROFILE"]
    text = config.read_text()
    assert tomllib.loads(text) == {**tomllib.loads(CONFIG), "default_profile": "work"}
    assert "# my own" in text
    assert "# first" in text
    assert qoder("auth", "switch", "default").code == 0
    assert host(qoder) == "api.qoder.com.cn"


@pytest.mark.parametrize("words", [["wrok"], [""], ["a b"], ["default", "--profile", "work"]], ids=str)
def test_auth_switch_refuses_an_unknown_profile_and_names_the_others(
    qoder: Qoder, config: Path, words: list[str]
) -> None:
    ran = qoder("auth", "switch", *words)
    assert (ran.code, ran.out, config.read_text()) == (2, "", CONFIG)
    assert "default, work" in ran.err


def test_auth_switch_says_which_variables_are_stronger(qoder: Qoder, config: Path) -> None:
    qoder.env |= {"QODER_PROFILE": "default", "QODER_REGION": "cn"}
    ran = qoder("auth", "switch", "work")
    over = "warning: set, and stronger than the profile: "
    assert ran.err.splitlines()[-1] == over + "QODER_PROFILE, QODER_PAT, QODER_REGION"
    assert qoder("auth", "switch", "default").err.splitlines()[-1] == over + "QODER_PAT, QODER_REGION"
    qoder.env["QODER_WORKSPACE_ID"] = "default"  # which is no profile
    assert qoder("auth", "switch", "default").err.endswith("QODER_REGION, QODER_WORKSPACE_ID\n")


def test_auth_switch_to_what_is_gone_is_told_by_each_command(qoder: Qoder, config: Path) -> None:
    config.write_text(f'default_profile = "gone"\n{CONFIG}')
    ran = qoder("deploy", "list")
    assert (ran.code, qoder.wire.requests) == (2, [])
    assert "no profile 'gone' in" in ran.err
    assert qoder("auth", "switch", "work").code == 0
