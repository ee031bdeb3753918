"""A part of the matrix of lost writes of objects; `python -m tests.matrix_objects` runs all of it."""

from itertools import islice

import pytest

from tests.matrix_objects import NAMES, cells, play_all, table


@pytest.mark.parametrize("part", range(4))
def test_no_write_of_an_object_is_done_twice_or_lost_or_over_a_colleagues(part: int) -> None:
    outcomes = play_all(islice(cells(), part * 97, None, 397))
    wrong = {cell: one for cell, one in outcomes.items() if any(getattr(one, name) for name in NAMES)}
    assert wrong == {}, table(wrong)
    assert {0, 6, 9} <= {one.exit_code for one in outcomes.values()}
