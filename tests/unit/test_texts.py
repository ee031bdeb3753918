"""What comes from outside as text: JSON, timestamps, durations, ids. Any of it may be anything."""

import json
import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from qoder_cli.base import ids, jsontext
from qoder_cli.base.errors import UsageError
from qoder_cli.base.times import coarse, local_time, milliseconds_between, parse_duration, parse_timestamp, span
from qoder_cli.output import markdown
from qoder_cli.output.screen import inert, inert_lines
from qoder_cli.output.visible import pictures, quoted, visible, widest
from tests.conftest import examples

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,5})?", fullmatch=True)
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@examples(Fraction(1, 3))
@given(VALUES, st.sampled_from([None, 2]), st.booleans())
@example("\x7f\x9f\u061c\u200e\u200f\u2028\u202e\u2066\u2069\udfff\ud800", None, False)
def test_json_text_means_the_same_after_the_way_through(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = jsontext.dump(jsontext.parse(json.dumps(value)), indent=indent, ascii_only=ascii_only)
    assert json.loads(text) == value
    assert not STEERING.search(text.replace("\n", ""))
    assert text.isascii() or not ascii_only


@examples(Fraction(1, 3))
@given(st.lists(NUMBERS))
@example(["1.10", "1E400", "-0", "7" * 5000])
def test_json_text_keeps_every_number_as_it_was_written(numbers: list[str]) -> None:
    text = "[" + ",".join(numbers) + "]"
    assert jsontext.dump(jsontext.parse(text)) == text
    assert json.loads(jsontext.dump(jsontext.parse(text), indent=2), parse_float=str, parse_int=str) == numbers


@given(st.text())
def test_inert_text_steers_nothing_and_says_the_same_text(text: str) -> None:
    assert not STEERING.search(inert(text))
    assert not {"\u2028", "\u2029"} & set(inert(text))
    assert not STEERING.search(inert_lines(text).replace("\n", "").replace("\t", ""))
    if not STEERING.search(text) and not {"\u2028", "\u2029"} & set(text):
        assert inert(text) == text


MOMENTS = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1))


@given(MOMENTS, st.integers(0, 9), st.sampled_from(["Z", "z", "+00:00", ""]))
def test_timestamp_with_any_number_of_digits_is_read(moment: datetime, digits: int, zone: str) -> None:
    fraction = f"{moment.microsecond:06}000"[:digits]
    text = f"{moment:%Y-%m-%dT%H:%M:%S}" + (f".{fraction}" if digits else "") + zone
    read = parse_timestamp(text)
    assert read is not None
    expected = moment.replace(tzinfo=UTC, microsecond=int(fraction[:6].ljust(6, "0") or 0))
    assert read == expected
    assert milliseconds_between(text, text) == 0


@given(st.text() | st.none() | st.integers() | st.lists(st.text()))
@example("2026-02-31T00:00:00Z")
@example("0001-01-01T00:00:00Z")
@example("0001-01-01T00:00:00+14:00")
@example("9999-12-31T23:59:59+00:00")
def test_timestamp_however_odd_is_read_or_none(value: Any) -> None:
    if moment := parse_timestamp(value):  # has a date in every zone
        assert [moment.astimezone(timezone(timedelta(hours=hours))) for hours in (-14, 14)] == [moment, moment]
    milliseconds_between(value, value)
    if isinstance(value, str):
        assert parse_timestamp(value) or local_time(value) == value
    last = "9999-12-31T23:59:59Z"
    assert local_time(last, zone=timezone(timedelta(hours=8))) == last  # it has no next year


@given(st.integers(0, 300), st.integers(0, 99), st.integers(0, 99), st.integers(0, 9999))
def test_duration_of_several_units_adds_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    parts = [f"{count}{unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")) if count]
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert parse_duration("".join(parts) or "0", option="--timeout") == total
    assert span(total)


@given(st.text())
@example("٣s")
@example("1e3")
@example("9" * 400)
@example("1h 30m")
def test_duration_of_any_text_is_read_or_refused(text: str) -> None:
    try:
        seconds = parse_duration(text, option="--timeout")
    except UsageError:
        return
    assert 0 <= seconds <= 366 * 86400


@examples(Fraction(2, 3))
@given(st.text() | st.text().map("dep_{}".format) | st.text().map("drun_{}".format))
@example("dep_a/../b")
@example("\ud800")
def test_id_stays_one_segment_of_a_path(text: str) -> None:
    for check in (ids.deployment, ids.run):
        try:
            segment = ids.segment(check(text))
        except UsageError:
            continue
        assert re.fullmatch(r"[A-Za-z0-9_.~%-]+", segment)
        assert segment not in (".", "..")
    assert [ids.segment(each) for each in (".", "..", "a/..")] == ["%2E", "%2E%2E", "a%2F.."]


def test_number_of_a_call_has_six_digits_at_most() -> None:
    assert [ids.call_number(typed) for typed in ("1", "999999", "", "evt_1", "-1")] == [1, 999999, None, None, None]
    for typed in ("0", "1000000", "\u0661"):
        with pytest.raises(UsageError, match="is not the number of a call"):
            ids.call_number(typed)


def test_durations_change_their_unit_where_it_is_whole() -> None:
    spans = [span(seconds) for seconds in (9.96, 10, 59, 60, 3599, 3600, 86399, 86400, 90000)]
    assert spans == ["10.0s", "10s", "59s", "1m 00s", "59m 59s", "1h 00m", "23h 59m", "1d 00h", "1d 01h"]


def test_ages_are_in_their_largest_unit() -> None:
    ages = [coarse(seconds) for seconds in (-5, 59.9, 60, 3599, 3600, 86399, 86400)]
    assert ages == ["0s", "59s", "1m", "59m", "1h", "23h", "1d"]


# Where a person decides by what another wrote: nothing in it hides.

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


# `-o markdown`: what comes from elsewhere is no markup, wherever it stands.

ANY = st.text(max_size=40) | st.text(alphabet="`|\\ *_[]()<>#@!~:.\nwab1", max_size=20)
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


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
