"""What a shared store keeps of one idempotency key, and what every store can do with it.

A store is one small interface: put by compare-and-set, read, list. Writes must be decided in one place; a
read may be old. A write of which nobody knows whether it was done raises Lost, and may still be done at any later time.
"""

import math
import re
from contextlib import suppress
from hashlib import sha256
from typing import Literal, NamedTuple, Protocol, cast, get_args

from qoder_cli.base import jsontext
from qoder_cli.base.errors import QoderError, Unavailable
from qoder_cli.base.model import mapping, text
from qoder_cli.keys.patience import Patience

FOLDER = "keys/"
State = Literal["claimed", "sending", "started", "free", "applying"]
_MOST_BEFORE = 50  # runs of a slot
_SLOT = re.compile(r"(slot \S+) ([1-9][0-9]{0,3})")  # the key of a slot of a queue, and its number


class Lost(Exception):
    """Nobody knows whether a write of the store was done, or will be."""


class StoreAway(Unavailable):
    """A store of keys cannot be used. What that means for a run is known where it is raised: one may be started."""


class KeyRecord(NamedTuple):
    """What is kept of a key.

    claimed: nothing was sent yet. sending: its owner, and nobody else, may start a run. started: `run` is the answer.
    free: as if nothing were kept, but for its runs, which no other key may adopt.
    applying: no key of a run, but the turn of a stack: its owner, and nobody else, may apply it.

    With a `group` it is no key of a run either, but a slot of that group's queue (`slots`), in the same states.
    """

    state: State
    owner: str  # a uuid made for the command that claimed it
    key: str
    deployment: str  # empty for the turn of a stack
    host: str
    workspace: str | None = None
    run: str | None = None
    adopted: bool = False  # no response named the run, the run list showed it
    sent: float | None = None  # when it became `sending`, in unix seconds of the service's clock
    at: str = ""  # when it was written, a turn when it began, by its writer's clock: for people only
    before: tuple[str, ...] = ()  # earlier runs of the key, which failed, or for which it was freed; oldest first
    freed_after: str = ""  # the run, or the owner of the claim, after which it was freed or its run failed last
    machine: str = ""  # who has the turn: for people only
    beat: int = 0  # how often the owner of a turn was heard of
    group: str = ""  # whose slot it is
    under: str = ""  # the key under which the run of a slot, or of its owner, is started: that decides which run it is

    @property
    def name(self) -> str:
        """What the key is called in a store: the same on every machine."""
        return name_of(self.host, self.workspace, self.key)

    @property
    def number(self) -> int:
        """The number of a slot."""
        return int(self.key.rpartition(" ")[2])

    @property
    def runs(self) -> tuple[str, ...]:
        """All runs that are certainly of this key."""
        return self.before if self.run is None or self.adopted else (*self.before, self.run)

    @property
    def unused(self) -> "KeyRecord | None":
        """What is kept of the key once nothing was started under it; None for nothing."""
        return self._replace(state="free", run=None) if self.before or self.freed_after else None

    @property
    def freed(self) -> "KeyRecord | None":
        """What is kept of the key once a person has freed it, whatever was started under it; None for nothing."""
        if self.state in ("sending", "started") and not self.group:
            return self._replace(state="free", freed_after=self.run or self.owner)
        return self.unused

    @property
    def emptied(self) -> "KeyRecord":
        """What is kept of a slot whose run is over: its latest runs, which no other trigger may adopt.

        A run that was started under a key is that key's to name.
        """
        named = () if self.under or self.run is None else (self.run,)
        return self._replace(state="free", run=None, before=(*self.before, *named)[-_MOST_BEFORE:])

    def is_about(self, claim: "KeyRecord") -> bool:
        """Return whether it tells of the same runs as a claim: as its key, or as the slot of its key's run."""
        return claim.name in (self.name, self.under and name_of(self.host, self.workspace, self.under))

    def used_again(self, claim: "KeyRecord") -> "KeyRecord":
        """Return a claim of the key, which is free, or only claimed, or whose run failed, with what came before."""
        freed_after = self.freed_after
        if self.state == "started":
            freed_after = self.run or ""
        return claim._replace(before=self.runs, freed_after=freed_after)

    @property
    def content(self) -> str:
        """The text that is kept."""
        return jsontext.dump(self._asdict())

    @classmethod
    def read(cls, content: object) -> "KeyRecord | None":
        """Return what a text says; None if `qoder` did not write it."""
        try:
            raw = mapping(jsontext.parse(str(content)))
        except ValueError:
            return None
        texts = [text(raw.get(name)) for name in ("owner", "key", "host")]
        state, sent, run, deployment = raw.get("state"), raw.get("sent"), text(raw.get("run")), raw.get("deployment")
        if state not in get_args(State) or None in texts or (state == "started" and run is None):
            return None
        if (text(deployment) is None) != (state == "applying"):
            return None
        moment = None
        with suppress(ValueError):
            moment = float(str(sent))
        if moment is not None and not math.isfinite(moment):
            moment = None
        owner, key, host = map(str, texts)
        more = text(raw.get("workspace")), run, raw.get("adopted") is not False, moment
        record = cls(cast(State, state), owner, key, str(deployment or ""), host, *more)
        beat, before = str(raw.get("beat")), raw.get("before")
        return record._replace(
            at=str(raw.get("at") or ""),
            machine=str(raw.get("machine") or ""),
            before=tuple(map(str, before)) if isinstance(before, list) else (),
            freed_after=str(raw.get("freed_after") or ""),
            beat=int(beat) if beat.isdecimal() else 0,
            group=str(raw.get("group") or ""),
            under=str(raw.get("under") or ""),
        )


