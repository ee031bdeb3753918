"""Which agents can write to a memory store: such an agent can free keys, or make some up."""

from collections.abc import Iterator
from typing import Any

from qoder_cli.base.errors import ApiError
from qoder_cli.base.model import array, mapping, text
from qoder_cli.base.words import few
from qoder_cli.http.client import Client


def warning_of_writers(client: Client, store_id: str) -> str | None:
    """Return in words which agents can write to a memory store, or that nobody can say; None if none can.

    What is not said to be read_only may be written (api.md#resources). The filter of sessions is not relied on; one
    page is enough, for those that attach it are all alike.
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
