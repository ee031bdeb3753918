"""A session's events, read page by page (api/facts.md, 2.4)."""

from typing import Any

from qoder_cli.base.ids import segment
from qoder_cli.base.model import mapping, text

Events = list[dict[str, Any]]

PAGE = 100  # events; the API's limit
REMEMBERED = 10_000  # events that are known when they come again
BAD_CURSOR = (400, 404, 409, 410, 422)  # what a server may answer for one that it does not know


def events_path(session_id: str) -> str:
    """Return where a session's events are listed."""
    return f"/sessions/{segment(session_id)}/events"


def events_of(page: dict[str, Any]) -> Events:
    """Return the events of a page; what is not an object is ignored."""
    return [event for event in map(mapping, page["data"]) if event]


def last_id(page: dict[str, Any], events: Events) -> str | None:
    """Return the id of the last event of a page."""
    return text(page.get("last_id")) or (text(events[-1].get("id")) if events else None)
