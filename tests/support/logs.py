"""What happens in sessions: what an agent says, delivers and does, and events of a list as JSON lines."""

import json
from typing import Any

import httpx

from tests.conftest import Ran
from tests.support.wire import api_error

GONE = api_error(404, "not_found_error", "No such thing.")


def text(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": each} for each in texts]


def says(words: str, n: int = 1, **fields: Any) -> dict[str, Any]:
    at = f"2026-06-14T08:54:{n:02}Z"
    return {"id": f"evt_{n}", "type": "agent.message", "content": text(words), "processed_at": at, **fields}


def lines_of(ran: Ran) -> list[Any]:
    return [json.loads(line) for line in ran.out.splitlines()]


def a_result(n: int) -> dict[str, Any]:
    """Return one of very many events."""
    return {"id": f"evt_{n:07}", "type": "agent.tool_result", "content": text(f"{n} " + "word " * 60)}


def page_of(request: httpx.Request, count: int) -> dict[str, Any]:
    """Return the page of a list of so many events that a request asks for."""
    begin = int(request.url.params.get("page", "0"))
    end = min(begin + 100, count)
    return {"data": [a_result(n) for n in range(begin, end)], "next_page": str(end) if end < count else None}
