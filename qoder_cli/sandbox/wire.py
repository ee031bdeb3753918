"""A request and an answer as plain values: what the server and the in-process transport have in common."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args
from urllib.parse import parse_qsl, unquote

Generation = Literal["legacy", "current"]
GENERATIONS: tuple[Generation, ...] = get_args(Generation)

BASE_PATH = "/api/v1/cloud"
FORWARD_PATH = "/api/v1/forward"  # another API of the same service (api/facts.md, 3.1)

# How an answer travels: in whole; the connection closed without a byte; never; in drops over some time; cut
# in the middle of its body; or not even a connection.
Delivery = Literal["whole", "drop", "hang", "slow", "cut", "refuse"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived. `path` is still percent-encoded; header names are lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def segments(self) -> list[str] | None:
        """Return the decoded path below the base path, or None when it lies elsewhere."""
        if not self.path.startswith(BASE_PATH + "/"):
            return None
        return [unquote(part) for part in self.path.removeprefix(BASE_PATH + "/").split("/")]

    def parameters(self) -> list[tuple[str, str]]:
        """Return the query as decoded pairs."""
        return parse_qsl(self.query, keep_blank_values=True)

    @property
    def wants_stream(self) -> bool:
        """Return whether the caller accepts an event stream."""
        return "text/event-stream" in self.headers.get("accept", "")


class Stream(Protocol):
    """An answer that goes on: stream.EventStream."""

    late: float

    def steps(self) -> Iterator["bytes | float"]:
        """Yield what is to be sent, and waits."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and how it is to be delivered. `seconds` is how long a slow one takes; a `stream` has no body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delivery: Delivery = "whole"
    seconds: float = 0.0
    stream: Stream | None = None

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)


def encode(value: object) -> bytes:
    """Return `value` as compact UTF-8 JSON; a lone surrogate becomes its JSON escape."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")
