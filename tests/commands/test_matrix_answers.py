"""A part of the matrix of faults at what is said to an agent; `python -m tests.matrix_answers` runs all of it."""

from itertools import islice

import pytest

from tests.matrix_answers import NEVER, cells, play_all, table


@pytest.mark.parametrize("part", range(2))
def test_nothing_is_said_twice_nor_to_another_call_nor_lost(part: int) -> None:
    outcomes = play_all(islice(cells(), part * 30, None, 61))
    wrong = {cell: one for cell, one in outcomes.items() if any(getattr(one, name) for name in NEVER)}
    assert wrong == {}, table(wrong)
    assert {0, 6, 9} <= {one.exit_code for one in outcomes.values()}
