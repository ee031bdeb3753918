"""Does a store keep its promise? What can be seen of that from one machine."""

import uuid
from contextlib import suppress
from functools import partial

from qoder_cli.base.errors import QoderError, Rejected
from qoder_cli.base.pool import in_order
from qoder_cli.keys.record import KeyRecord, KeyStore, Lost

_AT_ONCE = 4


def check(store: KeyStore) -> None:
    """Write keys of our own, and remove them. Raises Rejected if the store breaks its promise, QoderError."""
    first, rivals = _record(), [_record() for _ in range(_AT_ONCE)]
    rivals = [each._replace(key=rivals[0].key) for each in rivals]
    broken = []
    try:
        found = store.put(None, first)
        if found is None:
            raise _unsafe(store, ["it refuses a key that is new"])
        if store.read(first.name) != found:
            broken.append("what was written is not read back at once")
        if store.put(None, first._replace(owner=str(uuid.uuid4()))) is not None:
            broken.append("it takes one key twice")
        moved = store.put(found, first._replace(state="sending"))
        if moved is None:
            raise _unsafe(store, ["it refuses a change of what is there"])
        if store.put(found, first._replace(state="sending", owner=str(uuid.uuid4()))) is not None:
            broken.append("it changes a key that another command has changed since")
        if store.put(found, None) is not None:
            broken.append("it removes a key that another command has changed since")
        taken = [each for each in in_order(partial(store.put, None), rivals, at_a_time=_AT_ONCE) if each is not None]
        if len(taken) != 1:
            broken.append(f"of {_AT_ONCE} commands at once {len(taken)} take one key")
    except Lost:
        raise Rejected("the self-test of the store did not end: a response was lost", hint="try again") from None
    finally:
        with suppress(Lost, QoderError):  # what is wrong is known; who reads the keys sees that these are of a test
            for name in (first.name, rivals[0].name):
                if (left := store.read(name)) is not None:
                    store.put(left, None)
    if broken:
        raise _unsafe(store, broken)


def _record() -> KeyRecord:
    return KeyRecord("claimed", str(uuid.uuid4()), f"self-test {uuid.uuid4()}", "dep_none", "self-test.invalid")


def _unsafe(store: KeyStore, broken: list[str]) -> Rejected:
    return Rejected(
        f"{store.shown} cannot keep keys: {'; '.join(broken)}", hint="use another store; see qoder help many-machines"
    )
