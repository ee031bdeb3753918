"""Reading again and again, until something shows."""

import pytest

from qoder_cli.base.polling import doubling
from qoder_cli.http.write import look_for
from tests.support.wire import FakeClock

LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


@pytest.mark.parametrize(
    ("slow", "at"), [(0.0, list(LOOKS)), (3.0, [0.5, 3.5, 6.5, 9.5, 12.5, 16.0, 30.0])], ids=["at once", "slow"]
)
def test_look_for_looks_at_its_seconds_however_long_each_takes(slow: float, at: list[float]) -> None:
    clock, seen = FakeClock(now=0.0), list[float]()

    def find() -> None:
        seen.append(clock.time)
        clock.time += slow

    assert look_for(clock, find, LOOKS, unread="unread") is None
    assert seen == at


def test_pauses_double_up_to_the_longest() -> None:
    pauses = doubling(0.5, 3.0)
    assert [next(pauses) for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
