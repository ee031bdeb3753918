"""Take secrets out of what `--debug` shows and of what a server says: by name, by shape, and those that were sent."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from qoder_cli.base import jsontext
from qoder_cli.base.tokens import NAMES, encoded, without_tokens
from qoder_cli.base.tokens import REDACTED as REDACTED

LONGEST_SHOWN = 2000  # characters of a body
LONGEST_READ = 10 * LONGEST_SHOWN  # characters that are looked through: what is cut off is not half of a secret

_MOST_QUOTED = 500  # places in a text where JSON may begin

_SECRET_NAME = re.compile(NAMES, re.IGNORECASE)
_READER = json.JSONDecoder(strict=False)

# A parameter of a query, also one of an address within a query, or in JSON that escapes its `&`, and an assignment in
# a text: what goes by the name of a secret, and what AWS, Alibaba, Google, Tencent and Azure sign links with.
_SECRET_PARAMETER = re.compile(
    rf"((?:^|[?&#;\"'\s(,]|\\u0026|\\n|%3F|%26|%23)(?:[\w.~\[\]-]{{0,60}}(?:{NAMES})[\w.~\[\]-]{{0,60}}"
    r"|(?:x-(?:amz|oss|goog|tos)|q)-[\w-]{1,60}|GoogleAccessId|Policy|Key-Pair-Id|Expires|auth|jwt|sig|se|sp|sv|sr)"
    r"(?:=|%3D))[^&\s\"'<>#]+",
    re.IGNORECASE,
)
_SECRET_SHAPE = re.compile(r"\bBearer\s+[^\s\"']+|\bBasic\s+[\w+/=-]{4,}", re.IGNORECASE)
# A field in a text that is no JSON: one that was cut, lines of it, JSON within JSON, whose quotes are escaped, or what
# a program prints of an object. Where an object or a list ends nobody knows.
_SECRET_FIELD = re.compile(
    rf"""(?P<name>(?P<quote>\\*["'])[^"'\\]{{0,60}}(?:{NAMES})[^"'\\]{{0,60}}(?P=quote)\s*(?:[:=]>?)\s*)"""
    r"""(?:(?P=quote)(?:(?!(?<!\\)(?P=quote)).)*(?P=quote)?|[\[{].*|(?!true\b|false\b|null\b)[^\s,;&}\]"']+)""",
    re.IGNORECASE | re.DOTALL,
)


def by_shape(text: str, secret: str | None = None) -> str:
    """Return a text without tokens, secret parameters and fields, users of URLs, and `secret`."""
    if secret:
        text = text.replace(secret, REDACTED)
    shown, end = "", 0  # the text without what JSON in it names as secret, up to this place
    for at in [bracket.start() for bracket in islice(re.finditer(r"[{\[]", text), _MOST_QUOTED)]:
        if at >= end:
            with suppress(ValueError, RecursionError):  # it is cut, or none
                value, behind = _READER.raw_decode(text, at)
                veiled = by_name(value, in_texts=True)
                shown += text[end:at] + (text[at:behind] if veiled == value else jsontext.dump(veiled))
                end = behind
    text = without_tokens(_SECRET_SHAPE.sub(REDACTED, shown + text[end:]))
    text = _SECRET_FIELD.sub(rf"\g<name>\g<quote>{REDACTED}\g<quote>", text)
    return _SECRET_PARAMETER.sub(rf"\1{REDACTED}", text)


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
        text = jsontext.dump(by_name(jsontext.parse(text), in_texts=True))
    shown = by_shape(text[:LONGEST_READ], secret)
    if len(shown) <= LONGEST_SHOWN and len(text) <= LONGEST_READ:
        return shown
    return f"{shown[:LONGEST_SHOWN]}… ({len(text)} characters)"


def by_name(value: Any, *, in_texts: bool = False) -> Any:
    """Return a JSON value without what goes by the name of a secret, also `in_texts` that are JSON."""
    if isinstance(value, dict):
        secret = [name for name, item in value.items() if item and _SECRET_NAME.search(name)]
        shown = {name: by_name(item, in_texts=in_texts) for name, item in value.items()}
        return shown | dict.fromkeys(secret, REDACTED)
    if isinstance(value, list):
        return [by_name(item, in_texts=in_texts) for item in value]
    if in_texts and isinstance(value, str) and value.lstrip()[:1] in ("{", "["):  # as tools are called with
        with suppress(ValueError):
            return jsontext.dump(by_name(jsontext.parse(value), in_texts=True))
    return value


# Known secrets.

_GRAM = 8  # characters of a secret that are hidden wherever they stand together; fewer are part of other words
# How one character may be spelled, or stands between those of a quoted text without being part of it.
_SPELLED = re.compile(
    r"\\+u(?P<unicode>[0-9a-f]{4})|\\+x(?P<byte>[0-9a-f]{2})|(?P<percent>(?:%(?:25)*[0-9a-f]{2})+)"
    r"|(?P<entity>&(?:amp|lt|gt|quot|apos|#x?[0-9a-f]{2,7});)|\\+[nrtbf]|\x1b\[[0-9;]*[a-z]"
    r"|[\s\x00-\x1f\x7f-\x9f\"'`\\\xad\u200b-\u200f\u2060\ufeff]",
    re.IGNORECASE,
)
_NO_SECRET = re.compile(r"(?:name|type|id|url|endpoint|method|location)s?\Z|networking", re.IGNORECASE)  # names


class KnownSecrets:
    """Our `tokens`, and secrets that were sent: to be taken out of what a server says of them, however it spells them.

    Elsewhere nothing is searched for by its text: a value may be an ordinary word. So what is also sent where
    everybody may read it, as in a name, is none, unless it is a token.
    """

    def __init__(self, bodies: Iterable[Any], tokens: Iterable[str] = ()) -> None:
        self._public: set[str] = set()
        sent = {secret for body in bodies for secret in self._in(body, is_secret=False)}
        lines = {line for secret in sent for line in (secret, *secret.splitlines())}
        self._secrets = {line for line in lines if line.strip()} - self._public | {*tokens}
        whole = [plain for secret in self._secrets if len(plain := _plain(secret)[0]) >= _GRAM]
        self._grams = {plain[at : at + _GRAM] for plain in whole for at in range(len(plain) - _GRAM + 1)}
        self._words = [word for secret in self._secrets for word in {secret, *spellings(secret)}]

    def out_of(self, text: str) -> str:
        """Return a text without the secrets."""
        if not self._secrets:
            return text
        plain, places = _plain(text)
        hit = bytearray(len(text))
        for at in range(len(plain) - _GRAM + 1):
            if plain[at : at + _GRAM] in self._grams:
                begin, end = places[at][0], places[at + _GRAM - 1][1]
                hit[begin:end] = b"\1" * (end - begin)
        for spelling in self._words:
            alone = re.escape(spelling) if len(spelling) >= _GRAM else rf"(?<!\w){re.escape(spelling)}(?!\w)"
            for match in re.finditer(alone, text):
                hit[match.start() : match.end()] = b"\1" * len(match[0])
            at = plain.find(spelling) if len(spelling) >= _GRAM else -1  # broken into lines
            while at >= 0:
                begin, end = places[at][0], places[at + len(spelling) - 1][1]
                hit[begin:end] = b"\1" * (end - begin)
                at = plain.find(spelling, at + 1)
        return re.sub("\0+", REDACTED, "".join("\0" if hit[at] else one for at, one in enumerate(text)))

    def _in(self, value: Any, *, is_secret: bool) -> Iterator[str]:
        """Yield the texts of a body that stand where a secret can; note the others."""
        if isinstance(value, dict):
            for name, item in value.items():
                is_named = _SECRET_NAME.search(name) is not None and not _NO_SECRET.search(name)
                if name == "environment_variables" and isinstance(item, str):
                    item = [pair.partition("=")[2].strip() for pair in re.split(r"[;\r\n]", item)]
                yield from self._in(item, is_secret=is_named or (is_secret and not _NO_SECRET.search(name)))
        elif isinstance(value, list):
            for item in value:
                yield from self._in(item, is_secret=is_secret)
        elif is_secret and value is not None and not isinstance(value, bool):
            yield str(value)
        elif isinstance(value, str):
            self._public |= {value, value.strip()}


def spellings(secret: str) -> list[str]:
    """Return a secret as JSON, a URL, base 64 and hexadecimal spell it, where it is long enough to be told."""
    escaped = [jsontext.dump(secret, ascii_only=is_ascii)[1:-1] for is_ascii in (False, True)]
    candidates = [secret, *escaped, *(jsontext.dump(spelled)[1:-1] for spelled in escaped), *encoded(secret)]
    return [spelled for spelled in dict.fromkeys(candidates) if len(spelled) >= _GRAM]


def _plain(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return a text without quoting and escapes, and where each of its characters stood."""
    plain: list[str] = []
    places: list[tuple[int, int]] = []
    at = 0
    for match in _SPELLED.finditer(text):
        meant = [one for one in _meant(match) if not _SPELLED.fullmatch(one)]
        plain += text[at : match.start()]
        plain += meant
        places += [(place, place + 1) for place in range(at, match.start())]
        places += [match.span()] * len(meant)
        at = match.end()
    plain += text[at:]
    return "".join(plain), places + [(place, place + 1) for place in range(at, len(text))]


def _meant(found: re.Match[str]) -> str:
    """Return what an escape stands for; nothing for quoting."""
    from html import unescape
    from urllib.parse import unquote

    match found.lastgroup:
        case "unicode" | "byte":
            return chr(int(found[found.lastgroup], 16))
        case "percent":
            return unquote(re.sub("%(?:25)+(?=[0-9a-f]{2})", "%", found[0], flags=re.IGNORECASE), errors="replace")
        case "entity":
            return unescape(found[0])
    return ""
