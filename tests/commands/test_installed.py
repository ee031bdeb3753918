"""What an installation lacks: a newer Python, or the packages of an extra. Each is said in a line, with what helps."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from qoder_cli.base import extras
from tests.conftest import Qoder
from tests.tools.generate import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TOO_OLD = "error: qoder needs Python 3.11 or newer\n"

AS_OLDER = "import runpy, sys; sys.version_info = (3, 10, 13, 'final', 0);"
HOOK = "runpy.run_path('completions/hatch_build.py')['ManPages']('.', {}, *[None] * 4).initialize"
STARTS = {
    "python -m qoder_cli": "runpy.run_module('qoder_cli', run_name='__main__')",
    "qoder": "from qoder_cli.__main__ import run; run()",
    "pip install .": f"{HOOK}('standard', {{}})",
    "pip install -e .": f"{HOOK}('editable', {{}})",
}


@pytest.mark.parametrize("start", STARTS)
def test_an_older_python_is_told_which_it_takes(start: str) -> None:
    if start.startswith("pip"):
        pytest.importorskip("hatchling", reason="hatchling is not installed")
    ran = subprocess.run(
        [sys.executable, "-c", f"{AS_OLDER} {STARTS[start]}"], cwd=ROOT, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", TOO_OLD)


def test_the_wheel_is_built_with_no_more_than_the_libraries_of_its_hook() -> None:
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    libraries = "filelock", "platformdirs", "prompt_toolkit", "psycopg", "pydantic", "tomlkit", "yaml"
    without = f"import runpy, sys; sys.modules |= dict.fromkeys({libraries})"
    build = f"{without}; made = {{'shared_data': {{}}}}; {HOOK}('standard', made); print(*made['shared_data'].values())"
    ran = subprocess.run([sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("share/man/man1\n", "")


def test_the_python_that_it_needs_is_that_of_pyproject() -> None:
    assert PYPROJECT["requires-python"] == ">=" + TOO_OLD.split()[4]


def test_the_packages_of_an_extra_are_those_of_pyproject() -> None:
    wanted = {
        extra: [package.partition(">")[0] for package in PYPROJECT["optional-dependencies"][extra]]
        for extra in extras.PACKAGES
    }
    assert {extra: list(packages) for extra, packages in extras.PACKAGES.items()} == wanted


PIPX, UV = "pipx_metadata.json", "uv-receipt.toml"
PIP, UV_PIP = "PYTHON -m pip install starlette uvicorn", "uv pip install --python PYTHON starlette uvicorn"
ADD = "uv tool install --with starlette --with uvicorn SOURCE, with SOURCE and options as at first"

# An environment: its path, a file that its installer left in it, whether it has a pip, and the command that adds to it.
ENVIRONMENTS = {
    "pipx install": ("venvs/qoder-cli", PIPX, "{}", False, "pipx inject qoder-cli starlette uvicorn"),
    "pipx install --suffix": ("venvs/qoder-cli@dev", PIPX, "{}", True, "pipx inject qoder-cli@dev starlette uvicorn"),
    "uv tool install": ("tools/qoder-cli", UV, "", False, ADD),
    "uv venv": ("venv", "pyvenv.cfg", "", False, UV_PIP),
    "python -m venv": ("venv", "pyvenv.cfg", "", True, PIP),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_sandbox_names_the_command_that_installs_what_it_needs(
    name: str, qoder: Qoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, file, text, has_pip, command = ENVIRONMENTS[name]
    environment = tmp_path / where
    environment.mkdir(parents=True)
    (environment / file).write_text(text)
    monkeypatch.setattr(sys, "prefix", str(environment))
    monkeypatch.setattr(sys, "executable", "/bin/python")
    monkeypatch.setattr(extras, "find_spec", {"pip": has_pip or None}.get)
    monkeypatch.delitem(sys.modules, "qoder_cli.sandbox.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = qoder("sandbox", "--", "true")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1] == "hint: install them: " + command.replace("PYTHON", "/bin/python")
