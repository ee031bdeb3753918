"""Read again and again, until something shows."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from qoder_cli.base.errors import QoderError
from qoder_cli.base.times import Clock

T = TypeVar("T")


def poll(
    read: Callable[[], T],
    clock: Clock,
    *,
    pauses: Iterable[float],
    is_enough: Callable[[T], object] = lambda reading: True,
    may_pass: Callable[[QoderError], bool] = lambda error: False,
) -> T:
    """Return what is read once it `is_enough`, reading again after each of the pauses, in seconds.

    An error that `may_pass` is skipped. What is read after the last pause counts in any case. A pause is asked for
    after the reading before it, which may have taken long. Raises QoderError.
    """
    left = iter(pauses)
    while True:
        try:
            reading = read()
        except QoderError as error:
            pause = next(left, None) if may_pass(error) else None
            if pause is None:
                raise
        else:
            pause = None if is_enough(reading) else next(left, None)
            if pause is None:
                return reading
        clock.sleep(pause)


def doubling(first: float, longest: float) -> Iterator[float]:
    """Yield pauses without end, each twice as long as the one before, up to the longest."""
    while True:
        yield min(first, longest)
        first *= 2
