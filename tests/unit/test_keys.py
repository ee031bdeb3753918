"""The protocol of shared keys, in every history of a few commands; the large ones: `python -m tests.tools keys`."""

import pytest

from tests.support.histories import Explorer, Options

HISTORIES: dict[str, Options] = {
    "one fault and one kill": Options(faults=1),
    "one fault, and live commands that seem abandoned": Options(faults=1, crashes=0, slow=True),
    "three commands": Options(keys=(0, 0, 0), faults=0),
    "two faults": Options(crashes=0),
    "runs that fail, and free their key": Options(faults=1, crashes=0, until=True),
    "two keys of one deployment": Options(keys=(0, 1), crashes=0, slow=True),
}


@pytest.mark.parametrize("what", HISTORIES)
@pytest.mark.few(3)
def test_deploy_run_starts_one_run_under_a_shared_key_in_every_history(what: str) -> None:
    seen = Explorer(HISTORIES[what]).explore()
    assert (seen.whole, seen.wrong) == (True, {})


def test_deploy_run_starts_one_run_under_a_shared_key_though_reads_are_old() -> None:
    assert Explorer(Options(faults=1, crashes=0, stale=True), most=8_000).explore().wrong == {}  # the shortest ones


def test_deploy_run_may_start_two_only_where_a_person_freed_the_key_or_the_store_breaks_its_promise() -> None:
    freed = Explorer(Options(faults=1, crashes=0, frees=1)).explore()
    assert set(freed.wrong) == {"started twice after a decision"}
    broken = Explorer(Options(faults=0, crashes=0, breaks=True)).explore()
    assert "started twice" in broken.wrong
