"""Files for the API, which takes only text: checked, uploaded once."""

import re
from collections.abc import Mapping
from typing import IO, Any

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.plainfile import read_checked
from qoder_cli.nouns.table import NOUNS
from qoder_cli.nouns.write import Create

LARGEST = 5 * 2**20  # bytes; about as much as the API takes (api/facts.md, 7.2)
LONGEST_NAME = 255  # bytes (api/facts.md, 7.2)
_UNSEEN = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def read_text(path: str, option: str = "", *, stdin: IO[str] | None = None) -> bytes:
    """Return a text file's bytes, or standard input's for `-`. Raises UsageError."""
    said = f"{option}: " if option else ""
    called = "standard input" if path == "-" else path
    content = read_checked(path, stdin, LARGEST, option=option, hint="split it")
    try:
        content.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{said}{called} is not a UTF-8 text; the API takes texts alone") from None
    if b"\0" in content:
        raise UsageError(f"{said}{called} is a binary file; the API takes texts alone")
    return content


def check_name(name: str) -> str:
    """Return a name for a file. Raises UsageError."""
    hint = "give it another one: --name NAME"
    if not name.strip() or _UNSEEN.search(name):
        raise UsageError(f"{name!r} is not a name for a file", hint=hint)
    if len(name.encode()) > LONGEST_NAME:
        raise UsageError(f"the name {name[:40]}… is longer than {LONGEST_NAME} bytes", hint=hint)
    return name


def upload(app: App, name: str, content: bytes, fields: Mapping[str, Any] | None = None) -> Create:
    """Return the write that uploads a file, with some fields."""
    return Create(app, NOUNS["file"], dict(fields or {}), files=[("file", name, content)])
