"""`approve` and `pending`: two inputs that differ are not shown alike."""

from itertools import combinations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.base import jsontext
from qoder_cli.sessions.asks import _in_a_line
from qoder_cli.sessions.question import _lines

ALIKE: list[Any] = [
    1,
    "1",
    '"1"',
    '"\\"1\\""',
    True,
    "true",
    None,
    "null",
    "",
    '""',
    [1],
    "[\n  1\n]",
    "[1]",
    " 1",
    "1 ",
]
ALIKE += [{"a": 1}, '{\n  "a": 1\n}', {}, "{}", [], "[]", -1, "-1", jsontext.parse("1.50"), "1.50", 1.5, "rm", '"rm"']


def test_run_approve_shows_values_of_two_types_differently() -> None:
    for one, other in combinations(ALIKE, 2):
        assert "\n".join(_lines({"n": one})) != "\n".join(_lines({"n": other})), (one, other)


@given(st.text() | st.sampled_from(["1", "-0", "[", "null x", "nil", "truely", "[1", "{}", '"', "0x1"]))
def test_run_approve_shows_a_text_as_it_is_unless_it_is_json(said: str) -> None:
    shown = "\n".join(line.removeprefix("  ") for line in [*_lines({"n": said})][1:])
    if jsontext.reads_as_json(said):
        assert jsontext.parse(shown) == said
    else:
        assert shown == said


def test_run_pending_shows_an_input_that_is_json_in_a_text_as_one() -> None:
    assert _in_a_line({"a": '{"b":1}'}) != _in_a_line({"b": 1})
    assert _in_a_line({"command": "ls"}) == "ls"
