"""The one error that ends standard error: for people, or one line of JSON. Light, for it may be all that ever runs."""

import re
from collections.abc import Sequence
from typing import Literal, get_args

from qoder_cli.base.errors import QoderError
from qoder_cli.output.screen import Screen, inert

Format = Literal["table", "wide", "json", "jsonl", "id"]

# -q or -o behind options that take no value in any command, as in -wq and -wojson.
_CLUSTER = re.compile(r"-[wyi]*(?:(?P<quiet>q)[wyi]*|o(?P<value>.*))", re.DOTALL)


def write_error(error: QoderError, screen: Screen, format: Format) -> None:
    """Write the error; with JSON output as one line, the last of stderr."""
    if format in ("json", "jsonl"):
        from qoder_cli.base.jsontext import dump

        screen.tell(dump({"error": error.as_json()}) + "\n")
        return
    message = f"error: {error.message}" if error.has_lines else screen.worded(f"error: {inert(error.message)}")
    screen.tell(f"{screen.styled('error:', 'red')}{message.removeprefix('error:')}\n")
    if advice := error.advice:
        screen.tell(f"{screen.styled('hint:', 'yellow')} {inert(advice)}\n")
    if error.request_id:
        screen.tell(f"request id: {inert(error.request_id)}\n")


def plain(words: Sequence[str]) -> list[str]:
    """Return a command line with what it may say in other tools' ways, `--json=true` and `-o=json`, in ours."""
    end = words.index("--") if "--" in words else len(words)
    ours = ["--json" if word == "--json=true" else re.sub(r"^-o=", "-o", word) for word in words[:end]]
    return [*ours, *words[end:]]


def format_typed(words: Sequence[str]) -> Format:
    """Return the format that a command line asks for, read without parsing the rest of it."""
    typed: Format = "table"
    words = plain(words)
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word == "--":
            break
        asked = _format_in(word, following)
        typed = next((format for format in get_args(Format) if format == asked), typed)
    return typed


def _format_in(word: str, following: str) -> str | None:
    """Return what an option that chooses the format is given; None when the word is no such option."""
    name, is_bound, value = word.partition("=")
    if word == "--json":
        return "json"
    if name in ("--output", "--format"):
        return value if is_bound else following
    if cluster := _CLUSTER.fullmatch(word):
        return "id" if cluster["quiet"] else cluster["value"] or following
    return None
