"""Headers that a body needs, for what the API calls a beta (api.md#headers)."""

from collections.abc import Mapping

from qoder_cli.base.model import array, mapping


def headers_for(body: object) -> Mapping[str, str]:
    """Return the headers for a body that is written: one if an agent gets the browser toolset."""
    tools = map(mapping, array(mapping(body).get("tools")))
    if any(tool.get("type") == "browser_toolset_20260714" for tool in tools):
        return {"x-qoder-beta": "browser-use-2026-07-14"}
    return {}
