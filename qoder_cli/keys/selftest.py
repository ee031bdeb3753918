"""Does a store keep its promise, and can an agent write to it? What can be seen of that from one machine."""

import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from qoder_cli.base.errors import ApiError, QoderError, Rejected
from qoder_cli.base.model import array, mapping, text
from qoder_cli.base.pool import in_order
from qoder_cli.base.words import few
from qoder_cli.http.client import Client
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


def warning_of_writers(client: Client, store_id: str) -> str | None:
    """Return in words which agents can write to a memory store, or that nobody can say; None if none can.

    Such an agent can free keys, or make some up. What is not said to be read_only may be written (api.md#resources).
    The filter of sessions is not relied on; one page is enough, for those that attach it are all alike.
    """
    try:
        sessions = client.get("/sessions", {"limit": 100, "memory_store_id": store_id})
        pages = list(client.pages("/deployments", {"limit": 100}))
    except ApiError as unread:
        return f"unknown whether agents can write to {store_id}: {unread.message}"
    agents = [f"deployment {id}" for page in pages for id in _attaching(page, store_id)]
    agents += [f"session {id}" for id in _attaching(mapping(sessions), store_id)]
    return f"agents can write to {store_id}: {few(agents, 5)}" if agents else None


def _attaching(page: dict[str, Any], store_id: str) -> Iterator[str]:
    for row in map(mapping, array(page.get("data"))):
        uses = [used for used in map(mapping, array(row.get("resources"))) if used.get("memory_store_id") == store_id]
        if any(used.get("access") != "read_only" for used in uses):
            yield text(row.get("id")) or "without an id"
