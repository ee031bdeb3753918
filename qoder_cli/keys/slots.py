"""The protocol of a queue: at most so many runs at once, of those that the commands of a group started.

A group has slots, numbered from 1, each kept as a key is (`record`), in the same states. A command that may have N runs
at once takes one of the slots 1 to N that nobody holds, by compare-and-set: so commands with the same N cannot have
more. Besides it counts all slots that are held, for others may have a larger N; two that look at once may go over the
smaller one then. What follows is the protocol of a key: sending, the trigger, once, and what is known of it.

    claimed   nothing was sent: who finds it unchanged for 10 s may take it, and its owner's next step is refused
    sending   a run may have been started: never taken. Unchanged for 180 s its one run may be adopted
    started   taken once its run has ended, or is deleted

As `protocol` this has no store, clock or network. `tests/support/histories.py` plays every history of a few commands.
"""

import re
from collections.abc import Collection, Generator, Sequence
from typing import Any, NamedTuple

from qoder_cli.keys.protocol import (
    ABANDONED,
    MOST_TRIES,
    STALE_CLAIM,
    LookForRun,
    Put,
    Read,
    Started,
    Step,
    noting,
)
from qoder_cli.keys.record import KeyRecord, StoredKey

GROUP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class Slot(NamedTuple):
    """A slot as it was read, the seconds of our own that it was seen so, and whether its run is over for certain."""

    stored: StoredKey
    unchanged: float = 0.0
    is_over: bool = False

    @property
    def is_held(self) -> bool:
        """Whether a run may be going in it, or may be about to be started."""
        match self.stored.record.state:
            case "free":
                return False
            case "claimed":
                return self.unchanged < STALE_CLAIM
            case "started":
                return not self.is_over
        return True

    @property
    def is_abandoned(self) -> bool:
        """Whether its owner, who may have started a run, is not heard of any more."""
        return self.stored.record.state == "sending" and self.unchanged >= ABANDONED

    def used_again(self, claim: KeyRecord) -> KeyRecord:
        """Return a claim of this slot, which nobody holds."""
        record = self.stored.record
        return (record.emptied if record.state == "started" else record).used_again(claim)


class LookAround(NamedTuple):
    """Read the slots of the group. Result: a Slot for each that is kept."""


class Wait(NamedTuple):
    """No slot is free: wait a moment. Result: None."""


QueueStep = Step | LookAround | Wait


def slot_key(group: str, number: int) -> str:
    """Return the key of a slot, as `key list` and `key free` have it."""
    return f"slot {group} {number}"


def take_slot(
    mine: KeyRecord, most: int, taken_over: Collection[StoredKey] = ()
) -> Generator[QueueStep, Any, StoredKey]:
    """Yield the steps by which a command gets one of `most` slots, and return it, claimed or already `sending`.

    `mine` is a claim of any slot of the group; `taken_over` are claims of its owner that others took. Another slot of
    that owner is one for which a write of this command was done though it seemed lost.
    """
    looked_for = set[StoredKey]()
    while True:
        slots: Sequence[Slot] = yield LookAround()
        for slot in slots:
            if is_of(mine, slot.stored) and slot.stored not in taken_over:
                return slot.stored
            if slot.is_abandoned and slot.stored not in looked_for:
                looked_for.add(slot.stored)
                run = yield LookForRun(slot.stored)
                if isinstance(run, Started):
                    yield Put(slot.stored, noting(slot.stored.record, run))
        by_number = {slot.stored.record.number: slot for slot in slots}
        taken = {number for number, slot in by_number.items() if slot.is_held}
        for number in range(1, most + 1):
            if len(taken) >= most:
                break
            if number in taken:
                continue
            write = Put(None, claim := mine._replace(key=slot_key(mine.group, number)))
            if (there := by_number.get(number)) is not None:
                write = Put(there.stored, there.used_again(claim))
            stored: StoredKey | None = (yield write) or (yield Read())
            if stored is not None and is_of(mine, stored):
                return stored
            taken.add(number)
        yield Wait()


def begin_sending(claim: StoredKey, most_tries: int = MOST_TRIES) -> Generator[Step, Any, StoredKey | None]:
    """Note, right before the trigger, that it is sent. Return the slot; None if another took it meanwhile."""
    stored: StoredKey | None = claim
    for _ in range(most_tries):
        if stored is None or not is_of(claim.record, stored):
            return None
        if stored.record.state == "sending":
            return stored
        stored = (yield Put(stored, stored.record._replace(state="sending"))) or (yield Read())
    return None


def is_of(mine: KeyRecord, stored: StoredKey) -> bool:
    """Return whether a slot is one in which the owner of a claim has not started anything yet."""
    return stored.record.owner == mine.owner and stored.record.state in ("claimed", "sending")
