"""What tests share of: `qoder run logs`, in the user's words."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from tests.conftest import Ran
from tests.support.one_run import CURRENT
from tests.support.wire import api_error, page

GONE = api_error(404, "not_found_error", "No such thing.")


def text(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": each} for each in texts]


def says(words: str, n: int = 1, **fields: Any) -> dict[str, Any]:
    at = f"2026-06-14T08:54:{n:02}Z"
    return {"id": f"evt_{n}", "type": "agent.message", "content": text(words), "processed_at": at, **fields}


def lines_of(ran: Ran) -> list[Any]:
    return [json.loads(line) for line in ran.out.splitlines()]


END = {"id": "evt_end", "type": "session.status_terminated"}


class Many(httpx.BaseTransport):
    """A server with very many events, in its list or in its stream."""

    def __init__(self, count: int, *, streamed: bool) -> None:
        self._count = count
        self._streamed = streamed
        self._over = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path, query = request.url.path, request.url.params
        if path.endswith("/events/stream"):
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=self._stream())
        if path.endswith("/events"):
            return httpx.Response(200, json=self._page(query))
        return httpx.Response(200, json=CURRENT)

    def _page(self, query: httpx.QueryParams) -> dict[str, Any]:
        begin = int(query.get("page", "0"))
        if self._streamed and self._over and "types[]" in query:
            return page(END)
        if self._streamed:
            return page()
        end = min(begin + 100, self._count)
        following = str(end) if end < self._count else None
        return {"data": [self._event(n) for n in range(begin, end)], "next_page": following}

    def _stream(self) -> Iterator[bytes]:
        for n in range(self._count):
            yield b"data: " + json.dumps(self._event(n)).encode() + b"\n\n"
        self._over = True
        yield f"data: {json.dumps(END)}\n\n".encode()

    def _event(self, n: int) -> dict[str, Any]:
        return {"id": f"evt_{n:07}", "type": "agent.tool_result", "content": text(f"{n} " + "word " * 60)}
