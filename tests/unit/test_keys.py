"""The protocols of shared keys and of a queue, in every history of a few commands; large ones: `tests.tools keys`."""

import pytest

from tests.support.histories import Explorer, Options, QueueExplorer, QueueOptions

HISTORIES: dict[str, Options] = {
    "one fault and one kill": Options(faults=1),
    "one fault, and live commands that seem abandoned": Options(faults=1, crashes=0, slow=True),
    "three commands": Options(keys=(0, 0, 0), faults=0),
    "two faults": Options(crashes=0),
    "runs that fail, and free their key": Options(faults=1, crashes=0, until=True),
    "two keys of one deployment": Options(keys=(0, 1), crashes=0, slow=True),
}
QUEUES: dict[str, QueueOptions] = {
    "one fault and one kill": QueueOptions(),
    "commands with another N": QueueOptions((1, 2)),
    "a key that was answered before gives its slot back": QueueOptions(gives_back=True),
}
SHORTEST: dict[str, QueueOptions] = {
    "live commands that seem abandoned": QueueOptions(slow=True, crashes=0),
    "reads of any age": QueueOptions(stale=True, crashes=0),
    "three commands": QueueOptions((2, 2, 2)),
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
    broken = Explorer(Options(faults=0, crashes=0, breaks="creates")).explore()
    assert "started twice" in broken.wrong


@pytest.mark.parametrize("what", QUEUES)
def test_deploy_run_at_most_n_never_has_more_nor_loses_a_slot_in_every_history(what: str) -> None:
    seen = QueueExplorer(QUEUES[what]).explore()
    assert (seen.whole, seen.wrong) == (True, {})


@pytest.mark.parametrize("what", SHORTEST)
@pytest.mark.few(2)
def test_deploy_run_at_most_n_never_has_more_in_the_shortest_histories(what: str) -> None:
    assert QueueExplorer(SHORTEST[what], most=15_000).explore().wrong == {}


@pytest.mark.parametrize("breaks", ["time", "creates"])
def test_deploy_run_at_most_n_has_more_where_slots_are_freed_by_time_or_two_creates_succeed(breaks: str) -> None:
    options = QueueOptions(faults=0, crashes=0, breaks=breaks)
    assert "more than N at once" in QueueExplorer(options).explore().wrong
