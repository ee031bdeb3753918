"""Reading an event stream (`text/event-stream`): bytes in, however they are cut, frames and comments out."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from qoder_cli.base.tokens import REDACTED

FRAME_LIMIT = 16 * 2**20  # bytes of one frame; a longer one is skipped

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Frame(NamedTuple):
    """A complete frame. `id` is None when it names none; the lines of `data` are joined by newlines."""

    id: str | None
    event: str
    data: str


# A comment, which is how a server shows that it is there, is "alive"; a "gap" is a frame that was skipped as too long.
Item = Frame | Literal["alive", "gap"]


def read(chunks: Iterable[bytes], *, limit: int = FRAME_LIMIT) -> Iterator[Item]:
    """Yield what a stream says, each as soon as it is complete; `limit` is the longest frame in bytes."""
    after_cr, at_start = False, True
    line: list[bytes] = []  # the beginning of the line that is not complete yet
    size = whole_size = 0  # of that line, and of the complete lines of the frame, comments not counted
    fields: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for chunk in filter(None, chunks):
        pieces = _LINE_END.split(chunk[1:] if after_cr and chunk[:1] == b"\n" else chunk)
        after_cr = chunk.endswith(b"\r")
        for number, piece in enumerate(pieces, 1):
            line.append(piece)
            size += len(piece)
            if is_too_long := whole_size + size > limit:
                line = [b"".join(line)[: len(_BOM) + 1]]  # only how it begins
                fields.clear()
            if number == len(pieces):
                break  # the line may go on
            whole = b"".join(line)
            if at_start:
                whole, at_start = whole.removeprefix(_BOM), False
            if whole[:1] == b":":
                if not is_too_long:
                    yield "alive"
            elif whole:
                whole_size += size
                name, _, value = whole.partition(b":")
                fields[name].append(value.removeprefix(b" "))
            else:
                if whole_size > limit:
                    yield "gap"
                elif fields[b"data"] or any(fields[b"event"][-1:]):
                    ids = [_text(id) for id in fields[b"id"] if b"\0" not in id]
                    event = _text(b"".join(fields[b"event"][-1:]))
                    yield Frame(next(reversed(ids), None), event, _text(b"\n".join(fields[b"data"])))
                whole_size = 0
                fields.clear()
            line, size = [], 0


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
