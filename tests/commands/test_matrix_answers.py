"""A part of the matrix of faults at what is said to an agent; `python -m tests.matrix_answers` runs all of it."""

from itertools import islice

import pytest

from tests.matrix_answers import cells, play_all, table


@pytest.mark.parametrize("part", range(2))
def test_nothing_is_said_twice_nor_to_another_call_nor_lost(part: int) -> None:
    outcomes = play_all(islice(cells(), part * 20, None, 41))
    wrong = {cell: one for cell, one in outcomes.items() if one.twice or one.wrong or one.lost or one.lied}
    assert wrong == {}, table(wrong)
    assert {0, 6, 9} <= {one.exit_code for one in outcomes.values()}
