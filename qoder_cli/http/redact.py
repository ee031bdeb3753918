"""Take secrets out of what `--debug` shows, by name and by shape."""

import re
from contextlib import suppress
from typing import Any

from qoder_cli.base import jsontext
from qoder_cli.base.tokens import NAMES, without_tokens
from qoder_cli.base.tokens import REDACTED as REDACTED

LONGEST_SHOWN = 2000  # characters of a body
_LONGEST_READ = 10 * LONGEST_SHOWN  # characters that are looked through: what is cut off is not half of a secret

_SECRET_NAME = re.compile(NAMES, re.IGNORECASE)

# A parameter of a query, also one of an address within a query, or in JSON that escapes its `&`: what goes by the name
# of a secret, and what AWS, Alibaba, Google, Tencent and Azure sign links with.
_SECRET_PARAMETER = re.compile(
    rf"((?:^|[?&#;\"]|\\u0026|%3F|%26|%23)(?:[\w.~\[\]-]{{0,60}}(?:{NAMES})[\w.~\[\]-]{{0,60}}"
    r"|(?:x-(?:amz|oss|goog|tos)|q)-[\w-]{1,60}|GoogleAccessId|Policy|Key-Pair-Id|Expires|auth|jwt|sig|se|sp|sv|sr)"
    r"(?:=|%3D))[^&\s\"'<>#]+",
    re.IGNORECASE,
)
_SECRET_SHAPE = re.compile(
    r"\bBearer\s+[^\s\"']+|\bBasic\s+[\w+/=-]{4,}"
    r"|\bgh[pousr]_\w{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}|\bAKIA[0-9A-Z]{16}\b",
    re.IGNORECASE,
)
# A field of JSON in a text that is none: an answer that was cut, or lines of it.
_SECRET_FIELD = re.compile(rf'("[^"\\]{{0,60}}(?:{NAMES})[^"\\]{{0,60}}"\s*:\s*)"(?:[^"\\]|\\.)*"?', re.IGNORECASE)


def by_shape(text: str, secret: str | None = None) -> str:
    """Return a text without tokens, secret parameters and fields, users of URLs, and `secret`."""
    if secret:
        text = text.replace(secret, REDACTED)
    text = without_tokens(_SECRET_SHAPE.sub(REDACTED, text))
    text = _SECRET_PARAMETER.sub(rf"\1{REDACTED}", text)
    return _SECRET_FIELD.sub(rf'\1"{REDACTED}"', text)


def header(name: str, value: str, secret: str | None = None) -> str:
    """Return one header as `name: value`, without secrets."""
    return f"{name}: {REDACTED if _SECRET_NAME.search(name) else by_shape(value, secret)}"


def body(content: bytes, kind: str = "", secret: str | None = None) -> str:
    """Return a body without secrets, cut at 2,000 characters; of a form or of binary data, only the size."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or kind.startswith("multipart/"):
        return f"({len(content)} bytes of {kind or 'no stated type'})"
    with suppress(ValueError):
        text = jsontext.dump(_without_secrets(jsontext.parse(text)))
    shown = by_shape(text[:_LONGEST_READ], secret)
    if len(shown) <= LONGEST_SHOWN and len(text) <= _LONGEST_READ:
        return shown
    return f"{shown[:LONGEST_SHOWN]}… ({len(text)} characters)"


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: REDACTED if _SECRET_NAME.search(name) and item else _without_secrets(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):  # JSON within JSON, as tools are called with
        with suppress(ValueError):
            return jsontext.dump(_without_secrets(jsontext.parse(value)))
    return value
