"""A session's events, read page by page."""

from typing import TYPE_CHECKING, Any

from qoder_cli.base.model import text

if TYPE_CHECKING:
    pass


Events = list[dict[str, Any]]


PAGE = 100  # events; the API's limit (api/facts.md, 2.4)


def last_id(page: dict[str, Any], events: Events) -> str | None:
    """Return the id of the last event of a page."""
    return text(page.get("last_id")) or (text(events[-1].get("id")) if events else None)
