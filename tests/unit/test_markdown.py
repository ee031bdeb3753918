"""`-o markdown`: what comes from elsewhere is no markup, wherever it stands."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from qoder_cli.output import markdown
from qoder_cli.output.screen import inert
from tests.conftest import examples

ANY = st.text(max_size=40) | st.text(alphabet="`|\\ *_[]()<>#@!~:.\nwab1", max_size=20)
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


@examples(Fraction(2, 3))
@given(st.lists(st.lists(ANY, min_size=3, max_size=3), min_size=1, max_size=4))
def test_markdown_shows_each_value_of_a_table_as_it_is(rows: list[list[str]]) -> None:
    text = markdown.header(["id", "error", "run_id"]) + "".join(map(markdown.row, rows))
    tokens = READER.parse(text)
    assert [each.type for each in tokens if each.level == 0] == ["table_open", "table_close"]
    cells = [each.children or [] for each in tokens if each.type == "inline"][3:]
    assert {each.type for cell in cells for each in cell} <= {"text", "code_inline"}
    shown = ["".join(each.content for each in cell).strip() for cell in cells]
    assert shown == [inert(value).strip() for row in rows for value in row]


@pytest.mark.parametrize("text", ["GH-26", "as in gh-7", "a :boom: b", "a:100:", "www.example", "1. a"])
def test_markdown_leaves_github_nothing_to_link_or_draw(text: str) -> None:
    assert markdown.harmless(text) == f"`{text}`"


@pytest.mark.parametrize("text", ["2026-06-14T09:00:00Z", "error: no: such", "7m 30s, 12.5%", "right-1"])
def test_markdown_shows_plain_words_plainly(text: str) -> None:
    assert markdown.harmless(text) == text


@given(ANY)
def test_markdown_ends_a_block_of_code_nowhere_else(text: str) -> None:
    [block] = READER.parse(markdown.block(inert(text), "diff"))
    assert (block.type, block.content) == ("fence", inert(text) + "\n")
