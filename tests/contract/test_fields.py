"""Each command where a server tells a field otherwise: as another kind of value, or not at all."""

import json
import signal
from collections.abc import Iterator
from itertools import product
from typing import Any
from zlib import crc32

import httpx
import pytest

from qoder_cli.base.errors import Signalled
from tests.contract.lines import ONCE_MORE, PLAYED
from tests.contract.scene import Answer, Scene, check_inert, playing, run_once, usual
from tests.support.cells import ALL_CELLS

Path = tuple[str, ...]  # the names that lead to a field; the rows of a list are all meant
ABSENT = object()
ODD: tuple[Any, ...] = (None, 7, "x", [], {}, ABSENT, True, -0.5, [7], {"x": 7}, "", [None], 10**30)
FORMATS = ("json", "table", "yaml")
SOME = 40 if ALL_CELLS else 1  # fields of each command, told otherwise
PATIENCE = 7200.0  # seconds; then somebody stops what waits for an odd status


def fields_of(answer: Any, above: Path = ()) -> Iterator[Path]:
    """Yield the path of each field of an answer."""
    for row in answer if isinstance(answer, list) else []:
        yield from fields_of(row, above)
    for name, value in answer.items() if isinstance(answer, dict) else ():
        yield (*above, name)
        yield from fields_of(value, (*above, name))


def with_field(answer: Any, path: Path, odd: Any) -> Any:
    """Return an answer where a field has another value, wherever there is one of this path."""
    if isinstance(answer, list):
        return [with_field(row, path, odd) for row in answer]
    if not isinstance(answer, dict) or path[0] not in answer:
        return answer
    name, *rest = path
    if not rest and odd is ABSENT:
        return {each: value for each, value in answer.items() if each != name}
    return {**answer, name: with_field(answer[name], tuple(rest), odd) if rest else odd}


def cells_of(name: str) -> list[tuple[Path, Any, str]]:
    """Return the fields to change of all that a command is answered, each with its odd value and an output format."""
    answers = [json.loads(answer) for answer in usual(name).answers if answer.startswith((b"{", b"["))]
    fields = dict.fromkeys(path for answer in answers for path in fields_of(answer))
    cells = [(*cell, FORMATS[number % 3]) for number, cell in enumerate(product(fields, ODD))]
    count = min(SOME, len(cells))
    turn = crc32(name.encode())  # commands that read the same fields play others of them
    return [cells[(turn + number * len(cells) // count) % len(cells)] for number in range(count)]


def play(scene: Scene, path: Path, odd: Any, format: str) -> None:
    def lie(request: httpx.Request, answer: Answer) -> httpx.Response:
        response = answer()
        if not response.content.startswith((b"{", b"[")):
            return response
        return httpx.Response(response.status_code, json=with_field(json.loads(response.content), path, odd))

    def lose_patience() -> None:
        if scene.clock.time > until and not scene.played:
            raise Signalled(signal.SIGTERM)

    scene.lie, until = lie, scene.clock.time + PATIENCE
    scene.clock.at_sleep = lose_patience
    check_inert(run_once(scene, "-o", format))


ASKING = [name for name, one in PLAYED.items() if one.asks and name not in ONCE_MORE]


@pytest.mark.parametrize("name", ASKING, ids=lambda name: f"{name} · field of another kind")
def test_fields(name: str) -> None:
    """Nothing breaks, is done twice, denied or made up, whatever a field is; the odd status of a run is waited for."""
    assert bool(usual(name).writes) == PLAYED[name].writes, "a line that writes is held to the clauses about writes"
    for path, odd, format in cells_of(name):
        with playing(name) as scene:
            try:
                play(scene, path, odd, format)
            except AssertionError as failure:
                failure.add_note(f"  {'.'.join(path)} was {'absent' if odd is ABSENT else repr(odd)}")
                raise
