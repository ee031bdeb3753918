"""Answers on standard output: byte for byte in a pipe, harmless on a terminal."""

import codecs
import io
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from qoder_cli.base import jsontext
from qoder_cli.base.model import mapping, text
from qoder_cli.http import redact
from qoder_cli.http.answers import Answer
from qoder_cli.output.screen import inert, inert_lines

if TYPE_CHECKING:
    from qoder_cli.app import State


def show_head(state: "State", answer: Answer) -> None:
    """Print status line and headers, without secrets, and an empty line."""
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {answer.status} {phrase}".rstrip()]
    lines += [redact.header(name, value) for name, value in answer.headers.multi_items()]
    state.out.write("".join(f"{inert(line)}\n" for line in lines) + "\n")


def show_body(state: "State", answer: Answer) -> None:
    """Print a body; with -q the ids in it.

    On a terminal JSON is indented, text only shows, and what is neither is a warning.
    """
    if state.flags.output == "id":
        _show_ids(state, answer.body)
    elif not state.out.is_terminal:
        state.out.write_bytes(answer.content)
    elif answer.content:
        _show_to_eyes(state, answer)


def _show_to_eyes(state: "State", answer: Answer) -> None:
    try:
        state.out.write(state.output.document(jsontext.parse(answer.content.decode())) + "\n")
    except UnicodeDecodeError:
        what = f"{len(answer.content):,} bytes of {answer.kind or 'an unknown type'}"
        state.progress.warn(f"the response is {what}, which a terminal cannot show; write it to a file: > FILE")
    except ValueError:
        state.out.write(inert_lines(answer.body).removesuffix("\n") + "\n")


def _show_ids(state: "State", body: str) -> None:
    """Print the id of an object, or those of the items of a page or an array; what has none is a warning."""
    items = _items(body)
    ids = [id for item in items if (id := text(mapping(item).get("id")))]
    state.out.write("".join(f"{inert(id)}\n" for id in ids))
    if len(ids) < len(items):
        state.progress.warn(
            f"{len(items) - len(ids)} of {len(items)} in the response have no id, and -q prints only ids"
        )


def _items(body: str) -> list[Any]:
    """Return what may have an id in an answer: none in one without a body."""
    try:
        value = jsontext.parse(body)
    except ValueError:
        return [body] if body else []
    data = value if isinstance(value, list) else mapping(value).get("data")
    return data if isinstance(data, list) else [value]


class StreamPrinter:
    """Prints the bytes of a stream as they come: as they are, or on a terminal as text that only shows."""

    def __init__(self, state: "State") -> None:
        self._out = state.out
        decoder: Any = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)

    def show(self, chunk: bytes) -> None:
        """Print the next bytes."""
        if not chunk:
            return
        if self._out.is_terminal:
            self._out.write(inert_lines(self._decoder.decode(chunk)))
        else:
            self._out.write_bytes(chunk)
