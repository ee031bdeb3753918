"""What another wrote, where a person decides by it: nothing in it hides."""

import unicodedata
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.output.visible import pictures, quoted, visible, widest
from tests.conftest import examples

HIDING = [
    *("\xa0", "\u1680", *map(chr, range(0x2000, 0x2010)), "\u202f", "\u205f", "\u3000"),  # blanks, and none at all
    *("\u115f", "\u1160", "\u3164", "\uffa0", "\u2800", "\u17b4", "\U0001d159", "\u180e", "\u00ad"),  # empty pictures
    *("\u061c", "\u202e", "\u2066", "\u2069", "\ufeff", "\u2060", "\U000e0041", "\u2028", "\u2029"),  # steering
    *("\u034f", "\ufe0f", "\ufe00", "\U000e0100", "\u0338", "\u20dd", "\u0489"),  # what covers or follows another
    *("\x00", "\x1b", "\x7f", "\x85", "\ud800", "\ue000", "\u0378", "\ufffc"),
]


@pytest.mark.parametrize("hiding", HIDING, ids=ascii)
@pytest.mark.parametrize("before", ["", "rm", "ק", "界", " "], ids=ascii)
@pytest.mark.few(29)
def test_visible_spells_out_what_hides(hiding: str, before: str) -> None:
    shown = visible(f"{before}{hiding}x")
    assert hiding not in shown
    assert (f"\\u{ord(hiding):04x}" if ord(hiding) < 0x10000 else f"\\U{ord(hiding):08x}") in shown


@pytest.mark.parametrize(
    "word", ["Räume", "Ra\u0308ume", "e\u0323\u0302", "你好", "שָׁלוֹם", "हिन्दी", "นี้", "か\u3099", "👩", "→ ½"]
)
def test_visible_shows_what_people_write_as_it_is(word: str) -> None:
    assert visible(word) == word


def test_visible_spells_out_marks_that_pile_up() -> None:
    assert visible("ก" + "\u0e49" * 9).count("\\u0e49") == 6


@examples(Fraction(2, 3))
@given(st.text())
def test_visible_lets_whatever_is_written_be_seen(text: str) -> None:
    shown = visible(text)
    assert shown == visible(shown)
    assert "".join(pictures(text)) == shown
    assert all(one == " " or unicodedata.category(one)[0] not in "CZ" for one in shown)


@examples(Fraction(2, 3))
@given(st.text(alphabet='"\\ [y]es\n\u202e'))
def test_quoted_ends_where_it_is_meant_to(text: str) -> None:
    shown = quoted(text)
    assert shown[0] == shown[-1] == '"'
    assert '"' not in shown[1:-1].replace("\\\\", "").replace('\\"', "")


@pytest.mark.parametrize(
    ("picture", "columns"),
    [("a", 1), ("\\u200b", 6), ("é", 2), ("界", 2), ("→", 2), ("─", 2), ("☺", 2), ("שָׁ", 1), ("👩", 2)],
)
def test_widest_gives_room_to_what_a_terminal_may_draw_wide(picture: str, columns: int) -> None:
    assert widest(picture) == columns
