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


def read(chunks: Iterable[bytes], *, limit: int = FRAME_LIMIT) -> Iterator[Item]:
    """Yield what a stream says, each as soon as it is complete; `limit` is the longest frame in bytes."""
    draft, after_cr, at_start = _Draft(), False, True
    line: list[bytes] = []  # the beginning of the line that is not complete yet
    size = 0  # of that line
    for chunk in filter(None, chunks):
        pieces = _LINE_END.split(chunk[1:] if after_cr and chunk[:1] == b"\n" else chunk)
        after_cr = chunk.endswith(b"\r")
        for number, piece in enumerate(pieces, 1):
            line.append(piece)
            size += len(piece)
            if is_too_long := draft.size + size > limit:
                line = [b"".join(line)[: len(_BOM) + 1]]  # only how it begins
            if number == len(pieces):
                break  # the line may go on
            whole = b"".join(line)
            if at_start:
                whole, at_start = whole.removeprefix(_BOM), False
            if whole[:1] == b":":
                if not is_too_long:
                    yield Comment(_text(whole[1:].removeprefix(b" ")))
            elif whole:
                draft.size += size
                _take(whole, draft, is_too_long)
            else:
                if draft.size > limit:
                    yield TooLong()
                elif draft.data or draft.event:
                    yield Frame(draft.id, draft.event, _text(b"\n".join(draft.data)))
                draft = _Draft()
            line, size = [], 0


def _take(line: bytes, draft: _Draft, is_too_long: bool) -> None:
    name, _, value = line.partition(b":")
    value = value.removeprefix(b" ")
    match name:
        case _ if is_too_long:
            draft.data.clear()
        case b"data":
            draft.data.append(value)
        case b"event":
            draft.event = _text(value)
        case b"id" if b"\0" not in value:
            draft.id = _text(value)
        case _:
            pass  # `retry` too: how long to wait is decided here


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def veiled(pieces: Iterable[bytes], secret: bytes) -> Iterator[bytes]:
    """Yield bytes that come in pieces without a secret, wherever they are cut."""
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
