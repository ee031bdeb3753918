"""The trigger over a connection that breaks at a byte; `python -m tests.support.proxy 1` plays every byte of it."""

import pytest

from qoder_cli.sandbox.wire import Generation
from tests.support.proxy import HOWS, WAYS, Fault, bench

# Bytes: nothing at all, in the headers, around the end of them, and in the answer's body.
AFTER: dict[Generation, tuple[int, ...]] = {"legacy": (0, 560), "current": (190, 417)}


@pytest.mark.parametrize("generation", AFTER)
def test_a_connection_that_breaks_at_any_byte_starts_no_run_twice_and_loses_none(generation: Generation) -> None:
    cases = [Fault(how, way, after) for way in WAYS for how in HOWS for after in AFTER[generation]]
    with bench(generation, len(cases)) as on:
        outcomes = [on.play(fault) for fault in cases]
    assert not [outcome for outcome in outcomes if outcome.twice]
    assert not [outcome for outcome in outcomes if outcome.lost]
    assert any(outcome.codes[0] == 9 for outcome in outcomes)
    assert any(outcome.codes[0] == 0 for outcome in outcomes)
