"""What happens in sessions: what an agent says, and events of a list as JSON lines."""

import json
from typing import Any

from tests.conftest import Ran


def text(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": each} for each in texts]


def says(words: str, n: int = 1, **fields: Any) -> dict[str, Any]:
    at = f"2026-06-14T08:54:{n:02}Z"
    return {"id": f"evt_{n}", "type": "agent.message", "content": text(words), "processed_at": at, **fields}


def lines_of(ran: Ran) -> list[Any]:
    return [json.loads(line) for line in ran.out.splitlines()]
