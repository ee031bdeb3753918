"""The pages of `qoder help`, as files."""

from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "qoder_cli/help/pages").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_help_page_has_code_that_fits_a_terminal_of_80_columns(page: Path) -> None:
    code = page.read_text("utf-8").split("```")[1::2]
    assert [line for block in code for line in block.splitlines() if len(line) > 77] == []
