"""Reading an event stream (`text/event-stream`): bytes in, however they are cut, frames and comments out."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from qoder_cli.base.tokens import REDACTED

FRAME_LIMIT = 16 * 2**20  # bytes of one frame; a longer one is skipped

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Frame(NamedTuple):
    """A complete frame. `id` is None when it names none; the lines of `data` are joined by newlines."""

    id: str | None
    event: str
    data: str


class Comment(NamedTuple):
    """A comment, which is how a server shows that it is there."""

    text: str


@dataclass(frozen=True)
class TooLong:
    """Stands for a frame that was skipped because it is longer than the limit."""


Item = Frame | Comment | TooLong


@dataclass
class _Draft:
    """The frame that is being read."""

    id: str | None = None
    event: str = ""
    data: list[bytes] = field(default_factory=list)
    size: int = 0  # bytes of its complete lines, comments not counted


class Parser:
    """Takes a stream chunk by chunk. `limit` is the longest frame in bytes."""

    def __init__(self, *, limit: int = FRAME_LIMIT) -> None:
        self._limit = limit
        self._draft = _Draft()
        self._line: list[bytes] = []  # the beginning of the line that is not complete yet
        self._line_size = 0
        self._after_cr = False
        self._at_start = True

    def take(self, chunk: bytes) -> list[Item]:
        """Return what the next chunk completes, in order."""
        if not chunk:
            return []
        if self._after_cr and chunk[:1] == b"\n":  # the other half of a CRLF
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r") if chunk else False
        *ends, rest = _LINE_END.split(chunk)
        found = [item for end in ends if (item := self._end_line(end)) is not None]
        self._keep(rest)
        return found

    def _keep(self, piece: bytes) -> None:
        """Remember a piece of a line; of a frame that is too long already, only how the line begins."""
        self._line_size += len(piece)
        self._line.append(piece)
        if self._is_too_long:
            self._line = [b"".join(self._line)[: len(_BOM) + 1]]

    @property
    def _is_too_long(self) -> bool:
        return self._draft.size + self._line_size > self._limit

    def _end_line(self, piece: bytes) -> Item | None:
        self._keep(piece)
        line, size = b"".join(self._line), self._line_size
        too_long = self._is_too_long
        self._line, self._line_size = [], 0
        if self._at_start:
            line, self._at_start = line.removeprefix(_BOM), False
        if not line:
            return self._end_frame()
        if line[:1] == b":":
            return Comment(_text(line[1:].removeprefix(b" "))) if not too_long else None
        self._draft.size += size
        if too_long:
            self._draft.data.clear()
        else:
            self._set(line)
        return None

    def _set(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._draft.data.append(value)
            case b"event":
                self._draft.event = _text(value)
            case b"id" if b"\0" not in value:
                self._draft.id = _text(value)
            case _:
                pass  # `retry` too: how long to wait is decided here

    def _end_frame(self) -> Item | None:
        draft, self._draft = self._draft, _Draft()
        if draft.size > self._limit:
            return TooLong()
        if draft.data or draft.event:
            return Frame(draft.id, draft.event, _text(b"\n".join(draft.data)))
        return None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def veiled(pieces: Iterable[bytes], secret: bytes) -> Iterator[bytes]:
    """Yield bytes that come in pieces without a secret, wherever they are cut. An empty one hides nothing."""
    if not secret:
        yield from pieces
        return
    kept = b""  # the end of what came, while it may be the beginning of the secret
    for piece in pieces:
        whole = (kept + piece).replace(secret, REDACTED.encode())
        at = whole.find(secret[:1], max(len(whole) - len(secret) + 1, 0))
        while at >= 0 and not secret.startswith(whole[at:]):
            at = whole.find(secret[:1], at + 1)
        certain = at if at >= 0 else len(whole)
        kept = whole[certain:]
        yield whole[:certain]
    yield kept
