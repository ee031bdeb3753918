"""The protocol of a queue, in every history of a few commands; the large ones: `python -m tests.tools keys --all`."""

import pytest

from tests.support.queues import Options, QueueExplorer

HISTORIES: dict[str, Options] = {
    "one fault and one kill": Options(),
    "commands with another N": Options((1, 2)),
    "a key that was answered before gives its slot back": Options(gives_back=True),
}
SHORTEST: dict[str, Options] = {
    "live commands that seem abandoned": Options(slow=True, crashes=0),
    "reads of any age": Options(stale=True, crashes=0),
    "three commands": Options((2, 2, 2)),
}


@pytest.mark.parametrize("what", HISTORIES)
def test_deploy_run_at_most_n_never_has_more_nor_loses_a_slot_in_every_history(what: str) -> None:
    seen = QueueExplorer(HISTORIES[what]).explore()
    assert (seen.whole, seen.wrong) == (True, {})


@pytest.mark.parametrize("what", SHORTEST)
@pytest.mark.few(2)
def test_deploy_run_at_most_n_never_has_more_in_the_shortest_histories(what: str) -> None:
    assert QueueExplorer(SHORTEST[what], most=15_000).explore().wrong == {}


@pytest.mark.parametrize("breaks", ["time", "creates"])
def test_deploy_run_at_most_n_has_more_where_slots_are_freed_by_time_or_two_creates_succeed(breaks: str) -> None:
    assert "more than N at once" in QueueExplorer(Options(faults=0, crashes=0, breaks=breaks)).explore().wrong
