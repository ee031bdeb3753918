"""Shared idempotency keys: machines that are killed, networks that lose, delay and repeat; or every history (`--all`).

Without options tens of thousands of histories are played in threads, on clocks of their own (`tests.support.swarm`);
some of them with a store made to break its promise. Afterwards a quiet machine uses each key once more; and, where that
ends in 9, once again after a person has freed the key. `--postgres` has fifty processes and a thousand keys, with a
server of its own (`tests.support.hosts`).
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import hosts, swarm
from tests.support.histories import Explorer, Options, QueueExplorer, QueueOptions
from tests.tools.playing import Played

PROMISES = ("twice", "lost", "stuck", "wrong")  # wrong: of a history, whatever it is
STORES = swarm.STORES
MANY = 20_000  # histories of each store
_APPLYING = 10  # beside each so many runs, a stack is applied
_QUEUEING = 4  # and runs queue for the slots of a group
_BROKEN = 100  # one of so many more has a store that is made to break its promise
EVERY: dict[str, Options] = {
    "2 commands, 3 faults": Options(faults=3, crashes=0),
    "2 commands, 2 faults, 1 kill": Options(),
    "2 commands, 2 kills": Options(faults=1, crashes=2),
    "2 commands, 1 fault, slow": Options(faults=1, slow=True),
    "2 commands, reads of any age": Options(faults=1, crashes=0, stale=True),
    "2 keys, slow": Options(keys=(0, 1), slow=True),
    "3 commands, 1 fault, 1 kill": Options(keys=(0, 0, 0), faults=1),
    "3 commands, 2 keys": Options(keys=(0, 0, 1), faults=1, crashes=1),
    "runs that fail free their key": Options(until=True),
    "runs that fail, and one by hand": Options(until=True, by_hand=True, faults=1),
}
QUEUES: dict[str, QueueOptions] = {
    "queue: 2 commands, 2 faults, 1 kill": QueueOptions(faults=2),
    "queue: 2 commands, 1 fault, slow": QueueOptions(slow=True, crashes=0),
    "queue: 2 commands, reads of any age": QueueOptions(stale=True),
    "queue: 3 commands, 1 slot, 1 fault, 1 kill": QueueOptions((1, 1, 1)),
    "queue: 3 commands, 2 slots, 1 fault": QueueOptions((2, 2, 2), crashes=0),
    "queue: 3 commands, another N each": QueueOptions((1, 2, 3), crashes=0),
}


class Explored(NamedTuple):
    """All histories of the protocol, under these options."""

    what: str

    def __str__(self) -> str:
        return f"every history: {self.what}"


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="every history of the protocol, without machines")
    parser.add_argument(
        "--postgres", action="store_true", help="fifty processes, with a PostgreSQL server of their own"
    )
    parser.add_argument(
        "--hosts", type=int, default=50, metavar="N", help="so many processes instead, with 20 keys each"
    )
    parser.add_argument("--keys", type=int, default=20, metavar="N", help="so many keys each instead")
    parser.add_argument("--store", choices=STORES, help="only this store")


def cells(options: Namespace) -> Iterator[Any]:
    """Yield what to play: all explorations, or machines drawn by chance."""
    if options.all:
        yield from map(Explored, (*EVERY, *QUEUES))
        return
    if options.postgres:
        n = options.hosts
        yield from (hosts.Crowd(how, n, options.keys * n, n * 2 // 5) for how in (False, True))
        return
    stores = [store for store in STORES if options.store in (None, store)]
    for number in range(options.random or options.sample or MANY):
        seed = options.seed * 1_000_000 + number
        for store in stores:
            yield swarm.Cell(store, seed)
            if number % _APPLYING == 0:
                yield swarm.Cell(store, seed, applies=True)
            if number % _QUEUEING == 0:
                yield swarm.Cell(store, seed, queues=True)
            if number % _BROKEN == 0:
                yield from (swarm.Cell(store, seed, how) for how in swarm.BREAKS)


def play(cell: Any, folder: Path) -> Played:
    if isinstance(cell, hosts.Crowd):
        return hosts.play(cell, folder)
    if isinstance(cell, Explored):
        return _explored(cell)
    if cell.breaks and swarm.is_refused(cell, folder / "test"):
        return Played([f"{cell.breaks} broken: found by the self-test"])
    ended = swarm.play(cell, folder)
    codes = [machine.code for machine in ended.history.machines]
    played = Played(["killed" if code is None else code for code in codes])
    if cell.breaks:
        played.codes = [f"{cell.breaks} broken: not seen by the self-test"]
    played.open = ["exit 9, decided by a person" for after in ended.after.values() if len(after) > 1]
    for promise, words in ended.wrong().items():
        played.breaks(words, is_borne=bool(cell.breaks), **{promise: True})
    return played


def _explored(cell: Explored) -> Played:
    if cell.what in QUEUES:
        seen = QueueExplorer(QUEUES[cell.what], most=1_500_000).explore()
    else:
        seen = Explorer(EVERY[cell.what], most=1_500_000).explore()
    said = f"{seen.states:,} states, {seen.ended:,} ended, {'all' if seen.whole else 'CUT'}"
    print(f"{cell}: {said} {dict(seen.wrong)}", file=sys.stderr)
    return Played([said]).breaks(str(seen.wrong), wrong=bool(set(seen.wrong) - _BORNE.get(cell.what, set())))


# Somebody's run by hand cannot be told from our own: a known limit, also on one machine.
_BORNE = {"runs that fail, and one by hand": {"answered with the run of another key"}}
