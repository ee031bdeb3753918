"""Request bodies: JSON from fields or a file, or a form with files; checked first."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import IO, Any, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.base.errors import UsageError
from qoder_cli.base.plainfile import read_body

JSON = "application/json"

_KEY = re.compile(r"[^\[\]]+(\[[^\[\]]+\])*(\[\])?")  # a, a[b], a[b][c], a[], a[b][]
_EXAMPLES = {"-f": "name=nightly", "-F": "budget=null", "--form": "file=@report.txt", "--query": "limit=5"}
_UNDECODED = re.compile("[\ud800-\udfff]")  # from bytes in a command line that are not UTF-8


class Body(NamedTuple):
    """The bytes of a body, and their media type."""

    content: bytes
    kind: str = JSON


def split(word: str, option: str) -> tuple[str, str]:
    """Return an option's NAME and VALUE. Raises UsageError."""
    name, sign, value = word.partition("=")
    if not name or not sign:
        takes = "NAME=VALUE" if option == "--query" else "KEY=VALUE"
        hint = f"for example: {option} {_EXAMPLES[option]}"
        raise UsageError(f"{option} takes {takes}, not {word[:60]!r}", hint=hint)
    if _UNDECODED.search(word):
        raise UsageError(f"{option} {name[:60]!r} has bytes that are not UTF-8", hint="write it in UTF-8")
    return name, value


def of_fields(texts: Sequence[str], values: Sequence[str]) -> Body:
    """Return the object for `-f key=text` and `-F key=json`. Raises UsageError."""
    body: dict[str, Any] = {}
    for field in texts:
        name, text = split(field, "-f")
        _put(body, name, text, "-f")
    for field in values:
        name, text = split(field, "-F")
        try:
            _put(body, name, jsontext.parse(text), "-F")
        except ValueError as error:
            raise UsageError(
                f"-F takes JSON, not {text[:60]!r}: {error}",
                hint="for a text: -f key=text, or -F 'key=\"text\"'",
            ) from None
    return Body(jsontext.dump(body).encode())


def of_file(path: str, *, stdin: IO[str] | None) -> Body:
    """Return the JSON of a file, or of stdin for `-`, unchanged. Raises UsageError."""
    content = read_body(path, stdin, option="--input")
    try:
        jsontext.parse(content.decode())
    except ValueError as error:
        name = "standard input" if path == "-" else path
        raise UsageError(f"--input: {name} is not JSON: {error}", hint="check it with: jq . FILE") from None
    return Body(content)


def of_form(parts: Sequence[str]) -> Body:
    """Return the form of `name=text` and `name=@file`, of `name[]` with relative paths."""
    from qoder_cli.http.client import multipart

    texts: dict[str, list[str]] = {}
    files: list[tuple[str, str, bytes]] = []
    for part in parts:
        name, value = split(part, "--form")
        if value.startswith("@"):
            path = PurePath(value[1:])
            called = path.name
            if name.endswith("[]") and not path.is_absolute() and ".." not in path.parts:
                called = path.as_posix()
            files.append((name, called, read_body(value[1:], None, option="--form")))
        else:
            texts.setdefault(name, []).append(value)
    if not files:
        hint = "for example: --form file=@report.txt; for other fields: -f key=value"
        raise UsageError("--form needs a file", hint=hint)
    return Body(*multipart(texts, files))


def _put(body: dict[str, Any], name: str, value: Any, option: str) -> None:
    if not _KEY.fullmatch(name):
        hint = "use a, a[b] for a key within a, or a[] for an item"
        raise UsageError(f"{option}: {name[:60]!r} is not a valid key", hint=hint)
    steps = name.replace("]", "").split("[")
    place: Any = body
    for step, next_step in pairwise(steps):
        place = place.setdefault(step, {} if next_step else [])
        if not isinstance(place, dict if next_step else list):
            place = None
            break
    if isinstance(place, list) and not steps[-1]:
        place.append(value)
    elif isinstance(place, dict) and steps[-1] and steps[-1] not in place:
        place[steps[-1]] = value
    else:
        raise UsageError(f"the field {name[:60]!r} is given twice, or as two kinds of thing", hint="give each once")
