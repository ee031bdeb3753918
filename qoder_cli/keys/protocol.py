"""The protocol of a shared key. It has no store, clock or network: it yields each step, and gets the result sent.

    claimed   taken, and nothing was sent. Whoever finds it unchanged for 10 s may take it over: the other's next step
              is then refused, without a clock and without an expiry
    sending   its owner alone may start a run, once. Unchanged for 180 s it is abandoned; nobody ever sends under it
              again, but the one run that can only be its own may be adopted
    started   its run is the answer

Each step is one write that the store refuses unless what was read is still there. A write that was refused or lost, as
where a store is silent, is settled by reading: our own uuid means that it was done. That may be repeated at will,
unlike a trigger. What frees a key is only the certainty that nothing was started. `tests/unit/test_keys.py` explores
every history of two commands.
"""

from collections.abc import Generator, Sequence
from typing import Any, Literal, NamedTuple

from qoder_cli.keys.record import KeyRecord, StoredKey

STALE_CLAIM = 10.0  # seconds of our own that a claim is unchanged until it is taken over
ABANDONED = 180.0  # the same of one that is sending
SEND_WITHIN = 100.0  # seconds after the store was asked that what it permits may be sent: far below ABANDONED
LOOKS = (0.5, 1.0, 2.0, 3.0, 5.0)  # seconds between two looks at what another has, then the last
RETRIES = (0.5, 1.0, 2.0, 4.0)  # seconds before a write is tried again, then the last
MOST_TRIES = 12  # writes that were refused or lost before a command gives up; it has sent nothing then
_LAST_TRIES = 3  # the same once the trigger was sent


class Put(NamedTuple):
    """Write as `KeyStore.put` does. Result: what that returns, or None also if it was lost."""

    found: StoredKey | None
    record: KeyRecord | None


class Read(NamedTuple):
    """Read what is kept. Result: StoredKey, or None; UNREAD if it could not be read, once the trigger was sent."""


class Watch(NamedTuple):
    """Read again until it has changed, or for so many seconds. Result: what was read last."""

    found: StoredKey
    seconds: float


class SendTrigger(NamedTuple):
    """Start a run, once. Result: Started, NOTHING or UNKNOWN."""

    found: StoredKey


class LookForRun(NamedTuple):
    """Look for the run of an abandoned trigger, narrowly. Result: Started, or None."""

    found: StoredKey


class HasFailed(NamedTuple):
    """Look how the run ended. Result: whether it failed, or never started, for certain and for good."""

    found: StoredKey


Step = Put | Read | Watch | SendTrigger | LookForRun | HasFailed


class Started(NamedTuple):
    """A run, and whether it is only taken for ours, because the list shows no other."""

    run: str
    adopted: bool = False


NOTHING, UNKNOWN = "nothing was started", "a run may have been started"
UNREAD = "the store could not be read"


class KeyVerdict(NamedTuple):
    """How it ended, and what the store says as far as we know.

    answered      the key's run was known, or was adopted: nothing was sent
    triggered     the trigger was sent; its caller knows the result. `noted` says whether the store knows
    other         the key belongs to another deployment
    abandoned     another command may have started a run under the key
    busy          the store did not let us, or others were always faster; nothing was sent
    """

    how: Literal["answered", "triggered", "other", "abandoned", "busy"]
    found: StoredKey | None = None
    noted: bool = True


Steps = Generator[Step, Any, KeyVerdict]


