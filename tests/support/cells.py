"""Which cases of large tables the suite plays: a part, the same each time, or all of them."""

import os
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import product
from typing import Any, TypeVar
from zlib import crc32

import pytest

from qoder_cli.sandbox.wire import GENERATIONS

ALL_CELLS = os.environ.get("QODER_TEST_CELLS") == "all"
MORE = pytest.mark.more  # of what costs much, or says little that others do not
_GENERATION = re.compile(rf"\b({'|'.join(GENERATIONS)})\b")
_T = TypeVar("_T")


def cover(cases: Sequence[_T], parts: Callable[[_T], Iterable[Hashable]]) -> set[_T]:
    """Return as many cases, from the first on, as have each part that any case has."""
    seen: set[Hashable] = set()
    chosen = set()
    for case in cases:
        if new := set(parts(case)) - seen:
            seen |= new
            chosen.add(case)
    return chosen


def checkerboard(*columns: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return every other combination of these values: each value meets some of each other column, not all of them.

    For columns that walk the same code, whatever the others are, such as the generation of server.
    """
    every = product(*map(enumerate, columns))
    return [tuple(value for _, value in one) for one in every if ALL_CELLS or sum(place for place, _ in one) % 2 == 0]


def played(test: str, ids: Sequence[str], few: int | None) -> set[str]:
    """Return which cases of a test a short suite plays, by their ids.

    Of cases that differ in the generation of the server alone one is, by turns; of a test that is marked `few(N)` so
    many cases are, spread evenly.
    """
    alike: dict[str, list[str]] = {}
    for id in ids:
        alike.setdefault(_GENERATION.sub("", id), []).append(id)
    one_of_each = [each[turn % len(each)] for turn, each in enumerate(alike.values(), crc32(test.encode()))]
    count = min(few or len(alike), len(alike))
    return {one_of_each[number * len(alike) // count] for number in range(count)}
