"""The protocol of a queue: at most so many runs at once, of those that the commands of a group started.

A group has slots, numbered from 1, each kept as a key is (`record`), in the same states. A command that may have N runs
at once takes one of the slots 1 to N that is nobody's, each by compare-and-set: so commands with the same N cannot have
more. Besides it counts all slots of the group, for others may have a larger N; two that look at once may go over the
smaller one then. What follows is the protocol of a key: sending, the trigger, once, and what is known of it.

    claimed   nothing was sent: unchanged for 10 s it is freed, and its owner's next step is refused
    sending   a run may have been started: never freed by time. Unchanged for 180 s its one run may be adopted
    started   freed once its run has ended, or is deleted

As `protocol` this has no store, clock or network. `tests/unit/test_slots.py` explores every history of a few commands.
"""

import re
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from qoder_cli.keys.protocol import (
    ABANDONED,
    MOST_TRIES,
    STALE_CLAIM,
    UNREAD,
    Free,
    KeyVerdict,
    LookForRun,
    Move,
    Read,
    Started,
    Step,
    Take,
    noting,
    trigger_once,
)
from qoder_cli.keys.record import KeyRecord, StoredKey, name_of

_LAST_TRIES = 3
GROUP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class SlotSeen(NamedTuple):
    """A slot, for how many seconds of our own it was seen unchanged, and whether its run is over for certain."""

    found: StoredKey
    unchanged: float = 0.0
    is_over: bool = False


class LookAround(NamedTuple):
    """Read the slots of the group. Result: a SlotSeen for each that is kept."""


class Wait(NamedTuple):
    """No slot is free: wait a moment. Result: None."""


class Ready(NamedTuple):
    """A slot is ours. Result: whether the trigger is about to be sent; otherwise the slot is given back."""

    found: StoredKey


class TakenOver(NamedTuple):
    """Another held our claim for abandoned: nothing may be sent. Result: None; then the command queues again."""


QueueStep = Step | LookAround | Wait | Ready | TakenOver
QueueSteps = Generator[QueueStep, Any, Any]


def slot_key(group: str, number: int) -> str:
    """Return the key of a slot, as `key list` and `key free` have it."""
    return f"slot {group} {number}"


def slots_named(host: str, workspace: str | None, group: str) -> str:
    """Return how the names of a group's slots begin in a store."""
    return name_of(host, workspace, slot_key(group, 1)).removesuffix("1")


def through_queue(mine: KeyRecord, most: int, *, most_tries: int = MOST_TRIES) -> Generator[QueueStep, Any, KeyVerdict]:
    """Yield the steps by which a command gets one of `most` slots, starts a run in it, and notes that.

    `mine` is a claim of this command, of any slot of the group: its owner has no other slot.
    """
    looked = set[StoredKey]()
    while True:
        claim = yield from _take(mine, most, looked)
        if not (yield Ready(claim)):
            return (yield from withdraw(claim))
        sending = yield from _begin(claim, most_tries)
        if sending is not None:
            return (yield from trigger_once(sending))
        looked.add(claim)
        yield TakenOver()


def withdraw(claim: StoredKey) -> Generator[QueueStep, Any, KeyVerdict]:
    """Give a slot back in which nothing was sent, whichever of its writes was done."""
    found = claim
    for _ in range(_LAST_TRIES):
        unused = found.record.unused
        if (yield Free(found) if unused is None else Move(found, unused)):
            return KeyVerdict("triggered")
        read = yield Read()
        if read == UNREAD:
            break
        if not _is_ours(read, claim.record):
            return KeyVerdict("triggered")
        found = read
    return KeyVerdict("triggered", found, noted=False)


def _take(mine: KeyRecord, most: int, looked: set[StoredKey]) -> Generator[QueueStep, Any, StoredKey]:
    """Take a slot, and free those of others that are free for certain. `looked`: what is not to be looked at again."""
    while True:
        slots: Sequence[SlotSeen] = yield LookAround()
        for slot in slots:
            # A lost write of ours was done after all. Nothing was sent yet: only the last step of a command does so.
            if _is_ours(slot.found, mine) and slot.found not in looked:
                return slot.found
        free, held = dict[int, StoredKey](), set[int]()
        for slot in slots:
            there = yield from _freed(slot)
            if there is not None and there.record.state == "free":
                free[there.record.number] = there
            elif there is not None:
                held.add(there.record.number)
                yield from _look(slot, mine, looked)
        for number in range(1, most + 1):
            if len(held) >= most:
                break
            if number in held:
                continue
            claim = mine._replace(key=slot_key(mine.group, number))
            found: StoredKey | None
            if before := free.get(number):
                found = (yield Move(before, before.record.used_again(claim))) or (yield Read())
            else:
                found = (yield Take(claim)) or (yield Read())
            if found is not None and _is_ours(found, mine):
                return found
            held.add(number)
        yield Wait()


def _is_ours(found: StoredKey | None, mine: KeyRecord) -> bool:
    return found is not None and found.record.owner == mine.owner and found.record.state in ("claimed", "sending")


def _freed(slot: SlotSeen) -> Generator[QueueStep, Any, StoredKey | None]:
    """Free the slot of another, if that is proved to be right. Return what is there then."""
    record, after = slot.found.record, slot.found.record.unused
    if record.group and record.state == "started" and slot.is_over:
        after = record.emptied
    elif not record.group or record.state != "claimed" or slot.unchanged < STALE_CLAIM:
        return slot.found
    if after is None:
        return None if (yield Free(slot.found)) else slot.found
    freed: StoredKey | None = yield Move(slot.found, after)
    return freed or slot.found


def _look(slot: SlotSeen, mine: KeyRecord, looked: set[StoredKey]) -> QueueSteps:
    """Look, once, for the run of a slot whose owner is not heard of."""
    record = slot.found.record
    if record.group and record.state == "sending" and slot.unchanged >= ABANDONED and slot.found not in looked:
        looked.add(slot.found)
        run = yield LookForRun(slot.found)
        if isinstance(run, Started):
            yield Move(slot.found, noting(record, mine.owner, run))


def _begin(claim: StoredKey, most_tries: int) -> Generator[QueueStep, Any, StoredKey | None]:
    """Note, right before the trigger, that it is sent. Return None if the slot is another's by now."""
    found = claim
    for _ in range(most_tries):
        if found.record.state == "sending":
            return found
        moved = (yield Move(found, found.record._replace(state="sending"))) or (yield Read())
        if moved is None or not _is_ours(moved, claim.record):
            return None
        found = moved
    return None
