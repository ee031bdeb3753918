"""From one page of a list to the next."""

from collections.abc import Mapping
from typing import Any

from qoder_cli.base.model import mapping, text


def next_cursor(page: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the query parameter and value that ask for the page after this one; None at the end."""
    if following := text(page.get("next_page")):
        return "page", following
    if page.get("has_more") is not True:
        return None
    last_item = page["data"][-1] if page["data"] else None
    last = text(page.get("last_id")) or text(mapping(last_item).get("id"))
    return ("after_id", last) if last else None
