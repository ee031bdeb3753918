"""What is written about the program is made from it, or checked against it."""

import re

from tests.conftest import Qoder
from tests.generate import README, readme


def test_the_readme_is_up_to_date() -> None:
    text = README.read_text("utf-8")
    assert readme(text) == text, "run: python -m tests.generate"


def test_help_topics_are_printed(qoder: Qoder) -> None:
    assert "124  wait_timeout" in qoder("help", "exit-codes").out
    assert "QODER_PAT" in qoder("help", "environment").out
    assert "derived" in qoder("help", "output").out
    assert qoder("help").code == 0
    assert qoder("help", "nonsense").code == 2


def test_every_variable_that_is_read_is_told(qoder: Qoder) -> None:
    told = qoder("help", "environment").out
    code = "".join(path.read_text("utf-8") for path in (README.parent / "qoder_cli").rglob("*.py"))
    read = set(re.findall(r"\bQODER_[A-Z_]*[A-Z]\b", code))
    assert not {name for name in read if name not in told}