class StoredKey(NamedTuple):
    """A record as it was read: a change counts only while the store still has it so, under the same id."""

    id: str
    record: KeyRecord
    content: str


class KeyStore(Protocol):
    """Where keys are kept. Every method raises QoderError if the store cannot be used; `put` raises Lost, too."""

    patience: Patience

    @property
    def shown(self) -> str:
        """What it is called in messages: never with a password."""

    def put(self, found: StoredKey | None, record: KeyRecord | None) -> StoredKey | None:
        """Replace what was found, or nothing, with a record, or with nothing: compare-and-set.

        Return what is kept now, or was removed; None if the store has something else than was found.
        """

    def read(self, name: str) -> StoredKey | None:
        """Return what is kept under this name."""

    def entries(self, prefix: str = "") -> list[StoredKey]:
        """Return all that is kept under names that begin so. Raises QoderError also if something is not understood."""


def name_of(host: str, workspace: str | None, key: str) -> str:
    """Return what a key is called in a store. The parts cannot run into each other: no header holds a zero byte.

    All slots of a queue begin alike, and end in their numbers: one reading has them all.
    """
    number = ""
    if slot := _SLOT.fullmatch(key):
        key, number = slot[1], f"-{slot[2]}"
    return sha256("\0".join((host, workspace or "", key)).encode()).hexdigest() + number


def is_slot(key: str) -> bool:
    """Return whether a key is what a slot of a queue is called."""
    return _SLOT.fullmatch(key) is not None


def found_of(id: str, content: str, *, where: str) -> StoredKey:
    """Return what a store has kept. Raises StoreAway for anything that `qoder` did not write."""
    record = KeyRecord.read(content)
    if record is None:
        raise StoreAway(
            f"what is kept at {where} was not written by this version of qoder",
            hint="look at it, and remove it if it is nobody's",
        )
    return StoredKey(id, record, content)


def away(shown: str, error: QoderError) -> StoreAway:
    """Return the error that a store of keys cannot be used."""
    return StoreAway(
        f"the store of keys {shown} cannot be used: {error.message.rstrip('.')}",
        hint=error.hint or "without it nobody knows whether the key was used; try again later",
        cause=error,
    )
