"""What a server or an agent wrote is no command to the CI system that reads the output; what the systems accept."""

import json
import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.base import jsontext
from qoder_cli.output.screen import commandless
from tests.conftest import Qoder, examples
from tests.support.one_run import DONE, EVENTS, RUN, WORK
from tests.support.result import END, says
from tests.support.wire import page

EVIL = "::error::x\n \t::set-output name=a::b\n##[error]x ##vso[task.setvariable variable=a]b\n##VSO[x]##teamcity[y]"
PIECES = st.sampled_from(
    ["::", "##", "#", "[", "##[", "##vso[", "##TeamCity[", " ", "\t", "\n", "\xa0", "\ufeff", "x]", "ü"]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


def commands(output: str) -> list[str]:
    """Return the lines that a CI system takes for a command, as their own readers find them.

    GitHub: `TrimStart`, then `StartsWith("::")`, else `IndexOf("##[")` (ActionCommand.cs in actions/runner). Azure:
    `##vso[` in any case, anywhere. TeamCity: `##teamcity[`, anywhere.
    """
    found = []
    for line in output.removeprefix("\ufeff").replace("\r", "\n").split("\n"):
        low = line.lower()
        if low.lstrip().startswith("::") or "##[" in low or "##vso[" in low or "##teamcity[" in low:
            found.append(line)
    return found


@examples(Fraction(2, 3))
@given(TEXTS)
def test_output_of_any_text_is_no_command(text: str) -> None:
    assert commands(commandless(text)) == []


@examples(Fraction(2, 3))
@given(TEXTS.filter(lambda text: "\ufeff" not in text and not re.search(r"##\w*\[", text)))
def test_output_that_is_no_command_is_left_alone(text: str) -> None:
    assert (commandless(text) == text) == (commands(text) == [])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *(("::error::x", ": :error::x"), ("a\n\t::x", "a\n\t: :x"), ("std::vector, a ::b", "std::vector, a ::b")),
        *(("x ##[error]y", "x ## [error]y"), ("###vso[x]", "### vso[x]"), ("## Heading [1]", "## Heading [1]")),
        ("# [x](y)", "# [x](y)"),
    ],
)
def test_output_that_was_a_command_has_a_space_that_people_see(text: str, shown: str) -> None:
    assert commandless(text) == shown


@examples(Fraction(2, 3))
@given(st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)))
def test_output_in_json_holds_no_command_and_says_the_same(value: Any) -> None:
    for indent in (None, 2):
        text = jsontext.dump([value, jsontext.Number("1.0")], indent=indent)
        assert commands(text) == []
        assert commandless(text) == text
        assert json.loads(text) == [value, 1.0]


def test_run_result_is_what_the_agent_wrote_whatever_it_is(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, DONE).on(*EVENTS, page(*WORK, END), page(END, says(EVIL)))
    assert qoder("run", "result", "drun_1").out == EVIL + "\n"
