"""Which agents can write to a memory store: such an agent can free keys, or make some up."""

from collections.abc import Iterator

from qoder_cli.base.errors import ApiError
from qoder_cli.base.model import mapping, text
from qoder_cli.base.words import few
from qoder_cli.http.client import Client


def writers(client: Client, store_id: str) -> list[str]:
    """Return the deployments and sessions that attach a memory store so that they can write to it. Raises ApiError.

    What is not said to be read_only may be written (api.md#resources). The filter of sessions is not relied
    on: each row is looked at.
    """
    # One page: sessions that attach it are all alike.
    sessions = client.get("/sessions", {"limit": 100, "memory_store_id": store_id})
    pages = client.pages("/deployments", {"limit": 100})
    return [
        *(f"deployment {id}" for page in pages for id in _attaching(page, store_id)),
        *(f"session {id}" for id in _attaching(mapping(sessions), store_id)),
    ]


def warning_of_writers(client: Client, store_id: str) -> str | None:
    """Return in words which agents can write to a memory store, or that nobody can say; None if none can."""
    try:
        found = writers(client, store_id)
    except ApiError as unread:
        return f"unknown whether agents can write to {store_id}: {unread.message}"
    return f"agents can write to {store_id}: {few(found, 5)}" if found else None


def _attaching(page: dict[str, object], store_id: str) -> Iterator[str]:
    rows = page.get("data")
    for row in rows if isinstance(rows, list) else ():
        resources = mapping(row).get("resources")
        for resource in resources if isinstance(resources, list) else ():
            used = mapping(resource)
            if used.get("memory_store_id") == store_id and used.get("access") != "read_only":
                yield text(mapping(row).get("id")) or "without an id"
                break