def start_once(mine: KeyRecord, *, until_completed: bool = False, most_tries: int = MOST_TRIES) -> Steps:
    """Yield the steps by which a command starts a run under a key, or learns which run was started.

    `mine` is the claim of this command. With `until_completed`, a run that failed frees its key.
    """
    stored: StoredKey | None = None
    tries = 0
    while True:
        if tries > most_tries:
            return KeyVerdict("busy", stored)
        if stored is None:
            stored = (yield Put(None, mine)) or (yield Read())
            tries += 1
            continue
        there = stored.record
        if there.state == "free":
            stored = (yield Put(stored, there.used_again(mine))) or (yield Read())
            tries += 1
            continue
        if there.deployment != mine.deployment:
            return KeyVerdict("other", stored)
        if there.state == "started":
            if not until_completed or there.adopted or not (yield HasFailed(stored)):
                return KeyVerdict("answered", stored)
            stored = (yield Put(stored, there.used_again(mine))) or (yield Read())
        elif there.owner == mine.owner and there.state == "claimed":
            stored = (yield Put(stored, there._replace(state="sending"))) or (yield Read())
        elif there.owner == mine.owner:  # sending, and nothing was sent: only the last step of this function does
            return (yield from settle(stored, (yield SendTrigger(stored))))
        elif there.state == "claimed":
            seen = yield Watch(stored, STALE_CLAIM)
            if seen != stored:
                stored = seen
                continue
            stored = (yield Put(stored, there.used_again(mine))) or (yield Read())
        else:
            seen = yield Watch(stored, ABANDONED)
            if seen != stored:
                stored = seen
                continue
            run = yield LookForRun(stored)
            if run is None:
                return KeyVerdict("abandoned", stored)
            moved = yield Put(stored, noting(stored.record, run))
            if moved is not None:
                return KeyVerdict("answered", moved)
            stored = yield Read()
        tries += 1


def settle(stored: StoredKey, result: Started | str) -> Steps:
    """Write down what is known of a trigger, under its key or in its slot: a run, NOTHING or UNKNOWN.

    A run stands whatever comes of this.
    """
    if result == NOTHING:
        return (yield from give_back(stored))
    if not isinstance(result, Started):
        return KeyVerdict("triggered", stored)
    ours = noting(stored.record, result)
    now: StoredKey | None = stored
    for _ in range(_LAST_TRIES):
        moved = yield Put(now, ours)
        if moved is not None:
            return KeyVerdict("triggered", moved)
        read = yield Read()
        if read == UNREAD:
            break
        now = read
        if now is None:
            continue  # the store has lost it: another database took over, without the latest writes
        there = now.record
        if there.run == result.run:
            return KeyVerdict("triggered", now)
        is_unsettled = there.owner == ours.owner and there.state in ("claimed", "sending")
        # A run that was named by the response counts more than one that somebody adopted meanwhile.
        is_guess = there.state == "started" and there.adopted and not result.adopted
        if not is_unsettled and not is_guess:
            break
    return KeyVerdict("triggered", now, noted=False)


def give_back(stored: StoredKey) -> Steps:
    """Free a key or a slot of ours in which certainly nothing was started, whichever of our writes was done last."""
    now = stored
    for _ in range(_LAST_TRIES):
        if (yield Put(now, now.record.unused)):
            return KeyVerdict("triggered")
        read = yield Read()
        if read == UNREAD:
            break
        if read is None or read.record.owner != stored.record.owner or read.record.state not in ("claimed", "sending"):
            return KeyVerdict("triggered")
        now = read
    return KeyVerdict("triggered", now, noted=False)


def noting(claim: KeyRecord, run: Started) -> KeyRecord:
    """Return a record with the run that the owner of a claim started, whoever found it."""
    return claim._replace(state="started", run=run.run, adopted=run.adopted)


def why_not_adopted(run: str, claim: KeyRecord, others: Sequence[KeyRecord]) -> str | None:
    """Return why a listed run is not adopted for a claim, or None: it may be that of another key."""
    for other in others:
        if other.is_about(claim) or (other.host, other.deployment) != (claim.host, claim.deployment):
            continue
        if run in (other.run, *other.before):
            return f"run {run} is that of the key {other.key!r}"
        if other.state == "sending":
            return f"run {run} may be it, or may be that of the key {other.key!r}"
    return None
