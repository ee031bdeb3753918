"""Request and response as plain values, for the server and the in-process transport."""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Generation = Literal["legacy", "current"]
GENERATIONS: tuple[Generation, ...] = get_args(Generation)

BASE_PATH = "/api/v1/cloud"
FORWARD_PATH = "/api/v1/forward"  # another API of the same service (api.md#hosts-and-regions)
BLOBS = "/blobs"  # where files are fetched from, without a token

# Whole; a closed connection; nothing, ever; in drops; half of it, then closed.
Delivery = Literal["whole", "drop", "hang", "slow", "cut"]
Shape = dict[str, Any]  # an object, as it is sent
Step = bytes | float  # what to send, or the seconds to wait before the next
_MOST_DROPS = 200  # of a slow body: timers tick no faster than some milliseconds


class Refusal(Exception):
    """A refused request. `param` names the field at fault, `type` an unusual error."""

    def __init__(self, status: int, message: str, *, param: str | None = None, type: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.type = type


def invalid(message: str, param: str | None = None) -> Refusal:
    """Return the refusal of a wrong request: 400."""
    return Refusal(400, message, param=param)


def unknown_field(name: str, param: str) -> Refusal:
    """Return the refusal of an unknown field (api.md#errors)."""
    return invalid(f'Request body has an unknown field "{name}".', param)


class Broken(Exception):
    """The connection breaks here."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `path` is still percent-encoded; header names are lowercase.

    The world notes when it came, and the ids of the runs that it started, also later.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    at: float = 0.0
    runs: list[str] = field(default_factory=list)
    _id: str = field(default_factory=lambda: str(uuid.uuid4()), compare=False)

    @property
    def id(self) -> str:
        """Its X-Request-Id, or one made for it."""
        return self.headers.get("x-request-id") or self._id

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key")

    @property
    def wants_stream(self) -> bool:
        return "text/event-stream" in self.headers.get("accept", "")


@dataclass(frozen=True, slots=True)
class WireResponse:
    """A response and how it is delivered; a slow one takes `seconds`."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delivery: Delivery = "whole"
    seconds: float = 0.0
    stream: Iterator[Step] | None = None  # a body without an end of its own

    def steps(self) -> Iterator[Step]:
        """Yield bytes to send and seconds to wait. Raises Broken."""
        if self.delivery == "slow" and self.stream is None:  # in drops of a byte or more
            size = len(self.body) // _MOST_DROPS + 1
            starts = range(0, len(self.body), size)
            for start in starts:
                yield self.seconds / len(starts)
                yield self.body[start : start + size]
            return
        for step in self.stream or filter(None, [self.body]):
            if self.delivery == "cut" and isinstance(step, bytes):
                yield step[: len(step) // 2]
                raise Broken
            yield step


def encode(value: object) -> bytes:
    """Return compact UTF-8 JSON; a lone surrogate becomes its escape."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")
