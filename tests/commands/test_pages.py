"""What people are shown is as it is kept as text, for a reviewer to read and to see what a change does to it."""

import os
import re

import pytest

from tests.support.cells import MORE
from tests.tools.pages import FILES, FOLDER

posix = pytest.mark.skipif(os.name != "posix", reason="only there can a process choose its time zone")
# What tells the right value in the error itself, and has no hint.
NO_HINT = ("--schedule", "nightly.yaml")


@posix
# `.ci/run` writes all of them anew.
@pytest.mark.parametrize(
    "name", ["help.txt", *(pytest.param(each, marks=MORE) for each in FILES if each != "help.txt")]
)
def test_shown_pages_are_up_to_date(name: str) -> None:
    assert FILES[name]() == (FOLDER / name).read_text("utf-8"), "run: python -m tests.tools pages"


def test_shown_mistakes_are_one_error_and_what_to_do() -> None:
    page = (FOLDER / "mistakes.txt").read_text("utf-8")
    mistakes = re.findall(r"(?ms)^\$ (.*?)\n(.*?^\[exit [24567]\]\n)", page)
    assert len({line for line, _ in mistakes}) == page.count("\n$ ") == 60
    for line, output in mistakes:
        assert len(re.findall(r"(?m)^error: |^\{\"error\"", output)) == 1, line
        assert re.search(r"(?m)^hint: |\"hint\":\"", output) or any(word in line for word in NO_HINT), line
        assert not re.search(r"\bpt-\w", output), "a token is never repeated"
