"""The one error that ends standard error: for people, or one line of JSON. Light, for it may be all that ever runs."""

import shlex
from typing import Literal, get_args

from qoder_cli.errors import QoderError
from qoder_cli.screen import Screen, inert

Format = Literal["table", "json", "jsonl", "id"]


def write_error(error: QoderError, screen: Screen, format: Format) -> None:
    """Write the error; with JSON output as one line, the last of stderr."""
    if format in ("json", "jsonl"):
        from qoder_cli.jsontext import dump

        screen.tell(dump({"error": error.as_json()}) + "\n")
        return
    command = shlex.join(error.next) if error.next else None
    hint = ": ".join(part for part in (error.hint, command) if part)
    message = error.message if error.has_lines else inert(error.message)
    screen.tell(f"{screen.styled('error:', 'red')} {message}\n")
    if hint:
        screen.tell(f"{screen.styled('hint:', 'yellow')} {inert(hint)}\n")
    if error.request_id:
        screen.tell(f"request id: {inert(error.request_id)}\n")


def format_typed(words: list[str]) -> Format:
    """Return the format that a command line asks for, read without parsing the rest of it."""
    typed: Format = "table"
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word == "--":
            break
        short = following if word == "-o" else word.removeprefix("-o")
        for format in get_args(Format):
            if (word.startswith("-o") and short == format) or word == {"json": "--json", "id": "-q"}.get(format):
                typed = format
    return typed
