"""What is written about the program is made from it, or checked against it."""

import ast
import re

import pytest

from qoder_cli.journal import Journal
from tests.conftest import Qoder
from tests.generate import PARTS, README, readme

VARIABLE = re.compile(r"\b[A-Z]+(?:_[A-Z]+)*[A-Z]\b")


def test_the_readme_is_up_to_date() -> None:
    text = README.read_text("utf-8")
    assert readme(text) == text, "run: python -m tests.generate"
    assert [name for name in PARTS if f"<!-- {name}: begin" not in text or f"<!-- {name}: end -->" not in text] == []


def test_the_readme_tells_every_command_and_option(qoder: Qoder) -> None:
    text = README.read_text("utf-8").replace("\\|", "|")
    told = qoder("help", "--json").json
    for command in told["commands"]:
        [line] = [
            line
            for line in text.splitlines()
            if line.startswith(f"| `{' '.join(command['path'])}") and command["summary"] in line
        ]
        assert all(name in line for option in command["options"] for name in option["names"])


def literals() -> set[str]:
    """Every string in the code that may be the name of a variable, but for where they are told."""
    files = [path for path in (README.parent / "qoder_cli").rglob("*.py") if path.name != "documented.py"]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if VARIABLE.fullmatch(text)}


def test_every_variable_that_is_read_is_told_and_no_other(qoder: Qoder) -> None:
    told, read = set(VARIABLE.findall(qoder("help", "environment").out)), literals()
    assert {name for name in told if name.startswith("QODER_")} == {name for name in read if name.startswith("QODER_")}
    assert told <= read
    assert {"CI", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NO_COLOR", "TERM", "SSL_CERT_FILE"} <= told


def test_what_an_uninstall_leaves_is_told(qoder: Qoder) -> None:
    text = README.read_text("utf-8")
    files = [file.name for file in Journal(qoder.env, warn=pytest.fail).files]
    assert [name for name in [*files, "deployments.tsv", "runs.tsv"] if f"`{name}`" not in text] == []
